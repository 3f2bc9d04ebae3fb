//! One stream that we send: SSRC, sequence numbers and timestamps are ours for the whole call, whatever feeds it.
//!
//! Timestamps (design §3): within a source they advance by the source's own delta; at a change of source by the time
//! that passed, rounded to whole frames, and the packet carries the marker bit. So holds, transfers and re-INVITEs
//! never make a jump that a receiver or an SRTP replay window would refuse.

use std::time::{Duration, Instant};

use types::{Entropy, Wall};

use super::packet::RtpHeader;
use super::rtcp::SenderInfo;

/// A source whose timestamp leaves real time by more than this has restarted without saying so.
const RESYNC: Duration = Duration::from_secs(2);
/// A jump in a source's sequence numbers that is no loss any more (RFC 3550 A.1, MAX_DROPOUT).
const MAX_DROPOUT: u64 = 3000;
/// How many sequence numbers back a late packet can still take the place left open for it.
const WINDOW: u64 = 64;

/// Names one unbroken timeline feeding a stream: another leg's SSRC epoch, a tone, an announcement.
/// The caller gives a new number at every change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SourceId(pub u64);

/// The numbers of one packet to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Sequence number with its wraps counted; the low 16 bits go on the wire.
    pub extended: u64,
    /// Timestamp for the wire.
    pub timestamp: u32,
    /// Marker bit for the wire.
    pub marker: bool,
}

/// What `OutStream::forward` needs to know of a received packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// Extended sequence number as `InStats` gave it.
    pub extended: u64,
    /// Its timestamp.
    pub timestamp: u32,
    /// The clock of that timestamp, Hz.
    pub clock: u32,
    /// Its marker bit.
    pub marker: bool,
}

/// How the current source's numbers map onto ours.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    source: SourceId,
    /// Clock of the source, Hz.
    clock: u32,
    /// Last source timestamp taken, and how far it is from the source's first.
    source_timestamp: u32,
    source_elapsed: i64,
    /// Our timestamp for the source's first.
    base: u32,
    /// Ours minus theirs, for forwarded packets.
    sequence: Option<SequenceMap>,
}

#[derive(Clone, Copy, Debug)]
struct SequenceMap {
    highest: u64,
    /// Wrapping difference ours - theirs.
    offset: u64,
}

/// See the module.
#[derive(Debug)]
pub struct OutStream {
    ssrc: u32,
    clock: u32,
    frame: u32,
    /// Highest extended sequence number given out, none before the first packet.
    highest: Option<u64>,
    first_sequence: u64,
    first_timestamp: u32,
    /// Bit n: `highest - n` was given out.
    used: u64,
    /// Timestamp and time of the newest audio packet.
    last: Option<(u32, Instant)>,
    mapping: Option<Mapping>,
    event: u32,
    packets: u32,
    octets: u32,
}

impl OutStream {
    /// A stream with random SSRC, timestamp and a sequence number below 2^15 (so that an SRTP receiver cannot
    /// guess the roll-over counter wrong, RFC 3711 §3.3.1). `clock` in Hz; `frame` in samples of that clock.
    pub fn new(entropy: &mut dyn Entropy, clock: u32, frame: u32) -> OutStream {
        OutStream {
            ssrc: entropy.u32(),
            clock,
            frame,
            highest: None,
            first_sequence: u64::from(entropy.u32() & 0x7fff),
            first_timestamp: entropy.u32(),
            used: 0,
            last: None,
            mapping: None,
            event: 0,
            packets: 0,
            octets: 0,
        }
    }

    /// Our SSRC, the same for the whole call.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The clock of our timestamps, Hz.
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// Samples of one of our frames.
    pub fn frame(&self) -> u32 {
        self.frame
    }

    /// When the newest audio packet was stamped.
    pub fn last_sent(&self) -> Option<Instant> {
        self.last.map(|(_, at)| at)
    }

    /// Packets stamped so far.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Another codec or packet length was negotiated. A new clock makes the next packet begin a new source.
    pub fn set_format(&mut self, clock: u32, frame: u32) {
        if clock != self.clock {
            self.mapping = None;
        }
        self.clock = clock;
        self.frame = frame;
    }

    /// Numbers for a frame that we made (transcoded, concealed, synthesised), in order: the sequence has no gap.
    /// `timestamp` is on the source's own timeline with `clock` Hz. None: that slot is already filled; drop the frame.
    pub fn next(&mut self, source: SourceId, timestamp: u32, clock: u32, now: Instant) -> Option<Stamp> {
        let (ours, begins) = match self.advance(source, timestamp, clock, now) {
            Some((ours, _)) if self.last.is_some_and(|(last, _)| !after(ours, last)) => return None,
            Some((ours, _)) => (ours, false),
            None => (self.begin(source, timestamp, clock, now), true),
        };
        self.moved(timestamp);
        self.last = Some((ours, now));
        let extended = self.append(1);
        Some(Stamp { extended, timestamp: ours, marker: begins })
    }

    /// Numbers for another leg's packet forwarded as it is. Gaps and reordering of the source stay visible,
    /// so that the receiver's loss count and FEC work. None: too late or a duplicate; drop it.
    pub fn forward(&mut self, source: SourceId, packet: Incoming, now: Instant) -> Option<Stamp> {
        let continued = self.advance(source, packet.timestamp, packet.clock, now);
        let known = self.mapping.and_then(|m| m.sequence);
        let (Some((ours, newer)), Some(map)) = (continued, known) else {
            return Some(self.begin_forward(source, packet, now));
        };
        if packet.extended <= map.highest {
            let slot = packet.extended.wrapping_add(map.offset);
            return self.take_open(slot).then_some(Stamp {
                extended: slot,
                timestamp: ours,
                marker: packet.marker,
            });
        }
        let step = packet.extended - map.highest;
        if step > MAX_DROPOUT {
            return Some(self.begin_forward(source, packet, now));
        }
        let extended = self.append(step);
        if newer {
            self.moved(packet.timestamp);
            self.last = Some((ours, now));
        }
        self.map_sequence(packet.extended, extended);
        Some(Stamp { extended, timestamp: ours, marker: packet.marker })
    }

    /// A packet of the source was left out on purpose (an event we regenerate, audio under our own digit):
    /// the next forwarded one follows without a gap.
    pub fn skip(&mut self, source: SourceId, extended: u64) {
        if let Some(map) =
            self.mapping.as_mut().filter(|m| m.source == source).and_then(|m| m.sequence.as_mut())
            && extended > map.highest
        {
            map.offset = map.offset.wrapping_sub(extended - map.highest);
            map.highest = extended;
        }
    }

    /// Numbers for a packet of a telephone-event (RFC 4733 §2.5.1): all of one event share the timestamp of its
    /// start, which is now for the `first`; later segments of a long event lie `offset` samples after it.
    pub fn event(&mut self, first: bool, offset: u32, marker: bool, now: Instant) -> Stamp {
        if first {
            self.event = self.position(now);
        }
        let extended = self.append(1);
        if let Some(map) = self.mapping.as_mut().and_then(|m| m.sequence.as_mut()) {
            map.offset = map.offset.wrapping_add(1);
        }
        Stamp { extended, timestamp: self.event.wrapping_add(offset), marker }
    }

    /// The header for a stamp; also counts the packet for sender reports. `payload` is its length in bytes.
    pub fn header(&mut self, stamp: Stamp, payload_type: u8, payload: usize) -> RtpHeader {
        self.count(payload);
        RtpHeader {
            payload_type,
            marker: stamp.marker,
            sequence: stamp.extended as u16,
            timestamp: stamp.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// Counts a packet sent otherwise than through `header`. `payload` is its length in bytes.
    pub fn count(&mut self, payload: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
    }

    /// What a sender report says of this stream (RFC 3550 §6.4.1); none before the first packet.
    pub fn sender_info(&self, now: Instant, wall: Wall) -> Option<SenderInfo> {
        let (timestamp, at) = self.last?;
        let since = samples(now.saturating_duration_since(at), self.clock);
        Some(SenderInfo {
            ntp: wall.ntp(),
            timestamp: timestamp.wrapping_add(since as u32),
            packets: self.packets,
            octets: self.octets,
        })
    }

    /// Our timestamp for a source's, and whether it is the newest of that source; none: it begins anew.
    fn advance(&self, source: SourceId, timestamp: u32, clock: u32, now: Instant) -> Option<(u32, bool)> {
        let m = self.mapping.filter(|m| m.source == source && m.clock == clock)?;
        let delta = i64::from(timestamp.wrapping_sub(m.source_timestamp) as i32);
        let elapsed = m.source_elapsed + delta;
        let ours = m.base.wrapping_add((elapsed * i64::from(self.clock)).div_euclid(i64::from(clock)) as u32);
        let (last, at) = self.last?;
        let real = samples(now.saturating_duration_since(at), self.clock) as i64;
        let claimed = i64::from(ours.wrapping_sub(last) as i32);
        if (claimed - real).abs() > samples(RESYNC, self.clock) as i64 {
            return None;
        }
        Some((ours, delta > 0))
    }

    /// The newest source timestamp is now this one.
    fn moved(&mut self, timestamp: u32) {
        if let Some(m) = self.mapping.as_mut() {
            m.source_elapsed += i64::from(timestamp.wrapping_sub(m.source_timestamp) as i32);
            m.source_timestamp = timestamp;
        }
    }

    /// A new source begins where the time that passed puts it.
    fn begin(&mut self, source: SourceId, timestamp: u32, clock: u32, now: Instant) -> u32 {
        let base = self.position(now);
        self.mapping = Some(Mapping {
            source,
            clock,
            source_timestamp: timestamp,
            source_elapsed: 0,
            base,
            sequence: None,
        });
        base
    }

    fn begin_forward(&mut self, source: SourceId, packet: Incoming, now: Instant) -> Stamp {
        let timestamp = self.begin(source, packet.timestamp, packet.clock, now);
        self.last = Some((timestamp, now));
        let extended = self.append(1);
        self.map_sequence(packet.extended, extended);
        Stamp { extended, timestamp, marker: true }
    }

    fn map_sequence(&mut self, theirs: u64, ours: u64) {
        if let Some(m) = self.mapping.as_mut() {
            m.sequence = Some(SequenceMap { highest: theirs, offset: ours.wrapping_sub(theirs) });
        }
    }

    /// The timestamp of a frame that begins now: whole frames after the last one, at least one.
    fn position(&self, now: Instant) -> u32 {
        let Some((last, at)) = self.last else { return self.first_timestamp };
        let frame = u64::from(self.frame.max(1));
        let passed = samples(now.saturating_duration_since(at), self.clock);
        let frames = ((passed + frame / 2) / frame).max(1);
        last.wrapping_add((frames * frame) as u32)
    }

    /// Takes the number `step` after the highest.
    fn append(&mut self, step: u64) -> u64 {
        let Some(highest) = self.highest else {
            self.highest = Some(self.first_sequence);
            self.used = 1;
            return self.first_sequence;
        };
        self.used = if step < WINDOW { (self.used << step) | 1 } else { 1 };
        self.highest = Some(highest + step);
        highest + step
    }

    /// Takes a number that an earlier gap left open.
    fn take_open(&mut self, slot: u64) -> bool {
        let Some(behind) = self.highest.and_then(|h| h.checked_sub(slot)) else { return false };
        if behind >= WINDOW || slot < self.first_sequence || self.used >> behind & 1 == 1 {
            return false;
        }
        self.used |= 1 << behind;
        true
    }
}

/// Whole samples in a duration.
fn samples(d: Duration, clock: u32) -> u64 {
    (d.as_nanos() * u128::from(clock) / 1_000_000_000) as u64
}

/// Whether timestamp `a` lies after `b`, across wraps.
fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}
