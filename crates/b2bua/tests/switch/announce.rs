//! Announcements: before the call goes on, unanswered, or instead of anybody.

use crate::rig::*;
use media_bridge::control::{Command as Media, Event as MediaEvent};
use media_bridge::sound::SoundId;
use sip_ua::{Command as Sip, Event, LegEnd};
use types::{CallId, EndReason};
use webrtc_peer::signalling::{CallState, FromBrowser, ToBrowser};

const CALL: CallId = CallId(1);
const WORDS: SoundId = SoundId(3);

/// `leads`: to the carriers; else the announcement is all.
fn announced(leads: bool) -> Bench {
    let mut config = config();
    config.routes[1].treatment.announce = Some(WORDS);
    if !leads {
        config.routes[1].to.clear();
    }
    Bench::with(config)
}

fn plays(bench: &Bench) -> usize {
    bench.media_count(|m| *m == Media::Play { leg: CALLER, sound: WORDS })
}

fn states(said: &[ToBrowser]) -> Vec<CallState> {
    let of = |m: &ToBrowser| match m {
        ToBrowser::State { state, .. } => Some(*state),
        _ => None,
    };
    said.iter().filter_map(of).collect()
}

#[test]
fn the_caller_hears_the_announcement_and_only_then_does_the_trunk_ring() {
    let mut bench = announced(true);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    assert_eq!((plays(&bench), bench.sip.len()), (1, 0), "nobody is called yet");
    assert_eq!(states(&bench.take_said(ALICE)), [CallState::Calling, CallState::EarlyMedia]);
    bench.media(CALL, MediaEvent::Played { leg: CALLER });
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    assert_eq!(states(&bench.take_said(ALICE)), [CallState::InCall]);
    assert_eq!(plays(&bench), 1);
}

#[test]
fn a_caller_who_hangs_up_meanwhile_rings_nowhere() {
    let mut bench = announced(true);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.media(CALL, MediaEvent::Closed);
    assert!(bench.sip.is_empty());
    assert_eq!(bench.cdrs[0].reason, EndReason::Cancelled);
}

#[test]
fn a_route_that_leads_nowhere_answers_plays_and_hangs_up() {
    let mut bench = announced(false);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    assert_eq!(states(&bench.take_said(ALICE)), [CallState::Calling, CallState::InCall]);
    assert_eq!(plays(&bench), 1);
    bench.media(CALL, MediaEvent::Played { leg: CALLER });
    bench.media(CALL, MediaEvent::Closed);
    let [cdr] = &bench.cdrs[..] else { panic!("{:?}", bench.cdrs) };
    assert_eq!((cdr.reason, cdr.answered.is_some()), (EndReason::HungUp, true));
    assert!(bench.sip.is_empty());
}

#[test]
fn media_that_never_comes_up_ends_it_in_the_end() {
    let mut bench = announced(false);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    bench.pass(types::limits::SOUND_DURATION + b2bua::MEDIA_REPLY);
    bench.media(CALL, MediaEvent::Closed);
    assert_eq!(bench.cdrs[0].reason, EndReason::MediaNotConnected);
}

#[test]
fn a_call_for_help_is_not_kept_waiting() {
    let mut config = config();
    config.routes[1].treatment.announce = Some(WORDS);
    config.routes[1].pattern = b2bua::Pattern::parse("911").unwrap();
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "911");
    assert_eq!(plays(&bench), 0);
    let (leg, _) = bench.invite();
    bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why: None } });
    assert!(!bench.sip.iter().any(|c| matches!(c, Sip::Provisional { .. })));
}
