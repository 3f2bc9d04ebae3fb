use types::Entropy;

use super::fields::DigestFields;
use super::hash::{self, Algorithm, Covered};
use crate::Credentials;
use crate::message::{Kind, Message, Method, quote};

/// Why a challenge cannot be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerError {
    /// Nobody gave us a user name and a password for it.
    NoCredentials,
    /// No Digest challenge that we can do, or none of the realm that our password is for.
    NothingWeCanDo,
    /// We have answered this realm already, and its nonce was not stale: the secret is wrong.
    WrongCredentials,
    /// Answered, and challenged again and again.
    TooOften,
}

impl std::fmt::Display for AnswerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AnswerError::NoCredentials => "it wants a user name and a password, and none is configured",
            AnswerError::NothingWeCanDo => "it offers no digest algorithm and realm that we can answer",
            AnswerError::WrongCredentials => "it refuses our user name or password",
            AnswerError::TooOften => "it challenges every answer again",
        })
    }
}

impl std::error::Error for AnswerError {}

/// Realms one request may pass that each want an answer. More: the oldest is forgotten and challenges again.
const REALMS: usize = 4;

/// Our side of digest towards one peer: remembers its challenges, so that later requests answer at once (RFC 3261 §22.2).
#[derive(Clone, Debug)]
pub struct DigestClient {
    credentials: Credentials,
    sessions: Vec<Session>,
    problem: Option<AnswerError>,
}

#[derive(Clone, Debug)]
struct Session {
    proxy: bool,
    realm: String,
    /// As it stood between the quotes.
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// Whether the peer named the algorithm: then it is named in the answer.
    algorithm_named: bool,
    qop: &'static str,
    /// One for the whole life of the nonce: HA1 of a session algorithm covers the first (RFC 7616 §3.4.2), and who computes
    /// it anew for each request, as many servers do, gets the same. Empty until the first answer.
    cnonce: String,
    /// Requests answered with this nonce (RFC 7616 §3.4 nc).
    count: u32,
    /// An answer with this nonce was accepted once: a new challenge means that the nonce has aged, said or not.
    proven: bool,
}

impl DigestClient {
    /// Knows no challenge yet.
    pub fn new(credentials: Credentials) -> DigestClient {
        DigestClient { credentials, sessions: Vec::new(), problem: None }
    }

    /// Whether a challenge is known, so that `answer` gives something.
    pub fn is_challenged(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Takes the challenges of a 401 or 407, the strongest of each realm (RFC 8760 §2.4).
    ///
    /// # Errors
    /// When sending the request again makes no sense.
    pub fn challenged(&mut self, response: &Message) -> Result<(), AnswerError> {
        let result = self.take(response);
        self.problem = result.err();
        result
    }

    /// Why the latest challenge stays unanswered.
    pub fn problem(&self) -> AnswerError {
        self.problem.unwrap_or(AnswerError::TooOften)
    }

    fn take(&mut self, response: &Message) -> Result<(), AnswerError> {
        let mut error = None;
        let mut taken = false;
        for (proxy, name) in [(false, "WWW-Authenticate"), (true, "Proxy-Authenticate")] {
            let values = response.headers(name).flat_map(DigestFields::parse_all);
            let mut best: Vec<(Session, bool)> = Vec::new();
            for fields in values {
                let Some((session, stale)) = Session::new(proxy, &fields) else { continue };
                if self.credentials.realm.as_ref().is_some_and(|only| *only != session.realm) {
                    continue;
                }
                match best.iter_mut().find(|(s, _)| s.realm == session.realm) {
                    Some(known) if session.algorithm.hash > known.0.algorithm.hash => {
                        *known = (session, stale);
                    }
                    Some(_) => {}
                    None => best.push((session, stale)),
                }
            }
            for (session, stale) in best {
                match self.adopt(session, stale) {
                    Ok(()) => taken = true,
                    Err(e) => error = Some(e),
                }
            }
        }
        match error {
            Some(e) => Err(e),
            None if taken => Ok(()),
            None => Err(AnswerError::NothingWeCanDo),
        }
    }

    fn adopt(&mut self, mut session: Session, stale: bool) -> Result<(), AnswerError> {
        let known = self.sessions.iter().position(|s| s.proxy == session.proxy && s.realm == session.realm);
        if let Some(i) = known {
            let old = self.sessions.remove(i);
            // What it says is stale and gives again will not be fresh the next time either.
            let same = old.nonce == session.nonce;
            if old.count > 0 && !old.proven && (same || !stale) {
                return Err(AnswerError::WrongCredentials);
            }
            // The very nonce again: its count goes on, for a count is good once (RFC 7616 §3.4).
            if same {
                (session.count, session.cnonce) = (old.count, old.cnonce);
            }
        }
        if self.sessions.len() == REALMS {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
        Ok(())
    }

    /// Our answer was accepted: a later challenge is a new question, not a refusal, even without `stale=true`.
    pub fn accepted(&mut self) {
        self.sessions.iter_mut().for_each(|s| s.proven = s.count > 0);
    }

    /// The Authorization and Proxy-Authorization fields for a request, to be written as they are; none while nobody asked.
    pub fn answer(
        &mut self,
        method: &Method,
        uri: &str,
        body: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Vec<(&'static str, String)> {
        let credentials = &self.credentials;
        self.sessions.iter_mut().map(|s| s.answer(credentials, (method, uri, body), entropy)).collect()
    }
}

/// The reason phrase of a final response; of a challenge that stays unanswered, with why.
pub(crate) fn why_refused(response: &Message, client: Option<&DigestClient>) -> String {
    let phrase = match response.kind() {
        Kind::Response { reason, .. } => reason,
        Kind::Request { .. } => "",
    };
    if !matches!(response.status(), Some(401 | 407)) {
        return phrase.to_owned();
    }
    let why = client.map_or(AnswerError::NoCredentials, DigestClient::problem);
    format!("{phrase}: {why}")
}

impl Session {
    /// The challenge and whether it says stale; none for one that we cannot do.
    fn new(proxy: bool, fields: &DigestFields<'_>) -> Option<(Session, bool)> {
        let name = fields.get("algorithm");
        let algorithm = name.as_deref().map_or(Some(Algorithm::MD5), Algorithm::parse)?;
        let offered = fields.get("qop").unwrap_or_default();
        let offers = |q: &str| offered.split(',').any(|o| o.trim().eq_ignore_ascii_case(q));
        let qop = match () {
            () if offers("auth") => "auth",
            () if offers("auth-int") => "auth-int",
            () if offered.is_empty() => "",
            () => return None,
        };
        let session = Session {
            proxy,
            realm: fields.get("realm")?,
            nonce: fields.raw("nonce")?.to_owned(),
            opaque: fields.raw("opaque").map(str::to_owned),
            algorithm,
            algorithm_named: name.is_some(),
            qop,
            cnonce: String::new(),
            count: 0,
            proven: false,
        };
        let stale = fields.get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true"));
        Some((session, stale))
    }

    fn answer(
        &mut self,
        credentials: &Credentials,
        (method, uri, body): (&Method, &str, &[u8]),
        entropy: &mut dyn Entropy,
    ) -> (&'static str, String) {
        if self.cnonce.is_empty() {
            self.cnonce = entropy.token(16);
        }
        let cnonce = self.cnonce.as_str();
        self.count += 1;
        let nc = format!("{:08x}", self.count);
        let ha1 = hash::ha1(self.algorithm.hash, &credentials.username, &self.realm, &credentials.password);
        let covered = Covered {
            algorithm: self.algorithm,
            nonce: &self.nonce,
            cnonce,
            nc: &nc,
            qop: self.qop,
            method: method.as_str(),
            uri,
            body,
        };
        let response = hash::response(&ha1, &covered);
        let mut value = format!(
            "Digest username={}, realm={}, nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            quote(&credentials.username),
            quote(&self.realm),
            self.nonce,
        );
        if self.algorithm_named {
            value.push_str(&format!(", algorithm={}", self.algorithm.name()));
        }
        if !self.qop.is_empty() {
            value.push_str(&format!(", qop={}, nc={nc}", self.qop));
        }
        if !self.qop.is_empty() || self.algorithm.session {
            value.push_str(&format!(", cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        (if self.proxy { "Proxy-Authorization" } else { "Authorization" }, value)
    }
}
