//! One leg over time: every five seconds the facts of both directions become a score with its reason.

use std::time::Duration;

use types::Wall;

use super::emodel::Conditions;
use super::losses::{Counts, Losses};
use crate::control::Codec;
use crate::rtp::rtcp::ReportBlock;

/// Fewer packets than this (half a second) say nothing about loss.
const ENOUGH: u64 = 25;
/// What costs less of the rating is nothing to complain of.
const NOTICEABLE: f64 = 3.0;
/// Nobody waits longer than this for late packets, milliseconds.
pub(super) const LONGEST_BUFFER: f64 = 200.0;
/// A packet of speech, milliseconds.
pub(super) const FRAME: f64 = 20.0;

/// What makes a leg sound worse than its codecs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cause {
    /// Packets from the peer were lost; share from 0 to 1.
    LostFrom(f32),
    /// Packets from the peer came too late to be played; share from 0 to 1.
    LateFrom(f32),
    /// Packets to the peer were lost, as it reports; share from 0 to 1.
    LostTo(f32),
    /// Half the round trip, with the buffer that jitter needs, and coding; milliseconds.
    Delay(u32),
}

/// One leg during some seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Moment {
    /// Mean opinion score of the worse direction, 1 to 4.5, by the E-model.
    pub mos: f32,
    /// What takes most of it away, if anything does.
    pub cause: Option<Cause>,
    /// Packets from the peer that could not be played, 0 to 1; none: too few came to say.
    pub loss_in: Option<f32>,
    /// Packets to the peer that it did not get, 0 to 1; none: it has not reported.
    pub loss_out: Option<f32>,
}

/// The worst moment of a leg.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Worst {
    /// Its score.
    pub mos: f32,
    /// When it was over.
    pub at: Wall,
    /// Why.
    pub cause: Option<Cause>,
}

/// All moments of a leg.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quality {
    /// Mean of their scores.
    pub mean: f32,
    /// The lowest.
    pub worst: Worst,
    /// How many there were.
    pub moments: u32,
}

/// The state of a leg at the end of a moment.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What it carries.
    pub codec: Codec,
    /// The listeners hear more than 3.4 kHz.
    pub wide: bool,
    /// Of what comes.
    pub losses: &'a Losses,
    /// Packets that were dropped for coming late, duplicates among them; cumulative.
    pub late: u64,
    /// Interarrival jitter of what comes.
    pub jitter: Duration,
    /// Of the leg, if known.
    pub round_trip: Option<Duration>,
}

/// Follows one leg.
#[derive(Clone, Copy, Default, Debug)]
pub struct Monitor {
    counts: Counts,
    discarded: u64,
    /// Expected and lost packets of the peer's reports since the last moment.
    reported: (f64, f64),
    /// The highest number and the jitter of its last report.
    last_report: Option<(u32, Duration)>,
    quality: Option<Quality>,
}

impl Monitor {
    /// The peer reports on what it gets from us; `clock` is the stream's.
    pub fn reported(&mut self, block: &ReportBlock, clock: u32) {
        let jitter = Duration::from_micros(u64::from(block.jitter) * 1_000_000 / u64::from(clock.max(1)));
        let before = self.last_report.replace((block.highest, jitter));
        let Some((highest, _)) = before else { return };
        // Numbers that go back, or leap: its stream began anew.
        let expected = block.highest.wrapping_sub(highest);
        if expected < 1 << 16 {
            self.reported.0 += f64::from(expected);
            self.reported.1 += f64::from(expected) * f64::from(block.fraction_lost) / 256.0;
        }
    }

    /// A moment is over. None: too little happened to say anything.
    pub fn moment(&mut self, observed: &Observed<'_>, wall: Wall) -> Option<Moment> {
        let counts = observed.losses.counts();
        let came = counts.since(&self.counts);
        let discarded = observed.late.saturating_sub(observed.losses.duplicates());
        let late = discarded.saturating_sub(self.discarded);
        let (sent, unheard) = self.reported;
        if came.expected >= ENOUGH {
            (self.counts, self.discarded) = (counts, discarded);
        }
        if sent >= ENOUGH as f64 {
            self.reported = (0.0, 0.0);
        }
        let from = (came.expected >= ENOUGH).then(|| From {
            lost: came.lost as f64 / came.expected as f64,
            late: (late as f64 / came.expected as f64).min(1.0),
            burst_ratio: came.burst_ratio(),
        });
        let to = (sent >= ENOUGH as f64).then(|| unheard / sent);
        let moment = self.judge(observed, from, to)?;
        self.remember(&moment, wall);
        Some(moment)
    }

    /// Everything so far; none before the first moment.
    pub fn quality(&self) -> Option<Quality> {
        self.quality
    }

    fn judge(&self, observed: &Observed<'_>, from: Option<From>, to: Option<f64>) -> Option<Moment> {
        if from.is_none() && to.is_none() {
            return None;
        }
        let delay_in = observed.delay(observed.jitter);
        let delay_out = observed.delay(self.last_report.map_or(Duration::ZERO, |(_, jitter)| jitter));
        let best = Conditions {
            codec: observed.codec,
            wide: observed.wide,
            loss: 0.0,
            burst_ratio: 1.0,
            delay_ms: FRAME,
        };
        let heard = from.map(|from| Conditions {
            loss: (from.lost + from.late).min(1.0),
            burst_ratio: from.burst_ratio,
            delay_ms: delay_in,
            ..best
        });
        let said = to.map(|loss| Conditions { loss, delay_ms: delay_out, ..best });
        let worse = match (heard, said) {
            (Some(heard), Some(said)) if said.rating() < heard.rating() => said,
            (Some(heard), _) => heard,
            (None, Some(said)) => said,
            (None, None) => return None,
        };
        let by_loss = Conditions { delay_ms: best.delay_ms, ..worse };
        let by_delay = Conditions { delay_ms: worse.delay_ms, ..best };
        let costs_loss = best.rating() - by_loss.rating();
        let costs_delay = best.rating() - by_delay.rating();
        let cause = match from {
            _ if costs_loss.max(costs_delay) < NOTICEABLE => None,
            _ if costs_delay > costs_loss => Some(Cause::Delay(worse.delay_ms.round() as u32)),
            Some(from) if heard == Some(worse) && from.late > from.lost => {
                Some(Cause::LateFrom(from.late as f32))
            }
            Some(_) if heard == Some(worse) => Some(Cause::LostFrom(worse.loss as f32)),
            Some(_) | None => Some(Cause::LostTo(worse.loss as f32)),
        };
        Some(Moment {
            mos: worse.mos() as f32,
            cause,
            loss_in: heard.map(|c| c.loss as f32),
            loss_out: to.map(|loss| loss as f32),
        })
    }

    fn remember(&mut self, moment: &Moment, wall: Wall) {
        let now = Worst { mos: moment.mos, at: wall, cause: moment.cause };
        self.quality = Some(match self.quality {
            None => Quality { mean: moment.mos, worst: now, moments: 1 },
            Some(Quality { mean, worst, moments }) => Quality {
                mean: mean + (moment.mos - mean) / (moments + 1) as f32,
                worst: if now.mos < worst.mos { now } else { worst },
                moments: moments + 1,
            },
        });
    }
}

/// What came from the peer, as shares of what should have.
#[derive(Clone, Copy)]
struct From {
    lost: f64,
    late: f64,
    burst_ratio: f64,
}

impl Observed<'_> {
    /// One way on this leg, milliseconds: half the round trip, and what happens at its end.
    pub(super) fn delay(&self, jitter: Duration) -> f64 {
        self.round_trip.map_or(0.0, ms) / 2.0 + self.own_delay(jitter)
    }

    /// A packet, the codec, and the buffer, milliseconds.
    pub(super) fn own_delay(&self, jitter: Duration) -> f64 {
        let codec = match self.codec {
            Codec::Opus => 6.5,
            Codec::G722 => 1.5,
            Codec::Pcmu | Codec::Pcma => 0.0,
        };
        FRAME + codec + self.buffer(jitter)
    }

    /// What a player needs for so much jitter, milliseconds.
    pub(super) fn buffer(&self, jitter: Duration) -> f64 {
        (FRAME + 2.0 * ms(jitter)).min(LONGEST_BUFFER)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const WALL: Wall = Wall(1_700_000_000_000_000);

    /// A stream of one packet a number in which every `nth` is lost.
    struct Stream(Losses, u64);

    impl Stream {
        fn new() -> Stream {
            let mut losses = Losses::default();
            losses.begin(0);
            Stream(losses, 0)
        }

        fn run(&mut self, packets: u64, nth: u64) -> &Losses {
            for _ in 0..packets {
                self.1 += 1;
                if nth == 0 || !self.1.is_multiple_of(nth) {
                    self.0.newer(self.1);
                }
            }
            &self.0
        }
    }

    fn observed(losses: &Losses) -> Observed<'_> {
        Observed {
            codec: Codec::Pcmu,
            wide: false,
            losses,
            late: 0,
            jitter: Duration::ZERO,
            round_trip: None,
        }
    }

    fn block(highest: u32, fraction_lost: u8) -> ReportBlock {
        ReportBlock { highest, fraction_lost, ..ReportBlock::default() }
    }

    #[test]
    fn a_clean_leg_has_the_mos_of_its_codec_and_no_complaint() {
        let (mut monitor, mut stream) = (Monitor::default(), Stream::new());
        let moment = monitor.moment(&observed(stream.run(250, 0)), WALL).unwrap();
        assert!((4.37..4.41).contains(&moment.mos), "{moment:?}");
        assert_eq!((moment.cause, moment.loss_in, moment.loss_out), (None, Some(0.0), None));
    }

    #[test]
    fn the_worst_moment_is_kept_with_its_time_and_reason() {
        let (mut monitor, mut stream) = (Monitor::default(), Stream::new());
        for (moment, nth) in [0, 0, 8, 0].into_iter().enumerate() {
            let at = WALL.plus(5_000 * MS * moment as u32);
            monitor.moment(&observed(stream.run(250, nth)), at).unwrap();
        }
        let quality = monitor.quality().unwrap();
        assert_eq!((quality.moments, quality.worst.at), (4, WALL.plus(10_000 * MS)));
        let Some(Cause::LostFrom(share)) = quality.worst.cause else { panic!("{quality:?}") };
        assert!((0.11..0.14).contains(&share), "{share}");
        assert!(quality.worst.mos < 3.4 && quality.mean > 4.0, "{quality:?}");
    }

    #[test]
    fn loss_that_the_peer_reports_counts_from_its_second_report_on() {
        let mut monitor = Monitor::default();
        let quiet = Losses::default();
        monitor.reported(&block(1_000, 128), 8_000);
        assert_eq!(monitor.moment(&observed(&quiet), WALL), None, "nothing is known of how many that were");
        monitor.reported(&block(1_100, 0), 8_000);
        monitor.reported(&block(1_250, 51), 8_000);
        let moment = monitor.moment(&observed(&quiet), WALL).unwrap();
        let Some(Cause::LostTo(share)) = moment.cause else { panic!("{moment:?}") };
        assert!((share - 0.6 * 51.0 / 256.0).abs() < 1e-4, "weighed by packets: {share}");
        assert_eq!(monitor.moment(&observed(&quiet), WALL), None, "no news");
    }

    #[test]
    fn late_packets_count_as_lost_but_duplicates_do_not() {
        let (mut monitor, mut stream) = (Monitor::default(), Stream::new());
        let losses = *stream.run(250, 0);
        let moment = monitor.moment(&Observed { late: 25, ..observed(&losses) }, WALL).unwrap();
        let Some(Cause::LateFrom(share)) = moment.cause else { panic!("{moment:?}") };
        assert!((0.09..0.12).contains(&share), "{share}");
        let (mut monitor, mut twice) = (Monitor::default(), losses);
        for _ in 0..25 {
            twice.older(250);
        }
        let moment = monitor.moment(&Observed { late: 25, ..observed(&twice) }, WALL).unwrap();
        assert_eq!((moment.cause, moment.loss_in), (None, Some(0.0)));
    }

    #[test]
    fn a_long_way_is_the_reason_when_it_costs_most() {
        let (mut monitor, mut stream) = (Monitor::default(), Stream::new());
        let losses = stream.run(250, 0);
        let far = Observed { round_trip: Some(600 * MS), jitter: 10 * MS, ..observed(losses) };
        let moment = monitor.moment(&far, WALL).unwrap();
        assert_eq!(moment.cause, Some(Cause::Delay(360)));
        assert!((3.2..3.7).contains(&moment.mos), "{moment:?}");
    }

    #[test]
    fn silence_is_not_judged() {
        let (mut monitor, mut stream) = (Monitor::default(), Stream::new());
        assert!(monitor.moment(&observed(stream.run(250, 0)), WALL).is_some());
        assert_eq!(monitor.moment(&observed(stream.run(10, 0)), WALL), None);
        assert_eq!(monitor.quality().unwrap().moments, 1);
        assert!(monitor.moment(&observed(stream.run(20, 0)), WALL).is_some(), "what was too little adds up");
    }
}
