//! Reliable provisional responses (RFC 3262) as caller and callee.

use crate::kit;
use std::time::Duration;

use crate::kit::{Net, Script, answer, field, invite, request, sdp, starts, status, text, to_tag};
use sip_ua::{Body, Command, Credentials, Event, LegEnd, SipLeg};

const LEG: fn() -> SipLeg = || SipLeg::outgoing(1);
const CONTACT: &str = "Contact: <sip:bob@192.0.2.2:5062>";
const SDP: &str = "Content-Type: application/sdp\n\nanswer";
const REQUIRED: &str = "Require: 100rel\nContent-Type: application/sdp\n\noffer";

fn calling() -> (Script, String) {
    let mut script = Script::new();
    let mut sent = script.command(Command::Invite(LEG(), invite(kit::BOB)));
    (script, sent.remove(0))
}

/// A reliable response to our INVITE; `body` is a Content-Type line with body, or nothing.
fn reliable(invite: &str, status: &str, tag: &str, rseq: u32, body: &str) -> String {
    answer(invite, status, tag, &format!("{CONTACT}\nRequire: 100rel\nRSeq: {rseq}\n{body}"))
}

fn progress(events: &[Event]) -> Vec<(u16, String)> {
    let one = |e: &Event| match e {
        Event::Provisional { status, body, .. } => Some((*status, text(body))),
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

/// A caller that requires 100rel, and the leg that it makes.
fn called(extra: &str) -> (Script, SipLeg) {
    let mut script = Script::new();
    let sent = script.receive(&request("INVITE", 1, "i1", "", extra));
    assert_eq!(starts(&sent), ["100 Trying"]);
    assert!(!sent[0].contains("RSeq"), "100 is never reliable (RFC 3262 §3)");
    let leg = script.party.incoming();
    (script, leg)
}

fn provisional(script: &mut Script, leg: SipLeg, status: u16, body: Option<Body>) -> Vec<String> {
    script.command(Command::Provisional { leg, status, body })
}

/// The PRACK for a response of ours, as the `n`-th request of the caller.
fn prack(response: &str, n: u32, extra: &str) -> String {
    let rack = format!("RAck: {} {}\n{extra}", field(response, "RSeq"), field(response, "CSeq"));
    let rack = rack.trim_end();
    request("PRACK", n, &format!("p{n}"), &to_tag(response), rack)
}

#[test]
fn our_invite_supports_100rel_and_prack_is_allowed() {
    // RFC 3262 §4. Without an offer the peer's would come in a response that only PRACK could answer (§5).
    let (_, first) = calling();
    assert_eq!(field(&first, "Supported"), "100rel");
    assert!(field(&first, "Allow").contains("PRACK"));
    let mut script = Script::new();
    let late = Box::new(sip_ua::Invite { body: None, ..*invite(kit::BOB) });
    let sent = script.command(Command::Invite(LEG(), late));
    assert!(!sent[0].contains("100rel"));
}

#[test]
fn a_reliable_183_is_acknowledged_in_its_early_dialog_and_told_once() {
    // RFC 3262 §4, §7.2; RFC 3261 §12.1.2.
    let (mut script, invite) = calling();
    let ringing = reliable(&invite, "183 Session Progress", "b1", 988, SDP)
        .replace("Contact:", "Record-Route: <sip:192.0.2.2:5070;lr>\nContact:");
    let sent = script.receive(&ringing);
    assert_eq!(starts(&sent), ["PRACK sip:bob@192.0.2.2:5062 SIP/2.0"]);
    assert_eq!(field(&sent[0], "RAck"), "988 1 INVITE");
    assert_eq!(field(&sent[0], "CSeq"), "2 PRACK");
    assert_eq!(field(&sent[0], "Route"), "<sip:192.0.2.2:5070;lr>");
    assert!(field(&sent[0], "To").ends_with(";tag=b1"));
    assert!(script.receive(&ringing).is_empty(), "a repetition is discarded (§4)");
    script.receive(&answer(&sent[0], "200 OK", "", ""));
    assert_eq!(progress(&script.events()), [(183, "answer".into())]);
}

#[test]
fn a_lost_prack_is_repeated_until_answered() {
    // RFC 3261 §17.1.2.2.
    let (mut script, invite) = calling();
    let sent = script.receive(&reliable(&invite, "180 Ringing", "b1", 1, ""));
    assert_eq!(script.wait(Duration::from_millis(1600)), [sent[0].clone(), sent[0].clone()]);
    script.receive(&answer(&sent[0], "200 OK", "", ""));
    assert!(script.wait(Duration::from_secs(40)).is_empty());
}

#[test]
fn a_response_ahead_of_a_lost_one_is_neither_acknowledged_nor_told() {
    // RFC 3262 §4.
    let (mut script, invite) = calling();
    script.receive(&reliable(&invite, "180 Ringing", "b1", 7, ""));
    assert!(script.receive(&reliable(&invite, "183 Session Progress", "b1", 9, SDP)).is_empty());
    let sent = script.receive(&reliable(&invite, "182 Queued", "b1", 8, ""));
    assert_eq!(field(&sent[0], "RAck"), "8 1 INVITE");
    let sent = script.receive(&reliable(&invite, "183 Session Progress", "b1", 9, SDP));
    assert_eq!(field(&sent[0], "RAck"), "9 1 INVITE");
    assert_eq!(field(&sent[0], "CSeq"), "4 PRACK");
    let told: Vec<u16> = progress(&script.events()).iter().map(|p| p.0).collect();
    assert_eq!(told, [180, 182, 183]);
}

#[test]
fn every_fork_counts_for_itself() {
    // RFC 3262 §4: the numbers are those of one dialog.
    let (mut script, invite) = calling();
    script.receive(&reliable(&invite, "180 Ringing", "b1", 7, ""));
    let sent = script.receive(&reliable(&invite, "180 Ringing", "b2", 300, ""));
    assert_eq!(field(&sent[0], "RAck"), "300 1 INVITE");
    assert!(field(&sent[0], "To").ends_with(";tag=b2"));
}

#[test]
fn an_answer_that_came_reliably_stands_when_the_2xx_has_none() {
    // RFC 3262 §5, RFC 3261 §13.2.1; the BYE's number follows the PRACK's (RFC 3261 §12.2.1.1).
    let (mut script, invite) = calling();
    let sent = script.receive(&reliable(&invite, "183 Session Progress", "b1", 1, SDP));
    script.receive(&answer(&sent[0], "200 OK", "", ""));
    script.events();
    let sent = script.receive(&answer(&invite, "200 OK", "b1", CONTACT));
    assert_eq!(field(&sent[0], "CSeq"), "1 ACK");
    assert!(matches!(&script.events()[..], [Event::Answered { body, .. }] if text(body) == "answer"));
    let sent = script.command(Command::HangUp { leg: LEG(), reason: None });
    assert_eq!(field(&sent[0], "CSeq"), "3 BYE");
    script.receive(&answer(&sent[0], "200 OK", "", ""));
    script.assert_drained();
}

#[test]
fn a_challenged_prack_comes_again_with_credentials() {
    // RFC 3261 §22.2.
    let mut script = Script::new();
    let credentials = Some(Credentials { username: "u".into(), password: "p".into(), realm: None });
    let call = Box::new(sip_ua::Invite { credentials, ..*invite(kit::BOB) });
    let invite = script.command(Command::Invite(LEG(), call)).remove(0);
    let sent = script.receive(&reliable(&invite, "180 Ringing", "b1", 1, ""));
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
    let again = script.receive(&answer(&sent[0], "401 Unauthorized", "", challenge));
    assert_eq!(field(&again[0], "CSeq"), "3 PRACK");
    assert_eq!(field(&again[0], "RAck"), "1 1 INVITE");
    assert!(field(&again[0], "Authorization").contains("uri=\"sip:bob@192.0.2.2:5062\""));
    script.receive(&answer(&again[0], "200 OK", "", ""));
    // The next one brings them at once.
    let next = script.receive(&reliable(&invite, "180 Ringing", "b1", 2, ""));
    assert_eq!(field(&next[0], "CSeq"), "4 PRACK");
    assert!(next[0].contains("\r\nAuthorization: "));
}

#[test]
fn a_refused_or_unanswered_prack_does_not_end_the_call() {
    for refusal in [Some("481 Call/Transaction Does Not Exist"), None] {
        let (mut script, invite) = calling();
        let sent = script.receive(&reliable(&invite, "180 Ringing", "b1", 1, ""));
        match refusal {
            Some(refusal) => drop(script.receive(&answer(&sent[0], refusal, "", ""))),
            None => drop(script.wait(Duration::from_secs(33))),
        }
        script.events();
        script.receive(&answer(&invite, "200 OK", "b1", &format!("{CONTACT}\n{SDP}")));
        assert!(matches!(&script.events()[..], [Event::Answered { .. }]));
    }
}

#[test]
fn a_required_100rel_numbers_the_18x_and_repeats_it_until_prack() {
    // RFC 3262 §3: after T1, then doubling without a cap.
    let (mut script, leg) = called(REQUIRED);
    let sent = provisional(&mut script, leg, 180, None);
    assert_eq!(field(&sent[0], "Require"), "100rel");
    let rseq: u32 = field(&sent[0], "RSeq").parse().unwrap();
    assert!((1..1 << 31).contains(&rseq));
    assert_eq!(script.wait(Duration::from_millis(7600)), vec![sent[0].clone(); 4]);
    let prack = prack(&sent[0], 2, "");
    let ok = script.receive(&prack);
    assert_eq!((starts(&ok), field(&ok[0], "CSeq")), (vec!["200 OK"], "2 PRACK".into()));
    assert_eq!(script.receive(&prack), ok, "the transaction repeats its answer");
    assert!(script.wait(Duration::from_secs(60)).is_empty());
    assert_eq!(starts(&script.command(Command::Answer { leg, body: sdp("a") })), ["200 OK"]);
}

#[test]
fn an_18x_that_nobody_acknowledges_ends_the_call_with_a_5xx() {
    // RFC 3262 §3: 64*T1.
    let (mut script, leg) = called(REQUIRED);
    let sent = provisional(&mut script, leg, 180, None);
    assert_eq!(script.wait(Duration::from_millis(31_999)), vec![sent[0].clone(); 6]);
    assert_eq!(starts(&script.wait(Duration::from_millis(1))), ["504 No PRACK"]);
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::NoAck)]);
    script.assert_drained();
}

#[test]
fn the_next_18x_waits_for_the_prack() {
    // RFC 3262 §3; each number is one higher.
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 180, None);
    assert!(provisional(&mut script, leg, 183, Some(sdp("answer"))).is_empty());
    assert!(provisional(&mut script, leg, 182, None).is_empty());
    let sent = script.receive(&prack(&first[0], 2, ""));
    assert_eq!(starts(&sent), ["200 OK", "182 Queued"]);
    assert!(sent[1].ends_with("\r\n\r\nanswer"), "no answer is lost: {}", sent[1]);
    let number = |m: &str| field(m, "RSeq").parse::<u32>().unwrap();
    assert_eq!(number(&sent[1]), number(&first[0]) + 1);
    assert_eq!(starts(&script.receive(&prack(&sent[1], 3, ""))), ["200 OK"]);
}

#[test]
fn the_2xx_waits_for_the_prack_of_an_answer_and_does_not_repeat_it() {
    // RFC 3262 §3, RFC 6337 §2.2.
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 183, Some(sdp("answer")));
    assert!(script.command(Command::Answer { leg, body: sdp("answer") }).is_empty());
    let sent = script.receive(&prack(&first[0], 2, ""));
    assert_eq!(starts(&sent), ["200 OK", "200 OK"]);
    assert_eq!((field(&sent[0], "CSeq"), field(&sent[1], "CSeq")), ("2 PRACK".into(), "1 INVITE".into()));
    assert!(sent[1].ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn the_2xx_does_not_wait_for_the_prack_of_a_bare_180() {
    // RFC 3262 §3: nothing is repeated after it, yet the PRACK is taken.
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 180, None);
    let sent = script.command(Command::Answer { leg, body: sdp("answer") });
    assert!(sent[0].ends_with("\r\n\r\nanswer"));
    let tag = to_tag(&sent[0]);
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    assert!(script.wait(Duration::from_secs(10)).is_empty());
    assert_eq!(starts(&script.receive(&prack(&first[0], 2, ""))), ["200 OK"]);
}

#[test]
fn a_call_refused_or_cancelled_before_the_prack_ends_at_once() {
    // RFC 3262 §3: only a 2xx waits.
    for cancel in [false, true] {
        let (mut script, leg) = called(REQUIRED);
        provisional(&mut script, leg, 183, Some(sdp("answer")));
        script.command(Command::Answer { leg, body: sdp("answer") });
        let sent = if cancel {
            script.receive(&request("CANCEL", 1, "i1", "", ""))
        } else {
            script.command(Command::HangUp { leg, reason: None })
        };
        assert_eq!(status(sent.last().unwrap()), if cancel { 487 } else { 480 });
        assert_eq!(script.party.ends().len(), 1);
        script.assert_drained();
    }
}

#[test]
fn a_prack_for_nothing_is_481() {
    // RFC 3262 §3: number, CSeq and method must fit, each response is acknowledged once.
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 180, None);
    let tag = to_tag(&first[0]);
    let rseq: u32 = field(&first[0], "RSeq").parse().unwrap();
    let bad = [
        format!("RAck: {} 1 INVITE", rseq + 1),
        format!("RAck: {rseq} 2 INVITE"),
        format!("RAck: {rseq} 1 OPTIONS"),
        format!("RAck: {rseq} 1"),
        format!("RAck: {rseq} 1 INVITE 1"),
        "RAck: -1 99999999999999999999 INVITE".into(),
        "X-Nothing: 1".into(),
    ];
    for (rack, n) in bad.iter().zip(2..) {
        let sent = script.receive(&request("PRACK", n, &format!("p{n}"), &tag, rack));
        assert_eq!(status(&sent[0]), 481, "{rack}");
    }
    assert_eq!(starts(&script.receive(&prack(&first[0], 20, ""))), ["200 OK"]);
    assert_eq!(status(&script.receive(&prack(&first[0], 21, ""))[0]), 481);
    let outside = request("PRACK", 1, "p0", "", "RAck: 1 1 INVITE").replace("call1", "call2");
    assert_eq!(status(&script.receive(&outside)[0]), 481);
}

const OFFER2: &str = "Content-Type: application/sdp\n\noffer2";

#[test]
fn an_offer_in_a_prack_that_acknowledges_our_answer_is_answered_in_its_200() {
    // RFC 3262 §5.
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 183, Some(sdp("answer")));
    script.events();
    let early = prack(&first[0], 2, OFFER2);
    assert!(script.receive(&early).is_empty(), "the application answers");
    assert!(matches!(&script.events()[..], [Event::Reinvite { body, .. }] if text(body) == "offer2"));
    // Somebody picks up meanwhile: the 2xx waits for what is open.
    assert!(script.command(Command::Answer { leg, body: sdp("answer") }).is_empty());
    let sent = script.command(Command::AcceptReinvite { leg, body: sdp("answer2") });
    assert_eq!(starts(&sent), ["200 OK", "200 OK"]);
    assert!(field(&sent[0], "CSeq").ends_with("PRACK") && sent[0].ends_with("\r\n\r\nanswer2"));
    assert!(field(&sent[1], "CSeq").ends_with("INVITE") && sent[1].ends_with("\r\n\r\n"), "{}", sent[1]);
    script.receive(&request("ACK", 1, "a1", &to_tag(&sent[1]), ""));
    script.receive(&request("BYE", 3, "b1", &to_tag(&sent[1]), ""));
    script.assert_drained();
}

#[test]
fn an_offer_in_a_prack_before_our_answer_is_488_and_the_call_goes_on() {
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 180, None);
    let sent = script.receive(&prack(&first[0], 2, OFFER2));
    assert_eq!(status(&sent[0]), 488);
    assert!(script.wait(Duration::from_secs(60)).is_empty());
    assert_eq!(starts(&script.command(Command::Answer { leg, body: sdp("a") })), ["200 OK"]);
}

#[test]
fn a_refused_offer_in_a_prack_leaves_the_call_as_it_was() {
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 183, Some(sdp("answer")));
    script.receive(&prack(&first[0], 2, OFFER2));
    let sent = script.command(Command::RejectReinvite { leg, status: 488, headers: Vec::new() });
    assert_eq!(status(&sent[0]), 488);
    assert_eq!(starts(&script.command(Command::Answer { leg, body: sdp("answer") })), ["200 OK"]);
}

#[test]
fn an_open_offer_is_487_when_its_call_is_cancelled() {
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 183, Some(sdp("answer")));
    script.receive(&prack(&first[0], 2, OFFER2));
    let sent = script.receive(&request("CANCEL", 1, "i1", "", ""));
    let statuses: Vec<u16> = sent.iter().map(|s| status(s)).collect();
    assert_eq!(statuses, [200, 487, 487], "{sent:?}");
    script.assert_drained();
}

#[test]
fn an_update_with_an_offer_is_answered_while_it_rings_once_our_answer_is_acknowledged() {
    // RFC 3311 §5.1 and §5.2.
    let (mut script, leg) = called(REQUIRED);
    let first = provisional(&mut script, leg, 183, Some(sdp("answer")));
    let tag = to_tag(&first[0]);
    let sent = script.receive(&request("UPDATE", 2, "u1", &tag, OFFER2));
    assert_eq!(status(&sent[0]), 500, "our answer is not acknowledged");
    assert!(field(&sent[0], "Retry-After").parse::<u32>().unwrap() <= 10);
    script.receive(&prack(&first[0], 3, ""));
    script.events();
    assert!(script.receive(&request("UPDATE", 4, "u2", &tag, OFFER2)).is_empty());
    assert!(matches!(&script.events()[..], [Event::Reinvite { body, .. }] if text(body) == "offer2"));
    assert_eq!(status(&script.receive(&request("UPDATE", 5, "u3", &tag, OFFER2))[0]), 500);
    let sent = script.command(Command::AcceptReinvite { leg, body: sdp("answer2") });
    assert!(sent[0].ends_with("answer2") && field(&sent[0], "CSeq") == "4 UPDATE");
}

/// A callee that has answered our offer reliably, and its UPDATE with an offer.
fn callee_updates(script: &mut Script, invite: &str, tag: &str) -> Vec<String> {
    let sent = script.receive(&reliable(invite, "183 Session Progress", tag, 1, SDP));
    script.receive(&answer(&sent[0], "200 OK", "", ""));
    script.events();
    let ours = field(invite, "From").split("tag=").nth(1).unwrap().to_owned();
    let update = request("UPDATE", 1, &format!("u-{tag}"), &ours, OFFER2)
        .replace("call1", &field(invite, "Call-ID"))
        .replace(
            &field(&request("UPDATE", 1, "x", &ours, ""), "From"),
            &format!("<sip:bob@{}>;tag={tag}", kit::BOB),
        );
    script.receive(&update)
}

#[test]
fn an_update_of_the_callee_with_an_offer_is_answered_before_the_2xx_and_its_session_stands() {
    // RFC 3311 §5.1; what the 2xx repeats of the first answer is old (RFC 6337 §2.2).
    for repeats in [true, false] {
        let (mut script, invite) = calling();
        assert!(callee_updates(&mut script, &invite, "b1").is_empty());
        assert!(matches!(&script.events()[..], [Event::Reinvite { body, .. }] if text(body) == "offer2"));
        let sent = script.command(Command::AcceptReinvite { leg: LEG(), body: sdp("answer2") });
        assert!(sent[0].ends_with("answer2") && field(&sent[0], "Contact").contains("alice@"));
        let last = if repeats { SDP.replace("answer", "something else") } else { String::new() };
        script.receive(&answer(&invite, "200 OK", "b1", &format!("{CONTACT}\n{last}")));
        let body = script.events().into_iter().find_map(|e| match e {
            Event::Answered { body, .. } => Some(text(&body)),
            _ => None,
        });
        assert_eq!(body.as_deref(), Some("answer"), "the application knows it already");
    }
}

#[test]
fn an_update_of_the_callee_before_its_answer_is_491_and_of_a_fork_that_lost_487() {
    // RFC 3311 §5.2: our offer is open. RFC 3261 §13.2.2.4: the other fork answers.
    let (mut script, invite) = calling();
    script.receive(&reliable(&invite, "180 Ringing", "b2", 1, ""));
    let ours = field(&invite, "From").split("tag=").nth(1).unwrap().to_owned();
    let from = field(&request("UPDATE", 1, "x", &ours, ""), "From");
    let update = request("UPDATE", 1, "u0", &ours, OFFER2)
        .replace("call1", &field(&invite, "Call-ID"))
        .replace(&from, &format!("<sip:bob@{}>;tag=b2", kit::BOB));
    assert_eq!(status(&script.receive(&update)[0]), 491);
    assert!(callee_updates(&mut script, &invite, "b1").is_empty());
    let sent = script.receive(&answer(&invite, "200 OK", "b3", &format!("{CONTACT}\n{SDP}")));
    assert!(starts(&sent)[0].starts_with("ACK "), "{sent:?}");
    assert_eq!(status(sent.last().unwrap()), 487);
}

#[test]
fn supported_100rel_alone_gets_ordinary_responses() {
    // RFC 3262 §3: reliable ones are then our choice.
    let (mut script, leg) = called("Supported: 100rel\nContent-Type: application/sdp\n\noffer");
    let sent = provisional(&mut script, leg, 183, Some(sdp("answer")));
    assert!(!sent[0].contains("RSeq") && !sent[0].contains("Require"));
    assert!(script.wait(Duration::from_secs(60)).is_empty());
}

#[test]
fn a_late_offer_with_required_100rel_gets_its_offer_reliably_and_the_answer_comes_in_the_prack() {
    // RFC 3262 §5, RFC 3261 §13.2.1: the first reliable response brings the offer.
    let (mut script, leg) = called("Require: 100rel");
    script.events();
    assert!(provisional(&mut script, leg, 180, None).is_empty(), "not without the offer");
    let first = provisional(&mut script, leg, 180, Some(sdp("offer")));
    assert!(first[0].ends_with("\r\n\r\noffer"));
    assert!(script.command(Command::Answer { leg, body: sdp("offer") }).is_empty(), "not before the PRACK");
    let sent = script.receive(&prack(&first[0], 2, "Content-Type: application/sdp\n\nanswer"));
    assert_eq!(starts(&sent), ["200 OK", "200 OK"]);
    assert!(sent.iter().all(|s| s.ends_with("\r\n\r\n")), "nothing is offered twice: {sent:?}");
    assert!(matches!(&script.events()[..], [Event::Acked { body, .. }] if text(body) == "answer"));
    script.receive(&request("ACK", 1, "a1", &to_tag(&sent[1]), ""));
    // The dialog is free for re-INVITEs at once.
    assert!(script.receive(&request("INVITE", 3, "i3", &to_tag(&sent[1]), OFFER2)).len() <= 1);
    assert!(script.events().iter().any(|e| matches!(e, Event::Reinvite { .. })));
}

#[test]
fn an_offer_never_goes_into_an_unreliable_response() {
    let (mut script, leg) = called("");
    let sent = provisional(&mut script, leg, 180, Some(sdp("offer")));
    assert!(sent[0].ends_with("\r\n\r\n"));
}

#[test]
fn calls_with_required_100rel_survive_a_bad_network() {
    for seed in 0..60 {
        let mut net = Net::new(seed, 20);
        let call = sip_ua::Invite { headers: vec![("Require", "100rel".into())], ..*invite(kit::BOB) };
        net.command(0, Command::Invite(LEG(), Box::new(call)));
        net.run_millis(20_000);
        let Some(Event::Invite { leg, .. }) = net.parties[1].events.first() else {
            continue;
        };
        let leg = *leg;
        net.command(1, Command::Provisional { leg, status: 180, body: None });
        net.command(1, Command::Provisional { leg, status: 183, body: Some(sdp("answer")) });
        net.run_millis(20_000);
        net.command(1, Command::Answer { leg, body: sdp("answer") });
        net.run_millis(30_000);
        let events = net.parties[0].take_events();
        let told = progress(&events);
        assert!(told.iter().filter(|p| p.1 == "answer").count() <= 1, "seed {seed}: {told:?}");
        let answered = |e: &Event| matches!(e, Event::Answered { body, .. } if text(body) == "answer");
        assert!(events.iter().any(answered), "seed {seed}: {events:?}");
        assert_eq!(told, [(180, String::new()), (183, "answer".into())], "seed {seed}");
        net.command(0, Command::HangUp { leg: LEG(), reason: None });
        net.assert_drained();
    }
}
