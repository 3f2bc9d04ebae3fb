//! What a browser session costs until it is connected, and what it holds from then on: our side alone, on one core, in
//! virtual time. The browser's side runs in between and is not timed.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::wildcard_enum_match_arm, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::certificate::generate_self_signed_certificate;
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use is::Sha1HmacProvider;
use is::stun::{StunMessage, TransId};
use webrtc_peer::{Demux, Peer, PeerFactory, PeerOutput, PeerParams};

/// Sessions of one row.
const SESSIONS: usize = 1_000;
/// Sessions before any is timed.
const WARM: usize = 100;

const OURS: ([u8; 4], u16) = ([192, 0, 2, 1], 5_000);
const THEIRS: ([u8; 4], u16) = ([198, 51, 100, 7], 6_000);
const PASSWORD: &str = "our-password-of-enough-length";

/// Time that our side took.
#[derive(Default)]
struct Spent(Duration);

impl Spent {
    fn on<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let done = work();
        self.0 += begin.elapsed();
        done
    }
}

/// The browser's half of DTLS.
struct Client {
    dtls: Dtls,
    buf: Vec<u8>,
    connected: bool,
}

/// What all clients share, as a browser does: making it is not part of a session.
struct Clients {
    config: Arc<Config>,
    certificate: DtlsCertificate,
}

impl Clients {
    fn new() -> Clients {
        let config = Arc::new(Config::builder().use_server_cookie(false).build().unwrap());
        Clients { config, certificate: generate_self_signed_certificate().unwrap() }
    }

    fn one(&self, make: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls, now: Instant) -> Client {
        let mut dtls = make(self.config.clone(), self.certificate.clone(), now);
        dtls.set_active(true);
        dtls.handle_timeout(now).unwrap();
        Client { dtls, buf: vec![0; 2_000], connected: false }
    }
}

impl Client {
    fn drain(&mut self) -> Vec<Vec<u8>> {
        drain(&mut self.dtls, &mut self.buf, &mut self.connected)
    }
}

/// The datagrams of one side.
fn drain(dtls: &mut Dtls, buf: &mut [u8], connected: &mut bool) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    loop {
        match dtls.poll_output(buf) {
            Output::Packet(packet) => datagrams.push(packet.to_vec()),
            Output::Connected => *connected = true,
            Output::Timeout(_) => return datagrams,
            _ => {}
        }
    }
}

/// A nominating check (RFC 8445 §7.2.2).
fn check(ufrag: &str) -> Vec<u8> {
    let username = format!("{ufrag}:theirs");
    let message = StunMessage::binding_request(&username, TransId::new(), true, 1, 100, true);
    let mut buf = vec![0; 1_500];
    let hmac = |key: &[u8], parts: &[&[u8]]| is::DefaultSha1HmacProvider.sha1_hmac(key, parts);
    let len = message.to_bytes(Some(PASSWORD.as_bytes()), &mut buf, hmac).unwrap();
    buf.truncate(len);
    buf
}

/// One session of the product, from its description to its keys.
fn session(factory: &PeerFactory, demux: &mut Demux<usize>, clients: &Clients, n: usize) -> (Peer, Duration) {
    let now = Instant::now();
    let (mut spent, mut buf) = (Spent::default(), Vec::with_capacity(1_500));
    let ufrag = format!("ufrag{n}");
    let params = PeerParams {
        candidates: vec![OURS.into()],
        local_ufrag: ufrag.clone(),
        local_pwd: PASSWORD.to_owned(),
        remote_ufrag: "theirs".to_owned(),
        remote_pwd: "their-password-of-enough-length".to_owned(),
        remote_fingerprint: ("sha-256".to_owned(), clients.certificate.fingerprint()),
        active: false,
    };
    let mut peer = spent.on(|| {
        demux.insert_ufrag(&ufrag, PASSWORD, n);
        Peer::new(factory, params, now).unwrap()
    });
    let mut client = clients.one(Dtls::new_12, now);
    let mut to_us = vec![check(&ufrag)];
    while !(peer.is_connected() && client.connected) {
        to_us.extend(client.drain());
        for data in std::mem::take(&mut to_us) {
            let answers = spent.on(|| {
                assert_eq!(demux.lookup(SocketAddr::from(THEIRS), &data), Some(n));
                peer.handle_datagram((OURS.into(), THEIRS.into()), &data, now);
                let mut answers = Vec::new();
                while let Some(output) = peer.poll_output(&mut buf) {
                    if matches!(output, PeerOutput::Transmit(_)) {
                        answers.push(buf.clone());
                    }
                }
                answers
            });
            for answer in answers.iter().filter(|answer| answer[0] > 3) {
                client.dtls.handle_packet(answer).unwrap();
            }
        }
    }
    (peer, spent.0)
}

/// DTLS alone, with both sides of one version.
fn handshake(
    make: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls,
    server: &Clients,
    clients: &Clients,
) -> Duration {
    let now = Instant::now();
    let (mut spent, mut connected, mut buf) = (Spent::default(), false, vec![0; 2_000]);
    let mut client = clients.one(make, now);
    let mut dtls = spent.on(|| {
        let mut dtls = make(server.config.clone(), server.certificate.clone(), now);
        dtls.handle_timeout(now).unwrap();
        dtls
    });
    while !(connected && client.connected) {
        for data in client.drain() {
            let answers = spent.on(|| {
                dtls.handle_packet(&data).unwrap();
                drain(&mut dtls, &mut buf, &mut connected)
            });
            for answer in answers {
                client.dtls.handle_packet(&answer).unwrap();
            }
        }
    }
    spent.0
}

/// Median microseconds.
fn median(mut all: Vec<Duration>) -> f64 {
    all.sort();
    all[all.len() / 2].as_nanos() as f64 / 1_000.0
}

/// Resident memory of the process in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4_096.0
}

fn main() {
    let (factory, clients, server) = (PeerFactory::new().unwrap(), Clients::new(), Clients::new());
    let mut demux = Demux::default();
    for n in 0..WARM {
        session(&factory, &mut demux, &clients, n);
        demux.remove(n);
    }
    let (mut kept, mut times) = (Vec::with_capacity(SESSIONS), Vec::with_capacity(SESSIONS));
    let before = resident();
    let counted = allocation_counter::measure(|| {
        for n in 0..SESSIONS {
            let (peer, time) = session(&factory, &mut demux, &clients, n);
            times.push(time);
            kept.push(peer);
        }
    });
    let grown = resident() - before;
    let row = |name: &str, us: f64| println!("| {name} | {us:.0} | {:.0} |", 1e6 / us);
    println!("\nprocessor time of our side until a session is connected (median of {SESSIONS})\n");
    println!("| | us | a second, one core |\n|---|---:|---:|");
    row("ICE and DTLS 1.2, as the gateway does it", median(times));
    for (name, make) in
        [("DTLS 1.2 alone", Dtls::new_12 as fn(_, _, _) -> _), ("DTLS 1.3 alone", Dtls::new_13)]
    {
        let times = (0..WARM + SESSIONS).map(|_| handshake(make, &server, &clients)).skip(WARM).collect();
        row(name, median(times));
    }
    let each = |bytes: f64| bytes / SESSIONS as f64 / 1_024.0;
    println!("\nmemory of a connected session, demultiplexer included\n");
    println!("| | KiB |\n|---|---:|");
    println!("| allocated by Rust | {:.1} |", each(counted.bytes_current as f64));
    println!("| resident, C and what the allocator keeps included | {:.1} |", each(grown));
    drop(kept);
}
