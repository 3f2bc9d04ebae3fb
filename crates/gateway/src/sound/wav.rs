//! WAV: PCM of whole numbers or floats, mono or stereo, at any usual rate.

use std::io::Cursor;

use hound::{SampleFormat, WavReader};

use super::Pcm;

/// Rates that make sense; telephones to studios.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// The samples, stereo mixed to mono. The words continue a sentence that begins with the file's name.
pub fn decode(bytes: &[u8]) -> Result<Pcm, String> {
    let damaged = |e: hound::Error| {
        if matches!(e, hound::Error::Unsupported) {
            return "is WAV, but not PCM; convert it, for example: ffmpeg -i FILE -c:a pcm_s16le NEW.wav"
                .to_owned();
        }
        format!("is no whole WAV file: {e}")
    };
    let reader = WavReader::new(Cursor::new(bytes)).map_err(damaged)?;
    let spec = reader.spec();
    if !(1..=2).contains(&spec.channels) || !RATES.contains(&spec.sample_rate) {
        return Err(format!(
            "has {} channels at {} Hz; convert it to one or two channels at 8000 to 192000 Hz",
            spec.channels, spec.sample_rate
        ));
    }
    let scale = 2f32.powi(15 - i32::from(spec.bits_per_sample.max(1)) + 1);
    let all: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Int => reader.into_samples::<i32>().map(|s| Ok(s? as f32 * scale)).collect(),
        SampleFormat::Float => reader.into_samples::<f32>().map(|s| Ok(s? * 32_768.0)).collect(),
    };
    let all = all.map_err(damaged)?;
    let channels = usize::from(spec.channels);
    let mix = |frame: &[f32]| (frame.iter().sum::<f32>() / channels as f32).round() as i16;
    Ok(Pcm { samples: all.chunks_exact(channels).map(mix).collect(), rate: spec.sample_rate })
}
