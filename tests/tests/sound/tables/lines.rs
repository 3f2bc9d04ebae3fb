//! Bad lines, the same ones at every run.

use super::chain::BEFORE;
use e2e::rtp::Seeded;
use loadgen::line::{Fate, Line};
use std::time::Duration;

/// What is lost of a clip of so many frames on a line, and what its encoders are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Impairment {
    /// So many per cent, anywhere.
    Random(u32),
    /// 100 ms in each two seconds.
    Bursts,
    /// Nothing is lost; each packet waits for up to 80 ms and for the one before it.
    Jitter,
}

impl Impairment {
    pub const ALL: [Impairment; 7] = [
        Impairment::Random(0),
        Impairment::Random(1),
        Impairment::Random(3),
        Impairment::Random(5),
        Impairment::Random(10),
        Impairment::Bursts,
        Impairment::Jitter,
    ];

    pub fn name(self) -> String {
        match self {
            Impairment::Random(0) => "no loss".to_owned(),
            Impairment::Random(percent) => format!("{percent} % at random"),
            Impairment::Bursts => "bursts of 100 ms, one in 2 s".to_owned(),
            Impairment::Jitter => "jitter of 80 ms, no loss".to_owned(),
        }
    }

    /// What a browser hears of its loss in our reports.
    pub fn reported(self) -> i32 {
        match self {
            Impairment::Random(percent) => percent as i32,
            Impairment::Bursts => 5,
            Impairment::Jitter => 0,
        }
    }

    /// The line of a clip of so many frames, which begins after the silence.
    pub fn line(self, frames: usize, seed: u64) -> Line {
        let mut seeded = Seeded(seed);
        let mut draw = |below: usize| (seeded.draw() % below as u64) as usize;
        let mut fates = vec![Fate::Prompt; BEFORE + frames];
        match self {
            Impairment::Random(percent) => {
                let mut left = (frames * percent as usize + 50) / 100;
                while left > 0 {
                    let fate = &mut fates[BEFORE + draw(frames)];
                    left -= usize::from(*fate == Fate::Prompt);
                    *fate = Fate::Lost;
                }
            }
            Impairment::Bursts => {
                for second in (0..frames).step_by(100) {
                    let first = BEFORE + second + draw(90);
                    fates.iter_mut().skip(first).take(5).for_each(|fate| *fate = Fate::Lost);
                }
            }
            Impairment::Jitter => {
                let mut late = 0;
                for fate in &mut fates {
                    late = draw(81).max(late_after(late));
                    *fate = Fate::Late(Duration::from_millis(late as u64));
                }
            }
        }
        Line(fates)
    }
}

/// How late a packet is at least that follows, 20 ms later, one that was so late.
fn late_after(late: usize) -> usize {
    late.saturating_sub(20)
}
