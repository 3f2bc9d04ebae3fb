//! The VoIP metrics of a received stream since its beginning (RFC 3611 §4.7).

use super::emodel::{Conditions, mos};
use super::losses::GMIN;
use super::monitor::{FRAME, LONGEST_BUFFER, Observed};
use crate::rtp::xr::{UNKNOWN, VoipMetrics};

impl Observed<'_> {
    /// What the stream's sender may be told. Packets that came late are discarded ones; bursts are of lost ones.
    pub fn voip_metrics(&self, ssrc: u32) -> VoipMetrics {
        let (counts, bursts) = (self.losses.counts(), self.losses.bursts());
        let discarded = self.late.saturating_sub(self.losses.duplicates()).min(counts.expected);
        let outside = counts.expected - bursts.packets;
        let gaps = bursts.count + 1;
        let loss = share(counts.lost, counts.expected) + share(discarded, counts.expected);
        let heard = Conditions {
            codec: self.codec,
            wide: self.wide,
            loss: loss.min(1.0),
            burst_ratio: counts.burst_ratio(),
            delay_ms: FRAME,
        };
        let talked = Conditions { delay_ms: self.delay(self.jitter), ..heard };
        let rating = talked.rating() / if self.wide { 1.29 } else { 1.0 };
        let buffer = self.buffer(self.jitter) as u16;
        VoipMetrics {
            ssrc,
            loss_rate: in_256(counts.lost, counts.expected),
            discard_rate: in_256(discarded, counts.expected),
            burst_density: in_256(bursts.lost, bursts.packets),
            gap_density: in_256(counts.lost - bursts.lost, outside),
            burst_duration: length(bursts.packets, bursts.count),
            gap_duration: length(outside, gaps),
            round_trip: self.round_trip.map_or(0, |d| d.as_millis().min(u128::from(u16::MAX)) as u16),
            end_system_delay: self.own_delay(self.jitter) as u16,
            levels: [UNKNOWN; 3],
            gmin: GMIN as u8,
            r_factor: rating.clamp(0.0, 100.0).round() as u8,
            external_r_factor: UNKNOWN,
            mos_lq: tenths(heard.mos()),
            mos_cq: tenths(mos(talked.rating(), self.wide)),
            // Concealment and buffer are the listener's behind us as much as ours: not said.
            receiver: 0,
            buffer: [buffer, buffer, LONGEST_BUFFER as u16],
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn in_256(part: u64, whole: u64) -> u8 {
    (share(part, whole) * 256.0).min(255.0) as u8
}

/// Mean length of `count` stretches of so many packets altogether, milliseconds.
fn length(packets: u64, count: u64) -> u16 {
    let ms = (packets * FRAME as u64).checked_div(count).unwrap_or(0);
    u16::try_from(ms).unwrap_or(u16::MAX)
}

fn tenths(mos: f64) -> u8 {
    (mos * 10.0).round().clamp(10.0, 50.0) as u8
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::Codec;
    use crate::quality::Losses;

    #[test]
    fn metrics_are_those_of_the_stream_so_far() {
        let mut losses = Losses::default();
        losses.begin(0);
        // 1,000 packets; ten of them lost in one burst of 19, one alone.
        let lost = |n: u64| n == 900 || ((200..220).contains(&n) && n.is_multiple_of(2));
        (1..1_016).filter(|n| !lost(*n)).for_each(|n| losses.newer(n));
        let observed = Observed {
            codec: Codec::Pcmu,
            wide: false,
            losses: &losses,
            late: 0,
            jitter: Duration::from_millis(10),
            round_trip: Some(Duration::from_millis(80)),
        };
        let metrics = observed.voip_metrics(9);
        assert_eq!((metrics.ssrc, metrics.loss_rate, metrics.discard_rate), (9, 2, 0), "11 of 1,000");
        assert_eq!((metrics.burst_density, metrics.burst_duration), (134, 380), "10 of 19 packets");
        assert_eq!((metrics.gap_density, metrics.gap_duration), (0, 9_810));
        assert_eq!((metrics.round_trip, metrics.gmin, metrics.buffer), (80, 16, [40, 40, 200]));
        assert_eq!((metrics.end_system_delay, metrics.levels), (60, [UNKNOWN; 3]));
        assert!((85..=90).contains(&metrics.r_factor), "{metrics:?}");
        assert!((42..=44).contains(&metrics.mos_cq) && metrics.mos_lq >= metrics.mos_cq, "{metrics:?}");
    }

    #[test]
    fn of_nothing_nothing_is_bad() {
        let losses = Losses::default();
        let observed = Observed {
            codec: Codec::Opus,
            wide: true,
            losses: &losses,
            late: 3,
            jitter: Duration::ZERO,
            round_trip: None,
        };
        let metrics = observed.voip_metrics(9);
        assert_eq!((metrics.loss_rate, metrics.discard_rate, metrics.burst_duration), (0, 0, 0));
        assert!(metrics.r_factor <= 100 && metrics.mos_lq <= 50);
    }
}
