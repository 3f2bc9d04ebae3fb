//! We call, a scripted peer answers byte by byte.

use crate::kit;
use std::time::Duration;

use crate::kit::{Script, answer, field, invite, starts, text};
use sip_ua::{Command, Event, LegEnd, SipLeg};

const LEG: fn() -> SipLeg = || SipLeg::outgoing(1);
const CONTACT: &str = "Contact: <sip:bob@192.0.2.2:5062>";

fn calling() -> (Script, String) {
    let mut script = Script::new();
    let mut sent = script.command(Command::Invite(LEG(), invite(kit::BOB)));
    assert_eq!(sent.len(), 1);
    (script, sent.remove(0))
}

fn ok(invite: &str, tag: &str) -> String {
    answer(invite, "200 OK", tag, &format!("{CONTACT}\nContent-Type: application/sdp\n\nanswer"))
}

#[test]
fn the_invite_carries_what_rfc_3261_section_8_1_1_demands() {
    let (_, invite) = calling();
    assert!(invite.starts_with("INVITE sip:bob@192.0.2.2:5060 SIP/2.0\r\n"), "{invite}");
    let via = field(&invite, "Via");
    assert!(via.starts_with("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK") && via.ends_with(";rport"), "{via}");
    assert_eq!(field(&invite, "Max-Forwards"), "70");
    assert_eq!(field(&invite, "Contact"), "<sip:alice@192.0.2.1:5060>");
    assert!(field(&invite, "From").contains(";tag="));
    assert!(!field(&invite, "To").contains("tag="));
    assert!(field(&invite, "Allow").contains("BYE"));
    assert_eq!(field(&invite, "CSeq"), "1 INVITE");
    assert!(invite.ends_with("Content-Length: 5\r\n\r\noffer"), "{invite}");
}

#[test]
fn nobody_answers_and_the_leg_is_unreachable_after_timer_b() {
    let (mut script, _) = calling();
    let sent = script.wait(Duration::from_secs(31));
    assert_eq!(sent.len(), 5);
    assert!(script.party.ends().is_empty());
    script.wait(Duration::from_secs(1));
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Unreachable { why: None })]);
    script.assert_drained();
}

#[test]
fn a_transport_error_ends_the_call_at_once() {
    let (mut script, _) = calling();
    script.party.endpoint.handle_transport_error(kit::udp(kit::BOB), script.now);
    script.party.drain();
    let why = Some("it can not be sent to".to_owned());
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Unreachable { why })]);
    script.assert_drained();
}

#[test]
fn ack_to_a_failure_stays_in_the_transaction() {
    // RFC 3261 §17.1.1.3: same branch, To of the response.
    let (mut script, invite) = calling();
    let sent = script.receive(&answer(&invite, "486 Busy Here", "b1", ""));
    assert_eq!(starts(&sent), ["ACK sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(field(&sent[0], "Via"), field(&invite, "Via"));
    assert!(field(&sent[0], "To").ends_with(";tag=b1"));
    assert_eq!(field(&sent[0], "CSeq"), "1 ACK");
    script.assert_drained();
    assert_eq!(script.party.ends().len(), 1);
}

#[test]
fn ack_to_2xx_goes_to_the_contact_in_a_new_branch_and_again_for_each_repetition() {
    let (mut script, invite) = calling();
    let sent = script.receive(&ok(&invite, "b1"));
    assert_eq!(starts(&sent), ["ACK sip:bob@192.0.2.2:5062 SIP/2.0"]);
    assert_ne!(field(&sent[0], "Via"), field(&invite, "Via"));
    assert_eq!(script.receive(&ok(&invite, "b1")), sent);
    let events = script.events();
    assert_eq!(events.len(), 1);
    assert!(matches!(&events[0], Event::Answered { body, .. } if text(body) == "answer"));
}

#[test]
fn the_first_2xx_of_a_fork_wins_and_the_others_are_acknowledged_and_hung_up() {
    // RFC 3261 §13.2.2.4.
    let (mut script, invite) = calling();
    script.receive(&answer(&invite, "180 Ringing", "b1", CONTACT));
    script.receive(&answer(&invite, "183 Session Progress", "b2", CONTACT));
    script.receive(&ok(&invite, "b2"));
    let sent = script.receive(&ok(&invite, "b1"));
    assert_eq!(sent.len(), 2);
    assert!(sent[0].starts_with("ACK ") && field(&sent[0], "To").ends_with("tag=b1"));
    assert!(sent[1].starts_with("BYE ") && field(&sent[1], "To").ends_with("tag=b1"));
    script.receive(&answer(&sent[1], "200 OK", "", ""));
    // A repetition of the losing 2xx gets the ACK only.
    let sent = script.receive(&ok(&invite, "b1"));
    assert_eq!(starts(&sent), ["ACK sip:bob@192.0.2.2:5062 SIP/2.0"]);
    assert!(script.party.ends().is_empty());
    let answered = script.events().iter().filter(|e| matches!(e, Event::Answered { .. })).count();
    assert_eq!(answered, 1);
}

#[test]
fn a_2xx_repeated_after_hang_up_is_still_acknowledged() {
    let (mut script, invite) = calling();
    let ack = script.receive(&ok(&invite, "b1"));
    let bye = script.command(Command::HangUp { leg: LEG(), reason: None });
    script.receive(&answer(&bye[0], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Local)]);
    assert_eq!(script.receive(&ok(&invite, "b1")), ack);
    script.assert_drained();
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    // RFC 3261 §9.1.
    let (mut script, invite) = calling();
    assert!(script.command(Command::HangUp { leg: LEG(), reason: Some("SIP;cause=200".into()) }).is_empty());
    let sent = script.receive(&answer(&invite, "100 Trying", "", ""));
    assert_eq!(starts(&sent), ["CANCEL sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(field(&sent[0], "Via"), field(&invite, "Via"));
    assert_eq!(field(&sent[0], "To"), field(&invite, "To"));
    assert_eq!(field(&sent[0], "CSeq"), "1 CANCEL");
    assert_eq!(field(&sent[0], "Reason"), "SIP;cause=200");
    assert!(script.command(Command::HangUp { leg: LEG(), reason: None }).is_empty());
    script.receive(&answer(&sent[0], "200 OK", "b1", ""));
    assert!(script.party.ends().is_empty());
    let sent = script.receive(&answer(&invite, "487 Request Terminated", "b1", ""));
    assert_eq!(starts(&sent), ["ACK sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn a_200_crossing_the_cancel_is_acknowledged_and_hung_up() {
    // RFC 3261 §9.1, RFC 5407 §3.1.2.
    let (mut script, invite) = calling();
    script.receive(&answer(&invite, "180 Ringing", "b1", CONTACT));
    let cancel = script.command(Command::HangUp { leg: LEG(), reason: None });
    assert!(cancel[0].starts_with("CANCEL "));
    let sent = script.receive(&ok(&invite, "b1"));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "), "{sent:?}");
    script.receive(&answer(&cancel[0], "481 Gone", "b1", ""));
    script.receive(&answer(&sent[1], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Local)]);
    assert!(!script.events().iter().any(|e| matches!(e, Event::Answered { .. })));
    script.assert_drained();
}

#[test]
fn a_cancelled_invite_without_final_response_is_given_up_after_64_t1() {
    let (mut script, invite) = calling();
    script.receive(&answer(&invite, "180 Ringing", "b1", CONTACT));
    let cancel = script.command(Command::HangUp { leg: LEG(), reason: None });
    script.receive(&answer(&cancel[0], "200 OK", "b1", ""));
    script.wait(Duration::from_secs(31));
    assert!(script.party.ends().is_empty());
    script.wait(Duration::from_secs(2));
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn requests_follow_the_record_routes_in_reverse() {
    // RFC 3261 §12.1.2, §12.2.1.1.
    let (mut script, invite) = calling();
    let routes = "Record-Route: <sip:192.0.2.9;lr>, <sip:192.0.2.8:5070;lr>";
    let sent = script.receive(&answer(&invite, "200 OK", "b1", &format!("{routes}\n{CONTACT}")));
    let routes: Vec<&str> = sent[0].lines().filter(|l| l.starts_with("Route: ")).collect();
    assert_eq!(routes, ["Route: <sip:192.0.2.8:5070;lr>", "Route: <sip:192.0.2.9;lr>"]);
    assert!(sent[0].starts_with("ACK sip:bob@192.0.2.2:5062 SIP/2.0"));
    script.party.endpoint.handle_command(
        Command::HangUp { leg: LEG(), reason: None },
        script.now,
        types::Wall(0),
    );
    let (target, bye) = script.party.drain().remove(0);
    assert!(bye.starts_with(b"BYE sip:bob@192.0.2.2:5062"));
    assert!(
        matches!(target, sip_ua::Target::Address { remote, .. } if remote == kit::addr("192.0.2.8:5070"))
    );
}

#[test]
fn a_strict_router_gets_its_own_address_as_request_uri() {
    // RFC 3261 §12.2.1.1, §16.12.1.2.
    let (mut script, invite) = calling();
    let sent = script.receive(&answer(
        &invite,
        "200 OK",
        "b1",
        &format!("Record-Route: <sip:192.0.2.8>\n{CONTACT}"),
    ));
    assert!(sent[0].starts_with("ACK sip:192.0.2.8 SIP/2.0"), "{}", sent[0]);
    assert_eq!(field(&sent[0], "Route"), "<sip:bob@192.0.2.2:5062>");
}

#[test]
fn a_private_contact_of_a_public_peer_is_not_believed() {
    let (mut script, invite) = calling();
    let response = answer(&invite, "200 OK", "b1", "Contact: <sip:bob@10.0.0.5:5060>");
    script.party.endpoint.handle_message(script.peer, kit::wire(&response), script.now, types::Wall(0));
    let (target, ack) = script.party.drain().remove(0);
    assert!(ack.starts_with(b"ACK sip:bob@10.0.0.5:5060"));
    assert!(matches!(target, sip_ua::Target::Flow(flow) if flow == script.peer));
}

#[test]
fn stray_and_broken_responses_are_dropped() {
    let (mut script, invite) = calling();
    let stray = ok(&invite, "b1").replace("z9hG4bK", "z9hG4bKother");
    assert!(script.receive(&stray).is_empty());
    let broken = ok(&invite, "b1").replace("CSeq: 1", "CSeq: x");
    assert!(script.receive(&broken).is_empty());
    assert!(script.events().is_empty());
}

#[test]
fn bye_without_answer_ends_the_leg_after_timer_f() {
    let (mut script, invite) = calling();
    script.receive(&ok(&invite, "b1"));
    let sent = script.command(Command::HangUp { leg: LEG(), reason: Some("Q.850;cause=16".into()) });
    assert_eq!(field(&sent[0], "Reason"), "Q.850;cause=16");
    assert_eq!(field(&sent[0], "CSeq"), "2 BYE");
    assert!(script.command(Command::HangUp { leg: LEG(), reason: None }).is_empty());
    script.wait(Duration::from_secs(33));
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn byes_that_cross_end_the_leg_once() {
    // RFC 5407 §3.2.1 and following: both are answered.
    let (mut script, invite) = calling();
    script.receive(&ok(&invite, "b1"));
    let bye = script.command(Command::HangUp { leg: LEG(), reason: None });
    let tag = field(&invite, "From").rsplit_once("tag=").unwrap().1.to_owned();
    let theirs = kit::request("BYE", 1, "x1", &tag, "")
        .replace("tag=bobtag", "tag=b1")
        .replace("call1", &field(&invite, "Call-ID"));
    let sent = script.receive(&theirs);
    assert_eq!(starts(&sent), ["200 OK"]);
    script.receive(&answer(&bye[0], "481 Gone", "", ""));
    assert_eq!(script.party.ends(), vec![(LEG(), LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn header_values_of_the_application_cannot_inject_fields() {
    let mut script = Script::new();
    let mut call = invite(kit::BOB);
    call.headers = vec![("Subject", "x\r\nEvil: yes".into())];
    call.from = "\"a\r\nEvil: yes\" <sip:alice@192.0.2.1>".into();
    let sent = script.command(Command::Invite(LEG(), call));
    assert!(!sent[0].contains("\nEvil"), "{}", sent[0]);
}

#[test]
fn ping_is_answered_by_any_status_and_by_silence_with_none() {
    let mut script = Script::new();
    let ping = |n| Command::Ping {
        ping: sip_ua::PingId(n),
        target: kit::udp(kit::BOB),
        uri: "sip:bob.example.com".into(),
    };
    let sent = script.command(ping(1));
    assert_eq!(starts(&sent), ["OPTIONS sip:bob.example.com SIP/2.0"]);
    script.receive(&answer(&sent[0], "404 Not Found", "x", ""));
    script.command(ping(2));
    script.wait(Duration::from_secs(33));
    let pongs: Vec<_> = script
        .events()
        .into_iter()
        .map(|e| match e {
            Event::Pong { ping, status } => (ping.0, status),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pongs, vec![(1, Some(404)), (2, None)]);
    script.assert_drained();
}

#[test]
fn a_call_that_passes_us_goes_on_counting_its_hops() {
    // RFC 7332 §4, RFC 3261 §8.1.1.6.
    for (headers, expected) in [(vec![], "70"), (vec![("Max-Forwards", "12".to_owned())], "12")] {
        let mut script = Script::new();
        let call = Box::new(sip_ua::Invite { headers, ..*invite(kit::BOB) });
        let sent = script.command(Command::Invite(SipLeg::outgoing(1), call));
        assert_eq!(field(&sent[0], "Max-Forwards"), expected);
        assert_eq!(sent[0].matches("Max-Forwards").count(), 1);
    }
}
