//! A suite with its session keys.

use super::aes_cm::AesCm;
use super::aes_gcm::AesGcm;
use super::kdf::{Label, derive};
use super::{Keys, Suite};

/// What protects one kind of packet, RTP or RTCP.
pub(super) enum Cipher {
    Cm(Box<AesCm>),
    Gcm(AesGcm),
}

/// Both kinds of one direction.
pub(super) struct Ciphers {
    pub rtp: Cipher,
    pub rtcp: Cipher,
}

impl Ciphers {
    pub fn new(keys: &Keys) -> Ciphers {
        // RFC 4568 §6.2.2: the short tag is RTP's only.
        let (rtp_tag, rtcp_tag) = match keys.suite() {
            Suite::AesCm128HmacSha1_32 => (4, 10),
            Suite::AesCm128HmacSha1_80 => (10, 10),
            Suite::AeadAes256Gcm | Suite::AeadAes128Gcm => (16, 16),
        };
        let rtp = [Label::RtpCipher, Label::RtpSalt, Label::RtpAuthentication];
        let rtcp = [Label::RtcpCipher, Label::RtcpSalt, Label::RtcpAuthentication];
        Ciphers { rtp: Cipher::new(keys, rtp, rtp_tag), rtcp: Cipher::new(keys, rtcp, rtcp_tag) }
    }
}

impl Cipher {
    fn new(keys: &Keys, [cipher, salt, authentication]: [Label; 3], tag: usize) -> Cipher {
        let gcm = match keys.suite() {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                return Cipher::Cm(Box::new(AesCm::new(
                    derive(keys, cipher),
                    derive(keys, salt),
                    derive(keys, authentication),
                    tag,
                )));
            }
            Suite::AeadAes128Gcm => AesGcm::new(&derive::<16>(keys, cipher), derive(keys, salt)),
            Suite::AeadAes256Gcm => AesGcm::new(&derive::<32>(keys, cipher), derive(keys, salt)),
        };
        Cipher::Gcm(gcm.expect("16 and 32 bytes are the lengths of keys"))
    }

    /// Length of the protected packet; before it was `length`. None if it is too long for the cipher.
    pub fn seal_rtp(&self, packet: &mut [u8], length: usize, header: usize, at: (u32, u64)) -> Option<usize> {
        match self {
            Cipher::Cm(cipher) => Some(cipher.seal_rtp(packet, length, header, at)),
            Cipher::Gcm(cipher) => cipher.seal_rtp(packet, length, header, at),
        }
    }

    /// Length of the packet in the clear; none if it is not authentic.
    pub fn open_rtp(&self, packet: &mut [u8], mki: usize, header: usize, at: (u32, u64)) -> Option<usize> {
        match self {
            Cipher::Cm(cipher) => cipher.open_rtp(packet, mki, header, at),
            Cipher::Gcm(cipher) => cipher.open_rtp(packet, mki, header, at),
        }
    }

    /// Whether a packet that was not authentic can not be tried again.
    pub fn destroys(&self) -> bool {
        matches!(self, Cipher::Gcm(_))
    }

    /// The same of an RTCP packet.
    pub fn seal_rtcp(&self, packet: &mut [u8], length: usize, ssrc: u32, word: u32) -> Option<usize> {
        match self {
            Cipher::Cm(cipher) => Some(cipher.seal_rtcp(packet, length, ssrc, word)),
            Cipher::Gcm(cipher) => cipher.seal_rtcp(packet, length, ssrc, word),
        }
    }

    /// The index of a packet as it says itself; none if it is too short.
    pub fn rtcp_index(&self, packet: &[u8], mki: usize) -> Option<u64> {
        let (word, _) = match self {
            Cipher::Cm(cipher) => cipher.rtcp_word(packet, mki),
            Cipher::Gcm(cipher) => cipher.rtcp_word(packet, mki),
        }?;
        Some(u64::from(word & 0x7fff_ffff))
    }

    /// Length of the packet in the clear; none if it is not authentic.
    pub fn open_rtcp(&self, packet: &mut [u8], mki: usize, ssrc: u32) -> Option<usize> {
        match self {
            Cipher::Cm(cipher) => cipher.open_rtcp(packet, mki, ssrc),
            Cipher::Gcm(cipher) => cipher.open_rtcp(packet, mki, ssrc),
        }
    }
}
