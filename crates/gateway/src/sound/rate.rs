//! Any sample rate to another, offline: a windowed sinc at each place where a sample is wanted.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side of its middle.
const CROSSINGS: f64 = 24.0;
/// Share of the lower rate's band that is kept.
const PASS: f64 = 0.94;
/// Places between two samples of the source for which taps are kept: more than any usual pair of rates needs.
const PHASES: u64 = 640;

/// The same sound at `to` Hz.
pub fn convert(pcm: Vec<i16>, from: u32, to: u32) -> Vec<i16> {
    if from == to {
        return pcm;
    }
    let (from, to) = (u64::from(from), u64::from(to));
    // In cycles per sample of the source, doubled.
    let cutoff = (to as f64 / from as f64).min(1.0) * PASS;
    let reach = (CROSSINGS / cutoff).ceil() as i64;
    let taps: Vec<Vec<f32>> =
        (0..PHASES).map(|phase| taps(phase as f64 / PHASES as f64, cutoff, reach)).collect();
    let sample = |n: u64| {
        let at = n * from;
        let (whole, phase) = ((at / to) as i64, (at % to * PHASES + to / 2) / to);
        let (whole, phase) = if phase == PHASES { (whole + 1, 0) } else { (whole, phase) };
        let first = whole - reach;
        let sum: f32 = taps[phase as usize]
            .iter()
            .zip(first..)
            .filter_map(|(tap, at)| Some(tap * f32::from(*pcm.get(usize::try_from(at).ok()?)?)))
            .sum();
        sum.round() as i16
    };
    (0..pcm.len() as u64 * to / from).map(sample).collect()
}

/// Weights of the samples from `-reach` to `reach` around a place that is `phase` behind the middle one.
fn taps(phase: f64, cutoff: f64, reach: i64) -> Vec<f32> {
    let weight = |k: i64| {
        let x = (k as f64 - phase) * cutoff;
        let window = 0.5 + 0.5 * (PI * x / CROSSINGS).clamp(-PI, PI).cos();
        if x.abs() < 1e-9 { cutoff } else { cutoff * (PI * x).sin() / (PI * x) * window }
    };
    let all: Vec<f64> = (-reach..=reach).map(weight).collect();
    let sum: f64 = all.iter().sum();
    all.into_iter().map(|w| (w / sum) as f32).collect()
}
