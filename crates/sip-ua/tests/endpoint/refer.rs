//! REFER inside calls, both ways, and its NOTIFYs (RFC 3515, 4488, 6665).

use std::time::Duration;

use crate::kit::{Script, answer, called, field, request, sdp, starts, status, to_tag};
use sip_ua::{Command, Event, LegEnd, ReferId, ReferOutcome, Referral, ReplacedDialog, SipLeg};

const TO_CAROL: &str = "Refer-To: <sip:carol@example.com>";

fn asked(script: &mut Script) -> (ReferId, Referral) {
    match &script.events()[..] {
        [Event::Refer { refer, referral, .. }] => (*refer, referral.clone()),
        other => panic!("{other:?}"),
    }
}

/// Bob's REFER was taken; the messages are our 202 and NOTIFY.
fn referred() -> (Script, SipLeg, String, ReferId, Vec<String>) {
    let (mut script, leg, tag) = called();
    assert!(script.receive(&request("REFER", 2, "r1", &tag, TO_CAROL)).is_empty());
    let (refer, _) = asked(&mut script);
    let sent = script.command(Command::AcceptRefer { refer });
    (script, leg, tag, refer, sent)
}

fn ok(script: &mut Script, notify: &str) -> Vec<String> {
    script.receive(&answer(notify, "200 OK", "", ""))
}

fn fragment(notify: &str) -> &str {
    notify.split("\r\n\r\n").nth(1).unwrap().trim()
}

#[test]
fn a_refer_is_202_and_notified_at_once_on_the_way_and_at_the_end() {
    // RFC 3515 §2.4.4, §2.4.5; RFC 6665 §4.2.1.
    let (mut script, _, _, refer, sent) = referred();
    assert_eq!(starts(&sent), ["202 Accepted", "NOTIFY sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(field(&sent[0], "Contact"), "<sip:alice@192.0.2.1:5060>");
    assert_eq!(field(&sent[1], "Event"), "refer");
    assert_eq!(field(&sent[1], "Subscription-State"), "active;expires=180");
    assert_eq!(field(&sent[1], "Content-Type"), "message/sipfrag;version=2.0");
    assert_eq!(field(&sent[1], "Contact"), "<sip:alice@192.0.2.1:5060>");
    assert_eq!(fragment(&sent[1]), "SIP/2.0 100 Trying");
    ok(&mut script, &sent[1]);
    let sent = script.command(Command::ReferStatus { refer, status: 180 });
    assert_eq!(fragment(&sent[0]), "SIP/2.0 180 Ringing");
    ok(&mut script, &sent[0]);
    let sent = script.command(Command::ReferStatus { refer, status: 200 });
    assert_eq!(fragment(&sent[0]), "SIP/2.0 200 OK");
    assert_eq!(field(&sent[0], "Subscription-State"), "terminated;reason=noresource");
    ok(&mut script, &sent[0]);
    assert!(script.command(Command::ReferStatus { refer, status: 486 }).is_empty(), "it is over");
}

#[test]
fn no_notify_overtakes_another_and_only_the_newest_news_is_sent() {
    let (mut script, _, _, refer, first) = referred();
    assert!(script.command(Command::ReferStatus { refer, status: 180 }).is_empty());
    assert!(script.command(Command::ReferStatus { refer, status: 486 }).is_empty());
    let sent = ok(&mut script, &first[1]);
    assert_eq!(sent.len(), 1);
    assert_eq!(fragment(&sent[0]), "SIP/2.0 486 Busy Here");
}

#[test]
fn what_a_refer_says_reaches_the_application() {
    // RFC 3892 §2.1; RFC 3891 §6.1 in a URI's header.
    let (mut script, leg, tag) = called();
    let replaces = format!("call1%3Bto-tag%3D{tag}%3Bfrom-tag%3Dbobtag");
    let extra =
        format!("Refer-To: <sip:carol@example.com?Replaces={replaces}>\nReferred-By: <sip:bob@example.com>");
    script.receive(&request("REFER", 2, "r1", &tag, &extra));
    let (_, referral) = asked(&mut script);
    assert_eq!(referral.to, "sip:carol@example.com");
    assert!(!referral.private);
    assert_eq!(referral.replaces, Some(ReplacedDialog::Leg(leg)));
    let extra = "Refer-To: <sip:carol@example.com?Replaces=x%3Bto-tag%3Da%3Bfrom-tag%3Db>";
    script.receive(&request("REFER", 3, "r2", &tag, extra));
    assert_eq!(asked(&mut script).1.replaces, Some(ReplacedDialog::Unknown));
}

#[test]
fn a_transferor_may_want_not_to_be_named() {
    // RFC 3892 §3, RFC 3323 §4.1.1.3 and §4.2.
    let cases = [
        ("Privacy: user", true),
        ("Privacy: none", false),
        ("Referred-By: \"Anonymous\" <sip:anonymous@anonymous.invalid>", true),
        ("Referred-By: <sip:bob@example.com>", false),
    ];
    for (line, private) in cases {
        let (mut script, _, tag) = called();
        script.receive(&request("REFER", 2, "r1", &tag, &format!("{TO_CAROL}\n{line}")));
        assert_eq!(asked(&mut script).1.private, private, "{line}");
    }
}

#[test]
fn a_refer_that_cannot_be_understood_is_refused_and_the_call_stays() {
    // RFC 3515 §2.4.1, §2.4.2.
    let (mut script, _, tag) = called();
    let two = format!("{TO_CAROL}\n{TO_CAROL}");
    let cases = [
        ("", 400),
        (two.as_str(), 400),
        ("Refer-To: <sip:>", 400),
        ("Refer-To: <http://example.com/>", 416),
        ("Refer-To: <sip:carol@example.com;method=BYE>", 403),
        ("Refer-To: <sip:carol@example.com?Replaces=nonsense>", 400),
    ];
    for (n, (extra, verdict)) in cases.into_iter().enumerate() {
        let sent = script.receive(&request("REFER", 2 + n as u32, &format!("r{n}"), &tag, extra));
        assert_eq!(status(&sent[0]), verdict, "{extra}");
    }
    assert!(script.events().is_empty());
    assert!(script.party.ends().is_empty());
}

#[test]
fn the_application_may_refuse_a_refer() {
    let (mut script, _, tag) = called();
    script.receive(&request("REFER", 2, "r1", &tag, TO_CAROL));
    let (refer, _) = asked(&mut script);
    let reason = "Not Now".to_owned();
    let sent = script.command(Command::RejectRefer { refer, status: 603, reason });
    assert_eq!(starts(&sent), ["603 Not Now"]);
    assert!(script.command(Command::ReferStatus { refer, status: 200 }).is_empty());
}

#[test]
fn a_refer_outside_a_call_is_403_and_before_the_answer_too() {
    let mut script = Script::new();
    let sent = script.receive(&request("REFER", 1, "r0", "", TO_CAROL));
    assert_eq!(status(&sent[0]), 403);
    script.receive(&request("INVITE", 1, "i1", "", "").replace("Call-ID: call1", "Call-ID: call2"));
    let leg = script.party.incoming();
    let tag = to_tag(&script.command(Command::Provisional { leg, status: 180, body: None })[0]);
    let early = request("REFER", 2, "r1", &tag, TO_CAROL).replace("Call-ID: call1", "Call-ID: call2");
    assert_eq!(status(&script.receive(&early)[0]), 403);
}

#[test]
fn refer_sub_false_is_taken_without_notify_and_said_so() {
    // RFC 4488 §4.
    let (mut script, _, tag) = called();
    let extra = format!("{TO_CAROL}\nRefer-Sub: false\nRequire: norefersub");
    script.receive(&request("REFER", 2, "r1", &tag, &extra));
    let (refer, _) = asked(&mut script);
    let sent = script.command(Command::AcceptRefer { refer });
    assert_eq!(starts(&sent), ["202 Accepted"]);
    assert_eq!(field(&sent[0], "Refer-Sub"), "false");
    assert!(script.command(Command::ReferStatus { refer, status: 200 }).is_empty());
    script.receive(&request("BYE", 3, "b1", &tag, ""));
    script.assert_drained();
}

#[test]
fn each_further_refer_of_a_call_has_its_number_in_the_event() {
    // RFC 3515 §2.4.6.
    let (mut script, _, tag, _, first) = referred();
    ok(&mut script, &first[1]);
    script.receive(&request("REFER", 7, "r2", &tag, TO_CAROL));
    let (refer, _) = asked(&mut script);
    let sent = script.command(Command::AcceptRefer { refer });
    assert_eq!(field(&sent[1], "Event"), "refer;id=7");
}

#[test]
fn more_refers_than_a_call_may_have_are_503() {
    let (mut script, _, tag, _, _) = referred();
    for n in 0..3 {
        script.receive(&request("REFER", 3 + n, &format!("m{n}"), &tag, TO_CAROL));
    }
    let sent = script.receive(&request("REFER", 9, "m9", &tag, TO_CAROL));
    assert_eq!(status(&sent[0]), 503);
    assert_eq!(field(&sent[0], "Retry-After"), "10");
}

#[test]
fn a_transferor_that_hangs_up_is_still_told_the_outcome() {
    // RFC 5589 §6.1: the transferor may send BYE as soon as REFER was taken; RFC 5057 §5.
    let (mut script, leg, tag, refer, first) = referred();
    ok(&mut script, &first[1]);
    let sent = script.receive(&request("BYE", 3, "b1", &tag, ""));
    assert_eq!(starts(&sent), ["200 OK"]);
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Bye { q850: None })]);
    let sent = script.command(Command::ReferStatus { refer, status: 200 });
    assert_eq!(fragment(&sent[0]), "SIP/2.0 200 OK");
    assert!(field(&sent[0], "To").contains("bobtag"));
    ok(&mut script, &sent[0]);
    script.assert_drained();
}

#[test]
fn a_notify_answered_481_ends_the_subscription_and_not_the_call() {
    // RFC 6665 §4.2.2.
    let (mut script, _, _, refer, first) = referred();
    script.receive(&answer(&first[1], "481 Subscription does not exist", "", ""));
    assert!(script.command(Command::ReferStatus { refer, status: 200 }).is_empty());
    assert!(script.party.ends().is_empty());
}

#[test]
fn a_subscription_that_nobody_needs_any_more_ends_by_its_time() {
    // RFC 6665 §4.2.2.
    let (mut script, leg, _, refer, first) = referred();
    ok(&mut script, &first[1]);
    let sent = script.wait(Duration::from_secs(181));
    assert_eq!(field(&sent[0], "Subscription-State"), "terminated;reason=timeout");
    ok(&mut script, &sent[0]);
    assert!(script.command(Command::ReferStatus { refer, status: 200 }).is_empty());
    let bye = script.command(Command::HangUp { leg, reason: None });
    script.receive(&answer(&bye[0], "200 OK", "", ""));
    script.assert_drained();
}

#[test]
fn the_peer_may_refresh_its_subscription_and_end_it() {
    // RFC 3515 §2.4.3.
    let (mut script, _, tag, refer, first) = referred();
    ok(&mut script, &first[1]);
    let sent = script.receive(&request("SUBSCRIBE", 3, "s1", &tag, "Event: refer\nExpires: 60"));
    assert_eq!(starts(&sent), ["200 OK", "NOTIFY sip:bob@192.0.2.2:5060 SIP/2.0"]);
    assert_eq!(field(&sent[1], "Subscription-State"), "active;expires=60");
    ok(&mut script, &sent[1]);
    let sent = script.receive(&request("SUBSCRIBE", 4, "s2", &tag, "Event: refer\nExpires: 0"));
    assert_eq!(field(&sent[1], "Subscription-State"), "terminated;reason=timeout");
    ok(&mut script, &sent[1]);
    assert!(script.command(Command::ReferStatus { refer, status: 200 }).is_empty());
    let sent = script.receive(&request("SUBSCRIBE", 5, "s3", &tag, "Event: refer"));
    assert_eq!(status(&sent[0]), 481);
    let sent = script.receive(&request("SUBSCRIBE", 6, "s4", &tag, "Event: presence"));
    assert_eq!(status(&sent[0]), 489);
    assert_eq!(field(&sent[0], "Allow-Events"), "refer");
}

#[test]
fn a_transferor_gets_a_moment_to_hang_up_itself_once_it_knows() {
    // RFC 5589 §6.1: BYE is the transferor's.
    let (mut script, leg, tag, refer, first) = referred();
    ok(&mut script, &first[1]);
    let notify = script.command(Command::ReferStatus { refer, status: 200 });
    assert!(script.command(Command::HangUp { leg, reason: None }).is_empty());
    assert_eq!(status(&script.receive(&request("REFER", 3, "r9", &tag, TO_CAROL))[0]), 481);
    ok(&mut script, &notify[0]);
    assert_eq!(starts(&script.receive(&request("BYE", 4, "b1", &tag, ""))), ["200 OK"]);
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Bye { q850: None })]);
    script.assert_drained();
}

#[test]
fn a_transferor_that_does_not_hang_up_gets_our_bye() {
    let (mut script, leg, _, refer, first) = referred();
    ok(&mut script, &first[1]);
    let notify = script.command(Command::ReferStatus { refer, status: 200 });
    script.command(Command::HangUp { leg, reason: None });
    ok(&mut script, &notify[0]);
    let bye = script.wait(Duration::from_secs(2));
    assert!(bye[0].starts_with("BYE "));
    script.receive(&answer(&bye[0], "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Local)]);
    script.assert_drained();
}

#[test]
fn refer_crossing_our_bye_is_481_and_bye_crossing_our_notify_ends_all() {
    // RFC 5407 §3.2: requests in a call that one side has ended.
    let (mut script, leg, tag) = called();
    let bye = script.command(Command::HangUp { leg, reason: None });
    assert_eq!(status(&script.receive(&request("REFER", 2, "r1", &tag, TO_CAROL))[0]), 481);
    script.receive(&answer(&bye[0], "200 OK", "", ""));
    script.assert_drained();

    let (mut script, _, tag, _, first) = referred();
    assert_eq!(starts(&script.receive(&request("BYE", 3, "b1", &tag, ""))), ["200 OK"]);
    script.receive(&answer(&first[1], "481 Call/Transaction Does Not Exist", "", ""));
    script.assert_drained();
}

#[test]
fn a_reinvite_crossing_refer_is_answered_and_both_go_on() {
    // RFC 5407 §3.3.
    let (mut script, leg, tag) = called();
    let ours = script.command(Command::Reinvite { leg, body: sdp("offer2") });
    script.receive(&request("REFER", 2, "r1", &tag, TO_CAROL));
    let (refer, _) = asked(&mut script);
    let sent = script.command(Command::AcceptRefer { refer });
    assert_eq!(starts(&sent)[0], "202 Accepted");
    let ack = script.receive(&answer(&ours[0], "200 OK", "", "Contact: <sip:bob@192.0.2.2:5060>"));
    assert!(ack[0].starts_with("ACK "));
    assert!(ok(&mut script, &sent[1]).is_empty());
}

fn outcomes(script: &mut Script) -> Vec<ReferOutcome> {
    let outcome = |e: Event| match e {
        Event::Referred { outcome, .. } => Some(outcome),
        _ => None,
    };
    script.events().into_iter().filter_map(outcome).collect()
}

fn notify(cseq: u32, tag: &str, state: &str, line: &str) -> String {
    let extra = format!(
        "Event: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag\n\nSIP/2.0 {line}\r\n"
    );
    request("NOTIFY", cseq, &format!("n{cseq}"), tag, &extra)
}

/// We ask Bob to call the operator.
fn referring() -> (Script, SipLeg, String, String) {
    let (mut script, leg, tag) = called();
    let (to, referred_by) = ("sip:operator@example.com".to_owned(), "sip:alice@example.com".to_owned());
    let sent = script.command(Command::Refer { leg, to, referred_by });
    (script, leg, tag, sent[0].clone())
}

#[test]
fn our_refer_is_followed_to_its_outcome() {
    // RFC 3515 §2.4.5; RFC 3892 §2.1.
    let (mut script, leg, tag, refer) = referring();
    assert!(refer.starts_with("REFER sip:bob@192.0.2.2:5060 SIP/2.0"));
    assert_eq!(field(&refer, "Refer-To"), "<sip:operator@example.com>");
    assert_eq!(field(&refer, "Referred-By"), "<sip:alice@example.com>");
    assert_eq!(field(&refer, "Contact"), "<sip:alice@192.0.2.1:5060>");
    // The first NOTIFY may overtake the 202 (RFC 3515 §2.4.4).
    assert_eq!(status(&script.receive(&notify(2, &tag, "active;expires=60", "100 Trying"))[0]), 200);
    script.receive(&answer(&refer, "202 Accepted", "", ""));
    script.receive(&notify(3, &tag, "active;expires=60", "180 Ringing"));
    script.receive(&notify(4, &tag, "terminated;reason=noresource", "200 OK"));
    let expected = [ReferOutcome::Progress(100), ReferOutcome::Progress(180), ReferOutcome::Done(Some(200))];
    assert_eq!(outcomes(&mut script), expected);
    assert_eq!(status(&script.receive(&notify(5, &tag, "terminated", "200 OK"))[0]), 481, "it is over");
    let bye = script.command(Command::HangUp { leg, reason: None });
    script.receive(&answer(&bye[0], "200 OK", "", ""));
    script.assert_drained();
}

#[test]
fn our_refer_may_be_refused_and_the_call_stays() {
    let (mut script, _, _, refer) = referring();
    script.receive(&answer(&refer, "405 Method Not Allowed", "", ""));
    assert_eq!(outcomes(&mut script), [ReferOutcome::Refused(Some(405))]);
    assert!(script.party.ends().is_empty());
}

#[test]
fn a_subscription_that_ends_without_outcome_and_one_that_says_nothing_are_told() {
    let (mut script, _, tag, refer) = referring();
    script.receive(&answer(&refer, "202 Accepted", "", ""));
    script.receive(&notify(2, &tag, "terminated;reason=timeout", "180 Ringing"));
    assert_eq!(outcomes(&mut script), [ReferOutcome::Done(None)]);

    let (mut script, _, _, refer) = referring();
    script.receive(&answer(&refer, "202 Accepted", "", ""));
    script.wait(Duration::from_secs(181));
    assert_eq!(outcomes(&mut script), [ReferOutcome::Done(None)]);

    // RFC 4488 §4: the peer will not tell.
    let (mut script, _, _, refer) = referring();
    script.receive(&answer(&refer, "202 Accepted", "", "Refer-Sub: false"));
    assert_eq!(outcomes(&mut script), [ReferOutcome::Done(None)]);
}

#[test]
fn a_notify_that_nobody_asked_for_is_481() {
    // RFC 6665 §4.1.3.
    let (mut script, _, tag) = called();
    assert_eq!(status(&script.receive(&notify(2, &tag, "active", "100 Trying"))[0]), 481);
    let other = request("NOTIFY", 3, "n3", &tag, "Event: dialog\nSubscription-State: active");
    assert_eq!(status(&script.receive(&other)[0]), 489);
}

#[test]
fn a_refer_for_a_leg_that_is_over_says_nothing_more() {
    let (mut script, leg, tag) = called();
    script.receive(&request("BYE", 2, "b2", &tag, ""));
    assert!(matches!(script.events().last(), Some(Event::Ended { .. })));
    let to = "sip:x@example.com".to_owned();
    assert!(script.command(Command::Refer { leg, to, referred_by: String::new() }).is_empty());
    assert_eq!(outcomes(&mut script), []);
}

#[test]
fn a_second_refer_of_ours_waits_for_none() {
    let (mut script, leg, _, _) = referring();
    let to = "sip:x@example.com".to_owned();
    assert!(script.command(Command::Refer { leg, to, referred_by: String::new() }).is_empty());
    assert_eq!(outcomes(&mut script), [ReferOutcome::Refused(Some(491))]);
}
