//! What RFC 3550 wants known of a stream that we receive: A.1 sequence, A.3 loss, A.8 jitter, and the report block.

use std::time::{Duration, Instant};

use super::packet::RtpPacket;
use super::rtcp::ReportBlock;

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
        InStats { clock, current: None, epoch: 0, past_received: 0, past_lost: 0, sender_report: None }
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

    /// Counts a telephone-event packet: all of one event share a timestamp, which would spoil the jitter.
    pub fn received_event(&mut self, packet: &RtpPacket<'_>) -> Arrival {
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
            return Arrival::Older(c.highest - u64::from(delta.wrapping_neg()));
        }
        if delta < MAX_DROPOUT {
            c.highest += u64::from(delta);
            c.received += 1;
            c.bad_sequence = None;
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
