//! Puts packets in order for decoding. What is in order passes at once; only behind a gap is anything held, for as
//! long as this network has shown its stragglers to be late, and never behind more than a few packets.

use std::time::{Duration, Instant};

use types::limits::REORDER_PACKETS;

/// How long a gap holds back what follows it, before this network has shown better or worse.
const HOLD_AT_FIRST: Duration = Duration::from_millis(10);
/// Bytes kept ready for a held payload: 20 ms of any codec in use, 30 ms of G.711.
const USUAL_PAYLOAD: usize = 256;
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

/// See the module. Buffers are reused; they are made when a gap first holds packets.
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

    /// Room for held payloads, made once: only a network that loses or reorders needs it.
    fn make_room(&mut self) {
        if self.slots[0].payload.capacity() == 0 {
            for slot in &mut self.slots {
                slot.payload.reserve(USUAL_PAYLOAD);
            }
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
        self.make_room();
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

#[cfg(test)]
mod traces;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn head(extended: u64) -> Head {
        Head { extended, timestamp: extended as u32 * 160, payload_type: 0, marker: false }
    }

    fn push(r: &mut Reorder, extended: u64, now: Instant) -> Admit {
        r.push(head(extended), &extended.to_be_bytes(), now)
    }

    /// What comes out now: (lost before it, number); payloads are checked on the way.
    fn drain(r: &mut Reorder, now: Instant) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        while let Some(next) = r.poll(now) {
            assert_eq!(next.payload, next.head.extended.to_be_bytes());
            out.push((next.lost, next.head.extended));
        }
        out
    }

    /// Design §3: nothing is buffered for its own sake.
    #[test]
    fn packets_in_order_pass_at_once() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        for n in 70_000..70_100 {
            assert_eq!(push(&mut r, n, t), Admit::Deliver);
            assert_eq!(r.poll(t), None);
            assert_eq!(r.poll_timeout(), None);
        }
    }

    #[test]
    fn two_swapped_packets_come_out_in_order_without_loss() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        push(&mut r, 1, t);
        assert_eq!(push(&mut r, 3, t), Admit::Held);
        assert_eq!(drain(&mut r, t), []);
        assert_eq!(push(&mut r, 2, t + MS), Admit::Deliver);
        assert_eq!(drain(&mut r, t + MS), [(0, 3)]);
        assert_eq!(r.poll_timeout(), None);
    }

    #[test]
    fn a_lost_packet_is_given_up_after_the_hold_with_the_next_at_hand() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        push(&mut r, 1, t);
        push(&mut r, 4, t + 60 * MS);
        let deadline = r.poll_timeout().unwrap();
        assert!(deadline > t + 60 * MS && deadline <= t + 60 * MS + HOLD_AT_FIRST);
        assert_eq!(drain(&mut r, deadline - MS), []);
        assert_eq!(drain(&mut r, deadline), [(2, 4)]);
        assert_eq!(push(&mut r, 2, deadline), Admit::Late);
        assert_eq!(push(&mut r, 5, deadline), Admit::Deliver);
    }

    #[test]
    fn duplicates_are_late_held_or_not() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        push(&mut r, 1, t);
        assert_eq!(push(&mut r, 1, t), Admit::Late);
        push(&mut r, 3, t);
        assert_eq!(push(&mut r, 3, t), Admit::Late);
        assert_eq!(push(&mut r, 2, t), Admit::Deliver);
        assert_eq!(drain(&mut r, t), [(0, 3)]);
    }

    /// `limits::REORDER_PACKETS`: full, the oldest is released.
    #[test]
    fn a_full_buffer_gives_up_the_gap_at_once() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        push(&mut r, 1, t);
        let last = 2 + REORDER_PACKETS as u64;
        for n in 3..last {
            assert_eq!(push(&mut r, n, t), Admit::Held);
            assert_eq!(drain(&mut r, t), []);
        }
        assert_eq!(push(&mut r, last, t), Admit::Held);
        let out = drain(&mut r, t);
        assert_eq!(out[0], (1, 3));
        assert_eq!(out.len(), REORDER_PACKETS);
    }

    #[test]
    fn a_gap_longer_than_the_buffer_is_not_waited_for() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        push(&mut r, 1, t);
        push(&mut r, 60, t);
        assert_eq!(drain(&mut r, t), [(58, 60)]);
    }

    #[test]
    fn a_network_that_shows_late_stragglers_is_waited_for_longer_but_not_for_ever() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        push(&mut r, 1, t);
        push(&mut r, 3, t);
        drain(&mut r, t + 10 * MS);
        assert_eq!(push(&mut r, 2, t + 16 * MS), Admit::Late);
        push(&mut r, 5, t + 40 * MS);
        assert_eq!(r.poll_timeout(), Some(t + 60 * MS), "16 ms and a quarter");
        assert_eq!(push(&mut r, 4, t + 56 * MS), Admit::Deliver);
        assert_eq!(drain(&mut r, t + 56 * MS), [(0, 5)]);
        for n in 6..20_000 {
            push(&mut r, n, t + 60 * MS);
        }
        push(&mut r, 20_001, t + 60 * MS);
        assert!(r.poll_timeout().unwrap() < t + 61 * MS, "forgotten in a quiet network");
    }

    #[test]
    fn a_reset_forgets_what_is_held() {
        let (mut r, t) = (Reorder::new(), Instant::now());
        push(&mut r, 1, t);
        push(&mut r, 3, t);
        r.reset();
        assert_eq!(r.poll(t + MS * 100), None);
        assert_eq!(r.poll_timeout(), None);
        assert_eq!(push(&mut r, 900, t), Admit::Deliver);
    }

    proptest! {
        /// Every number comes out at most once, in order, and loss plus delivery accounts for all of them.
        #[test]
        fn whatever_arrives_comes_out_once_and_in_order(arrivals in prop::collection::vec((1u64..60, 0u32..15), 1..150)) {
            let (mut r, mut now) = (Reorder::new(), Instant::now());
            let mut out = Vec::new();
            for (n, wait) in arrivals {
                now += MS * wait;
                out.extend(drain(&mut r, now));
                if push(&mut r, 100 + n, now) == Admit::Deliver {
                    out.push((0, 100 + n));
                }
                out.extend(drain(&mut r, now));
            }
            out.extend(drain(&mut r, now + HOLD_AT_MOST));
            prop_assert_eq!(r.poll_timeout(), None);
            for pair in out.windows(2) {
                prop_assert_eq!(pair[1].1, pair[0].1 + pair[1].0 + 1);
            }
        }
    }
}
