//! Concealment of lost G.711 and G.722 frames, after the method that ITU-T G.711 Appendix I describes: repeat the last pitch
//! periods, more of them the longer the gap, fade after 10 ms, and blend into what comes after. The Appendix delays
//! all audio by 3.75 ms to blend into a gap; we blend within the gap instead and delay nothing.

/// Pitch periods looked for, in milliseconds: 200 to 66 Hz.
const SHORTEST_PITCH: usize = 5;
const LONGEST_PITCH: usize = 15;
/// How much of the newest audio is compared, milliseconds.
const COMPARED: usize = 20;
/// Silence from here on, milliseconds.
const FADED: usize = 60;

/// State of one stream.
#[derive(Debug)]
pub struct Plc {
    /// Samples of a millisecond.
    ms: usize,
    /// The newest audio given out, oldest first: three of the longest pitch periods and a quarter to blend with.
    heard: Box<[i16]>,
    /// The same as it was when the gap began: what is repeated.
    before: Box<[i16]>,
    gap: Option<Gap>,
}

/// A gap being filled.
#[derive(Clone, Copy, Debug)]
struct Gap {
    pitch: usize,
    place: Place,
    /// Where the shorter stretch would have gone on, while it is blended into the longer.
    leaving: Option<Place>,
    /// Samples filled so far.
    filled: usize,
}

/// The next sample of a stretch of whole pitch periods that is repeated.
#[derive(Clone, Copy, Debug)]
struct Place {
    periods: usize,
    position: usize,
}

impl Plc {
    /// For samples at `rate` Hz.
    pub fn new(rate: u32) -> Plc {
        let ms = rate as usize / 1000;
        let longest = LONGEST_PITCH * ms;
        let history = vec![0; 3 * longest + longest / 4].into_boxed_slice();
        Plc { ms, heard: history.clone(), before: history, gap: None }
    }

    fn ten_ms(&self) -> usize {
        10 * self.ms
    }

    /// A frame arrived: remembered, and its beginning blended with the end of a gap.
    pub fn good(&mut self, frame: &mut [i16]) {
        if let Some(mut gap) = self.gap.take() {
            self.blend_out(&mut gap, frame);
        }
        self.remember(frame);
    }

    /// A frame is missing: fills all of `out`.
    pub fn conceal(&mut self, out: &mut [i16]) {
        let mut gap = match self.gap {
            Some(gap) => gap,
            None => {
                self.before.copy_from_slice(&self.heard);
                Gap {
                    pitch: self.pitch(),
                    place: Place { periods: 1, position: 0 },
                    leaving: None,
                    filled: 0,
                }
            }
        };
        for sample in out.iter_mut() {
            *sample = self.synthesise(&mut gap);
        }
        self.remember(out);
        self.gap = Some(gap);
    }

    /// Whether the gap that is being filled has faded to silence.
    pub fn has_faded(&self) -> bool {
        self.gap.is_some_and(|gap| gap.filled >= FADED * self.ms)
    }

    fn remember(&mut self, frame: &[i16]) {
        let history = self.heard.len();
        let n = frame.len().min(history);
        self.heard.copy_within(n.., 0);
        self.heard[history - n..].copy_from_slice(&frame[frame.len() - n..]);
    }

    /// The next sample of the filling.
    fn synthesise(&self, gap: &mut Gap) -> i16 {
        let (n, ten_ms, faded) = (gap.filled, self.ten_ms(), FADED * self.ms);
        if n >= faded {
            return 0;
        }
        if n == ten_ms || n == 2 * ten_ms {
            gap.widen();
        }
        let quarter = gap.pitch / 4;
        let mut value = self.repeated(gap.pitch, gap.place);
        if n < quarter {
            // Into the gap: the repetition joins the newest audio without a step, and the correction dies away.
            let newest = self.before.len() - 1;
            let step = f32::from(self.before[newest]) - f32::from(self.before[newest - gap.pitch]);
            value += mix(step, 0.0, n, quarter);
        }
        if let Some(mut old) = gap.leaving {
            value = mix(self.repeated(gap.pitch, old), value, n % ten_ms, quarter);
            old.advance(gap.pitch);
            gap.leaving = (n % ten_ms + 1 < quarter).then_some(old);
        }
        gap.place.advance(gap.pitch);
        gap.filled += 1;
        let fade = n.saturating_sub(ten_ms) as f32 / (faded - ten_ms) as f32;
        round(value * (1.0 - fade))
    }

    /// A sample of the repeated stretch; its last quarter period runs over into what lies before its start,
    /// so that the end meets the beginning.
    fn repeated(&self, pitch: usize, place: Place) -> f32 {
        let length = pitch * place.periods;
        let quarter = pitch / 4;
        let here = f32::from(self.before[self.before.len() - length + place.position]);
        let left = length - place.position;
        if left > quarter {
            return here;
        }
        let before = f32::from(self.before[self.before.len() - length - left]);
        mix(here, before, quarter - left, quarter)
    }

    /// Blends the continued filling into the first good frame: a quarter period, 4 ms more for every 10 ms of gap,
    /// 10 ms at most.
    fn blend_out(&self, gap: &mut Gap, frame: &mut [i16]) {
        let ten_ms = self.ten_ms();
        let longer = gap.filled.saturating_sub(ten_ms) / ten_ms * 4 * self.ms;
        let length = (gap.pitch / 4 + longer).min(ten_ms).min(frame.len());
        for (n, sample) in frame.iter_mut().take(length).enumerate() {
            let filling = f32::from(self.synthesise(gap));
            *sample = round(mix(filling, f32::from(*sample), n, length));
        }
    }

    /// The lag at which the newest 20 ms resemble themselves most.
    fn pitch(&self) -> usize {
        let (min, max) = (SHORTEST_PITCH * self.ms, LONGEST_PITCH * self.ms);
        // A quarter of the lags and samples at 16 kHz first, half of them at 8, then around the best.
        let step = self.ms / 4;
        let coarse = best((min..=max).step_by(step), |lag| self.resemblance(lag, step));
        let near = coarse.saturating_sub(step - 1).max(min)..=(coarse + step - 1).min(max);
        best(near, |lag| self.resemblance(lag, 1))
    }

    /// Normalised cross-correlation with the audio `lag` samples earlier.
    fn resemblance(&self, lag: usize, step: usize) -> f32 {
        let mut product = 0.0;
        let mut energy = 0.0;
        let history = self.before.len();
        for at in (history - COMPARED * self.ms..history).step_by(step) {
            let (new, old) = (f32::from(self.before[at]), f32::from(self.before[at - lag]));
            product += new * old;
            energy += old * old;
        }
        // A floor keeps near-silence from deciding.
        product / energy.max(250.0).sqrt()
    }
}

impl Gap {
    /// Repeats more periods after 10 and after 20 ms, at the same phase: one alone would buzz.
    fn widen(&mut self) {
        self.leaving = Some(self.place);
        self.place = Place { periods: self.place.periods + 1, position: self.place.position % self.pitch };
    }
}

impl Place {
    fn advance(&mut self, pitch: usize) {
        self.position = (self.position + 1) % (pitch * self.periods);
    }
}

fn best(lags: impl Iterator<Item = usize>, score: impl Fn(usize) -> f32) -> usize {
    let mut found = (1, f32::MIN);
    for lag in lags {
        let s = score(lag);
        if s > found.1 {
            found = (lag, s);
        }
    }
    found.0
}

/// From `a` to `b`, sample `n` of `length`.
fn mix(a: f32, b: f32, n: usize, length: usize) -> f32 {
    let share = (n + 1) as f32 / (length + 1) as f32;
    a + (b - a) * share
}

fn round(value: f32) -> i16 {
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const FRAME: usize = 160;
    const TEN_MS: usize = 80;

    /// A voiced sound: harmonics of a pitch, falling in level.
    fn voiced(pitch: f64, samples: usize) -> Vec<i16> {
        let harmonic = |at: f64, k: f64| (TAU * pitch * k * at / 8000.0).sin() / k;
        (0..samples)
            .map(|n| ((1..=6).map(|k| harmonic(n as f64, f64::from(k))).sum::<f64>() * 5000.0) as i16)
            .collect()
    }

    fn power(x: &[i16]) -> f64 {
        x.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / x.len() as f64
    }

    fn heard(audio: &[i16]) -> Plc {
        let mut plc = Plc::new(8_000);
        for frame in audio.to_vec().chunks_mut(FRAME) {
            plc.good(frame);
        }
        plc
    }

    #[test]
    fn a_lost_frame_of_a_steady_voice_is_nearly_what_was_said() {
        for pitch in [80.0, 110.0, 125.0, 160.0, 190.0] {
            let speech = voiced(pitch, 10 * FRAME);
            let mut plc = heard(&speech[..8 * FRAME]);
            let mut filled = [0; 80];
            plc.conceal(&mut filled);
            let missed = &speech[8 * FRAME..8 * FRAME + 80];
            let error: Vec<i16> = missed.iter().zip(&filled).map(|(a, b)| a - b).collect();
            let snr = 10.0 * (power(missed) / power(&error)).log10();
            assert!(snr > 10.0, "{pitch} Hz: {snr:.1} dB");
        }
    }

    #[test]
    fn nothing_is_delayed_and_nothing_is_changed_without_loss() {
        let speech = voiced(120.0, 10 * FRAME);
        let mut plc = Plc::new(8_000);
        for frame in speech.chunks(FRAME) {
            let mut out = frame.to_vec();
            plc.good(&mut out);
            assert_eq!(out, frame);
        }
    }

    /// Appendix I: full level for 10 ms, then 20 % less for every 10 ms, silent from 60 ms on.
    #[test]
    fn a_long_gap_fades_and_is_silent_after_60_ms() {
        let speech = voiced(100.0, 8 * FRAME);
        let mut plc = heard(&speech);
        let mut filled = [0; 9 * 80];
        for chunk in filled.chunks_mut(FRAME) {
            plc.conceal(chunk);
        }
        // 100 Hz: every 10 ms hold one period, so their powers compare.
        let level = |n: usize| (power(&filled[n * 80..n * 80 + 80]) / power(&speech[..80])).sqrt();
        for (n, expected) in [1.0, 0.9, 0.7, 0.5, 0.3, 0.1].into_iter().enumerate() {
            assert!((level(n) - expected).abs() < 0.12, "{n}: {}", level(n));
        }
        assert!(filled[480..].iter().all(|&s| s == 0));
    }

    #[test]
    fn neither_edge_of_a_gap_clicks() {
        for pitch in [90.0, 120.0, 170.0] {
            let speech = voiced(pitch, 20 * FRAME);
            let steepest =
                speech.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap();
            for lost in 1..5 {
                let mut plc = Plc::new(8_000);
                let mut out = Vec::new();
                for (n, frame) in speech.chunks(FRAME).enumerate() {
                    let mut frame = frame.to_vec();
                    if (8..8 + lost).contains(&n) {
                        plc.conceal(&mut frame)
                    } else {
                        plc.good(&mut frame)
                    }
                    out.extend(frame);
                }
                let steps = out.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs());
                let worst = steps.max().unwrap();
                assert!(worst <= steepest * 3 / 2, "{pitch} Hz, {lost} lost: {worst} > {steepest}");
            }
        }
    }

    #[test]
    fn after_a_gap_the_audio_is_untouched_within_10_ms() {
        let speech = voiced(120.0, 10 * FRAME);
        let mut plc = heard(&speech[..8 * FRAME]);
        plc.conceal(&mut [0; 400]);
        let mut frame = speech[9 * FRAME..].to_vec();
        plc.good(&mut frame);
        assert_ne!(frame[..TEN_MS], speech[9 * FRAME..9 * FRAME + TEN_MS]);
        assert_eq!(frame[TEN_MS..], speech[9 * FRAME + TEN_MS..]);
    }

    #[test]
    fn a_gap_before_any_audio_is_silent() {
        let mut out = [7; FRAME];
        Plc::new(8_000).conceal(&mut out);
        assert_eq!(out, [0; FRAME]);
    }

    proptest! {
        #[test]
        fn any_audio_in_any_lengths_is_taken(steps in prop::collection::vec((any::<bool>(), 0usize..600, any::<i16>()), 1..30)) {
            let mut plc = Plc::new(8_000);
            for (lost, length, seed) in steps {
                let mut frame: Vec<i16> = (0..length).map(|n| seed.wrapping_mul(n as i16 | 1)).collect();
                if lost { plc.conceal(&mut frame) } else { plc.good(&mut frame) }
                prop_assert_eq!(frame.len(), length);
            }
        }
    }
}
