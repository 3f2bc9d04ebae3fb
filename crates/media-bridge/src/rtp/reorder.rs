//! Puts packets in order for decoding. What is in order passes at once; only behind a gap is anything held, for as
//! long as this network has shown its stragglers to be late, and never behind more than a few packets.

use std::time::{Duration, Instant};

use types::limits::REORDER_PACKETS;

/// How long a gap holds back what follows it, before this network has shown better or worse.
const HOLD_AT_FIRST: Duration = Duration::from_millis(10);
/// Later than this no straggler is worth waiting for.
const HOLD_AT_MOST: Duration = Duration::from_millis(40);

/// What is kept of a packet beside its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Extended sequence number from `InStats`.
    pub extended: u64,
    /// Timestamp as sent.
    pub timestamp: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
}

/// What became of a packet put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admit {
    /// The next in order: use it now, then `poll`.
    Deliver,
    /// Kept behind a gap: `poll` when something else comes or at `poll_timeout`.
    Held,
    /// Its place was given up or is already used: drop and count.
    Late,
}

/// The next packet in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next<'a> {
    /// How many packets before it are missing for good: recover the last by FEC from this payload, conceal the others.
    pub lost: u64,
    /// Its numbers.
    pub head: Head,
    /// Its payload.
    pub payload: &'a [u8],
}

#[derive(Debug, Default)]
struct Slot {
    held: Option<(Head, Instant)>,
    payload: Vec<u8>,
}

/// See the module. Buffers are reused; they grow when a gap first holds packets.
#[derive(Debug)]
pub struct Reorder {
    /// The number that is next in order; none before the first packet.
    expected: Option<u64>,
    slots: [Slot; REORDER_PACKETS],
    hold: Duration,
    /// The newest gap that was given up: first number after it and when that packet had come.
    given_up: Option<(u64, Instant)>,
}

impl Default for Reorder {
    fn default() -> Reorder {
        Reorder::new()
    }
}

impl Reorder {
    /// Empty: the first packet put in is in order.
    pub fn new() -> Reorder {
        Reorder { expected: None, slots: Default::default(), hold: HOLD_AT_FIRST, given_up: None }
    }

    /// The stream began anew (`Arrival::Begins`): what is held is forgotten, the next packet is in order.
    pub fn reset(&mut self) {
        self.expected = None;
        self.given_up = None;
        for slot in &mut self.slots {
            slot.held = None;
        }
    }

    /// Takes a packet. Afterwards `poll` until none.
    pub fn push(&mut self, head: Head, payload: &[u8], now: Instant) -> Admit {
        let expected = *self.expected.get_or_insert(head.extended);
        if head.extended < expected {
            self.learn_lateness(head.extended, now);
            return Admit::Late;
        }
        if self.slots.iter().any(|s| s.held.is_some_and(|(h, _)| h.extended == head.extended)) {
            return Admit::Late;
        }
        if head.extended == expected {
            self.expected = Some(expected + 1);
            self.hold -= self.hold / 1024;
            return Admit::Deliver;
        }
        let Some(slot) = self.slots.iter_mut().find(|s| s.held.is_none()) else { return Admit::Late };
        slot.held = Some((head, now));
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
        Admit::Held
    }

    /// The next packet that is in order, or behind a gap that is given up. Call until none.
    pub fn poll(&mut self, now: Instant) -> Option<Next<'_>> {
        let expected = self.expected?;
        let (index, head, arrived) = self.oldest()?;
        let lost = head.extended - expected;
        if lost > 0 {
            if now < self.release_at(lost, arrived) {
                return None;
            }
            self.given_up = Some((head.extended, arrived));
        }
        self.expected = Some(head.extended + 1);
        let slot = &mut self.slots[index];
        slot.held = None;
        Some(Next { lost, head, payload: &slot.payload })
    }

    /// When `poll` will give up a gap; none while nothing is held.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (_, head, arrived) = self.oldest()?;
        Some(self.release_at(head.extended - self.expected?, arrived))
    }

    /// The caller has filled the place of the next packet itself (its gap timer ran out): should that packet still
    /// come, it is late.
    pub fn give_up_next(&mut self) {
        if let Some(expected) = self.expected.as_mut() {
            *expected += 1;
        }
    }

    fn release_at(&self, lost: u64, arrived: Instant) -> Instant {
        let full = self.slots.iter().all(|s| s.held.is_some());
        if lost == 0 || full || lost > REORDER_PACKETS as u64 { arrived } else { arrived + self.hold }
    }

    fn oldest(&self) -> Option<(usize, Head, Instant)> {
        let held = self.slots.iter().enumerate().filter_map(|(i, s)| s.held.map(|(h, at)| (i, h, at)));
        held.min_by_key(|(_, h, _)| h.extended)
    }

    /// A straggler for the newest gap shows how long to wait next time.
    fn learn_lateness(&mut self, extended: u64, now: Instant) {
        if let Some((_, since)) = self.given_up.take_if(|(after, _)| extended < *after) {
            let late = now.saturating_duration_since(since);
            if late <= HOLD_AT_MOST {
                self.hold = self.hold.max(late + late / 4).min(HOLD_AT_MOST);
            }
        }
    }
}
