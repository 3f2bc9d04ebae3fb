//! What anyone sends to our ports: it is dropped and counted, leaves nothing behind, and no other call notices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use media_bridge::control::{LegStats, Srtp};
use media_bridge::srtp::{Keys, Sender, Suite};

use super::*;

const BROWSER_OFFER: &[u8] =
    include_bytes!("../../../media-bridge/src/sdp/fixtures/chromium_audio_video.sdp");
/// Packets of the flood at the browsers' port, and of that beside which phones speak.
const FLOOD: u64 = 100_000;
const FLOOD_BESIDE: u64 = 20_000;
/// Sent before the worker has to have taken them: what fits the socket's buffer.
const BURST: u64 = 25;

fn one_worker(rtp_ports: RangeInclusive<u16>) -> Bench {
    Bench::with(MediaConfig { workers: 1, ..config(rtp_ports) }, false)
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Who floods, and what phones say meanwhile.
struct Flood<'a> {
    plane: &'a MediaPlane,
    from: &'a [UdpSocket],
    /// Packets of the phones: counted before they are sent.
    said: AtomicU64,
    over: AtomicBool,
}

impl Flood<'_> {
    fn new<'a>(bench: &'a Bench, from: &'a [UdpSocket]) -> Flood<'a> {
        Flood { plane: &bench.plane, from, said: AtomicU64::new(0), over: AtomicBool::new(false) }
    }

    /// All that the worker has taken from its sockets and no phone has sent.
    fn taken(&self) -> u64 {
        let said = self.said.load(Ordering::Acquire);
        let c = self.plane.counters();
        (c.browser_in + c.rtp_in).saturating_sub(said)
    }

    /// Sends `packets` to `to` in turn, no faster than the worker takes them. Two of the phones' may be under way.
    fn run(&self, count: u64, to: &[SocketAddr], packets: &[Vec<u8>]) {
        let over = Over(&self.over);
        let before = self.taken();
        for n in 0..count {
            let (turn, packet) = (n as usize / packets.len(), n as usize % packets.len());
            self.from[turn % self.from.len()].send_to(&packets[packet], to[turn % to.len()]).unwrap();
            if n % BURST == BURST - 1 {
                wait("the flood is taken", || self.taken() + BURST > before + n);
            }
        }
        wait("all of the flood is taken", || self.taken() + 2 >= before + count);
        drop(over);
    }

    /// A phone speaks until the flood is over; how many packets, and how many of them came back.
    fn beside(&self, phone: &UdpSocket, gateway: SocketAddr) -> (u64, u64) {
        let (mut said, mut heard) = (0, 0);
        while !self.over.load(Ordering::Relaxed) || said < 100 {
            self.said.fetch_add(1, Ordering::Release);
            heard += echoed(phone, gateway, said as u16);
            said += 1;
        }
        (said, heard)
    }
}

/// The flood is over when this is dropped, also by a failure.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A call's last counters: it is closed.
fn last_stats(bench: &Bench, call: u64) -> LegStats {
    bench.tell(call, Command::Close);
    let mut last = None;
    loop {
        let CallEvent { call: CallId(id), event } = bench.events.recv_timeout(DEADLINE).expect("an event");
        if id != call {
            continue;
        }
        if event == Event::Closed {
            return last.expect("counters before the end");
        }
        if let Event::Stats { stats, .. } = event {
            last = Some(stats);
        }
    }
}

/// Says one packet and waits for it to come back: 1 if it does.
fn echoed(phone: &UdpSocket, gateway: SocketAddr, seq: u16) -> u64 {
    phone.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    phone.send_to(&rtp(seq, seq as u8), gateway).unwrap();
    let mut buf = [0; 2000];
    // Silence of ours may come before it.
    while let Ok((n, from)) = phone.recv_from(&mut buf) {
        assert_eq!(from, gateway);
        if n == 172 && buf[12] == seq as u8 {
            return 1;
        }
    }
    0
}

fn garbage() -> Vec<Vec<u8>> {
    let mut all = vec![
        vec![0],
        vec![0x80],
        vec![0x80; 11],
        vec![0xff; 40],
        rtp(7, 1)[..12].to_vec(),
        // More CSRCs, a longer header extension, more padding than there is.
        [&[0x8f][..], &rtp(8, 1)[1..20]].concat(),
        [&[0x90][..], &rtp(9, 1)[1..30]].concat(),
        [&[0xa0][..], &rtp(10, 0xff)[1..]].concat(),
        rtp(11, 1),
        // A report of 31 blocks that are not there, and the end of someone's stream.
        vec![0x9f, 201, 0, 187, 0, 0, 0, 1],
        vec![0x81, 203, 0, 1, 9, 9, 9, 9],
        vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50, 1, 0, 0, 38],
        vec![0x80; 1_900],
    ];
    all.push(vec![0x80; 9_000]);
    all
}

#[test]
fn a_flood_at_the_ports_of_a_call_is_dropped_and_no_packet_of_any_call_is_lost() {
    let bench = one_worker(18_600..=18_619);
    let [attacked, other] = [phone(), phone()];
    let at = bench.echo(0, attacked.local_addr().unwrap()).unwrap();
    let beside = bench.echo(2, other.local_addr().unwrap()).unwrap();
    let rtcp = SocketAddr::new(at.ip(), at.port() + 1);
    let browser = SocketAddr::new(at.ip(), bench.plane.webrtc_ports()[0]);
    // Another address of this host: neither the description nor signalling names it.
    let strangers: Vec<UdpSocket> =
        (0..4).map(|n| phone_at(Ipv4Addr::new(127, 0, 66, 1 + n).into())).collect();
    let flood = Flood::new(&bench, &strangers);
    let heard = std::thread::scope(|scope| {
        let phones = [(&attacked, at), (&other, beside)].map(|(phone, gateway)| {
            let flood = &flood;
            scope.spawn(move || flood.beside(phone, gateway))
        });
        flood.run(FLOOD_BESIDE, &[at, rtcp, browser], &garbage());
        phones.map(|phone| phone.join().unwrap())
    });
    for (said, heard) in heard {
        assert_eq!(said, heard, "all that was said came back");
    }
    for stranger in &strangers {
        stranger.set_nonblocking(true).unwrap();
        assert!(stranger.recv_from(&mut [0; 100]).is_err(), "strangers get no answer");
    }
    assert_eq!(bench.plane.counters().calls, 2);
    let [attacked, beside] = [0, 2].map(|call| last_stats(&bench, call));
    assert!(attacked.rejected > FLOOD_BESIDE / 3, "{attacked:?}");
    assert_eq!((beside.rejected, beside.lost), (0, 0));
    let c = bench.plane.counters();
    assert_eq!(c.wrong_source + c.damaged, attacked.rejected, "{c:?}");
    assert!(c.wrong_source > 0 && c.damaged > 0 && c.wrong_size > 0 && c.browser_unknown > 0, "{c:?}");
    assert_eq!(bench.plane.free_rtp_ports(), 10);
}

#[test]
fn a_flood_at_the_browsers_port_is_nobodys_though_it_names_a_session() {
    let bench = one_worker(18_620..=18_629);
    let params = LegParams { kind: LegKind::WebRtc, codecs: vec![Codec::Opus], ..params() };
    bench.tell(0, Command::Answer { leg: LEG, params, offer: BROWSER_OFFER.to_vec() });
    let Event::LocalSdp { sdp, .. } = bench.event(0) else { panic!("no answer") };
    let sdp = String::from_utf8(sdp).unwrap();
    let ufrag = sdp.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).unwrap();
    let port = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bench.plane.webrtc_ports()[0]);
    let mut packets = garbage();
    packets.push(forged_check(&format!("{ufrag}:Vq9t")));
    packets.push(forged_check("else:Vq9t"));
    let strangers: Vec<UdpSocket> = (0..50).map(|_| phone()).collect();
    Flood::new(&bench, &strangers).run(FLOOD, &[port], &packets);
    // The last one is counted as come a moment before it is counted as nobody's.
    let until = Instant::now() + Duration::from_secs(5);
    let mut c = bench.plane.counters();
    while c.browser_unknown + c.wrong_size < FLOOD && Instant::now() < until {
        c = bench.plane.counters();
    }
    assert_eq!(c.browser_unknown + c.wrong_size, FLOOD, "{c:?}");
    assert!(c.wrong_size > FLOOD / 20, "{c:?}");
    assert_eq!((c.browser_out, c.crashed), (0, 0), "nobody is answered");
}

/// A binding request for a session, its MESSAGE-INTEGRITY made up (RFC 8489 §14.5).
fn forged_check(username: &str) -> Vec<u8> {
    let mut attributes = vec![0, 6, 0, username.len() as u8];
    attributes.extend_from_slice(username.as_bytes());
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    attributes.extend_from_slice(&[0, 0x24, 0, 4, 0, 0, 0, 100, 0, 0x25, 0, 0, 0, 8, 0, 20]);
    attributes.extend_from_slice(&[0x5a; 20]);
    let mut packet = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
    packet.extend_from_slice(&[7; 12]);
    packet.extend_from_slice(&attributes);
    packet
}

/// RFC 3711 §3.3.2: what is not authentic, or was there before, is dropped before anything changes.
#[test]
fn without_the_key_a_stream_is_not_heard_not_even_from_the_peers_own_address() {
    let bench = one_worker(18_630..=18_639);
    let phone = phone();
    let at = phone.local_addr().unwrap();
    let secret = [0; 30];
    let key = "A".repeat(40);
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {} RTP/SAVP 0\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n",
        at.port(),
        ip = at.ip()
    );
    let params = LegParams { srtp: Srtp::Required, ..params() };
    bench.tell(0, Command::Answer { leg: LEG, params, offer: offer.into_bytes() });
    bench.tell(0, Command::SetSource { leg: LEG, source: Source::Echo });
    let Event::LocalSdp { sdp, .. } = bench.event(0) else { panic!("no answer") };
    let sdp = String::from_utf8(sdp).unwrap();
    let port = sdp.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let gateway = SocketAddr::new(at.ip(), port);
    let suite = Suite::AesCm128HmacSha1_80;
    let mut sender = Sender::new(&Keys::new(suite, &secret).unwrap());
    let mut wrong = Sender::new(&Keys::new(suite, &[1; 30]).unwrap());
    let sealed = |sender: &mut Sender, seq| {
        let mut packet = rtp(seq, 0x44);
        sender.protect_rtp(&mut packet).unwrap();
        packet
    };
    let good: Vec<_> = (0..50).map(|seq| sealed(&mut sender, seq)).collect();
    let mut sent = 0;
    for (seq, packet) in (0..).zip(&good) {
        // Before it: another key, no key, damaged; after it: again.
        let mut damaged = packet.clone();
        damaged[20] ^= 1;
        for packet in [&sealed(&mut wrong, seq), &rtp(seq, 0x44), &damaged, packet, packet] {
            phone.send_to(packet, gateway).unwrap();
            sent += 1;
        }
        wait("taken", || bench.plane.counters().rtp_in >= sent);
    }
    let stats = last_stats(&bench, 0);
    assert_eq!((stats.packets_in, stats.rejected, stats.lost), (50, 200, 0), "{stats:?}");
    let c = bench.plane.counters();
    // A plain packet is too short to hold a tag, or holds a wrong one; either way nobody made it who has the key.
    assert_eq!((c.not_authentic, c.replayed, c.damaged, c.wrong_source), (150, 50, 0, 0), "{c:?}");
}

#[test]
fn what_comes_after_the_end_of_a_call_meets_a_closed_port() {
    let bench = one_worker(18_640..=18_649);
    let late = phone();
    let gateway = bench.echo(0, late.local_addr().unwrap()).unwrap();
    assert!(hears_itself(&late, gateway, 0x33));
    last_stats(&bench, 0);
    let before = bench.plane.counters();
    for seq in 500..600 {
        // The system may say that nobody is there.
        let _ = late.send_to(&rtp(seq, 0x33), gateway);
    }
    // The worker has gone on meanwhile.
    let next = phone();
    let gateway = bench.echo(2, next.local_addr().unwrap()).unwrap();
    assert_eq!(echoed(&next, gateway, 1), 1);
    last_stats(&bench, 2);
    assert_eq!((bench.plane.counters().rtp_in, bench.plane.free_rtp_ports()), (before.rtp_in + 1, 5));
}

/// The worst case: one pair of ports, so that the next call has those of the last, whose peer goes on speaking.
#[test]
fn late_packets_of_an_ended_call_do_not_disturb_the_next_one_on_its_port() {
    for (round, late_at) in [(0, [127, 0, 0, 1]), (1, [127, 0, 66, 1])] {
        let bench = one_worker(18_650 + 2 * round..=18_651 + 2 * round);
        let late = phone_at(IpAddr::from(late_at));
        let first = bench.echo(0, late.local_addr().unwrap());
        let first = first.unwrap();
        assert!(hears_itself(&late, first, 0x33));
        last_stats(&bench, 0);
        let next = phone();
        let gateway = bench.echo(2, next.local_addr().unwrap()).unwrap();
        assert_eq!(gateway.port(), first.port());
        let mut heard = 0;
        for seq in 0..100 {
            let _ = late.send_to(&rtp(700 + seq, 0x33), gateway);
            heard += echoed(&next, gateway, 2_000 + seq);
        }
        assert_eq!(heard, 100);
        let stats = last_stats(&bench, 2);
        assert!(stats.packets_in >= 100 && stats.rejected >= 97, "{stats:?}");
    }
}
