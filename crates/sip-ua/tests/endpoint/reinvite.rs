//! Re-INVITE both ways, glare and overlap (RFC 3261 §14), the races of RFC 5407.

use crate::kit;
use std::time::Duration;

use crate::kit::{Script, answer, called, field, invite, request, sdp, starts, status, text, to_tag};
use sip_ua::{Command, Event, LegEnd, SipLeg};

const SDP: &str = "Content-Type: application/sdp\n\noffer2";

/// A call of ours to the scripted peer, confirmed.
fn calling() -> (Script, SipLeg) {
    let mut script = Script::new();
    let leg = SipLeg::outgoing(1);
    let sent = script.command(Command::Invite(leg, invite(kit::BOB)));
    script.receive(&answer(&sent[0], "200 OK", "bobtag", "Contact: <sip:bob@192.0.2.2:5060>"));
    script.events();
    (script, leg)
}

fn reinvite(leg: SipLeg) -> Command {
    Command::Reinvite { leg, body: sdp("new offer") }
}

fn results(events: &[Event]) -> Vec<Result<String, u16>> {
    let result = |e: &Event| match e {
        Event::ReinviteDone { result, .. } => Some(result.as_ref().map(text).map_err(|s| *s)),
        _ => None,
    };
    events.iter().filter_map(result).collect()
}

#[test]
fn our_reinvite_is_answered_and_acknowledged_and_moves_the_target() {
    let (mut script, leg) = calling();
    let sent = script.command(reinvite(leg));
    assert_eq!(field(&sent[0], "CSeq"), "2 INVITE");
    assert!(field(&sent[0], "To").ends_with("tag=bobtag"));
    let extra = "Contact: <sip:bob@192.0.2.2:5099>\nContent-Type: application/sdp\n\nnew answer";
    let ok = answer(&sent[0], "200 OK", "", extra);
    let ack = script.receive(&ok);
    assert_eq!(starts(&ack), ["ACK sip:bob@192.0.2.2:5099 SIP/2.0"]);
    assert_eq!(field(&ack[0], "CSeq"), "2 ACK");
    assert_eq!(script.receive(&ok), ack);
    assert_eq!(results(&script.events()), [Ok("new answer".into())]);
    let bye = script.command(Command::HangUp { leg, reason: None });
    assert_eq!(starts(&bye), ["BYE sip:bob@192.0.2.2:5099 SIP/2.0"]);
    assert_eq!(field(&bye[0], "CSeq"), "3 BYE");
}

#[test]
fn a_refused_reinvite_keeps_the_session() {
    // RFC 3261 §14.1.
    let (mut script, leg) = calling();
    let sent = script.command(reinvite(leg));
    let ack = script.receive(&answer(&sent[0], "488 Not Acceptable Here", "", ""));
    assert_eq!(starts(&ack), ["ACK sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(results(&script.events()), [Err(488)]);
    assert!(script.party.ends().is_empty());
    assert_eq!(script.command(reinvite(leg)).len(), 1);
}

#[test]
fn glare_491_is_reported_when_the_pause_of_section_14_1_is_over() {
    let pause = |script: &mut Script, leg| {
        let sent = script.command(reinvite(leg));
        script.receive(&answer(&sent[0], "491 Request Pending", "", ""));
        assert!(script.events().is_empty());
        let before = script.now;
        while script.events().is_empty() {
            script.wait(Duration::from_millis(10));
            assert!(script.now - before < Duration::from_secs(5));
        }
        (script.now - before).as_millis()
    };
    let (mut ours, leg) = calling();
    let (mut theirs, incoming, _) = called();
    for _ in 0..50 {
        let owner = pause(&mut ours, leg);
        assert!((2_100..=4_000).contains(&owner), "{owner}");
        let other = pause(&mut theirs, incoming);
        assert!((10..=2_010).contains(&other), "{other}");
    }
}

#[test]
fn a_reinvite_crossing_ours_is_491() {
    // RFC 3261 §14.2.
    let (mut script, leg, tag) = called();
    let ours = script.command(reinvite(leg));
    let sent = script.receive(&request("INVITE", 2, "i2", &tag, SDP));
    assert_eq!(starts(&sent), ["100 Trying", "491 Request Pending"]);
    script.receive(&answer(&ours[0], "491 Request Pending", "", ""));
    // While we pause the peer may succeed.
    let sent = script.receive(&request("INVITE", 3, "i3", &tag, SDP));
    assert_eq!(starts(&sent), ["100 Trying"]);
    let sent = script.command(Command::AcceptReinvite { leg, body: sdp("answer3") });
    assert!(sent[0].ends_with("answer3"));
}

#[test]
fn the_peers_reinvite_is_answered_and_its_2xx_repeated_until_ack() {
    let (mut script, leg, tag) = called();
    script.receive(&request("INVITE", 2, "i2", &tag, SDP));
    let events = script.events();
    assert!(matches!(&events[0], Event::Reinvite { body, .. } if text(body) == "offer2"));
    let sent = script.command(Command::AcceptReinvite { leg, body: sdp("answer2") });
    assert_eq!(starts(&sent), ["200 OK"]);
    assert_eq!(field(&sent[0], "Contact"), "<sip:alice@192.0.2.1:5060>");
    assert_eq!(starts(&script.wait(Duration::from_secs(1))), ["200 OK"]);
    script.receive(&request("ACK", 2, "a2", &tag, ""));
    assert!(matches!(script.events()[..], [Event::Acked { .. }]));
    assert!(script.wait(Duration::from_secs(40)).is_empty());
    assert!(script.party.ends().is_empty());
}

#[test]
fn a_reinvite_without_offer_gets_ours_and_the_answer_comes_in_the_ack() {
    let (mut script, leg, tag) = called();
    script.receive(&request("INVITE", 2, "i2", &tag, ""));
    assert!(matches!(&script.events()[..], [Event::Reinvite { body: None, .. }]));
    script.command(Command::AcceptReinvite { leg, body: sdp("our offer") });
    script.receive(&request("ACK", 2, "a2", &tag, "Content-Type: application/sdp\n\nanswer"));
    assert!(matches!(&script.events()[..], [Event::Acked { body, .. }] if text(body) == "answer"));
}

#[test]
fn a_rejected_reinvite_leaves_the_call_up() {
    let (mut script, leg, tag) = called();
    script.receive(&request("INVITE", 2, "i2", &tag, SDP));
    let headers = vec![("Warning", "305 x \"no common codec\"".to_owned())];
    let sent = script.command(Command::RejectReinvite { leg, status: 488, headers });
    assert_eq!(starts(&sent), ["488 Not Acceptable Here"]);
    assert!(field(&sent[0], "Warning").starts_with("305"));
    script.receive(&request("ACK", 2, "i2", &tag, ""));
    assert!(script.party.ends().is_empty());
    assert_eq!(starts(&script.receive(&request("BYE", 3, "b1", &tag, ""))), ["200 OK"]);
    script.assert_drained();
}

#[test]
fn overlapping_reinvites_of_the_peer_are_500_with_retry_after() {
    // RFC 3261 §14.2.
    let (mut script, _, tag) = called();
    script.receive(&request("INVITE", 2, "i2", &tag, SDP));
    let sent = script.receive(&request("INVITE", 3, "i3", &tag, SDP));
    assert_eq!(status(&sent[1]), 500);
    let seconds: u32 = field(&sent[1], "Retry-After").parse().unwrap();
    assert!(seconds <= 10);
}

#[test]
fn a_reinvite_that_overtakes_the_ack_proves_the_2xx_arrived() {
    // RFC 5407 §3.1.4.
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", SDP));
    let leg = script.party.incoming();
    let sent = script.command(Command::Answer { leg, body: sdp("answer") });
    let tag = to_tag(&sent[0]);
    script.events();
    let sent = script.receive(&request("INVITE", 2, "i2", &tag, SDP));
    assert_eq!(starts(&sent), ["100 Trying"]);
    assert!(matches!(script.events()[..], [Event::Acked { .. }, Event::Reinvite { .. }]));
    script.command(Command::RejectReinvite { leg, status: 488, headers: Vec::new() });
    script.receive(&request("ACK", 2, "i2", &tag, ""));
    assert!(script.wait(Duration::from_secs(40)).is_empty());
}

#[test]
fn while_their_answer_to_our_late_offer_is_missing_a_reinvite_is_491() {
    // RFC 5407 §3.1.4: the offer in our 2xx is still open.
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", ""));
    let leg = script.party.incoming();
    let sent = script.command(Command::Answer { leg, body: sdp("our offer") });
    let sent = script.receive(&request("INVITE", 2, "i2", &to_tag(&sent[0]), SDP));
    assert_eq!(status(&sent[1]), 491);
}

#[test]
fn our_reinvite_waits_while_another_invite_is_under_way() {
    // RFC 3261 §14.1.
    let (mut script, leg, tag) = called();
    script.receive(&request("INVITE", 2, "i2", &tag, SDP));
    script.events();
    assert!(script.command(reinvite(leg)).is_empty());
    assert!(script.events().is_empty());
    script.wait(Duration::from_secs(3));
    assert_eq!(results(&script.events()), [Err(491)]);
}

#[test]
fn bye_during_their_reinvite_answers_it_487() {
    // RFC 3261 §15.1.2.
    let (mut script, leg, tag) = called();
    script.receive(&request("INVITE", 2, "i2", &tag, SDP));
    let sent = script.receive(&request("BYE", 3, "b1", &tag, ""));
    assert_eq!(starts(&sent), ["200 OK", "487 Request Terminated"]);
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Bye { q850: None })]);
    assert!(script.command(Command::AcceptReinvite { leg, body: sdp("late") }).is_empty());
    script.assert_drained();
}

#[test]
fn hanging_up_during_our_reinvite_leaves_nothing_behind() {
    let (mut script, leg) = calling();
    let sent = script.command(reinvite(leg));
    script.receive(&answer(&sent[0], "100 Trying", "", ""));
    let bye = script.command(Command::HangUp { leg, reason: None });
    script.receive(&answer(&bye[0], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn the_answer_to_our_reinvite_is_acknowledged_though_we_have_hung_up() {
    // RFC 5407 §3.2.3.
    let (mut script, leg) = calling();
    let sent = script.command(reinvite(leg));
    let bye = script.command(Command::HangUp { leg, reason: None });
    let acknowledged = script.receive(&answer(&sent[0], "200 OK", "", ""));
    assert!(matches!(&acknowledged[..], [ack] if ack.starts_with("ACK ")), "{acknowledged:?}");
    script.receive(&answer(&bye[0], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    assert_eq!(results(&script.events()), []);
    script.assert_drained();
}

#[test]
fn a_reinvite_without_final_answer_ends_the_call() {
    let (mut script, leg) = calling();
    let sent = script.command(reinvite(leg));
    script.receive(&answer(&sent[0], "100 Trying", "", ""));
    let sent = script.wait(Duration::from_secs(33));
    assert!(sent[0].starts_with("BYE "), "{sent:?}");
    script.receive(&answer(&sent[0], "481 Gone", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Unreachable { why: None })]);
    assert_eq!(results(&script.events()), [Err(408)]);
    script.assert_drained();
}

#[test]
fn a_481_to_a_request_in_the_dialog_ends_it() {
    // RFC 3261 §12.2.1.2.
    let (mut script, leg) = calling();
    let body = sip_ua::Body { content_type: "application/dtmf-relay".into(), bytes: b"Signal=1".to_vec() };
    let info = script.command(Command::Info { leg, body });
    assert!(info[0].starts_with("INFO ") && info[0].ends_with("Signal=1"));
    script.receive(&answer(&info[0], "481 Gone", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Unreachable { why: None })]);
    script.assert_drained();
}

#[test]
fn a_peer_that_does_not_answer_options_within_its_call_is_gone_and_one_that_does_goes_on() {
    // RFC 3261 §11.2, §12.2.1.2; field problem 23.
    let (mut script, leg) = calling();
    let options = script.command(Command::Probe { leg });
    assert!(options[0].starts_with("OPTIONS sip:bob@192.0.2.2"), "{options:?}");
    script.receive(&answer(&options[0], "405 Method Not Allowed", "", ""));
    assert_eq!(script.party.ends(), vec![]);
    script.command(Command::Probe { leg });
    let sent = script.wait(Duration::from_secs(33));
    let bye = sent.last().expect("a BYE");
    assert!(bye.starts_with("BYE "), "{sent:?}");
    script.receive(&answer(bye, "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Unreachable { why: None })]);
    script.assert_drained();
}

#[test]
fn commands_to_a_leg_that_is_over_do_nothing() {
    let (mut script, leg, tag) = called();
    script.receive(&request("BYE", 2, "b1", &tag, ""));
    script.events();
    for command in [
        Command::HangUp { leg, reason: None },
        reinvite(leg),
        Command::AcceptReinvite { leg, body: sdp("x") },
        Command::Info { leg, body: sdp("x") },
        Command::Probe { leg },
        Command::Answer { leg, body: sdp("x") },
        Command::Provisional { leg, status: 180, body: None },
    ] {
        assert!(script.command(command).is_empty());
    }
    assert!(script.events().is_empty());
}
