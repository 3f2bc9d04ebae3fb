//! Who is this? Digest for SIP devices, a password for browsers; wrong ones are slowed down alike.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use sip_ua::digest::{Asks, Check, Hash, Secret, ha1};
use sip_ua::message::Message;
use sip_ua::{Command as Sip, Flow, Headers, RequestToken, SipLeg};
use types::{SessionId, UserName, limits};
use webrtc_peer::signalling::{ToBrowser, VERSION};

use crate::ban::{GUESSES, GUESSING};
use crate::guard::Gate;
use crate::later::Item;
use crate::output::{Level, Output};
use crate::shared::Clock;
use crate::switch::Switch;

/// A request that needs a known user: what to answer it with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Invite(SipLeg),
    Register(RequestToken),
}

impl Asker {
    pub fn refuse(self, status: u16, reason: &str, headers: Headers) -> Sip {
        let reason = reason.to_owned();
        match self {
            Asker::Invite(leg) => Sip::Reject { leg, status, reason, headers },
            Asker::Register(token) => Sip::Respond { token, status, reason, headers },
        }
    }

    fn waiting(self, request: Arc<Message>, flow: Flow, user: String) -> Item {
        match self {
            Asker::Invite(leg) => Item::Invite { leg, request, flow, user },
            Asker::Register(token) => Item::Register { token, request, flow, user },
        }
    }
}

impl Switch {
    /// The user who sent this, or none: then it has been answered or put off. `resumed`: it has had its wait.
    pub(crate) fn authenticate(
        &mut self,
        asker: Asker,
        request: &Arc<Message>,
        flow: Flow,
        resumed: bool,
        t: Clock,
    ) -> Option<UserName> {
        let source = flow.remote.ip();
        let claimed = claimed_user(request);
        if let (Some(user), false) = (&claimed, resumed) {
            match self.guard.check(source, user, t.now) {
                Gate::Open => {}
                Gate::Later(at) => {
                    let item = asker.waiting(request.clone(), flow, user.clone());
                    if self.later.put(at, item).is_err() {
                        self.guard.waited(source, user);
                        self.challenge(asker, false, None, t);
                    }
                    return None;
                }
                Gate::Refuse(at) => {
                    self.challenge(asker, false, Some(at), t);
                    return None;
                }
            }
        }
        let config = &self.shared.config;
        let secret = |name: &str| config.user(name).map(|u| u.secret.clone());
        match self.challenger.check(Asks::Www, request, secret, t.wall) {
            Check::Ok { user } => {
                self.guard.succeeded(source, &user);
                self.shared.config.user(&user).map(|u| u.name.clone())
            }
            Check::Missing => {
                self.challenge(asker, false, None, t);
                None
            }
            Check::Stale => {
                self.challenge(asker, true, None, t);
                None
            }
            Check::Wrong { user } => {
                let at = self.guard.failed(source, &user, t.now);
                self.access.wrong_password(&flow, t.now);
                self.count_guess(source, t.now);
                self.shared.log(
                    Level::Debug,
                    None,
                    format!("wrong digest password for {user} from {source}"),
                );
                self.challenge(asker, false, Some(at), t);
                None
            }
            Check::Malformed(why) => {
                self.shared.sip(asker.refuse(400, why, Vec::new()));
                None
            }
        }
    }

    /// A 401, now or at a time that slows guessing down. The same whether the user exists or not.
    fn challenge(&mut self, asker: Asker, stale: bool, at: Option<Instant>, t: Clock) {
        let fields = self.challenger.challenge(Asks::Www, stale, t.wall, &mut *self.entropy);
        let command = Output::Sip(asker.refuse(Asks::Www.status(), "", fields));
        self.say(command, at);
    }

    /// Says something now, or later if a time is given; now also where nothing more can be put off. True: later.
    fn say(&mut self, output: Output, at: Option<Instant>) -> bool {
        let Some(at) = at else {
            self.shared.out.push_back(output);
            return false;
        };
        match self.later.put(at, Item::Say(Box::new(output))) {
            Ok(()) => true,
            Err(item) => {
                if let Item::Say(output) = *item {
                    self.shared.out.push_back(*output);
                }
                false
            }
        }
    }

    /// A browser signs in.
    pub(crate) fn on_hello(
        &mut self,
        session: SessionId,
        version: u32,
        user: String,
        password: String,
        t: Clock,
    ) {
        let Some(known) = self.shared.sessions.get_mut(session) else { return };
        let source = known.source;
        let problem = if version != VERSION {
            Some(("unsupported-version", format!("This gateway speaks version {VERSION}; reload the page.")))
        } else if known.user.is_some() {
            Some(("already-signed-in", "This connection is signed in already; open another one.".into()))
        } else if known.checking {
            Some(("bad-message", "A sign-in is being checked already; wait for its answer.".into()))
        } else {
            None
        };
        if let Some((code, text)) = problem {
            return self.shared.error(session, code, text, None);
        }
        known.checking = true;
        if self.bans.bans(source, t.now) {
            return self.refuse_hello(session, Some(t.now + limits::FAILURE_DELAY));
        }
        match self.guard.check(source, &user, t.now) {
            Gate::Open => self.check_password(session, source, &user, &password, t),
            Gate::Later(at) => {
                let item = Item::Hello { session, source, user: user.clone(), password };
                if self.later.put(at, item).is_err() {
                    self.guard.waited(source, &user);
                    self.refuse_hello(session, None);
                }
            }
            Gate::Refuse(at) => self.refuse_hello(session, Some(at)),
        }
    }

    fn check_password(&mut self, session: SessionId, source: IpAddr, name: &str, password: &str, t: Clock) {
        let user = self.shared.config.user(name);
        let realm = &self.shared.config.domain;
        if password_is_right(user.map(|u| &u.secret), name, realm, password)
            && let Some(user) = user
        {
            let (name, extension) = (user.name.clone(), user.extension.clone());
            self.guard.succeeded(source, name.as_str());
            if let Some(known) = self.shared.sessions.get_mut(session) {
                known.checking = false;
                self.shared.sessions.sign_in(session, name.clone());
                let (user, record) = (name.as_str().to_owned(), self.shared.config.record_by_page);
                let welcome = ToBrowser::Welcome { version: VERSION, user, extension, record };
                self.shared.browser(session, welcome);
                self.tell_relays(session, t);
            }
            return;
        }
        let at = self.guard.failed(source, name, t.now);
        self.count_guess(source, t.now);
        self.shared.log(Level::Debug, None, format!("wrong browser password for {name} from {source}"));
        self.refuse_hello(session, Some(at));
    }

    /// A wrong password came from there. Whoever shares the address of a registered device is slowed down, not banned: the
    /// device would be shut out with it.
    fn count_guess(&mut self, source: IpAddr, now: Instant) {
        let registrar = &self.shared.registrar;
        let shared = || registrar.iter().any(|(_, b)| !b.suspended && b.flow.remote.ip() == source);
        if self.bans.guessed(source, shared, now) {
            let minutes = GUESSING.as_secs() / 60;
            let text =
                format!("an address guessed {GUESSES} passwords and hears nothing for {minutes} minutes");
            self.shared.log(Level::Warn, None, text);
            self.shared.log(Level::Debug, None, format!("that was {source}"));
        }
    }

    fn refuse_hello(&mut self, session: SessionId, at: Option<Instant>) {
        let error = ToBrowser::Error {
            code: "wrong-password".into(),
            message: "The user name or the password is wrong.".into(),
            call: None,
        };
        let later = self.say(Output::Browser(session, error), at);
        if !later && let Some(known) = self.shared.sessions.get_mut(session) {
            known.checking = false;
        }
    }

    /// The time of something put off has come.
    pub(crate) fn resume(&mut self, item: Item, t: Clock) {
        match item {
            Item::Invite { leg, request, flow, user } => {
                self.guard.waited(flow.remote.ip(), &user);
                self.on_invite(leg, request, flow, true, t);
            }
            Item::Register { token, request, flow, user } => {
                self.guard.waited(flow.remote.ip(), &user);
                self.on_register(token, request, flow, true, t);
            }
            Item::Hello { session, source, user, password } => {
                self.guard.waited(source, &user);
                self.check_password(session, source, &user, &password, t);
            }
            Item::Say(output) => {
                if let Output::Browser(session, _) = *output
                    && let Some(known) = self.shared.sessions.get_mut(session)
                {
                    known.checking = false;
                }
                self.shared.out.push_back(*output);
            }
        }
    }
}

/// Whom a request claims to come from: what is slowed down. None without credentials.
fn claimed_user(request: &Message) -> Option<String> {
    let field = request.headers("Authorization").next()?;
    let at = field.to_ascii_lowercase().find("username=")? + "username=".len();
    let rest = &field[at..];
    let name = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split([',', ' ']).next(),
    };
    name.map(str::to_owned)
}

/// Compares hashes, so that time says nothing about the password; unknown users take as long as known ones.
fn password_is_right(secret: Option<&Secret>, user: &str, realm: &str, given: &str) -> bool {
    let hashed = |hash| ha1(hash, user, realm, given);
    match secret {
        Some(Secret::Password(password)) => hashed(Hash::Sha256) == ha1(Hash::Sha256, user, realm, password),
        Some(Secret::Hashed { sha256: Some(stored), .. }) => hashed(Hash::Sha256) == *stored,
        Some(Secret::Hashed { md5: Some(stored), sha256: None }) => hashed(Hash::Md5) == *stored,
        Some(Secret::Hashed { md5: None, sha256: None }) => false,
        None => hashed(Hash::Sha256).is_empty(),
    }
}
