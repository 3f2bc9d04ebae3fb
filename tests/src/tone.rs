//! Tones for parties to play, and the means to find them in a recording.

use crate::rtp::mulaw;
use std::f64::consts::TAU;

/// A sine of this frequency as mu-law at 8 kHz, 12 dB below full scale.
pub fn mulaw_tone(hz: f64, seconds: f64) -> Vec<u8> {
    let code = |sample: f64| {
        let distance = |byte: &u8| (f64::from(mulaw(*byte)) - sample).abs();
        (0..=255_u8).min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("256 codes")
    };
    let period: Vec<u8> =
        (0..8000).map(|n| code(8000.0 * (TAU * hz * f64::from(n) / 8000.0).sin())).collect();
    period.iter().copied().cycle().take((seconds * 8000.0) as usize).collect()
}

/// Energy at one frequency (Hz) as a share of all energy, 0 to 1 (Goertzel); 0 for silence.
pub fn share(samples: &[i16], rate: u32, hz: f64) -> f64 {
    let turn = 2.0 * (TAU * hz / f64::from(rate)).cos();
    let (mut one, mut two, mut energy) = (0.0, 0.0, 0.0);
    for sample in samples {
        let sample = f64::from(*sample);
        energy += sample * sample;
        (one, two) = (sample + turn * one - two, one);
    }
    if energy == 0.0 {
        return 0.0;
    }
    2.0 * (one * one + two * two - turn * one * two) / (energy * samples.len() as f64)
}

/// The largest share of `hz` in any window of 200 ms louder than 1 % of full scale, and how many windows were that loud.
pub fn loudest_share(samples: &[i16], rate: u32, hz: f64) -> (f64, usize) {
    let loud = |window: &&[i16]| {
        let energy: f64 = window.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        (energy / window.len() as f64).sqrt() > 327.0
    };
    let windows: Vec<&[i16]> = samples.chunks_exact(rate as usize / 5).filter(loud).collect();
    (windows.iter().map(|window| share(window, rate, hz)).fold(0.0, f64::max), windows.len())
}

/// Root mean square of samples, of 32,767.
pub fn rms(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (energy / samples.len().max(1) as f64).sqrt()
}

/// Whether a tone stands alone in some stretch of 100 ms.
pub fn has_tone(samples: &[i16], rate: u32, hz: f64) -> bool {
    samples.chunks_exact(rate as usize / 10).any(|part| rms(part) > 300.0 && share(part, rate, hz) > 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_at_its_own_frequency_only() {
        let samples: Vec<i16> = mulaw_tone(440.0, 1.0).into_iter().map(mulaw).collect();
        assert!(share(&samples, 8000, 440.0) > 0.99);
        assert!(share(&samples, 8000, 600.0) < 0.01);
        let (most, windows) = loudest_share(&samples, 8000, 440.0);
        assert!(most > 0.9 && windows == 5);
    }
}
