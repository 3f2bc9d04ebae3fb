//! Comfort noise: what a listener hears while nobody speaks. Its level is that of the background before, or what the
//! peer's own comfort noise says (RFC 3389).

use super::g711::Law;

/// Levels below full scale that are made, dB: what nobody hears, and what is no background any more.
const QUIETEST: u8 = 78;
const LOUDEST: u8 = 30;
/// What is louder has been speech.
const LOUDEST_BACKGROUND: u8 = 48;
/// Before any background was heard.
const UNKNOWN: u8 = 70;
/// Reflection coefficients that are followed; more say nothing about a background (RFC 3389 §3.1 leaves it open).
const ORDER: usize = 10;
/// Of a quantised coefficient (RFC 3389 §3.2).
const STEP: f32 = 258.0 / 32_768.0;
/// How the floor rises under a louder background, for each frame that was looked at: doubled in 3 s of 20 ms frames.
const RISE: f32 = 1.0046;
/// Power of the loudest square wave: 0 dBov (RFC 3389 §3.1).
const FULL: f32 = 32_768.0 * 32_768.0;

/// A comfort noise packet's content.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Comfort {
    level: u8,
    reflection: [f32; ORDER],
}

impl Comfort {
    /// White noise so many dB below full scale.
    pub fn white(level: u8) -> Comfort {
        Comfort { level: level.clamp(LOUDEST, QUIETEST), reflection: [0.0; ORDER] }
    }

    /// Reads RFC 3389 §3: the level in -dBov, then quantised reflection coefficients of an all-pole model.
    pub fn parse(payload: &[u8]) -> Option<Comfort> {
        let (&level, model) = payload.split_first()?;
        let mut comfort = Comfort::white(level & 0x7f);
        for (k, &n) in comfort.reflection.iter_mut().zip(model) {
            *k = (STEP * (f32::from(n) - 127.0)).clamp(-0.95, 0.95);
        }
        Some(comfort)
    }

    /// The payload: its level alone, which is white noise (RFC 3389 §3.1).
    pub fn payload(self) -> [u8; 1] {
        [self.level]
    }
}

/// The level of the background between words, from the frames that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Background {
    /// Power of a sample; none before the first frame.
    floor: Option<f32>,
}

impl Background {
    /// A frame that somebody said.
    pub fn heard(&mut self, pcm: &[i16]) {
        self.frame(pcm.iter().map(|s| f32::from(*s) * f32::from(*s)).sum::<f32>(), pcm.len());
    }

    /// The same of G.711.
    pub fn heard_g711(&mut self, law: Law, payload: &[u8]) {
        // Whole numbers may be added in any order, and so several at once.
        let power = |byte: &u8| u64::from(law.decode_sample(*byte).unsigned_abs()).pow(2);
        self.frame(payload.iter().map(power).sum::<u64>() as f32, payload.len());
    }

    fn frame(&mut self, energy: f32, samples: usize) {
        if samples == 0 {
            return;
        }
        // A frame of nothing but zeros is no background but its absence.
        let power = (energy / samples as f32).max(1.0);
        self.floor = Some(self.floor.map_or(power, |floor| power.min(floor * RISE)));
    }

    /// White noise of that level.
    pub fn comfort(&self) -> Comfort {
        let level = self.floor.map_or(UNKNOWN, |floor| (10.0 * (FULL / floor).log10()) as u8);
        Comfort::white(level.max(LOUDEST_BACKGROUND))
    }
}

/// Makes the noise.
#[derive(Clone, Debug)]
pub struct Noise {
    seed: u32,
    /// Of the lattice filter, as far as the model has it.
    state: [f32; ORDER],
}

impl Default for Noise {
    fn default() -> Noise {
        Noise { seed: 0x5eed, state: [0.0; ORDER] }
    }
}

impl Noise {
    /// Adds a frame of it to `out`.
    pub fn add(&mut self, comfort: Comfort, out: &mut [i16]) {
        let power = FULL * 10f32.powf(-f32::from(comfort.level) / 10.0);
        // The filter would make it louder by what its poles add.
        let gain: f32 = comfort.reflection.iter().map(|k| 1.0 - k * k).product();
        // Uniform between -a and a: a third of a's square.
        let amplitude = (3.0 * power * gain).sqrt();
        for sample in out {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let white = ((self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0) * amplitude;
            let shaped = self.lattice(&comfort.reflection, white);
            *sample = sample.saturating_add(shaped.round() as i16);
        }
    }

    /// One step of the all-pole lattice filter.
    fn lattice(&mut self, reflection: &[f32; ORDER], input: f32) -> f32 {
        let mut forward = input;
        for n in (0..ORDER).rev() {
            forward -= reflection[n] * self.state[n];
            let backward = self.state[n] + reflection[n] * forward;
            if n + 1 < ORDER {
                self.state[n + 1] = backward;
            }
        }
        self.state[0] = forward;
        forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(pcm: &[i16]) -> f32 {
        let power = pcm.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / pcm.len() as f32;
        10.0 * (FULL / power).log10()
    }

    fn made(comfort: Comfort) -> Vec<i16> {
        let (mut noise, mut pcm) = (Noise::default(), vec![0; 16_000]);
        pcm.chunks_mut(160).for_each(|frame| noise.add(comfort, frame));
        pcm
    }

    #[test]
    fn noise_has_the_level_asked_for_within_the_bounds() {
        for asked in [40u8, 50, 60, 70] {
            let is = level(&made(Comfort::white(asked)));
            assert!((is - f32::from(asked)).abs() < 1.0, "{asked}: {is:.1}");
        }
        assert!(level(&made(Comfort::white(0))) > f32::from(LOUDEST) - 1.0, "never a roar");
    }

    /// RFC 3389 §3: the byte is -dBov, N of 127 is a coefficient of zero.
    #[test]
    fn a_packet_is_its_level_and_its_model() {
        assert_eq!(Comfort::parse(&[]), None);
        assert_eq!(Comfort::parse(&[0x80 | 50, 127, 127]), Some(Comfort::white(50)));
        assert_eq!(Comfort::white(50).payload(), [50]);
        // One pole towards low frequencies: neighbours resemble each other, the level stays.
        for n in [20, 240] {
            let pcm = made(Comfort::parse(&[45, n]).unwrap());
            let alike: f32 = pcm.windows(2).map(|w| f32::from(w[0]) * f32::from(w[1])).sum();
            let power: f32 = pcm.iter().map(|s| f32::from(*s).powi(2)).sum();
            let expected = -(f32::from(n) - 127.0) * STEP;
            assert!((alike / power - expected).abs() < 0.05, "{} for {expected}", alike / power);
            assert!((level(&pcm) - 45.0).abs() < 1.0, "{}", level(&pcm));
        }
    }

    #[test]
    fn any_model_stays_within_the_samples() {
        for n in [0, 255] {
            let mut payload = vec![n; 60];
            payload[0] = 40;
            let pcm = made(Comfort::parse(&payload).unwrap());
            assert!((30.0..60.0).contains(&level(&pcm)), "{}", level(&pcm));
        }
    }

    #[test]
    fn the_background_is_what_remains_between_words() {
        let (mut background, mut noise) = (Background::default(), Noise::default());
        assert_eq!(background.comfort(), Comfort::white(UNKNOWN));
        for n in 0..200 {
            let mut frame = [if n % 20 < 15 { 9_000 } else { 0 }; 160];
            noise.add(Comfort::white(55), &mut frame);
            background.heard(&frame);
        }
        let found = background.comfort().level;
        assert!((53..=57).contains(&found), "{found}");
        let mut coded = Vec::new();
        for law in [Law::Mu, Law::A] {
            let mut of_law = Background::default();
            let mut frame = [0; 160];
            noise.add(Comfort::white(50), &mut frame);
            coded.clear();
            law.encode(&frame, &mut coded);
            of_law.heard_g711(law, &coded);
            assert!((48..=52).contains(&of_law.comfort().level), "{:?}", of_law.comfort());
        }
    }

    #[test]
    fn a_background_that_grows_louder_is_followed_in_seconds() {
        let (mut background, mut noise) = (Background::default(), Noise::default());
        for (frames, level) in [(50, 75), (50 * 25, 55)] {
            for _ in 0..frames {
                let mut frame = [0; 160];
                noise.add(Comfort::white(level), &mut frame);
                background.heard(&frame);
            }
        }
        assert!((54..=57).contains(&background.comfort().level), "{:?}", background.comfort());
    }
}
