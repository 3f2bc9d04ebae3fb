//! One stream that we send: SSRC, sequence numbers and timestamps are ours for the whole call, whatever feeds it.
//!
//! Timestamps (design §3): within a source they advance by the source's own delta; at a change of source by the time
//! that passed, rounded to whole frames, and the packet carries the marker bit. So holds, transfers and re-INVITEs
//! never make a jump that a receiver or an SRTP replay window would refuse. Filling goes between a source's packets on that
//! source's timeline, so that a pause, a stalled network and a source's end all leave the timestamps where real time is.

use std::time::{Duration, Instant};

use types::{Entropy, Wall};

use super::late::Lateness;
use super::packet::RtpHeader;
use super::rtcp::SenderInfo;

/// A source whose timestamp leaves real time by more than this has restarted without saying so.
const RESYNC: Duration = Duration::from_secs(2);
/// How many sequence numbers back a late packet can still take the place left open for it.
const WINDOW: u64 = 64;
/// Frames of filling in a row after which whoever comes back begins a talkspurt (RFC 3551 §4.1).
const TALKSPURT: u32 = 5;
/// A filling this late, in frames, has been asleep: it does not make up for them.
const ASLEEP: u32 = 10;

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
    /// Ticks of that clock that its sound lasts.
    pub length: u32,
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
    /// Frames of filling sent since `highest`: they stand for what is missing.
    filled: u64,
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
    /// How long that packet's sound lasts, ticks of our clock.
    length: u32,
    /// Ticks by which changes of source were rounded, as yet not made up for.
    rounded: i64,
    /// The same of the first event, where no audio came before it: a stream of digits alone has a clock, too.
    anchor: Option<(u32, Instant)>,
    mapping: Option<Mapping>,
    /// Frames of filling since the last packet of the source.
    filled: u32,
    late: Lateness,
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
            length: frame,
            rounded: 0,
            anchor: None,
            mapping: None,
            filled: 0,
            late: Lateness::default(),
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
            (self.length, self.rounded) = (frame, 0);
        }
        self.clock = clock;
        self.frame = frame;
    }

    /// Numbers for a frame that we made (transcoded, concealed, synthesised), in order: the sequence has no gap.
    /// `timestamp` is on the source's own timeline with `clock` Hz. None: that slot is already filled; drop the frame.
    pub fn next(&mut self, source: SourceId, timestamp: u32, clock: u32, now: Instant) -> Option<Stamp> {
        let continued = self.advance(source, timestamp, clock, now);
        let (ours, marker) = match continued.filter(|(ours, _)| !self.is_filled(*ours)) {
            Some((ours, _)) => (ours, self.filled >= TALKSPURT),
            None if continued.is_some() && !self.is_for_good(timestamp, clock, now) => return None,
            None => (self.begin(source, timestamp, clock, now), true),
        };
        self.moved(timestamp);
        self.sounded(ours, self.frame, now);
        let extended = self.append(1);
        Some(Stamp { extended, timestamp: ours, marker })
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
        if late {
            let slot = packet.extended.wrapping_add(map.offset);
            let marker = packet.marker;
            return self.take_open(slot).then_some(Stamp { extended: slot, timestamp: ours, marker });
        }
        if map.filled > 0 && self.is_filled(ours) {
            if self.resumes(packet) || self.is_for_good(packet.timestamp, packet.clock, now) {
                return Some(self.begin_forward(source, packet, now));
            }
            self.skip(source, packet.extended);
            return None;
        }
        let marker = packet.marker || self.filled >= TALKSPURT;
        let extended = self.append((packet.extended - map.highest).saturating_sub(map.filled).max(1));
        if newer {
            self.moved(packet.timestamp);
            self.sounded(ours, self.length_of(packet), now);
        }
        self.map_sequence(packet.extended, extended);
        Some(Stamp { extended, timestamp: ours, marker })
    }

    /// Numbers for a frame of filling, which stands for one that the source owes: the next timestamp, the next number. The
    /// source's timeline stays: what comes later for that slot is refused.
    pub fn fill(&mut self, now: Instant) -> Stamp {
        let slot =
            self.last.zip(self.next_slot()).map(|((last, _), due)| (last.wrapping_add(self.length), due));
        let awake =
            slot.filter(|(_, due)| now.saturating_duration_since(*due) < self.time(self.frame) * ASLEEP);
        let marker = awake.is_none();
        self.last = Some(match awake {
            Some(awake) => awake,
            None => (self.begin_at(now), now),
        });
        self.length = self.frame;
        self.filled = self.filled.saturating_add(1);
        let extended = self.append(1);
        if let Some(map) = self.mapping.as_mut().and_then(|m| m.sequence.as_mut()) {
            map.offset = map.offset.wrapping_add(1);
            map.filled += 1;
        }
        Stamp { extended, timestamp: self.last.map_or(0, |(ours, _)| ours), marker }
    }

    /// When the slot after the newest begins, by the clock of what was sent; none before the first packet.
    pub fn next_slot(&self) -> Option<Instant> {
        self.last.map(|(_, at)| at + self.time(self.length))
    }

    /// Nothing is owed for the slots until now: a digit sounded meanwhile.
    pub fn owe_nothing(&mut self, now: Instant) {
        let Some((last, due)) = self.last.map(|(last, _)| last).zip(self.next_slot()) else { return };
        if due <= now {
            let frame = u64::from(self.frame.max(1));
            let frames = samples(now - due, self.clock) / frame;
            let skipped = (frames * frame) as u32;
            self.last =
                Some((last.wrapping_add(self.length).wrapping_add(skipped), due + self.time(skipped)));
            self.length = self.frame;
        }
    }

    /// How long so many ticks of ours last.
    fn time(&self, ticks: u32) -> Duration {
        Duration::from_micros(u64::from(ticks) * 1_000_000 / u64::from(self.clock.max(1)))
    }

    /// How long a forwarded packet's sound lasts, in ticks of ours.
    fn length_of(&self, packet: Incoming) -> u32 {
        (u64::from(packet.length) * u64::from(self.clock) / u64::from(packet.clock.max(1))) as u32
    }

    /// A packet of the source was left out on purpose (an event we regenerate, audio under our own digit):
    /// the next forwarded one follows without a gap.
    pub fn skip(&mut self, source: SourceId, extended: u64) {
        if let Some(map) =
            self.mapping.as_mut().filter(|m| m.source == source).and_then(|m| m.sequence.as_mut())
            && extended > map.highest
        {
            map.offset = map.offset.wrapping_sub(extended - map.highest);
            map.filled = map.filled.saturating_sub(extended - map.highest);
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

    fn is_for_good(&mut self, timestamp: u32, clock: u32, now: Instant) -> bool {
        self.late.is_for_good(timestamp, clock, self.filled >= TALKSPURT, now)
    }

    /// A packet that begins a talkspurt where the one before ended, although there was a pause: its sender's clock stood still.
    fn resumes(&self, packet: Incoming) -> bool {
        let last = self.mapping.map(|m| (m.source_timestamp, m.sequence.map(|map| map.highest + 1)));
        packet.marker
            && self.filled >= TALKSPURT
            && last.is_some_and(|(before, next)| {
                next == Some(packet.extended) && packet.timestamp.wrapping_sub(before) <= packet.length
            })
    }

    fn is_filled(&self, ours: u32) -> bool {
        self.last.is_some_and(|(last, _)| !after(ours, last))
    }

    /// The source's newest packet has this timestamp of ours.
    fn sounded(&mut self, ours: u32, length: u32, now: Instant) {
        self.last = Some((ours, now));
        self.length = length;
        self.filled = 0;
        self.late.end();
    }

    /// A new source begins where the time that passed puts it.
    fn begin(&mut self, source: SourceId, timestamp: u32, clock: u32, now: Instant) -> u32 {
        let base = self.begin_at(now);
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
        self.sounded(timestamp, self.length_of(packet), now);
        let extended = self.append(1);
        self.map_sequence(packet.extended, extended);
        Stamp { extended, timestamp, marker: true }
    }

    fn map_sequence(&mut self, theirs: u64, ours: u64) {
        if let Some(m) = self.mapping.as_mut() {
            m.sequence = Some(SequenceMap { highest: theirs, offset: ours.wrapping_sub(theirs), filled: 0 });
        }
    }

    /// The timestamp of a source that begins now. What is rounded once is made up for the next time: many changes do not add
    /// up to delay.
    fn begin_at(&mut self, now: Instant) -> u32 {
        let Some((last, at)) = self.last.or(self.anchor) else { return self.first_timestamp };
        let frame = i64::from(self.frame.max(1));
        let passed = samples(now.saturating_duration_since(at), self.clock) as i64 + self.rounded;
        let least = i64::from(self.length.div_ceil(self.frame.max(1))).max(1);
        let frames = (passed + frame / 2).div_euclid(frame).max(least);
        self.rounded = (passed - frames * frame).clamp(-4 * frame, frame);
        last.wrapping_add((frames * frame) as u32)
    }

    /// The timestamp of a frame that begins now: whole frames after the last one, at least one.
    fn position(&self, now: Instant) -> u32 {
        let Some((last, at)) = self.last.or(self.anchor) else { return self.first_timestamp };
        let frame = u64::from(self.frame.max(1));
        let passed = samples(now.saturating_duration_since(at), self.clock);
        let frames = ((passed + frame / 2) / frame).max(u64::from(self.length).div_ceil(frame)).max(1);
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
        Incoming { extended, timestamp, clock: 48_000, marker: false, length: 960 }
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

    /// Design §3: silence is filled at the next timestamp, and what comes for that slot later is dropped.
    #[test]
    fn filling_takes_the_place_of_what_is_missing_and_late_packets_find_it_taken() {
        let (mut out, t) = stream(8000, 160);
        let packet = |n: u64| Incoming {
            extended: n,
            timestamp: n as u32 * 160,
            clock: 8000,
            marker: false,
            length: 160,
        };
        let first = out.forward(A, packet(10), t).unwrap();
        let filled = out.fill(t + 50 * MS);
        assert_eq!(
            (filled.extended - first.extended, filled.timestamp.wrapping_sub(first.timestamp)),
            (1, 160)
        );
        assert_eq!(out.next_slot(), Some(t + 40 * MS), "counted from what was sent, not from the timer");
        assert_eq!(out.forward(A, packet(11), t + 55 * MS), None);
        let twelfth = out.forward(A, packet(12), t + 56 * MS).unwrap();
        assert_eq!(twelfth.extended, filled.extended + 1, "no gap");
        assert_eq!((twelfth.timestamp.wrapping_sub(first.timestamp), twelfth.marker), (320, false));
        out.fill(t + 90 * MS);
        let fifteenth = out.forward(A, packet(15), t + 100 * MS).unwrap();
        assert_eq!(fifteenth.extended, twelfth.extended + 3, "one of two lost packets was filled");
        assert_eq!(out.forward(A, packet(13), t + 101 * MS), None);
    }

    /// Field problem 35: a browser in DTX or muted leaves no numbers out, only time.
    #[test]
    fn a_source_that_paused_goes_on_with_its_own_timestamps_and_a_marker() {
        let (mut out, t) = stream(8000, 160);
        let at = |n: u64, slot: u32| Incoming {
            extended: n,
            timestamp: slot * 160,
            clock: 8000,
            marker: false,
            length: 160,
        };
        let first = out.forward(A, at(10, 0), t).unwrap();
        for n in 1..50 {
            let filled = out.fill(t + 20 * MS * n + 30 * MS);
            assert_eq!(filled.timestamp.wrapping_sub(first.timestamp), n * 160);
        }
        let back = out.forward(A, at(11, 52), t + 1_040 * MS).unwrap();
        assert_eq!((back.extended, back.marker), (first.extended + 50, true));
        assert_eq!(back.timestamp.wrapping_sub(first.timestamp), 52 * 160, "its own delta");
    }

    #[test]
    fn stragglers_of_a_stall_are_dropped_and_a_longer_way_is_followed() {
        let packet = |n: u64| Incoming {
            extended: n,
            timestamp: n as u32 * 160,
            clock: 8000,
            marker: false,
            length: 160,
        };
        for made in [false, true] {
            let (mut out, t) = stream(8000, 160);
            let send = |out: &mut OutStream, n: u64, now| match made {
                true => out.next(A, n as u32 * 160, 8000, now),
                false => out.forward(A, packet(n), now),
            };
            let first = send(&mut out, 10, t).unwrap();
            (1..=9).for_each(|n| _ = out.fill(t + 20 * MS * n));
            let burst: Vec<_> = (11..=20).map(|n| send(&mut out, n, t + 200 * MS)).collect();
            assert!(burst[..9].iter().all(Option::is_none) && burst[9].is_some());
            assert_eq!(burst[9].unwrap().timestamp.wrapping_sub(first.timestamp), 1_600, "where time is");
            // From now on everything takes 100 ms longer.
            (1..=5).for_each(|n| _ = out.fill(t + 200 * MS + 20 * MS * n));
            let later: Vec<_> =
                (21..=25).map(|n| send(&mut out, n, t + 20 * MS * (n - 10) as u32 + 100 * MS)).collect();
            assert_eq!(later.iter().filter(|s| s.is_none()).count(), 1);
            assert!(later[1].unwrap().marker && later[4].is_some());
            // And 60 ms more: too little filling to tell from stragglers soon.
            (1..=3).for_each(|n| _ = out.fill(t + 400 * MS + 20 * MS * n));
            let later: Vec<_> =
                (26..=30).map(|n| send(&mut out, n, t + 20 * MS * (n - 10) as u32 + 160 * MS)).collect();
            assert_eq!(later.iter().filter(|s| s.is_none()).count(), 2);
        }
    }

    /// RFC 3551 §4.1: the marker begins a talkspurt. Its timestamp should have gone on in the pause.
    #[test]
    fn a_talkspurt_whose_timestamp_stood_still_loses_nothing() {
        let (mut out, t) = stream(48_000, 960);
        let first = out.forward(A, packet(10, 0), t).unwrap();
        (1..=30).for_each(|n| _ = out.fill(t + 20 * MS * n));
        let spoken = Incoming { marker: true, ..packet(11, 960) };
        let back = out.forward(A, spoken, t + 640 * MS).unwrap();
        assert_eq!((back.timestamp.wrapping_sub(first.timestamp), back.marker), (32 * 960, true));
        assert_eq!(back.extended, first.extended + 31);
        assert!(out.forward(A, packet(12, 1_920), t + 660 * MS).is_some());
    }

    #[test]
    fn filling_after_a_long_sleep_begins_where_time_is() {
        let (mut out, t) = stream(8000, 160);
        let first = out.next(A, 0, 8000, t).unwrap();
        let filled = out.fill(t + Duration::from_secs(60));
        assert_eq!((filled.timestamp.wrapping_sub(first.timestamp), filled.marker), (60 * 8000, true));
        let (mut fresh, t) = stream(8000, 160);
        assert!(fresh.fill(t).marker);
    }

    proptest! {
        /// Whatever comes, no sequence number is ever used twice and timestamps of made frames only grow.
        #[test]
        fn no_number_is_used_twice(steps in prop::collection::vec((0u64..3, 0u64..40, 0u8..5, 0u64..300), 1..200)) {
            let (mut out, t) = stream(48_000, 960);
            let (mut now, mut used, mut made) = (t, std::collections::HashSet::new(), None);
            for (source, sequence, kind, wait) in steps {
                now += MS * wait as u32;
                let timestamp = (sequence as u32).wrapping_mul(960).wrapping_sub(9600);
                let stamp = match kind {
                    0 => out.next(SourceId(source), timestamp, 48_000, now),
                    1 => Some(out.event(wait % 2 == 0, 0, false, now)),
                    2 => { out.skip(SourceId(source), 100 + sequence); None }
                    3 => Some(out.fill(now)),
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
