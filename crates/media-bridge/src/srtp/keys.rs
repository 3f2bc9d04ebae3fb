//! Crypto suites and master keys.

use std::fmt;

use types::Entropy;

/// A crypto suite: cipher, authentication and key lengths in one name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    /// AES-256-GCM, tag of 16 bytes (RFC 7714 §14.2).
    AeadAes256Gcm,
    /// AES-128-GCM, tag of 16 bytes (RFC 7714 §14.2).
    AeadAes128Gcm,
    /// AES-128 in counter mode, HMAC-SHA1 cut to 10 bytes (RFC 4568 §6.2.1): the one that everybody has.
    AesCm128HmacSha1_80,
    /// The same with 4 bytes for RTP, and 10 for RTCP (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
}

/// The longest master key with its salt: 32 + 12 bytes.
const MAX_SECRET: usize = 44;

impl Suite {
    /// All, best first: the order in which they are offered and chosen.
    pub const ALL: [Suite; 4] =
        [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

    /// The name in `a=crypto` (RFC 4568 §6.2, RFC 7714 §14.2).
    pub fn name(self) -> &'static str {
        match self {
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of that name, in whatever case it is written.
    pub fn from_name(name: &str) -> Option<Suite> {
        Suite::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Length of the master key in bytes.
    pub fn key_len(self) -> usize {
        match self {
            Suite::AeadAes256Gcm => 32,
            Suite::AeadAes128Gcm | Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Length of the master salt in bytes.
    pub fn salt_len(self) -> usize {
        match self {
            Suite::AeadAes256Gcm | Suite::AeadAes128Gcm => 12,
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 14,
        }
    }
}

/// A master key and its salt: one direction of one stream. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    suite: Suite,
    secret: [u8; MAX_SECRET],
}

impl Keys {
    /// From key and salt, one behind the other, as `inline:` carries them; none if their length is not the suite's.
    pub fn new(suite: Suite, secret: &[u8]) -> Option<Keys> {
        let mut keys = Keys { suite, secret: [0; MAX_SECRET] };
        if secret.len() != suite.key_len() + suite.salt_len() {
            return None;
        }
        keys.secret[..secret.len()].copy_from_slice(secret);
        Some(keys)
    }

    /// New ones of ours.
    pub fn random(suite: Suite, entropy: &mut dyn Entropy) -> Keys {
        let mut keys = Keys { suite, secret: [0; MAX_SECRET] };
        entropy.fill(&mut keys.secret[..suite.key_len() + suite.salt_len()]);
        keys
    }

    /// Their suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and salt, one behind the other.
    pub fn secret(&self) -> &[u8] {
        &self.secret[..self.suite.key_len() + self.suite.salt_len()]
    }

    /// The master key.
    pub fn key(&self) -> &[u8] {
        &self.secret[..self.suite.key_len()]
    }

    /// The master salt.
    pub fn salt(&self) -> &[u8] {
        &self.secret()[self.suite.key_len()..]
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, secret)", self.suite.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_length_of_their_suite_and_are_never_shown() {
        // RFC 4568 §6.2, RFC 7714 §14.2.
        for (suite, key, salt) in [
            (Suite::AeadAes256Gcm, 32, 12),
            (Suite::AeadAes128Gcm, 16, 12),
            (Suite::AesCm128HmacSha1_80, 16, 14),
            (Suite::AesCm128HmacSha1_32, 16, 14),
        ] {
            assert_eq!(Suite::from_name(suite.name()), Some(suite));
            let secret = vec![0xab; key + salt];
            let keys = Keys::new(suite, &secret).unwrap();
            assert_eq!((keys.key().len(), keys.salt().len()), (key, salt));
            assert_eq!(keys.secret(), secret);
            assert_eq!(format!("{keys:?}"), format!("Keys({}, secret)", suite.name()));
            assert!(Keys::new(suite, &secret[1..]).is_none());
        }
        assert_eq!(Suite::from_name("aes_cm_128_hmac_sha1_80"), Some(Suite::AesCm128HmacSha1_80));
        assert_eq!(Suite::from_name("F8_128_HMAC_SHA1_80"), None);
    }
}
