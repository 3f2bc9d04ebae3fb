//! How busy a worker is: the share of its time in which it does not wait for sockets or timers. Time in which the system
//! gives its core to someone else counts as busy, as long as there is work: what is left is what may be promised.

use std::time::{Duration, Instant};

/// How often it is measured.
const INTERVAL: Duration = Duration::from_millis(500);
/// What one measurement counts against those before: after a second three quarters of the old are forgotten.
const WEIGHT: f32 = 0.5;
/// Below this an idle worker is not woken to measure itself.
const NOTICEABLE: f32 = 0.01;

/// The arithmetic, for one thread.
#[derive(Debug)]
pub(crate) struct Load {
    since: Instant,
    waited: Duration,
    smoothed: f32,
}

impl Load {
    pub(crate) fn new(now: Instant) -> Load {
        Load { since: now, waited: Duration::ZERO, smoothed: 0.0 }
    }

    /// The thread has waited so long.
    pub(crate) fn handle_wait(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// The load, 0 to 1, each time that it is measured anew.
    pub(crate) fn measure(&mut self, now: Instant) -> Option<f32> {
        let passed = now.saturating_duration_since(self.since);
        if passed < INTERVAL {
            return None;
        }
        let busy = passed.saturating_sub(self.waited).as_secs_f32() / passed.as_secs_f32();
        let old = (1.0 - WEIGHT).powf(passed.as_secs_f32() / INTERVAL.as_secs_f32());
        self.smoothed = self.smoothed * old + busy * (1.0 - old);
        (self.since, self.waited) = (now, Duration::ZERO);
        Some(self.smoothed)
    }

    /// When to measure even if nothing happens; none: nobody would notice a difference. `watched`: somebody would.
    pub(crate) fn poll_timeout(&self, watched: bool) -> Option<Instant> {
        (watched || self.smoothed > NOTICEABLE).then(|| self.since + INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that works `busy` of every 10 ms for `seconds`; its last load.
    fn works(load: &mut Load, now: &mut Instant, busy: f32, seconds: u32) -> f32 {
        let turn = Duration::from_millis(10);
        let mut last = load.smoothed;
        for _ in 0..seconds * 100 {
            *now += turn;
            load.handle_wait(turn.mul_f32(1.0 - busy));
            last = load.measure(*now).unwrap_or(last);
        }
        last
    }

    #[test]
    fn the_load_follows_the_share_of_work_within_seconds() {
        let mut now = Instant::now();
        let mut load = Load::new(now);
        assert!((0.35..0.4).contains(&works(&mut load, &mut now, 0.5, 1)), "not at once");
        assert!((0.49..0.51).contains(&works(&mut load, &mut now, 0.5, 4)));
        assert!(works(&mut load, &mut now, 1.0, 4) > 0.98);
        assert!(works(&mut load, &mut now, 0.0, 4) < 0.01);
    }

    #[test]
    fn one_long_turn_weighs_as_much_as_many_short_ones() {
        let mut now = Instant::now();
        let (mut long, mut short) = (Load::new(now), Load::new(now));
        works(&mut short, &mut now, 1.0, 3);
        let at_once = long.measure(now).unwrap();
        assert!((at_once - short.smoothed).abs() < 0.01, "{at_once} {}", short.smoothed);
    }

    #[test]
    fn who_falls_asleep_busy_wakes_until_idle_and_then_sleeps_on() {
        let mut now = Instant::now();
        let mut load = Load::new(now);
        assert_eq!(load.poll_timeout(false), None);
        works(&mut load, &mut now, 1.0, 3);
        let mut wakes = 0;
        while let Some(at) = load.poll_timeout(false) {
            load.handle_wait(at - now);
            now = at;
            assert!(load.measure(now).is_some());
            wakes += 1;
        }
        assert!((5..10).contains(&wakes), "{wakes}");
        assert!(load.smoothed <= NOTICEABLE);
        assert!(load.poll_timeout(true).is_some());
    }
}
