//! Recorded sounds: decoded once at start, shared by all calls, read without allocation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{NARROW, Resampler, WIDE};

/// A sound of the gateway's list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SoundId(pub u16);

/// Samples of the whole sound at both rates between codecs, mono.
#[derive(Clone)]
pub struct Sound {
    narrow: Arc<[i16]>,
    /// Exactly twice as many.
    wide: Arc<[i16]>,
}

impl fmt::Debug for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sound({:?})", self.duration())
    }
}

/// Samples converted at once, at 16 kHz.
const AT_ONCE: usize = 320;
/// What the half-band filter delays by, at 16 kHz.
const DELAY: usize = 23;

impl Sound {
    /// From mono samples at 16 kHz; an odd last one is left out.
    pub fn new(mut wide: Vec<i16>) -> Sound {
        wide.truncate(wide.len() & !1);
        let mut resampler = Resampler::default();
        let mut narrow = Vec::with_capacity((wide.len() + DELAY).div_ceil(2));
        // One sample more makes the delay a whole number of them at 8 kHz.
        wide.insert(0, 0);
        wide.resize(wide.len() + DELAY, 0);
        for chunk in wide.chunks(AT_ONCE) {
            narrow.extend_from_slice(resampler.convert(chunk, WIDE, NARROW));
        }
        narrow.drain(..DELAY.div_ceil(2));
        wide.truncate(wide.len() - DELAY);
        wide.remove(0);
        Sound { narrow: narrow.into(), wide: wide.into() }
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.wide.len() as u64 * 1_000_000 / u64::from(WIDE))
    }

    fn at(&self, rate: u32) -> &[i16] {
        if rate == WIDE { &self.wide } else { &self.narrow }
    }
}

/// Plays a sound for one listener.
#[derive(Clone, Debug)]
pub struct SoundPlayer {
    sound: Sound,
    /// Samples at 8 kHz before the next one.
    at: usize,
    repeats: bool,
}

impl SoundPlayer {
    /// From the beginning, once or for ever.
    pub fn new(sound: Sound, repeats: bool) -> SoundPlayer {
        SoundPlayer { sound, at: 0, repeats }
    }

    /// Fills a frame at `NARROW` or `WIDE` Hz, going on where the last ended; behind the end there is silence.
    pub fn fill(&mut self, rate: u32, mut out: &mut [i16]) {
        let scale = (rate / NARROW) as usize;
        while !out.is_empty() {
            let rest = self.sound.at(rate).get(self.at * scale..).unwrap_or_default();
            let n = rest.len().min(out.len());
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(&rest[..n]);
            self.at += n / scale;
            out = later;
            if !self.is_over() {
                continue;
            }
            if !self.repeats || self.sound.narrow.is_empty() {
                out.fill(0);
                return;
            }
            self.at = 0;
        }
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self) -> bool {
        self.at >= self.sound.narrow.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, seconds: f64) -> Sound {
        let wave = |n: usize| (n as f64 * std::f64::consts::TAU * hz / f64::from(WIDE)).sin() * 10_000.0;
        Sound::new((0..(seconds * f64::from(WIDE)) as usize).map(|n| wave(n) as i16).collect())
    }

    #[test]
    fn both_rates_are_the_same_sound_at_the_same_time() {
        let sound = tone(440.0, 0.5);
        assert_eq!(sound.narrow.len() * 2, sound.wide.len());
        assert_eq!(sound.duration(), Duration::from_millis(500));
        let off = |n: usize| (i32::from(sound.narrow[n]) - i32::from(sound.wide[2 * n])).abs();
        let most = (100..3_900).map(off).max().unwrap();
        assert!(most < 50, "{most}");
    }

    #[test]
    fn it_repeats_without_a_sample_too_many_and_once_ends_in_silence() {
        let sound = Sound::new((1..=1_000).collect());
        for rate in [NARROW, WIDE] {
            let whole = sound.at(rate).to_vec();
            let (mut for_ever, mut once) =
                (SoundPlayer::new(sound.clone(), true), SoundPlayer::new(sound.clone(), false));
            let mut heard = vec![0; whole.len() * 3];
            heard.chunks_mut(rate as usize / 50).for_each(|frame| for_ever.fill(rate, frame));
            assert_eq!(heard, whole.repeat(3), "{rate}");
            heard.chunks_mut(rate as usize / 50).for_each(|frame| once.fill(rate, frame));
            assert_eq!(heard[..whole.len()], whole);
            assert!(heard[whole.len()..].iter().all(|s| *s == 0) && once.is_over());
        }
    }

    #[test]
    fn an_empty_sound_is_silence() {
        let mut player = SoundPlayer::new(Sound::new(Vec::new()), true);
        let mut out = [7; 160];
        player.fill(NARROW, &mut out);
        assert_eq!(out, [0; 160]);
        assert!(player.is_over());
    }
}
