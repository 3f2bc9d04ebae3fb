//! Several targets and trunks: which is tried when (RFC 3263 §4.3, RFC 3261 §21.5.4).

#![allow(clippy::wildcard_enum_match_arm, reason = "one kind of command is looked for")]

use std::net::SocketAddr;
use std::time::Duration;

use crate::rig::*;
use b2bua::{
    FIRST_PAUSE, LONGEST_PAUSE, PING_EVERY, PING_FAILED, TRUNK_PATIENCE, TrunkRegistration, TrunkTarget,
};
use sip_ua::{Command as Sip, Event, LegEnd, PingId, RegistrationState, SipLeg, Target};
use types::EndReason;
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

const ONE: &str = "203.0.113.5:5060";
const TWO: &str = "203.0.113.25:5060";
const THREE: &str = "203.0.113.35:5060";
const NUMBER: &str = "+12025550100";

fn ranked(remote: &str, priority: u32, weight: u32) -> TrunkTarget {
    TrunkTarget { target: udp(remote), priority, weight }
}

/// The trunk `carrier` has these targets, `backup` its own one.
fn bench(targets: &[TrunkTarget]) -> Bench {
    let mut config = config();
    config.trunks[0].targets = targets.to_vec();
    let mut bench = Bench::with(config);
    bench.switch.handle_timeout(bench.now, bench.wall);
    bench.drain();
    bench.sign_in(ALICE, "alice");
    bench
}

/// Where the INVITE that just went out goes.
fn invited(bench: &mut Bench) -> (SipLeg, SocketAddr) {
    let (leg, invite) = bench.invite();
    (leg, invite.target.remote())
}

fn dials(bench: &mut Bench) -> (SipLeg, SocketAddr) {
    bench.sip.clear();
    bench.call(ALICE, NUMBER);
    invited(bench)
}

fn refuse(bench: &mut Bench, leg: SipLeg, status: u16, retry_after: Option<u32>) {
    let end = LegEnd::Refused { status, reason: String::new(), q850: None, retry_after };
    bench.heard(Event::Ended { leg, end });
}

/// alice calls and the first that is asked is busy: only where it went matters.
fn first_choice(bench: &mut Bench) -> SocketAddr {
    let (leg, at) = dials(bench);
    refuse(bench, leg, 486, None);
    bench.cdrs.clear();
    at
}

#[test]
fn a_target_that_says_nothing_costs_four_seconds_and_its_late_answer_is_hung_up() {
    let mut bench = bench(&[ranked(ONE, 0, 1), ranked(TWO, 1, 1)]);
    let (silent, at) = dials(&mut bench);
    assert_eq!(at, addr(ONE));
    bench.pass(TRUNK_PATIENCE - Duration::from_millis(1));
    assert!(bench.sip.is_empty());
    bench.pass(Duration::from_millis(1));
    assert!(
        matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == silent),
        "CANCEL once it answers"
    );
    let (second, at) = invited(&mut bench);
    assert_eq!(at, addr(TWO));
    bench.heard(Event::Provisional { leg: second, status: 180, body: None });
    // The first one woke up after all: the endpoint has ended it, the call goes on.
    bench.heard(Event::Ended { leg: silent, end: LegEnd::Local });
    bench.heard(Event::Answered { leg: second, body: sdp("pcmu") });
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.heard(Event::Ended { leg: second, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::HungUp);
    assert!(bench.cdrs[0].notes.iter().any(|n| n.contains("asked next")), "{:?}", bench.cdrs[0].notes);
}

#[test]
fn a_target_that_says_trying_or_asks_for_a_password_is_waited_for() {
    let mut bench = bench(&[ranked(ONE, 0, 1), ranked(TWO, 1, 1)]);
    let (leg, _) = dials(&mut bench);
    bench.heard(Event::Trying { leg });
    bench.pass(Duration::from_secs(31));
    assert!(bench.sip.iter().all(|c| matches!(c, Sip::Ping { .. })), "{:?}", bench.sip);
}

#[test]
fn the_last_target_is_waited_for_as_long_as_the_transaction_lasts() {
    let mut config = config();
    config.routes[1].to.truncate(1);
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    let (leg, _) = dials(&mut bench);
    bench.pass(Duration::from_secs(31));
    assert!(bench.sip.is_empty());
    bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why: None } });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::TrunkUnreachable);
    assert_eq!(bench.cdrs[0].text, EndReason::TrunkUnreachable.sentence());
}

#[test]
fn what_the_transport_says_of_a_trunk_reaches_the_browser_and_the_record() {
    let mut config = config();
    config.routes[1].to.truncate(1);
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    let (leg, _) = dials(&mut bench);
    let why = Some("its certificate is for other.example, not for carrier.example".to_owned());
    bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why } });
    bench.assert_over(1);
    let words =
        "The carrier could not be reached: its certificate is for other.example, not for carrier.example.";
    assert_eq!((bench.cdrs[0].reason, bench.cdrs[0].text.as_str()), (EndReason::TrunkUnreachable, words));
    let told = bench.said.iter().any(|(_, m)| matches!(m, ToBrowser::Ended { text, .. } if text == words));
    assert!(told, "{:?}", bench.said);
}

#[test]
fn a_failed_target_is_tried_last_until_its_pause_is_over_which_doubles_up_to_five_minutes() {
    let mut bench = bench(&[ranked(ONE, 0, 1), ranked(TWO, 1, 1)]);
    let mut pause = FIRST_PAUSE;
    for _ in 0..6 {
        let (leg, at) = dials(&mut bench);
        assert_eq!(at, addr(ONE));
        bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why: None } });
        let (leg, at) = invited(&mut bench);
        assert_eq!(at, addr(TWO));
        refuse(&mut bench, leg, 486, None);
        bench.cdrs.clear();
        bench.pass(pause - Duration::from_millis(1));
        assert_eq!(first_choice(&mut bench), addr(TWO), "after almost {pause:?}");
        bench.pass(Duration::from_millis(1));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    assert_eq!(pause, LONGEST_PAUSE);
    assert_eq!(first_choice(&mut bench), addr(ONE));
    // It answered: the next failure counts as the first again.
    let (leg, _) = dials(&mut bench);
    bench.heard(Event::Ended { leg, end: LegEnd::Unreachable { why: None } });
    let (leg, _) = invited(&mut bench);
    refuse(&mut bench, leg, 486, None);
    bench.pass(FIRST_PAUSE);
    assert_eq!(first_choice(&mut bench), addr(ONE));
}

#[test]
fn a_503_leads_to_the_next_target_and_another_5xx_to_the_next_trunk() {
    let mut bench = bench(&[ranked(ONE, 0, 1), ranked(TWO, 1, 1)]);
    let (leg, _) = dials(&mut bench);
    refuse(&mut bench, leg, 503, None);
    let (leg, at) = invited(&mut bench);
    assert_eq!(at, addr(TWO));
    refuse(&mut bench, leg, 500, None);
    let (leg, at) = invited(&mut bench);
    assert_eq!(at, addr(TRUNK_B), "the trunk `backup`");
    refuse(&mut bench, leg, 486, None);
    bench.assert_over(1);
    bench.cdrs.clear();
    bench.pass(FIRST_PAUSE);
    let (leg, at) = dials(&mut bench);
    assert_eq!(at, addr(ONE));
    refuse(&mut bench, leg, 502, None);
    assert_eq!(invited(&mut bench).1, addr(TRUNK_B), "not the same trunk's second target");
}

#[test]
fn a_503_with_a_cause_about_the_number_is_the_callers_answer_and_says_nothing_against_the_target() {
    // RFC 3398 §7.2.4.1, Q.850: 1 is an unallocated number.
    let mut bench = bench(&[ranked(ONE, 0, 1), ranked(TWO, 1, 1)]);
    let (leg, remote) = dials(&mut bench);
    assert_eq!(remote, addr(ONE));
    let end = LegEnd::Refused { status: 503, reason: String::new(), q850: Some(1), retry_after: None };
    bench.heard(Event::Ended { leg, end });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::NumberNotInService);
    assert_eq!(first_choice(&mut bench), addr(ONE));
}

#[test]
fn a_target_that_named_a_time_gets_nothing_until_then_and_the_caller_learns_it() {
    let mut config = config();
    config.routes[1].to.truncate(1);
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.switch.handle_timeout(bench.now, bench.wall);
    let (leg, _) = dials(&mut bench);
    refuse(&mut bench, leg, 503, Some(120));
    bench.assert_over(1);
    bench.pass(Duration::from_secs(90));
    bench.sip.clear();
    let phone = bench.phone_calls("alice", NUMBER, "192.0.2.60:5060", "pcmu");
    let Sip::Reject { leg, status: 503, headers, .. } = bench.sip_command() else { panic!() };
    assert_eq!(leg, phone);
    assert!(headers.iter().any(|(n, v)| *n == "Retry-After" && v == "30"), "{headers:?}");
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    bench.pass(Duration::from_secs(30));
    assert_eq!(first_choice(&mut bench), addr(ONE));
}

#[test]
fn targets_of_one_priority_share_the_calls_by_weight() {
    let mut bench = bench(&[ranked(ONE, 0, 30), ranked(TWO, 0, 10), ranked(THREE, 1, 1000)]);
    let first: Vec<SocketAddr> = (0..400).map(|_| first_choice(&mut bench)).collect();
    let share = first.iter().filter(|at| **at == addr(ONE)).count();
    assert!((260..=340).contains(&share), "{share} of 400");
    assert!(!first.contains(&addr(THREE)), "a higher number is tried later");
}

/// The OPTIONS that just went out, by where they went.
fn pinged(bench: &mut Bench) -> Vec<(PingId, SocketAddr)> {
    let of = |command: Sip| match command {
        Sip::Ping { ping, target: Target::Address { remote, .. }, .. } => Some((ping, remote)),
        _ => None,
    };
    std::mem::take(&mut bench.sip).into_iter().filter_map(of).collect()
}

#[test]
fn silence_to_options_puts_a_target_last_and_an_answer_brings_it_back() {
    let mut bench = bench(&[ranked(ONE, 0, 1), ranked(TWO, 1, 1)]);
    bench.pass(PING_EVERY);
    let asked = pinged(&mut bench);
    assert!([ONE, TWO].iter().all(|t| asked.iter().any(|(_, at)| *at == addr(t))), "every target: {asked:?}");
    for (ping, at) in asked {
        let status = (at != addr(ONE)).then_some(200);
        bench.heard(Event::Pong { ping, status });
    }
    assert_eq!(first_choice(&mut bench), addr(TWO));
    bench.pass(PING_FAILED);
    let asked = pinged(&mut bench);
    assert_eq!(asked.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [addr(ONE)], "soon again, it alone");
    assert_eq!(first_choice(&mut bench), addr(TWO), "no answer yet");
    bench.heard(Event::Pong { ping: asked[0].0, status: Some(405) });
    assert_eq!(first_choice(&mut bench), addr(ONE));
}

#[test]
fn a_registration_moves_to_the_next_target_on_silence_and_503_and_stays_on_a_refusal() {
    let mut config = config();
    config.trunks[0].targets = vec![ranked(ONE, 0, 1), ranked(TWO, 1, 1)];
    config.trunks[0].registration = Some(TrunkRegistration {
        registrar: "sip:carrier.example".into(),
        aor: "sip:us@carrier.example".into(),
        expires: 600,
        instance: None,
    });
    let mut bench = Bench::with(config);
    bench.switch.handle_timeout(bench.now, bench.wall);
    bench.drain();
    let registers = |bench: &mut Bench| loop {
        match bench.sip_command() {
            Sip::Register(id, register) => break (id, register.target, register.patience),
            Sip::Unregister(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let failed = |status| RegistrationState::Failed { status, why: "x".into(), retry_in: 40 };
    let (id, target, patience) = registers(&mut bench);
    assert_eq!((target, patience), (udp(ONE), TRUNK_PATIENCE), "silence costs no more than with a call");
    bench.heard(Event::Registration { id, state: failed(None) });
    let (id, target, patience) = registers(&mut bench);
    assert_eq!((target, patience), (udp(TWO), Duration::from_secs(32)), "nobody else is left to ask");
    bench.heard(Event::Registration { id, state: RegistrationState::Registered { expires: 600 } });
    // Calls know it too: what the registration learnt counts for them.
    bench.sign_in(ALICE, "alice");
    assert_eq!(first_choice(&mut bench), addr(TWO));
    bench.pass(FIRST_PAUSE);
    bench.sip.clear();
    bench.heard(Event::Registration { id, state: failed(Some(403)) });
    assert!(bench.sip.is_empty(), "another server would say the same");
    bench.heard(Event::Registration { id, state: failed(Some(503)) });
    let (id, target, _) = registers(&mut bench);
    assert_eq!(target, udp(ONE));
    // Both are in their pauses: the endpoint's own longer and longer pause holds.
    bench.heard(Event::Registration { id, state: failed(None) });
    assert!(bench.sip.is_empty());
    assert!(matches!(
        bench.switch.trunks().next().unwrap().registration,
        Some(RegistrationState::Failed { .. })
    ));
}
