use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use types::{Entropy, Wall, limits};

use super::fields::DigestFields;
use super::hash::{self, Algorithm, Covered, Hash};
use crate::message::{Kind, Message, quote};

/// How long a nonce may be used; later it is stale, and the client answers the new one by itself.
const NONCE_LIFE: Duration = Duration::from_secs(600);
/// Bytes of a nonce: issue time in microseconds, random bytes, and half an HMAC over both.
const NONCE_TIME: usize = 8;
const NONCE_RANDOM: usize = 8;
const NONCE_BODY: usize = NONCE_TIME + NONCE_RANDOM;
const NONCE_MAC: usize = 16;

/// In whose name we ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// 401, WWW-Authenticate, Authorization: a registrar or user agent.
    Www,
    /// 407, Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

impl Asks {
    /// The status of the challenge.
    pub fn status(self) -> u16 {
        match self {
            Asks::Www => 401,
            Asks::Proxy => 407,
        }
    }

    fn fields(self) -> (&'static str, &'static str) {
        match self {
            Asks::Www => ("WWW-Authenticate", "Authorization"),
            Asks::Proxy => ("Proxy-Authenticate", "Proxy-Authorization"),
        }
    }
}

/// What we know of a user.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself: good for every algorithm.
    Password(String),
    /// HA1 values (see [`super::ha1`]), lower-case hexadecimal; an algorithm without one is refused.
    Hashed {
        /// For MD5.
        md5: Option<String>,
        /// For SHA-256.
        sha256: Option<String>,
    },
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Whether an answer made with this hash can be checked.
    pub fn serves(&self, hash: Hash) -> bool {
        match (self, hash) {
            (Secret::Password(_), _) => true,
            (Secret::Hashed { md5, .. }, Hash::Md5) => md5.is_some(),
            (Secret::Hashed { sha256, .. }, Hash::Sha256) => sha256.is_some(),
            (Secret::Hashed { .. }, Hash::Sha512_256) => false,
        }
    }
}

/// What to offer users with these secrets where nothing else is asked for. MD5 alone as long as it serves them all: baresip
/// 1.0 gives up at the sight of a SHA-256 challenge anywhere, SIPp 3.6.1 where it stands first (measured; RFC 8760 §2.3
/// hopes otherwise). A user for whom only a SHA-256 hash is stored brings SHA-256, first. The same for all, so that it says
/// nothing about who exists.
pub fn offered_for<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Vec<Algorithm> {
    let (md5, sha256): (Vec<_>, Vec<_>) = secrets.into_iter().partition(|s| s.serves(Hash::Md5));
    let mut offered = Vec::new();
    if !sha256.is_empty() {
        offered.push(Algorithm::SHA256);
    }
    if !md5.is_empty() || sha256.is_empty() {
        offered.push(Algorithm::MD5);
    }
    offered
}

/// What an Authorization field is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Check {
    /// The user is who they say.
    Ok {
        /// Their digest name.
        user: String,
    },
    /// The answer is right, but its nonce is too old, forgotten or used: challenge with `stale=true`.
    Stale,
    /// The answer is wrong, or the user unknown.
    Wrong {
        /// The name that was tried.
        user: String,
    },
    /// No answer for our realm: challenge.
    Missing,
    /// An answer that cannot be judged: 400.
    Malformed(&'static str),
}

/// Our side of digest towards clients: issues nonces that it need not remember, and remembers the used ones against replay.
#[derive(Debug)]
pub struct Challenger {
    realm: String,
    algorithms: Vec<Algorithm>,
    key: hmac::Key,
    /// The password of users that do not exist: checking them takes the same time.
    nobody: String,
    used: HashMap<[u8; NONCE_BODY], Counts>,
    order: VecDeque<[u8; NONCE_BODY]>,
    /// Used nonces issued until then may have been forgotten.
    forgotten_until: Wall,
}

/// The request counts seen of one nonce; requests may overtake each other by up to 64.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

impl Counts {
    /// Whether this count is new; remembers it.
    fn take(&mut self, nc: u32) -> bool {
        if nc > self.highest {
            let ahead = nc - self.highest;
            self.seen = if ahead < 64 { self.seen << ahead | 1 } else { 1 };
            self.highest = nc;
            return true;
        }
        let bit = self.highest - nc;
        let fresh = bit < 64 && self.seen & (1 << bit) == 0;
        if fresh {
            self.seen |= 1 << bit;
        }
        fresh
    }
}

impl Challenger {
    /// Offers these algorithms, the strongest first, however they are given (RFC 8760 §2.3).
    pub fn new(realm: &str, mut algorithms: Vec<Algorithm>, entropy: &mut dyn Entropy) -> Challenger {
        algorithms.sort_by_key(|a| std::cmp::Reverse(a.hash));
        algorithms.dedup();
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Challenger {
            realm: realm.to_owned(),
            algorithms,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            nobody: entropy.token(16),
            used: HashMap::new(),
            order: VecDeque::new(),
            forgotten_until: Wall(0),
        }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Used nonces that are remembered; at most `limits::NONCES`.
    pub fn remembered(&self) -> usize {
        self.used.len()
    }

    /// The challenge fields of a 401 or 407, one for each algorithm, best first (RFC 8760 §2.3). They ask for `auth`:
    /// `auth-int` fails behind every router that rewrites bodies, and JsSIP takes it wherever it is offered.
    pub fn challenge(
        &self,
        asks: Asks,
        stale: bool,
        wall: Wall,
        entropy: &mut dyn Entropy,
    ) -> Vec<(&'static str, String)> {
        let nonce = self.issue(wall, entropy);
        let stale = if stale { ", stale=true" } else { "" };
        let realm = quote(&self.realm);
        let line = |a: &Algorithm| {
            let algorithm = a.name();
            let value = format!(
                "Digest realm={realm}, nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}"
            );
            (asks.fields().0, value)
        };
        self.algorithms.iter().map(line).collect()
    }

    pub(super) fn issue(&self, wall: Wall, entropy: &mut dyn Entropy) -> String {
        let mut body = [0; NONCE_BODY];
        body[..NONCE_TIME].copy_from_slice(&wall.0.to_be_bytes());
        entropy.fill(&mut body[NONCE_TIME..]);
        let mac = hmac::sign(&self.key, &body);
        hash::hex(&body) + &hash::hex(&mac.as_ref()[..NONCE_MAC])
    }

    /// Whether a request answers a challenge of ours, rightly or not: it costs no table entry and no look at a user.
    pub fn was_challenged(&self, asks: Asks, request: &Message) -> bool {
        let fields = request.headers(asks.fields().1).flat_map(DigestFields::parse_all);
        let mut ours = fields.filter(|f| f.get("realm").is_some_and(|r| r == self.realm));
        ours.any(|f| f.raw("nonce").is_some_and(|nonce| self.issued(nonce).is_some()))
    }

    /// Judges the answer that a request carries for our realm. `secret` is asked for the user's secret, once.
    pub fn check(
        &mut self,
        asks: Asks,
        request: &Message,
        secret: impl FnOnce(&str) -> Option<Secret>,
        wall: Wall,
    ) -> Check {
        let Kind::Request { method, .. } = request.kind() else {
            return Check::Malformed("Not A Request");
        };
        let name = asks.fields().1;
        let ours = request
            .headers(name)
            .flat_map(DigestFields::parse_all)
            .find(|f| f.get("realm").is_some_and(|r| r == self.realm));
        let Some(fields) = ours else { return Check::Missing };
        let answer = match Answer::read(&fields) {
            Ok(answer) => answer,
            Err(why) => return Check::Malformed(why),
        };
        // From before a restart with other algorithms, say: a new challenge puts it right.
        if !self.algorithms.contains(&answer.algorithm) {
            return Check::Missing;
        }
        let known = secret(&answer.user);
        if !self.is_right(&answer, known, (method.as_str(), request.body())) {
            return Check::Wrong { user: answer.user };
        }
        match self.use_nonce(answer.nonce, answer.count, wall) {
            true => Check::Ok { user: answer.user },
            false => Check::Stale,
        }
    }

    fn is_right(&self, answer: &Answer<'_>, secret: Option<Secret>, (method, body): (&str, &[u8])) -> bool {
        let hash = answer.algorithm.hash;
        let exists = secret.is_some();
        let (password, stored) = match secret {
            Some(Secret::Password(password)) => (Some(password), None),
            Some(Secret::Hashed { md5, sha256 }) => match hash {
                Hash::Md5 => (None, md5),
                Hash::Sha256 => (None, sha256),
                Hash::Sha512_256 => (None, None),
            },
            None => (None, None),
        };
        let usable = exists && (password.is_some() || stored.is_some());
        let computed = hash::ha1(hash, &answer.user, &self.realm, password.as_ref().unwrap_or(&self.nobody));
        let ha1 = stored.unwrap_or(computed);
        let covered = Covered {
            algorithm: answer.algorithm,
            nonce: answer.nonce,
            cnonce: answer.cnonce,
            nc: answer.nc,
            qop: answer.qop,
            method,
            uri: answer.uri,
            body,
        };
        let expected = hash::response(&ha1, &covered);
        let given = answer.response.to_ascii_lowercase();
        let same = constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_ok();
        same && usable
    }

    /// Whether the nonce is ours, young, and its count new.
    pub(super) fn use_nonce(&mut self, nonce: &str, count: u32, wall: Wall) -> bool {
        let Some(body) = self.issued(nonce) else { return false };
        let issued = issued_at(&body);
        if wall > issued.plus(NONCE_LIFE) {
            return false;
        }
        if let Some(counts) = self.used.get_mut(&body) {
            return counts.take(count);
        }
        if issued <= self.forgotten_until {
            return false;
        }
        self.remember(body, count);
        true
    }

    /// What a nonce of ours is made of; none for others'.
    fn issued(&self, nonce: &str) -> Option<[u8; NONCE_BODY]> {
        let bytes = hash::unhex(nonce).filter(|b| b.len() == NONCE_BODY + NONCE_MAC)?;
        let (body, mac) = bytes.split_at(NONCE_BODY);
        let expected = hmac::sign(&self.key, body);
        let same = constant_time::verify_slices_are_equal(&expected.as_ref()[..NONCE_MAC], mac);
        same.ok().and_then(|()| body.try_into().ok())
    }

    fn remember(&mut self, body: [u8; NONCE_BODY], count: u32) {
        while self.order.len() >= limits::NONCES {
            if let Some(oldest) = self.order.pop_front() {
                self.used.remove(&oldest);
                self.forgotten_until = self.forgotten_until.max(issued_at(&oldest));
            }
        }
        let mut counts = Counts::default();
        counts.take(count);
        self.used.insert(body, counts);
        self.order.push_back(body);
    }
}

fn issued_at(body: &[u8; NONCE_BODY]) -> Wall {
    let mut time = [0; NONCE_TIME];
    time.copy_from_slice(&body[..NONCE_TIME]);
    Wall(u64::from_be_bytes(time))
}

/// The parts of an Authorization field, as they stood.
struct Answer<'a> {
    user: String,
    algorithm: Algorithm,
    qop: &'static str,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    cnonce: &'a str,
    nc: &'a str,
    count: u32,
}

impl<'a> Answer<'a> {
    fn read(fields: &DigestFields<'a>) -> Result<Answer<'a>, &'static str> {
        let algorithm = match fields.get("algorithm") {
            Some(name) => Algorithm::parse(&name).ok_or("Unknown Digest Algorithm")?,
            None => Algorithm::MD5,
        };
        // We always ask for qop=auth, and who is asked for it must use it (RFC 3261 §22.4). Covering the body too is more.
        let asked = fields.get("qop").unwrap_or_default();
        let qop = ["auth", "auth-int"].into_iter().find(|q| asked.eq_ignore_ascii_case(q));
        let need = |name: &str| fields.raw(name).filter(|v| !v.is_empty());
        let nc = need("nc").ok_or("Digest Without nc")?;
        let count = u32::from_str_radix(nc, 16).ok().filter(|n| nc.len() == 8 && *n > 0);
        Ok(Answer {
            user: fields.get("username").filter(|u| !u.is_empty()).ok_or("Digest Without User")?,
            algorithm,
            qop: qop.ok_or("Digest Without qop=auth")?,
            nonce: need("nonce").ok_or("Digest Without Nonce")?,
            uri: need("uri").ok_or("Digest Without URI")?,
            response: need("response").ok_or("Digest Without Response")?,
            cnonce: need("cnonce").ok_or("Digest Without cnonce")?,
            nc,
            count: count.ok_or("Bad Digest nc")?,
        })
    }
}
