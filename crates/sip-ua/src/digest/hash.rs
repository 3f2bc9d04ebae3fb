use std::fmt::Write as _;

use aws_lc_rs::digest;
use md5::{Digest as _, Md5};

/// A hash function of digest authentication, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hash {
    /// RFC 2617; broken as a hash, still what most carriers offer.
    Md5,
    /// RFC 7616.
    Sha256,
    /// RFC 7616: SHA-512 with its own start values, cut to 256 bits.
    Sha512_256,
}

/// A digest algorithm: a hash, perhaps in its session form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Algorithm {
    /// The function.
    pub hash: Hash,
    /// `-sess`: HA1 covers nonce and cnonce too (RFC 7616 §3.4.2).
    pub session: bool,
}

impl Algorithm {
    /// `MD5`, also where the parameter is absent.
    pub const MD5: Algorithm = Algorithm { hash: Hash::Md5, session: false };
    /// `SHA-256`.
    pub const SHA256: Algorithm = Algorithm { hash: Hash::Sha256, session: false };

    const ALL: [(&'static str, Algorithm); 6] = [
        ("MD5", Algorithm::MD5),
        ("MD5-sess", Algorithm { hash: Hash::Md5, session: true }),
        ("SHA-256", Algorithm::SHA256),
        ("SHA-256-sess", Algorithm { hash: Hash::Sha256, session: true }),
        ("SHA-512-256", Algorithm { hash: Hash::Sha512_256, session: false }),
        ("SHA-512-256-sess", Algorithm { hash: Hash::Sha512_256, session: true }),
    ];

    /// By its name, case ignored.
    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, a)| *a)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Algorithm::ALL.iter().find(|(_, a)| *a == self).map_or("MD5", |(n, _)| n)
    }
}

/// The hash of the parts joined by colons, in lower-case hexadecimal.
pub(super) fn hash_hex(hash: Hash, parts: &[&[u8]]) -> String {
    let joined = parts.join(&b':');
    match hash {
        Hash::Md5 => hex(&Md5::digest(&joined)),
        Hash::Sha256 => hex(digest::digest(&digest::SHA256, &joined).as_ref()),
        Hash::Sha512_256 => hex(digest::digest(&digest::SHA512_256, &joined).as_ref()),
    }
}

/// HA1 without session part: what may be stored instead of a password.
pub fn ha1(hash: Hash, user: &str, realm: &str, password: &str) -> String {
    hash_hex(hash, &[user.as_bytes(), realm.as_bytes(), password.as_bytes()])
}

/// What the response of a request covers beside HA1.
pub(super) struct Covered<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a str,
    pub(super) cnonce: &'a str,
    /// Eight hexadecimal digits.
    pub(super) nc: &'a str,
    /// `auth`, `auth-int`, or empty for the form of RFC 2069.
    pub(super) qop: &'a str,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) body: &'a [u8],
}

/// The response value (RFC 7616 §3.4.1).
pub(super) fn response(ha1: &str, c: &Covered<'_>) -> String {
    let hash = c.algorithm.hash;
    let session = c
        .algorithm
        .session
        .then(|| hash_hex(hash, &[ha1.as_bytes(), c.nonce.as_bytes(), c.cnonce.as_bytes()]));
    let ha1 = session.as_deref().unwrap_or(ha1);
    let (method, uri) = (c.method.as_bytes(), c.uri.as_bytes());
    let ha2 = if c.qop == "auth-int" {
        hash_hex(hash, &[method, uri, hash_hex(hash, &[c.body]).as_bytes()])
    } else {
        hash_hex(hash, &[method, uri])
    };
    let (ha1, nonce, ha2) = (ha1.as_bytes(), c.nonce.as_bytes(), ha2.as_bytes());
    if c.qop.is_empty() {
        return hash_hex(hash, &[ha1, nonce, ha2]);
    }
    hash_hex(hash, &[ha1, nonce, c.nc.as_bytes(), c.cnonce.as_bytes(), c.qop.as_bytes(), ha2])
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}
