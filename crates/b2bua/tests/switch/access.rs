//! Whose SIP messages are looked at: strangers get one answer or none, whatever they ask (field problem 37).

#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::time::Duration;

use crate::rig::{Bench, TRUNK, config, flow};
use b2bua::{DropReason, IpNet, Level, Screen};
use sip_ua::message::{Message, ParseError, Verdict};

const STRANGER: &str = "203.0.113.200:5062";
const PHONE: &str = "203.0.113.77:5060";

fn text(method: &str, uri: &str, user: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@example.com>;tag=f\r\nTo: <sip:{user}@example.com>\r\nCall-ID: c\r\n\
         CSeq: 1 {method}\r\nContact: <sip:{user}@192.0.2.9>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

fn parse(text: &str) -> Result<Message, ParseError> {
    Message::parse(text.as_bytes().to_vec())
}

fn screen(bench: &mut Bench, from: &str, text: &str) -> Screen {
    bench.switch.screen(&flow(from), &parse(text), |_| false, bench.now, bench.wall)
}

fn dropped(bench: &Bench, wanted: DropReason) -> u64 {
    bench.switch.dropped().find(|(reason, _)| *reason == wanted).unwrap().1
}

/// Status, phrase and the challenge without its nonce.
fn shape(screen: Screen) -> (u16, &'static str, Vec<(&'static str, String)>) {
    let Screen::Refuse(Verdict { status, reason, headers }) = screen else { panic!("{screen:?}") };
    let without_nonce = |value: String| {
        let (before, rest) = value.split_once("nonce=\"").unwrap();
        let (nonce, after) = rest.split_once('"').unwrap();
        assert_eq!(nonce.len(), 64);
        format!("{before}{after}")
    };
    (status, reason, headers.into_iter().map(|(n, v)| (n, without_nonce(v))).collect())
}

#[test]
fn strangers_get_the_same_challenge_for_users_that_exist_and_that_do_not() {
    let mut bench = Bench::new();
    let mut seen = Vec::new();
    for user in ["alice", "bob", "nobody", "100", "999"] {
        for uri in ["sip:example.com", "sip:192.0.2.1:5060", "sip:example.com;transport=udp"] {
            seen.push(shape(screen(&mut bench, STRANGER, &text("REGISTER", uri, user, ""))));
        }
        let uri = format!("sip:{user}@example.com");
        seen.push(shape(screen(&mut bench, STRANGER, &text("INVITE", &uri, user, ""))));
        // RFC 3261 §8.2: authentication comes before extensions.
        let odd = text("INVITE", &uri, user, "Require: nothing-we-know\r\n");
        seen.push(shape(screen(&mut bench, STRANGER, &odd)));
    }
    let [first, rest @ ..] = seen.as_slice() else { panic!("none") };
    assert_eq!((first.0, first.1), (401, "Unauthorized"));
    assert!(rest.iter().all(|one| one == first), "{seen:?}");
    assert_eq!(bench.switch.dropped().map(|(_, n)| n).sum::<u64>(), 0);
}

#[test]
fn everything_else_of_strangers_is_dropped_and_counted_by_reason() {
    use DropReason::{Domain, Malformed, Method, NotSip};
    let mut bench = Bench::new();
    let to_us = "sip:alice@example.com";
    let no_call_id = text("INVITE", to_us, "alice", "").replace("Call-ID: c\r\n", "");
    let foreign_aor = text("REGISTER", "sip:example.com", "a", "").replace("a@example.com", "a@example.org");
    let to = "To: <sip:alice@example.com>";
    let in_dialog = text("INVITE", to_us, "alice", "").replace(to, &format!("{to};tag=x"));
    let cases = [
        ("hello\r\n\r\n".to_owned(), NotSip),
        (text("OPTIONS", "sip:100@example.com", "100", ""), Method),
        (text("BYE", to_us, "alice", ""), Method),
        (text("CANCEL", to_us, "alice", ""), Method),
        (text("MESSAGE", to_us, "alice", ""), Method),
        (text("SUBSCRIBE", to_us, "alice", ""), Method),
        (text("FOO", to_us, "alice", ""), Method),
        (in_dialog, Method),
        (text("INVITE", "sip:00442079460000@example.org", "alice", ""), Domain),
        (text("INVITE", "sip:alice@example.com:5999", "alice", ""), Domain),
        (text("REGISTER", "sip:example.org", "alice", ""), Domain),
        (foreign_aor, Domain),
        (no_call_id, Malformed),
        (text("INVITE", to_us, "alice", "").replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), Malformed),
        (text("INVITE", to_us, "alice", "").replace("Max-Forwards: 70", "Max-Forwards: 0"), Malformed),
        (text("INVITE", "mailto:alice@example.com", "alice", ""), Malformed),
    ];
    for (text, reason) in cases {
        let before = dropped(&bench, reason);
        assert_eq!(screen(&mut bench, STRANGER, &text), Screen::Drop, "{text}");
        assert_eq!(dropped(&bench, reason), before + 1, "{reason:?} {text}");
    }
}

#[test]
fn loopback_trunks_and_registered_devices_are_answered_whatever_they_ask() {
    let mut more = config();
    more.trunks[0].inbound_from = vec![IpNet::parse("198.18.0.0/24").unwrap()];
    let mut bench = Bench::with(more);
    bench.phone("alice", PHONE);
    let options = text("OPTIONS", "sip:example.org", "100", "");
    let broken = options.replace("CSeq: 1 OPTIONS", "CSeq: x");
    // A carrier's calls come from any port of its address.
    let carrier = TRUNK.replace(":5060", ":40000");
    for from in ["127.0.0.1:5999", "127.0.0.9:1", TRUNK, &carrier, "198.18.0.7:5060", PHONE] {
        for text in [&options, &broken] {
            assert_eq!(screen(&mut bench, from, text), Screen::Admit, "{from}");
        }
    }
    // Another port of the device's address is somebody else behind the same NAT.
    assert_eq!(screen(&mut bench, "203.0.113.77:5062", &options), Screen::Drop);
}

#[test]
fn a_device_that_has_gone_is_a_stranger_again() {
    let mut bench = Bench::new();
    bench.phone("alice", PHONE);
    let options = text("OPTIONS", "sip:example.com", "100", "");
    assert_eq!(screen(&mut bench, PHONE, &options), Screen::Admit);
    bench.pass(Duration::from_secs(3601));
    assert_eq!(screen(&mut bench, PHONE, &options), Screen::Drop);
}

#[test]
fn responses_and_what_the_endpoint_knows_pass_from_anywhere() {
    let mut bench = Bench::new();
    let ok = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
              To: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(screen(&mut bench, STRANGER, ok), Screen::Admit);
    let bye = parse(&text("BYE", "sip:alice@example.com", "alice", ""));
    let seen = bench.switch.screen(&flow(STRANGER), &bye, |_| true, bench.now, bench.wall);
    assert_eq!(seen, Screen::Admit);
}

#[test]
fn who_answers_our_challenge_is_let_in_to_be_judged_and_made_up_nonces_are_not() {
    let mut bench = Bench::new();
    let Screen::Refuse(verdict) = screen(&mut bench, STRANGER, &text("REGISTER", "sip:example.com", "a", ""))
    else {
        panic!("a challenge")
    };
    let nonce = verdict.headers[0].1.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let answer = |nonce: &str| {
        let field = format!(
            "Authorization: Digest username=\"a\", realm=\"example.com\", nonce=\"{nonce}\", uri=\"sip:example.com\", \
             qop=auth, nc=00000001, cnonce=\"c\", response=\"{}\"\r\n",
            "0".repeat(32)
        );
        text("REGISTER", "sip:example.com", "a", &field)
    };
    assert_eq!(screen(&mut bench, STRANGER, &answer(&nonce)), Screen::Admit);
    let forged = nonce.replace(&nonce[..2], if nonce.starts_with("00") { "11" } else { "00" });
    assert!(matches!(screen(&mut bench, STRANGER, &answer(&forged)), Screen::Refuse(_)));
    assert!(matches!(screen(&mut bench, STRANGER, &answer("")), Screen::Refuse(_)));
}

#[test]
fn a_flood_is_cut_off_for_its_own_address_and_for_nobody_else() {
    let mut bench = Bench::new();
    bench.phone("alice", PHONE);
    let invite = text("INVITE", "sip:alice@example.com", "x", "");
    let answered = (0..10_000).filter(|_| screen(&mut bench, STRANGER, &invite) != Screen::Drop).count();
    assert_eq!(answered, 500);
    assert_eq!(dropped(&bench, DropReason::Flood), 9_500);
    // Other ports of the same address are the same sender, other addresses are not.
    assert_eq!(screen(&mut bench, "203.0.113.200:9", &invite), Screen::Drop);
    assert!(matches!(screen(&mut bench, "203.0.113.201:5062", &invite), Screen::Refuse(_)));
    assert_eq!(screen(&mut bench, PHONE, &invite), Screen::Admit);
    bench.pass(Duration::from_secs(1));
    let answered = (0..100).filter(|_| screen(&mut bench, STRANGER, &invite) != Screen::Drop).count();
    assert_eq!(answered, 50);
}

#[test]
fn a_registered_device_that_floods_hears_503_with_retry_after() {
    let mut bench = Bench::new();
    bench.phone("alice", PHONE);
    let invite = text("INVITE", "sip:bob@example.com", "alice", "");
    let admitted = (0..1_000).filter(|_| screen(&mut bench, PHONE, &invite) == Screen::Admit).count();
    assert_eq!(admitted, 500);
    let Screen::Refuse(verdict) = screen(&mut bench, PHONE, &invite) else { panic!("refused") };
    assert_eq!((verdict.status, verdict.headers[0].0), (503, "Retry-After"));
}

#[test]
fn guesses_for_many_names_are_slowed_to_one_a_second() {
    // Per name they are slowed by delays; a dictionary of names meets the bucket of its address.
    let mut bench = Bench::new();
    let mut guessed = 0;
    for n in 0..200 {
        let name = format!("user{n}");
        let asked = text("REGISTER", "sip:example.com", &name, "");
        if screen(&mut bench, STRANGER, &asked) == Screen::Drop {
            continue;
        }
        let (_, challenge) = bench.register_raw(&name, STRANGER, Vec::new());
        let method = sip_ua::message::Method::Register;
        let answer = bench.credentials(&name, "guess", &challenge, &method, "sip:example.com");
        bench.register_raw(&name, STRANGER, answer);
        guessed += 1;
    }
    assert!(guessed <= 10, "{guessed} guesses at once");
}

#[test]
fn a_call_from_nobody_we_know_says_in_the_log_why_it_is_no_trunks() {
    // Field problem 31.
    let mut bench = Bench::new();
    screen(&mut bench, STRANGER, &text("INVITE", "sip:alice@example.com", "x", ""));
    bench.drain();
    let (level, _, said) = bench.logs.last().unwrap();
    assert_eq!(*level, Level::Debug, "addresses are for the debug log");
    assert!(said.contains("trunk carrier: not its server (203.0.113.5)"), "{said}");
    assert!(said.contains("trunk pbx: not its server (198.51.100.9), nor in its 1 ranges of inbound_from"));
}

#[test]
fn denied_addresses_hear_nothing_be_they_trunks_or_devices() {
    let mut more = config();
    more.deny = vec![IpNet::parse("203.0.113.0/24").unwrap()];
    let mut bench = Bench::with(more);
    let register = text("REGISTER", "sip:example.com", "alice", "");
    for from in [STRANGER, TRUNK, PHONE] {
        assert_eq!(screen(&mut bench, from, &register), Screen::Drop, "{from}");
    }
    assert_eq!(dropped(&bench, DropReason::Denied), 3);
    assert!(matches!(screen(&mut bench, "192.0.2.77:5060", &register), Screen::Refuse(_)));
}

#[test]
fn whoever_guesses_passwords_is_banned_and_no_longer_challenged_until_that_is_over() {
    let mut bench = Bench::new();
    let register = text("REGISTER", "sip:example.com", "alice", "");
    // Browsers and phones guess into one account.
    for n in 0..50_u64 {
        let session = types::SessionId(1_000 + n);
        let source = "203.0.113.200".parse().unwrap();
        bench.signal(session, b2bua::SignalIn::Opened { source });
        bench.hello(session, &format!("user{n}"), "wrong");
    }
    assert_eq!(bench.switch.banned(bench.now), 1);
    assert_eq!(screen(&mut bench, STRANGER, &register), Screen::Drop);
    assert_eq!(dropped(&bench, DropReason::Banned), 1);
    let told =
        |level: Level, words: &str| bench.logs.iter().any(|(l, _, text)| *l == level && text.contains(words));
    assert!(told(Level::Warn, "guessed 50 passwords") && told(Level::Debug, "203.0.113.200"));
    assert!(!told(Level::Warn, "203.0.113.200"), "addresses are for debugging");
    bench.pass(Duration::from_secs(600));
    assert!(matches!(screen(&mut bench, STRANGER, &register), Screen::Refuse(_)));
    assert_eq!(bench.switch.banned(bench.now), 0);
}
