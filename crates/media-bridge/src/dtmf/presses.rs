//! One press, one digit, although some peers say it twice: by telephone-event and by SIP INFO (field problem 17).

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
}

/// How far the two reports of one press may lie apart.
const TOGETHER: Duration = Duration::from_secs(1);

/// Digits of one peer that were reported one way and may still come the other way.
#[derive(Debug, Default)]
pub struct Presses {
    open: VecDeque<(char, Way, Instant)>,
}

impl Presses {
    /// Whether this is a press of its own, not the second report of one.
    pub fn is_new(&mut self, digit: char, way: Way, now: Instant) -> bool {
        self.open.retain(|(.., at)| now.saturating_duration_since(*at) < TOGETHER);
        if let Some(first) = self.open.iter().position(|(d, w, _)| *d == digit && *w != way) {
            self.open.remove(first);
            return false;
        }
        if self.open.len() >= DTMF_QUEUE {
            self.open.pop_front();
        }
        self.open.push_back((digit, way, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digit_said_both_ways_counts_once_and_a_repeated_one_twice() {
        let (mut presses, now) = (Presses::default(), Instant::now());
        let ms = Duration::from_millis;
        assert!(presses.is_new('5', Way::Media, now));
        assert!(!presses.is_new('5', Way::Signalling, now + ms(40)));
        assert!(
            presses.is_new('5', Way::Signalling, now + ms(300)),
            "the second press, INFO first this time"
        );
        assert!(!presses.is_new('5', Way::Media, now + ms(350)));
        assert!(presses.is_new('5', Way::Media, now + ms(600)));
        assert!(presses.is_new('5', Way::Media, now + ms(800)), "one way only: each is a press");
        assert!(presses.is_new('6', Way::Signalling, now + ms(800)));
        assert!(presses.is_new('6', Way::Media, now + ms(1800)), "too late to be the same");
    }
}
