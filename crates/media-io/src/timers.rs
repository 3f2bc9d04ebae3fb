//! When which call wants to be woken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Wake-ups of calls by slot. A call that wants to be woken later than it is armed for is woken early and asked again, so
/// the usual case (each packet moves the deadline back) costs nothing.
#[derive(Default, Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    armed: Vec<Option<Instant>>,
}

impl Timers {
    /// The call in `slot` wants to be woken at `at` (or not at all).
    pub(crate) fn arm(&mut self, slot: usize, at: Option<Instant>) {
        if self.armed.len() <= slot {
            self.armed.resize(slot + 1, None);
        }
        let Some(at) = at else { return };
        if self.armed[slot].is_none_or(|armed| at < armed) {
            self.armed[slot] = Some(at);
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// The slot's call is gone.
    pub(crate) fn disarm(&mut self, slot: usize) {
        if let Some(armed) = self.armed.get_mut(slot) {
            *armed = None;
        }
    }

    /// When `take_due` should be called next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A slot whose time has come; it is disarmed by this.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<usize> {
        while let Some(&Reverse((at, slot))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let armed = self.armed.get_mut(slot).and_then(|armed| armed.take_if(|armed| *armed == at));
            if armed.is_some() {
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_slot_is_due_once_at_its_earliest_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.arm(3, Some(at(50)));
        timers.arm(3, Some(at(20)));
        timers.arm(3, Some(at(70)));
        timers.arm(1, Some(at(30)));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.take_due(at(19)), None);
        assert_eq!(timers.take_due(at(40)), Some(3));
        assert_eq!(timers.take_due(at(40)), Some(1));
        assert_eq!(timers.take_due(at(100)), None, "the entry of 50 ms is stale");
    }

    #[test]
    fn a_disarmed_slot_is_never_due() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.arm(0, Some(now));
        timers.disarm(0);
        assert_eq!(timers.take_due(now), None);
        timers.arm(0, Some(now));
        assert_eq!(timers.take_due(now), Some(0), "the slot's next call has timers of its own");
    }
}
