//! Session timers (RFC 4028): negotiation in both roles, refresh, expiry.

use std::time::Duration;

use crate::kit::{BOB, Net, Script, answer, field, invite, request, sdp, starts, status, to_tag};
use sip_ua::{Command, Event, LegEnd, SipLeg};

const CONTACT: &str = "Contact: <sip:bob@192.0.2.2:5060>";
const UPDATE: &str = "Allow: INVITE, ACK, BYE, UPDATE";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A call of ours; the peer's 200 has these lines.
fn calling(lines: &str) -> (Script, SipLeg, String) {
    let mut script = Script::new();
    let leg = SipLeg::outgoing(1);
    let sent = script.command(Command::Invite(leg, invite(BOB)));
    let lines = format!("{CONTACT}\n{lines}");
    script.receive(&answer(&sent[0], "200 OK", "bobtag", lines.trim()));
    script.events();
    (script, leg, sent[0].clone())
}

/// A call from the peer whose INVITE has these lines; our 200 too.
fn called(lines: &str) -> (Script, SipLeg, String) {
    let mut script = Script::new();
    let lines = format!("{lines}\nContent-Type: application/sdp\n\noffer");
    script.receive(&request("INVITE", 1, "i1", "", lines.trim()));
    let leg = script.party.incoming();
    let sent = script.command(Command::Answer { leg, body: sdp("answer") });
    script.receive(&request("ACK", 1, "a1", &to_tag(&sent[0]), ""));
    script.events();
    (script, leg, sent[0].clone())
}

fn has(message: &str, name: &str) -> bool {
    message.lines().any(|l| l.starts_with(&format!("{name}: ")))
}

/// What a call does when nobody answers anything: the start of the first message that comes, and when.
fn first(script: &mut Script) -> (String, u64) {
    for second in 1..4000 {
        if let Some(message) = script.wait(secs(1)).into_iter().next() {
            return (message, second);
        }
    }
    (String::new(), 0)
}

#[test]
fn our_invite_asks_for_a_timer_and_lets_the_callee_choose_the_refresher() {
    // RFC 4028 §7.1.
    let (_, _, invite) = calling("");
    assert_eq!(field(&invite, "Session-Expires"), "1800");
    assert_eq!(field(&invite, "Min-SE"), "90");
    assert!(invite.contains("Supported: timer\r\n"), "{invite}");
}

#[test]
fn every_row_of_the_refresher_table_as_callee() {
    // RFC 4028 §9, table 2. Lines of the INVITE, our Session-Expires, Require, who speaks first and when.
    let rows = [
        ("", None, false, None),
        ("Supported: timer", Some("1800;refresher=uas"), true, Some(("INVITE", 900))),
        ("Session-Expires: 300", Some("300;refresher=uas"), false, Some(("INVITE", 150))),
        // A caller without support cannot be told that the interval is too small.
        ("Session-Expires: 30", Some("90;refresher=uas"), false, Some(("INVITE", 45))),
        ("Supported: timer\nSession-Expires: 300", Some("300;refresher=uac"), true, Some(("BYE", 268))),
        ("k: timer\nx: 90;refresher=uac", Some("90;refresher=uac"), true, Some(("BYE", 60))),
        (
            "Supported: timer\nSession-Expires: 300;refresher=uas",
            Some("300;refresher=uas"),
            true,
            Some(("INVITE", 150)),
        ),
        (
            "Supported: timer\nAllow: UPDATE\nSession-Expires: 300;refresher=uas",
            Some("300;refresher=uas"),
            true,
            Some(("UPDATE", 150)),
        ),
    ];
    for (lines, value, require, then) in rows {
        let (mut script, _, ok) = called(lines);
        let said = has(&ok, "Session-Expires").then(|| field(&ok, "Session-Expires"));
        assert_eq!(said.as_deref(), value, "{lines}");
        assert_eq!(ok.contains("Require: timer\r\n"), require, "{lines}");
        let (message, at) = first(&mut script);
        let (method, when) = then.unwrap_or(("", 0));
        assert!(message.starts_with(method) && at == when, "{lines}: {at} s\n{message}");
    }
}

#[test]
fn every_row_of_the_refresher_table_as_caller() {
    // RFC 4028 §7.2.
    let rows = [
        ("", "", 0),
        ("Session-Expires: 300;refresher=uac", "INVITE", 150),
        ("Session-Expires: 300;refresher=uac\nAllow: UPDATE", "UPDATE", 150),
        ("Session-Expires: 300;refresher=uas", "BYE", 268),
        ("Require: timer\nSession-Expires: 1800;refresher=uas", "BYE", 1768),
        ("Session-Expires: 90;refresher=uas", "BYE", 60),
        // Whoever forgets to say leaves it to us.
        ("Session-Expires: 300", "INVITE", 150),
    ];
    for (lines, method, when) in rows {
        let (mut script, ..) = calling(lines);
        let (message, at) = first(&mut script);
        assert!(message.starts_with(method) && at == when, "{lines}: {at} s\n{message}");
    }
}

#[test]
fn our_refresh_by_update_has_no_body_and_goes_on_for_ever() {
    // RFC 4028 §7.4.
    let (mut script, ..) = calling(&format!("{UPDATE}\nSession-Expires: 300;refresher=uac"));
    for cseq in 2..8 {
        let (update, at) = first(&mut script);
        assert_eq!(at, 150);
        assert_eq!(field(&update, "CSeq"), format!("{cseq} UPDATE"));
        assert_eq!(field(&update, "Session-Expires"), "300;refresher=uac");
        assert_eq!(field(&update, "Content-Length"), "0");
        assert!(has(&update, "Contact"));
        let ok = answer(&update, "200 OK", "", "Session-Expires: 300;refresher=uac");
        assert!(script.receive(&ok).is_empty());
    }
    assert!(script.events().is_empty(), "the application has no part in it");
}

#[test]
fn our_refresh_by_reinvite_repeats_the_description_that_counts() {
    // RFC 4028 §7.4: an offer that the peer refused does not count.
    let (mut script, leg, _) = calling("Session-Expires: 300;refresher=uac");
    let accept = "Session-Expires: 300;refresher=uac\nContent-Type: application/sdp\n\nanswer";
    let sent = script.command(Command::Reinvite { leg, body: sdp("second offer") });
    assert_eq!(field(&sent[0], "Session-Expires"), "300;refresher=uac");
    script.receive(&answer(&sent[0], "200 OK", "", accept));
    let sent = script.command(Command::Reinvite { leg, body: sdp("third offer") });
    script.receive(&answer(&sent[0], "488 Not Acceptable Here", "", ""));
    script.events();
    let (refresh, at) = first(&mut script);
    assert!(refresh.starts_with("INVITE ") && refresh.ends_with("second offer"), "{refresh}");
    assert_eq!(at, 150);
    let ack = script.receive(&answer(&refresh, "200 OK", "", accept));
    assert!(ack[0].starts_with("ACK "));
    assert!(script.events().is_empty(), "the application has no part in it");
    assert_eq!(first(&mut script).1, 150);
}

#[test]
fn the_applications_reinvite_during_ours_is_told_to_try_again() {
    let (mut script, leg, _) = calling("Session-Expires: 300;refresher=uac");
    let (refresh, _) = first(&mut script);
    assert!(script.command(Command::Reinvite { leg, body: sdp("new") }).is_empty());
    assert!(script.events().is_empty());
    script.receive(&answer(&refresh, "200 OK", "", "Session-Expires: 300;refresher=uac"));
    assert!(matches!(script.events()[..], [Event::ReinviteDone { result: Err(491), .. }]));
    assert_eq!(script.command(Command::Reinvite { leg, body: sdp("new") }).len(), 1);
}

#[test]
fn the_peers_refresh_prolongs_the_call_and_moves_nothing() {
    let (mut script, _, ok) = called("Supported: timer\nSession-Expires: 300;refresher=uac");
    let tag = to_tag(&ok);
    for cseq in 2..6 {
        assert!(script.wait(secs(150)).is_empty());
        let lines = "Supported: timer\nSession-Expires: 300;refresher=uac";
        let sent = script.receive(&request("UPDATE", cseq, &format!("u{cseq}"), &tag, lines));
        assert_eq!(starts(&sent), ["200 OK"]);
        assert_eq!(field(&sent[0], "Session-Expires"), "300;refresher=uac");
    }
    assert!(script.events().is_empty());
    assert_eq!(first(&mut script).1, 268);
}

#[test]
fn a_session_that_nobody_refreshes_ends_by_bye_with_a_reason() {
    // RFC 4028 §10.
    let (mut script, leg, _) = called("Supported: timer\nSession-Expires: 90;refresher=uac");
    let (bye, at) = first(&mut script);
    assert_eq!(at, 60);
    assert!(bye.starts_with("BYE "));
    assert!(field(&bye, "Reason").starts_with("SIP;cause=408"), "{bye}");
    script.receive(&answer(&bye, "200 OK", "", ""));
    assert_eq!(script.party.ends(), vec![(leg, LegEnd::Unreachable { why: None })]);
    script.assert_drained();
}

#[test]
fn a_refresh_answered_481_or_408_or_not_at_all_ends_by_bye() {
    // RFC 4028 §10.
    for lines in [UPDATE, "Allow: INVITE"] {
        for answered in ["481 Gone", "408 Request Timeout", ""] {
            let (mut script, leg, _) = calling(&format!("{lines}\nSession-Expires: 300;refresher=uac"));
            let (refresh, _) = first(&mut script);
            let sent = match answered {
                "" => script.wait(secs(33)),
                _ => script.receive(&answer(&refresh, answered, "", "")),
            };
            assert!(sent.iter().any(|m| m.starts_with("BYE ")), "{lines} {answered}");
            script.wait(secs(40));
            assert_eq!(script.party.ends(), vec![(leg, LegEnd::Unreachable { why: None })]);
            script.assert_drained();
        }
    }
}

#[test]
fn a_refresh_that_meets_491_is_tried_again_after_the_pause() {
    // RFC 4028 §10 with RFC 3311 §5.3: 2.1 to 4 s for the owner of the Call-ID.
    for lines in [UPDATE, "Allow: INVITE"] {
        let (mut script, ..) = calling(&format!("{lines}\nSession-Expires: 300;refresher=uac"));
        let (refresh, _) = first(&mut script);
        script.receive(&answer(&refresh, "491 Request Pending", "", ""));
        let (again, at) = first(&mut script);
        assert_eq!(again.split(' ').next(), refresh.split(' ').next());
        assert!((2..=4).contains(&at), "{at}");
        assert!(script.events().is_empty());
    }
}

#[test]
fn a_refused_update_becomes_a_reinvite_and_other_refusals_are_tried_until_the_end() {
    let (mut script, ..) = calling(&format!("{UPDATE}\nSession-Expires: 300;refresher=uac"));
    let (update, _) = first(&mut script);
    script.receive(&answer(&update, "501 Not Implemented", "", ""));
    let mut refused = 0;
    loop {
        let (message, _) = first(&mut script);
        if message.starts_with("BYE ") {
            break;
        }
        assert!(message.starts_with("INVITE ") && message.ends_with("\r\n\r\noffer"), "{message}");
        let ack = script.receive(&answer(&message, "500 Server Internal Error", "", ""));
        assert!(ack[0].starts_with("ACK "));
        refused += 1;
    }
    assert!((10..=15).contains(&refused), "{refused}");
}

#[test]
fn too_small_an_interval_is_422_for_whoever_understands_it() {
    // RFC 4028 §9.
    let mut script = Script::new();
    let lines = "Supported: timer\nSession-Expires: 60\nContent-Type: application/sdp\n\noffer";
    let sent = script.receive(&request("INVITE", 1, "i1", "", lines));
    assert_eq!(starts(&sent), ["100 Trying", "422 Session Interval Too Small"]);
    assert_eq!(field(&sent[1], "Min-SE"), "90");
    assert!(script.events().is_empty());
    let (mut script, _, ok) = called("Supported: timer\nSession-Expires: 90");
    let lines = "Supported: timer\nSession-Expires: 89";
    assert_eq!(status(&script.receive(&request("UPDATE", 2, "u1", &to_tag(&ok), lines))[0]), 422);
}

#[test]
fn our_invite_refused_by_422_is_sent_again_with_what_is_wanted() {
    // RFC 4028 §7.3: the same Call-ID and From, the next number.
    let mut script = Script::new();
    let leg = SipLeg::outgoing(1);
    let first = script.command(Command::Invite(leg, invite(BOB)));
    let sent = script.receive(&answer(&first[0], "422 Session Interval Too Small", "x", "Min-SE: 3600"));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("INVITE "), "{sent:?}");
    assert_eq!(field(&sent[1], "Session-Expires"), "3600");
    assert_eq!(field(&sent[1], "Min-SE"), "3600");
    assert_eq!(field(&sent[1], "CSeq"), "2 INVITE");
    for same in ["Call-ID", "From", "To"] {
        assert_eq!(field(&sent[1], same), field(&first[0], same));
    }
    assert!(script.events().is_empty());
    // Not again for what we asked already.
    let sent = script.receive(&answer(&sent[1], "422 Session Interval Too Small", "y", "Min-SE: 3600"));
    assert_eq!(sent.len(), 1);
    let ends = script.party.ends();
    assert!(matches!(&ends[..], [(_, LegEnd::Refused { status: 422, .. })]), "{ends:?}");
    script.assert_drained();
}

#[test]
fn a_422_to_our_refresh_is_met_too() {
    let (mut script, ..) = calling(&format!("{UPDATE}\nSession-Expires: 300;refresher=uac"));
    let (update, _) = first(&mut script);
    let sent = script.receive(&answer(&update, "422 Session Interval Too Small", "", "Min-SE: 600"));
    assert_eq!(field(&sent[0], "Session-Expires"), "600;refresher=uac");
    assert_eq!(field(&sent[0], "CSeq"), "3 UPDATE");
    script.receive(&answer(&sent[0], "200 OK", "", "Session-Expires: 600;refresher=uac"));
    assert_eq!(first(&mut script).1, 300);
}

#[test]
fn two_of_us_keep_a_long_call_alive_over_a_bad_network() {
    let mut net = Net::new(3, 10);
    let leg = SipLeg::outgoing(1);
    net.command(0, Command::Invite(leg, invite(BOB)));
    net.run(secs(5));
    let other = net.parties[1].incoming();
    net.command(1, Command::Answer { leg: other, body: sdp("answer") });
    net.run(secs(4 * 3600));
    assert!(net.parties.iter().all(|p| p.ends().is_empty()));
    let updates: usize = net.parties.iter().map(|p| p.count("UPDATE ")).sum();
    assert!(updates >= 15, "{updates}");
    net.command(0, Command::HangUp { leg, reason: None });
    net.assert_drained();
}
