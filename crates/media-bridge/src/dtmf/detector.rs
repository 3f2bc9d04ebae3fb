//! Hears digits that come as tones in the audio (ITU-T Q.23), within the limits of ITU-T Q.24.
//!
//! Goertzel's filters run at the eight frequencies over steps of 6.4 ms; two steps are a block. A block that is little
//! else than one low and one high tone is a hit. What tells keys from speech is that several hits follow each other and
//! that their phases turn as fast as those of the nominal frequencies, which resolves far less than a block's own 78 Hz.

use std::f32::consts::TAU;
use std::time::{Duration, Instant};

use super::receiver::Digit;
use super::tones::{COLUMNS, KEYS, ROWS};

/// Steps a second are the rate over this, per 8,000: 51 samples at 8 kHz.
const STEP_AT_8_KHZ: u32 = 51;
/// Consecutive hits that make a key: 40 ms of tone always have them, 23 ms never (ITU-T Q.24).
const HITS: u32 = 5;
/// Hits after which the sound is kept from those who get the digit anew: less than 23 ms have passed.
const SUSPECT: u32 = 2;
/// Blocks without the tone that end it: an interruption of 20 ms (a lost packet) never, a pause of 40 ms always.
const MISSES: u32 = 5;
/// Blocks without the tone within one, while which the sound is still kept back.
const KEPT_BACK: u32 = 2;
/// Nothing received for so long: the tone is over.
const SILENCE: Duration = Duration::from_millis(100);
/// Of a block's power the two tones have at least this share: speech may sound beside them.
const SHARE: f32 = 0.6;
/// The faintest tone that counts: -38 dBm0 for each of the two, as amplitude (0 dBm0 has 22,300).
const FAINTEST: f32 = 280.0;
/// The high tone may be so much stronger than the low one: 4 dB, and what frequencies that are off make of it (power).
const TWIST: f32 = 5.0;
/// The low tone may be so much stronger than the high one: 8 dB, and the same (power).
const REVERSE_TWIST: f32 = 16.0;
/// By which a tone is stronger than the others of its group: 4 dB (power).
const CLEAR: f32 = 2.5;
/// Share by which a frequency may be off: 1.5 % is to be accepted, 3.5 % to be rejected.
const OFF: f32 = 0.025;
/// The same between two blocks alone.
const OFF_AT_ONCE: f32 = 0.04;

/// A complex number.
#[derive(Clone, Copy, Default, Debug)]
struct Complex {
    re: f32,
    im: f32,
}

impl Complex {
    fn turn(phase: f32) -> Complex {
        Complex { re: phase.cos(), im: phase.sin() }
    }

    fn plus(self, other: Complex) -> Complex {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }

    fn times(self, other: Complex) -> Complex {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    fn conjugate(self) -> Complex {
        Complex { re: self.re, im: -self.im }
    }

    fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }

    fn phase(self) -> f32 {
        self.im.atan2(self.re)
    }
}

/// What a rate makes of the frequencies.
#[derive(Clone, Copy, Debug)]
struct Tuning {
    /// Samples of a step.
    step: usize,
    /// Per frequency: Goertzel's factor, 2 cos.
    factor: [f32; 8],
    /// One sample's turn.
    sample: [Complex; 8],
    /// A step's turn.
    turn: [Complex; 8],
    /// Phase between two steps, per share of the frequency by which it is off.
    off: [f32; 8],
    /// Power in a block of the faintest tone.
    faintest: f32,
}

/// A tone that is being heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    row: usize,
    column: usize,
    /// Steps since the beginning of all, at the first block's start.
    from: u64,
    /// After the last block that had it.
    to: u64,
    hits: u32,
    misses: u32,
    /// Of the last block that had it.
    last: [Complex; 2],
    /// How the phases turned beyond what the frequencies do, summed.
    drift: [Complex; 2],
    certain: bool,
}

/// What a block is.
#[derive(Clone, Copy, Debug)]
struct Hit {
    row: usize,
    column: usize,
    pair: [Complex; 2],
}

/// Tones in one received stream.
#[derive(Debug)]
pub struct Detector {
    rate: u32,
    tuning: Tuning,
    /// Goertzel's two values of each frequency, and the power, in the present step.
    state: [[f32; 8]; 2],
    power: f32,
    filled: usize,
    /// Of the step before.
    before: [Complex; 8],
    power_before: f32,
    steps: u64,
    tone: Option<Heard>,
    /// At most two end within the longest packet.
    ready: [Option<Digit>; 2],
    at: Option<Instant>,
}

impl Detector {
    /// `rate`: of the samples, Hz.
    pub fn new(rate: u32) -> Detector {
        Detector {
            rate,
            tuning: Tuning::new(rate),
            state: Default::default(),
            power: 0.0,
            filled: 0,
            before: Default::default(),
            power_before: 0.0,
            steps: 0,
            tone: None,
            ready: [None; 2],
            at: None,
        }
    }

    /// Of the samples, Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Listens to the next samples; then `poll_digit` until none. Whether these may belong to a digit: who gets that anew
    /// is not to hear them.
    pub fn hear(&mut self, pcm: &[i16], now: Instant) -> bool {
        self.at = Some(now);
        let mut suspect = self.suspects();
        let mut rest = pcm;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.tuning.step - self.filled));
            self.filter(now);
            rest = later;
            if self.filled == self.tuning.step {
                self.end_step();
                suspect |= self.suspects();
            }
        }
        suspect
    }

    /// Ends a tone after which nothing more came.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.finish();
        }
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.at.filter(|_| self.tone.is_some()).map(|at| at + SILENCE)
    }

    /// A digit that is complete.
    pub fn poll_digit(&mut self) -> Option<Digit> {
        let first = self.ready[0].take();
        self.ready.swap(0, 1);
        first
    }

    fn suspects(&self) -> bool {
        self.tone.is_some_and(|tone| tone.hits >= SUSPECT && tone.misses <= KEPT_BACK)
    }

    fn filter(&mut self, pcm: &[i16]) {
        let factor = self.tuning.factor;
        let [mut last, mut second] = self.state;
        for &sample in pcm {
            let sample = f32::from(sample);
            self.power += sample * sample;
            for n in 0..8 {
                let next = sample + factor[n] * last[n] - second[n];
                second[n] = last[n];
                last[n] = next;
            }
        }
        self.state = [last, second];
        self.filled += pcm.len();
    }

    fn end_step(&mut self) {
        let [last, second] = std::mem::take(&mut self.state);
        let now: [Complex; 8] = std::array::from_fn(|n| {
            let turn = self.tuning.sample[n];
            Complex { re: last[n] - second[n] * turn.re, im: second[n] * turn.im }
        });
        let block = std::array::from_fn(|n| self.before[n].times(self.tuning.turn[n]).plus(now[n]));
        let power = self.power_before + self.power;
        (self.before, self.power_before) = (now, self.power);
        (self.power, self.filled) = (0.0, 0);
        self.steps += 1;
        match self.tuning.judge(&block, power) {
            Some(hit) => self.on_hit(hit),
            None => self.on_miss(),
        }
    }

    fn on_hit(&mut self, hit: Hit) {
        let to = self.steps;
        let begin = Heard {
            row: hit.row,
            column: hit.column,
            from: to - 2.min(to),
            to,
            hits: 1,
            misses: 0,
            last: hit.pair,
            drift: [Complex::default(); 2],
            certain: false,
        };
        let Some(tone) = self.tone.as_mut().filter(|t| (t.row, t.column) == (hit.row, hit.column)) else {
            self.finish();
            self.tone = Some(begin);
            return;
        };
        if !tone.certain {
            let turned = self.tuning.turned(hit, tone.last);
            if self.tuning.is_off(hit.row, hit.column, turned, OFF_AT_ONCE) {
                *tone = begin;
                return;
            }
            tone.drift = [tone.drift[0].plus(turned[0]), tone.drift[1].plus(turned[1])];
        }
        (tone.to, tone.misses, tone.last) = (to, 0, hit.pair);
        tone.hits += 1;
        if tone.hits == HITS {
            tone.certain = !self.tuning.is_off(tone.row, tone.column, tone.drift, OFF);
        }
    }

    fn on_miss(&mut self) {
        let Some(tone) = &mut self.tone else { return };
        tone.misses += 1;
        if !tone.certain || tone.misses >= MISSES {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(tone) = self.tone.take().filter(|t| t.certain) else { return };
        let Some(digit) = KEYS[tone.row].chars().nth(tone.column) else { return };
        // A block of which 0.6 are the tone is a hit already, at either end: on average that is 0.3 steps too much.
        let steps = (tone.to - tone.from) as f32 - 0.6;
        let seconds = steps * self.tuning.step as f32 / self.rate as f32;
        if let Some(free) = self.ready.iter_mut().find(|r| r.is_none()) {
            *free = Some(Digit { digit, duration: Duration::from_secs_f32(seconds) });
        }
    }
}

impl Tuning {
    fn new(rate: u32) -> Tuning {
        let step = (STEP_AT_8_KHZ * rate / 8_000) as usize;
        let frequencies: [f32; 8] = std::array::from_fn(|n| if n < 4 { ROWS[n] } else { COLUMNS[n - 4] });
        let angle = frequencies.map(|frequency| TAU * frequency / rate as f32);
        Tuning {
            step,
            factor: angle.map(|angle| 2.0 * angle.cos()),
            sample: angle.map(Complex::turn),
            turn: angle.map(|angle| Complex::turn(angle * step as f32)),
            off: angle.map(|angle| angle * step as f32),
            faintest: (FAINTEST * step as f32).powi(2),
        }
    }

    /// The key of a block, if it is little else.
    fn judge(&self, block: &[Complex; 8], power: f32) -> Option<Hit> {
        let powers = block.map(Complex::power);
        let strongest = |group: &[f32]| (0..4).max_by(|&a, &b| group[a].total_cmp(&group[b]));
        let (low, high) = powers.split_at(4);
        let (row, column) = (strongest(low)?, strongest(high)?);
        let clear = |group: &[f32], at: usize| (0..4).all(|n| n == at || group[n] * CLEAR < group[at]);
        let (low_power, high_power) = (low[row], high[column]);
        let loud = low_power.min(high_power) >= self.faintest;
        let balanced = high_power <= low_power * TWIST && low_power <= high_power * REVERSE_TWIST;
        // A tone alone of amplitude a has the power a²n/2 in n samples, and (an/2)² here.
        let tonal = low_power + high_power >= SHARE * power * self.step as f32;
        let is = loud && balanced && tonal && clear(low, row) && clear(high, column);
        is.then(|| Hit { row, column, pair: [block[row], block[4 + column]] })
    }

    /// How the phases turned in a step, beyond what the frequencies do.
    fn turned(&self, hit: Hit, last: [Complex; 2]) -> [Complex; 2] {
        let turned =
            |n: usize, of: usize| hit.pair[n].times(last[n].conjugate()).times(self.turn[of].conjugate());
        [turned(0, hit.row), turned(1, 4 + hit.column)]
    }

    fn is_off(&self, row: usize, column: usize, turned: [Complex; 2], limit: f32) -> bool {
        let off = |n: usize, of: usize| turned[n].phase().abs() > limit * self.off[of];
        off(0, row) || off(1, 4 + column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Tone;
    use crate::tone::ToneGenerator;

    const RATES: [u32; 2] = [8_000, 16_000];
    /// Amplitude of 0 dBm0.
    const ZERO_DBM0: f64 = 22_300.0;

    /// A tone of a key as a test wants it.
    #[derive(Clone, Copy)]
    struct Sound {
        key: char,
        ms: f64,
        /// dBm0 of the low tone, and of the high one.
        level: (f64, f64),
        /// Factor of the low frequency, and of the high one.
        off: (f64, f64),
    }

    impl Sound {
        fn new(key: char, ms: f64) -> Sound {
            Sound { key, ms, level: (-10.0, -10.0), off: (1.0, 1.0) }
        }
    }

    /// Audio in the making.
    struct Line {
        rate: u32,
        pcm: Vec<f64>,
        seed: u64,
    }

    impl Line {
        fn new(rate: u32) -> Line {
            Line { rate, pcm: Vec::new(), seed: 1 }
        }

        fn pause(&mut self, ms: f64) {
            let samples = (ms * f64::from(self.rate) / 1_000.0) as usize;
            self.pcm.resize(self.pcm.len() + samples, 0.0);
        }

        fn sound(&mut self, sound: Sound) {
            let row = KEYS.iter().position(|keys| keys.contains(sound.key)).unwrap();
            let column = KEYS[row].find(sound.key).unwrap();
            let wave = |frequency: f32, off: f64, level: f64, n: usize| {
                let turns = f64::from(frequency) * off * n as f64 / f64::from(self.rate);
                ZERO_DBM0 * 10f64.powf(level / 20.0) * (turns * std::f64::consts::TAU).sin()
            };
            let samples = (sound.ms * f64::from(self.rate) / 1_000.0) as usize;
            let tone = (0..samples).map(|n| {
                wave(ROWS[row], sound.off.0, sound.level.0, n)
                    + wave(COLUMNS[column], sound.off.1, sound.level.1, n)
            });
            self.pcm.extend(tone.collect::<Vec<_>>());
        }

        /// White noise over all of it, of this level.
        fn noise(&mut self, dbm0: f64) {
            let amplitude = ZERO_DBM0 * 10f64.powf(dbm0 / 20.0) * 1.5f64.sqrt();
            for sample in &mut self.pcm {
                self.seed =
                    self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *sample += ((self.seed >> 33) as f64 / f64::from(1u32 << 30) - 1.0) * amplitude;
            }
        }

        /// What is heard of it in packets of 20 ms: digits with their milliseconds.
        fn heard(&self) -> Vec<(char, f64)> {
            let (mut detector, mut now) = (Detector::new(self.rate), Instant::now());
            let mut heard = Vec::new();
            let pcm: Vec<i16> = self.pcm.iter().map(|s| s.clamp(-32_124.0, 32_124.0) as i16).collect();
            for frame in pcm.chunks(self.rate as usize / 50) {
                detector.hear(frame, now);
                now += Duration::from_millis(20);
                heard.extend(std::iter::from_fn(|| detector.poll_digit()));
            }
            detector.handle_timeout(now + SILENCE);
            heard.extend(std::iter::from_fn(|| detector.poll_digit()));
            heard.iter().map(|d| (d.digit, d.duration.as_secs_f64() * 1_000.0)).collect()
        }
    }

    /// How many of these are heard, at every place within a packet, over noise 15 dB below the usual level.
    fn heard_of(rate: u32, sound: impl Fn(char) -> Sound) -> usize {
        let mut line = Line::new(rate);
        let mut wanted = String::new();
        for (n, key) in keys().cycle().take(TRIES).enumerate() {
            line.pause(60.0 + n as f64 * 1.7 % 20.0);
            line.sound(sound(key));
            wanted.push(key);
        }
        line.noise(-25.0);
        let heard: String = line.heard().iter().map(|d| d.0).collect();
        assert!(heard.is_empty() || heard.len() < TRIES || heard == wanted, "{heard}");
        heard.len()
    }

    const TRIES: usize = 160;

    fn keys() -> impl Iterator<Item = char> + Clone {
        KEYS.iter().flat_map(|row| row.chars())
    }

    /// ITU-T Q.24: 40 ms are accepted, 23 ms are not.
    #[test]
    fn a_tone_of_40_ms_is_a_digit_and_one_of_23_ms_is_none() {
        for rate in RATES {
            for (ms, heard) in [(10.0, 0), (23.0, 0), (40.0, TRIES), (50.0, TRIES), (100.0, TRIES)] {
                assert_eq!(heard_of(rate, |key| Sound::new(key, ms)), heard, "{ms} ms at {rate} Hz");
            }
        }
    }

    /// ITU-T Q.24: 40 ms separate, 10 ms do not; a lost packet of 20 ms does not either.
    #[test]
    fn a_pause_of_40_ms_makes_two_digits_and_an_interruption_of_20_ms_does_not() {
        for (pause, digits) in [(10.0, 1), (20.0, 1), (40.0, 2)] {
            for late in 0..20 {
                let mut line = Line::new(8_000);
                line.pause(f64::from(late));
                line.sound(Sound::new('9', 60.0));
                line.pause(pause);
                line.sound(Sound::new('9', 60.0));
                line.pause(100.0);
                assert_eq!(line.heard().len(), digits, "{pause} ms after {late}");
            }
        }
    }

    /// ITU-T Q.24: 1.5 % are accepted, 3.5 % are not, be it one of the two frequencies or both.
    #[test]
    fn frequencies_may_be_off_by_1_5_percent_and_not_by_3_5() {
        for rate in RATES {
            for (off, heard) in [(0.015, TRIES), (0.035, 0)] {
                for (low, high) in
                    [(1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)]
                {
                    let off = (1.0 + off * low, 1.0 + off * high);
                    let sound = |key| Sound { off, ..Sound::new(key, 40.0) };
                    assert_eq!(heard_of(rate, sound), heard, "{off:?} at {rate} Hz");
                }
            }
        }
    }

    /// ITU-T Q.24: the high tone up to 4 dB above the low one and up to 8 dB below, also where it is off its frequency.
    #[test]
    fn twist_is_accepted_from_4_to_minus_8_db_and_not_far_beyond() {
        for rate in RATES {
            for (twist, heard) in [(-15.0, 0), (-8.0, TRIES), (0.0, TRIES), (4.0, TRIES), (9.0, 0)] {
                let off = (1.0, if heard > 0 { 1.015 } else { 1.0 });
                let level = (-5.0, -5.0 + twist);
                let sound = |key| Sound { level, off, ..Sound::new(key, 40.0) };
                assert_eq!(heard_of(rate, sound), heard, "{twist} dB at {rate} Hz");
            }
        }
    }

    /// ITU-T Q.24: 0 to -25 dBm0 are accepted, two tones of 0 dBm0 although they clip; -55 are not.
    #[test]
    fn levels_from_0_to_minus_30_dbm0_are_accepted() {
        for (level, digits) in [(0.0, 16), (-10.0, 16), (-25.0, 16), (-30.0, 16), (-45.0, 0), (-55.0, 0)] {
            let mut line = Line::new(8_000);
            for key in keys() {
                line.pause(50.0);
                line.sound(Sound { level: (level, level), ..Sound::new(key, 50.0) });
            }
            line.pause(100.0);
            assert_eq!(line.heard().len(), digits, "{level} dBm0");
        }
    }

    #[test]
    fn a_digit_has_the_length_that_it_sounded_within_10_ms() {
        for rate in RATES {
            for ms in [50.0, 70.0, 100.0, 250.0, 1_000.0] {
                let mut line = Line::new(rate);
                for (n, key) in keys().enumerate() {
                    line.pause(60.0 + n as f64 * 1.3);
                    line.sound(Sound::new(key, ms));
                }
                line.pause(100.0);
                let heard = line.heard();
                assert_eq!(heard.iter().map(|d| d.0).collect::<String>(), keys().collect::<String>());
                let worst = heard.iter().map(|d| (d.1 - ms).abs()).fold(0.0, f64::max);
                assert!(worst <= 11.0, "{worst} ms of {ms}");
            }
        }
    }

    /// What is heard before it is kept back is too short to be a digit for whoever gets the digit anew.
    #[test]
    fn less_than_23_ms_of_a_tone_pass_before_it_is_kept_back() {
        for late in 0..160 {
            let mut line = Line::new(8_000);
            line.pause(100.0 + f64::from(late) / 8.0);
            let from = line.pcm.len();
            line.sound(Sound::new('5', 200.0));
            let to = line.pcm.len();
            line.pause(100.0);
            let (mut detector, now) = (Detector::new(8_000), Instant::now());
            let pcm: Vec<i16> = line.pcm.iter().map(|s| *s as i16).collect();
            let mut passed = 0;
            for (n, frame) in pcm.chunks(160).enumerate() {
                if !detector.hear(frame, now) {
                    passed += (160 * n..160 * (n + 1)).filter(|at| (from..to).contains(at)).count();
                }
            }
            assert!(passed < 23 * 8, "{passed} samples, {late} late");
        }
    }

    #[test]
    fn single_tones_noise_and_our_own_sounds_are_no_digits() {
        let mut detector = Detector::new(8_000);
        for tone in [Tone::Ringback, Tone::Busy, Tone::Music] {
            let (mut generator, mut frame) = (ToneGenerator::new(tone), [0; 160]);
            for _ in 0..1_000 {
                generator.fill(&mut frame);
                assert!(!detector.hear(&frame, Instant::now()), "{tone:?}");
            }
        }
        let mut line = Line::new(8_000);
        for frequency in ROWS.iter().chain(&COLUMNS) {
            let wave =
                |n: u32| (f64::from(*frequency) * f64::from(n) / 8_000.0 * std::f64::consts::TAU).sin();
            line.pcm.extend((0..8_000).map(|n| wave(n) * 8_000.0));
        }
        line.pcm.resize(line.pcm.len() + 80_000, 0.0);
        line.noise(-25.0);
        assert_eq!(line.heard(), []);
    }

    #[test]
    fn a_tone_after_which_nothing_more_comes_ends_all_the_same() {
        let (mut line, now) = (Line::new(8_000), Instant::now());
        line.sound(Sound::new('#', 100.0));
        let mut detector = Detector::new(8_000);
        let pcm: Vec<i16> = line.pcm.iter().map(|s| *s as i16).collect();
        assert!(detector.hear(&pcm, now));
        assert_eq!(detector.poll_timeout(), Some(now + SILENCE));
        detector.handle_timeout(now + SILENCE);
        assert_eq!(detector.poll_digit().map(|d| d.digit), Some('#'));
        assert_eq!(detector.poll_timeout(), None);
    }
}
