//! Where a trunk's server is, as DNS says (RFC 3263), against the binary and a DNS server of the test's own.

use e2e::browser::{RustBrowser, Voice};
use e2e::gateway::{Gateway, Setup};
use e2e::ports::free_ports;
use e2e::process::wait_for;
use e2e::rawsip::RawSip;
use e2e::trunk::Trunk;
use e2e::ws::Ws;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);
const NUMBER: &str = "+12025550100";
/// Record types (RFC 1035 §3.2.2, RFC 2782, RFC 3403).
const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// Time to live and data of the records of a name and type.
type Zone = HashMap<(String, u16), Vec<(u32, Vec<u8>)>>;

/// A DNS server that says what the test wants; what it was not told does not exist. It ends with the test's process.
struct LyingDns {
    port: u16,
    zone: Arc<Mutex<Zone>>,
}

/// The name asked for, its type and where the question ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
            return Some((labels.join("."), kind, at + 4));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}

fn response(zone: &Zone, query: &[u8]) -> Option<Vec<u8>> {
    let (name, kind, end) = question(query)?;
    let records = zone.get(&(name.clone(), kind)).cloned().unwrap_or_default();
    let exists = zone.keys().any(|(known, _)| *known == name);
    let mut out = query.get(..2)?.to_vec();
    out.extend([0x81, if exists { 0x80 } else { 0x83 }, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    out.extend(query.get(12..end)?);
    for (ttl, data) in records {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn srv(priority: u16, port: u16, target: &str) -> Vec<u8> {
    [priority, 0, port].iter().flat_map(|n| n.to_be_bytes()).chain(encoded(target)).collect()
}

fn naptr(order: u16, service: &str, replacement: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let numbers = [order, 1].iter().flat_map(|n| n.to_be_bytes()).collect();
    [numbers, text("s"), text(service), text(""), encoded(replacement)].concat()
}

impl LyingDns {
    fn start() -> LyingDns {
        let port = free_ports(2);
        let socket = UdpSocket::bind((LOOPBACK, port)).expect("a free port");
        let zone = Arc::new(Mutex::new(Zone::new()));
        let told = zone.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                let answer = response(&told.lock().expect("the test lives"), &buffer[..size]);
                let Some(answer) = answer else { continue };
                socket.send_to(&answer, from).expect("a datagram on loopback");
            }
        });
        LyingDns { port, zone }
    }

    /// From now on these are the records of the name and type, each alive for one second.
    fn says(&self, name: &str, kind: u16, records: &[Vec<u8>]) {
        let records = records.iter().map(|data| (1, data.clone())).collect();
        self.zone.lock().expect("the server lives").insert((name.into(), kind), records);
    }

    /// A gateway that asks this server and has the trunk `carrier` at `server`.
    fn gateway(&self, server: &str) -> Gateway {
        self.gateway_with(server, false)
    }

    fn gateway_with(&self, server: &str, ipv6: bool) -> Gateway {
        let toml = format!(
            "[dns]\nservers = [\"127.0.0.1:{}\"]\n[[trunks]]\nname = \"carrier\"\nserver = \"{server}\"\n\
             [[routes]]\nmatch = \"+1*\"\nto = [\"trunk:carrier\"]\n",
            self.port
        );
        Gateway::run(&Setup { toml, ipv6, ..Setup::default() })
    }
}

/// alice at the page.
struct Alice {
    ws: Ws,
    browser: RustBrowser,
}

impl Alice {
    fn at(gateway: &Gateway) -> Alice {
        let ws = Ws::signed_in(SocketAddr::new(LOOPBACK, gateway.http), "alice");
        Alice { ws, browser: RustBrowser::new(Voice::Pcmu, LOOPBACK) }
    }

    fn calls(&mut self, id: &str) {
        self.ws.call(&self.browser, id, NUMBER);
    }
}

/// Waits until the gateway has this many addresses for its trunk.
fn wait_targets(gateway: &Gateway, count: usize) {
    let line = format!("webtrunk_trunk_addresses{{trunk=\"carrier\"}} {count}");
    let measured = || gateway.get("/metrics").filter(|(_, text)| text.lines().any(|one| one == line));
    wait_for(LIMIT, &line, measured);
}

#[test]
fn naptr_and_srv_order_the_servers_and_the_next_is_tried_when_the_first_refuses() {
    let (mut first, mut second, third) = (Trunk::start(), Trunk::start(), Trunk::start());
    let dns = LyingDns::start();
    let machine = "sip1.carrier.test";
    // The name with the lower order wins; in it the lower priority, whatever stands first.
    dns.says(
        "carrier.test",
        NAPTR,
        &[naptr(20, "SIP+D2U", "_sip._udp.old.test"), naptr(10, "SIP+D2U", "_sip._udp.pool.test")],
    );
    dns.says("_sip._udp.old.test", SRV, &[srv(0, third.port, machine)]);
    dns.says("_sip._udp.pool.test", SRV, &[srv(7, second.port, machine), srv(3, first.port, machine)]);
    dns.says(machine, A, &[vec![127, 0, 0, 1]]);
    let gateway = dns.gateway("carrier.test");
    wait_targets(&gateway, 2);
    let mut alice = Alice::at(&gateway);
    alice.calls("c1");
    let call = first.wait_call(LIMIT);
    assert!(second.seen().is_empty(), "one after the other");
    call.refuse("503 Service Unavailable");
    second.wait_call(LIMIT).refuse("486 Busy Here");
    assert_eq!(alice.ws.wait_ended("c1"), "busy");
    assert!(third.seen().is_empty());
}

#[test]
fn a_server_with_an_ipv6_address_alone_is_found_by_srv_and_aaaa_and_called_there() {
    let there = SocketAddr::from((Ipv6Addr::LOCALHOST, free_ports(2)));
    let dns = LyingDns::start();
    dns.says("_sip._udp.carrier.test", SRV, &[srv(1, there.port(), "sip6.carrier.test")]);
    dns.says("sip6.carrier.test", AAAA, &[Ipv6Addr::LOCALHOST.octets().to_vec()]);
    let gateway = dns.gateway_with("carrier.test", true);
    wait_targets(&gateway, 1);
    let mut carrier = RawSip::bind(there, SocketAddr::from((Ipv6Addr::LOCALHOST, gateway.sip)));
    let mut alice = Alice::at(&gateway);
    alice.calls("c1");
    let invite = carrier.wait_request("INVITE");
    assert_eq!(invite.start, format!("INVITE sip:{NUMBER}@carrier.test SIP/2.0"));
    assert_eq!(invite.audio().ip(), IpAddr::V6(Ipv6Addr::LOCALHOST));
    carrier.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(alice.ws.wait_ended("c1"), "busy");
}

#[test]
fn a_server_that_refuses_connections_is_passed_over() {
    let mut behind = Trunk::start();
    let dns = LyingDns::start();
    dns.says("carrier.test", NAPTR, &[naptr(1, "SIP+D2T", "_sip._tcp.carrier.test")]);
    dns.says("_sip._tcp.carrier.test", SRV, &[srv(1, free_ports(2), "sip1.carrier.test")]);
    dns.says("sip1.carrier.test", A, &[vec![127, 0, 0, 1]]);
    let gateway = dns.gateway("carrier.test");
    wait_targets(&gateway, 1);
    let mut alice = Alice::at(&gateway);
    alice.calls("c1");
    assert_eq!(alice.ws.wait_ended("c1"), "trunk-unreachable");
    // The carrier gives up TCP: the gateway follows without a restart.
    dns.says("carrier.test", NAPTR, &[naptr(1, "SIP+D2U", "_sip._udp.carrier.test")]);
    dns.says(
        "_sip._udp.carrier.test",
        SRV,
        &[srv(1, behind.port, "sip1.carrier.test"), srv(2, 9, "sip1.carrier.test")],
    );
    wait_targets(&gateway, 2);
    alice.calls("c2");
    behind.wait_call(LIMIT).refuse("486 Busy Here");
    assert_eq!(alice.ws.wait_ended("c2"), "busy");
}

#[test]
fn a_changed_address_is_followed_after_its_time_to_live_without_a_restart() {
    let mut old = Trunk::start();
    let elsewhere = IpAddr::from([127, 0, 0, 2]);
    let dns = LyingDns::start();
    dns.says("carrier.test", A, &[vec![127, 0, 0, 1]]);
    let gateway = dns.gateway(&format!("carrier.test:{}", old.port));
    let here = SocketAddr::new(LOOPBACK, gateway.sip);
    let mut new = RawSip::bind(SocketAddr::new(elsewhere, old.port), here);
    wait_targets(&gateway, 1);
    let mut alice = Alice::at(&gateway);
    alice.calls("c1");
    old.wait_call(LIMIT).refuse("486 Busy Here");
    assert_eq!(alice.ws.wait_ended("c1"), "busy");
    let before = old.seen().len();
    dns.says("carrier.test", A, &[vec![127, 0, 0, 2], vec![127, 0, 0, 3]]);
    wait_targets(&gateway, 2);
    dns.says("carrier.test", A, &[vec![127, 0, 0, 2]]);
    wait_targets(&gateway, 1);
    alice.calls("c2");
    new.wait("INVITE", LIMIT, |message| message.is("INVITE"));
    assert_eq!(old.seen().len(), before, "nobody is asked at the old address");
}

#[test]
fn a_name_that_does_not_resolve_is_said_in_plain_words_and_found_once_it_does() {
    let mut trunk = Trunk::start();
    let dns = LyingDns::start();
    let mut gateway = dns.gateway("carrier.test");
    let line = gateway.process.wait_line(LIMIT, "a warning", |line| line.contains("does not resolve"));
    assert!(line.contains("trunk carrier: its server name does not resolve"), "{line}");
    let mut alice = Alice::at(&gateway);
    let offer = alice.browser.offer();
    alice.ws.send(&serde_json::json!({ "type": "call", "call": "c1", "to": NUMBER, "sdp": offer }));
    assert_eq!(alice.ws.wait_ended("c1"), "trunk-unreachable");
    dns.says("_sip._udp.carrier.test", SRV, &[srv(1, trunk.port, "sip1.carrier.test")]);
    dns.says("sip1.carrier.test", A, &[vec![127, 0, 0, 1]]);
    wait_targets(&gateway, 1);
    alice.calls("c2");
    trunk.wait_call(LIMIT).refuse("486 Busy Here");
    assert_eq!(alice.ws.wait_ended("c2"), "busy");
}

#[test]
fn a_silent_server_costs_seconds_and_the_next_call_does_not_wait_for_it_again() {
    // Field problem 28: bound, and never answering.
    let silent = UdpSocket::bind((LOOPBACK, free_ports(2))).expect("a free port");
    let silent_port = silent.local_addr().expect("an address").port();
    let mut behind = Trunk::start();
    let toml = format!(
        "[[trunks]]\nname = \"carrier\"\nservers = [\"127.0.0.1:{silent_port}\", \"127.0.0.1:{}\"]\n\
         [[routes]]\nmatch = \"+1*\"\nto = [\"trunk:carrier\"]\n",
        behind.port
    );
    let gateway = Gateway::run(&Setup { toml, ..Setup::default() });
    wait_targets(&gateway, 2);
    let mut alice = Alice::at(&gateway);
    let before = std::time::Instant::now();
    alice.calls("c1");
    behind.wait_call(LIMIT).refuse("486 Busy Here");
    assert_eq!(alice.ws.wait_ended("c1"), "busy");
    assert!(before.elapsed() >= Duration::from_secs(4), "the first in the list was tried first");
    let suspended =
        format!("webtrunk_target_suspended{{trunk=\"carrier\",target=\"udp:127.0.0.1:{silent_port}\"}} 1");
    let (_, metrics) = gateway.get("/metrics").expect("metrics");
    assert!(metrics.contains(&suspended), "{suspended} is not in\n{metrics}");
    alice.calls("c2");
    behind.wait_call(LIMIT).refuse("486 Busy Here");
    assert_eq!(alice.ws.wait_ended("c2"), "busy");
    silent.set_nonblocking(true).expect("a socket");
    let (mut buffer, mut calls) = ([0; 4096], std::collections::BTreeSet::new());
    while let Ok(size) = silent.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
        if text.starts_with("INVITE") {
            calls.extend(text.lines().find(|line| line.starts_with("Call-ID:")).map(str::to_owned));
        }
    }
    assert_eq!(calls.len(), 1, "the second call goes straight to the server that answers: {calls:?}");
}
