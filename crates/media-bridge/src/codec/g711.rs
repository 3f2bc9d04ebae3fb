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
        match self {
            Law::Mu => out.extend(pcm.iter().map(|&s| mu_encode(s))),
            Law::A => out.extend(pcm.iter().map(|&s| a_encode(s))),
        }
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

/// Chord and step of a magnitude that has its segment's leading one at bit `5 + segment`.
fn mu_encode(sample: i16) -> u8 {
    let magnitude = (if sample < 0 { !sample } else { sample } as u32 >> 2) + 33;
    let magnitude = magnitude.min(0x1fff);
    let segment = 26 - magnitude.leading_zeros();
    let step = (magnitude >> (segment + 1)) & 0x0f;
    let code = (segment << 4 | step) as u8;
    // All bits are sent inverted; the sign bit is one for positive values.
    if sample < 0 { !code & 0x7f } else { !code | 0x80 }
}

fn a_encode(sample: i16) -> u8 {
    let magnitude = if sample < 0 { !sample } else { sample } as u32 >> 4;
    let segment = (magnitude >> 4).checked_ilog2().map_or(0, |n| n + 1);
    let step =
        if segment <= 1 { magnitude & 0x1f } else { (magnitude >> (segment - 1)) & 0x0f | segment << 4 };
    let code = step as u8 | if sample < 0 { 0 } else { 0x80 };
    // Even bits are sent inverted.
    code ^ 0x55
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
