use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// The next deadline of every owner, ordered: setting, removing and asking cost O(log n).
#[derive(Debug)]
pub(super) struct Schedule<K> {
    by_time: BTreeSet<(Instant, K)>,
    of: HashMap<K, Instant>,
}

impl<K> Default for Schedule<K> {
    fn default() -> Self {
        Schedule { by_time: BTreeSet::new(), of: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Schedule<K> {
    /// Replaces an owner's deadline.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.of.insert(key, at),
            None => self.of.remove(&key),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key));
        }
    }

    /// Takes the owner whose deadline is due longest.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.of.remove(&key);
        Some(key)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn fifty_thousand_owners_come_due_in_order_and_each_once() {
        let t0 = Instant::now();
        let mut schedule = Schedule::default();
        for i in 0..50_000u64 {
            schedule.set(i, Some(t0 + Duration::from_millis(i * 7919 % 50_000)));
        }
        for i in 0..50_000u64 {
            if i % 2 == 0 {
                schedule.set(i, None);
            }
        }
        let mut last = t0;
        let mut popped = 0;
        while let Some(at) = schedule.next() {
            assert!(at >= last);
            last = at;
            assert!(schedule.pop_due(at).is_some_and(|k| k % 2 == 1));
            popped += 1;
        }
        assert_eq!(popped, 25_000);
        assert!(schedule.of.is_empty());
    }
}
