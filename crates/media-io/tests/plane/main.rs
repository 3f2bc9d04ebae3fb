//! The workers over loopback: real sockets, real threads. Waiting is always for a datagram or an event, with a deadline.
#![allow(clippy::unwrap_used, missing_docs)]

mod defects;
mod hostile;
mod load;
mod moves;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use media_bridge::control::{
    CallCommand, CallEvent, Codec, Command, Event, LegKind, LegParams, Refusal, Source,
};
use media_io::{MediaConfig, MediaPlane, NotTaken};
use types::{CallId, Entropy, LegId, WorkerId};

const DEADLINE: Duration = Duration::from_secs(10);
const LEG: LegId = LegId::CALLER;

/// Counts up; fails on purpose when told to.
struct TestEntropy {
    next: u8,
    fails: bool,
}

impl Entropy for TestEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        assert!(!self.fails, "a defect, for the test");
        for b in out {
            self.next = self.next.wrapping_mul(5).wrapping_add(37);
            *b = self.next;
        }
    }
}

struct Bench {
    plane: MediaPlane,
    events: Receiver<CallEvent>,
}

fn config(rtp_ports: RangeInclusive<u16>) -> MediaConfig {
    MediaConfig {
        workers: 2,
        webrtc_port: 0,
        candidates: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        rtp_ports,
        ..MediaConfig::default()
    }
}

impl Bench {
    fn start(rtp_ports: RangeInclusive<u16>) -> Bench {
        Bench::with(config(rtp_ports), false)
    }

    /// With `every_second_fails` the second call made on the plane has a defect in it.
    fn with(config: MediaConfig, every_second_fails: bool) -> Bench {
        let (sender, events) = sync_channel(1024);
        let made = std::sync::atomic::AtomicU8::new(0);
        let entropy = move || -> Box<dyn Entropy> {
            let n = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::new(TestEntropy { next: n, fails: every_second_fails && n % 2 == 1 })
        };
        let send = move |ready: &mut VecDeque<CallEvent>| {
            ready.drain(..).for_each(|event| drop(sender.try_send(event)));
        };
        Bench { plane: MediaPlane::start(config, Arc::new(entropy), Arc::new(send)).unwrap(), events }
    }

    fn tell(&self, call: u64, command: Command) {
        self.plane.send(WorkerId((call % 2) as u8), CallCommand { call: CallId(call), command }).unwrap();
    }

    /// The next event of the call that is not about counters.
    fn event(&self, call: u64) -> Event {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let CallEvent { call: CallId(id), event } = self.events.recv_timeout(left).expect("an event");
            if id == call && !matches!(event, Event::Stats { .. } | Event::Connected { .. }) {
                return event;
            }
        }
    }

    /// An echo leg towards `peer`; where our side of it listens.
    fn echo(&self, call: u64, peer: SocketAddr) -> Result<SocketAddr, Refusal> {
        let params = params();
        let (ip, port, family) = (peer.ip(), peer.port(), if peer.is_ipv4() { "IP4" } else { "IP6" });
        let ours = if peer.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
        let offer = format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        );
        self.tell(call, Command::Answer { leg: LEG, params, offer: offer.into_bytes() });
        self.tell(call, Command::SetSource { leg: LEG, source: Source::Echo });
        let event = self.event(call);
        if let Event::Refused { why, .. } = event {
            return Err(why);
        }
        let Event::LocalSdp { sdp, .. } = event else { panic!("unexpected {event:?}") };
        let sdp = String::from_utf8(sdp).unwrap();
        assert!(sdp.contains(&format!("c=IN {family} {ours}\r\n")), "{sdp}");
        let port = sdp.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap();
        Ok(SocketAddr::new(ours, port.parse().unwrap()))
    }
}

fn params() -> LegParams {
    LegParams { local: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ..LegParams::new(LegKind::Rtp, &[Codec::Pcmu]) }
}

fn phone() -> UdpSocket {
    phone_at(Ipv4Addr::LOCALHOST.into())
}

fn phone_at(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("this machine has the loopback address of both families");
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

fn rtp(seq: u16, byte: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&(u32::from(seq) * 160).to_be_bytes());
    packet.extend_from_slice(&[9, 9, 9, 9]);
    packet.extend_from_slice(&[byte; 160]);
    packet
}

/// Speaks until the own voice comes back.
fn hears_itself(phone: &UdpSocket, gateway: SocketAddr, voice: u8) -> bool {
    let mut buf = [0; 2000];
    (0..100).any(|seq| {
        phone.send_to(&rtp(seq, voice), gateway).unwrap();
        phone.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        std::iter::from_fn(|| phone.recv_from(&mut buf).ok().map(|(n, from)| (from, n, buf[12])))
            .any(|got| got == (gateway, 172, voice))
    })
}

#[test]
fn a_phone_hears_its_echo_and_the_port_comes_back_after_close() {
    let bench = Bench::start(18_000..=18_019);
    let phone = phone();
    let gateway = bench.echo(1, phone.local_addr().unwrap()).unwrap();
    assert_eq!(bench.plane.free_rtp_ports(), 9);
    assert!(hears_itself(&phone, gateway, 0x55));
    assert_eq!(bench.plane.counters().calls, 1);
    bench.tell(1, Command::Close);
    assert_eq!(bench.event(1), Event::Closed);
    assert_eq!(bench.plane.free_rtp_ports(), 10);
    assert_eq!(bench.plane.counters().calls, 0);
    assert!(UdpSocket::bind(gateway).is_ok(), "the socket is closed");
}

#[test]
fn a_phone_that_moves_between_the_address_families_hears_its_echo_in_each() {
    // RFC 6157 §4; signalling came over IPv4.
    let bench = Bench::start(18_090..=18_099);
    let [v6, v4] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()].map(phone_at);
    let first = bench.echo(1, v6.local_addr().unwrap()).unwrap();
    assert!(first.is_ipv6() && hears_itself(&v6, first, 0x11));
    assert_eq!(bench.plane.free_rtp_ports(), 4);
    let second = bench.echo(1, v4.local_addr().unwrap()).unwrap();
    assert!(second.is_ipv4() && hears_itself(&v4, second, 0x12));
    assert_eq!(bench.plane.free_rtp_ports(), 3, "one pair of each family");
    let third = bench.echo(1, v6.local_addr().unwrap()).unwrap();
    assert_eq!(third, first);
    assert!(hears_itself(&v6, third, 0x13));
    bench.tell(1, Command::Remove { leg: LEG });
    bench.tell(1, Command::SetAnswer { leg: LEG, answer: Vec::new() });
    assert!(matches!(bench.event(1), Event::Refused { why: Refusal::Unknown, .. }));
    assert_eq!(bench.plane.free_rtp_ports(), 5, "both are back");
}

#[test]
fn a_removed_leg_returns_its_port_while_the_call_lives() {
    let bench = Bench::start(18_020..=18_029);
    let phone = phone();
    bench.echo(1, phone.local_addr().unwrap()).unwrap();
    bench.tell(1, Command::Remove { leg: LEG });
    bench.tell(1, Command::SetAnswer { leg: LEG, answer: Vec::new() });
    assert!(matches!(bench.event(1), Event::Refused { why: Refusal::Unknown, .. }));
    assert_eq!(bench.plane.free_rtp_ports(), 5);
    assert_eq!(bench.plane.counters().calls, 1);
}

#[test]
fn with_every_port_in_use_a_leg_is_refused_in_words_and_the_others_go_on() {
    let bench = Bench::start(18_030..=18_033);
    let phones = [phone(), phone(), phone()];
    let first = bench.echo(1, phones[0].local_addr().unwrap()).unwrap();
    bench.echo(2, phones[1].local_addr().unwrap()).unwrap();
    let refused = bench.echo(3, phones[2].local_addr().unwrap());
    assert_eq!(refused, Err(Refusal::NoPort("Every RTP port of the configured range is in use.".to_owned())));
    assert_eq!(bench.plane.counters().no_port, 1);
    assert!(hears_itself(&phones[0], first, 0x44));
    bench.tell(2, Command::Close);
    assert_eq!(bench.event(2), Event::Closed);
    assert!(bench.echo(5, phones[2].local_addr().unwrap()).is_ok());
}

#[test]
fn a_refused_description_returns_its_port() {
    let bench = Bench::start(18_040..=18_043);
    let params = LegParams::new(LegKind::Rtp, &[Codec::Pcmu]);
    bench.tell(1, Command::Answer { leg: LEG, params, offer: b"nonsense".to_vec() });
    assert!(matches!(bench.event(1), Event::Refused { why: Refusal::Unparsable(_), .. }));
    bench.tell(1, Command::Close);
    assert_eq!(bench.event(1), Event::Closed);
    assert_eq!(bench.plane.free_rtp_ports(), 2);
}

#[test]
fn a_defect_in_one_call_ends_that_call_alone() {
    let one_worker = MediaConfig { workers: 1, ..config(18_050..=18_059) };
    let bench = Bench::with(one_worker, true);
    let good = phone();
    // Calls 0 and 2 share the worker.
    let gateway = bench.echo(0, good.local_addr().unwrap()).unwrap();
    bench.tell(2, Command::Offer { leg: LEG, params: params() });
    assert_eq!(bench.event(2), Event::Crashed);
    assert_eq!(bench.event(2), Event::Closed);
    assert_eq!(bench.plane.counters().crashed, 1);
    assert_eq!(bench.plane.free_rtp_ports(), 4, "its ports are back");
    assert!(hears_itself(&good, gateway, 0x33));
}

#[test]
fn unknown_calls_are_answered_and_unknown_datagrams_counted() {
    let bench = Bench::start(18_060..=18_063);
    bench.tell(4, Command::Close);
    assert_eq!(bench.event(4), Event::Closed);
    bench.tell(4, Command::SetAnswer { leg: LEG, answer: Vec::new() });
    assert_eq!(bench.event(4), Event::Refused { leg: LEG, why: Refusal::Unknown });
    let stranger = phone();
    let browser_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bench.plane.webrtc_ports()[0]);
    for junk in [&b"hello"[..], &[0, 1, 0, 0], &[22; 100], &[128; 200]] {
        stranger.send_to(junk, browser_port).unwrap();
    }
    let deadline = Instant::now() + DEADLINE;
    while bench.plane.counters().browser_unknown < 4 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(bench.plane.worker_counters(WorkerId(0)).browser_unknown, 4);
    assert!(stranger.recv_from(&mut [0; 100]).is_err(), "strangers get no answer");
}

#[test]
fn a_port_in_use_is_said_in_one_sentence() {
    let squatter = UdpSocket::bind("0.0.0.0:18071").unwrap();
    let config = MediaConfig { webrtc_port: 18_070, ..config(18_072..=18_075) };
    let entropy = || -> Box<dyn Entropy> { Box::new(TestEntropy { next: 0, fails: false }) };
    let refused =
        MediaPlane::start(config, Arc::new(entropy), Arc::new(|_: &mut VecDeque<CallEvent>| {})).unwrap_err();
    let port = squatter.local_addr().unwrap().port();
    let expected = format!("UDP port {port} on 0.0.0.0 for browser media is in use by another program.");
    assert_eq!(refused.to_string(), expected);
    assert!(UdpSocket::bind("0.0.0.0:18070").is_ok(), "what had started was stopped");
}

#[test]
fn stopping_ends_every_call_and_joins_the_threads() {
    let bench = Bench::start(18_080..=18_089);
    let phone = phone();
    let gateway = bench.echo(1, phone.local_addr().unwrap()).unwrap();
    let port = bench.plane.webrtc_ports()[1];
    bench.plane.stop();
    assert!(bench.events.try_iter().any(|e| e.event == Event::Closed));
    assert!(UdpSocket::bind(gateway).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok());
}
