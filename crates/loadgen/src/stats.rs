//! What was counted in a span of time, and what it says.

/// One direction of all calls.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// Packets sent in the span.
    pub sent: u64,
    /// Those of them that came out.
    pub received: u64,
    /// How long each of them took, nanoseconds.
    pub latencies: Vec<u32>,
}

impl Counts {
    /// The share that did not come out.
    pub fn loss(&self) -> f64 {
        self.sent.saturating_sub(self.received) as f64 / self.sent.max(1) as f64
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Latency {
    /// Half took no longer.
    pub p50: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// 99.9 % took no longer.
    pub p999: f64,
}

/// Of all of these together.
pub fn latency(counts: &[Counts]) -> Latency {
    let mut all: Vec<u32> = counts.iter().flat_map(|one| one.latencies.iter().copied()).collect();
    all.sort_unstable();
    let us = |share| percentile(&all, share).map_or(f64::NAN, |ns| f64::from(ns) / 1e3);
    Latency { p50: us(0.5), p99: us(0.99), p999: us(0.999) }
}

/// The smallest value that `share` of the sorted values do not exceed.
pub fn percentile(sorted: &[u32], share: f64) -> Option<u32> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_value_that_the_share_does_not_exceed() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(500));
        assert_eq!(percentile(&sorted, 0.99), Some(990));
        assert_eq!(percentile(&sorted, 0.999), Some(999));
        assert_eq!(percentile(&sorted, 1.0), Some(1000));
        assert_eq!(percentile(&[7], 0.5), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn loss_is_the_share_of_what_was_sent() {
        let counts = Counts { sent: 200, received: 199, latencies: Vec::new() };
        assert!((counts.loss() - 0.005).abs() < 1e-9);
        assert!(Counts::default().loss() < 1e-9);
    }
}
