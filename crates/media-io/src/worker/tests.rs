//! A worker's own turns on the test's thread, over real sockets, so that what the thread allocates can be counted.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, sync_channel};

use media_bridge::control::{
    Bandwidth, CallCommand, CallEvent, Codec, Command, Event, LegKind, LegParams, Source,
};
use types::{CallId, Entropy, LegId};

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LEGS: [LegId; 2] = [LegId(0), LegId(1)];
/// Packets after which a call is warm.
const WARM: u16 = 50;

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
}

/// A worker that turns when it is told to, and a phone at either end of its one call.
struct Turning {
    worker: Worker,
    ready: Ready,
    orders: Arc<Handover<Order>>,
    events: Receiver<CallEvent>,
    phones: [UdpSocket; 2],
    gateway: [SocketAddr; 2],
    browsers: SocketAddr,
    sequence: u16,
}

impl Turning {
    /// The pairs of ports of the range are the call's.
    fn call(ports: RangeInclusive<u16>, codecs: [Codec; 2]) -> Turning {
        let config = MediaConfig { rtp_ports: ports, rtp_bind: LOOPBACK, ..MediaConfig::default() };
        let browser = BrowserSocket::bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
        let browsers = browser.bound();
        let (poller, waker) = listen(&browser).unwrap();
        let tcp = TcpBrowsers::new(poller.clone(), None).unwrap();
        let tally = Arc::new(Tally::default());
        let post = Arc::new(Post::new(vec![(browser, waker, tally.clone())]));
        let (sender, events) = sync_channel(1024);
        let send = move |ready: &mut VecDeque<CallEvent>| {
            ready.drain(..).for_each(|event| drop(sender.try_send(event)));
        };
        let shared = Shared {
            peers: PeerFactory::new().unwrap(),
            pool: PortPool::new(&config.rtp_ports),
            config,
            entropy: Arc::new(|| Box::new(Zeros)),
            events: Arc::new(send),
            stopping: Arc::default(),
            tally,
        };
        let orders = Arc::new(Handover::new(64));
        let worker = Worker::new(0, post, poller, tcp, orders.clone(), shared);
        let phones = [(); 2].map(|()| UdpSocket::bind((LOOPBACK, 0)).unwrap());
        phones.iter().for_each(|phone| phone.set_nonblocking(true).unwrap());
        let ready = Ready::new();
        let gateway = [browsers; 2];
        let mut made = Turning { worker, ready, orders, events, phones, gateway, browsers, sequence: 0 };
        made.gateway = [0, 1].map(|side| made.answer(side, codecs[side]));
        for (leg, other) in [(LEGS[0], LEGS[1]), (LEGS[1], LEGS[0])] {
            made.tell(Command::SetSource { leg, source: Source::Leg(other) });
        }
        made
    }

    fn tell(&self, command: Command) {
        assert!(self.orders.give(Order::Call(CallCommand { call: CallId(1), command })).is_ok());
    }

    fn turn(&mut self) {
        self.worker.turn(&mut self.ready).unwrap();
    }

    /// Makes the leg of a phone; where that one sends.
    fn answer(&mut self, side: usize, codec: Codec) -> SocketAddr {
        let params = LegParams {
            bandwidth: Bandwidth::Narrow,
            local: Some(LOOPBACK),
            ..LegParams::new(LegKind::Rtp, &[codec])
        };
        let (port, number) = (self.phones[side].local_addr().unwrap().port(), payload_type(codec));
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {number} 101\r\n\
             a=rtpmap:101 telephone-event/8000\r\n"
        );
        self.tell(Command::Answer { leg: LEGS[side], params, offer: offer.into_bytes() });
        self.worker.poller.wait(&mut self.ready, Some(Duration::ZERO)).unwrap();
        self.worker.left.orders = true;
        self.turn();
        let Event::LocalSdp { sdp, .. } = self.events.try_recv().unwrap().event else { panic!("no answer") };
        let sdp = String::from_utf8(sdp).unwrap();
        let port = sdp.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap();
        SocketAddr::new(LOOPBACK, port.parse().unwrap())
    }

    /// A packet of a phone.
    fn say(&self, side: usize, codec: Codec) {
        let mut packet = [0x55; 172];
        packet[..2].copy_from_slice(&[0x80, payload_type(codec)]);
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&[9; 4]);
        self.phones[side].send_to(&packet, self.gateway[side]).unwrap();
    }

    /// Turns until a phone hears something.
    fn hears(&mut self, side: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut buf = [0; 2048];
        while self.phones[side].recv(&mut buf).is_err() {
            assert!(Instant::now() < deadline, "the phone hears nothing");
            self.turn();
        }
    }

    /// Both phones speak and hear.
    fn converse(&mut self, codecs: [Codec; 2], packets: u16) {
        for _ in 0..packets {
            self.sequence += 1;
            self.say(0, codecs[0]);
            self.say(1, codecs[1]);
            self.hears(0);
            self.hears(1);
        }
    }

    fn counters(&self) -> crate::Counters {
        self.worker.tally.read()
    }
}

/// A connectivity check for a ufrag that is not ours (RFC 8489 §5): USERNAME, PRIORITY and MESSAGE-INTEGRITY.
fn check_of_nobody() -> Vec<u8> {
    let mut check = vec![0, 1, 0, 44, 0x21, 0x12, 0xa4, 0x42];
    check.extend_from_slice(&[7; 12]);
    check.extend_from_slice(b"\x00\x06\x00\x08abc:defg");
    check.extend_from_slice(&[0, 0x24, 0, 4, 1, 2, 3, 4]);
    check.extend_from_slice(&[0, 8, 0, 20]);
    check.extend_from_slice(&[9; 20]);
    check
}

fn payload_type(codec: Codec) -> u8 {
    if codec == Codec::Pcma { 8 } else { 0 }
}

fn allocations(act: impl FnOnce()) -> u64 {
    allocation_counter::measure(act).count_total
}

#[test]
fn a_turn_of_a_worker_allocates_nothing_after_warm_up() {
    for (ports, codecs) in
        [(18_200..=18_203, [Codec::Pcmu, Codec::Pcmu]), (18_204..=18_207, [Codec::Pcmu, Codec::Pcma])]
    {
        let mut turning = Turning::call(ports, codecs);
        turning.converse(codecs, WARM);
        let before = turning.counters().rtp_out;
        assert_eq!(allocations(|| turning.converse(codecs, 500)), 0, "{codecs:?}");
        assert!(turning.counters().rtp_out >= before + 1_000);
        // The phones pause: timers make up what is missing, and then silence.
        let pause = |turning: &mut Turning| (0..8).for_each(|n| turning.hears(n % 2));
        pause(&mut turning);
        assert_eq!(allocations(|| pause(&mut turning)), 0, "{codecs:?}, paused");
    }
}

#[test]
fn a_flood_from_strangers_is_counted_allocates_nothing_and_leaves_no_state() {
    let codecs = [Codec::Pcmu, Codec::Pcmu];
    let mut turning = Turning::call(18_208..=18_211, codecs);
    turning.converse(codecs, WARM);
    let stranger = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let stun = check_of_nobody();
    let (dtls, rtp, large) = ([22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0x80; 172], [0x80; 2_100]);
    let junk: [&[u8]; 5] = [&stun, &dtls, &rtp, &large, b""];
    let flood = |turning: &mut Turning, times: usize| {
        for _ in 0..times {
            for datagram in junk {
                stranger.send_to(datagram, turning.browsers).unwrap();
                stranger.send_to(datagram, turning.gateway[0]).unwrap();
            }
            turning.converse(codecs, 1);
        }
    };
    flood(&mut turning, 10);
    assert_eq!(allocations(|| flood(&mut turning, 200)), 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while turning.counters().wrong_size < 210 * 3 && Instant::now() < deadline {
        turning.worker.left.sockets = true;
        turning.turn();
    }
    let counters = turning.counters();
    assert_eq!(counters.browser_in, 210 * 5);
    assert_eq!(counters.browser_unknown, 210 * 3);
    assert_eq!(counters.wrong_size, 210 * 3, "large ones on both sockets, empty ones on that of browsers");
    assert_eq!(counters.browser_out, 0);
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 2048]).is_err(), "strangers get no answer");
}

#[test]
fn who_floods_one_socket_takes_no_turn_from_another() {
    let codecs = [Codec::Pcmu, Codec::Pcmu];
    let mut turning = Turning::call(18_212..=18_215, codecs);
    turning.converse(codecs, WARM);
    let stranger = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    for _ in 0..100 {
        stranger.send_to(&[0x80; 172], turning.gateway[0]).unwrap();
        stranger.send_to(&[0x80; 172], turning.browsers).unwrap();
    }
    while turning.phones[0].recv(&mut [0; 2048]).is_ok() {}
    turning.sequence += 1;
    turning.say(1, Codec::Pcmu);
    turning.turn();
    assert!(turning.phones[0].recv(&mut [0; 2048]).is_ok(), "one turn is enough");
    assert!(
        turning.counters().rtp_in < 2 * u64::from(WARM) + 5,
        "of the flood one packet is taken in a turn"
    );
}

#[test]
fn timers_wait_until_what_has_come_is_read_but_a_flood_does_not_stop_them() {
    let Turning { mut worker, .. } = Turning::call(18_212..=18_215, [Codec::Pcmu, Codec::Pcmu]);
    let after = |ms| worker.caught_up + Duration::from_millis(ms);
    let [soon, late, later, over, then] = [1, 100, 150, 160, 161].map(after);
    for left in [Left { mail: true, ..Left::default() }, Left { sockets: true, ..Left::default() }] {
        worker.caught_up = soon - Duration::from_millis(1);
        worker.left = left;
        assert_eq!(
            [soon, late, later].map(|now| worker.may_fire_timers(now)),
            [false, true, false],
            "{left:?}"
        );
        worker.left = Left::default();
        assert!([over, then].map(|now| worker.may_fire_timers(now)).iter().all(|may| *may));
    }
    worker.left = Left { orders: true, ..Left::default() };
    assert!(worker.may_fire_timers(then + BEHIND), "commands do not make sound");
}
