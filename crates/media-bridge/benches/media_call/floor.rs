//! The work that nobody can save: the cipher and the codecs on the very packets of a call, with nothing around them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use media_bridge::codec::{Law, Resampler, WIDE, g722, own_rate};
use media_bridge::control::Codec;
use opus::{Application, Bitrate, Channels};

const HEADER: [u8; 12] = [0x80; 12];
const TAG: usize = 16;

/// AES-256-GCM, the profile that our DTLS chooses (RFC 7714), keyed once.
pub struct Cipher {
    key: LessSafeKey,
    out: Vec<u8>,
}

impl Cipher {
    pub fn new() -> Cipher {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
        Cipher { key, out: vec![0; 1_500] }
    }

    /// Always the same, which no cipher in use may do: the work is the same.
    fn nonce() -> Nonce {
        Nonce::assume_unique_for_key([5; 12])
    }

    pub fn seal_all(&mut self, payloads: &[Vec<u8>]) {
        for payload in payloads {
            let out = &mut self.out[..payload.len()];
            out.copy_from_slice(payload);
            let tag = self.key.seal_in_place_separate_tag(Self::nonce(), Aad::from(HEADER), out).unwrap();
            self.out[payload.len()..payload.len() + TAG].copy_from_slice(tag.as_ref());
            std::hint::black_box(&self.out);
        }
    }

    /// What `open_all` is to open.
    pub fn sealed(&self, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let seal = |payload: &Vec<u8>| {
            let mut data = payload.clone();
            self.key.seal_in_place_append_tag(Self::nonce(), Aad::from(HEADER), &mut data).unwrap();
            data
        };
        payloads.iter().map(seal).collect()
    }

    pub fn open_all(&mut self, sealed: &[Vec<u8>]) {
        for data in sealed {
            let (text, tag) = data.split_at(data.len() - TAG);
            let out = &mut self.out[..text.len()];
            self.key.open_separate_gather(Self::nonce(), Aad::from(HEADER), text, tag, out).unwrap();
            std::hint::black_box(&self.out);
        }
    }
}

/// Both codecs of a transcoded direction, libopus with the settings of `media_bridge::codec`.
pub struct Codecs {
    from: From,
    from_rate: u32,
    resampler: Resampler,
    to: To,
    to_rate: u32,
}

enum From {
    Opus(opus::Decoder),
    Law(Law),
    G722(Box<g722::Decoder>),
}

enum To {
    Opus(opus::Encoder),
    Law(Law),
    G722(Box<g722::Encoder>),
}

impl Codecs {
    /// None where nothing is to be transcoded.
    pub fn new(from: Codec, to: Codec) -> Option<Codecs> {
        if from == to {
            return None;
        }
        let from_rate = own_rate(from).or(own_rate(to))?;
        let to_rate = own_rate(to).unwrap_or(from_rate);
        let from = match from {
            Codec::Opus => From::Opus(opus::Decoder::new(from_rate, Channels::Mono).unwrap()),
            Codec::Pcmu => From::Law(Law::Mu),
            Codec::Pcma => From::Law(Law::A),
            Codec::G722 => From::G722(Box::default()),
        };
        let to = match to {
            Codec::Opus => To::Opus(encoder(to_rate)),
            Codec::Pcmu => To::Law(Law::Mu),
            Codec::Pcma => To::Law(Law::A),
            Codec::G722 => To::G722(Box::default()),
        };
        Some(Codecs { from, from_rate, resampler: Resampler::default(), to, to_rate })
    }

    /// Everything in `payloads` into `out`, whose vectors are there already.
    pub fn run(&mut self, payloads: &[Vec<u8>], out: &mut [Vec<u8>]) {
        let mut pcm = [0; WIDE as usize / 50];
        let pcm = &mut pcm[..self.from_rate as usize / 50];
        for (payload, out) in payloads.iter().zip(out) {
            out.clear();
            match &mut self.from {
                From::Opus(decoder) => assert_eq!(decoder.decode(payload, pcm, false).unwrap(), pcm.len()),
                From::Law(law) => law.decode(payload, pcm),
                From::G722(decoder) => decoder.decode(payload, pcm),
            }
            let pcm = self.resampler.convert(pcm, self.from_rate, self.to_rate);
            match &mut self.to {
                To::Law(law) => law.encode(pcm, out),
                To::G722(encoder) => encoder.encode(pcm, out),
                To::Opus(encoder) => {
                    out.resize(1_275, 0);
                    let written = encoder.encode(pcm, out).unwrap();
                    out.truncate(written);
                }
            }
        }
    }
}

fn encoder(rate: u32) -> opus::Encoder {
    let bitrate = if rate == WIDE { 28_000 } else { 24_000 };
    let mut encoder = opus::Encoder::new(rate, Channels::Mono, Application::Voip).unwrap();
    encoder.set_bitrate(Bitrate::Bits(bitrate)).unwrap();
    encoder.set_complexity(5).unwrap();
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(10).unwrap();
    encoder.set_dtx(false).unwrap();
    encoder
}
