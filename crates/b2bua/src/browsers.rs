//! Browsers' messages on their way to calls.

use std::time::Instant;

use types::{SessionId, Wall, limits};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

use crate::output::{CloseWhy, Output, SignalIn};
use crate::shared::Clock;
use crate::switch::{Service, Switch};

impl Switch {
    /// Something from a browser's connection.
    pub fn handle_signal(&mut self, session: SessionId, input: SignalIn, now: Instant, wall: Wall) {
        let t = Clock { now, wall };
        match input {
            SignalIn::Opened { source } => {
                if self.shared.sessions.len() >= limits::SESSIONS {
                    let close = Output::CloseBrowser(session, CloseWhy::TooManySessions);
                    self.shared.out.push_back(close);
                } else if self.service == Service::Stopping {
                    self.shared.out.push_back(Output::CloseBrowser(session, CloseWhy::Stopping));
                } else {
                    self.shared.sessions.open(session, source);
                }
            }
            SignalIn::Message(message) => {
                self.on_message(session, message, t);
                self.run_effects(t);
            }
            SignalIn::Closed => {
                for (call, leg) in self.shared.sessions.close(session) {
                    self.with_call(call, |call, sh| call.on_session_lost(leg, sh, t));
                }
                self.run_effects(t);
            }
        }
    }

    /// Tells a browser that is signed in which relays it may use.
    pub(crate) fn tell_relays(&mut self, session: SessionId, t: Clock) {
        let Some(turn) = &self.shared.config.turn else { return };
        let Some(user) = self.shared.sessions.get(session).and_then(|s| s.user.as_ref()) else { return };
        let told = turn.credentials(user.as_str(), t.wall);
        self.relays_at.get_or_insert(t.now + turn.ttl() / 2);
        self.shared.browser(session, told);
    }

    /// Tells all of them anew, so that each has credentials for at least half of their time.
    pub(crate) fn renew_relays(&mut self, t: Clock) {
        if self.relays_at.is_none_or(|at| at > t.now) {
            return;
        }
        self.relays_at = None;
        for session in self.shared.sessions.ids().collect::<Vec<_>>() {
            self.tell_relays(session, t);
        }
    }

    fn on_message(&mut self, session: SessionId, message: FromBrowser, t: Clock) {
        let Some(known) = self.shared.sessions.get(session) else { return };
        let name = match message {
            FromBrowser::Ping {} => return self.shared.browser(session, ToBrowser::Pong {}),
            FromBrowser::Hello { version, username, password } => {
                return self.on_hello(session, version, username, password, t);
            }
            FromBrowser::Call { ref call, .. }
            | FromBrowser::Offer { ref call, .. }
            | FromBrowser::Answer { ref call }
            | FromBrowser::Decline { ref call }
            | FromBrowser::Bye { ref call }
            | FromBrowser::Dtmf { ref call, .. }
            | FromBrowser::Hold { ref call }
            | FromBrowser::Resume { ref call }
            | FromBrowser::Record { ref call, .. }
            | FromBrowser::Transfer { ref call, .. }
            | FromBrowser::Candidate { ref call, .. } => call.clone(),
        };
        if known.user.is_none() {
            let text = "Sign in first: the first message is `hello`.";
            return self.shared.error(session, "not-signed-in", text, Some(&name));
        }
        if let FromBrowser::Call { call, to, sdp } = message {
            return self.on_browser_call(session, call, to, sdp, t);
        }
        if let FromBrowser::Transfer { call, to, with } = message {
            return self.on_browser_transfer(session, &call, (to, with), t);
        }
        match known.calls.get(&name).copied() {
            Some((call, leg)) => self.with_call(call, |call, sh| call.handle_browser(leg, message, sh, t)),
            // An end may cross on the way: no reason to alarm anyone.
            None => match message {
                FromBrowser::Bye { .. } | FromBrowser::Decline { .. } | FromBrowser::Candidate { .. } => {}
                FromBrowser::Hello { .. }
                | FromBrowser::Call { .. }
                | FromBrowser::Offer { .. }
                | FromBrowser::Answer { .. }
                | FromBrowser::Dtmf { .. }
                | FromBrowser::Hold { .. }
                | FromBrowser::Resume { .. }
                | FromBrowser::Record { .. }
                | FromBrowser::Transfer { .. }
                | FromBrowser::Ping {} => {
                    self.shared.error(
                        session,
                        "unknown-call",
                        "There is no such call any more.",
                        Some(&name),
                    );
                }
            },
        }
    }
}
