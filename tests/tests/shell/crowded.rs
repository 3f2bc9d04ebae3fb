//! Media workers without a moment left, by a flood of datagrams that are nobody's: new calls are refused until it is over.

use super::stopping::{http, invite};
use e2e::browser::{RustBrowser, Voice};
use e2e::gateway::{Gateway, PASSWORD, Setup, WORKERS};
use e2e::process::wait_for;
use e2e::rawsip::RawSip;
use e2e::ws::Ws;
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);
/// As many as the system takes at once (RFC 5389 §6: a binding request of a session that nobody has).
const AT_ONCE: usize = 64;
const STRANGER: [u8; 36] = *b"\x00\x01\x00\x10\x21\x12\xa4\x42twelve bytes\x00\x06\x00\x09nobo:self\0\0\0";

/// Sends until told to stop, faster than anyone can read.
fn flood(port: u16, stop: &AtomicBool) {
    let socket = UdpSocket::bind((LOOPBACK, 0)).expect("a free port");
    setsockopt(&socket, UdpGsoSegment, &(STRANGER.len() as i32)).expect("UDP segmentation by the system");
    let datagrams = STRANGER.repeat(AT_ONCE);
    while !stop.load(Ordering::Relaxed) {
        // A full buffer is what is wanted.
        drop(socket.send_to(&datagrams, (LOOPBACK, port)));
    }
}

/// The values of a metric, of all workers.
fn gauges(gateway: &Gateway, name: &str) -> Vec<f64> {
    let (_, text) = gateway.get("/metrics").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// RFC 3261 §21.5.4: 503, and when to come back.
#[test]
fn with_every_worker_busy_new_calls_are_503_with_retry_after_until_there_is_room() {
    let carrier = RawSip::at(LOOPBACK, SocketAddr::new(LOOPBACK, 9));
    // In real time a worker leaves the flood no time to be one.
    let gateway = Gateway::run(&Setup { ordinary: true, ..Setup::with_trunk(carrier.local.port()) });
    let to = SocketAddr::new(LOOPBACK, gateway.sip);
    let mut carrier = carrier.towards(to);
    let mut alice = Ws::signed_in(http(&gateway), "alice");
    let offer = RustBrowser::new(Voice::Pcmu, LOOPBACK).offer();
    assert!(
        invite(&mut carrier, to).start.starts_with("SIP/2.0 404"),
        "it was taken, and nobody has that number"
    );
    assert_eq!(gauges(&gateway, "webtrunk_worker_load").len(), usize::from(WORKERS));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (port, stop) = (gateway.webrtc + worker, &stop);
            scope.spawn(move || flood(port, stop));
        }
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let busy =
                || gauges(&gateway, "webtrunk_worker_load").into_iter().all(|l| l >= 0.9).then_some(());
            wait_for(LIMIT, "no worker has a moment left", busy);
            // What is decided by may be a quarter of a second old.
            let refused = || Some(invite(&mut carrier, to)).filter(|m| !m.start.starts_with("SIP/2.0 404"));
            let refusal = wait_for(LIMIT, "a call is refused", refused);
            assert!(
                refusal.start.starts_with("SIP/2.0 503 The gateway is at its limit"),
                "{}",
                refusal.start
            );
            assert!(
                refusal.header("retry-after").parse::<u32>().is_ok_and(|s| s > 0),
                "{:?}",
                refusal.headers
            );
            alice.send(&json!({"type": "call", "call": "c1", "to": "+12025550100", "sdp": offer}));
            let error = alice.wait_type("error");
            assert_eq!((&error["code"], &error["call"]), (&json!("busy-gateway"), &json!("c1")));
            let (answer, _) = RawSip::at(LOOPBACK, to).register("bob", PASSWORD);
            assert!(answer.start.starts_with("SIP/2.0 200"), "{}", answer.start);
            let new = gauges(&gateway, "webtrunk_opus_complexity{");
            assert!(new.iter().any(|c| *c < 5.0), "encoders give way: {new:?}");
        }));
        stop.store(true, Ordering::Relaxed);
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let room = || invite(&mut carrier, to).start.starts_with("SIP/2.0 404").then_some(());
    wait_for(LIMIT, "calls are taken again", room);
    assert_eq!(gauges(&gateway, "webtrunk_worker_alive"), [1.0, 1.0]);
}
