//! Which packet that went in is the one that came out: whoever forwards it has numbers of its own, but counts as we do.

/// Differences further apart than this are of two streams.
const FAR: u16 = 64;

/// Pairs of one direction of one call.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pairing {
    offset: Option<u16>,
}

impl Pairing {
    /// A packet with this sequence number arrived when `last` was the newest that we had sent. Its own
    /// partner is that one or an older one, so the largest difference seen is the true one. Whoever counts on for a gap that
    /// it filled is followed, and whoever begins to count anew, as rtpengine does when its transcoding begins.
    pub fn learn(&mut self, sequence: u16, last: u16) {
        let offset = sequence.wrapping_sub(last);
        let larger = |known: u16| {
            let more = offset.wrapping_sub(known) as i16;
            more > 0 || more.unsigned_abs() >= FAR
        };
        if self.offset.is_none_or(larger) {
            self.offset = Some(offset);
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
    fn numbers_that_roll_over_on_either_side_stay_paired() {
        let mut pairing = Pairing::default();
        for n in 0..100_000_u32 {
            let (out, sent) = (n.wrapping_add(60_000) as u16, n as u16);
            pairing.learn(out, sent);
            assert_eq!(pairing.partner(out), Some(sent));
        }
    }
}
