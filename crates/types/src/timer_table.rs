use std::time::Instant;

/// Timers of one state machine, indexed by a small enum. `next` is O(N) over a fixed, small N.
///
/// `K` converts to an index below `N`; a key at or beyond `N` is a programming error.
#[derive(Clone, Debug)]
pub struct TimerTable<const N: usize> {
    at: [Option<Instant>; N],
}

impl<const N: usize> Default for TimerTable<N> {
    fn default() -> Self {
        TimerTable { at: [None; N] }
    }
}

impl<const N: usize> TimerTable<N> {
    /// Starts or restarts a timer.
    pub fn set(&mut self, key: impl Into<usize>, at: Instant) {
        self.at[key.into()] = Some(at);
    }

    /// Stops a timer; stopping a stopped one is fine.
    pub fn stop(&mut self, key: impl Into<usize>) {
        self.at[key.into()] = None;
    }

    /// When this timer fires, if it runs.
    pub fn get(&self, key: impl Into<usize>) -> Option<Instant> {
        self.at[key.into()]
    }

    /// Whether this timer is due; a due timer is stopped by asking.
    pub fn take_due(&mut self, key: impl Into<usize>, now: Instant) -> bool {
        let slot = &mut self.at[key.into()];
        let due = slot.is_some_and(|t| t <= now);
        if due {
            *slot = None;
        }
        due
    }

    /// The earliest timer that runs.
    pub fn next(&self) -> Option<Instant> {
        self.at.iter().flatten().min().copied()
    }

    /// Stops all.
    pub fn clear(&mut self) {
        self.at = [None; N];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_due_timer_fires_once_and_the_next_is_the_earliest() {
        let t0 = Instant::now();
        let mut table = TimerTable::<2>::default();
        table.set(0usize, t0 + Duration::from_secs(2));
        table.set(1usize, t0 + Duration::from_secs(1));
        assert_eq!(table.next(), Some(t0 + Duration::from_secs(1)));
        assert!(!table.take_due(1usize, t0));
        assert!(table.take_due(1usize, t0 + Duration::from_secs(1)));
        assert!(!table.take_due(1usize, t0 + Duration::from_secs(1)));
        assert_eq!(table.next(), Some(t0 + Duration::from_secs(2)));
    }
}
