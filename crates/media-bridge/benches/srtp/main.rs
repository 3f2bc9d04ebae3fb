//! What protecting and opening a 20 ms packet of G.711 costs for each suite, beside what the ciphers alone take: an SRTP
//! context should cost little more.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::Instant;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use media_bridge::srtp::{Keys, OVERHEAD, Receiver, Sender, Suite};

/// Header and 160 samples.
const PACKET: usize = 172;
/// Packets of one turn.
const PACKETS: u16 = 100;
const TURNS: usize = 500;

fn packet(sequence: u16, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0x80, 0]);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.resize(PACKET, 0x55);
}

/// aws-lc's own calls for the same work, keys prepared beforehand.
enum Alone {
    Gcm(LessSafeKey),
    Cm(Box<EncryptingKey>, Box<hmac::Key>),
}

impl Alone {
    fn new(suite: Suite) -> Alone {
        match suite {
            Suite::AeadAes256Gcm => {
                Alone::Gcm(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap()))
            }
            Suite::AeadAes128Gcm => {
                Alone::Gcm(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[1; 16]).unwrap()))
            }
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => Alone::Cm(
                Box::new(EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &[1; 16]).unwrap()).unwrap()),
                Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[1; 20])),
            ),
        }
    }

    fn protect(&self, packet: &mut Vec<u8>) {
        match self {
            Alone::Gcm(key) => {
                let (header, payload) = packet.split_at_mut(12);
                let nonce = Nonce::assume_unique_for_key([3; 12]);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), payload).unwrap();
                packet.extend_from_slice(tag.as_ref());
            }
            Alone::Cm(cipher, authentication) => {
                let counter = EncryptionContext::Iv128([3; 16].into());
                cipher.less_safe_encrypt(&mut packet[12..], counter).unwrap();
                let mut tag = hmac::Context::with_key(authentication);
                tag.update(packet);
                tag.update(&[0; 4]);
                packet.extend_from_slice(&tag.sign().as_ref()[..10]);
            }
        }
    }
}

/// Nanoseconds per packet.
fn timed(buffers: &mut [Vec<u8>], mut work: impl FnMut(&mut Vec<u8>)) -> f64 {
    let begin = Instant::now();
    buffers.iter_mut().for_each(&mut work);
    begin.elapsed().as_nanos() as f64 / buffers.len() as f64
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    println!("\nnanoseconds per packet of {PACKET} bytes (median of {TURNS} turns of {PACKETS} packets)\n");
    println!("| suite | protect | unprotect | a forged one refused | aws-lc's cipher alone |");
    println!("|---|---:|---:|---:|---:|");
    let mut buffers: Vec<Vec<u8>> = (0..PACKETS).map(|_| Vec::with_capacity(PACKET + OVERHEAD)).collect();
    for suite in Suite::ALL {
        let keys = Keys::new(suite, &vec![7; suite.key_len() + suite.salt_len()]).unwrap();
        let (mut sender, mut receiver) = (Sender::new(&keys), Receiver::new(&keys, 0));
        let alone = Alone::new(suite);
        let mut times: [Vec<f64>; 4] = Default::default();
        let mut sequence = 0_u16;
        for _ in 0..TURNS {
            for buffer in &mut buffers {
                packet(sequence, buffer);
                sequence = sequence.wrapping_add(1);
            }
            times[0].push(timed(&mut buffers, |packet| sender.protect_rtp(packet).unwrap()));
            let mut forged = buffers.clone();
            forged.iter_mut().for_each(|packet| packet[50] ^= 1);
            times[2]
                .push(timed(&mut forged, |packet| receiver.unprotect_rtp(packet).map(drop).unwrap_or(())));
            times[1]
                .push(timed(&mut buffers, |packet| assert_eq!(receiver.unprotect_rtp(packet), Ok(PACKET))));
            buffers.iter_mut().for_each(|buffer| packet(0, buffer));
            times[3].push(timed(&mut buffers, |packet| alone.protect(packet)));
        }
        let [protect, unprotect, forged, alone] = times.map(median);
        println!("| {} | {protect:.0} | {unprotect:.0} | {forged:.0} | {alone:.0} |", suite.name());
    }
}
