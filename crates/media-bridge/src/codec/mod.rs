//! Audio codecs: bytes of one RTP payload to and from 16-bit mono samples at 8 or 16 kHz.

pub mod g711;
pub mod g722;
mod noise;
mod opus;
pub mod opus_packet;
mod plc;
mod resample;

pub use g711::Law;
pub use noise::{Background, Comfort, Noise};
pub use opus::{OpusDecoder, OpusEncoder};
pub use plc::Plc;
pub use resample::Resampler;

use std::fmt;

use crate::control::Codec;
use crate::effort::Effort;

/// Sample rate between narrowband codecs, and of all sounds that we make, Hz.
pub const NARROW: u32 = 8_000;
/// Sample rate between wideband codecs, Hz.
pub const WIDE: u32 = 16_000;
/// Samples of the longest frame we decode or make (120 ms, RFC 6716 §3.2.5), at `WIDE`.
pub const MAX_SAMPLES: usize = 1_920;
/// Bytes of the largest payload an encoder of ours makes (60 ms of G.711 is 480).
pub const MAX_PAYLOAD: usize = 1_275;

/// A codec could not do its work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CodecError {
    /// The peer's payload is damaged or too long: conceal instead.
    BadPayload,
    /// Our own call was wrong or libopus failed; the words are libopus's.
    Internal(&'static str),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::BadPayload => f.write_str("damaged audio payload from the peer"),
            CodecError::Internal(words) => write!(f, "codec failed: {words}"),
        }
    }
}

impl std::error::Error for CodecError {}

/// How a missing frame was filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// From the in-band FEC of the packet after it.
    Fec,
    /// Guessed from what came before.
    Concealed,
}

/// The sample rate that a codec has of itself, Hz; none: any.
pub fn own_rate(codec: Codec) -> Option<u32> {
    match codec {
        Codec::Opus => None,
        Codec::Pcmu | Codec::Pcma => Some(NARROW),
        Codec::G722 => Some(WIDE),
    }
}

fn dot<const N: usize>(samples: &[i16; N], taps: &[i16; N]) -> i32 {
    samples.iter().zip(taps).map(|(sample, tap)| i32::from(*sample) * i32::from(*tap)).sum()
}

/// Decoder of one received stream.
#[derive(Debug)]
pub enum Decoder {
    /// G.711 with its concealment.
    G711(Law, Box<Plc>),
    /// G.722 with its concealment.
    G722(Box<(g722::Decoder, Plc)>),
    /// Opus.
    Opus(OpusDecoder),
}

impl Decoder {
    /// A decoder to mono: of Opus at `rate` Hz, of the others at their own.
    ///
    /// # Errors
    /// `Internal` if libopus has no memory or does not know the rate.
    pub fn new(codec: Codec, rate: u32) -> Result<Decoder, CodecError> {
        Ok(match codec {
            Codec::Opus => Decoder::Opus(OpusDecoder::new(rate)?),
            Codec::Pcmu => Decoder::G711(Law::Mu, Box::new(Plc::new(NARROW))),
            Codec::Pcma => Decoder::G711(Law::A, Box::new(Plc::new(NARROW))),
            Codec::G722 => Decoder::G722(Box::new((g722::Decoder::default(), Plc::new(WIDE)))),
        })
    }

    /// Decodes a payload to the front of `out` (at least `MAX_SAMPLES` long); returns how many samples.
    ///
    /// # Errors
    /// `BadPayload`: call `conceal` for this frame.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        match self {
            Decoder::G711(law, plc) => {
                let out = out.get_mut(..payload.len()).ok_or(CodecError::BadPayload)?;
                law.decode(payload, out);
                plc.good(out);
                Ok(payload.len())
            }
            Decoder::G722(both) => {
                let (g722, plc) = &mut **both;
                let out = out.get_mut(..2 * payload.len()).ok_or(CodecError::BadPayload)?;
                g722.decode(payload, out);
                plc.good(out);
                Ok(out.len())
            }
            Decoder::Opus(opus) => opus.decode(payload, out),
        }
    }

    /// Fills all of `out` for the lost frame directly before `next`, by FEC where that packet carries it.
    pub fn recover(&mut self, next: &[u8], out: &mut [i16]) -> Filled {
        match self {
            Decoder::G711(..) | Decoder::G722(_) => {
                self.conceal(out);
                Filled::Concealed
            }
            Decoder::Opus(opus) => opus.decode_fec(next, out),
        }
    }

    /// Fills all of `out` for a lost frame with nothing to recover it from. For Opus its length must be a multiple of 2.5 ms.
    pub fn conceal(&mut self, out: &mut [i16]) {
        match self {
            Decoder::G711(_, plc) => plc.conceal(out),
            Decoder::G722(both) => both.1.conceal(out),
            Decoder::Opus(opus) => opus.conceal(out),
        }
    }

    /// How many samples this payload decodes to; none if it is damaged.
    pub fn samples(&self, payload: &[u8]) -> Option<usize> {
        match self {
            Decoder::G711(..) => Some(payload.len()),
            Decoder::G722(_) => Some(2 * payload.len()),
            Decoder::Opus(opus) => opus_packet::samples(payload, opus.rate()),
        }
    }
}

/// Encoder of one stream that we send.
#[derive(Debug)]
pub enum Encoder {
    /// G.711.
    G711(Law),
    /// G.722.
    G722(Box<g722::Encoder>),
    /// Opus.
    Opus(OpusEncoder),
}

impl Encoder {
    /// An encoder from mono: of Opus at `rate` Hz, of the others at their own.
    ///
    /// # Errors
    /// `Internal` if libopus has no memory or does not know the rate.
    pub fn new(codec: Codec, rate: u32) -> Result<Encoder, CodecError> {
        Ok(match codec {
            Codec::G722 => Encoder::G722(Box::default()),
            Codec::Opus => Encoder::Opus(OpusEncoder::new(rate)?),
            Codec::Pcmu => Encoder::G711(Law::Mu),
            Codec::Pcma => Encoder::G711(Law::A),
        })
    }

    /// Encodes one frame (10, 20, 40 or 60 ms) and appends the payload.
    ///
    /// # Errors
    /// `Internal` if the frame has another length (Opus only).
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Encoder::G711(law) => {
                law.encode(pcm, out);
                Ok(())
            }
            Encoder::G722(g722) => {
                g722.encode(pcm, out);
                Ok(())
            }
            Encoder::Opus(opus) => opus.encode(pcm, out),
        }
    }

    /// The loss that the receiver reports, 0-100 %: decides how much FEC Opus carries.
    pub fn set_loss(&mut self, percent: u8) {
        if let Encoder::Opus(opus) = self {
            opus.set_loss(percent);
        }
    }

    /// The loss that Opus counts on, percent; none: another codec.
    pub fn loss(&self) -> Option<u8> {
        match self {
            Encoder::Opus(opus) => Some(opus.loss()),
            Encoder::G711(_) | Encoder::G722(_) => None,
        }
    }

    /// How much work Opus may take from the next frame on: what `effort` says to an encoder that had this much so far, or
    /// to a new one.
    pub fn set_effort(&mut self, effort: Effort, new: bool) {
        if let Encoder::Opus(opus) = self {
            let before = (!new).then_some(opus.complexity());
            opus.set_complexity(effort.of_encoder(before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_carries_a_tone_through() {
        for (codec, rate) in [
            (Codec::Opus, NARROW),
            (Codec::Pcmu, NARROW),
            (Codec::Pcma, NARROW),
            (Codec::Opus, WIDE),
            (Codec::G722, WIDE),
        ] {
            let frame = rate as usize / 50;
            let (mut encoder, mut decoder) =
                (Encoder::new(codec, rate).unwrap(), Decoder::new(codec, rate).unwrap());
            encoder.set_loss(20);
            let mut out = [0; MAX_SAMPLES];
            let mut loudest = 0;
            for begun in 0..10 {
                let tone = |n: usize| {
                    (((begun * frame + n) as f64 * 2_400.0 / f64::from(rate)).sin() * 8000.0) as i16
                };
                let pcm: Vec<i16> = (0..frame).map(tone).collect();
                let mut payload = Vec::new();
                encoder.encode(&pcm, &mut payload).unwrap();
                assert_eq!(decoder.samples(&payload), Some(frame));
                assert_eq!(decoder.decode(&payload, &mut out), Ok(frame));
                loudest = out[..frame].iter().map(|s| s.unsigned_abs()).max().unwrap();
            }
            assert!((7_000..9_500).contains(&loudest), "{codec:?} at {rate} Hz: {loudest}");
            decoder.conceal(&mut out[..frame]);
            assert!(out[..frame / 2].iter().any(|s| s.unsigned_abs() > 3_000), "{codec:?} concealment");
        }
    }

    /// Both ends adapt with a memory that fades: nothing needs to be repaired.
    #[test]
    fn a_g722_decoder_meets_its_encoder_again_after_a_lost_frame() {
        let voice = |n: usize| {
            let t = n as f64 / f64::from(WIDE);
            let wave = |k: f64| (std::f64::consts::TAU * 130.0 * k * t).sin() * 4_000.0 / k;
            (1..20).map(|k| wave(f64::from(k))).sum::<f64>() as i16
        };
        let pcm: Vec<i16> = (0..40 * 320).map(voice).collect();
        let mut encoder = Encoder::new(Codec::G722, WIDE).unwrap();
        let mut decoders = [(); 2].map(|()| Decoder::new(Codec::G722, WIDE).unwrap());
        let (mut signal, mut error) = (0.0, 0.0);
        for (n, frame) in pcm.chunks(320).enumerate() {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload).unwrap();
            let mut heard = [[0; MAX_SAMPLES]; 2];
            decoders[0].decode(&payload, &mut heard[0]).unwrap();
            if n == 20 {
                decoders[1].conceal(&mut heard[1][..320]);
            } else {
                decoders[1].decode(&payload, &mut heard[1]).unwrap();
            }
            if n > 25 {
                signal += heard[0].iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
                let both = heard[0].iter().zip(&heard[1]);
                error += both.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
            }
        }
        let snr = 10.0 * (signal / error.max(1.0)).log10();
        assert!(snr > 25.0, "{snr:.1} dB from 100 ms after it on");
    }

    #[test]
    fn g711_has_no_fec_and_refuses_what_is_too_long() {
        let mut decoder = Decoder::new(Codec::Pcmu, NARROW).unwrap();
        let mut out = [1; MAX_SAMPLES];
        assert_eq!(decoder.recover(&[0xff; 160], &mut out[..160]), Filled::Concealed);
        assert_eq!(out[..160], [0; 160]);
        assert_eq!(decoder.decode(&[0; MAX_SAMPLES + 1], &mut out), Err(CodecError::BadPayload));
    }
}
