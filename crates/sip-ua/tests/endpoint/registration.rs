//! Registering at a trunk and staying registered (RFC 3261 §10.2, RFC 5626 §4.5).

use crate::kit;
use std::time::Duration;

use crate::kit::{Script, answer, field, starts};
use sip_ua::digest::{Algorithm, Asks, Challenger};
use sip_ua::{Command, Credentials, Event, Register, RegistrationId, RegistrationState};
use types::Wall;

const ID: RegistrationId = RegistrationId(7);
const CONTACT: &str = "Contact: <sip:4930@192.0.2.1:5060>";

fn register() -> Command {
    let config = Register {
        target: kit::udp(kit::BOB),
        registrar: "sip:sip.example.net".into(),
        aor: "sip:4930@sip.example.net".into(),
        contact_user: "4930".into(),
        routes: Vec::new(),
        credentials: Some(Credentials { username: "4930".into(), password: "secret".into(), realm: None }),
        expires: 600,
        patience: Duration::from_secs(32),
        keep_alive: None,
        instance: None,
    };
    Command::Register(ID, Box::new(config))
}

fn states(script: &mut Script) -> Vec<RegistrationState> {
    let state = |e| match e {
        Event::Registration { id: ID, state } => state,
        other => panic!("{other:?}"),
    };
    script.events().into_iter().map(state).collect()
}

/// Registered with the given fields in the 200.
fn registered(fields: &str) -> (Script, String) {
    let mut script = Script::new();
    let sent = script.command(register());
    script.receive(&answer(&sent[0], "200 OK", "r", fields));
    (script, sent[0].clone())
}

/// Seconds until the next REGISTER, and that.
fn next(script: &mut Script) -> (f64, String) {
    let before = script.now;
    for _ in 0..200_000 {
        let sent = script.wait(Duration::from_millis(100));
        if let Some(first) = sent.into_iter().find(|m| m.starts_with("REGISTER")) {
            return ((script.now - before).as_secs_f64(), first);
        }
    }
    panic!("no further REGISTER");
}

#[test]
fn register_has_no_user_in_the_request_uri_and_keeps_its_call_id() {
    // RFC 3261 §10.2; field problem 28.
    let (mut script, first) = registered(&format!("{CONTACT};expires=300"));
    assert_eq!(starts(std::slice::from_ref(&first)), ["REGISTER sip:sip.example.net SIP/2.0"]);
    assert_eq!(field(&first, "Contact"), "<sip:4930@192.0.2.1:5060>");
    assert_eq!(field(&first, "Expires"), "600");
    assert_eq!(field(&first, "To"), "<sip:4930@sip.example.net>");
    let (_, second) = next(&mut script);
    assert_eq!(field(&second, "Call-ID"), field(&first, "Call-ID"));
    assert_eq!(field(&second, "From"), field(&first, "From"));
    assert_eq!(field(&second, "CSeq"), "2 REGISTER");
}

#[test]
fn it_is_refreshed_between_85_and_90_percent_of_what_was_granted() {
    for (fields, granted) in [
        (format!("{CONTACT};expires=300"), 300),
        ("Contact: <sip:x@198.51.100.9>;expires=60, <sip:4930@192.0.2.1:5060>;expires=120".into(), 120),
        ("Expires: 1800".to_owned(), 1800),
        // A registrar that rewrites the contact behind NAT.
        ("Contact: <sip:4930@203.0.113.9:1024>;expires=90".to_owned(), 90),
        (String::new(), 600),
    ] {
        let (mut script, _) = registered(&fields);
        let expected = RegistrationState::Registered { expires: granted };
        assert_eq!(states(&mut script), [RegistrationState::Trying, expected]);
        let (after, refresh) = next(&mut script);
        let range = f64::from(granted) * 0.85 - 0.1..=f64::from(granted) * 0.90 + 0.1;
        assert!(range.contains(&after), "{after} of {granted}");
        script.receive(&answer(&refresh, "200 OK", "r", &fields));
        assert!(states(&mut script).is_empty(), "a refresh is no news");
    }
}

#[test]
fn a_challenge_is_answered_and_later_refreshes_answer_at_once() {
    let mut entropy = kit::Seeded(5);
    let challenger = Challenger::new("example.net", vec![Algorithm::MD5], &mut entropy);
    let challenge = |request: &str, stale: bool, entropy: &mut kit::Seeded| {
        let fields = challenger.challenge(Asks::Www, stale, Wall(0), entropy);
        answer(request, "401 Unauthorized", "r", &format!("{}: {}", fields[0].0, fields[0].1))
    };
    let mut script = Script::new();
    let sent = script.command(register());
    let sent = script.receive(&challenge(&sent[0], false, &mut entropy));
    assert_eq!(field(&sent[0], "CSeq"), "2 REGISTER");
    assert!(field(&sent[0], "Authorization").contains("username=\"4930\""));
    script.receive(&answer(&sent[0], "200 OK", "r", "Expires: 60"));
    let (_, refresh) = next(&mut script);
    assert!(field(&refresh, "Authorization").contains("nc=00000002"));
    assert_eq!(field(&refresh, "CSeq"), "3 REGISTER");
    // A new nonce without stale=true: accepted before, so it has aged and is no refusal.
    let sent = script.receive(&challenge(&refresh, false, &mut entropy));
    script.receive(&answer(&sent[0], "200 OK", "r", "Expires: 60"));
    let registered = RegistrationState::Registered { expires: 60 };
    assert_eq!(states(&mut script), [RegistrationState::Trying, registered]);
}

#[test]
fn a_wrong_password_fails_and_is_not_hammered() {
    let mut entropy = kit::Seeded(5);
    let challenger = Challenger::new("example.net", vec![Algorithm::MD5], &mut entropy);
    let mut script = Script::new();
    let sent = script.command(register());
    let mut request = sent[0].clone();
    for _ in 0..2 {
        let fields = challenger.challenge(Asks::Www, false, Wall(0), &mut entropy);
        let line = format!("{}: {}", fields[0].0, fields[0].1);
        let sent = script.receive(&answer(&request, "401 Unauthorized", "r", &line));
        request = sent.first().cloned().unwrap_or_default();
    }
    assert!(request.is_empty());
    let states = states(&mut script);
    let [RegistrationState::Trying, RegistrationState::Failed { status: Some(401), why, retry_in }] =
        &states[..]
    else {
        panic!("{states:?}")
    };
    assert_eq!(why, "Unauthorized: it refuses our user name or password");
    assert!((30..=60).contains(retry_in), "{retry_in}");
}

#[test]
fn pauses_after_failures_double_with_jitter_up_to_half_an_hour() {
    // RFC 5626 §4.5: uniform between 50 and 100 % of min(1800, 30 * 2^failures).
    let mut script = Script::new();
    let mut request = script.command(register()).remove(0);
    for failures in 1..=9u32 {
        script.receive(&answer(&request, "500 Oops", "r", ""));
        let (pause, again) = next(&mut script);
        let longest = f64::from(30 * (1 << failures.min(6))).min(1800.0);
        assert!((longest * 0.5 - 1.0..=longest + 0.2).contains(&pause), "{failures}: {pause}");
        request = again;
    }
    script.receive(&answer(&request, "200 OK", "r", "Expires: 60"));
    let (after, request) = next(&mut script);
    assert!(after < 55.0);
    script.receive(&answer(&request, "503 Busy", "r", "Retry-After: 1000"));
    let (pause, _) = next(&mut script);
    assert!((1000.0..1001.0).contains(&pause), "{pause}");
}

#[test]
fn silence_is_a_failure_without_status() {
    let mut script = Script::new();
    script.command(register());
    script.wait(Duration::from_secs(33));
    let states = states(&mut script);
    assert!(matches!(&states[1], RegistrationState::Failed { status: None, why, .. } if why == "no answer"));
    assert!(script.wait(Duration::from_secs(61)).iter().any(|m| m.starts_with("REGISTER")));
}

#[test]
fn a_423_is_obeyed_at_once() {
    // RFC 3261 §10.2.8.
    let mut script = Script::new();
    let sent = script.command(register());
    let sent = script.receive(&answer(&sent[0], "423 Interval Too Brief", "r", "Min-Expires: 1200"));
    assert_eq!(field(&sent[0], "Expires"), "1200");
    // The same demand again is nonsense and a failure.
    let sent = script.receive(&answer(&sent[0], "423 Interval Too Brief", "r", "Min-Expires: 1200"));
    assert!(sent.is_empty());
    let last = states(&mut script).pop();
    assert!(matches!(last, Some(RegistrationState::Failed { status: Some(423), .. })));
}

#[test]
fn unregister_asks_for_zero_seconds_and_forgets() {
    // RFC 3261 §10.2.2.
    let (mut script, _) = registered("Expires: 60");
    states(&mut script);
    let sent = script.command(Command::Unregister(ID));
    assert_eq!(field(&sent[0], "Expires"), "0");
    assert_eq!(field(&sent[0], "Contact"), "<sip:4930@192.0.2.1:5060>");
    script.receive(&answer(&sent[0], "200 OK", "r", ""));
    assert_eq!(states(&mut script), [RegistrationState::Unregistered]);
    assert_eq!(script.party.endpoint.registrations(), 0);
    script.assert_drained();
    assert!(script.command(Command::Unregister(ID)).is_empty());
}

#[test]
fn unregistering_from_a_dead_registrar_ends_too() {
    let (mut script, _) = registered("Expires: 60");
    script.command(Command::Unregister(ID));
    script.wait(Duration::from_secs(33));
    assert_eq!(states(&mut script).pop(), Some(RegistrationState::Unregistered));
    script.assert_drained();
}

#[test]
fn unregistering_while_the_first_register_is_open_ignores_its_late_answer() {
    let mut script = Script::new();
    let first = script.command(register());
    let second = script.command(Command::Unregister(ID));
    assert_eq!(field(&second[0], "CSeq"), "2 REGISTER");
    let challenge = "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"";
    assert!(script.receive(&answer(&first[0], "401 Unauthorized", "r", challenge)).is_empty());
    script.receive(&answer(&second[0], "200 OK", "r", ""));
    assert_eq!(states(&mut script), [RegistrationState::Trying, RegistrationState::Unregistered]);
    script.assert_drained();
}
