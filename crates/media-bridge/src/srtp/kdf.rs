//! Session keys out of a master key (RFC 3711 §4.3.1, §4.3.3; RFC 7714 §11). The key derivation rate is 0, the only one
//! that session descriptions can say: they are derived once.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use ctr::Ctr128BE;

use super::Keys;

/// What a derived key is for (RFC 3711 §4.3.1, §4.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    RtpCipher = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpCipher = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Where the label meets the salt: the 56 bits of label and index are the last of its 112 bits.
const LABEL_AT: usize = 7;

/// `N` bytes of the pseudo-random function: AES in counter mode over the salt with the label in it. A salt of 96 bits is
/// filled up with zeros.
pub(super) fn derive<const N: usize>(keys: &Keys, label: Label) -> [u8; N] {
    let mut block = [0; 16];
    block[..keys.salt().len()].copy_from_slice(keys.salt());
    block[LABEL_AT] ^= label as u8;
    match keys.key().len() {
        32 => keystream::<Ctr128BE<Aes256>, N>(keys.key(), &block),
        _ => keystream::<Ctr128BE<Aes128>, N>(keys.key(), &block),
    }
}

fn keystream<C: KeyIvInit + StreamCipher, const N: usize>(key: &[u8], block: &[u8; 16]) -> [u8; N] {
    let mut out = [0; N];
    if let Ok(mut cipher) = C::new_from_slices(key, block) {
        cipher.apply_keystream(&mut out);
    }
    out
}
