//! Sounds that the gateway makes itself, at 8 kHz, continuous from frame to frame.

use std::f32::consts::TAU;

use crate::control::Tone;

const RATE: u32 = 8_000;
/// European supervisory tone (ITU-T E.180), Hz.
const SUPERVISORY: f32 = 425.0;
/// About -16 dBm0.
const LEVEL: f32 = 4_000.0;
/// Short ramps keep the tone's edges from clicking.
const RAMP: u32 = RATE / 200;
/// One note of the tune.
const NOTE: u32 = RATE * 3 / 10;
/// A quiet arpeggio, Hz; its own composition.
const TUNE: [f32; 16] = [
    261.63, 329.63, 392.0, 523.25, 392.0, 329.63, 220.0, 261.63, 329.63, 440.0, 329.63, 261.63, 174.61,
    220.0, 261.63, 349.23,
];

/// Generates one sound for one listener.
#[derive(Clone, Debug)]
pub struct ToneGenerator {
    tone: Tone,
    /// Samples since the beginning, within the sound's cycle.
    at: u32,
    /// Phase in turns, 0-1.
    phase: f32,
}

impl ToneGenerator {
    /// From the beginning of the sound.
    pub fn new(tone: Tone) -> ToneGenerator {
        ToneGenerator { tone, at: 0, phase: 0.0 }
    }

    /// Which sound this is.
    pub fn tone(&self) -> Tone {
        self.tone
    }

    /// Fills a frame of any length, going on where the last ended.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            *sample = match self.tone {
                Tone::Ringback => self.cadence(RATE, 5 * RATE),
                Tone::Busy => self.cadence(RATE * 48 / 100, RATE * 96 / 100),
                Tone::Music => self.music(),
            };
        }
    }

    /// `on` samples of tone in every `cycle`.
    fn cadence(&mut self, on: u32, cycle: u32) -> i16 {
        let at = self.at;
        self.at = (at + 1) % cycle;
        if at >= on {
            self.phase = 0.0;
            return 0;
        }
        let edge = at.min(on - 1 - at).min(RAMP) as f32 / RAMP as f32;
        self.oscillate(SUPERVISORY, LEVEL * edge) as i16
    }

    /// Notes with a soft attack that die away before the next.
    fn music(&mut self) -> i16 {
        let at = self.at;
        self.at = (at + 1) % (NOTE * TUNE.len() as u32);
        let within = at % NOTE;
        if within == 0 {
            self.phase = 0.0;
        }
        let attack = within.min(RAMP) as f32 / RAMP as f32;
        let left = (NOTE - within) as f32 / NOTE as f32;
        let note = TUNE[(at / NOTE) as usize % TUNE.len()];
        let level = LEVEL / 2.0 * attack * left * left;
        let overtone = (self.phase * 2.0 * TAU).sin() * level * 0.3;
        (self.oscillate(note, level) + overtone) as i16
    }

    fn oscillate(&mut self, frequency: f32, level: f32) -> f32 {
        let value = (self.phase * TAU).sin() * level;
        self.phase = (self.phase + frequency / RATE as f32).fract();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(tone: Tone, n: u32, frame: usize) -> Vec<i16> {
        let mut generator = ToneGenerator::new(tone);
        let mut out = vec![0; (n * RATE) as usize];
        out.chunks_mut(frame).for_each(|f| generator.fill(f));
        out
    }

    /// Power share of one frequency (Goertzel's sum done plainly).
    fn share(x: &[i16], frequency: f32) -> f64 {
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, &s) in x.iter().enumerate() {
            let turn = std::f64::consts::TAU * f64::from(frequency) * n as f64 / f64::from(RATE);
            re += f64::from(s) * turn.cos();
            im += f64::from(s) * turn.sin();
            all += f64::from(s).powi(2);
        }
        2.0 * (re * re + im * im) / all / x.len() as f64
    }

    #[test]
    fn ringback_is_425_hz_one_second_in_five() {
        let audio = seconds(Tone::Ringback, 10, 160);
        for start in [0, 5 * RATE as usize] {
            let (on, off) = audio[start..start + 5 * RATE as usize].split_at(RATE as usize);
            assert!(share(on, 425.0) > 0.99);
            assert!(off.iter().all(|&s| s == 0));
        }
    }

    #[test]
    fn busy_is_425_hz_on_and_off_for_480_ms() {
        let audio = seconds(Tone::Busy, 2, 160);
        let part = 3840;
        assert!(share(&audio[..part], 425.0) > 0.99);
        assert!(audio[part..2 * part].iter().all(|&s| s == 0));
        assert!(share(&audio[2 * part..3 * part], 425.0) > 0.99);
    }

    #[test]
    fn frame_length_changes_nothing_and_nothing_clicks() {
        for tone in [Tone::Ringback, Tone::Busy, Tone::Music] {
            let audio = seconds(tone, 12, 160);
            assert_eq!(audio, seconds(tone, 12, 37));
            let steepest = audio.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap();
            assert!(steepest < 1_600, "{tone:?}: {steepest}");
        }
    }

    #[test]
    fn music_is_quiet_and_never_silent_for_long() {
        let audio = seconds(Tone::Music, 12, 160);
        let loudest = audio.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((500..4_000).contains(&loudest), "{loudest}");
        assert!(audio.chunks(RATE as usize / 2).all(|half| half.iter().any(|s| s.unsigned_abs() > 500)));
    }
}
