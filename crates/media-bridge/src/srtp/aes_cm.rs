//! AES-128 in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1).

use aes::Aes128Enc;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;

use super::hmac::HmacSha1;
use super::packet::RTCP_HEADER;

/// Session keys of one direction, for RTP or for RTCP.
pub(super) struct AesCm {
    key: Aes128Enc,
    salt: [u8; 14],
    authentication: HmacSha1,
    /// Bytes of the tag that are sent.
    tag: usize,
}

impl AesCm {
    pub fn new(key: [u8; 16], salt: [u8; 14], authentication: [u8; 20], tag: usize) -> AesCm {
        let authentication = HmacSha1::new(&authentication);
        AesCm { key: Aes128Enc::new(&key.into()), salt, authentication, tag }
    }

    /// Encrypts or decrypts; `index` counts 48 bits (RFC 3711 §4.1.1).
    pub fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut counter = [0; 16];
        counter[..14].copy_from_slice(&self.salt);
        let (ssrc, index) = (ssrc.to_be_bytes(), index.to_be_bytes());
        counter[4..8].iter_mut().zip(ssrc).for_each(|(byte, other)| *byte ^= other);
        counter[8..14].iter_mut().zip(&index[2..]).for_each(|(byte, other)| *byte ^= other);
        let core =
            CtrCore::<&Aes128Enc, Ctr128BE>::inner_iv_init(&self.key, GenericArray::from_slice(&counter));
        core.apply_keystream_partial(data.into());
    }

    /// Length of the protected packet; before it was `length`.
    pub fn seal_rtp(
        &self,
        packet: &mut [u8],
        length: usize,
        header: usize,
        (ssrc, index): (u32, u64),
    ) -> usize {
        let (data, room) = packet.split_at_mut(length);
        self.apply(ssrc, index, &mut data[header..]);
        let tag = self.authentication.tag(data, Some(rollovers(index)));
        room[..self.tag].copy_from_slice(&tag[..self.tag]);
        length + self.tag
    }

    /// Length of the packet without its tag, once it has proven to be authentic; `mki` bytes stand before the tag.
    pub fn open_rtp(
        &self,
        packet: &mut [u8],
        mki: usize,
        header: usize,
        (ssrc, index): (u32, u64),
    ) -> Option<usize> {
        let length = packet.len().checked_sub(self.tag + mki).filter(|length| *length >= header)?;
        let (data, rest) = packet.split_at_mut(length);
        self.verify(data, Some(rollovers(index)), &rest[mki..])?;
        self.apply(ssrc, index, &mut data[header..]);
        Some(length)
    }

    /// `word`: the encryption flag and the index (RFC 3711 §3.4).
    pub fn seal_rtcp(&self, packet: &mut [u8], length: usize, ssrc: u32, word: u32) -> usize {
        let indexed = length + 4;
        let (data, room) = packet.split_at_mut(indexed);
        self.apply(ssrc, index_of(word), &mut data[RTCP_HEADER..length]);
        data[length..].copy_from_slice(&word.to_be_bytes());
        let tag = self.authentication.tag(data, None);
        room[..self.tag].copy_from_slice(&tag[..self.tag]);
        indexed + self.tag
    }

    /// The encryption flag with the index of a packet, and its length without it.
    pub fn rtcp_word(&self, packet: &[u8], mki: usize) -> Option<(u32, usize)> {
        let end = packet.len().checked_sub(self.tag + mki)?;
        let (data, word) = packet[..end].split_last_chunk::<4>()?;
        (data.len() >= RTCP_HEADER).then(|| (u32::from_be_bytes(*word), data.len()))
    }

    pub fn open_rtcp(&self, packet: &mut [u8], mki: usize, ssrc: u32) -> Option<usize> {
        let (word, length) = self.rtcp_word(packet, mki)?;
        let (authentic, rest) = packet.split_at_mut(length + 4);
        self.verify(authentic, None, &rest[mki..])?;
        if word >> 31 == 1 {
            self.apply(ssrc, index_of(word), &mut authentic[RTCP_HEADER..length]);
        }
        Some(length)
    }

    fn verify(&self, data: &[u8], tail: Option<[u8; 4]>, tag: &[u8]) -> Option<()> {
        let ours = self.authentication.tag(data, tail);
        verify_slices_are_equal(&ours[..self.tag], tag).ok()
    }
}

/// The rollover counter of an index, which is authenticated with each packet and not sent.
fn rollovers(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn index_of(word: u32) -> u64 {
    u64::from(word & 0x7fff_ffff)
}
