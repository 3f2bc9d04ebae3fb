//! `a=crypto` (RFC 4568): which suite and master key a description offers or takes.

use std::fmt::{self, Write};

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use types::Entropy;

use crate::srtp::{Keys, Suite};

/// Padding is written, and read whether there or not: some leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Longest lifetime that a key may be given (RFC 4568 §6.1): 2^48 packets.
const MAX_LIFETIME_BITS: u32 = 48;
/// Longest master key identifier (RFC 4568 §6.1).
const MAX_MKI: usize = 128;

/// One `a=crypto` line: what its speaker encrypts with, if it is chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crypto {
    /// Names the line within its description; an answer repeats the offer's.
    pub tag: u32,
    /// Suite and master key.
    pub keys: Keys,
    /// Bytes of master key identifier in each packet of the speaker; 0: none.
    pub mki: usize,
}

/// A line of a peer: one of ours can be spoken, or why not. The words hold no key.
pub(super) type Read = Result<Crypto, String>;

impl Crypto {
    /// Lines for an offer: every suite of ours, best first, each with a key of its own (RFC 4568 §6.1).
    pub fn offer(entropy: &mut dyn Entropy) -> Vec<Crypto> {
        let tags = 1..;
        tags.zip(Suite::ALL)
            .map(|(tag, suite)| Crypto { tag, keys: Keys::random(suite, entropy), mki: 0 })
            .collect()
    }

    /// Our answer to a line of theirs: its tag and suite, a key of ours.
    pub fn answer(&self, entropy: &mut dyn Entropy) -> Crypto {
        Crypto { tag: self.tag, keys: Keys::random(self.keys.suite(), entropy), mki: 0 }
    }

    /// Reads the value of `a=crypto` (RFC 4568 §9.1).
    pub(super) fn read(value: &str) -> Read {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|t| t.len() <= 9).and_then(|t| t.parse().ok());
        let tag = tag.ok_or("its a=crypto has no tag")?;
        let name = words.next().ok_or("its a=crypto names no suite")?;
        let suite = Suite::from_name(name).ok_or_else(|| format!("{} is not spoken here", plain(name)))?;
        let params = words.next().ok_or("its a=crypto holds no key")?;
        let (keys, mki) = inline(suite, params)?;
        let param = words.find(|word| !is_harmless(word));
        match param {
            Some(param) => Err(format!("{} with {} is not spoken here", suite.name(), plain(param))),
            None => Ok(Crypto { tag, keys, mki }),
        }
    }

    /// The line on its own.
    #[cfg(test)]
    pub(crate) fn to_line(&self) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out);
        out
    }

    /// Writes the line.
    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        let name = self.keys.suite().name();
        write!(out, "a=crypto:{} {name} inline:{}\r\n", self.tag, BASE64.encode(self.keys.secret()))
    }
}

/// `inline:KEY||SALT|LIFETIME|MKI:LENGTH` (RFC 4568 §6.1). Several keys for one line cannot be told apart without a
/// table of identifiers, and nobody sends them: refused.
fn inline(suite: Suite, params: &str) -> Result<(Keys, usize), String> {
    if params.contains(';') {
        return Err("several master keys in one a=crypto are not spoken here".into());
    }
    let (method, info) = params.split_once(':').unwrap_or_default();
    if !method.eq_ignore_ascii_case("inline") {
        return Err("its a=crypto has no inline key".into());
    }
    let mut parts = info.split('|');
    let secret = parts.next().and_then(|text| BASE64.decode(text).ok());
    let keys = secret.and_then(|secret| Keys::new(suite, &secret));
    let keys = keys.ok_or_else(|| format!("its key has not the length of {}", suite.name()))?;
    let mut mki = 0;
    for (place, part) in parts.enumerate() {
        // The lifetime may be left out, the identifier too, and the colon tells them apart.
        match part.split_once(':') {
            Some((_, length)) => mki = mki_length(length).ok_or("its MKI length is not 1 to 128")?,
            None if place == 0 && is_lifetime(part) => {}
            None => return Err("the lifetime of its key can not be read".into()),
        }
    }
    Ok((keys, mki))
}

/// A session parameter that may be passed over: an extension that says so itself by its dash, a window hint, and the
/// order of an FEC that nobody uses. Any other, known or not, makes the line unusable (RFC 4568 §6.3).
fn is_harmless(param: &str) -> bool {
    let param = param.to_ascii_uppercase();
    ["-", "WSH=", "FEC_ORDER="].iter().any(|start| param.starts_with(start))
}

/// `2^31` or a number of packets. The speaker has to change its key in time, so only the form matters here.
fn is_lifetime(text: &str) -> bool {
    match text.strip_prefix("2^") {
        Some(bits) => bits.parse::<u32>().is_ok_and(|bits| bits <= MAX_LIFETIME_BITS),
        None => text.parse::<u64>().is_ok_and(|n| n > 0 && n <= 1 << MAX_LIFETIME_BITS),
    }
}

fn mki_length(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n| (1..=MAX_MKI).contains(n))
}

/// A peer's word as it may stand in a sentence of ours.
fn plain(word: &str) -> String {
    word.chars().filter(char::is_ascii_graphic).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(u8);

    impl Entropy for Count {
        fn fill(&mut self, out: &mut [u8]) {
            for byte in out {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    fn read(value: &str) -> Read {
        Crypto::read(value)
    }

    fn refused(value: &str) -> String {
        read(value).unwrap_err()
    }

    #[test]
    fn the_examples_of_rfc_4568_are_read() {
        let line = read(
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP",
        );
        let line = line.unwrap();
        assert_eq!((line.mki, line.keys.salt()), (4, &b"\t220;}\n}\nunles"[..]));
        let line =
            read("1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32")
                .unwrap();
        assert_eq!((line.tag, line.keys.suite(), line.mki), (1, Suite::AesCm128HmacSha1_80, 32));
        assert_eq!(line.keys.secret(), b"=-n@%^x!Bjufr9)?,#5h\\`=&]{qiPQ");
        let line =
            read("1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32 KDR=1");
        assert_eq!(line, Err("AES_CM_128_HMAC_SHA1_80 with KDR=1 is not spoken here".into()));
        let line =
            read("2 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|2^20|1:32")
                .unwrap();
        assert_eq!((line.tag, line.keys.suite()), (2, Suite::AesCm128HmacSha1_32));
    }

    #[test]
    fn lifetime_identifier_and_padding_may_be_there_or_not() {
        let cm = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
        for (tail, mki) in [("", 0), ("|2^48", 0), ("|1048576", 0), ("|1:4", 4), ("|2^31|1066:4", 4)] {
            let line = read(&format!("123456789 AES_CM_128_HMAC_SHA1_80 inline:{cm}{tail}")).unwrap();
            assert_eq!((line.tag, line.mki), (123_456_789, mki), "{tail}");
        }
        // RFC 7714 §14.2: 44 and 28 bytes.
        for suite in [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm] {
            let padded = BASE64.encode(vec![7; suite.key_len() + suite.salt_len()]);
            assert!(padded.ends_with('='));
            for text in [padded.as_str(), padded.trim_end_matches('=')] {
                let line = read(&format!("1 {} inline:{text}", suite.name())).unwrap();
                assert_eq!(line.keys.key(), vec![7; suite.key_len()]);
            }
        }
        assert!(read(&format!("1 aes_cm_128_hmac_sha1_80 INLINE:{cm} WSH=64 -vendor=1")).is_ok());
    }

    #[test]
    fn what_can_not_be_kept_is_refused_in_words_without_the_key() {
        let cm = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
        let line = |rest: &str| format!("1 AES_CM_128_HMAC_SHA1_80 inline:{cm}{rest}");
        for param in ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "KDR=0", "FEC_KEY=x"] {
            let words = refused(&line(&format!(" {param}")));
            assert_eq!(words, format!("AES_CM_128_HMAC_SHA1_80 with {param} is not spoken here"));
        }
        assert_eq!(
            refused(&format!("1 F8_128_HMAC_SHA1_80 inline:{cm}")),
            "F8_128_HMAC_SHA1_80 is not spoken here"
        );
        for bad in [
            String::new(),
            "1".into(),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{cm}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{cm}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 uri:{cm}"),
            format!("1 AEAD_AES_256_GCM inline:{cm}"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:????".into(),
            line(";inline:more"),
            line("|2^49"),
            line("|0"),
            line("|1:0"),
            line("|1:129"),
            line("|1:4|2^20"),
        ] {
            let words = refused(&bad);
            assert!(!words.contains(cm), "{words}");
        }
    }

    #[test]
    fn an_offer_has_every_suite_with_a_key_of_its_own_and_is_read_back() {
        let lines = Crypto::offer(&mut Count(0));
        assert_eq!(lines.iter().map(|l| l.keys.suite()).collect::<Vec<_>>(), Suite::ALL);
        let mut text = String::new();
        lines.iter().for_each(|l| l.write(&mut text).unwrap());
        let back: Vec<Crypto> =
            text.lines().map(|l| Crypto::read(l.strip_prefix("a=crypto:").unwrap()).unwrap()).collect();
        assert_eq!(back, lines);
        assert_ne!(lines[2].keys.secret(), lines[3].keys.secret());
    }
}
