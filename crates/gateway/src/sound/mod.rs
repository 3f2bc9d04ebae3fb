//! Sound files: read, decoded and brought to the rates of calls once, at start.

mod ogg_opus;
mod rate;
mod wav;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use media_bridge::codec::WIDE;
use media_bridge::sound::Sound;
use types::limits;

use crate::config::{Problem, SoundFile, SoundSource};

/// Mono samples and how many there are in a second.
struct Pcm {
    samples: Vec<i16>,
    rate: u32,
}

/// Reads every file that a configuration names, in its order.
///
/// # Errors
/// What is wrong with each file, and how to mend it.
pub fn load(files: &[SoundFile]) -> Result<Arc<[Sound]>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut sounds = Vec::new();
    for file in files {
        match &file.source {
            SoundSource::Beep => sounds.push(beep()),
            SoundSource::File(path) => match read(path) {
                Ok(sound) => sounds.push(sound),
                Err(why) => problems.push(file.problem(format!("{} {why}", path.display()))),
            },
        }
    }
    if problems.is_empty() { Ok(sounds.into()) } else { Err(problems) }
}

/// Says that a recording begins: two short tones of 1400 Hz, as recorders at telephones have made them since 1948.
fn beep() -> Sound {
    const HZ: f32 = 1_400.0;
    const TONE: usize = WIDE as usize / 5;
    const RAMP: usize = WIDE as usize / 200;
    let tone = |n: usize| {
        let edge = n.min(TONE - n).min(RAMP) as f32 / RAMP as f32;
        ((n as f32 * HZ / WIDE as f32 * std::f32::consts::TAU).sin() * 6_000.0 * edge) as i16
    };
    let pause = std::iter::repeat_n(0, TONE / 2);
    Sound::new((0..TONE).map(tone).chain(pause.clone()).chain((0..TONE).map(tone)).chain(pause).collect())
}

fn read(path: &Path) -> Result<Sound, String> {
    let file = File::open(path).map_err(|e| format!("can not be opened: {e}"))?;
    let mut bytes = Vec::new();
    let most = limits::SOUND_BYTES;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| format!("can not be read: {e}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("is larger than {} MiB; convert it to mono at 16 kHz, or cut it", most >> 20));
    }
    decode(&bytes)
}

fn decode(bytes: &[u8]) -> Result<Sound, String> {
    let pcm = match bytes.get(..4) {
        Some(b"RIFF") => wav::decode(bytes)?,
        Some(b"OggS") => ogg_opus::decode(bytes)?,
        Some(_) | None => {
            return Err(
                "is neither WAV nor Ogg/Opus; convert it, for example: ffmpeg -i FILE -ac 1 -ar 16000 \
                        FILE.wav"
                    .into(),
            );
        }
    };
    if pcm.samples.is_empty() {
        return Err("holds no sound".into());
    }
    let (seconds, most) = (pcm.samples.len() as u64 / u64::from(pcm.rate), limits::SOUND_DURATION.as_secs());
    if seconds > most {
        return Err(format!("is {seconds} s long; cut it to {most} s at most"));
    }
    Ok(Sound::new(rate::convert(pcm.samples, pcm.rate, WIDE)))
}

#[cfg(test)]
mod tests;
