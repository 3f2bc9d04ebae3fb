//! ITU-T G.711, bit-exact with the ITU-T Software Tool Library (G.191): 16-bit samples whose low bits beyond
//! 14 (mu-law) or 13 (A-law) are cut off on the magnitude, negative magnitudes being the one's complement.

/// Which of the two laws.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Law {
    /// mu-law, PCMU.
    Mu,
    /// A-law, PCMA.
    A,
}

impl Law {
    /// The code for digital silence.
    pub fn silence(self) -> u8 {
        self.encode_sample(0)
    }

    /// Appends one byte per sample.
    pub fn encode(self, pcm: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + pcm.len(), 0);
        let both = out[start..].iter_mut().zip(pcm);
        // One loop each, so that the compiler makes vectors of it.
        match self {
            Law::Mu => both.for_each(|(code, &sample)| *code = mu_encode(sample)),
            Law::A => both.for_each(|(code, &sample)| *code = a_encode(sample)),
        }
    }

    /// Makes codes of the other law of these, each as if decoded and encoded.
    pub fn recode(self, payload: &mut [u8]) {
        let table = match self {
            Law::Mu => &MU_TO_A,
            Law::A => &A_TO_MU,
        };
        payload.iter_mut().for_each(|code| *code = table[usize::from(*code)]);
    }

    /// Decodes as many bytes as both slices hold.
    pub fn decode(self, payload: &[u8], out: &mut [i16]) {
        let table = match self {
            Law::Mu => &MU,
            Law::A => &A,
        };
        for (sample, &code) in out.iter_mut().zip(payload) {
            *sample = table[usize::from(code)];
        }
    }

    /// One sample.
    pub fn encode_sample(self, sample: i16) -> u8 {
        match self {
            Law::Mu => mu_encode(sample),
            Law::A => a_encode(sample),
        }
    }

    /// One code.
    pub fn decode_sample(self, code: u8) -> i16 {
        match self {
            Law::Mu => MU[usize::from(code)],
            Law::A => A[usize::from(code)],
        }
    }
}

/// The number of the leading one above bit `lowest` and the four bits after it: what the exponent of a float and the
/// front of its fraction are. Unlike a count of leading zeros this is done on many samples at once.
const fn chord(magnitude: i32, lowest: i32) -> i32 {
    (((magnitude as f32).to_bits() >> 19) as i32) - ((127 + lowest) << 4)
}

const fn mu_encode(sample: i16) -> u8 {
    let sign = (sample >> 15) as i32;
    let magnitude = ((sample as i32 ^ sign) >> 2) + 33;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    // All bits are sent inverted; the sign bit is one for positive values.
    !(chord(magnitude, 5) | sign & 0x80) as u8
}

const fn a_encode(sample: i16) -> u8 {
    let sign = (sample >> 15) as i32;
    let magnitude = (sample as i32 ^ sign) >> 4;
    // The lowest chord is as wide as the second.
    let code = if magnitude < 16 { magnitude } else { chord(magnitude, 3) };
    // Even bits are sent inverted; the sign bit is one for positive values.
    (code | !sign & 0x80) as u8 ^ 0x55
}

const fn mu_decode(code: u8) -> i16 {
    let inverted = !code;
    let segment = (inverted >> 4) & 7;
    let step = (inverted & 0x0f) as i16;
    let magnitude = (((step << 1) + 33) << segment) - 33;
    let sample = magnitude << 2;
    if inverted & 0x80 != 0 { -sample } else { sample }
}

const fn a_decode(code: u8) -> i16 {
    let plain = code ^ 0x55;
    let segment = (plain >> 4) & 7;
    let step = (plain & 0x0f) as i16;
    let magnitude = if segment == 0 { (step << 4) + 8 } else { ((step << 4) + 0x108) << (segment - 1) };
    if plain & 0x80 != 0 { magnitude } else { -magnitude }
}

const MU: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = mu_decode(code as u8);
        code += 1;
    }
    table
};

const A: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = a_decode(code as u8);
        code += 1;
    }
    table
};

const MU_TO_A: [u8; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = a_encode(MU[code]);
        code += 1;
    }
    table
};

const A_TO_MU: [u8; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = mu_encode(A[code]);
        code += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// G.711 tables 1 and 2 as they are drawn: chords of 16 intervals, each chord's twice as wide as the last one's.
    /// Returns the lower decision value and the quantised value of each interval, in the law's own units.
    fn intervals(law: Law) -> Vec<(f64, f64)> {
        let widths: Vec<f64> = match law {
            // The first interval of mu-law is half as wide: zero lies on its edge.
            Law::Mu => (0..128).map(|n| if n == 0 { 1.0 } else { f64::from(2 << (n / 16)) }).collect(),
            Law::A => (0..128i32).map(|n| f64::from(2 << (n / 16 - 1).max(0))).collect(),
        };
        let mut lower = 0.0;
        let mut found = Vec::new();
        for (n, width) in widths.into_iter().enumerate() {
            let value = if n == 0 && law == Law::Mu { 0.0 } else { lower + width / 2.0 };
            found.push((lower, value));
            lower += width;
        }
        found
    }

    /// 16-bit samples in units of the law's uniform code: 14 bits for mu-law, 13 for A-law.
    fn unit(law: Law) -> i32 {
        match law {
            Law::Mu => 4,
            Law::A => 8,
        }
    }

    /// What is transmitted for interval n: mu-law inverts all bits, A-law the even ones (G.711 §3.1, §3.2).
    fn character(law: Law, n: usize, negative: bool) -> u8 {
        let plain = n as u8 | if negative { 0 } else { 0x80 };
        match law {
            Law::Mu => plain ^ 0x7f,
            Law::A => plain ^ 0x55,
        }
    }

    #[test]
    fn every_sample_gets_the_character_of_its_decision_interval() {
        for law in [Law::Mu, Law::A] {
            let intervals = intervals(law);
            for sample in i16::MIN..=i16::MAX {
                let magnitude = i32::from(if sample < 0 { !sample } else { sample }) / unit(law);
                let n = intervals.partition_point(|(lower, _)| *lower <= f64::from(magnitude)) - 1;
                let expected = character(law, n.min(127), sample < 0);
                assert_eq!(law.encode_sample(sample), expected, "{law:?} {sample}");
            }
        }
    }

    #[test]
    fn every_character_decodes_to_the_middle_of_its_interval() {
        for law in [Law::Mu, Law::A] {
            for (n, (_, value)) in intervals(law).into_iter().enumerate() {
                let value = (value * f64::from(unit(law))) as i16;
                assert_eq!(law.decode_sample(character(law, n, false)), value);
                assert_eq!(law.decode_sample(character(law, n, true)), -value);
            }
        }
    }

    /// Values printed in the recommendation: the ends are 8031 and 4032 in the laws' own units.
    #[test]
    fn ends_and_silence_are_the_published_ones() {
        assert_eq!((Law::Mu.decode_sample(0x80), Law::Mu.decode_sample(0x00)), (8031 * 4, -8031 * 4));
        assert_eq!((Law::A.decode_sample(0xaa), Law::A.decode_sample(0x2a)), (4032 * 8, -4032 * 8));
        assert_eq!((Law::Mu.silence(), Law::A.silence()), (0xff, 0xd5));
        assert_eq!((Law::Mu.decode_sample(0xff), Law::Mu.decode_sample(0x7f)), (0, 0));
        assert_eq!((Law::A.decode_sample(0xd5), Law::A.decode_sample(0x55)), (8, -8));
    }

    #[test]
    fn a_second_coding_changes_nothing() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255 {
                let again = law.encode_sample(law.decode_sample(code));
                // Mu-law has two zeros; the negative one becomes the positive.
                let expected = if law == Law::Mu && code == 0x7f { 0xff } else { code };
                assert_eq!(again, expected);
            }
        }
    }

    #[test]
    fn recoding_is_decoding_and_encoding() {
        let all: Vec<u8> = (0..=255).collect();
        for (from, to) in [(Law::Mu, Law::A), (Law::A, Law::Mu)] {
            let mut recoded = all.clone();
            from.recode(&mut recoded);
            let expected: Vec<u8> = all.iter().map(|c| to.encode_sample(from.decode_sample(*c))).collect();
            assert_eq!(recoded, expected);
        }
    }

    #[test]
    fn quantising_never_reverses_the_order_of_two_samples() {
        for law in [Law::Mu, Law::A] {
            let decoded = (i16::MIN..=i16::MAX).map(|s| law.decode_sample(law.encode_sample(s)));
            assert!(decoded.is_sorted());
        }
    }

    #[test]
    fn slices_are_coded_sample_by_sample() {
        let pcm: Vec<i16> = (-400..400).map(|n| n * 81).collect();
        for law in [Law::Mu, Law::A] {
            let mut payload = vec![1, 2];
            law.encode(&pcm, &mut payload);
            assert_eq!(payload.len(), 802, "appended");
            let mut out = vec![0; 800];
            law.decode(&payload[2..], &mut out);
            let single: Vec<i16> = pcm.iter().map(|&s| law.decode_sample(law.encode_sample(s))).collect();
            assert_eq!(out, single);
        }
    }
}
