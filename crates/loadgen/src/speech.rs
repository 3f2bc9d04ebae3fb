//! The speech that everybody says: a recording that comes with Debian's pocketsphinx-testdata, encoded once.

use std::f64::consts::PI;
use std::path::Path;
use std::rc::Rc;

use media_bridge::codec::{g711, g722};
use opus::{Application, Bandwidth, Bitrate, Channels, Encoder};

use crate::Fallible;
use crate::engine::Speech;
use crate::sdp::Codec;

const RECORDING: &str =
    "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0870.wav";
/// Samples of 20 ms.
const NARROW: usize = 160;
const WIDE: usize = 320;

/// The recording.
pub struct Recording {
    /// At 16 kHz.
    pub wide: Vec<i16>,
    /// At 8 kHz.
    pub narrow: Vec<i16>,
}

impl Recording {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read() -> Fallible<Recording> {
        let bytes = std::fs::read(Path::new(RECORDING))
            .map_err(|error| format!("{RECORDING}: {error}; scripts/setup.sh bench gets it"))?;
        let at = bytes.windows(4).position(|four| four == b"data").ok_or("a recording without data")? + 8;
        let mut wide: Vec<i16> =
            bytes[at..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        wide.truncate(wide.len() / WIDE * WIDE);
        let narrow = halve(&wide);
        Ok(Recording { wide, narrow })
    }

    /// As frames of 20 ms of this codec; Opus as a browser sends it to a wideband or to a narrowband party.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn encoded(&self, codec: Codec, wide: bool) -> Fallible<Speech> {
        let frames = match codec {
            Codec::Pcmu => self.narrow.chunks_exact(NARROW).map(mu_law).collect(),
            Codec::Opus if wide => self.opus(Bandwidth::Wideband, 32_000)?,
            Codec::Opus => self.opus(Bandwidth::Narrowband, 20_000)?,
            Codec::G722 => {
                let mut encoder = g722::Encoder::default();
                self.wide.chunks_exact(WIDE).map(|frame| g722(&mut encoder, frame)).collect()
            }
        };
        Ok(Speech { codec, frames: Rc::new(frames), line: None })
    }

    /// As samples at this rate, 8 or 16 kHz, in frames of 20 ms.
    pub fn frames(&self, rate: u32) -> Vec<Vec<i16>> {
        let samples = if rate == 8_000 { &self.narrow } else { &self.wide };
        samples.chunks_exact(rate as usize / 50).map(<[i16]>::to_vec).collect()
    }

    /// As a browser sends it that was asked for this bandwidth and rate, and has heard of loss.
    fn opus(&self, bandwidth: Bandwidth, rate: i32) -> Fallible<Vec<Vec<u8>>> {
        let mut encoder = Encoder::new(16_000, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::Bits(rate))?;
        encoder.set_max_bandwidth(bandwidth)?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(5)?;
        let encode = |frame: &[i16]| Ok(encoder.encode_vec(frame, 1_275)?);
        self.wide.chunks_exact(WIDE).map(encode).collect()
    }
}

fn mu_law(frame: &[i16]) -> Vec<u8> {
    let mut payload = Vec::new();
    g711::Law::Mu.encode(frame, &mut payload);
    payload
}

fn g722(encoder: &mut g722::Encoder, frame: &[i16]) -> Vec<u8> {
    let mut payload = Vec::new();
    encoder.encode(frame, &mut payload);
    payload
}

/// Half the sample rate, through a windowed sinc of 63 taps that stops at 3.6 kHz.
fn halve(wide: &[i16]) -> Vec<i16> {
    let taps: Vec<f64> = (-31..=31)
        .map(|n: i32| {
            let (x, cut) = (f64::from(n), 0.225);
            let sinc = if n == 0 { 2.0 * cut } else { (2.0 * PI * cut * x).sin() / (PI * x) };
            sinc * (0.54 + 0.46 * (PI * x / 32.0).cos())
        })
        .collect();
    let at =
        |index: isize| usize::try_from(index).ok().and_then(|i| wide.get(i)).map_or(0.0, |s| f64::from(*s));
    let filtered = |n: usize| -> f64 {
        taps.iter().enumerate().map(|(k, tap)| tap * at(n as isize + k as isize - 31)).sum()
    };
    (0..wide.len()).step_by(2).map(|n| filtered(n).round().clamp(-32_768.0, 32_767.0) as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64) -> Vec<i16> {
        (0..16_000).map(|n| (10_000.0 * (2.0 * PI * hz * f64::from(n) / 16_000.0).sin()) as i16).collect()
    }

    fn power(samples: &[i16]) -> f64 {
        samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64
    }

    #[test]
    fn halving_the_rate_keeps_what_is_below_four_kilohertz_and_removes_the_rest() {
        let full = power(&tone(1_000.0));
        assert!((power(&halve(&tone(1_000.0))) / full - 1.0).abs() < 0.02);
        assert!(power(&halve(&tone(5_000.0))) / full < 1e-3);
    }
}
