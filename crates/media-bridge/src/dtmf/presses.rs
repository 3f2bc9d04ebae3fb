//! One press, one digit, although some peers say it in several ways: by telephone-event, by SIP INFO, as a tone in the
//! audio (field problem 17).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use types::limits::DTMF_QUEUE;

/// How a digit came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Telephone-event in the media.
    Media,
    /// INFO in the signalling.
    Signalling,
    /// Tones in the audio.
    Tones,
}

/// How far two reports of one press may lie apart, beside its length: some tell of its beginning, some of its end.
const TOGETHER: Duration = Duration::from_secs(1);
/// Longest press that is waited for.
const LONGEST: Duration = Duration::from_secs(6);

#[derive(Debug)]
struct Press {
    digit: char,
    /// Ways by which it was reported, as bits.
    ways: u8,
    first: Instant,
    /// The longest that was claimed.
    duration: Duration,
}

impl Press {
    fn may_last_until(&self) -> Instant {
        self.first + TOGETHER + self.duration
    }
}

/// Digits of one peer that were reported and may be again in another way.
#[derive(Debug, Default)]
pub struct Presses {
    open: VecDeque<Press>,
}

impl Presses {
    /// Whether this is a press of its own, not another report of one.
    pub fn is_new(&mut self, (digit, duration): (char, Duration), way: Way, now: Instant) -> bool {
        let duration = duration.min(LONGEST);
        self.open.retain(|press| now < press.may_last_until() + LONGEST);
        let is = |press: &&mut Press| {
            press.digit == digit && press.ways & way.bit() == 0 && now < press.may_last_until() + duration
        };
        if let Some(press) = self.open.iter_mut().find(is) {
            press.ways |= way.bit();
            press.duration = press.duration.max(duration);
            return false;
        }
        if self.open.len() >= DTMF_QUEUE {
            self.open.pop_front();
        }
        self.open.push_back(Press { digit, ways: way.bit(), first: now, duration });
        true
    }
}

impl Way {
    fn bit(self) -> u8 {
        match self {
            Way::Media => 1,
            Way::Signalling => 2,
            Way::Tones => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is new of reports: digit, milliseconds of it, way, when.
    fn new(reports: &[(char, u64, Way, u64)]) -> Vec<bool> {
        let (mut presses, now) = (Presses::default(), Instant::now());
        let ms = Duration::from_millis;
        reports
            .iter()
            .map(|(d, length, way, at)| presses.is_new((*d, ms(*length)), *way, now + ms(*at)))
            .collect()
    }

    #[test]
    fn a_digit_said_both_ways_counts_once_and_a_repeated_one_twice() {
        let (media, info) = (Way::Media, Way::Signalling);
        let reports = [
            ('5', 100, media, 0),
            ('5', 100, info, 40),
            // The second press, INFO first this time.
            ('5', 100, info, 300),
            ('5', 100, media, 350),
            // One way only: each is a press.
            ('5', 100, media, 600),
            ('5', 100, media, 800),
            ('6', 100, info, 800),
            // Too late to be the same.
            ('6', 100, media, 2_100),
        ];
        assert_eq!(new(&reports), [true, false, true, false, true, true, true, true]);
    }

    #[test]
    fn a_digit_said_in_three_ways_is_one_press() {
        let three = [('1', 100, Way::Signalling, 0), ('1', 100, Way::Media, 90), ('1', 96, Way::Tones, 130)];
        assert_eq!(new(&three), [true, false, false]);
    }

    /// INFO may tell of a long press when it begins, the event ends with it.
    #[test]
    fn the_end_of_a_long_press_belongs_to_its_beginning() {
        assert_eq!(new(&[('1', 160, Way::Signalling, 0), ('1', 4_000, Way::Media, 4_050)]), [true, false]);
        assert_eq!(new(&[('1', 4_000, Way::Signalling, 0), ('1', 4_000, Way::Tones, 4_030)]), [true, false]);
        assert_eq!(new(&[('1', 160, Way::Signalling, 0), ('1', 160, Way::Media, 4_050)]), [true, true]);
    }
}
