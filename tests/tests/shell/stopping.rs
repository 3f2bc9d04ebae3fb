//! Stopping: SIGTERM drains, SIGINT or a second signal ends.

use e2e::browser::{RustBrowser, Voice};
use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::process::wait_for;
use e2e::rawsip::{RawSip, unique};
use e2e::rtp::RtpParty;
use e2e::trunk::Message;
use e2e::ws::Ws;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);
const NUMBER: &str = "+12025550100";

pub(super) fn http(gateway: &Gateway) -> SocketAddr {
    SocketAddr::new(LOOPBACK, gateway.http)
}

fn ready(gateway: &Gateway) -> u16 {
    gateway.get("/readyz").map_or(0, |(status, _)| status)
}

/// A gateway in a call whose carrier is steered by hand and answers nothing by itself.
fn steered_call(gateway: &Gateway, carrier: &mut RawSip) -> (Ws, RustBrowser, RtpParty) {
    let mut ws = Ws::signed_in(http(gateway), "alice");
    let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    ws.call(&browser, "c1", NUMBER);
    let invite = carrier.wait_request("INVITE");
    let mut party = RtpParty::start();
    party.peer = Some(invite.audio());
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
        party.port
    );
    carrier.reply(&invite, "200 OK", &format!("Contact: <sip:raw@{}>\r\n", carrier.local), &sdp);
    carrier.wait_request("ACK");
    ws.wait_state("in-call");
    browser.wait_connected();
    (ws, browser, party)
}

#[test]
fn sigint_or_a_second_signal_ends_a_call_with_a_reason_a_record_and_exit_0() {
    for signals in [&["INT"][..], &["TERM", "TERM"], &["TERM", "INT"]] {
        let carrier = RawSip::at(LOOPBACK, SocketAddr::new(LOOPBACK, 9));
        let mut gateway = Gateway::run(&Setup::with_trunk(carrier.local.port()));
        let mut carrier = carrier.towards(SocketAddr::new(LOOPBACK, gateway.sip));
        let (mut ws, _browser, _party) = steered_call(&gateway, &mut carrier);
        let mut idle = Ws::signed_in(http(&gateway), "bob");
        for signal in signals {
            gateway.process.signal(signal);
            wait_for(LIMIT, "no more calls are taken", || (ready(&gateway) == 503).then_some(()));
        }
        let bye = carrier.wait_request("BYE");
        assert!(bye.header("reason").contains("Q.850;cause=41"), "{:?}", bye.headers);
        assert!(bye.header("reason").contains("stopped"), "{:?}", bye.headers);
        assert_eq!(ws.wait_ended("c1"), "gateway-stopping");
        assert_eq!(ws.wait_closed(LIMIT).map(|(code, _)| code), Some(1001));
        assert_eq!(idle.wait_closed(LIMIT).map(|(code, _)| code), Some(1001));
        // The carrier has not confirmed yet, so the process still lives: it takes no more calls and says so.
        assert_eq!(gateway.get("/readyz").map(|(status, _)| status), Some(503));
        assert_eq!(gateway.get("/healthz").map(|(status, _)| status), Some(200));
        carrier.reply(&bye, "200 OK", "", "");
        let begun = Instant::now();
        assert_eq!(gateway.process.wait(Duration::from_secs(8)).code(), Some(0), "after {signals:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "nothing is left to wait for: {:?}",
            begun.elapsed()
        );
        let cdrs = gateway.cdrs();
        assert_eq!(cdrs.len(), 1, "{cdrs:?}");
        assert_eq!(
            (&cdrs[0]["reason"], &cdrs[0]["ended_by"]),
            (&json!("gateway-stopping"), &json!("gateway"))
        );
    }
}

#[test]
fn calls_that_outlast_the_drain_are_ended_and_a_carrier_that_never_confirms_does_not_keep_the_gateway() {
    let carrier = RawSip::at(LOOPBACK, SocketAddr::new(LOOPBACK, 9));
    let drain = "[shutdown]\ndrain_seconds = 1\n".to_owned();
    let mut gateway = Gateway::run(&Setup { toml: drain, ..Setup::with_trunk(carrier.local.port()) });
    let mut carrier = carrier.towards(SocketAddr::new(LOOPBACK, gateway.sip));
    let (mut ws, _browser, _party) = steered_call(&gateway, &mut carrier);
    let begun = Instant::now();
    gateway.process.signal("TERM");
    assert_eq!(ws.wait_ended("c1"), "gateway-stopping");
    assert!(begun.elapsed() >= Duration::from_secs(1), "the call had its time");
    assert_eq!(gateway.process.wait(Duration::from_secs(8)).code(), Some(0));
    let cdrs = gateway.cdrs();
    assert_eq!(cdrs.len(), 1, "{cdrs:?}");
    assert_eq!(cdrs[0]["reason"], "gateway-stopping");
}

/// What the gateway answers to a new call of the carrier, for a number that nobody has.
pub(super) fn invite(carrier: &mut RawSip, host: SocketAddr) -> Message {
    let (local, call) = (carrier.local, unique("draining"));
    let text = format!(
        "INVITE sip:199@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:+12025550177@{local}>;tag=c\r\nTo: <sip:199@{host}>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:raw@{local}>\r\nContent-Length: 0\r\n\r\n",
        unique("z9hG4bK")
    );
    carrier.send(text.as_bytes());
    let is_final = |m: &Message| {
        m.header("call-id") == call && !m.start.starts_with("SIP/2.0 1") && m.start.starts_with("SIP/2.0")
    };
    carrier.wait("final answer to an INVITE", LIMIT, is_final)
}

/// RFC 3261 §21.5.4: what is refused for a while says for how long.
#[test]
fn sigterm_refuses_new_calls_and_waits_for_those_that_run() {
    let carrier = RawSip::at(LOOPBACK, SocketAddr::new(LOOPBACK, 9));
    let mut gateway = Gateway::run(&Setup::with_trunk(carrier.local.port()));
    let to = SocketAddr::new(LOOPBACK, gateway.sip);
    let mut carrier = carrier.towards(to);
    let (mut ws, mut browser, mut party) = steered_call(&gateway, &mut carrier);
    let mut bob = Ws::signed_in(http(&gateway), "bob");
    gateway.process.signal("TERM");
    wait_for(LIMIT, "no more calls are taken", || (ready(&gateway) == 503).then_some(()));
    assert_eq!(gateway.get("/healthz").map(|(status, _)| status), Some(200));
    let refusal = invite(&mut carrier, to);
    assert!(refusal.start.starts_with("SIP/2.0 503 The gateway is being stopped"), "{}", refusal.start);
    assert!(refusal.header("retry-after").parse::<u32>().is_ok_and(|s| s > 0), "{:?}", refusal.headers);
    let offer = RustBrowser::new(Voice::Pcmu, LOOPBACK).offer();
    bob.send(&json!({"type": "call", "call": "c2", "to": NUMBER, "sdp": offer}));
    let error = bob.wait_type("error");
    assert_eq!((&error["code"], &error["call"]), (&json!("gateway-stopping"), &json!("c2")));
    let (answer, _) = RawSip::at(LOOPBACK, to).register("bob", PASSWORD);
    assert!(answer.start.starts_with("SIP/2.0 200"), "{}", answer.start);
    let before = (browser.heard().len(), party.heard().len());
    party.play(0, &[0x55; 1600]);
    browser.speak_for(Duration::from_millis(200), &[0x55; 160]);
    let both = || (browser.heard().len() > before.0 && party.heard().len() > before.1).then_some(());
    wait_for(LIMIT, "the call that runs is heard on both sides", both);
    let (_, metrics) = gateway.get("/metrics").expect("metrics");
    assert!(metrics.contains("webtrunk_calls_refused_total{reason=\"gateway-stopping\"} 2"), "{metrics}");
    ws.bye("c1");
    let bye = carrier.wait_request("BYE");
    assert!(gateway.process.lines().iter().any(|line| line.contains("may go on for 80 s")));
    carrier.reply(&bye, "200 OK", "", "");
    assert_eq!(gateway.process.wait(Duration::from_secs(8)).code(), Some(0));
    let cdrs = gateway.cdrs();
    assert_eq!(cdrs.len(), 1, "{cdrs:?}");
    assert_eq!(cdrs[0]["reason"], "hung-up");
}
