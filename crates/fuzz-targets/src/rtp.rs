use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use media_bridge::rtp::{
    Admit, Arrival, Head, InStats, Incoming, Latch, LatchVerdict, OutStream, Reorder, RtpHeader, RtpPacket,
    SourceId, is_rtcp,
};

use crate::mutate::Random;

const SIGNALLING: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 5));

/// The same bytes twice: as one packet, and as the arrivals of a stream, eight bytes each.
pub fn fuzz_rtp(data: &[u8]) {
    packet(data);
    let mut stream = Stream::new();
    for arrival in data.chunks_exact(8).take(500) {
        stream.arrive(arrival);
    }
    stream.end();
}

/// What is read lies within the packet and is read again as it is written.
fn packet(data: &[u8]) {
    let Ok(packet) = RtpPacket::parse(data) else { return };
    assert!(!is_rtcp(data) && packet.payload.len() + 12 <= data.len());
    let RtpPacket { payload_type, marker, sequence, timestamp, ssrc, header, payload } = packet;
    assert_eq!(data[header..][..payload.len()], *payload);
    let mut written = Vec::new();
    RtpHeader { payload_type, marker, sequence, timestamp, ssrc }.write(&mut written);
    written.extend_from_slice(payload);
    assert_eq!(RtpPacket::parse(&written), Ok(RtpPacket { header: 12, ..packet }));
}

/// A received stream: its latch, its statistics, its order, and the stream that it is forwarded to.
struct Stream {
    now: Instant,
    latch: Latch,
    stats: InStats,
    reorder: Reorder,
    out: OutStream,
    /// Numbers that were sent.
    sent: BTreeSet<u64>,
    /// The number that is next in order.
    next: Option<u64>,
    arrived: u64,
}

impl Stream {
    fn new() -> Stream {
        let now = Instant::now();
        Stream {
            now,
            latch: Latch::new(address(0), Some(SIGNALLING)),
            stats: InStats::new(8_000),
            reorder: Reorder::new(),
            out: OutStream::new(&mut Random(3), 8_000, 160),
            sent: BTreeSet::new(),
            next: None,
            arrived: 0,
        }
    }

    fn arrive(&mut self, bytes: &[u8]) {
        let [who, how, wait, sequence_high, sequence, timestamp @ ..] = bytes else { return };
        self.now += Duration::from_millis(u64::from(*wait) >> (how & 3));
        let packet = RtpPacket {
            payload_type: 0,
            marker: how & 4 != 0,
            sequence: u16::from_be_bytes([*sequence_high, *sequence]),
            timestamp: timestamp.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)) << (how >> 6 << 2),
            ssrc: u32::from(how >> 4 & 1),
            header: 12,
            payload: &[0x7f; 160],
        };
        let source = address(who % 8);
        let verdict = self.latch.check(source, &packet, how & 8 == 0);
        self.aim();
        if who % 8 >= 6 {
            assert_eq!(verdict, LatchVerdict::Refused, "an outsider at {source}");
        }
        if who & 0x80 != 0 {
            self.latch.expect(address(who >> 4 & 3));
        }
        if verdict == LatchVerdict::Accepted {
            self.arrived += 1;
            if how & 32 == 0 { self.hear(&packet) } else { self.press(&packet) }
        }
        self.release();
    }

    fn hear(&mut self, packet: &RtpPacket<'_>) {
        let extended = match self.stats.received(packet, self.now) {
            Arrival::Begins(extended) => {
                self.reorder.reset();
                self.next = None;
                extended
            }
            Arrival::Newer(extended) | Arrival::Older(extended) => extended,
            Arrival::Rejected => return,
        };
        assert_eq!(extended as u16, packet.sequence);
        let (source, RtpPacket { timestamp, marker, payload_type, .. }) =
            (SourceId(self.stats.epoch()), *packet);
        let incoming = Incoming { extended, timestamp, clock: 8_000, marker, length: 160 };
        if let Some(stamp) = self.out.forward(source, incoming, self.now) {
            self.send(stamp.extended);
        }
        let head = Head { extended, timestamp, payload_type, marker };
        match self.reorder.push(head, packet.payload, self.now) {
            Admit::Deliver => self.deliver(0, extended),
            Admit::Held | Admit::Late => {}
        }
    }

    fn press(&mut self, packet: &RtpPacket<'_>) {
        match self.stats.received_event(packet) {
            Arrival::Newer(extended) => self.out.skip(SourceId(self.stats.epoch()), extended),
            Arrival::Begins(_) | Arrival::Older(_) | Arrival::Rejected => {}
        }
        let stamp = self.out.event(packet.marker, packet.timestamp & 0xfff, true, self.now);
        self.send(stamp.extended);
        if packet.ssrc == 1 {
            let filling = self.out.fill(self.now);
            self.send(filling.extended);
        }
    }

    fn send(&mut self, extended: u64) {
        assert!(self.sent.insert(extended), "{extended} is sent twice");
        let newest = self.sent.last().copied().unwrap_or_default();
        assert!(extended + 64 > newest, "{extended} is far behind {newest}");
    }

    fn deliver(&mut self, lost: u64, extended: u64) {
        assert!(self.next.is_none_or(|next| next + lost == extended), "{extended} after {:?}", self.next);
        self.next = Some(extended + 1);
    }

    fn release(&mut self) {
        while let Some((lost, extended)) = self.reorder.poll(self.now).map(|n| (n.lost, n.head.extended)) {
            self.deliver(lost, extended);
        }
        assert!(self.reorder.poll_timeout().is_none_or(|at| at > self.now), "due, and not polled");
    }

    /// Media goes to nobody but those whom the descriptions or the signalling name.
    fn aim(&self) {
        let to = self.latch.destination();
        assert!((0..6).any(|who| address(who) == to), "media to {to}");
        let to = self.latch.rtcp_destination(address(0)).ip();
        assert!((0..6).any(|who| address(who).ip() == to), "reports to {to}");
    }

    fn end(mut self) {
        assert!(self.stats.packets() <= self.arrived);
        let Some(block) = self.stats.report_block(self.now) else { return };
        assert!((-0x80_0000..=0x7f_ffff).contains(&block.cumulative_lost));
        assert_eq!(self.stats.report_block(self.now).map(|b| b.fraction_lost), Some(0), "nothing came since");
    }
}

/// Four that a description may name, two of the signalling's host, two of nobody's.
fn address(who: u8) -> SocketAddr {
    let ip = match who {
        0 | 1 => IpAddr::from([198, 51, 100, 7]),
        2 => IpAddr::from([198, 51, 100, 8]),
        3 => IpAddr::from([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
        4 | 5 => SIGNALLING,
        _ => IpAddr::from([192, 0, 2, 66]),
    };
    SocketAddr::new(ip, 4_000 + u16::from(who))
}
