//! Keeping one registration alive at a registrar: refresh, longer and longer pauses after failures, removal
//! (RFC 3261 §10.2, RFC 5626 §4.5). The endpoint sends and receives for it.

use std::time::{Duration, Instant};

use types::Entropy;

use crate::digest::{DigestClient, why_refused};
use crate::endpoint::{OutRequest, Path, TxnId};
use crate::keep_alive::{Act, Agreed, KeepAlive};
use crate::message::{Message, Method, Uri};
use crate::{Register, RegistrationState};

/// First pause after a failure, doubled by each further one (RFC 5626 §4.5).
const BASE_PAUSE: u64 = 30;
/// Longest pause, in seconds.
const MAX_PAUSE: u64 = 1_800;
/// Longest `Retry-After` that is obeyed, in seconds.
const MAX_RETRY_AFTER: u32 = 86_400;
/// What a registrar that names no expiry is taken to have granted (RFC 3261 §10.2).
const DEFAULT_EXPIRES: u32 = 3_600;

/// One registration of ours.
#[derive(Debug)]
pub(crate) struct Registration {
    config: Register,
    pub path: Path,
    pub auth: Option<DigestClient>,
    call_id: String,
    from_tag: String,
    cseq: u32,
    /// Seconds to ask for: the configured ones, or what 423 demanded.
    wanted: u32,
    failures: u32,
    state: State,
    /// While the flow is in use.
    keep_alive: Option<KeepAlive>,
    /// What the application was told last.
    told: Option<RegistrationState>,
}

#[derive(Debug)]
enum State {
    New,
    /// A REGISTER is under way.
    Trying(TxnId),
    /// In force; refreshed at this time.
    Registered {
        refresh: Instant,
    },
    /// Tried again at this time.
    Waiting {
        retry: Instant,
    },
    /// `Expires: 0` is under way.
    Removing(TxnId),
}

/// What follows from a response.
#[derive(Debug)]
pub(crate) enum Next {
    /// Tell the application, if it is news.
    Tell(Option<RegistrationState>),
    /// Send REGISTER again at once: the wanted expiry was too short.
    Again,
    /// Removed: tell and forget.
    Forget,
}

impl Registration {
    /// Not sent yet.
    pub fn new(config: Register, mut path: Path, entropy: &mut dyn Entropy) -> Registration {
        path.keep = config.keep_alive.is_some();
        Registration {
            wanted: config.expires,
            auth: config.credentials.clone().map(DigestClient::new),
            config,
            path,
            call_id: entropy.token(24),
            from_tag: entropy.token(12),
            cseq: 0,
            failures: 0,
            state: State::New,
            keep_alive: None,
            told: None,
        }
    }

    fn contact(&self) -> String {
        self.path.contact(&self.config.contact_user)
    }

    /// The next REGISTER: same Call-ID, next number (RFC 3261 §10.2).
    pub fn request(&mut self, expires: u32) -> OutRequest {
        self.cseq += 1;
        let aor = format!("<{}>", self.config.aor);
        let mut contact = self.contact();
        let mut headers = vec![("Expires", expires.to_string())];
        if let Some(instance) = &self.config.instance {
            contact += &format!(";reg-id=1;+sip.instance=\"<{instance}>\"");
            headers.push(("Supported", "outbound, path".to_owned()));
        }
        OutRequest {
            method: Method::Register,
            uri: self.config.registrar.clone(),
            path: self.path.clone(),
            routes: self.config.routes.clone(),
            from: format!("{aor};tag={}", self.from_tag),
            to: aor,
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            contact: Some(contact),
            headers,
            body: None,
            auth: Vec::new(),
        }
    }

    /// The number for the same REGISTER with credentials.
    pub fn next_seq(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }

    /// It failed and waits for its next try.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// How long the registrar may say nothing.
    pub fn patience(&self) -> Duration {
        self.config.patience
    }

    /// Seconds to ask for now.
    pub fn wanted(&self) -> u32 {
        self.wanted
    }

    /// A REGISTER was sent.
    pub fn sent(&mut self, txn: TxnId, removing: bool) -> Option<RegistrationState> {
        let refresh = matches!(self.state, State::Registered { .. });
        self.state = if removing { State::Removing(txn) } else { State::Trying(txn) };
        if refresh || removing { None } else { self.news(RegistrationState::Trying) }
    }

    /// Whether the answer to this REGISTER still matters.
    pub fn waits_for(&self, txn: TxnId) -> bool {
        match self.state {
            State::Trying(current) | State::Removing(current) => current == txn,
            State::New | State::Registered { .. } | State::Waiting { .. } => false,
        }
    }

    /// It was sent again with credentials.
    pub fn resent(&mut self, old: TxnId, new: TxnId) {
        match &mut self.state {
            State::Trying(txn) | State::Removing(txn) if *txn == old => *txn = new,
            State::New
            | State::Trying(_)
            | State::Removing(_)
            | State::Registered { .. }
            | State::Waiting { .. } => {}
        }
    }

    /// A final response to the REGISTER with this number, or why none came.
    pub fn answered(
        &mut self,
        txn: TxnId,
        response: Result<&Message, &str>,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> Next {
        if !self.waits_for(txn) {
            return Next::Tell(None);
        }
        if matches!(self.state, State::Removing(_)) {
            return Next::Forget;
        }
        let response = match response {
            Ok(response) => response,
            Err(why) => return self.failed(None, why.to_owned(), None, entropy, now),
        };
        match response.status() {
            Some(200..=299) => self.granted(response, entropy, now),
            Some(423) if self.wants_longer(response) => Next::Again,
            status => {
                let why = why_refused(response, self.auth.as_ref());
                self.failed(status, why, response.retry_after(), entropy, now)
            }
        }
    }

    fn granted(&mut self, response: &Message, entropy: &mut dyn Entropy, now: Instant) -> Next {
        let expires = self.granted_seconds(response);
        if expires == 0 {
            let why = "the registrar granted no time".to_owned();
            return self.failed(response.status(), why, None, entropy, now);
        }
        self.failures = 0;
        self.keep_open(response, entropy, now);
        // Between 85 and 90 %: before it runs out, and not all trunks at once.
        let millis = u64::from(expires) * (850 + u64::from(entropy.u32() % 51));
        self.state = State::Registered { refresh: now + Duration::from_millis(millis) };
        Next::Tell(self.news(RegistrationState::Registered { expires }))
    }

    /// The flow works: it is kept so.
    fn keep_open(&mut self, response: &Message, entropy: &mut dyn Entropy, now: Instant) {
        let Some(pause) = self.config.keep_alive else { return };
        let agreed = Agreed::of(response, self.config.instance.is_some());
        match &mut self.keep_alive {
            Some(running) => running.agree(agreed, entropy, now),
            None => {
                let datagrams = self.path.target.transport().is_datagram();
                self.keep_alive = Some(KeepAlive::new(datagrams, pause, agreed, entropy, now));
            }
        }
    }

    /// A keep-alive may be due.
    pub fn keep_alive_due(&mut self, entropy: &mut dyn Entropy, now: Instant) -> Act {
        let act = self.keep_alive.as_mut().map(|k| k.on_timeout(entropy, now));
        self.done(act)
    }

    /// What came from the registrar and is no message.
    pub fn keep_alive_answered(&mut self, bytes: &[u8], entropy: &mut dyn Entropy, now: Instant) -> Act {
        let act = self.keep_alive.as_mut().map(|k| k.on_answer(bytes, entropy, now));
        self.done(act)
    }

    fn done(&mut self, act: Option<Act>) -> Act {
        if act == Some(Act::Lost) {
            self.keep_alive = None;
        }
        act.unwrap_or(Act::Nothing)
    }

    /// When a keep-alive is due.
    pub fn keep_alive_timeout(&self) -> Option<Instant> {
        self.keep_alive.as_ref().map(KeepAlive::next_timeout)
    }

    /// Our Contact's `expires`, else that of a single Contact (some registrars rewrite it), else Expires.
    fn granted_seconds(&self, response: &Message) -> u32 {
        let ours = Uri::parse(self.contact().trim_matches(['<', '>'])).ok();
        let contacts: Vec<_> = response.contacts().flatten().filter_map(|c| c.address()).collect();
        let same = |uri: Option<Uri>| matches!((uri, &ours), (Some(a), Some(b)) if a.equivalent(b));
        let found = contacts.iter().find(|c| same(c.uri().ok())).or(match contacts.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        found
            .and_then(|c| c.expires())
            .or_else(|| response.expires())
            .unwrap_or(self.wanted.min(DEFAULT_EXPIRES))
    }

    /// 423: takes over Min-Expires, once for each larger value (RFC 3261 §10.2.8).
    fn wants_longer(&mut self, response: &Message) -> bool {
        let least = response.header("Min-Expires").and_then(|v| v.trim().parse().ok()).unwrap_or(0);
        let longer = least > self.wanted;
        if longer {
            self.wanted = least;
        }
        longer
    }

    fn failed(
        &mut self,
        status: Option<u16>,
        why: String,
        after: Option<u32>,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> Next {
        self.failures += 1;
        self.keep_alive = None;
        let longest = (BASE_PAUSE << self.failures.min(6)).min(MAX_PAUSE);
        // Uniform between 50 and 100 % (RFC 5626 §4.5).
        let pause = longest * (500 + u64::from(entropy.u32() % 501)) / 1000;
        let pause = pause.max(u64::from(after.unwrap_or(0).min(MAX_RETRY_AFTER)));
        self.state = State::Waiting { retry: now + Duration::from_secs(pause) };
        let retry_in = u32::try_from(pause).unwrap_or(MAX_RETRY_AFTER);
        Next::Tell(self.news(RegistrationState::Failed { status, why, retry_in }))
    }

    /// The connection to the registrar is gone, and our binding with it (RFC 5626 §4.2): register again now.
    pub fn flow_lost(&mut self, now: Instant) {
        self.keep_alive = None;
        if let State::Registered { refresh } = &mut self.state {
            *refresh = now;
        }
    }

    fn news(&mut self, state: RegistrationState) -> Option<RegistrationState> {
        let news = self.told.as_ref() != Some(&state);
        self.told = Some(state.clone());
        news.then_some(state)
    }

    /// When REGISTER is to be sent next.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Registered { refresh: at } | State::Waiting { retry: at } => Some(at),
            State::New | State::Trying(_) | State::Removing(_) => None,
        }
    }
}
