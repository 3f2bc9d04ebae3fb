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
    /// The newest audio, oldest first.
    history: [i16; HISTORY],
    gap: Option<Gap>,
}

/// A gap being filled.
#[derive(Clone, Copy, Debug)]
struct Gap {
    pitch: usize,
    /// How many periods are repeated: 1 in the first 10 ms, then 2, then 3.
    periods: usize,
    /// Where in the repeated stretch the next sample is, from its start.
    position: usize,
    /// Samples filled so far.
    filled: usize,
}

impl Default for Plc {
    fn default() -> Plc {
        Plc { history: [0; HISTORY], gap: None }
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
            None => Gap { pitch: self.pitch(), periods: 1, position: 0, filled: 0 },
        };
        for sample in out.iter_mut() {
            *sample = self.synthesise(&mut gap);
        }
        self.gap = Some(gap);
    }

    fn remember(&mut self, frame: &[i16]) {
        let n = frame.len().min(HISTORY);
        self.history.copy_within(n.., 0);
        self.history[HISTORY - n..].copy_from_slice(&frame[frame.len() - n..]);
    }

    /// The next sample of the filling.
    fn synthesise(&self, gap: &mut Gap) -> i16 {
        if gap.filled >= FADED {
            return 0;
        }
        self.widen(gap);
        let quarter = gap.pitch / 4;
        let mut value = self.repeated(gap, gap.position);
        if gap.filled < quarter {
            // Into the gap: from the newest audio, mirrored in time, to its repetition.
            let old = f32::from(self.history[HISTORY - 1 - gap.filled]);
            value = mix(old, value, gap.filled, quarter);
        }
        gap.position = (gap.position + 1) % (gap.pitch * gap.periods);
        let fade = gap.filled.saturating_sub(TEN_MS) as f32 / (FADED - TEN_MS) as f32;
        gap.filled += 1;
        round(value * (1.0 - fade))
    }

    /// Repeats more periods after 10 and after 20 ms: one alone would buzz.
    fn widen(&self, gap: &mut Gap) {
        if gap.filled == TEN_MS || gap.filled == 2 * TEN_MS {
            // The same phase of the new, longer stretch.
            gap.position %= gap.pitch;
            gap.periods += 1;
        }
    }

    /// A sample of the repeated stretch; its last quarter period runs over into what lies before its start,
    /// so that the end meets the beginning.
    fn repeated(&self, gap: &Gap, position: usize) -> f32 {
        let length = gap.pitch * gap.periods;
        let quarter = gap.pitch / 4;
        let here = f32::from(self.history[HISTORY - length + position]);
        let left = length - position;
        if left > quarter {
            return here;
        }
        let before = f32::from(self.history[HISTORY - length - left]);
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
            let (new, old) = (f32::from(self.history[at]), f32::from(self.history[at - lag]));
            product += new * old;
            energy += old * old;
        }
        // A floor keeps near-silence from deciding.
        product / energy.max(250.0).sqrt()
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
