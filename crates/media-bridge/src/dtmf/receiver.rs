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

    /// Whether a key is pressed just now.
    pub fn is_pressed(&self) -> bool {
        self.pressed.is_some()
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
                p.before.saturating_add(timestamp.wrapping_sub(p.key.timestamp))
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
            self.report(p.event, p.before.saturating_add(u32::from(p.duration)));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SSRC: u32 = 7;

    fn payload(event: u8, end: bool, duration: u16) -> [u8; 4] {
        let [high, low] = duration.to_be_bytes();
        [event, if end { 0x8a } else { 0x0a }, high, low]
    }

    struct Ear {
        receiver: Receiver,
        now: Instant,
    }

    impl Ear {
        fn new(clock: u32) -> Ear {
            Ear { receiver: Receiver::new(clock), now: Instant::now() }
        }

        fn hears(&mut self, timestamp: u32, event: u8, end: bool, duration: u16) -> Vec<(char, u128)> {
            self.receiver.handle_packet(SSRC, timestamp, &payload(event, end, duration), self.now);
            self.digits()
        }

        fn waits(&mut self, d: Duration) -> Vec<(char, u128)> {
            self.now += d;
            self.receiver.handle_timeout(self.now);
            self.digits()
        }

        fn digits(&mut self) -> Vec<(char, u128)> {
            std::iter::from_fn(|| self.receiver.poll_digit())
                .map(|d| (d.digit, d.duration.as_millis()))
                .collect()
        }
    }

    /// RFC 4733 §2.5.2.2: reported once, at the first of the three ends, with the length that the end claims.
    #[test]
    fn a_press_is_one_digit_with_its_final_duration() {
        let mut ear = Ear::new(8000);
        for n in 1..5 {
            assert_eq!(ear.hears(1000, 5, false, n * 160), []);
        }
        assert_eq!(ear.hears(1000, 5, true, 800), [('5', 100)]);
        assert_eq!(ear.hears(1000, 5, true, 800), []);
        assert_eq!(ear.hears(1000, 5, true, 800), []);
        assert_eq!(ear.receiver.poll_timeout(), None);
    }

    #[test]
    fn all_sixteen_digits_are_known_and_other_events_are_ignored() {
        let mut ear = Ear::new(8000);
        for (event, digit) in (0..16).zip("0123456789*#ABCD".chars()) {
            assert_eq!(ear.hears(u32::from(event) * 8000, event, true, 800), [(digit, 100)]);
        }
        assert_eq!(ear.hears(999, 16, true, 800), [], "hook flash");
        assert_eq!(ear.hears(999, 255, true, 800), []);
    }

    /// Design §1: duration is in the clock of the rtpmap, for 8, 16 and 48 kHz.
    #[test]
    fn duration_is_read_in_the_negotiated_clock() {
        for (clock, samples) in [(8000, 1600), (16_000, 3200), (48_000, 9600)] {
            assert_eq!(Ear::new(clock).hears(0, 1, true, samples), [('1', 200)]);
        }
    }

    /// Design §1: a browser that believes the clock to be 48 kHz ends a 200 ms tone after two packets of 960.
    #[test]
    fn a_browsers_hurried_event_is_one_digit() {
        let mut ear = Ear::new(8000);
        assert_eq!(ear.hears(0, 9, false, 960), []);
        assert_eq!(ear.hears(0, 9, true, 1920), [('9', 240)]);
        assert_eq!(ear.hears(0, 9, true, 1920), []);
        assert_eq!(
            ear.hears(24_000, 9, true, 1920),
            [('9', 240)],
            "marker and end in one packet, the same key again"
        );
    }

    #[test]
    fn lost_ends_are_replaced_by_silence() {
        let mut ear = Ear::new(8000);
        ear.hears(0, 3, false, 160);
        ear.hears(0, 3, false, 480);
        assert_eq!(ear.waits(200 * MS), []);
        assert_eq!(ear.waits(50 * MS), [('3', 60)]);
        assert_eq!(ear.hears(0, 3, true, 800), [], "too late for a second report");
    }

    #[test]
    fn lost_ends_are_replaced_by_the_next_digit() {
        let mut ear = Ear::new(8000);
        ear.hears(0, 3, false, 480);
        assert_eq!(ear.hears(2000, 4, true, 800), [('3', 60), ('4', 100)]);
    }

    #[test]
    fn reordered_updates_do_not_shorten_or_repeat_a_digit() {
        let mut ear = Ear::new(8000);
        ear.hears(0, 3, false, 480);
        ear.hears(0, 3, false, 320);
        assert_eq!(ear.hears(2000, 4, false, 160), [('3', 60)]);
        assert_eq!(ear.hears(0, 3, true, 800), [], "a straggler of the digit before");
        assert_eq!(ear.hears(2000, 4, true, 800), [('4', 100)]);
    }

    #[test]
    fn the_same_digit_twice_is_told_by_its_timestamp() {
        let mut ear = Ear::new(8000);
        assert_eq!(ear.hears(0, 2, true, 800), [('2', 100)]);
        assert_eq!(ear.hears(1360, 2, true, 800), [('2', 100)]);
    }

    /// RFC 4733 §2.5.1.3: a segment is full at 0xffff, the next begins there and the event goes on.
    #[test]
    fn a_long_press_in_segments_is_one_digit() {
        let mut ear = Ear::new(48_000);
        for n in 1..=68 {
            ear.hears(u32::MAX - 9, 8, false, n * 960);
        }
        ear.hears(u32::MAX - 9, 8, false, 65_535);
        let second = (u32::MAX - 9).wrapping_add(65_535);
        assert_eq!(ear.hears(second, 8, false, 705), []);
        assert_eq!(ear.hears(u32::MAX - 9, 8, false, 65_535), [], "straggler of the first segment");
        assert_eq!(ear.hears(second, 8, true, 30_465), [('8', 2000)]);
    }

    /// Chromium ends the full segment and sends the rest at a timestamp of its own.
    #[test]
    fn a_segment_ended_when_full_does_not_make_the_rest_a_second_digit() {
        let mut ear = Ear::new(48_000);
        ear.hears(0, 8, false, 64_320);
        assert_eq!(ear.hears(0, 8, true, 65_535), [('8', 1365)]);
        assert_eq!(ear.hears(66_240, 8, true, 705), []);
        assert_eq!(ear.hears(66_240, 8, true, 705), []);
        assert_eq!(ear.hears(80_000, 8, true, 4800), [('8', 100)]);
    }

    #[test]
    fn another_ssrc_is_another_event() {
        let mut ear = Ear::new(8000);
        ear.hears(0, 1, true, 800);
        ear.receiver.handle_packet(99, 0, &payload(1, true, 800), ear.now);
        assert_eq!(ear.digits(), [('1', 100)]);
    }

    /// RFC 4733 §2.5.1.3: segments without end; the length stops at what can be counted.
    #[test]
    fn an_event_that_never_ends_is_as_long_as_can_be_said() {
        let (mut receiver, now) = (Receiver::new(8_000), Instant::now());
        for segment in 0..70_000u32 {
            let timestamp = segment.wrapping_mul(0xffff);
            receiver.handle_packet(SSRC, timestamp, &payload(5, false, u16::MAX), now);
        }
        receiver.handle_timeout(now + SILENCE);
        let longest = Duration::from_micros(u64::from(u32::MAX) * 125);
        assert_eq!(receiver.poll_digit(), Some(Digit { digit: '5', duration: longest }));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(packets in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..6), 0u32..400), 0..100)) {
            let mut ear = Ear::new(8000);
            for (timestamp, bytes, wait) in packets {
                ear.receiver.handle_packet(SSRC, timestamp, &bytes, ear.now);
                ear.waits(MS * wait);
            }
        }
    }
}
