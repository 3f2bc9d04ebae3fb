//! Packet indices: which one a sequence number means (RFC 3711 §3.3.1), and which ones were there already (§3.3.2).

use super::Reject;

/// Packets behind the newest that may still come, twice what RFC 3711 §3.3.2 asks for.
const WINDOW: u64 = 128;
/// Indices that one key may serve (RFC 3711 §9.2).
const INDICES: u64 = 1 << 48;
/// Sequence numbers of one round.
const ROUND: u64 = 1 << 16;

/// The newest index of a stream, and which of those before it were there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    newest: u64,
    /// Bit `n`: the index `newest - n` was there.
    seen: u128,
}

impl Window {
    /// Of a stream whose first packet has that index.
    pub fn new(index: u64) -> Window {
        Window { newest: index, seen: 1 }
    }

    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether a packet may come now: neither again nor too late.
    pub fn check(&self, index: u64) -> Result<(), Reject> {
        match self.newest.checked_sub(index) {
            None => Ok(()),
            Some(behind) if behind >= WINDOW => Err(Reject::TooOld),
            Some(behind) if self.seen >> behind & 1 == 1 => Err(Reject::Replayed),
            Some(_) => Ok(()),
        }
    }

    /// A packet that `check` let pass was authentic.
    pub fn accept(&mut self, index: u64) {
        match index.checked_sub(self.newest) {
            Some(ahead) => {
                self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
                self.newest = index;
            }
            None => self.seen |= 1 << ((self.newest - index) % WINDOW),
        }
    }
}

/// The index nearest to `newest` with that sequence number.
///
/// # Errors
/// `TooOld` before the first round, `Expired` after the last one of a key.
pub(super) fn guess(newest: u64, sequence: u16) -> Result<u64, Reject> {
    let half = ROUND / 2;
    let (round, last) = (newest & !(ROUND - 1), newest % ROUND);
    let sequence = u64::from(sequence);
    let round = if last < half && sequence > last + half {
        round.checked_sub(ROUND).ok_or(Reject::TooOld)?
    } else if last >= half && sequence < last - half {
        round + ROUND
    } else {
        round
    };
    let index = round + sequence;
    if index < INDICES { Ok(index) } else { Err(Reject::Expired) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 3711 Appendix A, in its own words: rounds as 32 bits that wrap.
    fn appendix_a(roc: u32, s_l: u32, seq: u32) -> (u32, u32) {
        let v = if s_l < 32_768 {
            if seq as i64 - s_l as i64 > 32_768 { roc.wrapping_sub(1) } else { roc }
        } else if s_l - 32_768 > seq {
            roc.wrapping_add(1)
        } else {
            roc
        };
        (v, seq)
    }

    proptest! {
        #[test]
        fn the_index_is_the_one_of_rfc_3711_appendix_a(
            roc in prop_oneof![0..4_u32, any::<u32>(), u32::MAX - 2..=u32::MAX],
            last in any::<u16>(),
            seq in any::<u16>(),
        ) {
            let newest = u64::from(roc) << 16 | u64::from(last);
            let (v, seq_there) = appendix_a(roc, u32::from(last), u32::from(seq));
            let expected = match (roc, v) {
                (0, u32::MAX) => Err(Reject::TooOld),
                (u32::MAX, 0) => Err(Reject::Expired),
                _ => Ok(u64::from(v) << 16 | u64::from(seq_there)),
            };
            prop_assert_eq!(guess(newest, seq), expected);
        }

        /// RFC 3711 §3.3.2, beside a set of all indices that ever came.
        #[test]
        fn each_index_passes_once_and_none_that_left_the_window(
            steps in proptest::collection::vec(prop_oneof![-140..40_i64, -400..400_i64], 1..300),
        ) {
            let mut window = Window::new(1_000);
            let mut seen = std::collections::BTreeSet::from([1_000_u64]);
            for step in steps {
                let newest = *seen.last().unwrap();
                let index = newest.saturating_add_signed(step);
                let expected = if index + WINDOW <= newest {
                    Err(Reject::TooOld)
                } else if seen.contains(&index) {
                    Err(Reject::Replayed)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.check(index), expected);
                if expected.is_ok() {
                    window.accept(index);
                    seen.insert(index);
                }
                prop_assert_eq!(window.newest(), *seen.last().unwrap());
            }
        }
    }
}
