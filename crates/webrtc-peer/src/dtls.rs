//! The DTLS side of a browser session: one configuration for the process instead of one per session, the peer's
//! certificate, and the keys that a handshake leaves for SRTP.
//!
//! Building a `dimpl::Config` validates every cipher of the crypto provider, which costs more than a whole handshake.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use dimpl::{Config, DtlsCertificate, KeyingMaterial};
use zeroize::Zeroize;

use crate::PeerError;

/// The longest master key with its salt: 32 + 12 bytes.
const MAX_SECRET: usize = 44;

/// What all sessions are made with.
pub(crate) fn shared_config() -> Result<Arc<Config>, PeerError> {
    // ICE has proven that the peer receives at its address before any DTLS flows, so a cookie round trip adds nothing.
    let config = Config::builder()
        .use_server_cookie(false)
        .build()
        .map_err(|e| PeerError::Crypto(format!("DTLS configuration: {e}")))?;
    Ok(Arc::new(config))
}

/// A certificate of our own, self-signed: browsers check its fingerprint against the SDP (RFC 8122), nothing else.
pub(crate) fn certificate() -> Result<DtlsCertificate, PeerError> {
    dimpl::certificate::generate_self_signed_certificate()
        .map_err(|e| PeerError::Crypto(format!("no DTLS certificate could be made: {e}")))
}

/// The certificate that the description promises (RFC 8122 §5).
#[derive(Debug)]
pub(crate) struct Fingerprint {
    algorithm: &'static digest::Algorithm,
    digest: Vec<u8>,
}

impl Fingerprint {
    /// Names of hash functions as SDP writes them, in any case.
    pub(crate) fn new(hash: &str, digest: Vec<u8>) -> Result<Fingerprint, PeerError> {
        let algorithm = match hash.to_ascii_lowercase().as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            "sha-224" => &digest::SHA224,
            // Some still announce nothing better; a second preimage of it is what an impostor would need.
            "sha-1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            other => {
                return Err(PeerError::Params(format!("no fingerprint is checked by the hash {other:?}")));
            }
        };
        Ok(Fingerprint { algorithm, digest })
    }

    pub(crate) fn is_of(&self, certificate: &[u8]) -> bool {
        digest::digest(self.algorithm, certificate).as_ref() == self.digest
    }
}

/// SHA-256 of a certificate as SDP writes it: `AB:CD:…` (RFC 8122 §5).
pub(crate) fn fingerprint_text(certificate: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    let hex: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    hex.join(":")
}

/// The SRTP protection profile that the handshake agreed on (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SrtpProfile {
    /// SRTP_AEAD_AES_256_GCM.
    AeadAes256Gcm,
    /// SRTP_AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// SRTP_AES128_CM_HMAC_SHA1_80.
    AesCm128HmacSha1_80,
}

impl SrtpProfile {
    /// As the registry of IANA has it, without its `SRTP_`.
    pub fn name(self) -> &'static str {
        match self {
            SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
            SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
            SrtpProfile::AesCm128HmacSha1_80 => "AES128_CM_HMAC_SHA1_80",
        }
    }

    /// Bytes of a master key and of its salt.
    fn lengths(self) -> (usize, usize) {
        match self {
            SrtpProfile::AeadAes256Gcm => (32, 12),
            SrtpProfile::AeadAes128Gcm => (16, 12),
            SrtpProfile::AesCm128HmacSha1_80 => (16, 14),
        }
    }
}

/// Master keys of both directions, as the handshake exported them (RFC 5764 §4.2). Never shown, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    profile: SrtpProfile,
    ours: Secret,
    theirs: Secret,
}

#[derive(Clone, PartialEq, Eq)]
struct Secret([u8; MAX_SECRET]);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SrtpKeys {
    /// Sorts out what the exporter gave; `active`: we are the DTLS client.
    pub(crate) fn new(
        material: &KeyingMaterial,
        profile: dimpl::SrtpProfile,
        active: bool,
    ) -> Option<SrtpKeys> {
        let profile = if profile == dimpl::SrtpProfile::AEAD_AES_256_GCM {
            SrtpProfile::AeadAes256Gcm
        } else if profile == dimpl::SrtpProfile::AEAD_AES_128_GCM {
            SrtpProfile::AeadAes128Gcm
        } else if profile == dimpl::SrtpProfile::AES128_CM_SHA1_80 {
            SrtpProfile::AesCm128HmacSha1_80
        } else {
            return None;
        };
        // client key, server key, client salt, server salt
        let (key, salt) = profile.lengths();
        let secret = |side: usize| {
            let mut secret = Secret([0; MAX_SECRET]);
            secret.0[..key].copy_from_slice(material.get(side * key..(side + 1) * key)?);
            let at = 2 * key + side * salt;
            secret.0[key..key + salt].copy_from_slice(material.get(at..at + salt)?);
            Some(secret)
        };
        let (client, server) = (secret(0)?, secret(1)?);
        let (ours, theirs) = if active { (client, server) } else { (server, client) };
        Some(SrtpKeys { profile, ours, theirs })
    }

    /// Cipher and authentication.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Master key and salt that we protect with, one behind the other.
    pub fn ours(&self) -> &[u8] {
        self.cut(&self.ours)
    }

    /// Master key and salt that the browser protects with, one behind the other.
    pub fn theirs(&self) -> &[u8] {
        self.cut(&self.theirs)
    }

    fn cut<'a>(&self, secret: &'a Secret) -> &'a [u8] {
        let (key, salt) = self.profile.lengths();
        &secret.0[..key + salt]
    }
}

impl fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SrtpKeys({:?}, secret)", self.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_keys_are_the_clients_then_the_servers_and_never_shown() {
        // RFC 5764 §4.2.
        for (theirs, ours, key, salt) in [
            (dimpl::SrtpProfile::AEAD_AES_256_GCM, SrtpProfile::AeadAes256Gcm, 32, 12),
            (dimpl::SrtpProfile::AEAD_AES_128_GCM, SrtpProfile::AeadAes128Gcm, 16, 12),
            (dimpl::SrtpProfile::AES128_CM_SHA1_80, SrtpProfile::AesCm128HmacSha1_80, 16, 14),
        ] {
            let parts = [(0xc1, key), (0x51, key), (0xc2, salt), (0x52, salt)];
            let bytes: Vec<u8> = parts.iter().flat_map(|(byte, len)| vec![*byte; *len]).collect();
            let client = [vec![0xc1; key], vec![0xc2; salt]].concat();
            let server = [vec![0x51; key], vec![0x52; salt]].concat();
            let keys = SrtpKeys::new(&KeyingMaterial::new(&bytes), theirs, true).unwrap();
            assert_eq!((keys.profile(), keys.ours(), keys.theirs()), (ours, &client[..], &server[..]));
            let keys = SrtpKeys::new(&KeyingMaterial::new(&bytes), theirs, false).unwrap();
            assert_eq!((keys.ours(), keys.theirs()), (&server[..], &client[..]));
            assert_eq!(format!("{keys:?}"), format!("SrtpKeys({ours:?}, secret)"));
            assert!(SrtpKeys::new(&KeyingMaterial::new(&bytes[1..]), theirs, true).is_none());
        }
    }

    #[test]
    fn a_fingerprint_is_checked_by_the_hash_that_it_names() {
        // RFC 8122 §5.
        let certificate = b"any bytes";
        for (name, algorithm) in [
            ("sha-256", &digest::SHA256),
            ("SHA-512", &digest::SHA512),
            ("sha-1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
        ] {
            let digest = digest::digest(algorithm, certificate).as_ref().to_vec();
            let print = Fingerprint::new(name, digest).unwrap();
            assert!(print.is_of(certificate) && !print.is_of(b"other bytes"));
        }
        assert!(Fingerprint::new("md5", vec![0; 16]).is_err());
        assert!(!Fingerprint::new("sha-256", Vec::new()).unwrap().is_of(certificate));
    }
}
