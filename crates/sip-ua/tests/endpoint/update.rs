//! UPDATE from the peer (RFC 3311) in early and confirmed dialogs.

use std::time::Duration;

use crate::kit::{BOB, Script, answer, field, invite, request, sdp, starts, status, text, to_tag};
use sip_ua::{Command, Event, LegEnd, SipLeg};

const SDP: &str = "Content-Type: application/sdp\n\noffer2";

fn ringing() -> (Script, SipLeg, String) {
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", SDP));
    let leg = script.party.incoming();
    let sent = script.command(Command::Provisional { leg, status: 180, body: None });
    let tag = to_tag(&sent[0]);
    script.events();
    (script, leg, tag)
}

fn called() -> (Script, SipLeg, String) {
    let (mut script, leg, tag) = ringing();
    script.command(Command::Answer { leg, body: sdp("answer") });
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    script.events();
    (script, leg, tag)
}

#[test]
fn an_update_without_body_is_200_and_moves_the_target() {
    // RFC 3311 §5.2.
    let (mut script, leg, tag) = called();
    let update = request("UPDATE", 2, "u1", &tag, "").replace(BOB, "192.0.2.2:5099");
    let sent = script.receive(&update);
    assert_eq!(starts(&sent), ["200 OK"]);
    assert_eq!(field(&sent[0], "Contact"), "<sip:alice@192.0.2.1:5060>");
    assert!(field(&sent[0], "Allow").contains("UPDATE"));
    assert!(script.events().is_empty());
    let bye = script.command(Command::HangUp { leg, reason: None });
    assert_eq!(starts(&bye), ["BYE sip:bob@192.0.2.2:5099 SIP/2.0"]);
}

#[test]
fn an_update_with_an_offer_is_answered_by_the_application_without_ack() {
    let (mut script, leg, tag) = called();
    assert!(script.receive(&request("UPDATE", 2, "u1", &tag, SDP)).is_empty());
    assert!(matches!(&script.events()[..], [Event::Reinvite { body, .. }] if text(body) == "offer2"));
    let sent = script.command(Command::AcceptReinvite { leg, body: sdp("answer2") });
    assert_eq!(starts(&sent), ["200 OK"]);
    assert!(sent[0].ends_with("answer2"));
    assert!(script.wait(Duration::from_secs(40)).is_empty(), "nothing waits for an ACK");
    assert!(script.party.ends().is_empty());
    script.receive(&request("BYE", 3, "b1", &tag, ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Bye { q850: None })]);
    script.assert_drained();
}

#[test]
fn an_update_with_an_offer_that_is_refused_keeps_the_call() {
    let (mut script, leg, tag) = called();
    script.receive(&request("UPDATE", 2, "u1", &tag, SDP));
    let sent = script.command(Command::RejectReinvite { leg, status: 488, headers: Vec::new() });
    assert_eq!(starts(&sent), ["488 Not Acceptable Here"]);
    assert!(script.party.ends().is_empty());
    assert!(script.receive(&request("UPDATE", 3, "u2", &tag, SDP)).is_empty(), "the next one is delivered");
}

#[test]
fn an_offer_in_update_crossing_our_reinvite_is_491_and_a_refresh_is_200() {
    // RFC 3311 §5.2.
    let (mut script, leg, tag) = called();
    script.command(Command::Reinvite { leg, body: sdp("new offer") });
    assert_eq!(status(&script.receive(&request("UPDATE", 2, "u1", &tag, SDP))[0]), 491);
    assert_eq!(status(&script.receive(&request("UPDATE", 3, "u2", &tag, ""))[0]), 200);
}

#[test]
fn an_offer_in_update_while_another_of_theirs_is_open_is_500_with_retry_after() {
    // RFC 3311 §5.2.
    let (mut script, leg, tag) = called();
    script.receive(&request("UPDATE", 2, "u1", &tag, SDP));
    let sent = script.receive(&request("UPDATE", 3, "u2", &tag, SDP));
    assert_eq!(status(&sent[0]), 500);
    assert!(field(&sent[0], "Retry-After").parse::<u32>().unwrap() <= 10);
    let sent = script.receive(&request("INVITE", 4, "i4", &tag, SDP));
    assert_eq!(status(&sent[1]), 500);
    let sent = script.command(Command::AcceptReinvite { leg, body: sdp("answer2") });
    assert_eq!(field(&sent[0], "CSeq"), "2 UPDATE");
}

#[test]
fn an_early_update_is_200_without_and_500_with_an_offer() {
    // RFC 3311 §5.2: their offer in the INVITE has no answer yet.
    let (mut script, leg, tag) = ringing();
    let update = request("UPDATE", 2, "u1", &tag, "").replace(BOB, "192.0.2.2:5099");
    let sent = script.receive(&update);
    assert_eq!(starts(&sent), ["200 OK"]);
    let sent = script.receive(&request("UPDATE", 3, "u2", &tag, SDP));
    assert_eq!(status(&sent[0]), 500);
    assert!(script.events().is_empty());
    script.command(Command::Answer { leg, body: sdp("answer") });
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    let bye = script.command(Command::HangUp { leg, reason: None });
    assert_eq!(starts(&bye), ["BYE sip:bob@192.0.2.2:5099 SIP/2.0"]);
}

#[test]
fn an_early_update_to_the_caller_is_200_without_and_491_with_an_offer() {
    // RFC 3311 §5.2: our offer in the INVITE has no answer yet.
    let mut script = Script::new();
    let sent = script.command(Command::Invite(SipLeg::outgoing(1), invite(BOB)));
    script.receive(&answer(&sent[0], "180 Ringing", "bobtag", "Contact: <sip:bob@192.0.2.2:5060>"));
    script.events();
    let update = |cseq, extra: &str| {
        let (from, to) = (field(&sent[0], "From"), field(&sent[0], "To"));
        let to = format!("{to};tag=bobtag");
        request("UPDATE", cseq, &format!("u{cseq}"), "", extra)
            .replace("<sip:bob@example.com>;tag=bobtag", &to)
            .replace("To: <sip:alice@example.com>", &format!("To: {from}"))
            .replace("Call-ID: call1", &format!("Call-ID: {}", field(&sent[0], "Call-ID")))
    };
    let ok = script.receive(&update(1, ""));
    assert_eq!(starts(&ok), ["200 OK"]);
    assert_eq!(field(&ok[0], "Contact"), field(&sent[0], "Contact"));
    assert_eq!(status(&script.receive(&update(2, SDP))[0]), 491);
    assert!(script.events().is_empty());
}

#[test]
fn an_update_outside_dialogs_is_481_and_a_foreign_body_415() {
    let (mut script, _, tag) = called();
    assert_eq!(status(&script.receive(&request("UPDATE", 1, "u1", "", ""))[0]), 481);
    assert_eq!(status(&script.receive(&request("UPDATE", 2, "u2", "nobody", ""))[0]), 481);
    let sent = script.receive(&request("UPDATE", 3, "u3", &tag, "Content-Type: text/plain\n\nx"));
    assert_eq!(starts(&sent), ["415 Unsupported Media Type"]);
}

#[test]
fn bye_during_their_update_answers_it_487() {
    // RFC 3261 §15.1.2.
    let (mut script, _, tag) = called();
    script.receive(&request("UPDATE", 2, "u1", &tag, SDP));
    let sent = script.receive(&request("BYE", 3, "b1", &tag, ""));
    assert_eq!(starts(&sent), ["200 OK", "487 Request Terminated"]);
    script.assert_drained();
}

#[test]
fn info_of_an_unknown_package_is_469_and_info_without_one_is_200() {
    // RFC 6086 §4.2.2; the old kind (RFC 2976) carries digits.
    let (mut script, _, tag) = called();
    let body = "Content-Type: application/x-thing\n\nthing";
    let sent = script.receive(&request("INFO", 2, "n1", &tag, &format!("Info-Package: thing\n{body}")));
    assert_eq!(starts(&sent), ["469 Bad Info Package"]);
    assert_eq!(field(&sent[0], "Recv-Info"), "nil");
    assert!(script.events().is_empty());
    assert_eq!(starts(&script.receive(&request("INFO", 3, "n2", &tag, body))), ["200 OK"]);
    assert!(matches!(&script.events()[..], [Event::Info { .. }]));
}
