//! The work that nobody can save: the cipher and the codecs on the very packets of a call, with nothing around them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use media_bridge::codec::Law;
use media_bridge::control::Codec;
use opus::{Application, Bitrate, Channels};

use crate::line::SAMPLES;

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
pub enum Codecs {
    ToLaw(opus::Decoder, Law),
    FromLaw(Law, opus::Encoder),
}

impl Codecs {
    /// None where nothing is to be transcoded.
    pub fn new(from: Codec, to: Codec) -> Option<Codecs> {
        match (from, to) {
            (Codec::Opus, Codec::Pcmu) => {
                Some(Codecs::ToLaw(opus::Decoder::new(8_000, Channels::Mono).unwrap(), Law::Mu))
            }
            (Codec::Pcmu, Codec::Opus) => Some(Codecs::FromLaw(Law::Mu, encoder())),
            (_, _) => None,
        }
    }

    /// Everything in `payloads` into `out`, whose vectors are there already.
    pub fn run(&mut self, payloads: &[Vec<u8>], out: &mut [Vec<u8>]) {
        let mut pcm = [0; SAMPLES];
        for (payload, out) in payloads.iter().zip(out) {
            out.clear();
            match self {
                Codecs::ToLaw(decoder, law) => {
                    assert_eq!(decoder.decode(payload, &mut pcm, false).unwrap(), SAMPLES);
                    law.encode(&pcm, out);
                }
                Codecs::FromLaw(law, encoder) => {
                    law.decode(payload, &mut pcm);
                    out.resize(1_275, 0);
                    let written = encoder.encode(&pcm, out).unwrap();
                    out.truncate(written);
                }
            }
        }
    }
}

fn encoder() -> opus::Encoder {
    let mut encoder = opus::Encoder::new(8_000, Channels::Mono, Application::Voip).unwrap();
    encoder.set_bitrate(Bitrate::Bits(24_000)).unwrap();
    encoder.set_complexity(5).unwrap();
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(10).unwrap();
    encoder.set_dtx(false).unwrap();
    encoder
}
