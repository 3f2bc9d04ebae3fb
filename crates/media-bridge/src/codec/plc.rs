//! Concealment of lost G.711 frames, after the method that ITU-T G.711 Appendix I describes: repeat the last pitch
//! periods, more of them the longer the gap, fade after 10 ms, and blend into what comes after. The Appendix delays
//! all audio by 3.75 ms to blend into a gap; we blend within the gap instead and delay nothing.

/// Everything in samples at 8 kHz.
const MS: usize = 8;
/// Pitch periods looked for: 5 to 15 ms (200 to 66 Hz).
const PITCH_MIN: usize = 5 * MS;
const PITCH_MAX: usize = 15 * MS;
/// How much of the newest audio is compared, 20 ms.
const WINDOW: usize = 20 * MS;
/// Three pitch periods and a quarter to blend with.
const HISTORY: usize = 3 * PITCH_MAX + PITCH_MAX / 4;
const TEN_MS: usize = 10 * MS;
/// Silence from here on.
const FADED: usize = 60 * MS;

/// State of one stream.
#[derive(Debug)]
pub struct Plc {
    /// The newest audio given out, oldest first.
    heard: [i16; HISTORY],
    /// The same as it was when the gap began: what is repeated.
    before: [i16; HISTORY],
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

impl Default for Plc {
    fn default() -> Plc {
        Plc { heard: [0; HISTORY], before: [0; HISTORY], gap: None }
    }
}

impl Plc {
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
                self.before = self.heard;
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

    fn remember(&mut self, frame: &[i16]) {
        let n = frame.len().min(HISTORY);
        self.heard.copy_within(n.., 0);
        self.heard[HISTORY - n..].copy_from_slice(&frame[frame.len() - n..]);
    }

    /// The next sample of the filling.
    fn synthesise(&self, gap: &mut Gap) -> i16 {
        let n = gap.filled;
        if n >= FADED {
            return 0;
        }
        if n == TEN_MS || n == 2 * TEN_MS {
            gap.widen();
        }
        let quarter = gap.pitch / 4;
        let mut value = self.repeated(gap.pitch, gap.place);
        if n < quarter {
            // Into the gap: the repetition joins the newest audio without a step, and the correction dies away.
            let step = f32::from(self.before[HISTORY - 1]) - f32::from(self.before[HISTORY - 1 - gap.pitch]);
            value += mix(step, 0.0, n, quarter);
        }
        if let Some(mut old) = gap.leaving {
            value = mix(self.repeated(gap.pitch, old), value, n % TEN_MS, quarter);
            old.advance(gap.pitch);
            gap.leaving = (n % TEN_MS + 1 < quarter).then_some(old);
        }
        gap.place.advance(gap.pitch);
        gap.filled += 1;
        let fade = n.saturating_sub(TEN_MS) as f32 / (FADED - TEN_MS) as f32;
        round(value * (1.0 - fade))
    }

    /// A sample of the repeated stretch; its last quarter period runs over into what lies before its start,
    /// so that the end meets the beginning.
    fn repeated(&self, pitch: usize, place: Place) -> f32 {
        let length = pitch * place.periods;
        let quarter = pitch / 4;
        let here = f32::from(self.before[HISTORY - length + place.position]);
        let left = length - place.position;
        if left > quarter {
            return here;
        }
        let before = f32::from(self.before[HISTORY - length - left]);
        mix(here, before, quarter - left, quarter)
    }

    /// Blends the continued filling into the first good frame: a quarter period, 4 ms more for every 10 ms of gap,
    /// 10 ms at most.
    fn blend_out(&self, gap: &mut Gap, frame: &mut [i16]) {
        let longer = gap.filled.saturating_sub(TEN_MS) / TEN_MS * 4 * MS;
        let length = (gap.pitch / 4 + longer).min(TEN_MS).min(frame.len());
        for (n, sample) in frame.iter_mut().take(length).enumerate() {
            let filling = f32::from(self.synthesise(gap));
            *sample = round(mix(filling, f32::from(*sample), n, length));
        }
    }

    /// The lag at which the newest 20 ms resemble themselves most.
    fn pitch(&self) -> usize {
        // Every second lag and sample first, then around the best.
        let coarse = best((PITCH_MIN..=PITCH_MAX).step_by(2), |lag| self.resemblance(lag, 2));
        let near = coarse.saturating_sub(1).max(PITCH_MIN)..=(coarse + 1).min(PITCH_MAX);
        best(near, |lag| self.resemblance(lag, 1))
    }

    /// Normalised cross-correlation with the audio `lag` samples earlier.
    fn resemblance(&self, lag: usize, step: usize) -> f32 {
        let mut product = 0.0;
        let mut energy = 0.0;
        for at in (HISTORY - WINDOW..HISTORY).step_by(step) {
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
    let mut found = (PITCH_MIN, f32::MIN);
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
        let mut plc = Plc::default();
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
        let mut plc = Plc::default();
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
                let mut plc = Plc::default();
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
        Plc::default().conceal(&mut out);
        assert_eq!(out, [0; FRAME]);
    }

    proptest! {
        #[test]
        fn any_audio_in_any_lengths_is_taken(steps in prop::collection::vec((any::<bool>(), 0usize..600, any::<i16>()), 1..30)) {
            let mut plc = Plc::default();
            for (lost, length, seed) in steps {
                let mut frame: Vec<i16> = (0..length).map(|n| seed.wrapping_mul(n as i16 | 1)).collect();
                if lost { plc.conceal(&mut frame) } else { plc.good(&mut frame) }
                prop_assert_eq!(frame.len(), length);
            }
        }
    }
}
