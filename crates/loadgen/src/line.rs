//! A bad line: what becomes of each packet that is sent over it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrives at once.
    Prompt,
    /// It arrives so much later.
    Late(Duration),
    /// It never arrives.
    Lost,
}

/// The fates of packets by their number; those after the last one are prompt.
#[derive(Clone, Default, Debug)]
pub struct Line(pub Vec<Fate>);

impl Line {
    /// Of the packet of this number, counted from 0.
    pub fn fate(&self, number: u64) -> Fate {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        self.0.get(at).copied().unwrap_or(Fate::Prompt)
    }

    /// How many packets never arrive.
    pub fn losses(&self) -> u64 {
        self.0.iter().filter(|fate| **fate == Fate::Lost).count() as u64
    }

    /// Whether this packet never arrives.
    pub fn loses(&self, number: u64) -> bool {
        self.fate(number) == Fate::Lost
    }
}

/// Packets that are on their transit.
#[derive(Default, Debug)]
pub struct Transit<T> {
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    packets: HashMap<u64, T>,
    next: u64,
}

impl<T> Transit<T> {
    /// No packet yet.
    pub fn new() -> Transit<T> {
        Transit { waiting: BinaryHeap::new(), packets: HashMap::new(), next: 0 }
    }

    /// Puts a packet on its way; it arrives at `due`, nanoseconds.
    pub fn put(&mut self, due: u64, packet: T) {
        self.packets.insert(self.next, packet);
        self.waiting.push(Reverse((due, self.next)));
        self.next += 1;
    }

    /// The next one that has arrived by `now`; those of one time in the order in which they were put.
    pub fn take(&mut self, now: u64) -> Option<T> {
        let Reverse((due, number)) = *self.waiting.peek()?;
        if due > now {
            return None;
        }
        self.waiting.pop();
        self.packets.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_when_they_are_due_and_equal_ones_in_order() {
        let mut transit = Transit::new();
        for (due, packet) in [(30, 'c'), (10, 'a'), (30, 'd'), (20, 'b')] {
            transit.put(due, packet);
        }
        assert_eq!(transit.take(9), None);
        let all: Vec<char> = std::iter::from_fn(|| transit.take(30)).collect();
        assert_eq!(all, ['a', 'b', 'c', 'd']);
        assert_eq!(transit.take(u64::MAX), None);
    }

    #[test]
    fn packets_after_the_last_fate_are_prompt() {
        let line = Line(vec![Fate::Prompt, Fate::Lost]);
        assert!(line.loses(1) && !line.loses(0) && !line.loses(2));
        assert_eq!(line.fate(u64::MAX), Fate::Prompt);
    }
}
