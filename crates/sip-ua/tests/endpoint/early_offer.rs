//! Offers of ours before the answer (UPDATE, RFC 3311), and reliable provisional responses within a session (RFC 3262).

use std::time::Duration;

use crate::kit;
use crate::kit::{Script, answer, field, invite, request, sdp, starts, status, text, to_tag};
use sip_ua::{Command, Event, SipLeg};

const ALLOWS: &str =
    "Require: 100rel\nAllow: INVITE, ACK, PRACK, UPDATE\nContent-Type: application/sdp\n\noffer";
const ANSWER: &str = "Content-Type: application/sdp\n\nanswer2";
const OFFER: &str = "Content-Type: application/sdp\n\noffer2";

/// A caller that wants reliable responses, whose offer is answered by a 183; with its PRACK for that.
fn early(lines: &str) -> (Script, SipLeg, String, String) {
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", lines));
    let leg = script.party.incoming();
    let sent = script.command(Command::Provisional { leg, status: 183, body: Some(sdp("answer")) });
    let tag = to_tag(&sent[0]);
    let prack = match sent[0].contains("RSeq") {
        true => request("PRACK", 2, "p2", &tag, &format!("RAck: {} 1 INVITE", field(&sent[0], "RSeq"))),
        false => String::new(),
    };
    script.events();
    (script, leg, tag, prack)
}

fn offer(leg: SipLeg) -> Command {
    Command::Reinvite { leg, body: sdp("offer of ours") }
}

fn results(script: &mut Script) -> Vec<Result<String, u16>> {
    let result = |e: Event| match e {
        Event::ReinviteDone { result, .. } => Some(result.map(|body| text(&body))),
        _ => None,
    };
    script.events().into_iter().filter_map(result).collect()
}

#[test]
fn our_offer_before_the_answer_goes_by_update_in_the_early_dialog() {
    // RFC 3311 §5.1; RFC 4028 §7.1: no timer before there is a session.
    let (mut script, leg, tag, prack) = early(ALLOWS);
    script.receive(&prack);
    let sent = script.command(offer(leg));
    assert_eq!(starts(&sent), ["UPDATE sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert!(sent[0].ends_with("offer of ours") && !sent[0].contains("Session-Expires"), "{sent:?}");
    assert_eq!(field(&sent[0], "Contact"), "<sip:alice@192.0.2.1:5060>");
    assert!(field(&sent[0], "From").ends_with(&tag));
    let moved = format!("Contact: <sip:bob@192.0.2.2:5099>\n{ANSWER}");
    script.receive(&answer(&sent[0], "200 OK", "", &moved));
    assert_eq!(results(&mut script), [Ok("answer2".into())]);
    let ok = script.command(Command::Answer { leg, body: sdp("answer") });
    assert_eq!(starts(&ok), ["200 OK"]);
    assert!(ok[0].ends_with("\r\n\r\n"), "the session is settled");
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    let bye = script.command(Command::HangUp { leg, reason: None });
    assert_eq!(starts(&bye), ["BYE sip:bob@192.0.2.2:5099 SIP/2.0"]);
    let next = field(&sent[0], "CSeq").split(' ').next().unwrap().parse::<u32>().unwrap() + 1;
    assert_eq!(field(&bye[0], "CSeq"), format!("{next} BYE"));
}

#[test]
fn nothing_is_offered_before_the_prack_nor_to_a_caller_without_update_or_100rel() {
    // RFC 3311 §5.1: only once the first offer has an answer that surely arrived.
    let (mut script, leg, _, prack) = early(ALLOWS);
    assert!(script.command(offer(leg)).is_empty());
    assert_eq!(results(&mut script), [Err(491)]);
    script.receive(&prack);
    assert_eq!(script.command(offer(leg)).len(), 1);
    for lines in [ALLOWS.replace(", UPDATE", ""), ALLOWS.replace("Require: 100rel\n", "")] {
        let (mut script, leg, _, prack) = early(&lines);
        if !prack.is_empty() {
            script.receive(&prack);
        }
        assert!(script.command(offer(leg)).is_empty(), "{lines}");
        assert_eq!(results(&mut script), [Err(491)]);
    }
}

#[test]
fn a_refused_or_unanswered_offer_leaves_the_call_ringing() {
    for refusal in ["488 Not Acceptable Here", "491 Request Pending", "500 Server Error"] {
        let (mut script, leg, _, prack) = early(ALLOWS);
        script.receive(&prack);
        let sent = script.command(offer(leg));
        script.receive(&answer(&sent[0], refusal, "", ""));
        assert_eq!(results(&mut script), [Err(refusal[..3].parse().unwrap())]);
        assert!(script.wait(Duration::from_secs(60)).is_empty(), "it is not sent again by itself");
        assert_eq!(starts(&script.command(Command::Answer { leg, body: sdp("answer") })), ["200 OK"]);
    }
    let (mut script, leg, _, prack) = early(ALLOWS);
    script.receive(&prack);
    script.command(offer(leg));
    script.wait(Duration::from_secs(33));
    assert_eq!(results(&mut script), [Err(408)]);
    assert_eq!(starts(&script.command(Command::Answer { leg, body: sdp("answer") })), ["200 OK"]);
}

#[test]
fn an_offer_of_theirs_that_crosses_ours_is_491() {
    // RFC 3311 §5.2; what offers nothing does not collide.
    let (mut script, leg, tag, prack) = early(ALLOWS);
    script.receive(&prack);
    let sent = script.command(offer(leg));
    assert_eq!(status(&script.receive(&request("UPDATE", 3, "u3", &tag, OFFER))[0]), 491);
    assert_eq!(status(&script.receive(&request("UPDATE", 4, "u4", &tag, ""))[0]), 200);
    assert!(script.command(offer(leg)).is_empty(), "one at a time");
    assert_eq!(results(&mut script), [Err(491)]);
    script.receive(&answer(&sent[0], "200 OK", "", ANSWER));
    assert!(script.receive(&request("UPDATE", 5, "u5", &tag, OFFER)).is_empty(), "now it is heard");
}

#[test]
fn an_offer_may_be_answered_after_the_call_was() {
    let (mut script, leg, tag, prack) = early(ALLOWS);
    script.receive(&prack);
    let sent = script.command(offer(leg));
    script.command(Command::Answer { leg, body: sdp("answer") });
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    script.events();
    assert_eq!(status(&script.receive(&request("UPDATE", 5, "u5", &tag, OFFER))[0]), 491);
    script.receive(&answer(&sent[0], "200 OK", "", ANSWER));
    assert_eq!(results(&mut script), [Ok("answer2".into())]);
    assert!(script.wait(Duration::from_secs(60)).is_empty(), "the call goes on");
    assert!(script.party.ends().is_empty());
}

#[test]
fn a_caller_who_hangs_up_while_our_offer_is_open_leaves_nothing_behind() {
    let (mut script, leg, _, prack) = early(ALLOWS);
    script.receive(&prack);
    let sent = script.command(offer(leg));
    let over = script.receive(&request("CANCEL", 1, "i1", "", ""));
    assert_eq!(over.iter().map(|m| status(m)).collect::<Vec<_>>(), [200, 487]);
    script.receive(&answer(&sent[0], "481 Gone", "", ""));
    assert!(results(&mut script).is_empty(), "the call has ended");
    script.assert_drained();
}

/// A call of ours, answered, and our re-INVITE in it.
fn reinviting(lines: &str) -> (Script, SipLeg, String) {
    let mut script = Script::new();
    let leg = SipLeg::outgoing(1);
    let sent = script.command(Command::Invite(leg, invite(kit::BOB)));
    let contact = format!("Contact: <sip:bob@192.0.2.2:5060>{lines}");
    script.receive(&answer(&sent[0], "200 OK", "bobtag", &contact));
    let sent = script.command(offer(leg));
    script.events();
    (script, leg, sent[0].clone())
}

#[test]
fn a_reliable_response_to_our_reinvite_is_acknowledged_in_the_session() {
    // RFC 3262 §4 and §5: the answer may come with it, and the 2xx need not repeat it.
    let (mut script, _, sent) = reinviting("");
    assert!(sent.contains("Supported: 100rel\r\n"), "{sent}");
    let ringing = |rseq: u32, body: &str| {
        answer(&sent, "183 Session Progress", "", &format!("Require: 100rel\nRSeq: {rseq}\n{body}"))
    };
    let prack = script.receive(&ringing(41, ANSWER));
    assert_eq!(starts(&prack), ["PRACK sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(field(&prack[0], "RAck"), format!("41 {}", field(&sent, "CSeq")));
    assert_eq!(field(&prack[0], "CSeq"), "3 PRACK");
    assert!(script.receive(&ringing(41, ANSWER)).is_empty(), "a repetition");
    assert!(script.receive(&ringing(43, "")).is_empty(), "ahead of a lost one");
    assert_eq!(field(&script.receive(&ringing(42, ""))[0], "CSeq"), "4 PRACK");
    let ack = script.receive(&answer(&sent, "200 OK", "", "Contact: <sip:bob@192.0.2.2:5060>"));
    assert_eq!(field(&ack[0], "CSeq"), "2 ACK");
    assert_eq!(results(&mut script), [Ok("answer2".into())]);
}

#[test]
fn a_session_whose_peer_never_spoke_of_100rel_is_not_asked_for_it() {
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", OFFER));
    let leg = script.party.incoming();
    let tag = to_tag(&script.command(Command::Answer { leg, body: sdp("answer") })[0]);
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    let sent = script.command(offer(leg));
    assert!(starts(&sent)[0].starts_with("INVITE ") && !sent[0].contains("100rel"), "{sent:?}");
}

#[test]
fn a_reinvite_that_requires_100rel_is_answered_at_once() {
    // RFC 3262 §3 is about provisional responses: there is none to be made reliable.
    let (mut script, leg, tag, prack) = early(ALLOWS);
    script.receive(&prack);
    script.command(Command::Answer { leg, body: sdp("answer") });
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    script.events();
    let sent = script.receive(&request("INVITE", 4, "i4", &tag, ALLOWS));
    assert_eq!(starts(&sent), ["100 Trying"]);
    let sent = script.command(Command::AcceptReinvite { leg, body: sdp("answer2") });
    assert_eq!(starts(&sent), ["200 OK"]);
    assert!(sent[0].ends_with("answer2"));
    // Nothing waits for this PRACK.
    let stray = request("PRACK", 5, "p5", &tag, "RAck: 1 4 INVITE");
    assert_eq!(status(&script.receive(&stray)[0]), 481);
}
