//! Hold, late offers and forks as a second browser implementation and a raw carrier meet them.

use e2e::browser::{RustBrowser, Voice};
use e2e::dialled::{Dialled, dial};
use e2e::gateway::{Gateway, Setup};
use e2e::playing::Playing;
use e2e::process::wait_for;
use e2e::rtp::{RtpParty, mulaw};
use e2e::tone::{mulaw_tone, rms, share};
use e2e::trunk::{Media, Trunk};
use e2e::ws::Ws;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);

fn http(gateway: &Gateway) -> SocketAddr {
    SocketAddr::new(LOOPBACK, gateway.http)
}

/// Whether the last half second of mu-law frames is mostly this frequency.
fn sounds(frames: &[Vec<u8>], hz: f64) -> bool {
    let last: Vec<i16> =
        frames[frames.len().saturating_sub(25)..].iter().flatten().map(|byte| mulaw(*byte)).collect();
    last.len() >= 4000 && rms(&last) > 300.0 && share(&last, 8000, hz) > 0.8
}

fn wait_tone(browser: &RustBrowser, hz: f64, what: &str) {
    wait_for(LIMIT, what, || {
        let frames: Vec<Vec<u8>> = browser.heard().into_iter().map(|heard| heard.payload).collect();
        sounds(&frames, hz).then_some(())
    });
}

/// Alice's browser calls the trunk, which has not answered.
fn calling() -> (Trunk, Gateway, Dialled) {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let dialled = dial(&gateway, &mut trunk, Voice::Pcmu);
    dialled.browser.wait_connected();
    (trunk, gateway, dialled)
}

#[test]
fn media_follows_the_latest_fork_and_then_the_one_that_answers_and_a_second_answer_is_ended() {
    // Field problem 13, RFC 3261 §13.2.2.4, RFC 3960 §3.1.
    let (_trunk, gateway, Dialled { mut ws, mut browser, call }) = calling();
    let (mut first, mut second) = (RtpParty::start(), RtpParty::start());
    call.fork("first", "183 Session Progress", &mut first);
    let first = Playing::start(first, 700.0);
    wait_tone(&browser, 700.0, "the first fork");
    call.fork("second", "183 Session Progress", &mut second);
    let second = Playing::start(second, 1100.0);
    wait_tone(&browser, 1100.0, "the second fork, which came later");
    // The first one answers after all: what it said before is its answer.
    let mut answering = RtpParty::start();
    call.fork("first", "200 OK", &mut answering);
    call.wait_fork("ACK", "first");
    ws.wait_state("in-call");
    let answering = Playing::start(answering, 1500.0);
    wait_tone(&browser, 1500.0, "the fork that answered");
    browser.speak_for(Duration::from_secs(1), &[0x35; 160]);
    let mut late = RtpParty::start();
    call.fork("second", "200 OK", &mut late);
    call.wait_fork("ACK", "second");
    call.wait_fork("BYE", "second");
    wait_tone(&browser, 1500.0, "still the fork that answered");
    let answering = answering.stop();
    assert!(answering.heard().len() > 25, "the browser is heard where the call was answered");
    drop((first.stop(), second.stop()));
    assert!(late.heard().is_empty(), "nothing goes to the fork that lost");
    ws.bye("c1");
    call.wait_fork("BYE", "first");
    assert_eq!(ws.wait_ended("c1"), "hung-up");
    assert_eq!(gateway.wait_cdrs(1).len(), 1);
}

#[test]
fn an_invite_without_offer_rings_a_browser_and_both_hear_each_other() {
    // Field problem 15, RFC 3261 §13.2.1.
    let trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut alice = Ws::signed_in(http(&gateway), "alice");
    let mut party = RtpParty::start();
    let mut call = trunk.call_without_offer(gateway.sip, "+12025550110", ("Carol", "+12025550177"));
    let id = alice.wait_type("incoming")["call"].as_str().expect("an id").to_owned();
    let mut browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    alice.send(&json!({ "type": "offer", "call": id, "sdp": browser.offer() }));
    browser.set_answer(alice.wait_type("sdp")["sdp"].as_str().expect("text"));
    browser.wait_connected();
    assert_eq!(call.wait(180, LIMIT).body, "", "no offer where nothing acknowledges it");
    alice.send(&json!({ "type": "answer", "call": id }));
    let offer = call.wait_offer(&mut party, LIMIT);
    assert!(offer.body.contains("PCMU/8000") && offer.body.contains("a=sendrecv"), "{}", offer.body);
    alice.wait_state("in-call");
    let playing = Playing::start(party, 900.0);
    wait_tone(&browser, 900.0, "the trunk at the browser");
    browser.speak_for(Duration::from_secs(1), &[0x35; 160]);
    let party = playing.stop();
    let spoken = party.heard().iter().filter(|one| one.payload == [0x35; 160]).count();
    assert!(spoken > 25, "{spoken} packets of the browser at the trunk");
    call.hang_up();
    assert_eq!(alice.wait_ended(&id), "hung-up");
}

#[test]
fn a_browser_holds_by_message_is_held_by_re_invite_and_is_told_both() {
    // docs/SIGNALLING.md; RFC 3264 §8.4.
    let (_trunk, _gateway, Dialled { mut ws, mut browser, call }) = calling();
    let mut party = RtpParty::start();
    call.answer(&mut party);
    ws.wait_state("in-call");
    browser.speak_for(Duration::from_millis(300), &[0x35; 160]);
    ws.send(&json!({ "type": "hold", "call": "c1" }));
    let held = ws.wait_type("held");
    assert_eq!((&held["local"], &held["remote"]), (&json!(true), &json!(false)));
    let before = party.heard().len();
    wait_for(LIMIT, "music at the trunk", || {
        let heard: Vec<Vec<u8>> = party.heard().split_off(before).into_iter().map(|h| h.payload).collect();
        let last: Vec<i16> = heard.iter().flatten().map(|byte| mulaw(*byte)).collect();
        (heard.len() > 50 && rms(&last) > 150.0).then_some(())
    });
    let at = browser.heard().len();
    party.play(0, &mulaw_tone(900.0, 1.0));
    assert_eq!(browser.heard().len(), at, "whoever holds hears nothing");
    call.reinvite(&party, Media::Inactive);
    let held = ws.wait_type("held");
    assert_eq!((&held["local"], &held["remote"]), (&json!(true), &json!(true)));
    ws.send(&json!({ "type": "resume", "call": "c1" }));
    let held = ws.wait_type("held");
    assert_eq!((&held["local"], &held["remote"]), (&json!(false), &json!(true)));
    assert!(browser.wait_heard(0, at + 50, LIMIT), "music at the browser");
    call.reinvite_without_offer(&party, Media::Both);
    let held = ws.wait_type("held");
    assert_eq!((&held["local"], &held["remote"]), (&json!(false), &json!(false)));
    let heard = browser.heard();
    for pair in heard.windows(2) {
        assert_eq!((pair[0].ssrc, pair[1].seq), (pair[1].ssrc, pair[0].seq.wrapping_add(1)), "one stream");
    }
    ws.bye("c1");
    call.wait("BYE", LIMIT);
    assert_eq!(ws.wait_ended("c1"), "hung-up");
}
