//! When a worker's next turn may begin. Being woken for each packet costs more than the packet: under load a turn begins
//! no sooner than a fixed time after the last, and takes all that has come meanwhile.

use std::time::{Duration, Instant};

/// Shortest time from one turn's beginning to the next under load: the most by which a packet is delayed for the sake of
/// others. Longer is cheaper by a little (`benches/sockets`), but then the slowest relayed packets take over a millisecond.
const TURN: Duration = Duration::from_micros(500);
/// What a turn works on is out at its end only, so the busier a turn, the sooner the next: waiting for a turn and being
/// in it together take at most this many tenths of a turn's time.
const REACH: u32 = 14;
/// A turn where packets are transcoded: next to a codec's own delay of 6.5 ms nobody notices.
const LONG_TURN: Duration = Duration::from_millis(1);
/// A packet on which more work is done than this is transcoded, not relayed.
const TRANSCODED: Duration = Duration::from_micros(25);
/// Of how many turns, about, means are.
const SMOOTHING: u32 = 16;

/// The arithmetic, for one thread.
#[derive(Debug)]
pub(crate) struct Pace {
    begun: Instant,
    /// How long a turn works: the mean.
    took: Duration,
    /// The turn began soon after the one before it.
    close: bool,
    /// Mean work of a packet.
    work: Duration,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Pace {
        Pace { begun: now, took: Duration::ZERO, close: false, work: Duration::ZERO }
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        // Twice: what comes more seldom is woken for, what comes more often is collected, without a jump between.
        self.close = now.saturating_duration_since(self.begun) < 2 * self.turn();
        self.begun = now;
    }

    /// The turn ends; it had so many packets.
    pub(crate) fn end(&mut self, packets: u32, now: Instant) {
        let took = now.saturating_duration_since(self.begun);
        self.took = mean(self.took, took);
        if packets > 0 {
            self.work = mean(self.work, took / packets);
        }
    }

    /// How long to sleep before looking for more.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        if !self.close {
            return Duration::ZERO;
        }
        let turn = self.turn();
        let gap = turn.min((turn * REACH / 10).saturating_sub(self.took));
        (self.begun + gap).saturating_duration_since(now)
    }

    fn turn(&self) -> Duration {
        if self.work < TRANSCODED { TURN } else { LONG_TURN }
    }
}

fn mean(old: Duration, new: Duration) -> Duration {
    (old * (SMOOTHING - 1) + new) / SMOOTHING
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns in a second of packets every `gap`, each of which takes `work`, and the longest that one waited and until the
    /// turn that had it was through.
    fn second_of(gap: Duration, work: Duration) -> (u32, Duration, Duration) {
        let start = Instant::now();
        let (mut now, mut packet, mut turns, mut longest) = (start, start, 0, Duration::ZERO);
        let mut through = Duration::ZERO;
        let mut pace = Pace::new(now);
        while now < start + Duration::from_secs(1) {
            now += pace.rest(now);
            now = now.max(packet);
            pace.begin(now);
            turns += 1;
            let (mut packets, first, there) = (0, packet, now);
            while packet <= there {
                longest = longest.max(now - packet);
                packet += gap;
                now += work;
                packets += 1;
            }
            pace.end(packets, now);
            // The first turns know little of those before them.
            if turns > 2 * SMOOTHING {
                through = through.max(now - first);
            }
        }
        (turns, longest, through)
    }

    const MICRO: Duration = Duration::from_micros(1);

    #[test]
    fn under_load_turns_are_few_and_no_packet_waits_longer_than_one() {
        let (turns, longest, _) = second_of(12 * MICRO, 4 * MICRO);
        assert!((1_500..2_010).contains(&turns), "{turns}");
        assert!(longest <= TURN, "{longest:?}");
    }

    #[test]
    fn the_busier_a_worker_the_sooner_its_next_turn_so_that_no_packet_is_out_later() {
        let (idle, ..) = second_of(20 * MICRO, MICRO);
        let (busy, _, through) = second_of(5 * MICRO, 4 * MICRO);
        assert!((1_900..2_010).contains(&idle), "{idle}");
        assert!((2_450..2_700).contains(&busy), "{busy}");
        assert!(through <= TURN * 3 / 2, "{through:?}");
    }

    #[test]
    fn turns_of_transcoding_are_longer() {
        let (turns, longest, _) = second_of(150 * MICRO, 90 * MICRO);
        assert!((750..1_200).contains(&turns), "{turns}");
        assert!(longest <= LONG_TURN, "{longest:?}");
    }

    #[test]
    fn a_packet_that_comes_alone_never_waits() {
        let (turns, longest, _) = second_of(2_000 * MICRO, 4 * MICRO);
        assert!((500..510).contains(&turns), "{turns}");
        assert_eq!(longest, Duration::ZERO);
    }

    #[test]
    fn who_has_more_work_than_time_does_not_rest() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.begin(now + 10 * MICRO);
        assert_eq!(pace.rest(now + 10 * MICRO), TURN);
        assert_eq!(pace.rest(now + 400 * MICRO), 110 * MICRO);
        assert_eq!(pace.rest(now + 510 * MICRO), Duration::ZERO);
    }
}
