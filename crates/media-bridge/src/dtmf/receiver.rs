//! Hears digits. What browsers send arrives distorted (design §1): timestamps that step as if the clock were 48 kHz,
//! a tone over after two packets, marker and end in one. So an event is what shares SSRC and timestamp, its length is
//! the largest duration it claimed in the clock of its rtpmap; marker, spacing and order prove nothing, and the
//! end may never come.

use std::time::{Duration, Instant};

use super::digit;

/// No update for this long: the end packets are lost (RFC 4733 §2.5.2.2 wants at least three intervals of 50 ms).
const SILENCE: Duration = Duration::from_millis(250);
/// Finished events remembered against stragglers and the repeated ends.
const REMEMBERED: usize = 8;
/// A segment of a long event is full (RFC 4733 §2.5.1.3); the last packet of it that arrived may say a little less.
const NEARLY_FULL: u16 = 0xf000;

/// One press of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digit {
    /// `0-9`, `*`, `#`, `A-D`.
    pub digit: char,
    /// As the peer claims; may be zero.
    pub duration: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    ssrc: u32,
    timestamp: u32,
}

#[derive(Clone, Copy, Debug)]
struct Pressed {
    key: Key,
    event: u8,
    /// Samples of full segments before this one.
    before: u32,
    duration: u16,
    heard: Instant,
}

/// Events of one received stream.
#[derive(Debug)]
pub struct Receiver {
    clock: u32,
    pressed: Option<Pressed>,
    finished: [Option<Key>; REMEMBERED],
    oldest: usize,
    /// The last event that ended with a full segment: Chromium ends it and then sends the rest in another.
    full: Option<Pressed>,
    /// At most two digits come of one packet: one that it cuts short, one that it ends.
    ready: [Option<Digit>; 2],
}

impl Receiver {
    /// `clock`: of the telephone-event rtpmap, Hz.
    pub fn new(clock: u32) -> Receiver {
        Receiver {
            clock,
            pressed: None,
            finished: [None; REMEMBERED],
            oldest: 0,
            full: None,
            ready: [None; 2],
        }
    }

    /// Another clock was negotiated.
    pub fn set_clock(&mut self, clock: u32) {
        self.clock = clock;
    }

    /// Takes a packet of the telephone-event payload type; then `poll_digit` until none. Malformed ones and events that are no digits are ignored.
    pub fn handle_packet(&mut self, ssrc: u32, timestamp: u32, payload: &[u8], now: Instant) {
        let [event, flags, high, low, ..] = *payload else { return };
        if digit(event).is_none() {
            return;
        }
        let key = Key { ssrc, timestamp };
        if self.finished.contains(&Some(key)) {
            return;
        }
        let duration = u16::from_be_bytes([high, low]);
        let before = match self.pressed {
            Some(p) if p.key == key => p.before,
            Some(p) if continues(&p, key, event) => {
                self.forget(p.key);
                p.before + timestamp.wrapping_sub(p.key.timestamp)
            }
            Some(p) if p.key.ssrc == ssrc && (timestamp.wrapping_sub(p.key.timestamp) as i32) < 0 => {
                // A straggler of an event that was never heard of before: report it on its own.
                self.report(event, u32::from(duration));
                self.forget(key);
                return;
            }
            Some(_) => {
                self.finish();
                0
            }
            None => 0,
        };
        if self.full.is_some_and(|full| continues(&full, key, event)) {
            self.forget(key);
            return;
        }
        let longest = self.pressed.filter(|p| p.key == key).map_or(0, |p| p.duration);
        self.pressed = Some(Pressed { key, event, before, duration: duration.max(longest), heard: now });
        if flags & 0x80 != 0 {
            self.finish();
        }
    }

    /// Ends an event whose end packets are lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.finish();
        }
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pressed.map(|p| p.heard + SILENCE)
    }

    /// A digit that is complete.
    pub fn poll_digit(&mut self) -> Option<Digit> {
        let first = self.ready[0].take();
        self.ready.swap(0, 1);
        first
    }

    fn finish(&mut self) {
        if let Some(p) = self.pressed.take() {
            self.report(p.event, p.before + u32::from(p.duration));
            self.forget(p.key);
            self.full = (p.duration == u16::MAX).then_some(p);
        }
    }

    fn report(&mut self, event: u8, samples: u32) {
        let duration = Duration::from_micros(u64::from(samples) * 1_000_000 / u64::from(self.clock.max(1)));
        if let (Some(digit), Some(free)) = (digit(event), self.ready.iter_mut().find(|r| r.is_none())) {
            *free = Some(Digit { digit, duration });
        }
    }

    /// Further packets of this event are repetitions.
    fn forget(&mut self, key: Key) {
        self.finished[self.oldest] = Some(key);
        self.oldest = (self.oldest + 1) % REMEMBERED;
    }
}

/// Whether this is the next segment of an event too long for 16 bits (RFC 4733 §2.5.1.3).
fn continues(p: &Pressed, key: Key, event: u8) -> bool {
    let step = key.timestamp.wrapping_sub(p.key.timestamp);
    p.key.ssrc == key.ssrc
        && p.event == event
        && p.duration >= NEARLY_FULL
        && (u32::from(NEARLY_FULL)..=0x1_0fff).contains(&step)
}
