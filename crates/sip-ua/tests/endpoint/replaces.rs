//! INVITE with Replaces (RFC 3891 §3).

use crate::kit::{BOB, Script, answer, called, field, invite, request, status, to_tag};
use sip_ua::{Command, Event, SipLeg};

/// An INVITE in another call that wants the dialog with these tags.
fn replacing(call_id: &str, to_tag: &str, from_tag: &str, more: &str) -> String {
    let extra = format!("Replaces: {call_id};to-tag={to_tag};from-tag={from_tag}{more}");
    request("INVITE", 1, "x1", "", &extra).replace("Call-ID: call1", "Call-ID: call9")
}

fn verdict(script: &mut Script, message: &str) -> u16 {
    status(script.receive(message).last().unwrap())
}

fn replaced(script: &mut Script) -> Option<SipLeg> {
    match &script.events()[..] {
        [Event::Invite { replaces, .. }] => *replaces,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invite_names_the_answered_call_that_it_takes_over() {
    let (mut script, leg, tag) = called();
    assert_eq!(verdict(&mut script, &replacing("call1", &tag, "bobtag", "")), 100);
    assert_eq!(replaced(&mut script), Some(leg));
}

#[test]
fn a_call_that_does_not_exist_cannot_be_taken_over() {
    let (mut script, _, tag) = called();
    for (call, to, from) in
        [("call2", tag.as_str(), "bobtag"), ("call1", "zzz", "bobtag"), ("call1", &tag, "zzz")]
    {
        assert_eq!(verdict(&mut script, &replacing(call, to, from, "")), 481, "{call} {to} {from}");
    }
    assert!(script.events().is_empty());
}

#[test]
fn early_only_does_not_take_over_an_answered_call() {
    let (mut script, _, tag) = called();
    assert_eq!(verdict(&mut script, &replacing("call1", &tag, "bobtag", ";early-only")), 486);
}

#[test]
fn a_call_that_is_being_ended_is_declined() {
    let (mut script, leg, tag) = called();
    script.command(Command::HangUp { leg, reason: None });
    assert_eq!(verdict(&mut script, &replacing("call1", &tag, "bobtag", "")), 603);
}

#[test]
fn an_early_call_that_we_did_not_begin_is_481_and_stays() {
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", ""));
    let leg = script.party.incoming();
    let tag = to_tag(&script.command(Command::Provisional { leg, status: 180, body: None })[0]);
    script.events();
    assert_eq!(verdict(&mut script, &replacing("call1", &tag, "bobtag", "")), 481);
    assert!(script.party.ends().is_empty());
}

#[test]
fn an_early_call_of_ours_can_be_picked_up() {
    let mut script = Script::new();
    let leg = SipLeg::outgoing(1);
    let sent = script.command(Command::Invite(leg, invite(BOB)));
    script.receive(&answer(&sent[0], "180 Ringing", "ring", ""));
    script.events();
    let from = field(&sent[0], "From");
    let ours = from.rsplit_once(";tag=").unwrap().1;
    let message = replacing(&field(&sent[0], "Call-ID"), ours, "ring", ";early-only");
    assert_eq!(verdict(&mut script, &message), 100);
    assert_eq!(replaced(&mut script), Some(leg));
    script.command(Command::HangUp { leg, reason: None });
    assert_eq!(verdict(&mut script, &message.replace("x1", "x2").replace("call9", "call8")), 603);
}

#[test]
fn two_replaces_a_join_beside_it_and_nonsense_are_400() {
    let (mut script, _, tag) = called();
    let good = replacing("call1", &tag, "bobtag", "");
    let line = field(&script.receive(&good)[0], "CSeq");
    assert_eq!(line, "1 INVITE");
    let cases = [
        replacing("call1", &tag, "bobtag", "\nReplaces: call2;to-tag=a;from-tag=b"),
        replacing("call1", &tag, "bobtag", "\nJoin: call2;to-tag=a;from-tag=b"),
        replacing("", "", "", ""),
    ];
    for (n, message) in cases.into_iter().enumerate() {
        let message = message.replace("x1", &format!("y{n}")).replace("call9", &format!("c{n}"));
        assert_eq!(verdict(&mut script, &message), 400, "{message}");
    }
}
