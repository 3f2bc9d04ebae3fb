//! RFC 4475 and RFC 5118 as datagrams to a whole endpoint: what goes back on the wire, what the application hears.

use crate::kit;
use std::fs;
use std::path::Path;

use crate::kit::{Script, field, starts, status};
use sip_ua::Event;

/// What an endpoint does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    /// One final response, no event.
    Replies(u16),
    /// 100 Trying, and a call for the application.
    Rings,
    /// 100 Trying, then this refusal.
    Refuses(u16),
    /// REGISTER for the application.
    Registers,
    /// Nothing at all.
    Drops,
}

use Does::{Drops, Refuses, Registers, Replies, Rings};

const TABLE: &[(&str, Does)] = &[
    // It has a To-tag: a re-INVITE of no call here.
    ("rfc4475/wsinv", Refuses(481)),
    ("rfc4475/intmeth", Replies(501)),
    ("rfc4475/esc01", Rings),
    ("rfc4475/escnull", Registers),
    ("rfc4475/esc02", Replies(501)),
    ("rfc4475/lwsdisp", Replies(200)),
    ("rfc4475/longreq", Rings),
    ("rfc4475/dblreq", Registers),
    ("rfc4475/semiuri", Replies(200)),
    ("rfc4475/transports", Replies(200)),
    ("rfc4475/mpart01", Replies(405)),
    ("rfc4475/unreason", Drops),
    ("rfc4475/noreason", Drops),
    ("rfc4475/badinv01", Replies(400)),
    ("rfc4475/clerr", Replies(400)),
    ("rfc4475/ncl", Replies(400)),
    ("rfc4475/scalar02", Replies(400)),
    ("rfc4475/scalarlg", Drops),
    ("rfc4475/quotbal", Replies(400)),
    ("rfc4475/ltgtruri", Replies(400)),
    ("rfc4475/lwsruri", Replies(400)),
    ("rfc4475/lwsstart", Replies(400)),
    ("rfc4475/trws", Replies(400)),
    ("rfc4475/escruri", Replies(400)),
    ("rfc4475/baddate", Rings),
    ("rfc4475/regbadct", Replies(400)),
    ("rfc4475/badaspec", Replies(400)),
    ("rfc4475/baddn", Replies(400)),
    ("rfc4475/badvers", Replies(505)),
    ("rfc4475/mismatch01", Replies(400)),
    ("rfc4475/mismatch02", Replies(400)),
    ("rfc4475/bigcode", Drops),
    ("rfc4475/badbranch", Replies(200)),
    ("rfc4475/insuf", Replies(400)),
    ("rfc4475/unkscm", Replies(416)),
    ("rfc4475/novelsc", Replies(416)),
    ("rfc4475/unksm2", Replies(400)),
    ("rfc4475/bext01", Replies(420)),
    ("rfc4475/invut", Refuses(415)),
    ("rfc4475/regaut01", Registers),
    ("rfc4475/multi01", Replies(400)),
    ("rfc4475/mcl01", Replies(400)),
    ("rfc4475/bcast", Drops),
    ("rfc4475/zeromf", Replies(200)),
    ("rfc4475/cparam01", Registers),
    ("rfc4475/cparam02", Registers),
    ("rfc4475/regescrt", Registers),
    ("rfc4475/sdp01", Refuses(406)),
    ("rfc4475/inv2543", Rings),
    ("rfc5118/4.1-ipv6-good", Registers),
    ("rfc5118/4.2-ipv6-bad", Replies(400)),
    ("rfc5118/4.3-port-ambiguous", Registers),
    ("rfc5118/4.4-port-unambiguous", Registers),
    ("rfc5118/4.5-via-received-param-no-delim", Replies(200)),
    ("rfc5118/4.5-via-received-param-with-delim", Replies(481)),
    ("rfc5118/4.6-ipv6-in-sdp", Rings),
    ("rfc5118/4.7-mult-ip-in-header", Replies(481)),
    ("rfc5118/4.8-mult-ip-in-sdp", Rings),
    ("rfc5118/4.9-ipv4-mapped-ipv6", Rings),
    ("rfc5118/4.10-ipv6-bug-abnf-3-colons", Replies(200)),
    ("rfc5118/4.10-ipv6-correct-abnf-2-colons", Replies(200)),
];

fn outcome(bytes: Vec<u8>) -> (Does, Script) {
    let mut script = Script::new();
    script.party.endpoint.handle_message(script.peer, bytes, script.now, types::Wall(0));
    let sent: Vec<String> =
        script.party.drain().into_iter().map(|(_, b)| String::from_utf8_lossy(&b).into_owned()).collect();
    let statuses: Vec<u16> = sent.iter().map(|m| status(m)).collect();
    let does = match (statuses.as_slice(), script.party.events.as_slice()) {
        ([100], [Event::Invite { .. }]) => Rings,
        ([], [Event::Register { .. }]) => Registers,
        ([], []) => Drops,
        ([one], []) => Replies(*one),
        ([100, one], []) => Refuses(*one),
        (sent, events) => panic!("{sent:?} {events:?}"),
    };
    (does, script)
}

#[test]
fn every_torture_message_gets_its_answer_on_the_wire() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut wrong = Vec::new();
    for (name, expected) in TABLE {
        let bytes = fs::read(root.join(format!("{name}.dat"))).unwrap();
        let (does, mut script) = outcome(bytes);
        if does != *expected {
            wrong.push(format!("{name}: {does:?}, expected {expected:?}"));
        }
        if does != Rings {
            script.assert_drained();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let files = ["rfc4475", "rfc5118"].iter().flat_map(|d| fs::read_dir(root.join(d)).unwrap()).count();
    assert_eq!(files, TABLE.len());
}

#[test]
fn a_malformed_message_in_a_call_does_not_disturb_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut script = Script::new();
    let sent = script.receive(&kit::request("INVITE", 1, "i1", "", "Content-Type: application/sdp\n\nx"));
    assert_eq!(starts(&sent), ["100 Trying"]);
    let leg = script.party.incoming();
    for (name, _) in TABLE {
        let bytes = fs::read(root.join(format!("{name}.dat"))).unwrap();
        script.party.endpoint.handle_message(script.peer, bytes, script.now, types::Wall(0));
        script.party.drain();
    }
    let sent = script.command(sip_ua::Command::Answer { leg, body: kit::sdp("answer") });
    assert_eq!(starts(&sent), ["200 OK"]);
    assert_eq!(field(&sent[0], "Call-ID"), "call1");
}

#[test]
fn a_malformed_ack_is_never_answered() {
    let mut script = Script::new();
    let ack = kit::request("ACK", 1, "a1", "tag", "").replace("CSeq: 1 ACK", "CSeq: 1 INVITE");
    assert!(script.receive(&ack).is_empty());
    let ack = kit::request("ACK", 1, "a1", "tag", "").replace("Call-ID: call1\n", "");
    assert!(script.receive(&ack).is_empty());
}
