//! A call between every pair of endpoint kinds, and its ends.

use std::time::Duration;

use crate::rig::*;
use b2bua::{CdrParty, RouteFrom};
use media_bridge::control::{Bandwidth, Codec, Command as Media, Event as MediaEvent, Source, Tone};
use sip_ua::{Command as Sip, Event, LegEnd, SipLeg, Target};
use types::{CallId, EndReason, EndedBy, LegId, UserName};
use webrtc_peer::signalling::{CallState, FromBrowser, ToBrowser};

fn states(said: &[ToBrowser]) -> Vec<CallState> {
    said.iter()
        .filter_map(|m| match m {
            ToBrowser::State { state, .. } => Some(*state),
            _ => None,
        })
        .collect()
}

fn ended(said: &[ToBrowser]) -> Option<&str> {
    said.iter().find_map(|m| match m {
        ToBrowser::Ended { reason, .. } => Some(reason.as_str()),
        _ => None,
    })
}

fn refused(leg: SipLeg, status: u16) -> Event {
    let end = LegEnd::Refused { status, reason: String::new(), q850: None, retry_after: None };
    Event::Ended { leg, end }
}

fn bye(leg: SipLeg) -> Event {
    Event::Ended { leg, end: LegEnd::Bye { q850: Some(16) } }
}

/// Alice's browser is talking to the carrier.
fn talking_browser_to_trunk(bench: &mut Bench) -> SipLeg {
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+1 202 555 0100");
    let (leg, _) = bench.invite();
    bench.heard(Event::Provisional { leg, status: 180, body: None });
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    leg
}

#[test]
fn a_browser_calls_a_trunk_and_each_step_is_told() {
    let mut bench = Bench::new();
    let leg = talking_browser_to_trunk(&mut bench);
    let said = bench.take_said(ALICE);
    assert!(matches!(&said[0], ToBrowser::Sdp { sdp, .. } if sdp == "opus"), "{said:?}");
    assert_eq!(states(&said), [CallState::Calling, CallState::Ringing, CallState::InCall]);
    let sources: Vec<_> = bench
        .plane
        .commands
        .iter()
        .filter_map(|(_, c)| match &c.command {
            Media::SetSource { leg, source } => Some((*leg, *source)),
            _ => None,
        })
        .collect();
    assert_eq!(
        sources,
        [
            (CALLER, Source::Tone(Tone::Ringback)),
            (CALLER, Source::Leg(LegId(1))),
            (LegId(1), Source::Leg(CALLER))
        ]
    );
    bench.pass(Duration::from_secs(20));
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg: l, .. } if l == leg));
    assert_eq!(ended(&bench.take_said(ALICE)), Some("hung-up"));
    assert!(bench.cdrs.is_empty(), "the trunk has not confirmed yet");
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    let cdr = &bench.cdrs[0];
    assert_eq!((cdr.reason, cdr.ended_by, cdr.duration_ms), (EndReason::HungUp, EndedBy::Caller, 20_000));
    assert_eq!((cdr.from.as_str(), cdr.to.as_str()), ("100", "+1 202 555 0100"));
    assert_eq!(cdr.caller, CdrParty::Browser(UserName::new("alice")));
    assert_eq!(cdr.callee, Some(CdrParty::Trunk("carrier".into())));
    assert_eq!((cdr.caller_codec, cdr.callee_codec), (Some(Codec::Opus), Some(Codec::Pcmu)));
}

#[test]
fn the_browser_is_answered_before_anyone_rings_and_asked_for_narrowband() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.plane.mute = true;
    bench.call(ALICE, "+12025550100");
    assert!(bench.sip.is_empty());
    let Media::Answer { params, .. } = &bench.plane.commands[0].1.command else { panic!() };
    assert_eq!(params.bandwidth, Bandwidth::Narrow);
    assert_eq!(params.codecs[0], Codec::Opus);
    let sdp = b"opus".to_vec();
    bench.media(CallId(1), MediaEvent::LocalSdp { leg: CALLER, sdp, codec: Some(Codec::Opus) });
    let Some((_, last)) = bench.plane.commands.last() else { panic!() };
    assert!(
        matches!(&last.command, Media::Offer { leg: LegId(1), params } if params.codecs[0] == Codec::Pcmu)
    );
}

#[test]
fn a_trunk_invite_carries_the_callers_number_and_the_trunks_host() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (_, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:+12025550100@carrier.example");
    assert_eq!(invite.from, "<sip:+12025550110@carrier.example>");
    assert_eq!(invite.to, "<sip:+12025550100@carrier.example>");
    assert_eq!(invite.contact_user, "webtrunk");
    assert!(matches!(invite.target, Target::Address { remote, .. } if remote == addr(TRUNK)));
    assert_eq!(invite.body, sdp("pcmu,pcma"));
}

#[test]
fn a_trunk_calls_a_browser_which_connects_before_answering() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    let trunk = bench.trunk_calls("+12025550110", "pcma,pcmu");
    assert!(matches!(bench.sip_command(), Sip::Provisional { leg, status: 180, body: None } if leg == trunk));
    let call = bench.incoming(ALICE);
    bench.browser(ALICE, FromBrowser::Offer { call: call.clone(), sdp: "opus,pcmu".into() });
    assert!(matches!(&bench.take_said(ALICE)[..], [ToBrowser::Sdp { sdp, .. }] if sdp == "opus"));
    bench.media(CallId(1), MediaEvent::Connected { leg: LegId(1) });
    bench.browser(ALICE, FromBrowser::Answer { call: call.clone() });
    assert!(
        matches!(bench.sip_command(), Sip::Answer { leg, body } if leg == trunk && body.bytes == b"pcmu")
    );
    assert_eq!(states(&bench.take_said(ALICE)), [CallState::InCall]);
    bench.heard(Event::Acked { leg: trunk, body: None });
    bench.heard(bye(trunk));
    assert_eq!(ended(&bench.take_said(ALICE)), Some("hung-up"));
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].caller, CdrParty::Trunk("carrier".into()));
    assert_eq!(bench.cdrs[0].ended_by, EndedBy::Caller);
    assert_eq!(bench.cdrs[0].from, "+12025550177");
}

#[test]
fn an_answered_browser_is_awaited_two_seconds_then_connected_regardless() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    let trunk = bench.trunk_calls("100", "pcmu");
    bench.sip.clear();
    let call = bench.incoming(ALICE);
    bench.browser(ALICE, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(ALICE, FromBrowser::Answer { call });
    bench.pass(Duration::from_millis(1_900));
    assert!(bench.sip.is_empty());
    bench.pass(Duration::from_millis(200));
    assert!(matches!(bench.sip_command(), Sip::Answer { leg, .. } if leg == trunk));
}

#[test]
fn a_browser_that_answers_without_an_offer_ends_the_call_with_its_reason() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    let trunk = bench.trunk_calls("100", "pcmu");
    bench.sip.clear();
    let call = bench.incoming(ALICE);
    bench.browser(ALICE, FromBrowser::Answer { call });
    bench.pass(Duration::from_secs(3));
    assert!(matches!(bench.sip_command(), Sip::Reject { status: 480, .. }));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::MediaNotConnected);
}

#[test]
fn a_browser_calls_a_browser() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.sign_in(BOB, "bob");
    bench.call(ALICE, "bob");
    let said = bench.take_said(BOB);
    let [ToBrowser::Incoming { call, from, name }] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((from.as_str(), name.as_str()), ("100", "alice"));
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.media(CallId(1), MediaEvent::Connected { leg: LegId(1) });
    bench.browser(BOB, FromBrowser::Answer { call: call.clone() });
    assert_eq!(states(&bench.take_said(ALICE)), [CallState::Calling, CallState::Ringing, CallState::InCall]);
    bench.browser(BOB, FromBrowser::Bye { call: call.clone() });
    assert_eq!(ended(&bench.take_said(ALICE)), Some("hung-up"));
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].ended_by, EndedBy::Callee);
}

#[test]
fn a_browser_calls_a_softphone_along_its_flow() {
    let mut bench = Bench::new();
    bench.phone("bob", "192.0.2.50:5070");
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "101");
    let (leg, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:bob@192.0.2.50:5070");
    assert_eq!(invite.target, Target::Flow(flow("192.0.2.50:5070")));
    assert_eq!(invite.from, "\"alice\" <sip:100@example.com>");
    assert_eq!(invite.body, sdp("opus,g722,pcmu,pcma"));
    bench.heard(Event::Answered { leg, body: sdp("opus") });
    assert_eq!(states(&bench.take_said(ALICE)), [CallState::Calling, CallState::InCall]);
    bench.heard(bye(leg));
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].callee, Some(CdrParty::Softphone(UserName::new("bob"))));
}

#[test]
fn a_softphone_calls_a_browser() {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    let phone = bench.phone_calls("alice", "bob", "192.0.2.60:5060", "pcmu");
    assert!(matches!(bench.sip_command(), Sip::Provisional { status: 180, .. }));
    let call = bench.incoming(BOB);
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    let narrow = |m: &Media| matches!(m, Media::Answer { leg: LegId(1), params, .. } if params.bandwidth == Bandwidth::Narrow);
    assert_eq!(bench.media_count(narrow), 1);
    bench.media(CallId(1), MediaEvent::Connected { leg: LegId(1) });
    bench.browser(BOB, FromBrowser::Answer { call });
    assert!(matches!(bench.sip_command(), Sip::Answer { leg, .. } if leg == phone));
    bench.browser(BOB, FromBrowser::Bye { call: "in-1-1".into() });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == phone));
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].caller, CdrParty::Softphone(UserName::new("alice")));
}

#[test]
fn a_softphone_calls_a_trunk_with_the_codec_that_both_have() {
    let mut bench = Bench::new();
    let phone = bench.phone_calls("alice", "+12025550100", "192.0.2.60:5060", "opus,pcma,pcmu");
    let (trunk, invite) = bench.invite();
    assert_eq!(invite.body, sdp("pcmu,pcma"));
    bench.heard(Event::Answered { leg: trunk, body: sdp("pcma") });
    let Sip::Answer { leg, body } = bench.sip_command() else { panic!() };
    assert_eq!((leg, body.bytes.as_slice()), (phone, b"pcma".as_slice()));
    bench.heard(bye(phone));
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == trunk));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Local });
    bench.assert_over(1);
}

#[test]
fn a_softphone_calls_a_softphone_and_its_codec_is_offered_first() {
    let mut bench = Bench::new();
    bench.phone("bob", "192.0.2.50:5070");
    let caller = bench.phone_calls("alice", "bob", "192.0.2.60:5060", "pcma");
    let (callee, invite) = bench.invite();
    assert_eq!(invite.body, sdp("pcma,opus,g722,pcmu"));
    bench.heard(Event::Provisional { leg: callee, status: 180, body: None });
    assert!(matches!(bench.sip_command(), Sip::Provisional { leg, status: 180, .. } if leg == caller));
    bench.heard(Event::Answered { leg: callee, body: sdp("pcma") });
    assert!(matches!(bench.sip_command(), Sip::Answer { .. }));
    bench.heard(bye(callee));
    bench.heard(Event::Ended { leg: caller, end: LegEnd::Local });
    bench.assert_over(1);
}

#[test]
fn a_trunk_calls_a_softphone() {
    let mut bench = Bench::new();
    bench.phone("alice", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("+12025550110", "pcmu");
    let (phone, invite) = bench.invite();
    assert_eq!(invite.from, "<sip:+12025550177@example.com>");
    bench.heard(Event::Answered { leg: phone, body: sdp("pcmu") });
    assert!(matches!(bench.sip_command(), Sip::Answer { leg, .. } if leg == trunk));
    bench.heard(bye(trunk));
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    bench.assert_over(1);
}

#[test]
fn an_inbound_number_reaches_a_user_by_route() {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    bench.trunk_calls("+12025550195", "pcmu");
    bench.incoming(BOB);
}

#[test]
fn a_route_for_others_is_forbidden_and_no_route_is_unknown() {
    let mut config = config();
    config.routes[1].from = vec![RouteFrom::User(UserName::new("bob"))];
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    assert_eq!(ended(&bench.take_said(ALICE)), Some("forbidden"));
    bench.call(ALICE, "+4420");
    assert_eq!(ended(&bench.take_said(ALICE)), Some("unknown-number"));
    bench.call(ALICE, "bob");
    assert_eq!(ended(&bench.take_said(ALICE)), Some("not-registered"));
    bench.call(ALICE, "a b");
    assert_eq!(ended(&bench.take_said(ALICE)), Some("invalid-number"));
    bench.assert_over(4);
    assert_eq!(bench.media_count(|_| true), 0, "no media for calls that go nowhere");
}

#[test]
fn early_media_reaches_the_browser_and_the_answer_changes_nothing_there() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550105");
    let (leg, _) = bench.invite();
    bench.heard(Event::Provisional { leg, status: 183, body: sdp("pcmu") });
    let bridged = |m: &Media| matches!(m, Media::SetSource { leg: CALLER, source: Source::Leg(LegId(1)) });
    assert_eq!(bench.media_count(bridged), 1);
    bench.heard(Event::Provisional { leg, status: 183, body: sdp("pcmu") });
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    assert_eq!(
        states(&bench.take_said(ALICE)),
        [CallState::Calling, CallState::EarlyMedia, CallState::InCall]
    );
    assert_eq!(bench.media_count(|m| matches!(m, Media::SetAnswer { .. })), 1, "the same answer counts once");
    assert_eq!(bench.media_count(|m| matches!(m, Media::SetSource { source: Source::Tone(_), .. })), 0);
}

#[test]
fn early_media_reaches_a_sip_caller_in_a_183_whose_answer_stays() {
    let mut bench = Bench::new();
    bench.phone_calls("alice", "+12025550105", "192.0.2.60:5060", "pcma,pcmu");
    let (trunk, _) = bench.invite();
    bench.heard(Event::Provisional { leg: trunk, status: 183, body: sdp("pcma") });
    let Sip::Provisional { status, body, .. } = bench.sip_command() else { panic!() };
    assert_eq!((status, body), (183, sdp("pcma")));
    bench.heard(Event::Answered { leg: trunk, body: sdp("pcmu") });
    // RFC 3261 §13.2.1: the answer of the 183 is the answer of the 200.
    assert!(matches!(bench.sip_command(), Sip::Answer { body, .. } if body.bytes == b"pcma"));
}

#[test]
fn a_183_without_media_rings_nowhere() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.heard(Event::Provisional { leg, status: 183, body: None });
    assert_eq!(states(&bench.take_said(ALICE)), [CallState::Calling]);
}

#[test]
fn busy_declined_and_unknown_reach_the_person_as_such() {
    for (status, word) in
        [(486, "busy"), (603, "declined"), (404, "number-not-in-service"), (480, "no-answer")]
    {
        let mut bench = Bench::new();
        bench.sign_in(ALICE, "alice");
        bench.call(ALICE, "+12025550102");
        let (leg, _) = bench.invite();
        bench.heard(refused(leg, status));
        assert_eq!(ended(&bench.take_said(ALICE)), Some(word));
        bench.assert_over(1);
        assert_eq!((bench.cdrs[0].sip_status, bench.cdrs[0].ended_by), (Some(status), EndedBy::Callee));
    }
}

#[test]
fn the_next_trunk_is_tried_when_the_first_is_unreachable_or_fails() {
    for first in [
        LegEnd::Unreachable { why: None },
        LegEnd::Refused { status: 503, reason: String::new(), q850: None, retry_after: Some(30) },
    ] {
        let mut bench = Bench::new();
        bench.sign_in(ALICE, "alice");
        bench.call(ALICE, "+12025550100");
        let (leg, _) = bench.invite();
        bench.heard(Event::Ended { leg, end: first });
        let (second, invite) = bench.invite();
        assert_eq!(invite.uri, "sip:+12025550100@backup.example");
        bench.heard(Event::Answered { leg: second, body: sdp("pcmu") });
        bench.heard(bye(second));
        bench.assert_over(1);
        assert_eq!(bench.cdrs[0].callee, Some(CdrParty::Trunk("backup".into())));
    }
}

#[test]
fn when_every_trunk_fails_the_caller_hears_of_the_last() {
    let mut bench = Bench::new();
    let caller = bench.phone_calls("alice", "+12025550100", "192.0.2.60:5060", "pcmu");
    let (leg, _) = bench.invite();
    bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why: None } });
    let (leg, _) = bench.invite();
    bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why: None } });
    let Sip::Reject { status, headers, .. } = bench.sip_command() else { panic!() };
    assert_eq!(status, 503);
    assert!(headers.contains(&("Retry-After", "5".into())), "{headers:?}");
    bench.heard(Event::Ended { leg: caller, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::TrunkUnreachable);
}

#[test]
fn busy_on_the_first_trunk_is_busy_and_asks_no_other() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.heard(refused(leg, 486));
    assert!(bench.sip.is_empty());
    bench.assert_over(1);
}

#[test]
fn a_caller_who_gives_up_cancels_every_ringing_device() {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    bench.phone("bob", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("101", "pcmu");
    assert!(matches!(bench.sip_command(), Sip::Provisional { status: 180, .. }));
    let (phone, _) = bench.invite();
    bench.incoming(BOB);
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Cancelled { reason: None } });
    assert_eq!(ended(&bench.take_said(BOB)), Some("cancelled"));
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == phone));
    bench.heard(refused(phone, 487));
    bench.assert_over(1);
    assert_eq!((bench.cdrs[0].reason, bench.cdrs[0].ended_by), (EndReason::Cancelled, EndedBy::Caller));
}

#[test]
fn a_cancel_because_of_an_answer_elsewhere_says_so_to_the_browser() {
    // RFC 3326 §3.1.
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    let trunk = bench.trunk_calls("101", "pcmu");
    bench.incoming(BOB);
    let reason = Some("SIP;cause=200;text=\"Call completed elsewhere\"".to_owned());
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Cancelled { reason } });
    assert_eq!(ended(&bench.take_said(BOB)), Some("answered-elsewhere"));
    bench.assert_over(1);
}

#[test]
fn nobody_answers_within_two_minutes() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550103");
    let (leg, _) = bench.invite();
    bench.heard(Event::Provisional { leg, status: 180, body: None });
    bench.pass(Duration::from_secs(119));
    assert!(bench.sip.is_empty());
    bench.pass(Duration::from_secs(2));
    assert_eq!(ended(&bench.take_said(ALICE)), Some("no-answer"));
    assert!(matches!(bench.sip_command(), Sip::HangUp { .. }));
    bench.heard(refused(leg, 487));
    bench.assert_over(1);
}

#[test]
fn an_answer_that_cannot_be_used_ends_the_call_and_hangs_up_the_trunk() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("nonsense") });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg: l, .. } if l == leg));
    assert_eq!(ended(&bench.take_said(ALICE)), Some("bad-sdp"));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
}

#[test]
fn a_200_without_an_answer_ends_the_call() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: None });
    assert_eq!(ended(&bench.take_said(ALICE)), Some("bad-sdp"));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
}

#[test]
fn a_lost_browser_connection_ends_its_call() {
    let mut bench = Bench::new();
    let leg = talking_browser_to_trunk(&mut bench);
    bench.signal(ALICE, b2bua::SignalIn::Closed);
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg: l, .. } if l == leg));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::SignallingLost);
}

/// RFC 7675 §5.1: whose path is lost may come back; both sides hear of it, and nothing ends.
#[test]
fn a_lost_path_is_told_to_both_sides_and_ends_nothing() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.sign_in(BOB, "bob");
    bench.call(ALICE, "bob");
    let call = bench.incoming(BOB);
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call });
    bench.take_said(ALICE);
    bench.take_said(BOB);
    let told = |bench: &mut Bench, session| match bench.take_said(session).last() {
        Some(ToBrowser::Path { local, lost, .. }) => (*local, *lost),
        other => panic!("{other:?}"),
    };
    bench.media(CallId(1), MediaEvent::PathLost { leg: CALLER });
    assert_eq!((told(&mut bench, ALICE), told(&mut bench, BOB)), ((true, true), (false, true)));
    bench.pass(Duration::from_secs(14));
    bench.media(CallId(1), MediaEvent::PathRestored { leg: CALLER });
    assert_eq!((told(&mut bench, ALICE), told(&mut bench, BOB)), ((true, false), (false, false)));
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::HungUp);
    let notes = [
        "nothing comes from the browser of the caller",
        "something comes again from the browser of the caller",
    ];
    assert_eq!(bench.cdrs[0].notes, notes);
}

#[test]
fn lost_audio_and_a_media_defect_end_only_their_call() {
    let mut bench = Bench::new();
    let leg = talking_browser_to_trunk(&mut bench);
    bench.take_said(ALICE);
    bench.media(CallId(1), MediaEvent::Lost { leg: CALLER, why: "it closed the session".into() });
    bench.pass(Duration::from_secs(1));
    assert_eq!(ended(&bench.take_said(ALICE)), Some("media-lost"));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    assert_eq!(bench.cdrs[0].notes, ["the audio of the caller's browser ended: it closed the session"]);
    bench.call(ALICE, "+12025550100");
    bench.sip.pop_front();
    let (leg, _) = bench.invite();
    bench.media(CallId(2), MediaEvent::Crashed);
    assert_eq!(ended(&bench.take_said(ALICE)), Some("internal"));
    bench.heard(refused(leg, 487));
    bench.assert_over(2);
    bench.call(ALICE, "+12025550100");
    assert_eq!(bench.switch.calls().count(), 1);
}

/// A page that hangs up closes its peer connection, and DTLS is faster than the WebSocket.
#[test]
fn a_bye_just_behind_the_lost_audio_is_a_hang_up() {
    let mut bench = Bench::new();
    let leg = talking_browser_to_trunk(&mut bench);
    bench.take_said(ALICE);
    bench.media(CallId(1), MediaEvent::Lost { leg: CALLER, why: "it closed the session".into() });
    bench.pass(Duration::from_millis(200));
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    assert_eq!(ended(&bench.take_said(ALICE)), Some("hung-up"));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].notes, [""; 0], "as any page does");
}

/// RFC 4028 §10: the session timer of an answered call ran out.
#[test]
fn a_trunk_that_vanishes_from_an_answered_call_is_not_said_to_have_refused_it() {
    let mut bench = Bench::new();
    let leg = talking_browser_to_trunk(&mut bench);
    bench.take_said(ALICE);
    bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why: None } });
    assert_eq!(ended(&bench.take_said(ALICE)), Some("peer-gone"));
    bench.assert_over(1);
}

#[test]
fn an_answer_never_acknowledged_names_the_contact_problem() {
    let mut bench = Bench::new();
    bench.phone("alice", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("100", "pcmu");
    let (phone, _) = bench.invite();
    bench.heard(Event::Answered { leg: phone, body: sdp("pcmu") });
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::NoAck });
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::NoAck);
    assert!(bench.logs.iter().any(|(_, _, text)| text.contains("Contact header")));
}

#[test]
fn a_peer_that_never_confirms_the_end_is_left_behind_after_34_seconds() {
    let mut bench = Bench::new();
    talking_browser_to_trunk(&mut bench);
    bench.plane.stuck = true;
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.pass(Duration::from_secs(33));
    assert!(bench.cdrs.is_empty());
    bench.pass(Duration::from_secs(2));
    bench.assert_over(1);
    assert!(bench.logs.iter().any(|(_, _, t)| t.contains("gave up waiting for 1 legs and the media plane")));
}

#[test]
fn stopping_ends_every_call_and_refuses_new_ones() {
    let mut bench = Bench::new();
    let leg = talking_browser_to_trunk(&mut bench);
    bench.take_said(ALICE);
    let (now, wall) = (bench.now, bench.wall);
    bench.switch.shut_down(now, wall);
    bench.drain();
    assert_eq!(ended(&bench.take_said(ALICE)), Some("gateway-stopping"));
    assert_eq!(bench.closed, [ALICE]);
    assert!(matches!(bench.sip_command(), Sip::HangUp { .. }));
    bench.trunk_calls("100", "pcmu");
    let Sip::Reject { status, headers, .. } = bench.sip_command() else { panic!() };
    assert_eq!(status, 503);
    assert!(headers.iter().any(|(name, _)| *name == "Retry-After"));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
}
