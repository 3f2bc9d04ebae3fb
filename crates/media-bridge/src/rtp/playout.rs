//! A jitter buffer with a playout clock, for what we record (or mix): whoever takes a frame every 20 ms gets one, and the
//! delay for that follows the network's jitter within bounds. It grows by frames that are made up and shrinks by frames
//! that are left out, in silence or where something is missing anyway.

use std::time::{Duration, Instant};

use types::limits::PLAYOUT_PACKETS;

use crate::control::Codec;
use crate::sdp::clock_rate;

/// Microseconds of one frame.
const FRAME: i64 = 20_000;
/// Microseconds of lateness that one place of the histogram stands for.
const PLACE: i64 = 10_000;
/// Places; the last one is for all that is later.
const PLACES: usize = 64;
/// Share of packets that are to come in time.
const IN_TIME: f32 = 0.99;
/// Packets after which a half of what was learnt is forgotten is about 0.7 times this: ten seconds.
const MEMORY: f32 = 500.0;
/// For so long the fastest packet counts as the measure of others, twice: clocks drift, and routes change (us).
const FASTEST: i64 = 10_000_000;
/// More delay than wanted before a frame is left out (us).
const TOO_MUCH: i64 = FRAME * 3 / 2;
/// Packets too late in a row after which the sender has set its timestamps back.
const LATE_IN_A_ROW: u32 = 5;
/// A jump of timestamps that begins a new timeline (us).
const JUMP: i64 = 5_000_000;
/// Frames made up in a row; after them there is silence.
const MADE_UP: u32 = 5;

/// What to play next.
#[derive(Debug)]
pub enum Step<'a> {
    /// This packet; [`Playout::played`] is told how long it was.
    Play(Codec, &'a [u8]),
    /// The same, but what it decodes to is left out.
    Skip(Codec, &'a [u8]),
    /// So many ticks are missing: recover them from this packet, which comes after them, or make them up.
    Conceal(u32, Option<&'a [u8]>),
    /// Nothing is missing: a frame is made up to gain time.
    Stretch,
    /// A frame of silence: nothing comes.
    Silence,
}

/// What was done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PlayoutTally {
    /// Packets played.
    pub played: u64,
    /// Times that something missing was made up or silence put in its place while packets came.
    pub concealed: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Frames put in to gain delay.
    pub stretched: u64,
    /// Frames left out to lose delay.
    pub skipped: u64,
}

#[derive(Debug)]
struct Slot {
    /// Extended timestamp.
    held: Option<i64>,
    payload: Vec<u8>,
}

/// See the module. Allocates when it is made, and where a payload is longer than any before.
#[derive(Debug)]
pub struct Playout {
    codec: Codec,
    clock: i64,
    /// Bounds of the delay (us).
    least: i64,
    most: i64,
    begun: Instant,
    slots: Vec<Slot>,
    /// The newest timestamp as sent, and extended.
    newest: Option<(u32, i64)>,
    /// The smallest transit of this window and the one before, and when this one began (us).
    fastest: (i64, i64, i64),
    /// Shares of packets by their lateness.
    lateness: [f32; PLACES],
    packets: u64,
    /// What is played next; none before the first packet.
    next: Option<i64>,
    /// Playing has begun.
    plays: bool,
    made_up: u32,
    late_in_a_row: u32,
    tally: PlayoutTally,
}

impl Playout {
    /// For packets of this codec; the delay stays within these bounds, which may be one.
    pub fn new(codec: Codec, least: Duration, most: Duration, now: Instant) -> Playout {
        let us = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX / 4);
        let mut slots = Vec::with_capacity(PLAYOUT_PACKETS);
        slots.resize_with(PLAYOUT_PACKETS, || Slot { held: None, payload: Vec::with_capacity(256) });
        Playout {
            codec,
            clock: i64::from(clock_rate(codec)),
            least: us(least),
            most: us(most),
            begun: now,
            slots,
            newest: None,
            fastest: (i64::MAX, i64::MAX, 0),
            lateness: [0.0; PLACES],
            packets: 0,
            next: None,
            plays: false,
            made_up: 0,
            late_in_a_row: 0,
            tally: PlayoutTally::default(),
        }
    }

    /// Whether it takes packets of this codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// What was done so far.
    pub fn tally(&self) -> PlayoutTally {
        self.tally
    }

    /// The delay that the network's jitter asks for, within the bounds.
    pub fn target(&self) -> Duration {
        Duration::from_micros(self.wanted() as u64)
    }

    /// The stream began anew: what is held belongs to the past.
    pub fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.held = None);
        (self.newest, self.next, self.plays) = (None, None, false);
        self.fastest = (i64::MAX, i64::MAX, 0);
        (self.made_up, self.late_in_a_row) = (0, 0);
    }

    /// Takes a packet.
    pub fn put(&mut self, timestamp: u32, payload: &[u8], now: Instant) {
        let mut at = self.extend(timestamp);
        if self.newest.is_some_and(|(_, newest)| self.us(at - newest).abs() > JUMP) {
            self.reset();
            at = self.extend(timestamp);
        }
        if self.newest.is_none_or(|(_, newest)| at > newest) {
            self.newest = Some((timestamp, at));
        }
        self.learn(at, now);
        let next = *self.next.get_or_insert(at);
        if at < next && self.plays {
            return self.came_late(timestamp, payload, now);
        }
        self.next = Some(next.min(at));
        self.late_in_a_row = 0;
        if self.slots.iter().any(|slot| slot.held == Some(at)) {
            return;
        }
        // The oldest gives way: more than this is no jitter.
        let free = self.slots.iter().position(|slot| slot.held.is_none());
        let oldest = || (0..self.slots.len()).min_by_key(|i| self.slots[*i].held);
        if let Some(slot) = free.or_else(oldest).and_then(|i| self.slots.get_mut(i)) {
            slot.held = Some(at);
            slot.payload.clear();
            slot.payload.extend_from_slice(payload);
        }
    }

    fn came_late(&mut self, timestamp: u32, payload: &[u8], now: Instant) {
        self.tally.late += 1;
        self.late_in_a_row += 1;
        if self.late_in_a_row >= LATE_IN_A_ROW {
            self.reset();
            self.put(timestamp, payload, now);
        }
    }

    /// What is to be heard from `at` on; `quiet`: what was heard last is so quiet that nobody misses or notices a frame.
    pub fn pull(&mut self, at: Instant, quiet: bool) -> Step<'_> {
        let Some(next) = self.next else { return Step::Silence };
        let (delay, wanted) = (self.time(at) - self.us(next) - self.base(), self.wanted());
        let (too_short, too_long) = (delay + FRAME / 2 < wanted, delay > wanted + TOO_MUCH);
        if !self.plays {
            if too_short {
                return Step::Silence;
            }
            self.plays = true;
        }
        self.drop_before(next);
        let found = (0..self.slots.len()).filter(|i| self.slots[*i].held.is_some());
        let Some(index) = found.min_by_key(|i| self.slots[*i].held) else {
            return self.starve(next, too_short);
        };
        let first = self.slots[index].held.unwrap_or(next);
        if first == next {
            return self.found(index, (too_short, too_long, delay), quiet);
        }
        // Something is missing before it.
        self.tally.concealed += 1;
        let missing = (first - next).min(FRAME * self.clock / 1_000_000);
        if too_long {
            self.tally.skipped += 1;
            self.next = Some(next + missing);
            return self.pull(at, quiet);
        }
        self.next = Some(next + missing);
        self.made_up += 1;
        let ticks = u32::try_from(missing).unwrap_or(0);
        match (self.made_up, first == next + missing) {
            (_, true) => Step::Conceal(ticks, Some(&self.slots[index].payload)),
            (made_up, false) if made_up > MADE_UP => Step::Silence,
            (_, false) => Step::Conceal(ticks, None),
        }
    }

    /// The packet that was given out last had so many ticks.
    pub fn played(&mut self, ticks: u32) {
        self.next = self.next.map(|next| next + i64::from(ticks.max(1)));
    }

    fn found(
        &mut self,
        index: usize,
        (too_short, too_long, delay): (bool, bool, i64),
        quiet: bool,
    ) -> Step<'_> {
        if too_short && quiet {
            self.tally.stretched += 1;
            return Step::Stretch;
        }
        self.made_up = 0;
        self.slots[index].held = None;
        let payload = &self.slots[index].payload;
        if too_long && (quiet || delay > self.most + 2 * FRAME) {
            self.tally.skipped += 1;
            return Step::Skip(self.codec, payload);
        }
        self.tally.played += 1;
        Step::Play(self.codec, payload)
    }

    /// Nothing is there at all: late, or the sender is quiet.
    fn starve(&mut self, next: i64, too_short: bool) -> Step<'_> {
        if too_short {
            self.tally.stretched += 1;
            return Step::Stretch;
        }
        let frame = FRAME * self.clock / 1_000_000;
        self.next = Some(next + frame);
        self.made_up += 1;
        if self.made_up > MADE_UP {
            return Step::Silence;
        }
        self.tally.concealed += 1;
        Step::Conceal(u32::try_from(frame).unwrap_or(0), None)
    }

    fn drop_before(&mut self, next: i64) {
        for slot in self.slots.iter_mut().filter(|slot| slot.held.is_some_and(|at| at < next)) {
            slot.held = None;
            self.tally.late += 1;
        }
    }

    /// Learns from when a packet came how late packets are.
    fn learn(&mut self, at: i64, now: Instant) {
        let (time, transit) = (self.time(now), self.time(now) - self.us(at));
        let (this, before, since) = &mut self.fastest;
        if time - *since > FASTEST {
            (*before, *this, *since) = (*this, transit, time);
        }
        *this = transit.min(*this);
        let lateness = transit - self.base();
        let place = usize::try_from(lateness / PLACE).unwrap_or(0).min(PLACES - 1);
        self.packets += 1;
        let weight = 1.0 / MEMORY.min(self.packets as f32);
        self.lateness.iter_mut().for_each(|share| *share *= 1.0 - weight);
        self.lateness[place] += weight;
    }

    /// Transit of the fastest packet of late (us).
    fn base(&self) -> i64 {
        self.fastest.0.min(self.fastest.1)
    }

    fn wanted(&self) -> i64 {
        let mut share = 0.0;
        let enough = |of: &f32| {
            share += of;
            share >= IN_TIME
        };
        let place = self.lateness.iter().position(enough).unwrap_or(0);
        ((place as i64 + 1) * PLACE).clamp(self.least, self.most)
    }

    fn extend(&self, timestamp: u32) -> i64 {
        match self.newest {
            None => i64::from(timestamp),
            Some((sent, extended)) => extended + i64::from(timestamp.wrapping_sub(sent) as i32),
        }
    }

    fn us(&self, ticks: i64) -> i64 {
        ticks * 1_000_000 / self.clock
    }

    fn time(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.begun).as_micros()).unwrap_or(i64::MAX / 4)
    }
}

#[cfg(test)]
mod tests;
