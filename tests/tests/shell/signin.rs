//! Signing in and talking nonsense: wrong passwords are slowed where they come from, and a bad message costs a browser an
//! error, not its connection (docs/SIGNALLING.md).

use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::http::get_page;
use e2e::rawsip::RawSip;
use e2e::ws::Ws;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const GUESSER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHER_GUESSER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// What an undelayed answer may take on a busy machine; well below any delay that it is told apart from.
const AT_ONCE: Duration = Duration::from_millis(700);
const CAP: Duration = Duration::from_secs(3);

fn http(gateway: &Gateway) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], gateway.http))
}

fn sip(gateway: &Gateway) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], gateway.sip))
}

fn hello_from(gateway: &Gateway, source: IpAddr, user: &str, password: &str) -> (Value, Duration) {
    let mut ws = Ws::open_from(source, http(gateway));
    let begun = Instant::now();
    (ws.hello(user, password), begun.elapsed())
}

/// The delays of guesses one after the other must grow to the cap and no further.
fn must_grow_to_the_cap(delays: &[Duration]) {
    let least = [200, 400, 800, 1600, 3000, 3000].map(Duration::from_millis);
    for (delay, least) in delays.iter().zip(least) {
        assert!(*delay >= least.mul_f32(0.9), "{delays:?}");
        assert!(*delay < CAP + AT_ONCE, "never above the cap: {delays:?}");
    }
}

#[test]
fn wrong_browser_passwords_are_slowed_where_they_come_from_and_nowhere_else() {
    let gateway = Gateway::run(&Setup::default());
    let mut guesser = Ws::open_from(GUESSER, http(&gateway));
    let mut delays = Vec::new();
    for n in 0..6 {
        let begun = Instant::now();
        let answer = guesser.hello("alice", &format!("guess {n}"));
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("wrong-password")));
        delays.push(begun.elapsed());
    }
    must_grow_to_the_cap(&delays);
    // One more guess, whose answer is 3 s away: while it waits, nobody else does.
    guesser.send(&json!({ "type": "hello", "version": 1, "username": "alice", "password": "guess" }));
    let (answer, elapsed) = hello_from(&gateway, ELSEWHERE, "alice", PASSWORD);
    assert_eq!(answer["type"], "welcome");
    assert!(elapsed < AT_ONCE, "the right password from elsewhere took {elapsed:?}");
    let (answer, elapsed) = hello_from(&gateway, GUESSER, "bob", PASSWORD);
    assert_eq!(answer["type"], "welcome");
    assert!(elapsed < AT_ONCE, "another user at the same address took {elapsed:?}");
    let (answer, elapsed) = hello_from(&gateway, GUESSER, "alice", PASSWORD);
    assert_eq!(answer["type"], "welcome", "the right password from there waits its turn");
    assert!(elapsed > AT_ONCE && elapsed < CAP * 2 + AT_ONCE, "and took {elapsed:?}");
    guesser.wait("the answer to the last guess", CAP + AT_ONCE, |m| m["code"] == "wrong-password");
    let (answer, elapsed) = hello_from(&gateway, GUESSER, "alice", PASSWORD);
    assert_eq!(answer["type"], "welcome");
    assert!(elapsed < AT_ONCE, "a right one clears the record: {elapsed:?}");
}

#[test]
fn a_browser_can_not_tell_an_unknown_user_from_a_wrong_password() {
    let gateway = Gateway::run(&Setup::default());
    let (known, known_delay) = hello_from(&gateway, GUESSER, "alice", "wrong");
    let (unknown, unknown_delay) = hello_from(&gateway, OTHER_GUESSER, "nobody", "wrong");
    assert_eq!(known, unknown);
    for delay in [known_delay, unknown_delay] {
        assert!(delay >= Duration::from_millis(180) && delay < AT_ONCE, "{known_delay:?} {unknown_delay:?}");
    }
    let lines = gateway.process.lines();
    assert!(lines.iter().all(|line| !line.contains("nobody")), "no user name in the log: {lines:?}");
}

/// RFC 3261 §10.3 step 3, §22.4.
#[test]
fn wrong_register_passwords_are_slowed_where_they_come_from_and_nowhere_else() {
    let gateway = Gateway::run(&Setup::default());
    let mut guesser = RawSip::at(GUESSER, sip(&gateway));
    let mut delays = Vec::new();
    for n in 0..6 {
        let (answer, delay) = guesser.register("alice", &format!("guess {n}"));
        assert_eq!(answer.status(), Some(401), "{}", answer.start);
        delays.push(delay);
    }
    must_grow_to_the_cap(&delays);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| guesser.register("alice", "guess").0.status());
        std::thread::sleep(Duration::from_millis(200));
        let (answer, elapsed) = RawSip::at(ELSEWHERE, sip(&gateway)).register("alice", PASSWORD);
        assert_eq!(answer.status(), Some(200), "{}", answer.start);
        assert!(elapsed < AT_ONCE, "the right password from elsewhere took {elapsed:?}");
        let (answer, elapsed) = RawSip::at(GUESSER, sip(&gateway)).register("bob", PASSWORD);
        assert_eq!(answer.status(), Some(200), "{}", answer.start);
        assert!(elapsed < AT_ONCE, "another user at the same address took {elapsed:?}");
        assert_eq!(waiting.join().expect("guesser"), Some(401));
    });
}

#[test]
fn a_sip_device_can_not_tell_an_unknown_user_from_a_wrong_password() {
    let gateway = Gateway::run(&Setup::default());
    let (known, known_delay) = RawSip::at(GUESSER, sip(&gateway)).register("alice", "wrong");
    let (unknown, unknown_delay) = RawSip::at(OTHER_GUESSER, sip(&gateway)).register("nobody", "wrong");
    assert_eq!(known.start, unknown.start);
    let names = |m: &e2e::trunk::Message| m.headers.iter().map(|header| header.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&known), names(&unknown));
    for delay in [known_delay, unknown_delay] {
        assert!(delay >= Duration::from_millis(180) && delay < AT_ONCE, "{known_delay:?} {unknown_delay:?}");
    }
}

/// Sends `text`, expects an error with this code, and then shows that the connection still works.
fn costs_an_error(ws: &mut Ws, text: &str, code: &str) -> Value {
    ws.send_frame(Message::text(text));
    let answer = ws.wait_type("error");
    assert_eq!(answer["code"], code, "{text:.80}: {answer}");
    assert!(answer["message"].as_str().is_some_and(|words| words.len() > 10), "{answer}");
    ws.send(&json!({ "type": "ping" }));
    ws.wait_type("pong");
    answer
}

#[test]
fn a_bad_message_costs_an_error_and_not_the_connection() {
    let gateway = Gateway::run(&Setup::default());
    let mut ws = Ws::open(http(&gateway));
    let before =
        costs_an_error(&mut ws, r#"{"type":"call","call":"c1","to":"100","sdp":"v=0"}"#, "not-signed-in");
    assert_eq!(before["call"], "c1");
    costs_an_error(
        &mut ws,
        r#"{"type":"hello","version":7,"username":"alice","password":"x"}"#,
        "unsupported-version",
    );
    costs_an_error(&mut ws, r#"{"type":"hello","version":1,"username":"alice"}"#, "bad-message");
    assert_eq!(ws.hello("alice", PASSWORD)["type"], "welcome");
    for (text, code) in [
        ("", "bad-message"),
        ("hello", "bad-message"),
        ("{", "bad-message"),
        ("[1,2]", "bad-message"),
        ("null", "bad-message"),
        (r#"{"call":"c1"}"#, "bad-message"),
        (r#"{"type":5}"#, "bad-message"),
        (r#"{"type":"fly","call":"c1"}"#, "unknown-type"),
        (r#"{"type":"call","call":"c1","to":"100"}"#, "bad-message"),
        (r#"{"type":"call","call":"","to":"100","sdp":"v=0"}"#, "bad-message"),
        (r#"{"type":"call","call":"in-1","to":"100","sdp":"v=0"}"#, "bad-message"),
        (r#"{"type":"call","call":"c1","to":"100","sdp":"hello"}"#, "bad-message"),
        (r#"{"type":"dtmf","call":"c1","digit":"X"}"#, "bad-message"),
        (r#"{"type":"answer","call":"c9"}"#, "unknown-call"),
        (r#"{"type":"dtmf","call":"c9","digit":"1"}"#, "unknown-call"),
        (r#"{"type":"hello","version":1,"username":"bob","password":"x"}"#, "already-signed-in"),
    ] {
        costs_an_error(&mut ws, text, code);
    }
    ws.send_frame(Message::binary(vec![0, 159, 146, 150]));
    assert_eq!(ws.wait_type("error")["code"], "bad-message");
    costs_an_error(&mut ws, &format!("[{}", "[".repeat(60_000)), "bad-message");
    let secret = r#"{"type":"hello","version":"1","username":"alice","password":"hunter2"}"#;
    let told = costs_an_error(&mut ws, secret, "bad-message").to_string();
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn an_offer_that_can_not_be_read_ends_that_call_alone_with_a_reason() {
    let gateway = Gateway::run(&Setup::default());
    let _bob = Ws::signed_in(http(&gateway), "bob");
    let mut ws = Ws::signed_in(http(&gateway), "alice");
    for (id, sdp) in [("c1", "v=0\r\nnonsense"), ("c2", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n")]
    {
        ws.send(&json!({ "type": "call", "call": id, "to": "101", "sdp": sdp }));
        assert_eq!(ws.wait_ended(id), "bad-sdp");
    }
    ws.send(&json!({ "type": "ping" }));
    ws.wait_type("pong");
    let cdrs = gateway.wait_cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["reason"] == "bad-sdp"), "{cdrs:?}");
}

/// A ping of exactly so many bytes; unknown fields are ignored.
fn ping_of(bytes: usize) -> Message {
    let begin = r#"{"type":"ping","filler":""#;
    Message::text(format!("{begin}{}\"}}", "x".repeat(bytes - begin.len() - 2)))
}

#[test]
fn a_message_that_is_too_large_is_told_and_closed_with_1009() {
    let gateway = Gateway::run(&Setup::default());
    // 65,536 bytes are the limit; from twice that on nothing is read any more.
    for (bytes, told) in [(65_537, true), (131_000, true), (200_000, false), (3_000_000, false)] {
        let mut ws = Ws::signed_in(http(&gateway), "alice");
        // A gateway that has stopped reading may close before all is written.
        ws.try_send_frame(ping_of(bytes));
        if told {
            assert_eq!(ws.wait_type("error")["code"], "too-large", "{bytes} bytes");
        }
        let closed = ws.wait_closed(Duration::from_secs(5));
        assert_eq!(closed.map(|(code, _)| code), Some(1009), "{bytes} bytes");
    }
    assert_eq!(get_page(http(&gateway), "/readyz").status, 200);
    let mut ws = Ws::signed_in(http(&gateway), "alice");
    ws.send_frame(ping_of(65_536));
    ws.wait_type("pong");
}

#[test]
fn a_connection_without_a_sign_in_is_closed_after_15_seconds() {
    let gateway = Gateway::run(&Setup::default());
    let begun = Instant::now();
    let mut ws = Ws::open(http(&gateway));
    let closed = ws.wait_closed(Duration::from_secs(20));
    assert_eq!(closed.map(|(code, _)| code), Some(4001));
    assert!(begun.elapsed() >= Duration::from_millis(14_900), "{:?}", begun.elapsed());
}
