//! Which packet that went in is the one that came out: whoever forwards it has numbers of its own, but counts as we do.

/// Differences further apart than this are of two streams.
const FAR: u16 = 64;

/// Of how many packets, in a second or two, one at least comes within its frame.
const WINDOW: u8 = 100;

/// Pairs of one direction of one call.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pairing {
    offset: Option<u16>,
    /// The largest difference of those seen since the window began, and how many they were.
    window: Option<(u16, u8)>,
}

impl Pairing {
    /// A packet with this sequence number arrived when `last` was the newest that we had sent. Its own partner is that one
    /// or an older one, so the largest difference seen lately is the true one. Whoever counts on for a gap that it filled is
    /// followed, also when what it made up took the numbers of packets that came after all; and whoever begins to count
    /// anew, as rtpengine does when its transcoding begins.
    pub fn learn(&mut self, sequence: u16, last: u16) {
        let offset = sequence.wrapping_sub(last);
        let larger = |known: u16| {
            let more = offset.wrapping_sub(known) as i16;
            more > 0 || more.unsigned_abs() >= FAR
        };
        if self.offset.is_none_or(larger) {
            self.offset = Some(offset);
        }
        let (largest, seen) = self.window.unwrap_or((offset, 0));
        let largest = if larger(largest) { offset } else { largest };
        self.window = Some((largest, seen + 1));
        if seen + 1 == WINDOW {
            (self.offset, self.window) = (Some(largest), None);
        }
    }

    /// The number of the packet that this one came of; none before anything was learnt.
    pub fn partner(&self, sequence: u16) -> Option<u16> {
        self.offset.map(|offset| sequence.wrapping_sub(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_came_within_its_frame_shows_the_true_pairs() {
        let mut pairing = Pairing::default();
        assert_eq!(pairing.partner(7), None);
        // Number 10 became 65530. The first ones were late by two and by one.
        pairing.learn(65_530, 12);
        pairing.learn(65_531, 12);
        pairing.learn(65_532, 12);
        pairing.learn(65_533, 14);
        assert_eq!(pairing.partner(65_532), Some(12));
        assert_eq!(pairing.partner(4), Some(20));
    }

    #[test]
    fn a_stream_that_begins_to_count_anew_is_followed() {
        let mut pairing = Pairing::default();
        pairing.learn(9_000, 5);
        pairing.learn(100, 7);
        assert_eq!(pairing.partner(101), Some(8));
    }

    #[test]
    fn a_gap_that_was_filled_moves_the_pairs_after_it() {
        let mut pairing = Pairing::default();
        pairing.learn(500, 10);
        // Nothing came of numbers 11 to 13 for so long that 511 to 513 were made up; then they came after all, with 14.
        (504..=507).for_each(|n| pairing.learn(n, 14));
        assert_eq!(pairing.partner(507), Some(14));
    }

    #[test]
    fn numbers_of_what_was_made_up_before_its_time_are_forgotten() {
        let mut pairing = Pairing::default();
        // The sender stood still after number 10, 511 and 512 were made up, and its own 11 and 12 came too late.
        [(510, 10), (511, 10), (512, 10)].iter().for_each(|(out, last)| pairing.learn(*out, *last));
        assert_eq!(pairing.partner(513), Some(11));
        (13..13 + 2 * u16::from(WINDOW)).for_each(|n| pairing.learn(500 + n, n));
        assert_eq!(pairing.partner(613), Some(113));
    }

    #[test]
    fn numbers_that_roll_over_on_either_side_stay_paired() {
        let mut pairing = Pairing::default();
        for n in 0..100_000_u32 {
            let (out, sent) = (n.wrapping_add(60_000) as u16, n as u16);
            pairing.learn(out, sent);
            assert_eq!(pairing.partner(out), Some(sent));
        }
    }
}
