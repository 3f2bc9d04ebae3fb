//! Load of the media workers: where calls go, when they are refused, and what becomes of calls whose worker is gone.

use std::time::Duration;

use b2bua::{FULL_LOAD, ROOM_AGAIN, UserConfig, WorkerLoad};
use sip_ua::{Command as Sip, Event, LegEnd, SipLeg};
use types::{CallId, EndReason};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

use crate::rig::*;

fn bye(leg: SipLeg) -> Event {
    Event::Ended { leg, end: LegEnd::Bye { q850: None } }
}

fn loads(bench: &mut Bench, loads: &[WorkerLoad]) {
    bench.switch.handle_loads(loads.iter().copied(), bench.now, bench.wall);
    bench.drain();
}

fn busy(bench: &mut Bench, all: &[f32]) {
    loads(bench, &all.iter().map(|load| WorkerLoad::Busy(*load)).collect::<Vec<_>>());
}

/// RFC 3261 §21.5.4: 503 with Retry-After; what it says to a person is plain.
fn is_refused(bench: &mut Bench, why: &str) {
    let Sip::Reject { leg, status: 503, reason, headers } = bench.sip_command() else { panic!() };
    assert!(reason.contains(why), "{reason}");
    assert!(headers.contains(&("Retry-After", "5".into())), "{headers:?}");
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
}

#[test]
fn a_call_goes_to_the_worker_with_least_load_and_stays_there() {
    let mut bench = Bench::new();
    busy(&mut bench, &[0.6, 0.3]);
    talking(&mut bench);
    busy(&mut bench, &[0.1, 0.8]);
    bench.browser(ALICE, FromBrowser::Hold { call: "c1".into() });
    assert!(bench.plane.commands.iter().all(|(worker, _)| worker.0 == 1), "{:?}", bench.plane.commands);
}

#[test]
fn when_all_workers_are_full_new_calls_are_503_with_retry_after_and_a_sentence_until_there_is_room() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.sip.clear();
    busy(&mut bench, &[FULL_LOAD, FULL_LOAD + 0.1]);
    bench.trunk_calls("100", "pcmu");
    is_refused(&mut bench, "The gateway is at its limit");
    bench.browser(ALICE, FromBrowser::Call { call: "c2".into(), to: "101".into(), sdp: "opus".into() });
    let said = bench.take_said(ALICE);
    assert!(
        matches!(&said[..], [ToBrowser::Error { code, message, call: Some(call) }]
            if code == "busy-gateway" && message.contains("at its limit") && call == "c2"),
        "{said:?}"
    );
    assert_eq!(bench.switch.refused().collect::<Vec<_>>(), [(EndReason::GatewayOverloaded, 2)]);
    assert_eq!(bench.switch.calls().count(), 1, "the call that runs goes on");
    busy(&mut bench, &[ROOM_AGAIN - 0.01, FULL_LOAD + 0.1]);
    bench.browser(
        ALICE,
        FromBrowser::Call { call: "c3".into(), to: "+12025550100".into(), sdp: "opus".into() },
    );
    bench.invite();
    bench.heard(bye(leg));
    assert_eq!(bench.cdrs.len(), 1, "who was refused has no record");
}

#[test]
fn help_is_called_and_a_call_is_transferred_whatever_the_load() {
    let mut config = config();
    let american = |u: &UserConfig| UserConfig { country: Some(country("US")), ..u.clone() };
    config.users = config.users.iter().map(american).collect::<Vec<_>>().into();
    let mut bench = Bench::with(config);
    talking(&mut bench);
    busy(&mut bench, &[1.0, 1.0]);
    bench.browser(ALICE, FromBrowser::Call { call: "c2".into(), to: "911".into(), sdp: "opus".into() });
    assert!(bench.invite().1.uri.starts_with("sip:911@"));
    bench.browser(
        ALICE,
        FromBrowser::Transfer { call: "c1".into(), to: Some("+12025550103".into()), with: None },
    );
    bench.invite();
    assert_eq!(bench.switch.refused().count(), 0);
}

#[test]
fn calls_whose_worker_is_gone_end_with_a_reason_and_others_and_new_ones_go_on() {
    let mut bench = Bench::new();
    busy(&mut bench, &[0.0, 0.5]);
    let leg = talking(&mut bench);
    bench.sip.clear();
    loads(&mut bench, &[WorkerLoad::Gone, WorkerLoad::Busy(0.5)]);
    assert!(matches!(bench.sip_command(), Sip::HangUp { .. }));
    let said = bench.take_said(ALICE);
    assert!(
        said.iter().any(|m| matches!(m, ToBrowser::Ended { reason, text, .. }
            if reason == "internal" && text == EndReason::Internal.sentence())),
        "{said:?}"
    );
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!((bench.cdrs[0].reason, bench.cdrs[0].call), (EndReason::Internal, CallId(1)));
    bench.plane.commands.clear();
    bench.call(ALICE, "+12025550100");
    assert!(bench.plane.commands.iter().all(|(worker, _)| worker.0 == 1));
    bench.invite();
    loads(&mut bench, &[WorkerLoad::Gone, WorkerLoad::Gone]);
    bench.trunk_calls("100", "pcmu");
    bench.sip.retain(|c| matches!(c, Sip::Reject { .. }));
    is_refused(&mut bench, "The gateway is at its limit");
}

#[test]
fn a_draining_gateway_takes_no_new_calls_but_those_that_run_go_on_and_registrations_are_answered() {
    let mut bench = Bench::new();
    let leg = talking(&mut bench);
    bench.sip.clear();
    bench.switch.drain();
    bench.drain();
    bench.trunk_calls("100", "pcmu");
    is_refused(&mut bench, "The gateway is being stopped");
    bench.browser(ALICE, FromBrowser::Call { call: "c2".into(), to: "101".into(), sdp: "opus".into() });
    let said = bench.take_said(ALICE);
    assert!(
        matches!(&said[..], [ToBrowser::Error { code, message, .. }]
            if code == "gateway-stopping" && message.contains("being stopped")),
        "{said:?}"
    );
    bench.phone("bob", "192.0.2.90:5060");
    bench.browser(ALICE, FromBrowser::Hold { call: "c1".into() });
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.switch.calls().count(), 1);
    bench.browser(
        ALICE,
        FromBrowser::Transfer { call: "c1".into(), to: Some("+12025550103".into()), with: None },
    );
    bench.sip.retain(|c| matches!(c, Sip::Invite(..)));
    let (target, _) = bench.invite();
    bench.heard(Event::Answered { leg: target, body: sdp("pcmu") });
    assert_eq!(bench.closed, [], "nobody is sent away");
    bench.heard(bye(leg));
    bench.heard(Event::Ended { leg: target, end: LegEnd::Local });
    bench.assert_over(2);
    assert_eq!(bench.switch.refused().collect::<Vec<_>>(), [(EndReason::GatewayStopping, 2)]);
}
