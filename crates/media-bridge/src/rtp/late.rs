//! Packets whose place is filled already: stragglers, or the stream from now on?

use std::time::{Duration, Instant};

/// Late packets that go on this long at their own pace are no stragglers.
const FOR_GOOD: Duration = Duration::from_millis(40);
/// The same after a pause, in which there was nothing to come late.
const AFTER_PAUSE: Duration = Duration::from_millis(20);

/// A run of late packets of one stream. Stragglers of a stalled network come all at once; when a sender's clock has stood
/// still, or its packets' way has become longer, late ones come as fast as they were spoken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    /// Timestamp and arrival of the run's first.
    first: Option<(u32, Instant)>,
}

impl Lateness {
    /// A late packet came, its timestamp in units of `clock` Hz; `paused`: after so much filling that its speaker was silent
    /// or its network stalled. True: the stream is to be followed where it is now.
    pub fn is_for_good(&mut self, timestamp: u32, clock: u32, paused: bool, now: Instant) -> bool {
        let (first, since) = *self.first.get_or_insert((timestamp, now));
        let ticks = u64::from(timestamp.wrapping_sub(first));
        let spoken = Duration::from_micros(ticks * 1_000_000 / u64::from(clock.max(1)));
        let (least, pace) = if paused { (AFTER_PAUSE, spoken / 2) } else { (FOR_GOOD, spoken / 4 * 3) };
        spoken >= least && now.saturating_duration_since(since) >= pace
    }

    /// One came in time.
    pub fn end(&mut self) {
        self.first = None;
    }
}
