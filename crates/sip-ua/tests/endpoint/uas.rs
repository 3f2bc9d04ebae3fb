//! A scripted peer calls us, byte by byte.

use crate::kit;
use std::time::Duration;

use crate::kit::{Script, field, request, sdp, starts, status, text, to_tag};
use sip_ua::{Command, Event, LegEnd, SipLeg};

const SDP: &str = "Content-Type: application/sdp\n\noffer";

fn called() -> (Script, SipLeg, String) {
    let mut script = Script::new();
    let sent = script.receive(&request("INVITE", 1, "i1", "", SDP));
    assert_eq!(starts(&sent), ["100 Trying"]);
    assert!(!field(&sent[0], "To").contains("tag="));
    let leg = script.party.incoming();
    let sent = script.command(Command::Provisional { leg, status: 180, body: None });
    let tag = to_tag(&sent[0]);
    (script, leg, tag)
}

fn answered() -> (Script, SipLeg, String) {
    let (mut script, leg, tag) = called();
    let sent = script.command(Command::Answer { leg, body: sdp("answer") });
    assert_eq!(starts(&sent), ["200 OK"]);
    (script, leg, tag)
}

fn confirmed() -> (Script, SipLeg, String) {
    let (mut script, leg, tag) = answered();
    assert!(script.receive(&request("ACK", 1, "a1", &tag, "")).is_empty());
    script.events();
    (script, leg, tag)
}

#[test]
fn responses_carry_one_tag_contact_and_the_via_with_source_port() {
    // RFC 3261 §8.2.6.2, §12.1.1; RFC 3581 §4.
    let mut script = Script::new();
    let invite = request("INVITE", 1, "i1", "", SDP)
        .replace("SIP/2.0/UDP 192.0.2.2:5060", "SIP/2.0/UDP 10.1.1.1:5060")
        .replace("From:", "Record-Route: <sip:192.0.2.9;lr>\nFrom:");
    script.receive(&invite);
    let leg = script.party.incoming();
    let ringing = script.command(Command::Provisional { leg, status: 183, body: Some(sdp("early")) });
    let ok = script.command(Command::Answer { leg, body: sdp("answer") });
    assert_eq!(status(&ringing[0]), 183);
    assert!(ringing[0].ends_with("\r\n\r\nearly"));
    for response in [&ringing[0], &ok[0]] {
        assert_eq!(field(response, "Contact"), "<sip:alice@192.0.2.1:5060>");
        assert_eq!(field(response, "Record-Route"), "<sip:192.0.2.9;lr>");
        let via = "SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bKi1;received=192.0.2.2;rport=5060";
        assert_eq!(field(response, "Via"), via);
    }
    assert_eq!(to_tag(&ringing[0]), to_tag(&ok[0]));
}

#[test]
fn responses_go_to_the_source_port_with_rport_and_to_the_via_port_without() {
    // RFC 3581 §4 and RFC 3261 §18.2.2.
    for (via, port) in [(";rport", 40_000), ("", 5070)] {
        let mut script = Script::new();
        script.peer.remote.set_port(40_000);
        let options = request("OPTIONS", 1, "o1", "", "").replace(
            "192.0.2.2:5060;branch=z9hG4bKo1;rport",
            &format!("192.0.2.2:5070;branch=z9hG4bKo1{via}"),
        );
        script.party.endpoint.handle_message(script.peer, kit::wire(&options), script.now, types::Wall(0));
        let (target, bytes) = script.party.drain().remove(0);
        assert!(bytes.starts_with(b"SIP/2.0 200"));
        let sip_ua::Target::Flow(flow) = target else { panic!("{target:?}") };
        assert_eq!((flow.remote.ip(), flow.remote.port()), (script.peer.remote.ip(), port));
        assert_eq!(flow.local, script.peer.local);
    }
}

#[test]
fn the_2xx_is_repeated_until_its_ack() {
    // RFC 3261 §13.3.1.4.
    let (mut script, leg, tag) = answered();
    let sent = script.wait(Duration::from_secs(6));
    assert_eq!(starts(&sent), ["200 OK"; 3]);
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    assert!(script.wait(Duration::from_secs(20)).is_empty());
    let events = script.events();
    assert!(matches!(&events[1], Event::Acked { leg: l, body: None } if *l == leg));
    assert!(script.receive(&request("ACK", 1, "a1", &tag, "")).is_empty());
    assert!(script.events().is_empty());
}

#[test]
fn a_2xx_without_ack_for_64_t1_is_followed_by_bye() {
    // RFC 3261 §13.3.1.4; field problem 27.
    let (mut script, leg, _) = answered();
    let sent = script.wait(Duration::from_millis(32_100));
    assert_eq!(starts(&sent)[..10], ["200 OK"; 10]);
    assert_eq!(starts(&sent)[10..], ["BYE sip:bob@192.0.2.2:5060 SIP/2.0"]);
    script.receive(&kit::answer(&sent[10], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::NoAck)]);
    script.assert_drained();
}

#[test]
fn bye_waits_for_the_ack_of_our_2xx() {
    // RFC 3261 §15.
    let (mut script, leg, tag) = answered();
    assert!(script.command(Command::HangUp { leg, reason: Some("Q.850;cause=16".into()) }).is_empty());
    let sent = script.receive(&request("ACK", 1, "a1", &tag, ""));
    assert_eq!(starts(&sent), ["BYE sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(field(&sent[0], "Reason"), "Q.850;cause=16");
    assert!(field(&sent[0], "From").ends_with(&format!(";tag={tag}")));
    assert!(field(&sent[0], "To").ends_with(";tag=bobtag"));
    script.receive(&kit::answer(&sent[0], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn a_peer_that_vanishes_before_its_ack_owes_the_end_for_two_silences() {
    // RFC 3261 §15: no BYE before the ACK or the end of our 2xx; then 64*T1 for the answer to it.
    let (mut script, leg, _) = answered();
    assert!(script.command(Command::HangUp { leg, reason: None }).is_empty());
    let sent = script.wait(Duration::from_millis(32_100));
    assert_eq!(starts(&sent[10..]), ["BYE sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert!(script.party.ends().is_empty());
    script.wait(Duration::from_millis(32_100));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::NoAck)]);
    script.assert_drained();
}

#[test]
fn the_answer_to_a_late_offer_comes_in_the_ack() {
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", ""));
    let leg = script.party.incoming();
    let sent = script.command(Command::Answer { leg, body: sdp("our offer") });
    script.receive(&request(
        "ACK",
        1,
        "a1",
        &to_tag(&sent[0]),
        "Content-Type: application/sdp\n\ntheir answer",
    ));
    let events = script.events();
    assert!(matches!(&events[1], Event::Acked { body, .. } if text(body) == "their answer"));
}

#[test]
fn repeated_invites_get_the_last_response_and_make_no_second_call() {
    let (mut script, leg, _) = called();
    let invite = request("INVITE", 1, "i1", "", SDP);
    assert_eq!(starts(&script.receive(&invite)), ["180 Ringing"]);
    let sent = script.command(Command::Reject {
        leg,
        status: 486,
        reason: "Not now".into(),
        headers: vec![("Warning", "399 x \"y\"".into())],
    });
    assert_eq!(starts(&sent), ["486 Not now"]);
    assert_eq!(script.receive(&invite), sent);
    let ack = request("ACK", 1, "i1", &to_tag(&sent[0]), "");
    assert!(script.receive(&ack).is_empty());
    assert!(script.receive(&invite).is_empty());
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    assert_eq!(script.events().len(), 2);
    script.assert_drained();
}

#[test]
fn cancel_is_answered_200_and_the_invite_487_with_one_tag() {
    // RFC 3261 §9.2.
    let (mut script, leg, tag) = called();
    let sent = script.receive(&request("CANCEL", 1, "i1", "", "Reason: SIP;cause=200"));
    assert_eq!(starts(&sent), ["200 OK", "487 Request Terminated"]);
    assert_eq!((to_tag(&sent[0]), to_tag(&sent[1])), (tag.clone(), tag));
    assert_eq!(field(&sent[0], "CSeq"), "1 CANCEL");
    let end = LegEnd::Cancelled { reason: Some("SIP;cause=200".into()) };
    assert_eq!(script.party.ends(), vec![(leg, end)]);
    assert!(script.command(Command::Answer { leg, body: sdp("late") }).is_empty());
    script.assert_drained();
}

#[test]
fn cancel_after_the_answer_changes_nothing_and_without_invite_is_481() {
    let (mut script, _, tag) = answered();
    let sent = script.receive(&request("CANCEL", 1, "i1", "", ""));
    assert_eq!(starts(&sent), ["200 OK"]);
    assert!(script.party.ends().is_empty());
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    let sent = script.receive(&request("CANCEL", 7, "other", "", ""));
    assert_eq!(status(&sent[0]), 481);
}

#[test]
fn bye_before_the_answer_ends_the_call_like_cancel() {
    // RFC 3261 §15: the caller may send BYE on an early dialog.
    let (mut script, leg, tag) = called();
    let sent = script.receive(&request("BYE", 2, "b1", &tag, ""));
    assert_eq!(starts(&sent), ["200 OK", "487 Request Terminated"]);
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Cancelled { reason: None })]);
}

#[test]
fn bye_ends_the_leg_once_and_its_repetition_is_answered_again() {
    let (mut script, leg, tag) = confirmed();
    let bye = request("BYE", 2, "b1", &tag, "Reason: Q.850;cause=31;text=\"x\"");
    let sent = script.receive(&bye);
    assert_eq!(starts(&sent), ["200 OK"]);
    assert_eq!(script.receive(&bye), sent);
    assert_eq!(status(&script.receive(&request("BYE", 3, "b2", &tag, ""))[0]), 481);
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Bye { q850: Some(31) })]);
    script.assert_drained();
}

#[test]
fn hanging_up_while_it_rings_is_480_with_the_reason() {
    let (mut script, leg, _) = called();
    let sent = script.command(Command::HangUp { leg, reason: Some("Q.850;cause=19".into()) });
    assert_eq!(status(&sent[0]), 480);
    assert_eq!(field(&sent[0], "Reason"), "Q.850;cause=19");
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn a_merged_request_is_482_but_a_careless_retry_after_401_is_not() {
    // RFC 3261 §8.2.2.2.
    let (mut script, leg, _) = called();
    let sent = script.receive(&request("INVITE", 1, "fork", "", SDP));
    assert_eq!(status(&sent[0]), 482);
    script.command(Command::Reject { leg, status: 401, reason: String::new(), headers: Vec::new() });
    let sent = script.receive(&request("INVITE", 1, "retry", "", SDP));
    assert_eq!(starts(&sent), ["100 Trying"]);
}

#[test]
fn methods_that_we_do_not_do_are_405_unknown_ones_501_with_allow_and_unknown_dialogs_481() {
    // RFC 3261 §21.4.6 and §21.5.2.
    let mut script = Script::new();
    for (method, expected) in [("PUBLISH", 405), ("MESSAGE", 405), ("DANCE", 501)] {
        let sent = script.receive(&request(method, 1, &format!("p{method}"), "", ""));
        assert_eq!(status(&sent[0]), expected, "{method}");
        let allow =
            "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, REGISTER, UPDATE, REFER, NOTIFY, SUBSCRIBE";
        assert_eq!(field(&sent[0], "Allow"), allow);
    }
    for (n, method) in ["BYE", "INFO", "OPTIONS", "INVITE"].into_iter().enumerate() {
        let sent = script.receive(&request(method, 2, &format!("d{n}"), "nosuchtag", ""));
        assert_eq!(status(sent.last().unwrap()), 481, "{method}");
    }
    assert!(script.receive(&request("ACK", 2, "a9", "nosuchtag", "")).is_empty());
    script.assert_drained();
    assert!(script.events().is_empty());
}

#[test]
fn options_say_what_we_do() {
    // RFC 3261 §11.2.
    let mut script = Script::new();
    let sent = script.receive(&request("OPTIONS", 1, "o1", "", ""));
    assert_eq!(starts(&sent), ["200 OK"]);
    assert!(field(&sent[0], "Allow").contains("INVITE"));
    assert_eq!(field(&sent[0], "Accept"), "application/sdp");
    assert_eq!(field(&sent[0], "Accept-Encoding"), "identity");
    assert_eq!(field(&sent[0], "Accept-Language"), "en");
    assert!(field(&sent[0], "To").contains(";tag="));
    assert_eq!(field(&sent[0], "Supported"), "100rel, timer, replaces, norefersub, outbound");
    script.assert_drained();
}

#[test]
fn info_is_answered_and_reaches_the_application() {
    let (mut script, leg, tag) = confirmed();
    let info = "Content-Type: application/dtmf-relay\n\nSignal=5\nDuration=160";
    let sent = script.receive(&request("INFO", 2, "f1", &tag, info));
    assert_eq!(starts(&sent), ["200 OK"]);
    let events = script.events();
    let [Event::Info { leg: l, body }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((*l, body.content_type.as_str()), (leg, "application/dtmf-relay"));
    assert_eq!(body.bytes, b"Signal=5\nDuration=160");
}

#[test]
fn a_request_out_of_order_is_500() {
    // RFC 3261 §12.2.2.
    let (mut script, _, tag) = confirmed();
    script.receive(&request("INFO", 5, "f1", &tag, ""));
    let sent = script.receive(&request("INFO", 4, "f2", &tag, ""));
    assert_eq!(status(&sent[0]), 500);
}

#[test]
fn bodies_that_are_no_session_description_are_415() {
    // RFC 3261 §8.2.3.
    let mut script = Script::new();
    let sent = script.receive(&request("INVITE", 1, "i1", "", "Content-Type: text/plain\n\nhello"));
    assert_eq!(starts(&sent), ["100 Trying", "415 Unsupported Media Type"]);
    assert_eq!(field(&sent[1], "Accept"), "application/sdp");
    let coded = SDP.replacen("Content-Type", "Content-Encoding: gzip\nContent-Type", 1);
    let sent = script.receive(&request("INVITE", 1, "i2", "", &coded).replace("Call-ID: ", "Call-ID: 2"));
    assert_eq!(starts(&sent)[1], "415 Unsupported Media Type");
    assert_eq!(field(&sent[1], "Accept-Encoding"), "identity");
    assert!(script.events().is_empty());
}

#[test]
fn a_required_extension_is_420_with_unsupported() {
    // RFC 3261 §8.2.2.3.
    let mut script = Script::new();
    let sent = script.receive(&request("INVITE", 1, "i1", "", &format!("Require: precondition\n{SDP}")));
    assert_eq!(status(sent.last().unwrap()), 420);
    assert_eq!(field(sent.last().unwrap(), "Unsupported"), "precondition");
    script.assert_drained();
}

#[test]
fn an_invite_without_contact_is_400() {
    let mut script = Script::new();
    let text = request("INVITE", 1, "i1", "", SDP).replace("Contact:", "X-Contact:");
    let sent = script.receive(&text);
    assert_eq!(starts(&sent).last(), Some(&"400 Missing Contact"));
    assert!(script.events().is_empty());
}

#[test]
fn register_waits_for_the_application_and_is_answered_once() {
    let mut script = Script::new();
    script.party.address = kit::addr(kit::ALICE);
    let register = request("REGISTER", 1, "r1", "", "Expires: 60");
    assert!(script.receive(&register).is_empty());
    assert!(script.receive(&register).is_empty());
    let events = script.events();
    let [Event::Register { token, request: r, flow }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((r.expires(), flow.remote), (Some(60), kit::addr(kit::BOB)));
    let respond = |status| Command::Respond {
        token: *token,
        status,
        reason: String::new(),
        headers: vec![("Contact", "<sip:bob@192.0.2.2:5060>;expires=60".into())],
    };
    let sent = script.command(respond(200));
    assert_eq!(starts(&sent), ["200 OK"]);
    assert_eq!(field(&sent[0], "Date"), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert!(script.command(respond(403)).is_empty());
    assert_eq!(script.receive(&register), sent);
    script.assert_drained();
}

#[test]
fn a_register_that_nobody_answers_is_forgotten_without_408() {
    // RFC 4320 §4.2.
    let mut script = Script::new();
    script.receive(&request("REGISTER", 1, "r1", "", ""));
    assert!(script.wait(Duration::from_secs(40)).is_empty());
    script.assert_drained();
}
