//! Several devices of one user ring at once.

use crate::rig::*;
use media_bridge::control::{Command as Media, Event as MediaEvent, Source, Srtp};
use sip_ua::{Command as Sip, Event, LegEnd, SipLeg};
use types::{CallId, EndReason, LegId};
use webrtc_peer::signalling::{CallState, FromBrowser, ToBrowser};

const PHONE: &str = "192.0.2.50:5070";
const PHONE_B: &str = "192.0.2.51:5070";

fn refused(leg: SipLeg, status: u16) -> Event {
    let end = LegEnd::Refused { status, reason: String::new(), q850: None, retry_after: None };
    Event::Ended { leg, end }
}

fn reasons(said: &[ToBrowser]) -> Vec<&str> {
    said.iter()
        .filter_map(|m| match m {
            ToBrowser::Ended { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
        .collect()
}

/// Bob has two browsers and two phones; the carrier calls him.
struct Four {
    bench: Bench,
    trunk: SipLeg,
    phones: [SipLeg; 2],
    tabs: [String; 2],
}

const TAB: types::SessionId = types::SessionId(30);

fn four() -> Four {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    bench.sign_in(TAB, "bob");
    bench.phone("bob", PHONE);
    bench.phone("bob", PHONE_B);
    let trunk = bench.trunk_calls("101", "pcmu");
    assert!(matches!(bench.sip_command(), Sip::Provisional { status: 180, .. }));
    let phones = [bench.invite().0, bench.invite().0];
    let tabs = [bench.incoming(BOB), bench.incoming(TAB)];
    Four { bench, trunk, phones, tabs }
}

#[test]
fn every_device_rings_and_the_caller_hears_one_180() {
    let mut four = four();
    for leg in four.phones {
        four.bench.heard(Event::Provisional { leg, status: 180, body: None });
    }
    assert!(four.bench.sip.is_empty());
    assert_ne!(four.tabs[0], four.tabs[1]);
}

#[test]
fn a_phone_that_answers_first_stops_the_others() {
    let mut four = four();
    let bench = &mut four.bench;
    bench.heard(Event::Answered { leg: four.phones[0], body: sdp("pcmu") });
    assert_eq!(reasons(&bench.take_said(BOB)), ["answered-elsewhere"]);
    assert_eq!(reasons(&bench.take_said(TAB)), ["answered-elsewhere"]);
    let Sip::HangUp { leg, reason } = bench.sip_command() else { panic!() };
    assert_eq!(leg, four.phones[1]);
    assert_eq!(reason.as_deref(), Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert!(matches!(bench.sip_command(), Sip::Answer { leg, .. } if leg == four.trunk));
    bench.heard(refused(four.phones[1], 487));
    bench.heard(Event::Ended { leg: four.phones[0], end: LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: four.trunk, end: LegEnd::Local });
    bench.assert_over(1);
}

#[test]
fn a_browser_that_answers_first_stops_the_others() {
    let mut four = four();
    let bench = &mut four.bench;
    bench.browser(BOB, FromBrowser::Offer { call: four.tabs[0].clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call: four.tabs[0].clone() });
    assert_eq!(reasons(&bench.take_said(TAB)), ["answered-elsewhere"]);
    for phone in four.phones {
        assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == phone));
    }
    bench.media(CallId(1), MediaEvent::Connected { leg: LegId(1) });
    assert!(matches!(bench.sip_command(), Sip::Answer { .. }));
    // The loser's answer crosses: it changes nothing.
    bench.browser(TAB, FromBrowser::Answer { call: four.tabs[1].clone() });
    bench.heard(Event::Answered { leg: four.phones[0], body: sdp("pcmu") });
    assert!(bench.sip.is_empty());
    bench.browser(BOB, FromBrowser::Bye { call: four.tabs[0].clone() });
    for leg in [four.phones[0], four.phones[1], four.trunk] {
        bench.heard(Event::Ended { leg, end: LegEnd::Local });
    }
    bench.assert_over(1);
}

#[test]
fn one_decline_leaves_the_others_ringing_and_all_declines_end_the_call() {
    let mut four = four();
    let bench = &mut four.bench;
    bench.browser(BOB, FromBrowser::Decline { call: four.tabs[0].clone() });
    assert_eq!(reasons(&bench.take_said(BOB)), ["declined"]);
    assert!(bench.sip.is_empty());
    bench.heard(refused(four.phones[0], 486));
    bench.heard(refused(four.phones[1], 480));
    assert!(bench.sip.is_empty());
    bench.browser(TAB, FromBrowser::Decline { call: four.tabs[1].clone() });
    let Sip::Reject { status, .. } = bench.sip_command() else { panic!() };
    assert_eq!(status, 603, "a person's decline says more than a busy phone");
    bench.heard(Event::Ended { leg: four.trunk, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::Declined);
}

#[test]
fn a_603_of_a_phone_stops_all_devices() {
    // RFC 3261 §16.7 step 5: a 6xx speaks for the person.
    let mut four = four();
    let bench = &mut four.bench;
    bench.heard(refused(four.phones[0], 603));
    assert!(matches!(bench.sip_command(), Sip::Reject { status: 603, .. }));
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == four.phones[1]));
    assert_eq!(reasons(&bench.take_said(TAB)), ["declined"]);
}

#[test]
fn busy_everywhere_is_busy_and_unreachable_everywhere_is_not_registered() {
    for (status, expected) in [(486, EndReason::Busy), (408, EndReason::NotRegistered)] {
        let mut bench = Bench::new();
        bench.phone("bob", PHONE);
        bench.phone("bob", PHONE_B);
        bench.sign_in(ALICE, "alice");
        bench.call(ALICE, "bob");
        let (first, _) = bench.invite();
        let (second, _) = bench.invite();
        bench.heard(Event::Ended { leg: first, end: LegEnd::Unreachable { why: None } });
        bench.heard(refused(second, status));
        bench.assert_over(1);
        assert_eq!(bench.cdrs[0].reason, expected);
    }
}

#[test]
fn a_tab_that_closes_stops_ringing_there_only() {
    let mut four = four();
    let bench = &mut four.bench;
    bench.signal(BOB, b2bua::SignalIn::Closed);
    assert!(bench.sip.is_empty());
    assert!(bench.take_said(BOB).is_empty());
    assert_eq!(bench.switch.calls().count(), 1);
}

#[test]
fn the_device_that_calls_its_own_user_does_not_ring() {
    let mut bench = Bench::new();
    bench.sign_in(ALICE, "alice");
    bench.sign_in(ALICE_TAB, "alice");
    bench.call(ALICE, "100");
    bench.incoming(ALICE_TAB);
    assert!(!bench.said.iter().any(|(_, m)| matches!(m, ToBrowser::Incoming { .. })));
    let mut bench = Bench::new();
    bench.phone("alice", PHONE);
    let leg = bench.phone_calls("alice", "alice", PHONE, "pcmu");
    assert!(matches!(bench.sip_command(), Sip::Reject { leg: l, status: 480, .. } if l == leg));
}

#[test]
fn a_second_phones_early_media_does_not_displace_the_firsts() {
    let mut bench = Bench::new();
    bench.phone("bob", PHONE);
    bench.phone("bob", PHONE_B);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "bob");
    let (first, _) = bench.invite();
    let (second, _) = bench.invite();
    bench.heard(Event::Provisional { leg: first, status: 183, body: sdp("pcmu") });
    bench.heard(Event::Provisional { leg: second, status: 183, body: sdp("pcmu") });
    let heard = |m: &Media| matches!(m, Media::SetSource { leg: CALLER, source: Source::Leg(LegId(2)) });
    assert_eq!(bench.media_count(heard), 0);
    bench.heard(Event::Answered { leg: second, body: sdp("pcmu") });
    assert_eq!(bench.media_count(heard), 1, "but its answer does");
    assert!(bench.media_count(|m| *m == Media::Remove { leg: LegId(1) }) == 1);
}

#[test]
fn a_phone_whose_early_media_ends_gives_way_to_ringback() {
    let mut bench = Bench::new();
    bench.phone("bob", PHONE);
    bench.phone("bob", PHONE_B);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "bob");
    let (first, _) = bench.invite();
    let (second, _) = bench.invite();
    bench.heard(Event::Provisional { leg: second, status: 180, body: None });
    bench.heard(Event::Provisional { leg: first, status: 183, body: sdp("pcmu") });
    bench.heard(refused(first, 486));
    let last = bench.plane.commands.last().map(|(_, c)| c.command.clone());
    let tone = Source::Tone(media_bridge::control::Tone::Ringback);
    assert_eq!(last, Some(Media::SetSource { leg: CALLER, source: tone }));
}

#[test]
fn an_unusable_browser_offer_takes_only_that_browser_out() {
    let mut four = four();
    let bench = &mut four.bench;
    bench.browser(BOB, FromBrowser::Offer { call: four.tabs[0].clone(), sdp: "garbage".into() });
    let said = bench.take_said(BOB);
    assert!(matches!(&said[0], ToBrowser::Error { code, .. } if code == "bad-sdp"), "{said:?}");
    assert_eq!(reasons(&said), ["bad-sdp"]);
    assert!(bench.sip.is_empty());
    assert_eq!(bench.switch.calls().count(), 1);
}

#[test]
fn ringback_reaches_a_browser_once_for_many_devices() {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    bench.phone("bob", PHONE);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "bob");
    let (phone, _) = bench.invite();
    bench.heard(Event::Provisional { leg: phone, status: 180, body: None });
    let said = bench.take_said(ALICE);
    let rings = said.iter().filter(|m| matches!(m, ToBrowser::State { state: CallState::Ringing, .. }));
    assert_eq!(rings.count(), 1);
    assert_eq!(bench.media_count(|m| matches!(m, Media::SetSource { source: Source::Tone(_), .. })), 1);
}

#[test]
fn a_phone_that_refuses_our_offer_is_asked_once_more_for_encrypted_audio() {
    // RFC 4568 §5.1.1: a phone that insists on RTP/SAVP takes nothing else; whoever refuses that too is done.
    let mut bench = Bench::new();
    bench.phone("bob", PHONE);
    let trunk = bench.trunk_calls("101", "pcmu");
    let offered = |bench: &Bench| {
        let all = bench.plane.commands.iter().filter_map(|(_, c)| match &c.command {
            Media::Offer { params, .. } => Some(params.srtp),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    let (plain, first) = bench.invite();
    bench.heard(refused(plain, 488));
    let (encrypted, second) = bench.invite();
    assert_eq!((first.uri, first.target), (second.uri, second.target));
    assert_eq!(offered(&bench), [Srtp::IfOffered, Srtp::Required]);
    assert!(bench.sip.is_empty());
    bench.heard(refused(encrypted, 488));
    assert!(matches!(bench.sip_command(), Sip::Reject { leg, status: 488, .. } if leg == trunk));
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Local });
    bench.assert_over(1);
}
