//! Two endpoints call each other over a clean and over a bad network.

use crate::kit;
use crate::kit::{Net, invite, sdp, text};
use sip_ua::{Command, Event, LegEnd, SipLeg};

fn call(net: &mut Net) -> (SipLeg, SipLeg) {
    let leg = SipLeg::outgoing(1);
    net.command(0, Command::Invite(leg, invite(kit::BOB)));
    net.run_millis(100);
    let theirs = net.parties[1].incoming();
    (leg, theirs)
}

fn established(net: &mut Net) -> (SipLeg, SipLeg) {
    let (ours, theirs) = call(net);
    net.command(1, Command::Answer { leg: theirs, body: sdp("answer") });
    net.run_millis(200);
    (ours, theirs)
}

#[test]
fn a_call_rings_is_answered_and_hung_up_by_the_caller() {
    let mut net = Net::new(1, 0);
    let (ours, theirs) = call(&mut net);
    net.command(1, Command::Provisional { leg: theirs, status: 180, body: None });
    net.run_millis(100);
    net.command(1, Command::Answer { leg: theirs, body: sdp("answer") });
    net.run_millis(200);
    let events = net.parties[0].take_events();
    assert!(matches!(&events[0], Event::Trying { leg } if *leg == ours), "the 100");
    assert!(matches!(&events[1], Event::Provisional { leg, status: 180, body: None } if *leg == ours));
    assert!(matches!(&events[2], Event::Answered { leg, body } if *leg == ours && text(body) == "answer"));
    assert_eq!(events.len(), 3);
    let events = net.parties[1].take_events();
    assert!(matches!(&events[0], Event::Invite { request, .. } if request.body() == b"offer"));
    assert!(matches!(&events[1], Event::Acked { leg, body: None } if *leg == theirs));
    net.command(0, Command::HangUp { leg: ours, reason: Some("Q.850;cause=16".into()) });
    net.run_millis(200);
    assert_eq!(net.parties[0].ends(), vec![(ours, LegEnd::Local)]);
    assert_eq!(net.parties[1].ends(), vec![(theirs, LegEnd::Bye { q850: Some(16) })]);
    net.assert_drained();
}

#[test]
fn a_call_is_hung_up_by_the_callee() {
    let mut net = Net::new(2, 0);
    let (ours, theirs) = established(&mut net);
    net.command(1, Command::HangUp { leg: theirs, reason: None });
    net.run_millis(200);
    assert_eq!(net.parties[0].ends(), vec![(ours, LegEnd::Bye { q850: None })]);
    assert_eq!(net.parties[1].ends(), vec![(theirs, LegEnd::Local)]);
    net.assert_drained();
}

#[test]
fn a_cancelled_call_ends_on_both_sides() {
    let mut net = Net::new(3, 0);
    let (ours, theirs) = call(&mut net);
    net.command(0, Command::HangUp { leg: ours, reason: Some("SIP;cause=200".into()) });
    net.run_millis(200);
    assert_eq!(net.parties[0].ends(), vec![(ours, LegEnd::Local)]);
    let reason = Some("SIP;cause=200".to_owned());
    assert_eq!(net.parties[1].ends(), vec![(theirs, LegEnd::Cancelled { reason })]);
    net.assert_drained();
}

#[test]
fn a_refusal_carries_status_phrase_and_cause() {
    let mut net = Net::new(4, 0);
    let (ours, theirs) = call(&mut net);
    let headers = vec![("Reason", "Q.850;cause=17".to_owned()), ("Retry-After", "30 (busy)".to_owned())];
    net.command(1, Command::Reject { leg: theirs, status: 486, reason: String::new(), headers });
    net.run_millis(200);
    let end =
        LegEnd::Refused { status: 486, reason: "Busy Here".into(), q850: Some(17), retry_after: Some(30) };
    assert_eq!(net.parties[0].ends(), vec![(ours, end)]);
    assert_eq!(net.parties[1].ends(), vec![(theirs, LegEnd::Local)]);
    net.assert_drained();
}
