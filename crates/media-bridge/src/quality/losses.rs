//! Where packets were missing: counts, runs of loss, and the bursts and gaps of RFC 3611 §4.7.2.

/// As many packets received in a row end a burst (RFC 3611 §4.7.2: recommended).
pub const GMIN: u64 = 16;
/// A packet may be so many places late before it counts as lost.
const WINDOW: u64 = 16;

/// Losses of a received stream, packet by packet in the order of their numbers. A packet is counted once it is `WINDOW`
/// places old: until then it may still come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Losses {
    newest: u64,
    /// Bit n: the packet n places before the newest has come.
    seen: u16,
    /// Packets since the first, at most `WINDOW`: how much of `seen` means anything.
    known: u64,
    duplicates: u64,
    counts: Counts,
    /// The last packet counted was lost.
    in_run: bool,
    stretch: Stretch,
    bursts: Bursts,
}

/// What was counted, cumulative.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Packets that should have come.
    pub expected: u64,
    /// Of those, how many did not.
    pub lost: u64,
    /// Losses of one or more packets in a row.
    pub runs: u64,
}

/// A stretch that begins and ends with a loss, with less than `GMIN` packets between any two; one loss alone is part of
/// a gap, two or more are a burst.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Stretch {
    packets: u64,
    lost: u64,
    /// Packets received since its last loss.
    since: u64,
}

/// Packets in bursts and how many bursts there were (RFC 3611 §4.7.2).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bursts {
    /// How many.
    pub count: u64,
    /// Packets between their ends.
    pub packets: u64,
    /// Of those, lost ones.
    pub lost: u64,
}

impl Counts {
    /// What came since `before`.
    pub fn since(&self, before: &Counts) -> Counts {
        Counts {
            expected: self.expected - before.expected,
            lost: self.lost - before.lost,
            runs: self.runs - before.runs,
        }
    }

    /// Mean length of a loss against what it is when every packet is lost with the same chance; 1 or more (G.107 §3.5).
    pub fn burst_ratio(&self) -> f64 {
        if self.runs == 0 || self.expected == 0 {
            return 1.0;
        }
        let share = self.lost as f64 / self.expected as f64;
        (self.lost as f64 / self.runs as f64 * (1.0 - share)).max(1.0)
    }
}

impl Losses {
    /// The first packet of a stream that begins (anew): what is still open is counted.
    pub fn begin(&mut self, extended: u64) {
        for place in (1..self.known).rev() {
            self.count(self.seen >> place & 1 == 1);
        }
        if self.known > 0 {
            self.count(true);
        }
        (self.newest, self.seen, self.known) = (extended, 1, 1);
    }

    /// A packet newer than all before.
    pub fn newer(&mut self, extended: u64) {
        for _ in self.newest..extended {
            if self.known == WINDOW {
                self.count(self.seen >> (WINDOW - 1) == 1);
            }
            self.seen <<= 1;
            self.known = (self.known + 1).min(WINDOW);
        }
        self.newest = self.newest.max(extended);
        self.seen |= 1;
    }

    /// A packet that others have overtaken, or one that came before.
    pub fn older(&mut self, extended: u64) {
        let place = self.newest.saturating_sub(extended);
        if place >= self.known {
            return;
        }
        let bit = 1 << place;
        self.duplicates += u64::from(self.seen & bit != 0);
        self.seen |= bit;
    }

    /// What is counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Packets that came a second time.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Bursts so far, the one going on included.
    pub fn bursts(&self) -> Bursts {
        let mut bursts = self.bursts;
        bursts.add(&self.stretch);
        bursts
    }

    fn count(&mut self, came: bool) {
        self.counts.expected += 1;
        self.counts.lost += u64::from(!came);
        self.counts.runs += u64::from(!came && !self.in_run);
        self.in_run = !came;
        let stretch = &mut self.stretch;
        if came {
            stretch.since = stretch.since.saturating_add(1);
        } else if stretch.lost > 0 && stretch.since < GMIN {
            stretch.packets += stretch.since + 1;
            stretch.lost += 1;
            stretch.since = 0;
        } else {
            self.bursts.add(stretch);
            *stretch = Stretch { packets: 1, lost: 1, since: 0 };
        }
    }
}

impl Bursts {
    fn add(&mut self, stretch: &Stretch) {
        if stretch.lost > 1 {
            self.count += 1;
            self.packets += stretch.packets;
            self.lost += stretch.lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream of which the packets named are lost, with enough behind it that all are counted.
    fn stream(length: u64, lost: &[u64]) -> Losses {
        let mut losses = Losses::default();
        losses.begin(1_000);
        for n in (1..length + WINDOW).filter(|n| !lost.contains(n)) {
            losses.newer(1_000 + n);
        }
        losses
    }

    #[test]
    fn losses_and_runs_are_counted() {
        let losses = stream(100, &[10, 11, 12, 50]);
        assert_eq!(losses.counts(), Counts { expected: 100, lost: 4, runs: 2 });
        assert!((losses.counts().burst_ratio() - 2.0 * 0.96).abs() < 1e-9);
        assert_eq!(stream(100, &[]).counts().burst_ratio(), 1.0);
    }

    #[test]
    fn packets_overtaken_by_up_to_fifteen_others_are_not_lost_and_a_second_copy_is_a_duplicate() {
        let mut losses = stream(50, &[50, 51]);
        losses.older(1_050);
        losses.older(1_051);
        losses.older(1_051);
        for n in 66..100 {
            losses.newer(1_000 + n);
        }
        assert_eq!(losses.counts(), Counts { expected: 84, lost: 0, runs: 0 });
        assert_eq!(losses.duplicates(), 1);
        losses.older(1_010);
        assert_eq!(losses.counts().lost, 0, "far too old: neither");
    }

    /// RFC 3611 §4.7.2: a burst begins and ends with a loss and holds no 16 good packets in a row; single losses are gap.
    #[test]
    fn bursts_hold_less_than_gmin_good_packets_in_a_row() {
        let losses = stream(200, &[20, 36, 37, 100, 150, 167]);
        let burst = Bursts { count: 1, packets: 18, lost: 3 };
        assert_eq!(losses.bursts(), burst, "15 good packets between 20 and 36; 16 between 150 and 167");
        assert_eq!(losses.counts().lost, 6);
    }

    #[test]
    fn a_stream_that_begins_anew_keeps_the_counts() {
        let mut losses = stream(30, &[25]);
        losses.begin(77);
        assert_eq!(losses.counts(), Counts { expected: 30 + WINDOW, lost: 1, runs: 1 });
        losses.newer(80);
        losses.begin(5);
        assert_eq!(losses.counts(), Counts { expected: 30 + WINDOW + 4, lost: 3, runs: 2 });
    }

    proptest! {
        #[test]
        fn any_order_is_counted_without_contradiction(steps in prop::collection::vec((any::<bool>(), 0u64..40), 1..400)) {
            let mut losses = Losses::default();
            let mut newest = 100;
            losses.begin(newest);
            for (forward, step) in steps {
                if forward {
                    newest += step + 1;
                    losses.newer(newest);
                } else {
                    losses.older(newest.saturating_sub(step));
                }
            }
            let (counts, bursts) = (losses.counts(), losses.bursts());
            prop_assert!(counts.lost <= counts.expected && counts.runs <= counts.lost);
            prop_assert!(bursts.lost <= counts.lost && bursts.packets <= counts.expected);
            prop_assert!(counts.expected <= newest - 100 + 1);
            prop_assert!(counts.burst_ratio() >= 1.0);
        }
    }
}
