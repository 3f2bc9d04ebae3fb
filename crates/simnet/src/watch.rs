//! The invariants: what must hold after every step, and what must be gone at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use b2bua::{CallStage, Cdr, Held, Switch};
use media_bridge::control::Srtp;
use types::{CallId, limits};

use crate::plane::Plane;
use crate::words::{Keys, Words};

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The step after which it was found.
    pub step: u64,
    /// Virtual time since the start.
    pub at: Duration,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {} at {:.3} s: {}", self.step, self.at.as_secs_f64(), self.what)
    }
}

/// Time beyond a call's own limits before we call it stuck.
const SLACK: Duration = Duration::from_secs(2);

/// Remembers what was seen, to notice what must not be.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When each call came into its stage.
    stages: BTreeMap<CallId, (CallStage, Instant)>,
    records: BTreeSet<CallId>,
    highest: u64,
    /// Branches of INVITEs that the gateway sent, by Call-ID and number.
    invites: BTreeMap<(String, u32), String>,
    /// Branches of requests that reached the gateway.
    received: BTreeSet<String>,
    /// The number of the BYE that the gateway sent, by Call-ID and the peer's tag.
    byes: BTreeMap<(String, String), u32>,
}

impl Watch {
    /// Calls ever seen.
    pub fn calls(&self) -> usize {
        self.highest as usize
    }

    /// A call's record: its only one, and its media is gone by then.
    pub fn record(&mut self, cdr: &Cdr, plane: &Plane) -> Result<(), String> {
        self.highest = self.highest.max(cdr.call.0);
        if !self.records.insert(cdr.call) {
            return Err(format!("{} has a second record", cdr.call));
        }
        if cdr.answered.is_none() && cdr.duration_ms != 0 {
            return Err(format!("{} was never answered and lasted {} ms", cdr.call, cdr.duration_ms));
        }
        match plane.leases_of(cdr.call) {
            0 => Ok(()),
            n => Err(format!("{} is over and still has {n} media leases", cdr.call)),
        }
    }

    /// A sentence of the log. Giving up is for peers that have vanished: never for media, and never where every peer
    /// answers (a 200 that is never acknowledged and its BYE take 64 s together, RFC 3261 §13.3.1.4, §15).
    pub fn log(&self, text: &str, someone_vanished: bool) -> Result<(), String> {
        let Some(rest) = text.strip_prefix("gave up waiting for ") else { return Ok(()) };
        let legs = !rest.starts_with("0 legs");
        if legs && !someone_vanished {
            return Err(format!("every peer answers, and yet: {text}"));
        }
        if rest.contains("media") { Err(format!("the media plane answers always: {text}")) } else { Ok(()) }
    }

    /// After every step.
    pub fn check(&mut self, switch: &Switch, now: Instant) -> Result<(), String> {
        let mut alive = 0;
        for (call, stage) in switch.calls() {
            alive += 1;
            self.highest = self.highest.max(call.0);
            if self.records.contains(&call) {
                return Err(format!("{call} has its record and is not over"));
            }
            let known = self.stages.entry(call).or_insert((stage, now));
            if known.0 != stage {
                *known = (stage, now);
            }
            let limit = match stage {
                CallStage::Setup => limits::RING_DURATION + b2bua::MEDIA_REPLY * 3,
                CallStage::Talking => limits::CALL_DURATION,
                CallStage::Closing => limits::CLOSING_DURATION,
            };
            if now.saturating_duration_since(known.1) > limit + SLACK {
                return Err(format!("{call} is stuck in {stage:?} for more than {limit:?}"));
            }
        }
        // Numbers are given without gaps: whoever is not alive has a record.
        let expected = self.highest as usize - alive;
        if self.records.len() != expected {
            return Err(format!("{} records for {expected} calls that are over", self.records.len()));
        }
        if alive == 0 && switch.held() != Held::default() {
            return Err(format!("no calls, but they hold {:?}", switch.held()));
        }
        Ok(())
    }

    /// A message to the gateway.
    pub fn arrives(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let glance = Glance::at(&text);
        if !glance.start.starts_with("SIP/2.0") {
            self.received.insert(glance.branch.to_owned());
        }
    }

    /// A message from the gateway, as it goes onto the wire; what its trunk wants of encryption, if it goes to one.
    pub fn leaves(&mut self, bytes: &[u8], srtp: Option<Srtp>) -> Result<(), String> {
        let text = String::from_utf8_lossy(bytes);
        check_keys(&text, srtp)?;
        let glance = Glance::at(&text);
        let key = (glance.call_id.to_owned(), glance.number);
        match glance.start.split(' ').next().unwrap_or_default() {
            "SIP/2.0" if !self.received.contains(glance.branch) => {
                Err(format!("{} with the branch of no request: {}", glance.start, glance.branch))
            }
            // Not demanded by RFC 3261 §21.5.4, but callers that come again at once are what fills us.
            "SIP/2.0" if glance.start.starts_with("SIP/2.0 503") && !text.contains("\r\nRetry-After: ") => {
                Err(format!("{} without Retry-After", glance.start))
            }
            "INVITE" => {
                self.invites.insert(key, glance.branch.to_owned());
                Ok(())
            }
            // RFC 3261 §9.1: the CANCEL has the branch of the INVITE that it cancels.
            "CANCEL" => match self.invites.get(&key) {
                Some(invite) if invite == glance.branch => Ok(()),
                other => Err(format!("a CANCEL with branch {}, its INVITE had {other:?}", glance.branch)),
            },
            "BYE" => {
                let dialog = (key.0, glance.to_tag.to_owned());
                match *self.byes.entry(dialog).or_insert(key.1) {
                    first if first == key.1 => Ok(()),
                    first => Err(format!("a second BYE in one dialog: {} after {first}", key.1)),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Descriptions for a trunk have keys where it demands them and none where it has no use for them (RFC 4568, RFC 8643).
fn check_keys(text: &str, srtp: Option<Srtp>) -> Result<(), String> {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(()) };
    if !head.contains("Content-Type: application/sdp") {
        return Ok(());
    }
    let start = head.lines().next().unwrap_or_default();
    match (srtp, Words::of(body.as_bytes()).keys) {
        (Some(Srtp::Required), Keys::None) => Err(format!("no keys for a trunk that demands them: {start}")),
        (Some(Srtp::Off), Keys::Beside | Keys::Only) => Err(format!("keys for a trunk without: {start}")),
        (_, _) => Ok(()),
    }
}

/// What a look at a message tells. Our endpoints write names in full, so this needs no parser.
pub(crate) struct Glance<'a> {
    pub start: &'a str,
    pub branch: &'a str,
    call_id: &'a str,
    pub to_tag: &'a str,
    number: u32,
}

impl<'a> Glance<'a> {
    pub fn at(text: &'a str) -> Glance<'a> {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default();
        let mut glance = Glance { start, branch: "", call_id: "", to_tag: "", number: 0 };
        let param = |value: &'a str, name: &str| {
            let rest = value.find(name).map_or("", |at| &value[at + name.len()..]);
            rest.split([';', ',', ' ']).next().unwrap_or_default()
        };
        for line in lines.take_while(|l| !l.is_empty()) {
            match line.split_once(": ") {
                Some(("Via", value)) if glance.branch.is_empty() => glance.branch = param(value, "branch="),
                Some(("Call-ID", value)) => glance.call_id = value,
                Some(("To", value)) => glance.to_tag = param(value, ";tag="),
                Some(("CSeq", value)) => {
                    glance.number = value.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                }
                Some(_) | None => {}
            }
        }
        glance
    }
}
