//! What RFC 3550 wants known of a stream that we receive: A.1 sequence, A.3 loss, A.8 jitter, and the report block.

use std::time::{Duration, Instant};

use super::packet::RtpPacket;
use super::rtcp::ReportBlock;
use crate::quality::Losses;

/// Largest forward jump that is loss and not a restart (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3000;
/// Largest backward step that is reordering and not a restart (RFC 3550 A.1).
const MAX_MISORDER: u16 = 100;
/// Extended numbers begin one cycle up, so that a packet from before the first has a number too.
const FIRST_CYCLE: u64 = 1 << 16;

/// Where a packet stands in its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The first of a new epoch: first packet ever, another SSRC, or the sender began anew. Reset what follows the stream.
    Begins(u64),
    /// Newer than all before; extended sequence number.
    Newer(u64),
    /// Older than the newest: reordered or a duplicate; `Reorder` or `OutStream::forward` tells which.
    Older(u64),
    /// Far off: not counted, drop it. If the next follows it, the sender has begun anew.
    Rejected,
}

/// Statistics of the stream received on one leg.
#[derive(Debug)]
pub struct InStats {
    clock: u32,
    current: Option<Current>,
    epoch: u64,
    /// Packets and losses of epochs that ended.
    past_received: u64,
    past_lost: i64,
    sender_report: Option<(u32, Instant)>,
    losses: Losses,
}

/// RFC 3550 A.1 `source`.
#[derive(Debug)]
struct Current {
    ssrc: u32,
    first: u64,
    highest: u64,
    bad_sequence: Option<u16>,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    jitter: Jitter,
}

/// RFC 3550 A.8, times 16.
#[derive(Debug, Default)]
struct Jitter {
    scaled: u64,
    last: Option<(u32, Instant)>,
}

impl InStats {
    /// For a stream with timestamps of `clock` Hz.
    pub fn new(clock: u32) -> InStats {
        InStats {
            clock,
            current: None,
            epoch: 0,
            past_received: 0,
            past_lost: 0,
            sender_report: None,
            losses: Losses::default(),
        }
    }

    /// Another codec was negotiated.
    pub fn set_clock(&mut self, clock: u32) {
        if clock != self.clock {
            self.clock = clock;
            if let Some(c) = self.current.as_mut() {
                c.jitter = Jitter::default();
            }
        }
    }

    /// Counts an audio packet.
    pub fn received(&mut self, packet: &RtpPacket<'_>, now: Instant) -> Arrival {
        let arrival = self.sequence(packet);
        if let (Arrival::Begins(_) | Arrival::Newer(_) | Arrival::Older(_), Some(c)) =
            (arrival, &mut self.current)
        {
            c.jitter.update(packet.timestamp, self.clock, now);
        }
        arrival
    }

    /// Counts a telephone-event packet: all of one event share a timestamp, which would spoil the jitter. Some
    /// senders give events an SSRC of their own; that is no change of stream: `Rejected`, to be heard all the same.
    pub fn received_event(&mut self, packet: &RtpPacket<'_>) -> Arrival {
        if self.ssrc().is_some_and(|ssrc| ssrc != packet.ssrc) {
            return Arrival::Rejected;
        }
        self.sequence(packet)
    }

    /// A sender report came with this 64-bit NTP timestamp: our next report block echoes it.
    pub fn sender_report(&mut self, ntp: u64, now: Instant) {
        self.sender_report = Some(((ntp >> 16) as u32, now));
    }

    /// Which run of the stream this is: changes with SSRC or restart. For `SourceId`.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// SSRC of the stream received now.
    pub fn ssrc(&self) -> Option<u32> {
        self.current.as_ref().map(|c| c.ssrc)
    }

    /// Packets counted, all epochs.
    pub fn packets(&self) -> u64 {
        self.past_received + self.current.as_ref().map_or(0, |c| c.received)
    }

    /// Packets lost, all epochs; duplicates make it smaller (RFC 3550 §6.4.1).
    pub fn lost(&self) -> i64 {
        self.past_lost + self.current.as_ref().map_or(0, Current::lost)
    }

    /// Where packets were missing, all epochs.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Interarrival jitter (RFC 3550 A.8).
    pub fn jitter(&self) -> Duration {
        let samples = self.current.as_ref().map_or(0, |c| c.jitter.samples());
        Duration::from_micros(u64::from(samples) * 1_000_000 / u64::from(self.clock.max(1)))
    }

    /// The report block for the interval since the last one (RFC 3550 A.3); none before the first packet.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let (lsr, dlsr) = match self.sender_report {
            None => (0, 0),
            Some((lsr, at)) => (lsr, units_65536(now.saturating_duration_since(at))),
        };
        let c = self.current.as_mut()?;
        let expected = c.expected();
        let expected_interval = expected - c.expected_prior;
        let received_interval = c.received - c.received_prior;
        (c.expected_prior, c.received_prior) = (expected, c.received);
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0).min(255);
        Some(ReportBlock {
            ssrc: c.ssrc,
            fraction_lost: fraction as u8,
            cumulative_lost: c.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: (c.highest - FIRST_CYCLE) as u32,
            jitter: c.jitter.samples(),
            lsr,
            dlsr,
        })
    }

    /// RFC 3550 A.1 `update_seq` with MIN_SEQUENTIAL = 0: what the latch let through is valid from its first packet.
    fn sequence(&mut self, packet: &RtpPacket<'_>) -> Arrival {
        let same = self.current.as_mut().filter(|c| c.ssrc == packet.ssrc);
        let Some(c) = same else { return self.begin(packet) };
        let delta = packet.sequence.wrapping_sub(c.highest as u16);
        if delta == 0 || delta > u16::MAX - MAX_MISORDER + 1 {
            c.received += 1;
            let extended = c.highest - u64::from(delta.wrapping_neg());
            self.losses.older(extended);
            return Arrival::Older(extended);
        }
        if delta < MAX_DROPOUT {
            c.highest += u64::from(delta);
            c.received += 1;
            c.bad_sequence = None;
            self.losses.newer(c.highest);
            return Arrival::Newer(c.highest);
        }
        if c.bad_sequence == Some(packet.sequence) {
            return self.begin(packet);
        }
        c.bad_sequence = Some(packet.sequence.wrapping_add(1));
        Arrival::Rejected
    }

    fn begin(&mut self, packet: &RtpPacket<'_>) -> Arrival {
        if let Some(c) = self.current.take() {
            self.past_received += c.received;
            self.past_lost += c.lost();
            if c.ssrc != packet.ssrc {
                self.sender_report = None;
            }
        }
        self.epoch += 1;
        let first = FIRST_CYCLE + u64::from(packet.sequence);
        self.losses.begin(first);
        self.current = Some(Current {
            ssrc: packet.ssrc,
            first,
            highest: first,
            bad_sequence: None,
            received: 1,
            expected_prior: 0,
            received_prior: 0,
            jitter: Jitter::default(),
        });
        Arrival::Begins(first)
    }
}

impl Current {
    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }
}

impl Jitter {
    fn update(&mut self, timestamp: u32, clock: u32, now: Instant) {
        if let Some((before, at)) = self.last {
            let passed =
                (now.saturating_duration_since(at).as_nanos() * u128::from(clock) / 1_000_000_000) as i64;
            let sent = i64::from(timestamp.wrapping_sub(before) as i32);
            let d = (passed - sent).unsigned_abs();
            // Nothing in a network: the sender's clock stood still or was set.
            let d = if d > u64::from(clock) { 0 } else { d };
            self.scaled = (self.scaled + d).saturating_sub((self.scaled + 8) >> 4);
        }
        self.last = Some((timestamp, now));
    }

    fn samples(&self) -> u32 {
        u32::try_from(self.scaled >> 4).unwrap_or(u32::MAX)
    }
}

/// A duration in RTCP's units of 1/65536 s.
fn units_65536(d: Duration) -> u32 {
    u32::try_from((d.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(sequence: u16, timestamp: u32) -> RtpPacket<'static> {
        RtpPacket { payload_type: 0, marker: false, sequence, timestamp, ssrc: 1, header: 12, payload: b"x" }
    }

    fn fed(sequences: &[u16]) -> (InStats, Instant) {
        let (mut stats, t) = (InStats::new(8000), Instant::now());
        for &s in sequences {
            stats.received(&packet(s, u32::from(s) * 160), t);
        }
        (stats, t)
    }

    /// RFC 3550 A.1: the cycle count grows when the 16-bit number wraps.
    #[test]
    fn extended_numbers_grow_across_the_wrap() {
        let (mut stats, t) = fed(&[65534, 65535]);
        assert_eq!(stats.received(&packet(0, 0), t), Arrival::Newer(2 << 16));
        assert_eq!(stats.received(&packet(65533, 0), t), Arrival::Older((1 << 16) + 65533));
        assert_eq!(stats.report_block(t).unwrap().highest, 1 << 16);
    }

    #[test]
    fn a_packet_from_before_the_first_has_a_number_too() {
        let (mut stats, t) = fed(&[0]);
        assert_eq!(stats.received(&packet(65535, 0), t), Arrival::Older(65535));
    }

    /// RFC 3550 A.1: a jump of MAX_DROPOUT or more is believed only when the next packet follows it.
    #[test]
    fn a_large_jump_is_rejected_once_and_then_begins_anew() {
        let (mut stats, t) = fed(&[100, 101]);
        let epoch = stats.epoch();
        assert_eq!(stats.received(&packet(101 + 3000, 0), t), Arrival::Rejected);
        assert_eq!(stats.received(&packet(102, 0), t), Arrival::Newer((1 << 16) + 102));
        assert_eq!(stats.received(&packet(20_000, 0), t), Arrival::Rejected);
        assert_eq!(stats.epoch(), epoch);
        assert_eq!(stats.received(&packet(20_001, 0), t), Arrival::Begins((1 << 16) + 20_001));
        assert_eq!(stats.epoch(), epoch + 1);
        assert_eq!(stats.packets(), 4);
        assert_eq!(stats.received(&packet(20_001 + 2999, 0), t), Arrival::Newer((1 << 16) + 23_000));
        assert_eq!(stats.lost(), 2998);
    }

    #[test]
    fn another_ssrc_begins_anew_and_old_counts_stay() {
        let (mut stats, t) = fed(&[1, 2, 5]);
        assert_eq!((stats.packets(), stats.lost()), (3, 2));
        let other = RtpPacket { ssrc: 9, ..packet(40_000, 0) };
        assert!(matches!(stats.received(&other, t), Arrival::Begins(_)));
        assert_eq!((stats.packets(), stats.lost(), stats.ssrc()), (4, 2, Some(9)));
    }

    #[test]
    fn events_with_their_own_ssrc_do_not_disturb_the_audio() {
        let (mut stats, t) = fed(&[1, 2]);
        let event = RtpPacket { ssrc: 9, ..packet(7000, 0) };
        assert_eq!(stats.received_event(&event), Arrival::Rejected);
        assert_eq!(stats.received(&packet(3, 480), t), Arrival::Newer((1 << 16) + 3));
        assert_eq!(stats.received_event(&packet(4, 480)), Arrival::Newer((1 << 16) + 4));
        assert_eq!((stats.epoch(), stats.lost()), (1, 0));
    }

    /// RFC 3550 A.3: fraction of the interval in 1/256, rounded down, zero when duplicates outnumber losses.
    #[test]
    fn fraction_lost_counts_since_the_last_report() {
        let (mut stats, t) = fed(&[0, 1, 2, 4, 5, 6, 8, 9]);
        let block = stats.report_block(t).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (51, 2), "2 of 10");
        assert_eq!(stats.report_block(t).unwrap().fraction_lost, 0, "nothing expected since");
        stats.received(&packet(10, 0), t);
        stats.received(&packet(10, 0), t);
        stats.received(&packet(10, 0), t);
        let block = stats.report_block(t).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 0));
        stats.received(&packet(10, 0), t);
        assert_eq!(stats.report_block(t).unwrap().cumulative_lost, -1);
    }

    /// RFC 3550 §6.4.1: cumulative loss is a signed 24-bit number and sticks at its ends.
    #[test]
    fn cumulative_loss_stops_at_24_bits() {
        let (mut stats, t) = fed(&[0]);
        for n in 1..=3000u32 {
            stats.received(&packet((n * 2999) as u16, 0), t);
        }
        assert_eq!(stats.lost(), 3000 * 2998);
        assert_eq!(stats.report_block(t).unwrap().cumulative_lost, 0x7f_ffff);
    }

    /// RFC 3550 A.8 worked by hand: J += (|D| - J) / 16.
    #[test]
    fn jitter_follows_the_formula() {
        let (mut stats, t) = (InStats::new(8000), Instant::now());
        stats.received(&packet(0, 0), t);
        stats.received(&packet(1, 160), t + 20 * MS);
        assert_eq!(stats.jitter(), Duration::ZERO, "exactly in time");
        stats.received(&packet(2, 320), t + 60 * MS);
        assert_eq!(stats.report_block(t).unwrap().jitter, 160 / 16, "20 ms late");
        stats.received(&packet(3, 480), t + 60 * MS);
        let expected = 10.0 + (160.0 - 10.0) / 16.0;
        let jitter = f64::from(stats.report_block(t).unwrap().jitter);
        assert!((jitter - expected).abs() <= 1.0, "{jitter}");
    }

    #[test]
    fn steady_jitter_converges_to_its_size_and_ignores_timestamp_wrap() {
        let (mut stats, t) = (InStats::new(8000), Instant::now());
        for n in 0..1000u32 {
            let late = if n % 2 == 0 { 5 } else { 0 };
            stats.received(&packet(n as u16, (n * 160).wrapping_sub(80_000)), t + MS * (20 * n + late));
        }
        let micros = stats.jitter().as_micros();
        assert!((4_700..=5_300).contains(&micros), "{micros}");
    }

    /// RFC 3550 §6.4.1: LSR is the middle of the NTP time, DLSR in 1/65536 s.
    #[test]
    fn report_echoes_the_last_sender_report() {
        let (mut stats, t) = fed(&[1]);
        let block = stats.report_block(t).unwrap();
        assert_eq!((block.lsr, block.dlsr), (0, 0));
        stats.sender_report(0x1122_3344_5566_7788, t);
        let block = stats.report_block(t + 2500 * MS).unwrap();
        assert_eq!((block.lsr, block.dlsr), (0x3344_5566, 5 << 15));
    }

    proptest! {
        #[test]
        fn any_order_of_numbers_is_counted_without_panic(sequences in prop::collection::vec(any::<u16>(), 1..300)) {
            let (mut stats, t) = fed(&sequences);
            prop_assert!(stats.packets() <= sequences.len() as u64);
            prop_assert!(stats.report_block(t).is_some());
        }

        #[test]
        fn loss_is_exactly_what_was_dropped(dropped in prop::collection::vec(any::<bool>(), 1..2000), first in any::<u16>()) {
            let (mut stats, t) = (InStats::new(8000), Instant::now());
            let last = dropped.len();
            let mut lost = 0;
            for (n, &drop) in dropped.iter().enumerate() {
                // First and last arrive, so that the ends are known.
                if drop && n > 0 && n + 1 < last { lost += 1; continue; }
                stats.received(&packet(first.wrapping_add(n as u16), 0), t);
            }
            prop_assert_eq!(stats.lost(), lost);
        }
    }
}
