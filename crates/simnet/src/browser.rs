//! A person in front of the phone page, by lot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::SessionId;
use webrtc_peer::signalling::{CallState, FromBrowser, ToBrowser, VERSION};

use crate::rng::Rng;

#[derive(Debug)]
struct Known {
    announced: bool,
    up: bool,
    /// It said `hold` at least once.
    pressed: bool,
    /// It said `record` at least once.
    records: bool,
}

#[derive(Debug)]
pub(crate) struct Browser {
    pub session: SessionId,
    pub user: &'static str,
    /// The connection is there.
    pub connected: bool,
    /// What it says later.
    pub plans: Vec<(Duration, FromBrowser)>,
    signed_in: bool,
    rng: Rng,
    calls: BTreeMap<String, Known>,
    over: BTreeSet<String>,
    next_call: u32,
}

const OFFER: &str = "opus,g722,pcmu,pcma";

impl Browser {
    pub fn new(session: SessionId, user: &'static str, rng: Rng) -> Self {
        Browser {
            session,
            user,
            connected: false,
            plans: Vec::new(),
            signed_in: false,
            rng,
            calls: BTreeMap::new(),
            over: BTreeSet::new(),
            next_call: 0,
        }
    }

    /// A new connection, everything of the old one forgotten.
    pub fn connect(&mut self, session: SessionId) {
        self.disconnect();
        self.session = session;
        self.connected = true;
        let wrong = self.rng.chance(150);
        let password = if wrong { "guess".to_owned() } else { format!("{}-secret", self.user) };
        self.hello(password, (5, 50));
    }

    fn hello(&mut self, password: String, within: (u64, u64)) {
        let hello = FromBrowser::Hello { version: VERSION, username: self.user.into(), password };
        self.plan(within, hello);
    }

    pub fn disconnect(&mut self) {
        self.connected = false;
        self.signed_in = false;
        self.calls.clear();
        self.over.clear();
        self.plans.clear();
    }

    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    fn plan(&mut self, (low, high): (u64, u64), message: FromBrowser) {
        let at = self.rng.millis(low, high);
        self.plans.push((at, message));
    }

    /// Calls somebody; gives what to say now.
    pub fn call(&mut self, to: &str) -> Option<FromBrowser> {
        if !self.signed_in {
            return None;
        }
        // Now and then an id that only the gateway may give.
        if self.rng.chance(30) {
            return Some(FromBrowser::Call { call: "in-1-1".into(), to: to.into(), sdp: OFFER.into() });
        }
        let call = format!("c{}", self.next_call);
        self.next_call += 1;
        let sdp = if self.rng.chance(30) { "garbage" } else { OFFER };
        let message = FromBrowser::Call { call: call.clone(), to: to.into(), sdp: sdp.into() };
        self.calls
            .insert(call.clone(), Known { announced: false, up: false, pressed: false, records: false });
        let patience = if self.rng.chance(250) { (5, 3_000) } else { (10_000, 40_000) };
        self.plan(patience, FromBrowser::Bye { call });
        Some(message)
    }

    /// Whether a planned message still makes sense to a page: it knows its calls. Some crossing is left in.
    pub fn may_say(&mut self, message: &FromBrowser) -> bool {
        match message {
            FromBrowser::Hello { .. } => self.connected && !self.signed_in,
            FromBrowser::Ping {} => self.connected,
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
            | FromBrowser::Candidate { call, .. } => self.calls.contains_key(call) || self.rng.chance(100),
        }
    }

    /// What the gateway says. An error is something that it must not say.
    pub fn hears(&mut self, message: ToBrowser) -> Result<(), String> {
        match message {
            ToBrowser::Welcome { .. } => self.signed_in = true,
            ToBrowser::Error { code, call, .. } => self.on_error(&code, call),
            ToBrowser::Incoming { call, .. } => return self.on_incoming(call),
            ToBrowser::State { call, state } => {
                self.need(&call, "a state")?;
                if state == CallState::InCall {
                    self.on_answered(call);
                }
            }
            ToBrowser::Sdp { call, .. } => self.need(&call, "a description")?,
            ToBrowser::Dtmf { call, .. } => self.need(&call, "a digit")?,
            ToBrowser::Transfer { call, .. } => self.need(&call, "a transfer")?,
            ToBrowser::Party { call, .. } => self.need(&call, "a party")?,
            ToBrowser::Quality { call, .. } => self.need(&call, "its quality")?,
            ToBrowser::Held { call, local, .. } => {
                self.need(&call, "hold")?;
                let known = self.calls.get(&call);
                if known.is_none_or(|k| !k.up || (local && !k.pressed)) {
                    return Err(format!("{}: {call} is on hold, which nobody wanted", self.session));
                }
            }
            ToBrowser::Recording { call, mine, .. } => {
                self.need(&call, "a recording")?;
                if self.calls.get(&call).is_none_or(|k| !k.up || (mine && !k.records)) {
                    return Err(format!("{}: {call} is recorded, which it did not ask for", self.session));
                }
            }
            ToBrowser::Ended { call, .. } => {
                if self.calls.remove(&call).is_none() {
                    return Err(format!("{}: {call} ended, which is not there", self.session));
                }
                self.over.insert(call);
            }
            ToBrowser::Path { call, .. } => self.need(&call, "a path")?,
            ToBrowser::Turn { .. } | ToBrowser::Pong {} => {}
        }
        Ok(())
    }

    fn need(&self, call: &str, what: &str) -> Result<(), String> {
        if self.calls.contains_key(call) {
            return Ok(());
        }
        let was = if self.over.contains(call) { "which is over" } else { "which never was" };
        Err(format!("{}: {what} for {call}, {was}", self.session))
    }

    fn on_error(&mut self, code: &str, call: Option<String>) {
        if code == "wrong-password" {
            let password = format!("{}-secret", self.user);
            self.hello(password, (10, 400));
        }
        // A call that was refused before it was one.
        if let (Some(call), "too-many-calls" | "busy-gateway" | "gateway-stopping") = (call, code) {
            self.calls.remove(&call);
        }
    }

    fn on_incoming(&mut self, call: String) -> Result<(), String> {
        if self.calls.contains_key(&call) || self.over.contains(&call) {
            return Err(format!("{}: {call} is announced twice", self.session));
        }
        self.calls.insert(call.clone(), Known { announced: true, up: false, pressed: false, records: false });
        let lot = self.rng.below(100);
        if lot < 92 {
            let sdp = if self.rng.chance(20) { "garbage" } else { OFFER };
            self.plan((5, 80), FromBrowser::Offer { call: call.clone(), sdp: sdp.into() });
            self.plan((5, 80), FromBrowser::Candidate { call: call.clone(), candidate: None });
        }
        match lot {
            0..55 => self.plan((100, 6_000), FromBrowser::Answer { call }),
            55..80 => self.plan((100, 5_000), FromBrowser::Decline { call }),
            80..85 => self.plan((100, 5_000), FromBrowser::Bye { call }),
            _ => {}
        }
        Ok(())
    }

    fn on_answered(&mut self, call: String) {
        let holds = self.rng.chance(300);
        if let Some(known) = self.calls.get_mut(&call) {
            known.up = true;
            known.pressed |= holds;
        }
        self.plan_recording(&call);
        if holds {
            self.plan((100, 3_000), FromBrowser::Hold { call: call.clone() });
            self.plan((100, 8_000), FromBrowser::Resume { call: call.clone() });
        }
        self.plan((800, 25_000), FromBrowser::Bye { call: call.clone() });
        if self.rng.chance(300) {
            let digit = *self.rng.pick(&['1', '#', 'a', '!']);
            self.plan((200, 5_000), FromBrowser::Dtmf { call: call.clone(), digit, ms: Some(120) });
        }
        self.plan_transfer(&call);
        if self.rng.chance(200) {
            let sdp = if self.rng.chance(200) { "garbage" } else { OFFER };
            self.plan((200, 5_000), FromBrowser::Offer { call, sdp: sdp.into() });
        }
    }

    /// Begun, ended and begun again, or not in that order.
    fn plan_recording(&mut self, call: &str) {
        if !self.rng.chance(200) {
            return;
        }
        if let Some(known) = self.calls.get_mut(call) {
            known.records = true;
        }
        for on in [true, false, true] {
            self.plan((100, 6_000), FromBrowser::Record { call: call.to_owned(), on });
        }
    }

    /// To a number; or to another call of this page, if it has one, answered or not.
    fn plan_transfer(&mut self, call: &str) {
        let other = self.calls.keys().find(|c| *c != call).cloned();
        let to =
            *self.rng.pick(&["100", "101", "102", "+12025550100", "+12025550199", "+13035550100", "nobody"]);
        let call = call.to_owned();
        if let Some(with) = other.filter(|_| self.rng.chance(500)) {
            self.plan((100, 6_000), FromBrowser::Transfer { call, to: None, with: Some(with) });
        } else if self.rng.chance(200) {
            self.plan((100, 6_000), FromBrowser::Transfer { call, to: Some(to.into()), with: None });
        }
    }

    /// What a person says who leaves: everything ends.
    pub fn leave(&self) -> Vec<FromBrowser> {
        let end = |(call, known): (&String, &Known)| match known.announced && !known.up {
            true => FromBrowser::Decline { call: call.clone() },
            false => FromBrowser::Bye { call: call.clone() },
        };
        self.calls.iter().map(end).collect()
    }
}
