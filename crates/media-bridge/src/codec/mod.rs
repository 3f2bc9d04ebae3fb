//! Audio codecs: bytes of one RTP payload to and from 16-bit samples at 8 kHz.

pub mod g711;
pub mod g722;
mod opus;
pub mod opus_packet;
mod plc;

pub use g711::Law;
pub use opus::{OpusDecoder, OpusEncoder};
pub use plc::Plc;

use std::fmt;

use crate::control::Codec;

/// Sample rate of all PCM between codecs, Hz.
pub const PCM_RATE: u32 = 8_000;
/// Samples of the longest frame we decode or make (120 ms, RFC 6716 §3.2.5), at `PCM_RATE`.
pub const MAX_SAMPLES: usize = 960;
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

/// Decoder of one received stream.
#[derive(Debug)]
pub enum Decoder {
    /// G.711 with its concealment.
    G711(Law, Box<Plc>),
    /// Opus at 8 kHz.
    Opus(OpusDecoder),
}

impl Decoder {
    /// A decoder to 8 kHz mono.
    ///
    /// # Errors
    /// `Internal` if libopus has no memory.
    pub fn new(codec: Codec) -> Result<Decoder, CodecError> {
        Ok(match codec {
            Codec::Opus => Decoder::Opus(OpusDecoder::new(PCM_RATE)?),
            Codec::Pcmu => Decoder::G711(Law::Mu, Box::default()),
            Codec::Pcma => Decoder::G711(Law::A, Box::default()),
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
            Decoder::Opus(opus) => opus.decode(payload, out),
        }
    }

    /// Fills all of `out` for the lost frame directly before `next`, by FEC where that packet carries it.
    pub fn recover(&mut self, next: &[u8], out: &mut [i16]) -> Filled {
        match self {
            Decoder::G711(_, plc) => {
                plc.conceal(out);
                Filled::Concealed
            }
            Decoder::Opus(opus) => opus.decode_fec(next, out),
        }
    }

    /// Fills all of `out` for a lost frame with nothing to recover it from. For Opus its length must be a multiple of 2.5 ms.
    pub fn conceal(&mut self, out: &mut [i16]) {
        match self {
            Decoder::G711(_, plc) => plc.conceal(out),
            Decoder::Opus(opus) => opus.conceal(out),
        }
    }

    /// How many samples at 8 kHz this payload decodes to; none if it is damaged.
    pub fn samples(&self, payload: &[u8]) -> Option<usize> {
        match self {
            Decoder::G711(..) => Some(payload.len()),
            Decoder::Opus(_) => opus_packet::samples(payload, PCM_RATE),
        }
    }
}

/// Encoder of one stream that we send.
#[derive(Debug)]
pub enum Encoder {
    /// G.711.
    G711(Law),
    /// Opus from 8 kHz.
    Opus(OpusEncoder),
}

impl Encoder {
    /// An encoder from 8 kHz mono.
    ///
    /// # Errors
    /// `Internal` if libopus has no memory.
    pub fn new(codec: Codec) -> Result<Encoder, CodecError> {
        Ok(match codec {
            Codec::Opus => Encoder::Opus(OpusEncoder::new(PCM_RATE)?),
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
            Encoder::Opus(opus) => opus.encode(pcm, out),
        }
    }

    /// The loss that the receiver reports, 0-100 %: decides how much FEC Opus carries.
    pub fn set_loss(&mut self, percent: u8) {
        if let Encoder::Opus(opus) = self {
            opus.set_loss(percent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_carries_a_tone_through() {
        for codec in [Codec::Opus, Codec::Pcmu, Codec::Pcma] {
            let (mut encoder, mut decoder) = (Encoder::new(codec).unwrap(), Decoder::new(codec).unwrap());
            encoder.set_loss(20);
            let mut out = [0; MAX_SAMPLES];
            let mut loudest = 0;
            for frame in 0..10 {
                let tone = |n: i32| ((f64::from(frame * 160 + n) * 0.3).sin() * 8000.0) as i16;
                let pcm: Vec<i16> = (0..160).map(tone).collect();
                let mut payload = Vec::new();
                encoder.encode(&pcm, &mut payload).unwrap();
                assert_eq!(decoder.samples(&payload), Some(160));
                assert_eq!(decoder.decode(&payload, &mut out), Ok(160));
                loudest = out.iter().map(|s| s.unsigned_abs()).max().unwrap();
            }
            assert!((7_000..9_500).contains(&loudest), "{codec:?} {loudest}");
            decoder.conceal(&mut out[..160]);
            assert!(out[..80].iter().any(|s| s.unsigned_abs() > 3_000), "{codec:?} concealment");
        }
    }

    #[test]
    fn g711_has_no_fec_and_refuses_what_is_too_long() {
        let mut decoder = Decoder::new(Codec::Pcmu).unwrap();
        let mut out = [1; MAX_SAMPLES];
        assert_eq!(decoder.recover(&[0xff; 160], &mut out[..160]), Filled::Concealed);
        assert_eq!(out[..160], [0; 160]);
        assert_eq!(decoder.decode(&[0; MAX_SAMPLES + 1], &mut out), Err(CodecError::BadPayload));
    }
}
