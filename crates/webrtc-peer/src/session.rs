//! One browser's signalling connection (a WebSocket): reads messages, insists on a sign-in first, answers what is
//! wrong with words instead of a closed socket, and closes only for the reasons in [`CloseReason`]. Sans-IO.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;
use types::UserName;
use types::limits::{SIGNAL_CALL_ID, SIGNAL_FIELD, SIGNAL_HELLO_DEADLINE, SIGNAL_IDLE, SIGNAL_MESSAGE_BYTES};

use crate::signalling::{FromBrowser, ToBrowser, VERSION};

/// The WebSocket subprotocol that browsers ask for and the gateway confirms.
pub const SUBPROTOCOL: &str = "webtrunk.v1";

/// How often a browser should ping: often enough that one lost ping does not reach [`SIGNAL_IDLE`].
pub const PING_EVERY: Duration = Duration::from_secs(25);

/// The `type` words of [`FromBrowser`], to tell an unknown message from a malformed one.
const KNOWN_TYPES: [&str; 13] = [
    "hello",
    "call",
    "offer",
    "answer",
    "decline",
    "bye",
    "dtmf",
    "hold",
    "resume",
    "record",
    "transfer",
    "candidate",
    "ping",
];

/// Why the gateway closes a signalling WebSocket (RFC 6455 §7.4; 4000-4999 are ours).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The gateway is being stopped.
    Stopping,
    /// A message was larger than [`SIGNAL_MESSAGE_BYTES`].
    TooLarge,
    /// Nobody signed in within [`SIGNAL_HELLO_DEADLINE`].
    NoHello,
    /// Nothing was heard for [`SIGNAL_IDLE`].
    Idle,
    /// The browser does not read what it is sent.
    SlowReader,
    /// Every place for browsers is taken.
    TooManySessions,
}

impl CloseReason {
    /// The close code on the wire.
    pub fn code(self) -> u16 {
        match self {
            CloseReason::Stopping => 1001,
            CloseReason::TooLarge => 1009,
            CloseReason::NoHello => 4001,
            CloseReason::Idle => 4002,
            CloseReason::SlowReader => 4003,
            CloseReason::TooManySessions => 1013,
        }
    }

    /// The words on the wire, below the 123 bytes that a close frame holds.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::Stopping => "the gateway is being stopped",
            CloseReason::TooLarge => "message too large",
            CloseReason::NoHello => "no sign-in in time",
            CloseReason::Idle => "nothing heard for too long",
            CloseReason::SlowReader => "messages are not being read",
            CloseReason::TooManySessions => "too many browsers are connected; try again later",
        }
    }
}

/// A password on its way to the check; its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What to do about one thing that came from the browser.
#[derive(Clone, PartialEq, Debug)]
pub enum Received {
    /// Check this password, then call [`Session::accept`] or [`Session::refuse`].
    SignIn {
        /// Who it claims to be.
        user: UserName,
        /// The proof.
        password: Password,
    },
    /// A well-formed request of a signed-in browser; never `Hello` or `Ping`. Its call may still be unknown.
    Request(FromBrowser),
    /// Send this back, nothing else.
    Reply(ToBrowser),
    /// Send this back, then close.
    ReplyThenClose(ToBrowser, CloseReason),
}

#[derive(Debug)]
enum State {
    /// Connected, nobody signed in.
    Waiting { deadline: Instant },
    /// The shell is checking the password (which may be slowed down on purpose).
    Checking { user: UserName },
    /// Signed in.
    SignedIn { user: UserName, last_heard: Instant },
}

/// One signalling connection.
#[derive(Debug)]
pub struct Session {
    state: State,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(now: Instant) -> Self {
        Session { state: State::Waiting { deadline: now + SIGNAL_HELLO_DEADLINE } }
    }

    /// The user who is signed in.
    pub fn user(&self) -> Option<&UserName> {
        match &self.state {
            State::SignedIn { user, .. } => Some(user),
            State::Waiting { .. } | State::Checking { .. } => None,
        }
    }

    /// A text message came.
    pub fn handle_text(&mut self, text: &str, now: Instant) -> Received {
        self.heard(now);
        if text.len() > SIGNAL_MESSAGE_BYTES {
            let message = format!(
                "the message has {} bytes, at most {SIGNAL_MESSAGE_BYTES} are taken; the connection is closed",
                text.len()
            );
            return Received::ReplyThenClose(error("too-large", message, None), CloseReason::TooLarge);
        }
        let parsed = match parse(text) {
            Ok(message) => message,
            Err(reply) => return Received::Reply(reply),
        };
        match (parsed, &self.state) {
            (FromBrowser::Ping {}, _) => Received::Reply(ToBrowser::Pong {}),
            (FromBrowser::Hello { version, username, password }, State::Waiting { .. }) => {
                self.hello(version, &username, password)
            }
            (FromBrowser::Hello { .. }, State::Checking { .. }) => Received::Reply(error(
                "bad-message",
                "a sign-in is being checked already; wait for its answer".into(),
                None,
            )),
            (FromBrowser::Hello { .. }, State::SignedIn { .. }) => Received::Reply(error(
                "already-signed-in",
                "this connection is signed in already; open another one for another user".into(),
                None,
            )),
            (other, State::Waiting { .. } | State::Checking { .. }) => Received::Reply(error(
                "not-signed-in",
                "sign in first: the first message must be `hello`".into(),
                call_of(&other),
            )),
            (request, State::SignedIn { .. }) => Received::Request(request),
        }
    }

    /// A binary message came; there are none in this protocol.
    pub fn handle_binary(&mut self, now: Instant) -> Received {
        self.heard(now);
        let message = "binary message: this protocol is JSON in text messages".into();
        Received::Reply(error("bad-message", message, None))
    }

    /// Time has passed. Some: close, for this reason.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<CloseReason> {
        if self.poll_timeout()? > now {
            return None;
        }
        match self.state {
            State::Waiting { .. } => Some(CloseReason::NoHello),
            State::SignedIn { .. } => Some(CloseReason::Idle),
            State::Checking { .. } => None,
        }
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { deadline } => Some(deadline),
            State::Checking { .. } => None,
            State::SignedIn { last_heard, .. } => Some(last_heard + SIGNAL_IDLE),
        }
    }

    /// The password was right: the message to send; `record`: this user may record calls. None when no sign-in was being
    /// checked.
    pub fn accept(&mut self, extension: Option<&str>, record: bool, now: Instant) -> Option<ToBrowser> {
        let State::Checking { user } = &self.state else { return None };
        let user = user.clone();
        let welcome = ToBrowser::Welcome {
            version: VERSION,
            user: user.as_str().to_owned(),
            extension: extension.map(str::to_owned),
            record,
        };
        self.state = State::SignedIn { user, last_heard: now };
        Some(welcome)
    }

    /// The password was wrong or the user is unknown (deliberately the same words): the message to send. The browser
    /// may try again on this connection. None when no sign-in was being checked.
    pub fn refuse(&mut self, now: Instant) -> Option<ToBrowser> {
        let State::Checking { .. } = self.state else { return None };
        self.state = State::Waiting { deadline: now + SIGNAL_HELLO_DEADLINE };
        Some(error("wrong-password", "The user name or the password is wrong.".into(), None))
    }

    fn hello(&mut self, version: u32, username: &str, password: String) -> Received {
        if version != VERSION {
            let message = format!(
                "protocol version {version} is not spoken here, version {VERSION} is; reload the page"
            );
            return Received::Reply(error("unsupported-version", message, None));
        }
        let user = UserName::new(username);
        self.state = State::Checking { user: user.clone() };
        Received::SignIn { user, password: Password(password) }
    }

    fn heard(&mut self, now: Instant) {
        if let State::SignedIn { last_heard, .. } = &mut self.state {
            *last_heard = now;
        }
    }
}

/// An `error` message.
fn error(code: &str, message: String, call: Option<String>) -> ToBrowser {
    ToBrowser::Error { code: code.to_owned(), message, call }
}

/// The call that a message is about.
fn call_of(message: &FromBrowser) -> Option<String> {
    match message {
        FromBrowser::Hello { .. } | FromBrowser::Ping {} => None,
        FromBrowser::Call { call, .. }
        | FromBrowser::Offer { call, .. }
        | FromBrowser::Answer { call }
        | FromBrowser::Decline { call }
        | FromBrowser::Bye { call }
        | FromBrowser::Dtmf { call, .. }
        | FromBrowser::Hold { call }
        | FromBrowser::Resume { call }
        | FromBrowser::Record { call, .. }
        | FromBrowser::Transfer { call, .. }
        | FromBrowser::Candidate { call, .. } => Some(call.clone()),
    }
}

/// What can be said about a message that is not a [`FromBrowser`].
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    call: Option<String>,
}

fn parse(text: &str) -> Result<FromBrowser, ToBrowser> {
    let failure = match serde_json::from_str::<FromBrowser>(text) {
        Ok(message) => return check(message),
        Err(failure) => failure,
    };
    // The reason for the refusal is worded from the envelope: serde's own words could quote a password.
    let Ok(Envelope { kind, call }) = serde_json::from_str::<Envelope>(text) else {
        let message = match failure.is_syntax() || failure.is_eof() {
            true => format!("not JSON: see line {}, column {}", failure.line(), failure.column()),
            false => "a message is a JSON object with a text `type`".to_owned(),
        };
        return Err(error("bad-message", message, None));
    };
    let call = call.filter(|id| is_call_id(id));
    if !KNOWN_TYPES.contains(&kind.as_str()) {
        let shown: String = kind.chars().filter(|c| !c.is_control()).take(40).collect();
        let message = format!("unknown message type `{shown}`; known are {}", KNOWN_TYPES.join(", "));
        return Err(error("unknown-type", message, call));
    }
    let message = match kind.as_str() {
        "hello" => "`hello` needs `version` (a number), `username` and `password` (texts)".to_owned(),
        _ => format!("`{kind}`: {failure}"),
    };
    Err(error("bad-message", message, call))
}

/// Checks what the types alone do not say.
fn check(message: FromBrowser) -> Result<FromBrowser, ToBrowser> {
    let call = call_of(&message);
    if let Some(id) = &call
        && !is_call_id(id)
    {
        let message = format!("`call` must be 1 to {SIGNAL_CALL_ID} characters of A-Z a-z 0-9 - _");
        return Err(error("bad-message", message, None));
    }
    let problem = match &message {
        FromBrowser::Hello { username, password, .. } => {
            field("username", username).or_else(|| field("password", password))
        }
        FromBrowser::Call { to, sdp, .. } => field("to", to).or_else(|| offer(sdp)),
        FromBrowser::Offer { sdp, .. } => offer(sdp),
        FromBrowser::Dtmf { digit, .. } => (!matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D'))
            .then(|| "`digit` must be one of 0-9 * # A-D".to_owned()),
        FromBrowser::Transfer { to, with, .. } => match (to, with) {
            (Some(to), None) => field("to", to),
            (None, Some(with)) => (!is_call_id(with)).then(|| "`with` must be the id of a call".to_owned()),
            (Some(_), Some(_)) | (None, None) => Some("`transfer` needs either `to` or `with`".to_owned()),
        },
        FromBrowser::Answer { .. }
        | FromBrowser::Decline { .. }
        | FromBrowser::Bye { .. }
        | FromBrowser::Hold { .. }
        | FromBrowser::Resume { .. }
        | FromBrowser::Record { .. }
        | FromBrowser::Candidate { .. }
        | FromBrowser::Ping {} => None,
    };
    match problem {
        Some(words) => Err(error("bad-message", words, call)),
        None => Ok(message),
    }
}

fn is_call_id(id: &str) -> bool {
    (1..=SIGNAL_CALL_ID).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn field(name: &str, value: &str) -> Option<String> {
    let good =
        !value.trim().is_empty() && value.len() <= SIGNAL_FIELD && !value.chars().any(char::is_control);
    (!good).then(|| format!("`{name}` must be 1 to {SIGNAL_FIELD} bytes without control characters"))
}

fn offer(sdp: &str) -> Option<String> {
    (!sdp.starts_with("v=0")).then(|| "`sdp` must be a session description, beginning with `v=0`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: &str = r#"{"type":"hello","version":1,"username":"alice","password":"s3cret"}"#;

    fn signed_in(now: Instant) -> Session {
        let mut session = Session::new(now);
        assert!(matches!(session.handle_text(HELLO, now), Received::SignIn { .. }));
        session.accept(Some("100"), false, now).expect("was checking");
        session
    }

    fn code(received: &Received) -> &str {
        let (Received::Reply(ToBrowser::Error { code, .. })
        | Received::ReplyThenClose(ToBrowser::Error { code, .. }, _)) = received
        else {
            panic!("not an error: {received:?}")
        };
        code
    }

    #[test]
    fn a_hello_is_checked_and_then_welcomed_with_the_extension() {
        let now = Instant::now();
        let mut session = Session::new(now);
        let Received::SignIn { user, password } = session.handle_text(HELLO, now) else {
            panic!("no sign-in")
        };
        assert_eq!((user.as_str(), password.as_str()), ("alice", "s3cret"));
        assert_eq!(session.user(), None);
        assert_eq!(
            session.accept(Some("100"), true, now),
            Some(ToBrowser::Welcome {
                version: 1,
                user: "alice".into(),
                extension: Some("100".into()),
                record: true
            })
        );
        assert_eq!(session.user().map(UserName::as_str), Some("alice"));
    }

    #[test]
    fn a_wrong_password_leaves_the_connection_open_for_another_try() {
        let now = Instant::now();
        let mut session = Session::new(now);
        session.handle_text(HELLO, now);
        let Some(ToBrowser::Error { code, .. }) = session.refuse(now) else { panic!("no error") };
        assert_eq!(code, "wrong-password");
        assert!(matches!(session.handle_text(HELLO, now), Received::SignIn { .. }));
    }

    #[test]
    fn anything_before_hello_is_answered_not_signed_in_and_names_its_call() {
        let now = Instant::now();
        let mut session = Session::new(now);
        let reply = session.handle_text(r#"{"type":"bye","call":"c1"}"#, now);
        let Received::Reply(ToBrowser::Error { code, call, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!((code.as_str(), call.as_deref()), ("not-signed-in", Some("c1")));
    }

    #[test]
    fn a_second_hello_is_refused_and_changes_nothing() {
        let now = Instant::now();
        let mut session = Session::new(now);
        session.handle_text(HELLO, now);
        assert_eq!(code(&session.handle_text(HELLO, now)), "bad-message");
        session.accept(None, false, now);
        let other = HELLO.replace("alice", "bob");
        assert_eq!(code(&session.handle_text(&other, now)), "already-signed-in");
        assert_eq!(session.user().map(UserName::as_str), Some("alice"));
    }

    #[test]
    fn another_protocol_version_is_refused_in_words() {
        let now = Instant::now();
        let mut session = Session::new(now);
        let reply = session.handle_text(&HELLO.replace(":1,", ":2,"), now);
        assert_eq!(code(&reply), "unsupported-version");
        assert!(matches!(session.handle_text(HELLO, now), Received::SignIn { .. }));
    }

    #[test]
    fn bad_json_and_unknown_types_get_an_error_and_the_session_goes_on() {
        let now = Instant::now();
        let mut session = signed_in(now);
        for (text, expected) in [
            ("", "bad-message"),
            ("{", "bad-message"),
            ("[]", "bad-message"),
            ("null", "bad-message"),
            (r#"{"call":"c1"}"#, "bad-message"),
            (r#"{"type":7}"#, "bad-message"),
            (r#"{"type":"call","call":"c1"}"#, "bad-message"),
            (r#"{"type":"call","call":"c1","to":"","sdp":"v=0"}"#, "bad-message"),
            (r#"{"type":"call","call":"c1","to":"1","sdp":"hello"}"#, "bad-message"),
            (r#"{"type":"bye","call":"a b"}"#, "bad-message"),
            (r#"{"type":"bye","call":"abcdefghijklmnopqrstuvwxyz0123456"}"#, "bad-message"),
            (r#"{"type":"dtmf","call":"c1","digit":"x"}"#, "bad-message"),
            (r#"{"type":"dtmf","call":"c1","digit":"12"}"#, "bad-message"),
            (r#"{"type":"hold"}"#, "bad-message"),
            (r#"{"type":"dance","call":"c1"}"#, "unknown-type"),
        ] {
            assert_eq!(code(&session.handle_text(text, now)), expected, "{text}");
        }
        assert_eq!(code(&session.handle_binary(now)), "bad-message");
        assert_eq!(
            session.handle_text(r#"{"type":"bye","call":"c1"}"#, now),
            Received::Request(FromBrowser::Bye { call: "c1".into() })
        );
    }

    #[test]
    fn an_error_about_a_call_names_that_call() {
        let now = Instant::now();
        let reply = signed_in(now).handle_text(r#"{"type":"call","call":"c1","to":"1"}"#, now);
        let Received::Reply(ToBrowser::Error { call, message, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!(call.as_deref(), Some("c1"));
        assert!(message.contains("sdp"), "{message}");
    }

    #[test]
    fn no_error_quotes_a_password_and_debug_hides_it() {
        let now = Instant::now();
        let mut session = Session::new(now);
        let bad = r#"{"type":"hello","version":"s3cret","username":1,"password":"s3cret"}"#;
        assert!(!format!("{:?}", session.handle_text(bad, now)).contains("s3cret"));
        assert!(!format!("{:?}", session.handle_text(HELLO, now)).contains("s3cret"));
    }

    #[test]
    fn unknown_fields_are_ignored_so_that_newer_pages_still_work() {
        let now = Instant::now();
        let text = r#"{"type":"answer","call":"c1","video":true}"#;
        assert_eq!(
            signed_in(now).handle_text(text, now),
            Received::Request(FromBrowser::Answer { call: "c1".into() })
        );
    }

    #[test]
    fn a_message_over_the_limit_is_named_and_closes_with_1009() {
        let now = Instant::now();
        let mut session = signed_in(now);
        let text = " ".repeat(SIGNAL_MESSAGE_BYTES + 1);
        let received = session.handle_text(&text, now);
        assert_eq!(code(&received), "too-large");
        let Received::ReplyThenClose(_, reason) = received else { panic!("stays open") };
        assert_eq!(reason.code(), 1009);
        let full = format!(r#"{{"type":"ping"{}}}"#, " ".repeat(SIGNAL_MESSAGE_BYTES - 15));
        assert_eq!(full.len(), SIGNAL_MESSAGE_BYTES);
        assert_eq!(session.handle_text(&full, now), Received::Reply(ToBrowser::Pong {}));
    }

    #[test]
    fn a_connection_without_hello_is_closed_at_its_deadline_and_pings_do_not_prolong_it() {
        let now = Instant::now();
        let mut session = Session::new(now);
        let later = now + SIGNAL_HELLO_DEADLINE;
        session.handle_text(r#"{"type":"ping"}"#, later - Duration::from_secs(1));
        assert_eq!(session.handle_timeout(later - Duration::from_millis(1)), None);
        assert_eq!(session.poll_timeout(), Some(later));
        assert_eq!(session.handle_timeout(later), Some(CloseReason::NoHello));
    }

    #[test]
    fn a_slow_password_check_is_not_cut_short_by_the_deadline() {
        let now = Instant::now();
        let mut session = Session::new(now);
        session.handle_text(HELLO, now);
        assert_eq!(session.poll_timeout(), None);
        assert_eq!(session.handle_timeout(now + SIGNAL_HELLO_DEADLINE * 2), None);
        assert!(session.accept(None, false, now).is_some());
        assert!(session.accept(None, false, now).is_none() && session.refuse(now).is_none());
    }

    #[test]
    fn a_silent_browser_is_closed_and_one_that_pings_is_not() {
        let now = Instant::now();
        let mut session = signed_in(now);
        let mut at = now;
        for _ in 0..20 {
            at += PING_EVERY;
            assert_eq!(session.handle_timeout(at), None);
            assert_eq!(session.handle_text(r#"{"type":"ping"}"#, at), Received::Reply(ToBrowser::Pong {}));
        }
        assert_eq!(session.handle_timeout(at + SIGNAL_IDLE), Some(CloseReason::Idle));
    }

    #[test]
    fn every_type_word_is_understood_and_every_close_text_fits_a_close_frame() {
        for kind in KNOWN_TYPES {
            let text = format!(
                r#"{{"type":"{kind}","call":"c","to":"1","sdp":"v=0","digit":"1","version":1,"username":"u","password":"p","on":true}}"#
            );
            assert!(parse(&text).is_ok(), "{kind}");
        }
        use CloseReason::{Idle, NoHello, SlowReader, Stopping, TooLarge, TooManySessions};
        let doc = include_str!("../../../docs/SIGNALLING.md");
        for reason in [Stopping, TooLarge, NoHello, Idle, SlowReader, TooManySessions] {
            assert!(reason.text().len() <= 123 && (1000..5000).contains(&reason.code()));
            assert!(
                doc.contains(&format!("\n| {} | ", reason.code())),
                "docs/SIGNALLING.md lacks {reason:?}"
            );
        }
    }

    /// What a JSON block of `docs/SIGNALLING.md` is: read, and written again.
    fn example(text: &str) -> serde_json::Value {
        use serde_json::{from_str, to_value};
        let from = parse(text).ok().map(|m| to_value(m).expect("json"));
        let to = from_str::<ToBrowser>(text).ok().map(|m| to_value(m).expect("json"));
        from.or(to).unwrap_or_else(|| panic!("not a message of this protocol: {text}"))
    }

    #[test]
    fn the_description_has_one_true_example_of_every_message_and_every_reason() {
        let doc = include_str!("../../../docs/SIGNALLING.md");
        let mut kinds: Vec<String> = Vec::new();
        for block in doc.split("```json\n").skip(1) {
            let text = block.split("```").next().expect("closed");
            let given: serde_json::Value = serde_json::from_str(text).expect("json");
            assert_eq!(example(text), given, "the example has fields that mean nothing, or lacks some");
            kinds.push(given["type"].as_str().expect("type").to_owned());
        }
        kinds.sort();
        let mut expected: Vec<&str> = KNOWN_TYPES.to_vec();
        expected.extend(["welcome", "sdp", "state", "held", "incoming", "dtmf", "ended", "error", "pong"]);
        expected.extend(["transfer", "party", "path", "quality", "recording", "turn"]);
        expected.sort_unstable();
        assert_eq!(kinds, expected);
        for reason in types::EndReason::ALL {
            let row = format!("| `{}` | {} |", reason.word(), reason.sentence());
            assert!(doc.contains(&row), "docs/SIGNALLING.md lacks {row}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_becomes_a_request_before_sign_in(text in ".{0,200}") {
            let now = Instant::now();
            let mut session = Session::new(now);
            let request = matches!(session.handle_text(&text, now), Received::Request(_));
            prop_assert!(!request);
        }
    }
}
