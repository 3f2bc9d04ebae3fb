//! A detector of clicks and gaps; the tests of natural speech include it too.

/// Blocks that the signal's own statistics are taken in, a second.
const BLOCKS: usize = 200;
/// Blocks looked at before and after one.
const AROUND: usize = 8;
/// What bends no more than this clicks for nobody.
const QUIET_BEND: i32 = 300;

/// Samples at which something is wrong.
#[derive(PartialEq, Debug, Default)]
pub struct Findings {
    /// Steps.
    pub clicks: Vec<usize>,
    /// Runs of nothing within sound.
    pub gaps: Vec<usize>,
}

/// Root mean square.
pub fn loudness(pcm: &[i16]) -> f64 {
    (pcm.iter().map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>() / pcm.len().max(1) as f64).sqrt()
}

/// Finds steps, by how much sharper the curve bends than within 40 ms before and after, and runs of nothing of at least 4 ms
/// within sound.
pub fn listen(pcm: &[i16], rate: u32) -> Findings {
    let block = rate as usize / BLOCKS;
    let bend = |n: usize| i32::from(pcm[n + 1]) - 2 * i32::from(pcm[n]) + i32::from(pcm[n - 1]);
    let most =
        |at: usize| (at.max(1)..(at + block).min(pcm.len() - 1)).map(|n| bend(n).abs()).max().unwrap_or(0);
    let bends: Vec<i32> = (0..pcm.len()).step_by(block).map(most).collect();
    let power = |at: usize| loudness(&pcm[at..(at + block).min(pcm.len())]);
    let loud: Vec<f64> = (0..pcm.len()).step_by(block).map(power).collect();
    let mut findings = Findings::default();
    for n in AROUND + 1..bends.len().saturating_sub(AROUND + 2) {
        let around = bends[n - AROUND - 1..n - 1].iter().chain(&bends[n + 2..n + AROUND + 2]);
        if bends[n] > QUIET_BEND && bends[n] * 2 > around.max().copied().unwrap_or(0) * 5 {
            findings.clicks.push(n * block);
        }
    }
    let mut run = 0;
    for (n, sample) in pcm.iter().enumerate() {
        run = if sample.unsigned_abs() <= 8 { run + 1 } else { 0 };
        if run == rate as usize / 250 {
            let (before, after) = loud.split_at(n / block);
            let sounds = |level: &f64| *level > 200.0;
            if before.iter().rev().take(AROUND).any(sounds) && after.iter().take(AROUND).any(sounds) {
                findings.gaps.push(n + 1 - run);
            }
        }
    }
    findings
}
