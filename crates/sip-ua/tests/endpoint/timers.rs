//! The timers of the four transactions and of the repeated 2xx, in virtual time (RFC 3261 §17, RFC 6026, RFC 4320).

use std::time::{Duration, Instant};

use sip_ua::transaction::{
    GIVE_UP, InviteClient, InviteServer, OtherClient, OtherServer, Reaction, T1, T2, T4, Wire,
};

fn wire(text: &str) -> Wire {
    text.as_bytes().into()
}

/// When a machine sends what, in milliseconds, until nothing is due any more or it is over.
macro_rules! run {
    ($machine:expr, $start:expr) => {{
        let mut sent = Vec::new();
        let mut over = None;
        while let Some(at) = $machine.next_timeout() {
            let millis = at.duration_since($start).as_millis();
            match $machine.on_timeout(at) {
                Reaction::Send(_) => sent.push(millis),
                Reaction::TimedOut => over = Some(millis),
                Reaction::Absorb => {}
                other => panic!("{other:?}"),
            }
        }
        (sent, over)
    }};
}

fn no_ack() -> Wire {
    panic!("no ACK is due")
}

#[test]
fn invite_is_repeated_with_doubling_pauses_and_given_up_after_32_seconds() {
    // RFC 3261 §17.1.1.2: timer A doubles from T1 without cap, timer B is 64*T1.
    let t0 = Instant::now();
    let mut machine = InviteClient::new(wire("INVITE"), false, t0);
    assert_eq!(run!(machine, t0), (vec![500, 1500, 3500, 7500, 15500, 31500], Some(32000)));
    assert!(machine.is_terminated());
}

#[test]
fn invite_over_a_stream_is_not_repeated() {
    let t0 = Instant::now();
    let mut machine = InviteClient::new(wire("INVITE"), true, t0);
    assert_eq!(run!(machine, t0), (vec![], Some(32000)));
}

#[test]
fn a_provisional_response_stops_the_repetition_and_timer_b() {
    let t0 = Instant::now();
    let mut machine = InviteClient::new(wire("INVITE"), false, t0);
    assert!(!machine.may_cancel());
    assert_eq!(machine.on_response(100, no_ack, t0), Reaction::Deliver);
    assert!(machine.may_cancel());
    assert_eq!(machine.next_timeout(), None);
}

#[test]
fn a_repeated_failure_gets_the_ack_again_until_timer_d() {
    let t0 = Instant::now();
    let mut machine = InviteClient::new(wire("INVITE"), false, t0);
    let ack = || wire("ACK");
    assert_eq!(machine.on_response(486, ack, t0), Reaction::SendAndDeliver(wire("ACK")));
    assert_eq!(machine.on_response(486, no_ack, t0 + T1), Reaction::Send(wire("ACK")));
    assert_eq!(machine.on_response(180, no_ack, t0 + T1), Reaction::Absorb);
    assert_eq!(machine.next_timeout(), Some(t0 + Duration::from_secs(32)));
    assert_eq!(run!(machine, t0), (vec![], None));
    assert!(machine.is_terminated());
}

#[test]
fn every_2xx_reaches_the_user_until_timer_m() {
    // RFC 6026 §7.2.
    let t0 = Instant::now();
    let mut machine = InviteClient::new(wire("INVITE"), false, t0);
    assert_eq!(machine.on_response(200, no_ack, t0), Reaction::Deliver);
    assert_eq!(machine.on_response(200, no_ack, t0 + T2), Reaction::Deliver);
    assert_eq!(machine.on_response(486, no_ack, t0 + T2), Reaction::Absorb);
    assert_eq!(machine.next_timeout(), Some(t0 + Duration::from_secs(32)));
    assert_eq!(run!(machine, t0), (vec![], None));
    assert_eq!(machine.on_response(200, no_ack, t0 + T2), Reaction::Absorb);
}

#[test]
fn other_requests_are_repeated_up_to_every_four_seconds() {
    // RFC 3261 §17.1.2.2: timer E is capped at T2, timer F is 64*T1.
    let t0 = Instant::now();
    let mut machine = OtherClient::new(wire("BYE"), false, GIVE_UP, t0);
    let (sent, over) = run!(machine, t0);
    assert_eq!(sent, vec![500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(over, Some(32000));
}

#[test]
fn who_says_nothing_is_given_up_early_where_others_could_be_asked_and_who_says_anything_is_not() {
    let t0 = Instant::now();
    let mut silent = OtherClient::new(wire("REGISTER"), false, Duration::from_secs(4), t0);
    let (sent, over) = run!(silent, t0);
    assert_eq!((sent, over), (vec![500, 1500, 3500], Some(4000)));
    let mut slow = OtherClient::new(wire("REGISTER"), false, Duration::from_secs(4), t0);
    assert_eq!(slow.on_response(100, t0), Reaction::Deliver);
    assert_eq!(run!(slow, t0).1, Some(32000));
    let mut stream = OtherClient::new(wire("OPTIONS"), true, Duration::from_secs(4), t0);
    assert_eq!(run!(stream, t0), (vec![], Some(4000)));
}

#[test]
fn other_requests_are_repeated_every_four_seconds_once_a_provisional_came() {
    let t0 = Instant::now();
    let mut machine = OtherClient::new(wire("BYE"), false, GIVE_UP, t0);
    assert_eq!(machine.on_response(100, t0), Reaction::Deliver);
    let (sent, over) = run!(machine, t0);
    assert_eq!(sent, vec![500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]);
    assert_eq!(over, Some(32000));
}

#[test]
fn repeated_answers_to_other_requests_are_absorbed_until_timer_k() {
    let t0 = Instant::now();
    let mut machine = OtherClient::new(wire("BYE"), false, GIVE_UP, t0);
    assert_eq!(machine.on_response(200, t0), Reaction::Deliver);
    assert_eq!(machine.on_response(200, t0), Reaction::Absorb);
    assert_eq!(machine.next_timeout(), Some(t0 + T4));
    let mut stream = OtherClient::new(wire("BYE"), true, GIVE_UP, t0);
    assert_eq!(stream.on_response(200, t0), Reaction::Deliver);
    assert!(stream.is_terminated());
}

#[test]
fn a_failure_is_repeated_until_its_ack_or_timer_h() {
    // RFC 3261 §17.2.1: timer G doubles from T1 up to T2, timer H is 64*T1.
    let t0 = Instant::now();
    let mut machine = InviteServer::new(wire("100"), false);
    assert_eq!(machine.respond(486, wire("486"), t0), Reaction::Send(wire("486")));
    let (sent, over) = run!(machine, t0);
    assert_eq!(sent, vec![500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(over, Some(32000));
}

#[test]
fn after_the_ack_nothing_is_sent_and_timer_i_ends_the_machine() {
    let t0 = Instant::now();
    let mut machine = InviteServer::new(wire("100"), false);
    machine.respond(486, wire("486"), t0);
    assert_eq!(machine.on_request(), Reaction::Send(wire("486")));
    assert_eq!(machine.on_ack(t0), Reaction::Absorb);
    assert_eq!(machine.on_request(), Reaction::Absorb);
    assert_eq!(machine.next_timeout(), Some(t0 + T4));
    assert_eq!(run!(machine, t0), (vec![], None));
}

#[test]
fn a_repeated_invite_gets_the_last_provisional_and_nothing_after_the_2xx() {
    // RFC 6026 §7.1: the Accepted state absorbs the request, the user agent repeats the 2xx.
    let t0 = Instant::now();
    let mut machine = InviteServer::new(wire("100"), false);
    assert_eq!(machine.on_request(), Reaction::Send(wire("100")));
    assert_eq!(machine.respond(180, wire("180"), t0), Reaction::Send(wire("180")));
    assert_eq!(machine.on_request(), Reaction::Send(wire("180")));
    assert_eq!(machine.respond(200, wire("200"), t0), Reaction::Send(wire("200")));
    assert_eq!(machine.on_request(), Reaction::Absorb);
    assert_eq!(machine.on_ack(t0), Reaction::Deliver);
    assert_eq!(machine.respond(486, wire("486"), t0), Reaction::Absorb);
    assert_eq!(machine.next_timeout(), Some(t0 + Duration::from_secs(32)));
    assert_eq!(run!(machine, t0), (vec![], None));
}

#[test]
fn other_requests_get_their_answer_again_until_timer_j() {
    let t0 = Instant::now();
    let mut machine = OtherServer::new(false, t0);
    assert_eq!(machine.on_request(), Reaction::Absorb);
    assert_eq!(machine.respond(wire("200"), t0), Reaction::Send(wire("200")));
    assert_eq!(machine.respond(wire("500"), t0), Reaction::Absorb);
    assert_eq!(machine.on_request(), Reaction::Send(wire("200")));
    assert_eq!(machine.next_timeout(), Some(t0 + Duration::from_secs(32)));
    assert_eq!(run!(machine, t0), (vec![], None));
}

#[test]
fn an_unanswered_other_request_dies_silently_instead_of_getting_408() {
    // RFC 4320 §4.2, RFC 4321 §1.4.
    let t0 = Instant::now();
    let mut machine = OtherServer::new(false, t0);
    assert_eq!(run!(machine, t0), (vec![], None));
    assert!(machine.is_terminated());
}

#[test]
fn transport_errors_end_what_waits_and_leave_what_is_answered() {
    // RFC 3261 §17.1.4.
    let t0 = Instant::now();
    let mut waiting = InviteClient::new(wire("INVITE"), false, t0);
    assert_eq!(waiting.on_transport_error(), Reaction::TimedOut);
    assert!(waiting.is_terminated());
    let mut accepted = InviteClient::new(wire("INVITE"), false, t0);
    accepted.on_response(200, no_ack, t0);
    assert_eq!(accepted.on_transport_error(), Reaction::Absorb);
    assert!(!accepted.is_terminated());
    let mut other = OtherClient::new(wire("BYE"), false, GIVE_UP, t0);
    assert_eq!(other.on_transport_error(), Reaction::TimedOut);
}
