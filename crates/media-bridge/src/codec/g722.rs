//! ITU-T G.722 (09/2012) at 64 kbit/s (mode 1): a pair of quadrature mirror filters splits 16 kHz into two bands of
//! 8 kHz, and each band's difference from its prediction is quantised, six bits for the lower one, two for the upper.
//! Names in brackets are the recommendation's blocks (clause 6.2); its fixed-point arithmetic is kept bit for bit.

use super::dot;

/// Sample rate, Hz. One byte is two samples.
pub const RATE: u32 = 16_000;

/// Taps of the quadrature mirror filters (table 11), both halves of the symmetrical response: the even ones in order of
/// time, the odd ones in the reverse of it.
const QMF: [i16; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// The taps as they meet samples in order of time, for the sum and for the difference of both halves.
const TRANSMIT: ([i16; 24], [i16; 24]) = {
    let (mut sum, mut difference) = ([0; 24], [0; 24]);
    let mut n = 0;
    while n < 12 {
        sum[2 * n] = QMF[n];
        difference[2 * n] = -QMF[n];
        sum[2 * n + 1] = QMF[11 - n];
        difference[2 * n + 1] = QMF[11 - n];
        n += 1;
    }
    (sum, difference)
};

/// Decision levels of the lower band (table 14, Q6), the first of them implied.
const LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Output levels of the lower band's inverse quantisers: six bits (QQ6) and the four that adapt it (QQ4), table 14.
const SIX_BITS: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];
const FOUR_BITS: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
/// Output levels of the upper band's inverse quantiser (QQ2, table 18).
const TWO_BITS: [i32; 4] = [-7408, -1616, 7408, 1616];
/// The upper band's one decision level (Q2).
const UPPER_LEVEL: i32 = 564;
/// How a code changes the logarithm of its band's scale factor (WL by way of RL42, WH by way of RH2).
const LOWER_STEPS: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const UPPER_STEPS: [i32; 4] = [798, -214, 798, -214];
/// Powers of two in steps of 1/32 (ILB).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// By a factor of 15 binary places.
fn scaled(value: i32, factor: i32) -> i32 {
    (value * factor) >> 15
}

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// A prediction within what the band can carry (LIMIT).
fn limit(value: i32) -> i32 {
    value.clamp(-16_384, 16_383)
}

/// What both ends of a band keep in step: the predictor and the quantiser's scale factor.
#[derive(Clone, Copy, Debug)]
struct Band {
    /// The prediction (S), and its part by the six zeros (SZ).
    prediction: i32,
    by_zeros: i32,
    /// The last two reconstructed signals (RLT) and partially reconstructed ones (PLT), newest first.
    rebuilt: [i32; 2],
    partial: [i32; 2],
    /// Coefficients of the two poles (AL) and of the six zeros (BL).
    poles: [i32; 2],
    zeros: [i32; 6],
    /// The last six quantised differences (DLT), newest first.
    differences: [i32; 6],
    /// Logarithm of the scale factor (NB), and the factor (DET).
    log_scale: i32,
    scale: i32,
}

impl Band {
    fn new(scale: i32) -> Band {
        Band {
            prediction: 0,
            by_zeros: 0,
            rebuilt: [0; 2],
            partial: [0; 2],
            poles: [0; 2],
            zeros: [0; 6],
            differences: [0; 6],
            log_scale: 0,
            scale,
        }
    }

    /// Takes the code's adaptive part for the next sample (blocks 2L to 4L).
    fn adapt_lower(&mut self, code: u8) {
        let index = usize::from(code >> 2 & 15);
        let difference = scaled(self.scale, FOUR_BITS[index]);
        self.rescale(LOWER_STEPS[index], 18_432, 8);
        self.predict(difference);
    }

    /// Blocks 2H to 4H; returns the quantised difference.
    fn adapt_upper(&mut self, code: u8) -> i32 {
        let index = usize::from(code & 3);
        let difference = scaled(self.scale, TWO_BITS[index]);
        self.rescale(UPPER_STEPS[index], 22_528, 10);
        self.predict(difference);
        difference
    }

    /// LOGSCL and SCALEL, LOGSCH and SCALEH.
    fn rescale(&mut self, step: i32, most: i32, shift: i32) {
        self.log_scale = (scaled(self.log_scale, 32_512) + step).clamp(0, most);
        let power = POWERS[(self.log_scale >> 6 & 31) as usize];
        self.scale = (power << (self.log_scale >> 11) >> shift) << 2;
    }

    /// The predictor adapts to a quantised difference and predicts the next sample (block 4).
    fn predict(&mut self, difference: i32) {
        // RECONS, PARREC
        let rebuilt = saturate(self.prediction + difference);
        let partial = saturate(self.by_zeros + difference);
        self.move_poles(partial);
        self.move_zeros(difference);
        // DELAYA
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.rebuilt = [rebuilt, self.rebuilt[0]];
        self.partial = [partial, self.partial[0]];
        // FILTEP, FILTEZ, PREDIC
        let part = |coefficient: i32, signal: i32| scaled(coefficient, saturate(2 * signal));
        let by_poles = part(self.poles[0], self.rebuilt[0]) + part(self.poles[1], self.rebuilt[1]);
        let by_zeros = self.zeros.iter().zip(&self.differences).map(|(&b, &d)| part(b, d)).sum();
        self.by_zeros = saturate(by_zeros);
        self.prediction = saturate(saturate(by_poles) + self.by_zeros);
    }

    /// UPPOL2, UPPOL1
    fn move_poles(&mut self, partial: i32) {
        let alike = |earlier: i32| partial ^ earlier >= 0;
        let [first, second] = self.poles;
        let quadruple = saturate(first << 2);
        let pull = if alike(self.partial[0]) { (-quadruple).min(32_767) } else { quadruple };
        let push = if alike(self.partial[1]) { 128 } else { -128 };
        let second = ((pull >> 7) + push + scaled(second, 32_512)).clamp(-12_288, 12_288);
        let push = if alike(self.partial[0]) { 192 } else { -192 };
        let most = 15_360 - second;
        self.poles = [(push + scaled(first, 32_640)).clamp(-most, most), second];
    }

    /// UPZERO
    fn move_zeros(&mut self, difference: i32) {
        let push = if difference == 0 { 0 } else { 128 };
        for (zero, earlier) in self.zeros.iter_mut().zip(&self.differences) {
            let push = if difference ^ earlier >= 0 { push } else { -push };
            *zero = saturate(push + scaled(*zero, 32_640));
        }
    }
}

/// Codes the lower band's sample: SUBTRA, QUANTL.
fn quantise_lower(band: &Band, sample: i32) -> u8 {
    let difference = saturate(sample - band.prediction);
    let magnitude = if difference < 0 { !difference } else { difference };
    // Levels rise: how many are reached is the interval.
    let reached: u8 = LEVELS.iter().map(|level| u8::from(magnitude >= (level * band.scale) >> 12)).sum();
    // Table 13: the codes fall while the intervals rise, the first two of the negative ones being out of line.
    match (difference < 0, reached) {
        (false, n) => 61 - n,
        (true, n @ (0 | 1)) => 63 - n,
        (true, n) => 33 - n,
    }
}

/// SUBTRA, QUANTH.
fn quantise_upper(band: &Band, sample: i32) -> u8 {
    let difference = saturate(sample - band.prediction);
    let magnitude = if difference < 0 { !difference } else { difference };
    let outer = magnitude >= (UPPER_LEVEL * band.scale) >> 12;
    match (difference < 0, outer) {
        (true, false) => 1,
        (true, true) => 0,
        (false, false) => 3,
        (false, true) => 2,
    }
}

fn both_bands() -> (Band, Band) {
    (Band::new(32), Band::new(8))
}

/// Encoder of one stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    lower: Band,
    upper: Band,
    /// The newest samples, oldest first.
    heard: [i16; 24],
}

impl Default for Encoder {
    fn default() -> Encoder {
        let (lower, upper) = both_bands();
        Encoder { lower, upper, heard: [0; 24] }
    }
}

impl Encoder {
    /// Appends one byte per two samples; an odd last sample is left out.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(pcm.as_chunks().0.iter().map(|pair| self.code(*pair)));
    }

    fn code(&mut self, pair: [i16; 2]) -> u8 {
        self.heard.copy_within(2.., 0);
        self.heard[22..].copy_from_slice(&pair);
        let (lower, upper) = (dot(&self.heard, &TRANSMIT.0) >> 14, dot(&self.heard, &TRANSMIT.1) >> 14);
        let (low, high) = (quantise_lower(&self.lower, lower), quantise_upper(&self.upper, upper));
        self.lower.adapt_lower(low);
        self.upper.adapt_upper(high);
        high << 6 | low
    }
}

/// Decoder of one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    lower: Band,
    upper: Band,
    /// The newest sums and differences of both bands, oldest first.
    sums: [i16; 12],
    differences: [i16; 12],
}

impl Default for Decoder {
    fn default() -> Decoder {
        let (lower, upper) = both_bands();
        Decoder { lower, upper, sums: [0; 12], differences: [0; 12] }
    }
}

impl Decoder {
    /// Decodes as many bytes as both slices hold, two samples each.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) {
        for (pair, &code) in out.as_chunks_mut().0.iter_mut().zip(payload) {
            *pair = self.sample(code);
        }
    }

    fn sample(&mut self, code: u8) -> [i16; 2] {
        // 5L, 6L: all six bits are heard, the upper four of them adapt.
        let heard = scaled(self.lower.scale, SIX_BITS[usize::from(code & 63)]);
        let lower = limit(self.lower.prediction + heard);
        self.lower.adapt_lower(code & 63);
        let predicted = self.upper.prediction;
        let upper = limit(predicted + self.upper.adapt_upper(code >> 6));
        self.sums.copy_within(1.., 0);
        self.differences.copy_within(1.., 0);
        self.sums[11] = (lower + upper) as i16;
        self.differences[11] = (lower - upper) as i16;
        [dot(&self.differences, &REVERSED), dot(&self.sums, &QMF)].map(|sum| saturate(sum >> 11) as i16)
    }
}

const REVERSED: [i16; 12] = {
    let mut taps = [0; 12];
    let mut n = 0;
    while n < 12 {
        taps[n] = QMF[11 - n];
        n += 1;
    }
    taps
};
