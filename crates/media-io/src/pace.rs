//! When a worker's next turn may begin. Being woken for each packet costs more than the packet: under load a turn begins
//! no sooner than a fixed time after the last, and takes all that has come meanwhile.

use std::time::{Duration, Instant};

/// Shortest time from one turn's beginning to the next under load: the most by which a packet is delayed for the sake of
/// others. Longer is cheaper by a little (`benches/sockets`), but an eighth of a packet's frame is nothing to notice yet.
const TURN: Duration = Duration::from_micros(250);

/// The arithmetic, for one thread.
#[derive(Debug)]
pub(crate) struct Pace {
    begun: Instant,
    /// The turn began soon after the one before it.
    close: bool,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Pace {
        Pace { begun: now, close: false }
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        // Twice: what comes more seldom is woken for, what comes more often is collected, without a jump between.
        self.close = now.saturating_duration_since(self.begun) < 2 * TURN;
        self.begun = now;
    }

    /// How long to sleep before looking for more.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        if self.close { (self.begun + TURN).saturating_duration_since(now) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns in a second of packets every `gap`, each of which takes `work`, and the longest that one waited.
    fn second_of(gap: Duration, work: Duration) -> (u32, Duration) {
        let start = Instant::now();
        let (mut now, mut packet, mut turns, mut longest) = (start, start, 0, Duration::ZERO);
        let mut pace = Pace::new(now);
        while now < start + Duration::from_secs(1) {
            now += pace.rest(now);
            now = now.max(packet);
            pace.begin(now);
            turns += 1;
            while packet <= now {
                longest = longest.max(now - packet);
                packet += gap;
                now += work;
            }
        }
        (turns, longest)
    }

    const MICRO: Duration = Duration::from_micros(1);

    #[test]
    fn under_load_turns_are_few_and_no_packet_waits_longer_than_one() {
        let (turns, longest) = second_of(12 * MICRO, 4 * MICRO);
        assert!((3_000..4_010).contains(&turns), "{turns}");
        assert!(longest <= TURN, "{longest:?}");
    }

    #[test]
    fn a_packet_that_comes_alone_never_waits() {
        let (turns, longest) = second_of(1_000 * MICRO, 4 * MICRO);
        assert!((1_000..1_010).contains(&turns), "{turns}");
        assert_eq!(longest, Duration::ZERO);
    }

    #[test]
    fn who_has_more_work_than_time_does_not_rest() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.begin(now + 10 * MICRO);
        assert_eq!(pace.rest(now + 10 * MICRO), TURN);
        assert_eq!(pace.rest(now + 200 * MICRO), 60 * MICRO);
        assert_eq!(pace.rest(now + 260 * MICRO), Duration::ZERO);
    }
}
