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
    /// The same of the first event, where no audio came before it: a stream of digits alone has a clock, too.
    anchor: Option<(u32, Instant)>,
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
            anchor: None,
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
        let known = self.mapping.filter(|m| m.source == source).and_then(|m| m.sequence);
        let late = known.is_some_and(|map| packet.extended <= map.highest);
        let continued = self.advance(source, packet.timestamp, packet.clock, now);
        let (Some((ours, newer)), Some(map)) = (continued, known) else {
            return (!late).then(|| self.begin_forward(source, packet, now));
        };
        let marker = packet.marker;
        if late {
            let slot = packet.extended.wrapping_add(map.offset);
            return self.take_open(slot).then_some(Stamp { extended: slot, timestamp: ours, marker });
        }
        let extended = self.append(packet.extended - map.highest);
        if newer {
            self.moved(packet.timestamp);
            self.last = Some((ours, now));
        }
        self.map_sequence(packet.extended, extended);
        Some(Stamp { extended, timestamp: ours, marker })
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
            self.anchor.get_or_insert((self.event, now));
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
        let Some((last, at)) = self.last.or(self.anchor) else { return self.first_timestamp };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Fixed(u32);

    impl Entropy for Fixed {
        fn fill(&mut self, out: &mut [u8]) {
            for b in out.chunks_mut(4) {
                b.copy_from_slice(&self.0.to_le_bytes()[..b.len()]);
            }
        }
    }

    const MS: Duration = Duration::from_millis(1);
    const A: SourceId = SourceId(1);
    const B: SourceId = SourceId(2);

    fn stream(clock: u32, frame: u32) -> (OutStream, Instant) {
        // Starts close below every wrap.
        (OutStream::new(&mut Fixed(u32::MAX - 100), clock, frame), Instant::now())
    }

    fn packet(extended: u64, timestamp: u32) -> Incoming {
        Incoming { extended, timestamp, clock: 48_000, marker: false }
    }

    /// Field problem 2: a forwarded sequence number after a hold looks like an SRTP replay.
    #[test]
    fn sequence_goes_on_by_one_over_a_long_hold() {
        let (mut out, t) = stream(8000, 160);
        let before = out.next(A, 5000, 8000, t).unwrap();
        let after = out.next(A, 5000 + 3600 * 8000, 8000, t + Duration::from_secs(3600)).unwrap();
        assert_eq!(after.extended, before.extended + 1);
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 3600 * 8000);
    }

    /// Field problem 3, design §3: at a change of source the elapsed time in whole frames, and the marker.
    #[test]
    fn a_new_source_continues_by_elapsed_time_in_whole_frames_with_marker() {
        let (mut out, t) = stream(8000, 160);
        let first = out.next(A, 77, 8000, t).unwrap();
        assert!(first.marker, "the first packet begins a talkspurt");
        let second = out.next(A, 77 + 160, 8000, t + 20 * MS).unwrap();
        assert!(!second.marker);
        let changed = out.next(B, 3_000_000_000, 48_000, t + (20 + 137) * MS).unwrap();
        assert!(changed.marker);
        assert_eq!(changed.extended, second.extended + 1);
        assert_eq!(changed.timestamp.wrapping_sub(second.timestamp), 7 * 160, "137 ms are 6.85 frames");
        let next = out.next(B, 3_000_000_960, 48_000, t + 177 * MS).unwrap();
        assert_eq!((next.timestamp.wrapping_sub(changed.timestamp), next.marker), (160, false));
    }

    #[test]
    fn a_source_that_begins_at_once_still_advances_a_frame() {
        let (mut out, t) = stream(8000, 160);
        let first = out.next(A, 0, 8000, t).unwrap();
        let second = out.next(B, 0, 8000, t).unwrap();
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 160);
    }

    /// Field problem 34: exact 960/160 steps whatever the network's timing was.
    #[test]
    fn within_a_source_only_its_own_delta_counts() {
        let (mut out, t) = stream(8000, 160);
        let first = out.next(A, u32::MAX - 959, 48_000, t).unwrap();
        for (n, late) in [(1u32, 55), (2, 55), (3, 61), (10, 190)] {
            let s = out.next(A, (n - 1) * 960, 48_000, t + late * MS).unwrap();
            assert_eq!(s.timestamp.wrapping_sub(first.timestamp), n * 160);
        }
    }

    /// Design §3: a slot that was concealed is not filled a second time.
    #[test]
    fn a_frame_for_a_slot_already_sent_gets_no_numbers() {
        let (mut out, t) = stream(8000, 160);
        out.next(A, 0, 8000, t);
        let concealed = out.next(A, 160, 8000, t + 30 * MS).unwrap();
        assert_eq!(out.next(A, 160, 8000, t + 31 * MS), None);
        let next = out.next(A, 320, 8000, t + 40 * MS).unwrap();
        assert_eq!(next.extended, concealed.extended + 1);
    }

    #[test]
    fn a_source_that_jumps_in_time_is_taken_as_a_new_one() {
        let (mut out, t) = stream(8000, 160);
        let first = out.next(A, 0, 8000, t).unwrap();
        let jumped = out.next(A, 1_000_000_000, 8000, t + 20 * MS).unwrap();
        assert_eq!((jumped.timestamp.wrapping_sub(first.timestamp), jumped.marker), (160, true));
        let paused = out.next(A, 1_000_000_160, 8000, t + Duration::from_secs(60)).unwrap();
        assert_eq!(paused.timestamp.wrapping_sub(jumped.timestamp), (60_000 - 20) * 8);
    }

    #[test]
    fn forwarding_keeps_gaps_and_lets_a_straggler_fill_its_own() {
        let (mut out, t) = stream(48_000, 960);
        let first = out.forward(A, packet(1000, 0), t).unwrap();
        let third = out.forward(A, packet(1002, 1920), t + 40 * MS).unwrap();
        assert_eq!(third.extended, first.extended + 2);
        let second = out.forward(A, packet(1001, 960), t + 41 * MS).unwrap();
        assert_eq!(second.extended, first.extended + 1);
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 960);
        assert_eq!(out.forward(A, packet(1001, 960), t + 42 * MS), None, "duplicate");
        assert_eq!(
            out.forward(A, packet(999, u32::MAX - 959), t + 42 * MS),
            None,
            "before this source began"
        );
        let fourth = out.forward(A, packet(1003, 2880), t + 60 * MS).unwrap();
        assert_eq!(fourth.extended, first.extended + 3);
    }

    #[test]
    fn a_forwarded_source_that_changes_leaves_no_gap_in_the_sequence() {
        let (mut out, t) = stream(48_000, 960);
        let first = out.forward(A, packet(1000, 0), t).unwrap();
        let other = out.forward(B, packet(90_000, 123), t + 20 * MS).unwrap();
        assert_eq!((other.extended, other.marker), (first.extended + 1, true));
        assert_eq!(other.timestamp.wrapping_sub(first.timestamp), 960);
        let tone = out.next(SourceId(3), 0, 48_000, t + 40 * MS).unwrap();
        assert_eq!(tone.extended, other.extended + 1);
        assert_eq!(
            out.forward(SourceId(3), packet(5, 960), t + 60 * MS).unwrap().extended,
            tone.extended + 1
        );
    }

    /// RFC 4733 §2.5.1: the packets of an event share its start as timestamp; sequence goes on.
    /// RFC 4733 §2.5.1.1: the timestamp tells events apart, also where no audio moves it.
    #[test]
    fn events_without_any_audio_have_timestamps_of_their_own() {
        let (mut out, t) = stream(8000, 160);
        let one = out.event(true, 0, true, t);
        let two = out.event(true, 0, true, t + 400 * MS);
        assert_eq!(two.timestamp.wrapping_sub(one.timestamp), 20 * 160);
        let audio = out.next(A, 9, 8000, t + Duration::from_secs(1)).unwrap();
        assert_eq!(audio.timestamp.wrapping_sub(one.timestamp), 50 * 160);
    }

    #[test]
    fn an_event_between_forwarded_audio_leaves_no_gap() {
        let (mut out, t) = stream(48_000, 960);
        let first = out.forward(A, packet(10, 0), t).unwrap();
        let e1 = out.event(true, 0, true, t + 25 * MS);
        out.skip(A, 11);
        let e2 = out.event(false, 0, false, t + 45 * MS);
        out.skip(A, 12);
        let resumed = out.forward(A, packet(13, 2880), t + 60 * MS).unwrap();
        assert_eq!([e1.extended, e2.extended, resumed.extended], [1, 2, 3].map(|n| first.extended + n));
        assert_eq!(e1.timestamp.wrapping_sub(first.timestamp), 960);
        assert_eq!((e1.marker, e2.marker, e2.timestamp), (true, false, e1.timestamp));
        assert_eq!(resumed.timestamp.wrapping_sub(first.timestamp), 2880);
        assert_eq!(out.event(false, 65_535, false, t).timestamp, e1.timestamp.wrapping_add(65_535));
    }

    /// RFC 3711 §3.3.1: a first sequence number below 2^15 keeps the receiver's roll-over guess right.
    #[test]
    fn first_sequence_is_in_the_lower_half() {
        let (mut out, t) = stream(8000, 160);
        assert!(out.next(A, 0, 8000, t).unwrap().extended < 1 << 15);
    }

    /// RFC 3550 §6.4.1: the RTP timestamp of a report is that of the moment of its NTP time.
    #[test]
    fn sender_info_extrapolates_the_timestamp_and_counts_payload() {
        let (mut out, t) = stream(8000, 160);
        assert_eq!(out.sender_info(t, Wall(0)), None);
        let s = out.next(A, 0, 8000, t).unwrap();
        let header = out.header(s, 0, 160);
        assert_eq!(
            (header.timestamp, header.sequence, header.ssrc),
            (s.timestamp, s.extended as u16, out.ssrc())
        );
        let info = out.sender_info(t + 1010 * MS, Wall(5_000_000)).unwrap();
        assert_eq!(info.timestamp.wrapping_sub(s.timestamp), 8080);
        assert_eq!((info.packets, info.octets, info.ntp), (1, 160, Wall(5_000_000).ntp()));
    }

    #[test]
    fn a_new_clock_continues_the_sequence_and_begins_a_new_timeline() {
        let (mut out, t) = stream(48_000, 960);
        let opus = out.next(A, 0, 48_000, t).unwrap();
        out.set_format(8000, 160);
        let g711 = out.next(A, 960, 48_000, t + 20 * MS).unwrap();
        assert_eq!((g711.extended, g711.marker), (opus.extended + 1, true));
        assert_eq!(g711.timestamp.wrapping_sub(opus.timestamp), 160);
    }

    proptest! {
        /// Whatever comes, no sequence number is ever used twice and timestamps of made frames only grow.
        #[test]
        fn no_number_is_used_twice(steps in prop::collection::vec((0u64..3, 0u64..40, 0u8..4, 0u64..300), 1..200)) {
            let (mut out, t) = stream(48_000, 960);
            let (mut now, mut used, mut made) = (t, std::collections::HashSet::new(), None);
            for (source, sequence, kind, wait) in steps {
                now += MS * wait as u32;
                let timestamp = (sequence as u32).wrapping_mul(960).wrapping_sub(9600);
                let stamp = match kind {
                    0 => out.next(SourceId(source), timestamp, 48_000, now),
                    1 => Some(out.event(wait % 2 == 0, 0, false, now)),
                    2 => { out.skip(SourceId(source), 100 + sequence); None }
                    _ => out.forward(SourceId(source), packet(100 + sequence, timestamp), now),
                };
                let Some(stamp) = stamp else { continue };
                prop_assert!(used.insert(stamp.extended), "{} again", stamp.extended);
                if kind == 0 {
                    if let Some(before) = made {
                        prop_assert!(after(stamp.timestamp, before));
                    }
                    made = Some(stamp.timestamp);
                }
            }
        }
    }
}
