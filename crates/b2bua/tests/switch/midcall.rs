//! What happens inside a call: digits, re-INVITEs, late offers, silence, limits.

use std::time::Duration;

use crate::rig::*;
use media_bridge::control::{Codec, Command as Media, Event as MediaEvent, LegStats};
use media_bridge::quality::{Cause, Moment};
use sip_ua::{Body, Command as Sip, Event, LegEnd, SipLeg};
use types::{CallId, EndReason, LegId, limits};
use webrtc_peer::signalling::{FromBrowser, Side, ToBrowser};

fn errors(said: &[ToBrowser]) -> Vec<&str> {
    said.iter()
        .filter_map(|m| match m {
            ToBrowser::Error { code, .. } => Some(code.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_digit_of_the_page_is_sent_once_and_a_digit_of_the_trunk_is_shown_once() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.browser(ALICE, FromBrowser::Dtmf { call: "c1".into(), digit: '5', ms: Some(120) });
    let duration = Duration::from_millis(120);
    let sent = Media::Pressed { leg: CALLER, digit: '5', duration };
    assert_eq!(bench.media_count(|m| *m == sent), 1);
    bench.media(CallId(1), MediaEvent::Dtmf { leg: CALLER, digit: '5', duration });
    let duration = Duration::from_millis(100);
    bench.media(CallId(1), MediaEvent::Dtmf { leg: LegId(1), digit: '7', duration });
    let said = bench.take_said(ALICE);
    assert!(matches!(said.as_slice(), [ToBrowser::Dtmf { digit: '7', ms: 100, .. }]), "{said:?}");
    assert_eq!(
        bench.media_count(|m| matches!(m, Media::Pressed { .. })),
        1,
        "the media plane has sent it on"
    );
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: None } });
    assert_eq!(bench.cdrs[0].digits, 2);
}

#[test]
fn digits_in_info_reach_the_browser_as_tone_and_as_message() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    let body = Body {
        content_type: "application/dtmf-relay".into(),
        bytes: b"Signal=#\r\nDuration=90\r\n".to_vec(),
    };
    bench.heard(Event::Info { leg, body });
    let duration = Duration::from_millis(90);
    let sent = Media::Pressed { leg: LegId(1), digit: '#', duration };
    assert_eq!(bench.media_count(|m| *m == sent), 1);
    bench.media(CallId(1), MediaEvent::Dtmf { leg: LegId(1), digit: '#', duration });
    assert!(matches!(bench.take_said(ALICE).as_slice(), [ToBrowser::Dtmf { digit: '#', .. }]));
}

#[test]
fn wrong_digits_and_digits_to_nobody_are_refused_in_words() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    bench.take_said(ALICE);
    bench.browser(ALICE, FromBrowser::Dtmf { call: "c1".into(), digit: '5', ms: None });
    bench.browser(ALICE, FromBrowser::Dtmf { call: "c1".into(), digit: 'x', ms: None });
    bench.browser(ALICE, FromBrowser::Dtmf { call: "nope".into(), digit: '5', ms: None });
    assert_eq!(errors(&bench.take_said(ALICE)), ["not-connected", "bad-message", "unknown-call"]);
}

#[test]
fn reinvite_is_answered_for_its_leg_alone() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.heard(Event::Reinvite { leg, body: sdp("pcma") });
    assert!(matches!(bench.sip_command(), Sip::AcceptReinvite { body, .. } if body.bytes == b"pcma"));
    assert!(bench.said.is_empty());
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: None } });
    assert_eq!(bench.cdrs[0].callee_codec, Some(Codec::Pcma));
}

#[test]
fn reinvite_with_unknown_codec_gets_488_and_keeps_call() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.heard(Event::Reinvite { leg, body: sdp("g729") });
    let Sip::RejectReinvite { status, headers, .. } = bench.sip_command() else { panic!() };
    assert_eq!(status, 488);
    let (name, value) = &headers[0];
    // RFC 3261 §20.43: 305, with both lists in words.
    assert_eq!(*name, "Warning");
    assert_eq!(value, "305 example.com \"no audio codec in common: you have g729, here are pcmu,pcma\"");
    assert_eq!(bench.switch.calls().count(), 1);
    assert!(bench.cdrs.is_empty());
}

#[test]
fn reinvite_without_offer_is_answered_by_ours_and_the_ack_is_taken() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.heard(Event::Reinvite { leg, body: None });
    assert!(matches!(bench.sip_command(), Sip::AcceptReinvite { body, .. } if body.bytes == b"pcmu,pcma"));
    bench.heard(Event::Acked { leg, body: sdp("pcma") });
    let taken = Media::SetAnswer { leg: LegId(1), answer: b"pcma".to_vec() };
    assert_eq!(bench.media_count(|m| *m == taken), 1);
}

#[test]
fn invite_without_offer_gets_ours_in_the_200_and_the_answer_in_the_ack() {
    // Field problem 15; RFC 3261 §13.2.1.
    let mut bench = Bench::new();
    bench.phone("alice", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("100", "");
    let (phone, _) = bench.invite();
    bench.heard(Event::Provisional { leg: phone, status: 183, body: sdp("pcmu") });
    assert!(bench.sip.is_empty(), "an offer does not fit into an unreliable 183");
    bench.heard(Event::Answered { leg: phone, body: sdp("pcmu") });
    assert!(
        matches!(bench.sip_command(), Sip::Answer { leg, body } if leg == trunk && body.bytes == b"pcmu,pcma")
    );
    bench.heard(Event::Acked { leg: trunk, body: sdp("pcma") });
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].caller_codec, Some(Codec::Pcma));
}

#[test]
fn an_offer_of_ours_that_the_ack_does_not_answer_ends_the_call() {
    let mut bench = Bench::new();
    bench.phone("alice", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("100", "");
    let (phone, _) = bench.invite();
    bench.heard(Event::Answered { leg: phone, body: sdp("pcmu") });
    bench.heard(Event::Acked { leg: trunk, body: None });
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Local });
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::BadSdp);
}

#[test]
fn invite_with_a_body_that_is_no_sdp_gets_488_with_warning() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    let leg = bench.trunk_calls("100", "garbage");
    let Sip::Reject { status, headers, .. } = bench.sip_command() else { panic!() };
    assert_eq!(status, 488);
    assert!(headers.iter().any(|(n, v)| *n == "Warning" && v.starts_with("399 ")), "{headers:?}");
    assert!(bench.take_said(ALICE).is_empty(), "nobody rings");
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
}

#[test]
fn invite_without_common_codec_gets_488_naming_both_lists() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.trunk_calls("100", "g729");
    let Sip::Reject { status: 488, headers, .. } = bench.sip_command() else { panic!() };
    let warning = headers.iter().find(|(n, _)| *n == "Warning").unwrap();
    assert!(warning.1.contains("g729") && warning.1.contains("pcmu,pcma"), "{warning:?}");
}

#[test]
fn a_browser_may_offer_anew_in_its_call() {
    let mut bench = Bench::new();
    talking(&mut bench);
    bench.browser(ALICE, FromBrowser::Offer { call: "c1".into(), sdp: "opus".into() });
    assert!(matches!(bench.take_said(ALICE).as_slice(), [ToBrowser::Sdp { .. }]));
    bench.browser(ALICE, FromBrowser::Offer { call: "c1".into(), sdp: "garbage".into() });
    assert_eq!(errors(&bench.take_said(ALICE)), ["bad-sdp"]);
    assert_eq!(bench.switch.calls().count(), 1);
}

#[test]
fn offers_without_end_are_refused_while_four_wait() {
    let mut bench = Bench::new();
    talking(&mut bench);
    bench.plane.mute = true;
    for _ in 0..6 {
        bench.browser(ALICE, FromBrowser::Offer { call: "c1".into(), sdp: "opus".into() });
    }
    assert_eq!(errors(&bench.take_said(ALICE)), ["bad-message", "bad-message"]);
}

#[test]
fn silence_is_told_to_the_page_and_noted_in_the_record() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    let expected = "10.0.0.7:4000".to_owned();
    bench.media(CallId(1), MediaEvent::Silent { leg: LegId(1), expected });
    assert_eq!(errors(&bench.take_said(ALICE)), ["no-audio"]);
    assert!(bench.logs.iter().all(|(level, _, t)| *level == b2bua::Level::Debug || !t.contains("10.0.0.7")));
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: None } });
    assert!(bench.cdrs[0].notes[0].contains("no audio has come from the callee"));
    assert!(bench.cdrs[0].notes[0].contains("10.0.0.7:4000"));
}

#[test]
fn final_counters_arrive_in_the_record() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: Some(31) } });
    assert_eq!(bench.cdrs[0].q850, 31);
    let mut bench = Bench::new();
    bench.plane.stuck = true;
    let leg = talking(&mut bench);
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: None } });
    let stats = |n| LegStats { packets_in: n, ..LegStats::default() };
    bench.media(CallId(1), MediaEvent::Stats { leg: CALLER, stats: stats(11) });
    bench.media(CallId(1), MediaEvent::Stats { leg: LegId(1), stats: stats(12) });
    bench.media(CallId(1), MediaEvent::Closed);
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].caller_media.unwrap().packets_in, 11);
    assert_eq!(bench.cdrs[0].callee_media.unwrap().packets_in, 12);
}

#[test]
fn both_sides_quality_is_shown_to_the_browser_in_words() {
    let mut bench = Bench::new();
    talking(&mut bench);
    let mut told = |leg, mos, cause| {
        let moment = Some(Moment { mos, cause, loss_in: None, loss_out: None });
        let stats = LegStats { moment, ..LegStats::default() };
        bench.media(CallId(1), MediaEvent::Stats { leg, stats });
        bench.said.iter().rev().find_map(|(_, message)| match message {
            ToBrowser::Quality { side, mos, reason, .. } => Some((*side, *mos, reason.clone())),
            _ => None,
        })
    };
    assert_eq!(told(CALLER, 4.387_21, None), Some((Side::Near, 4.39, None)));
    let reason = Some("12 % loss from their phone".to_owned());
    assert_eq!(told(LegId(1), 3.2, Some(Cause::LostFrom(0.12))), Some((Side::Far, 3.2, reason)));
}

#[test]
fn a_peer_that_falls_silent_is_asked_every_half_minute_whether_it_is_there() {
    // Field problem 23: RFC 3261 §11.2 inside the call.
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    let mut asked = Vec::new();
    for second in (0..200).step_by(5) {
        // It speaks for a minute.
        let packets_in = 50 * second.min(60);
        let stats = LegStats { packets_in, ..LegStats::default() };
        bench.media(CallId(1), MediaEvent::Stats { leg: LegId(1), stats });
        bench.media(CallId(1), MediaEvent::Stats { leg: CALLER, stats: LegStats::default() });
        while let Some(command) = bench.sip.pop_front() {
            assert!(matches!(command, Sip::Probe { leg: of } if of == leg), "{command:?}");
            asked.push(second);
        }
        bench.pass(Duration::from_secs(5));
    }
    assert_eq!(asked, [90, 120, 150, 180]);
    let end = LegEnd::Unreachable { why: None };
    bench.heard(Event::Ended { leg, end });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::PeerGone);
}

#[test]
fn a_call_ends_after_four_hours() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.pass(limits::CALL_DURATION);
    assert!(matches!(bench.sip_command(), Sip::HangUp { .. }));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::MaxDuration);
}

#[test]
fn a_media_plane_that_never_answers_ends_the_call_as_our_fault() {
    let mut bench = Bench::new();
    bench.plane.mute = true;
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    bench.pass(Duration::from_secs(6));
    bench.media(CallId(1), MediaEvent::Closed);
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::Internal);
}

#[test]
fn an_overloaded_media_worker_ends_the_call_that_asked() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    let (now, wall) = (bench.now, bench.wall);
    bench.switch.media_overloaded(CallId(1), now, wall);
    bench.drain();
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::GatewayOverloaded);
}

#[test]
fn calls_spread_over_workers_and_stay_there() {
    let mut bench = Bench::new();
    talking(&mut bench);
    bench.sign_in(BOB, "bob");
    bench.call(BOB, "+12025550100");
    let workers = |call| {
        let mut all: Vec<u8> =
            bench.plane.commands.iter().filter(|(_, c)| c.call == CallId(call)).map(|(w, _)| w.0).collect();
        all.dedup();
        all
    };
    assert_eq!((workers(1), workers(2)), (vec![0], vec![1]));
}

#[test]
fn limits_of_user_trunk_and_session_hold() {
    let mut config = config();
    let mut users = config.users.to_vec();
    users.iter_mut().for_each(|user| user.max_calls = Some(1));
    config.users = users.into();
    config.trunks[0].max_calls = Some(1);
    let mut bench = Bench::with(config);
    let leg = talking(&mut bench);
    bench.sign_in(ALICE_TAB, "alice");
    bench.call(ALICE_TAB, "+12025550100");
    bench.take_said(ALICE_TAB);
    assert_eq!(bench.cdrs.pop().unwrap().reason, EndReason::TooManyCalls);
    // Alice is in a call and may have one: who calls her hears busy.
    bench.sign_in(BOB, "bob");
    bench.call(BOB, "alice");
    assert_eq!(bench.cdrs.pop().unwrap().reason, EndReason::Busy);
    // The carrier is full: the next trunk of the route takes the call.
    bench.call(BOB, "+12025550100");
    let (backup, invite) = bench.invite();
    assert!(invite.uri.ends_with("@backup.example"));
    bench.heard(Event::Ended { leg: backup, end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: None } });
    bench.assert_over(2);
    bench.call(ALICE_TAB, "+12025550100");
    assert_eq!(bench.switch.calls().count(), 1, "what was used is free again");
}

#[test]
fn a_session_has_at_most_eight_calls_each_with_its_own_name() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    bench.take_said(ALICE);
    bench.call(ALICE, "+12025550100");
    assert_eq!(errors(&bench.take_said(ALICE)), ["bad-message"], "same name");
    for n in 2..=9 {
        let (call, to, sdp) = (format!("c{n}"), "+12025550100".into(), "opus".into());
        bench.browser(ALICE, FromBrowser::Call { call, to, sdp });
    }
    assert_eq!(errors(&bench.take_said(ALICE)), ["too-many-calls"]);
    assert_eq!(bench.switch.calls().count(), limits::CALLS_PER_SESSION);
}

#[test]
fn a_browser_with_eight_calls_is_busy() {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    bench.sign_in(ALICE, "alice");
    bench.sign_in(ALICE_TAB, "alice");
    for n in 0..limits::CALLS_PER_SESSION {
        let (call, to, sdp) = (format!("c{n}"), "bob".into(), "opus".into());
        bench.browser(ALICE, FromBrowser::Call { call, to, sdp });
    }
    bench.call(ALICE_TAB, "bob");
    assert_eq!(bench.cdrs[0].reason, EndReason::Busy);
}

/// We register at the second trunk, under a name of ours.
fn backup_registered() -> b2bua::SwitchConfig {
    let mut config = config();
    config.trunks[1].registration = Some(b2bua::TrunkRegistration {
        registrar: "sip:backup.example".into(),
        aor: "sip:4930@backup.example".into(),
        expires: 600,
        instance: None,
    });
    config.trunks[1].contact_user = "k7xq".into();
    config
}

#[test]
fn trunk_calls_are_known_by_address_source_and_registration() {
    let mut bench = Bench::with(backup_registered());
    assert!(matches!(bench.sip_command(), Sip::Register(..)));
    bench.sign_in(ALICE, "alice");
    let mut rings = |from: &str, to: &str| {
        let fields = vec![];
        let leg = bench.invited("sip:x@y", to, from, fields, "pcmu");
        let first = bench.sip.pop_front();
        bench.sip.clear();
        bench.heard(Event::Ended { leg, end: LegEnd::Cancelled { reason: None } });
        matches!(first, Some(Sip::Provisional { status: 180, .. }))
    };
    assert!(rings(TRUNK, "sip:100@192.0.2.1"), "its own address and port");
    assert!(!rings("203.0.113.5:9999", "sip:100@192.0.2.1"), "another port of it");
    assert!(rings("198.51.100.77:1234", "sip:100@192.0.2.1"), "a configured source");
    assert!(!rings("203.0.113.6:7777", "sip:100@192.0.2.1"), "registered, but not our Contact");
    assert!(!rings("192.0.2.200:5060", "sip:k7xq@192.0.2.1"), "our Contact, but another source");
}

#[test]
fn a_registered_trunks_call_to_our_contact_is_for_the_number_in_to() {
    let mut bench = Bench::with(backup_registered());
    bench.sign_in(ALICE, "alice");
    bench.sip.clear();
    let fields = vec![
        ("From", "<sip:+12025550177@backup.example>;tag=1".to_owned()),
        ("To", "<sip:+12025550110@backup.example>".to_owned()),
        ("Contact", "<sip:x@203.0.113.6>".to_owned()),
    ];
    let request = bench.request("INVITE sip:k7xq@192.0.2.1", &fields, "pcmu");
    let leg = SipLeg::incoming(77);
    bench.heard(Event::Invite { leg, request, flow: flow("203.0.113.6:7777"), replaces: None });
    bench.incoming(ALICE);
}

#[test]
fn the_callers_own_domain_behind_a_number_is_no_obstacle() {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    bench.sign_in(ALICE, "alice");
    for to in ["sip:bob@example.com", "bob@192.0.2.1:5060", "101"] {
        bench.call(ALICE, to);
        bench.incoming(BOB);
        bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
        bench.take_said(BOB);
    }
    bench.call(ALICE, "bob@elsewhere.example");
    assert_eq!(bench.cdrs.pop().unwrap().reason, EndReason::UnknownNumber);
    let phone = bench.phone_calls("alice", "bob", "192.0.2.60:5060", "pcmu");
    assert!(matches!(bench.sip_command(), Sip::Provisional { leg, .. } if leg == phone));
    assert_eq!(bench.cdrs.len(), 3);
}
