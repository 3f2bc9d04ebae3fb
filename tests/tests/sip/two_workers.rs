//! Attended transfers between calls that are on different media workers (RFC 5589 §7): whoever is joined hears the other,
//! and nothing is left behind. Calls of one user share a worker; here two users who talk already call each other.

use e2e::browser::{RustBrowser, Voice};
use e2e::gateway::{Gateway, Setup};
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::trunk::{Call, Trunk};
use e2e::ws::Ws;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);
const PCMU: u8 = 0;

/// Someone's page, and the browser at the end of each of their calls.
fn signed_in(gateway: &Gateway, user: &str) -> Ws {
    Ws::signed_in(SocketAddr::new(LOOPBACK, gateway.http), user)
}

fn browser() -> RustBrowser {
    RustBrowser::new(Voice::Pcmu, LOOPBACK)
}

/// Takes the call that comes; its name and its browser.
fn answers(ws: &mut Ws) -> (String, RustBrowser) {
    let incoming = ws.wait_type("incoming");
    let id = incoming["call"].as_str().expect("a name").to_owned();
    let browser = browser();
    ws.send(&json!({ "type": "offer", "call": id, "sdp": browser.offer() }));
    let sdp = ws.wait("the answer", LIMIT, |m| m["type"] == "sdp" && m["call"] == id);
    browser.set_answer(sdp["sdp"].as_str().expect("text"));
    browser.wait_connected();
    ws.send(&json!({ "type": "answer", "call": id }));
    ws.wait("that it is answered", LIMIT, |m| m["state"] == "in-call" && m["call"] == id);
    (id, browser)
}

/// A browser's call to a number of the carrier, answered.
fn talks(ws: &mut Ws, id: &str, number: &str, trunk: &mut Trunk) -> (RustBrowser, Call, RtpParty) {
    let browser = browser();
    ws.call(&browser, id, number);
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    ws.wait("that it is answered", LIMIT, |m| m["state"] == "in-call" && m["call"] == id);
    browser.wait_connected();
    (browser, call, party)
}

fn transfer(ws: &mut Ws, call: &str, with: &str) {
    ws.send(&json!({ "type": "transfer", "call": call, "with": with }));
    assert_eq!(ws.wait_ended(call), "transferred");
    assert_eq!(ws.wait_ended(with), "transferred");
}

/// Frames of this byte that were heard.
fn heard_by_party(party: &RtpParty, voice: u8) -> usize {
    party.heard().iter().filter(|h| h.pt == PCMU && h.payload == [voice; 160]).count()
}

fn heard_by_browser(browser: &RustBrowser, voice: u8) -> usize {
    browser.heard().iter().filter(|h| h.pt == PCMU && h.payload == [voice; 160]).count()
}

fn party_hears_browser(party: &RtpParty, browser: &mut RustBrowser, voice: u8) {
    browser.speak_for(Duration::from_millis(500), &[voice; 160]);
    wait_for(LIMIT, "the browser's voice", || (heard_by_party(party, voice) >= 20).then_some(()));
    assert!(party.heard().windows(2).all(|w| w[0].ssrc == w[1].ssrc), "one stream (field problem 2)");
}

fn browser_hears_party(browser: &RustBrowser, party: &mut RtpParty, voice: u8) {
    party.play(PCMU, &[voice; 25 * 160]);
    wait_for(LIMIT, "the party's voice", || (heard_by_browser(browser, voice) >= 20).then_some(()));
}

/// Bob talks to someone of his own on the other worker and calls alice, who talks already and answers.
fn bob_calls_alice(alice: &mut Ws, bob: &mut Ws) -> (String, RustBrowser, RustBrowser) {
    let of_bob = browser();
    bob.call(&of_bob, "b2", "100");
    let (incoming, of_alice) = answers(alice);
    bob.wait("that alice is there", LIMIT, |m| m["state"] == "in-call" && m["call"] == "b2");
    (incoming, of_alice, of_bob)
}

fn passed_on(gateway: &Gateway) -> u64 {
    let metrics = gateway.get("/metrics").expect("metrics").1;
    let name = "webtrunk_media_packets_total{side=\"browser\",direction=\"passed-on\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |n| n.parse().expect("a number"))
}

/// Every leg is gone and every port is back.
fn nothing_is_left(gateway: &Gateway) {
    for line in ["webtrunk_media_calls 0", "webtrunk_rtp_port_pairs_free 20"] {
        wait_for(LIMIT, line, || {
            let metrics = gateway.get("/metrics").expect("metrics").1;
            metrics.lines().any(|one| one == line).then_some(())
        });
    }
}

#[test]
fn a_browser_and_then_a_trunk_are_joined_with_a_trunk_of_the_other_worker() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| signed_in(&gateway, user));
    let (_c1, first, mut customer) = talks(&mut alice, "c1", "+12025550100", &mut trunk);
    let (_b1, second, mut supplier) = talks(&mut bob, "b1", "+12025550101", &mut trunk);
    let (incoming, _of_alice, mut of_bob) = bob_calls_alice(&mut alice, &mut bob);
    transfer(&mut alice, "c1", &incoming);
    party_hears_browser(&customer, &mut of_bob, 0x21);
    browser_hears_party(&of_bob, &mut customer, 0x22);
    assert!(
        passed_on(&gateway) > 20,
        "bob's browser sends to the socket of the worker that his leg has left"
    );
    // A digit as well, made anew.
    of_bob.press('7', Duration::from_millis(160));
    of_bob.speak_for(Duration::from_millis(300), &[0x23; 160]);
    wait_for(LIMIT, "bob's digit", || customer.digits(101).iter().any(|d| d.0 == '7').then_some(()));
    transfer(&mut bob, "b1", "b2");
    customer.play(PCMU, &[0x31; 25 * 160]);
    wait_for(LIMIT, "the customer's voice", || (heard_by_party(&supplier, 0x31) >= 20).then_some(()));
    supplier.play(PCMU, &[0x32; 25 * 160]);
    wait_for(LIMIT, "the supplier's voice", || (heard_by_party(&customer, 0x32) >= 20).then_some(()));
    first.hang_up();
    second.wait("BYE", LIMIT);
    nothing_is_left(&gateway);
}

#[test]
fn two_browsers_of_two_workers_are_joined() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let [mut alice, mut bob, mut carol] = ["alice", "bob", "carol"].map(|user| signed_in(&gateway, user));
    let of_alice = browser();
    alice.call(&of_alice, "c1", "102");
    let (with_alice, mut of_carol) = answers(&mut carol);
    alice.wait("that carol is there", LIMIT, |m| m["state"] == "in-call" && m["call"] == "c1");
    let (_b1, own, _supplier) = talks(&mut bob, "b1", "+12025550101", &mut trunk);
    let (incoming, _second, mut of_bob) = bob_calls_alice(&mut alice, &mut bob);
    transfer(&mut alice, "c1", &incoming);
    of_bob.speak_for(Duration::from_millis(500), &[0x41; 160]);
    wait_for(LIMIT, "bob's voice", || (heard_by_browser(&of_carol, 0x41) >= 20).then_some(()));
    of_carol.speak_for(Duration::from_millis(500), &[0x42; 160]);
    wait_for(LIMIT, "carol's voice", || (heard_by_browser(&of_bob, 0x42) >= 20).then_some(()));
    assert!(passed_on(&gateway) > 20);
    carol.bye(&with_alice);
    assert_eq!(bob.wait_ended("b2"), "hung-up");
    bob.bye("b1");
    own.wait("BYE", LIMIT);
    nothing_is_left(&gateway);
}
