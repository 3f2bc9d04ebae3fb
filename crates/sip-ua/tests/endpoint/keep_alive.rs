//! The way to a registrar is kept open, and a dead one is noticed (RFC 5626 §3.5 and §4.4, RFC 6223).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::kit::{self, addr, answer, field};
use sip_ua::{
    Command, ConnectionId, Endpoint, EndpointConfig, Flow, Listener, Output, Register, RegistrationId,
    Target, Transport,
};
use types::Wall;

const ID: RegistrationId = RegistrationId(1);
const REGISTRAR: &str = "198.51.100.9:5060";
const SILENT: &[u8] = b"\r\n";
const PING: &[u8] = b"\r\n\r\n";

/// What an endpoint did, and when, in seconds after the beginning.
#[derive(Debug)]
enum Did {
    Register(String),
    Kept(Vec<u8>),
    Closed,
}

struct Bench {
    endpoint: Endpoint,
    flow: Flow,
    begun: Instant,
    now: Instant,
    /// The last REGISTER.
    register: String,
    did: Vec<(f64, Did)>,
}

impl Bench {
    fn new(transport: Transport, instance: Option<&str>) -> Bench {
        let listener = |transport| Listener { transport, local: addr("192.0.2.1:5060"), advertise: None };
        let listeners = vec![listener(Transport::Udp), listener(Transport::Tcp)];
        let config = EndpointConfig { user_agent: "test".into(), listeners };
        let endpoint = Endpoint::new(config, Box::new(kit::Seeded(3)));
        let connection = (transport != Transport::Udp).then_some(ConnectionId(9));
        let flow = Flow { transport, local: addr("192.0.2.1:5060"), remote: addr(REGISTRAR), connection };
        let now = Instant::now();
        let mut bench = Bench { endpoint, flow, begun: now, now, register: String::new(), did: Vec::new() };
        let register = Register {
            target: Target::Address { transport, remote: addr(REGISTRAR), local: None },
            registrar: "sip:example.net".into(),
            aor: "sip:us@example.net".into(),
            contact_user: "us".into(),
            routes: Vec::new(),
            credentials: None,
            expires: 3_600,
            patience: Duration::from_secs(32),
            keep_alive: Some(Duration::from_secs(25)),
            instance: instance.map(str::to_owned),
        };
        bench.endpoint.handle_command(Command::Register(ID, Box::new(register)), now, Wall(0));
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        let at = (self.now - self.begun).as_secs_f64();
        while let Some(output) = self.endpoint.poll_output() {
            let did = match output {
                Output::Transmit { bytes, .. } if bytes.starts_with(b"REGISTER") => {
                    self.register = String::from_utf8(bytes.to_vec()).unwrap();
                    Did::Register(self.register.clone())
                }
                Output::Transmit { target, bytes, .. } => {
                    assert_eq!(target.remote(), addr(REGISTRAR));
                    Did::Kept(bytes.to_vec())
                }
                Output::Close { target } => {
                    assert_eq!(target.remote(), addr(REGISTRAR));
                    Did::Closed
                }
                Output::Event(_) => continue,
            };
            self.did.push((at, did));
        }
    }

    /// The last REGISTER is accepted with these fields; `keep`: the Via parameter's value.
    fn accept(&mut self, fields: &str, keep: &str) {
        let text = answer(&self.register, "200 OK", "r", fields);
        let text = text.replace(";keep\n", &format!(";keep{keep}\n"));
        self.endpoint.handle_message(self.flow, kit::wire(&text), self.now, Wall(0));
        self.drain();
        self.did.clear();
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now, Wall(0));
            self.drain();
        }
        self.now = end;
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.endpoint.handle_keep_alive(self.flow, bytes, self.now);
        self.drain();
    }

    /// Lets time pass until something is sent; how long it took, and what.
    fn next(&mut self) -> (f64, Did) {
        let from = (self.now - self.begun).as_secs_f64();
        self.did.clear();
        while self.did.is_empty() {
            let at = self.endpoint.poll_timeout().unwrap();
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now, Wall(0));
            self.drain();
        }
        let (at, did) = self.did.remove(0);
        (at - from, did)
    }

    fn next_kept(&mut self) -> (f64, Vec<u8>) {
        match self.next() {
            (after, Did::Kept(bytes)) => (after, bytes),
            other => panic!("{other:?}"),
        }
    }
}

/// A success response of STUN with XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
fn bound(request: &[u8], at: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(at) = at else { panic!() };
    let cookie = [0x21, 0x12, 0xa4, 0x42];
    let mut out = [&[1, 1, 0, 12], &request[4..20], &[0, 0x20, 0, 8, 0, 1]].concat();
    out.extend(at.port().to_be_bytes().iter().zip(cookie).map(|(a, b)| a ^ b));
    out.extend(at.ip().octets().iter().zip(cookie).map(|(a, b)| a ^ b));
    out
}

#[test]
fn without_an_agreement_line_ends_keep_the_way_open_and_silence_means_nothing() {
    // RFC 3261 §7.5; a Via that is copied back agrees to nothing (RFC 6223 §4).
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut bench = Bench::new(transport, None);
        bench.accept("Expires: 3600", "");
        for _ in 0..20 {
            assert_eq!(bench.next_kept(), (25.0, SILENT.to_vec()));
        }
    }
}

#[test]
fn register_offers_keep_alives_and_asks_for_outbound_only_where_it_is_wanted() {
    let sent = |bench: &Bench| match &bench.did[0].1 {
        Did::Register(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let plain = sent(&Bench::new(Transport::Tcp, None));
    assert!(field(&plain, "Via").ends_with(";keep"), "RFC 6223 §4: {plain}");
    assert!(!plain.contains("reg-id") && !plain.contains("outbound"));
    let named = sent(&Bench::new(Transport::Tcp, Some("urn:uuid:0c67")));
    // RFC 5626 §4.2.1.
    assert_eq!(
        field(&named, "Contact"),
        "<sip:us@192.0.2.1:5060;transport=tcp>;reg-id=1;+sip.instance=\"<urn:uuid:0c67>\""
    );
    assert_eq!(field(&named, "Supported"), "outbound, path");
}

#[test]
fn a_registrar_that_agreed_is_pinged_as_often_as_it_says() {
    for (instance, fields, keep, range) in [
        (Some("urn:uuid:1"), "Require: outbound\nFlow-Timer: 60", "", 48.0..=60.0),
        (Some("urn:uuid:1"), "Require: outbound", "", 95.0..=120.0),
        (None, "Expires: 3600", "=40", 32.0..=40.0),
        (None, "Expires: 3600", "=0", 95.0..=120.0),
    ] {
        let mut bench = Bench::new(Transport::Tcp, instance);
        bench.accept(fields, keep);
        for _ in 0..10 {
            let (after, bytes) = bench.next_kept();
            assert!(range.contains(&after) && bytes == PING, "{fields} {keep}: {bytes:?} after {after}");
            bench.hear(SILENT);
        }
    }
    // Not asked for, so not in use.
    let mut bench = Bench::new(Transport::Tcp, None);
    bench.accept("Require: outbound\nFlow-Timer: 60", "");
    assert_eq!(bench.next_kept(), (25.0, SILENT.to_vec()));
}

#[test]
fn a_missed_pong_closes_the_connection_and_the_registration_is_renewed_over_a_new_one() {
    // RFC 5626 §4.4.1, §4.5.
    let mut bench = Bench::new(Transport::Tcp, None);
    bench.accept("Expires: 3600", "=40");
    bench.next_kept();
    let (after, did) = bench.next();
    assert!(matches!(did, Did::Closed) && (after - 10.0).abs() < 0.001, "{did:?} after {after}");
    bench.endpoint.handle_flow_closed(bench.flow, bench.now);
    let (after, did) = bench.next();
    assert!(matches!(did, Did::Register(_)) && after == 0.0, "{did:?} after {after}");
    bench.flow.connection = Some(ConnectionId(10));
    bench.accept("Expires: 3600", "=40");
    let (after, bytes) = bench.next_kept();
    assert!((32.0..=40.0).contains(&after) && bytes == PING);
}

#[test]
fn over_udp_stun_shows_that_the_way_is_open() {
    // RFC 5626 §4.4.2: 24 to 29 s; repeated within the 10 s.
    let mut bench = Bench::new(Transport::Udp, Some("urn:uuid:1"));
    bench.accept("Require: outbound", "");
    let us = addr("203.0.113.7:40000");
    for _ in 0..5 {
        let (after, request) = bench.next_kept();
        assert!((24.0..=29.0).contains(&after) && request[..8] == [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        let (after, again) = bench.next_kept();
        assert_eq!((after, &again), (0.5, &request), "the first copy was lost");
        bench.hear(&bound(&request, us));
    }
    // Silence, after it has shown that it answers: the flow is dead.
    let (_, request) = bench.next_kept();
    bench.did.clear();
    bench.hear(b"\r\n");
    bench.hear(&bound(&[0; 20], us));
    bench.pass(11);
    let copies = bench.did.iter().filter(|(_, did)| matches!(did, Did::Kept(b) if *b == request)).count();
    assert_eq!(copies, 4);
    assert!(matches!(bench.did[4].1, Did::Register(_)), "{:?}", bench.did);
}

#[test]
fn another_address_behind_the_nat_registers_anew() {
    let mut bench = Bench::new(Transport::Udp, None);
    bench.accept("Expires: 3600", "=30");
    for port in [40_000, 40_000, 40_001] {
        let (_, request) = bench.next_kept();
        bench.hear(&bound(&request, SocketAddr::from(([203, 0, 113, 7], port))));
    }
    let (after, did) = bench.next();
    assert!(matches!(did, Did::Register(_)) && after == 0.0, "{did:?} after {after}");
}

#[test]
fn who_agreed_but_never_answered_by_stun_gets_line_ends() {
    let mut bench = Bench::new(Transport::Udp, None);
    bench.accept("Expires: 3600", "=30");
    bench.pass(40);
    bench.did.clear();
    for _ in 0..5 {
        assert_eq!(bench.next_kept().1, SILENT);
    }
}

#[test]
fn nothing_is_sent_before_the_registration_and_after_it_is_gone() {
    let mut bench = Bench::new(Transport::Tcp, None);
    bench.pass(31);
    assert!(bench.did.iter().all(|(_, did)| matches!(did, Did::Register(_))), "{:?}", bench.did);
    bench.accept("Expires: 3600", "=40");
    bench.endpoint.handle_command(Command::Unregister(ID), bench.now, Wall(0));
    bench.drain();
    bench.accept("Expires: 0", "");
    bench.pass(600);
    assert!(bench.did.is_empty(), "{:?}", bench.did);
    assert!(bench.endpoint.is_drained());
}
