//! Hold from either side: who hears what, who is told (RFC 3264 §8.4, field problems 18, 20, 21).

use crate::rig::*;
use media_bridge::control::{Command as Media, Direction, Event as MediaEvent, Source, Tone};
use media_bridge::sound::SoundId;
use sip_ua::{Command as Sip, Event, LegEnd, SipLeg};
use types::{CallId, LegId};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

const CALLEE: LegId = LegId(1);
const CALL: CallId = CallId(1);

fn press(bench: &mut Bench, hold: bool) -> Vec<ToBrowser> {
    let call = "c1".into();
    bench.browser(ALICE, if hold { FromBrowser::Hold { call } } else { FromBrowser::Resume { call } });
    bench.take_said(ALICE)
}

/// The carrier's re-INVITE with this direction comes, and is answered.
fn describes(bench: &mut Bench, leg: SipLeg, direction: Direction) {
    bench.plane.mute = true;
    bench.heard(Event::Reinvite { leg, body: sdp("pcmu") });
    assert!(bench.sip.is_empty(), "answered before the media plane did");
    bench.plane.mute = false;
    bench.media(CALL, MediaEvent::Direction { leg: CALLEE, direction });
    let codec = Some(media_bridge::control::Codec::Pcmu);
    bench.media(CALL, MediaEvent::LocalSdp { leg: CALLEE, sdp: b"pcmu".to_vec(), codec });
    assert!(matches!(bench.sip_command(), Sip::AcceptReinvite { .. }));
}

fn told(local: bool, remote: bool) -> Vec<ToBrowser> {
    vec![ToBrowser::Held { call: "c1".into(), local, remote }]
}

#[test]
fn hold_pressed_in_the_page_plays_music_to_the_trunk_and_nothing_to_the_browser() {
    let mut bench = Bench::new();
    talking(&mut bench);
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Leg(CALLEE), Source::Leg(CALLER))
    );
    assert_eq!(press(&mut bench, true), told(true, false));
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Nothing, Source::Tone(Tone::Music))
    );
    assert!(bench.sip.is_empty(), "the trunk's session stays as it is");
    assert_eq!(press(&mut bench, false), told(false, false));
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Leg(CALLEE), Source::Leg(CALLER))
    );
}

#[test]
fn hold_of_the_trunk_in_either_direction_word_plays_music_to_the_browser_and_says_so() {
    for direction in [Direction::SendOnly, Direction::Inactive] {
        let mut bench = Bench::new();
        let leg = talking(&mut bench);
        describes(&mut bench, leg, direction);
        assert_eq!(bench.take_said(ALICE), told(false, true));
        assert_eq!(
            (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
            (Source::Tone(Tone::Music), Source::Nothing)
        );
        describes(&mut bench, leg, Direction::SendRecv);
        assert_eq!(bench.take_said(ALICE), told(false, false));
        assert_eq!(
            (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
            (Source::Leg(CALLEE), Source::Leg(CALLER))
        );
    }
}

#[test]
fn both_sides_on_hold_hear_nothing_and_each_resumes_for_itself() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    press(&mut bench, true);
    describes(&mut bench, leg, Direction::SendOnly);
    assert_eq!(bench.take_said(ALICE), told(true, true));
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Nothing, Source::Nothing)
    );
    assert_eq!(press(&mut bench, false), told(false, true));
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Tone(Tone::Music), Source::Nothing)
    );
    describes(&mut bench, leg, Direction::SendRecv);
    assert_eq!(bench.take_said(ALICE), told(false, false));
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Leg(CALLEE), Source::Leg(CALLER))
    );
}

#[test]
fn a_phone_that_holds_another_phone_changes_nothing_on_the_others_wire() {
    let mut bench = Bench::new();
    bench.phone("alice", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("100", "pcmu");
    let (phone, _) = bench.invite();
    bench.heard(Event::Answered { leg: phone, body: sdp("pcmu") });
    assert!(matches!(bench.sip_command(), Sip::Answer { leg, .. } if leg == trunk));
    describes(&mut bench, phone, Direction::Inactive);
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Tone(Tone::Music), Source::Nothing)
    );
    assert!(bench.sip.is_empty(), "{:?}", bench.sip);
    describes(&mut bench, phone, Direction::SendRecv);
    assert_eq!(
        (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)),
        (Source::Leg(CALLEE), Source::Leg(CALLER))
    );
}

#[test]
fn hold_said_twice_is_confirmed_twice_and_changes_nothing_the_second_time() {
    let mut bench = Bench::new();
    talking(&mut bench);
    press(&mut bench, true);
    let sources = bench.media_count(|m| matches!(m, Media::SetSource { .. }));
    assert_eq!(press(&mut bench, true), told(true, false));
    assert_eq!(bench.media_count(|m| matches!(m, Media::SetSource { .. })), sources);
}

#[test]
fn hold_before_the_call_is_answered_is_refused_in_words() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    bench.take_said(ALICE);
    let said = press(&mut bench, true);
    assert!(
        matches!(said.as_slice(), [ToBrowser::Error { code, .. }] if code == "not-connected"),
        "{said:?}"
    );
}

#[test]
fn an_announcement_that_only_sends_from_the_start_is_no_hold() {
    let mut bench = Bench::new();
    bench.plane.mute = true;
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let codec = Some(media_bridge::control::Codec::Opus);
    bench.media(CALL, MediaEvent::LocalSdp { leg: CALLER, sdp: b"opus".to_vec(), codec });
    bench.media(CALL, MediaEvent::LocalSdp { leg: CALLEE, sdp: b"pcmu".to_vec(), codec: None });
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    bench.media(CALL, MediaEvent::Direction { leg: CALLEE, direction: Direction::SendOnly });
    let codec = media_bridge::control::Codec::Pcmu;
    bench.media(CALL, MediaEvent::Negotiated { leg: CALLEE, codec });
    assert_eq!(hears(&bench, CALL, CALLER), Source::Leg(CALLEE));
    assert!(!bench.take_said(ALICE).iter().any(|m| matches!(m, ToBrowser::Held { .. })));
}

#[test]
fn silence_of_a_side_that_holds_is_no_fault() {
    // Field problem 18.
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    describes(&mut bench, leg, Direction::SendOnly);
    bench.take_said(ALICE);
    bench.media(CALL, MediaEvent::Silent { leg: CALLEE, expected: "203.0.113.5:9000".into() });
    assert!(bench.take_said(ALICE).is_empty());
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: None } });
    assert!(bench.cdrs[0].notes.is_empty(), "{:?}", bench.cdrs[0].notes);
}

#[test]
fn a_hold_that_the_media_plane_refuses_changes_neither_page_nor_audio() {
    // Field problem 20.
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    let before = (hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE));
    bench.heard(Event::Reinvite { leg, body: sdp("garbage") });
    assert!(matches!(bench.sip_command(), Sip::RejectReinvite { status: 488, .. }));
    assert!(bench.take_said(ALICE).is_empty());
    assert_eq!((hears(&bench, CALL, CALLER), hears(&bench, CALL, CALLEE)), before);
}

#[test]
fn music_on_hold_is_the_routes_else_the_trunks_else_everybodys() {
    let music = |id| Source::Music(SoundId(id));
    for (of_route, of_trunk, of_all, heard) in [
        (Some(1), Some(2), Some(3), music(1)),
        (None, Some(2), Some(3), music(2)),
        (None, None, Some(3), music(3)),
        (None, None, None, Source::Tone(Tone::Music)),
    ] {
        let mut config = config();
        config.routes[1].treatment.hold_music = of_route.map(SoundId);
        config.trunks[0].hold_music = of_trunk.map(SoundId);
        config.hold_music = of_all.map(SoundId);
        let mut bench = Bench::with(config);
        talking(&mut bench);
        press(&mut bench, true);
        assert_eq!(hears(&bench, CALL, CALLEE), heard);
        assert_eq!(hears(&bench, CALL, CALLER), Source::Nothing, "who holds hears none of it");
    }
}
