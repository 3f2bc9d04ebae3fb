//! AES in Galois/counter mode (RFC 7714): cipher and authentication in one.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::packet::RTCP_HEADER;

/// Bytes of the tag; shorter ones do not exist (RFC 7714 §13.2).
const TAG: usize = 16;

/// Session keys of one direction, for RTP or for RTCP.
pub(super) struct AesGcm {
    key: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

impl AesGcm {
    /// None if the key has neither 16 nor 32 bytes.
    pub fn new(key: &[u8], salt: [u8; NONCE_LEN]) -> Option<AesGcm> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(AesGcm { key: LessSafeKey::new(key), salt })
    }

    /// RFC 7714 §8.1, and §9.1 where the index has 31 bits.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        let (ssrc, index) = (ssrc.to_be_bytes(), index.to_be_bytes());
        nonce[2..6].iter_mut().zip(ssrc).for_each(|(byte, other)| *byte ^= other);
        nonce[6..].iter_mut().zip(&index[2..]).for_each(|(byte, other)| *byte ^= other);
        Nonce::assume_unique_for_key(nonce)
    }

    /// None if the packet is longer than the cipher allows: no datagram is.
    pub fn seal_rtp(
        &self,
        packet: &mut [u8],
        length: usize,
        header: usize,
        (ssrc, index): (u32, u64),
    ) -> Option<usize> {
        let (header, rest) = packet.split_at_mut(header);
        let (payload, room) = rest.split_at_mut(length - header.len());
        let nonce = self.nonce(ssrc, index);
        let sealed = self.key.seal_in_place_scatter(nonce, Aad::from(header), payload, &[], &mut room[..TAG]);
        sealed.ok().map(|()| length + TAG)
    }

    /// Length of the packet without its tag, once it has proven to be authentic; if not, it is destroyed. `mki` bytes
    /// stand behind the tag (RFC 7714 §8.2).
    pub fn open_rtp(
        &self,
        packet: &mut [u8],
        mki: usize,
        header: usize,
        (ssrc, index): (u32, u64),
    ) -> Option<usize> {
        let end = packet.len().checked_sub(mki).filter(|end| *end >= header + TAG)?;
        let (header, sealed) = packet[..end].split_at_mut(header);
        let nonce = self.nonce(ssrc, index);
        self.key.open_in_place(nonce, Aad::from(header), sealed).ok()?;
        Some(end - TAG)
    }

    /// `word`: the encryption flag and the index (RFC 7714 §9.2).
    pub fn seal_rtcp(&self, packet: &mut [u8], length: usize, ssrc: u32, word: u32) -> Option<usize> {
        let (header, rest) = packet.split_first_chunk_mut::<RTCP_HEADER>()?;
        let (nonce, aad) = (self.rtcp_nonce(ssrc, word), Aad::from(authenticated(header, word)));
        let (data, room) = rest.split_at_mut(length - RTCP_HEADER);
        let (tag, room) = room.split_at_mut(TAG);
        self.key.seal_in_place_scatter(nonce, aad, data, &[], tag).ok()?;
        room[..4].copy_from_slice(&word.to_be_bytes());
        Some(length + TAG + 4)
    }

    /// The encryption flag with the index of a packet, and its length without it.
    pub fn rtcp_word(&self, packet: &[u8], mki: usize) -> Option<(u32, usize)> {
        let end = packet.len().checked_sub(mki)?;
        let (data, word) = packet[..end].split_last_chunk::<4>()?;
        let length = data.len().checked_sub(TAG).filter(|length| *length >= RTCP_HEADER)?;
        Some((u32::from_be_bytes(*word), length))
    }

    pub fn open_rtcp(&self, packet: &mut [u8], mki: usize, ssrc: u32) -> Option<usize> {
        let (word, length) = self.rtcp_word(packet, mki)?;
        let nonce = self.rtcp_nonce(ssrc, word);
        if word >> 31 == 1 {
            let (header, rest) = packet[..length + TAG].split_first_chunk_mut::<RTCP_HEADER>()?;
            self.key.open_in_place(nonce, Aad::from(authenticated(header, word)), rest).ok()?;
        } else {
            // In the clear, all of it is associated data (RFC 7714 §9.3): the word moves there, before the tag.
            let end = length + TAG + 4;
            packet[length..end].rotate_left(TAG);
            let (data, tag) = packet[..end].split_at_mut(length + 4);
            self.key.open_in_place(nonce, Aad::from(data), tag).ok()?;
        }
        Some(length)
    }

    fn rtcp_nonce(&self, ssrc: u32, word: u32) -> Nonce {
        self.nonce(ssrc, u64::from(word & 0x7fff_ffff))
    }
}

/// What is authenticated and not encrypted of an encrypted RTCP packet.
fn authenticated(header: &[u8; RTCP_HEADER], word: u32) -> [u8; RTCP_HEADER + 4] {
    let mut data = [0; RTCP_HEADER + 4];
    data[..RTCP_HEADER].copy_from_slice(header);
    data[RTCP_HEADER..].copy_from_slice(&word.to_be_bytes());
    data
}
