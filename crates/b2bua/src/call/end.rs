//! How a call ends: `end` from wherever it is, `Closing` until everyone has confirmed, one record.

use media_bridge::control::{Command as Media, Refusal};
use sip_ua::{Command as Sip, Headers};
use types::{EndReason, EndedBy, LegId, limits};
use webrtc_peer::signalling::ToBrowser;

use super::{Call, Device, Leg, MediaPlane, Party, Phase, State};
use crate::output::{Cdr, Level, Output};
use crate::shared::{Clock, Shared};
use crate::transfer::Effect;

/// Why a leg or call failed or ended, with what the peer said about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub reason: EndReason,
    /// The peer's own status.
    pub status: Option<u16>,
    /// The peer's own cause.
    pub q850: Option<u8>,
    /// Seconds after which a peer said it may work again.
    pub retry_after: Option<u32>,
    /// A Warning value for the caller (RFC 3261 §20.43).
    pub warning: Option<String>,
    /// A sentence that says more than the reason's own: which rule it was.
    pub detail: Option<String>,
}

impl Failure {
    pub fn of(reason: EndReason) -> Self {
        Failure { reason, status: None, q850: None, retry_after: None, warning: None, detail: None }
    }

    /// The sentence that a person reads.
    pub fn sentence(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.reason.sentence())
    }

    /// The media plane's refusal of one of our or the peer's descriptions.
    pub fn of_refusal(why: &Refusal, host: &str) -> Self {
        let reason = match why {
            Refusal::Unparsable(_) | Refusal::Unusable(_) => EndReason::BadSdp,
            Refusal::Srtp(_) => EndReason::NoCommonEncryption,
            Refusal::NoCommonCodec { .. } => EndReason::NoCommonCodec,
            Refusal::NoPort(_) => EndReason::GatewayOverloaded,
            Refusal::Unknown => EndReason::Internal,
        };
        Failure { warning: warning(why, host), ..Failure::of(reason) }
    }

    /// What a final response of a callee means (a device of ours is no carrier).
    pub fn of_status(status: u16, q850: Option<u8>, party: &Party) -> Self {
        let exact = q850.and_then(EndReason::from_q850);
        let reason = match (party, status) {
            (Party::User(_), 404 | 408 | 410 | 430 | 604) => EndReason::NotRegistered,
            (Party::User(_), 401 | 403 | 407 | 500..=599) => EndReason::RemoteFailure,
            // Networks put many things into these: their cause says which (RFC 3398 §8.2.6.1).
            (Party::Trunk(_), 480 | 500 | 502 | 503) if exact.is_some() => {
                exact.unwrap_or(EndReason::TrunkFailed)
            }
            (Party::User(_) | Party::Trunk(_), status) => EndReason::from_sip_status(status),
        };
        Failure { status: Some(status), q850, ..Failure::of(reason) }
    }

    /// Status for an unanswered SIP caller.
    pub fn reject_status(&self) -> u16 {
        match (self.reason, self.status) {
            (EndReason::RemoteFailure, Some(status @ 400..=699)) if status != 401 && status != 407 => status,
            (reason, _) => reason.sip_status().max(300),
        }
    }

    fn q850(&self) -> u8 {
        self.q850.unwrap_or(self.reason.q850())
    }

    /// Which of several failures the caller hears (RFC 3261 §16.7 step 6, adapted): 6xx first, then what a person
    /// did, then what the network knows about the number, then unreachability.
    pub fn rank(&self) -> u8 {
        let global = self.status.is_some_and(|s| s >= 600);
        if global {
            return 0;
        }
        match self.reason {
            EndReason::Declined => 1,
            EndReason::Busy => 2,
            EndReason::NumberNotInService | EndReason::UnknownNumber | EndReason::InvalidNumber => 3,
            EndReason::NoCommonCodec | EndReason::NoCommonEncryption | EndReason::BadSdp => 4,
            EndReason::NoAnswer => 5,
            EndReason::TrunkForbade
            | EndReason::Forbidden
            | EndReason::TooManyCalls
            | EndReason::RateLimited => 6,
            EndReason::TrunkRefusedCredentials | EndReason::TrunkFailed => 7,
            EndReason::RemoteFailure | EndReason::MediaNotConnected | EndReason::MediaLost => 8,
            EndReason::TrunkUnreachable | EndReason::NotRegistered | EndReason::SignallingLost => 9,
            EndReason::HungUp
            | EndReason::Transferred
            | EndReason::Cancelled
            | EndReason::AnsweredElsewhere
            | EndReason::PeerGone
            | EndReason::NoAck
            | EndReason::GatewayOverloaded
            | EndReason::GatewayStopping
            | EndReason::MaxDuration
            | EndReason::Internal => 10,
        }
    }
}

/// A Warning value that names what is wrong (RFC 3261 §20.43).
pub(crate) fn warning(why: &Refusal, host: &str) -> Option<String> {
    let (code, text) = match why {
        Refusal::Unparsable(words) => (399, format!("the session description cannot be read: {words}")),
        Refusal::Srtp(words) => (302, words.clone()),
        Refusal::Unusable(words) => (304, words.clone()),
        Refusal::NoCommonCodec { theirs, ours } => {
            (305, format!("no audio codec in common: you have {theirs}, here are {ours}"))
        }
        Refusal::NoPort(_) | Refusal::Unknown => return None,
    };
    Some(format!("{code} {host} \"{}\"", quoted(&text)))
}

/// Text that may stand inside a quoted-string: no quotes, no control characters.
pub(crate) fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

/// A Reason value (RFC 3326, RFC 8606).
pub(crate) fn reason_value(failure: &Failure) -> String {
    if failure.reason == EndReason::AnsweredElsewhere {
        return "SIP;cause=200;text=\"Call completed elsewhere\"".into();
    }
    format!("Q.850;cause={};text=\"{}\"", failure.q850(), quoted(failure.reason.sentence()))
}

impl Call {
    /// The one way for a call to end. Ending twice is fine: the first reason stands.
    pub fn end(&mut self, failure: Failure, by: EndedBy, sh: &mut Shared, t: Clock) {
        if matches!(self.state, State::Closing { .. }) {
            return;
        }
        let deadline = t.now + limits::CLOSING_DURATION;
        self.abandon_transfer(&failure, sh);
        let lent: Vec<LegId> = self.legs.iter().filter(|l| l.lent.is_some()).map(|l| l.id).collect();
        for id in lent {
            self.drop_media(id, sh);
        }
        for leg in &mut self.legs {
            stop_leg(leg, &failure, sh);
        }
        if self.media == MediaPlane::Open {
            sh.media(self.worker, self.id, Media::Close);
            self.media = MediaPlane::Closing;
        }
        sh.log(Level::Info, Some(self.id), failure.sentence());
        self.state = State::Closing { failure, by, ended: (t.now, t.wall), deadline };
    }

    /// Ends one callee while the call goes on.
    pub(super) fn stop_callee(&mut self, id: LegId, failure: &Failure, sh: &mut Shared) {
        if let Some(leg) = self.leg(id) {
            stop_leg(leg, failure, sh);
        }
        self.drop_media(id, sh);
    }

    /// Returns what the media plane holds for a leg that is no longer needed.
    pub(super) fn drop_media(&mut self, id: LegId, sh: &mut Shared) {
        let Some(leg) = self.leg(id) else { return };
        leg.ops.clear();
        if !std::mem::take(&mut leg.has_media) {
            return;
        }
        self.tell_media(Media::Remove { leg: id }, sh);
        if let Some((of, leg)) = self.leg(id).and_then(|l| l.lent.take()) {
            sh.effects.push_back(Effect::EarlyOver { of, leg });
        }
    }

    /// Nothing is left to wait for.
    pub fn finished(&self) -> bool {
        let quiet = self.legs.iter().all(|l| matches!(l.phase, Phase::Over));
        let media = matches!(self.media, MediaPlane::Unused | MediaPlane::Gone);
        matches!(self.state, State::Closing { .. }) && quiet && media
    }

    /// The deadline of `Closing` has passed: whoever has not confirmed is left behind.
    pub(super) fn give_up_waiting(&mut self, sh: &mut Shared) {
        let legs = self.legs.iter().filter(|l| !matches!(l.phase, Phase::Over)).count();
        let media = if self.media == MediaPlane::Closing { " and the media plane" } else { "" };
        let text = format!("gave up waiting for {legs} legs{media} to confirm the end of the call");
        sh.log(Level::Warn, Some(self.id), text);
        for leg in &mut self.legs {
            if matches!(leg.phase, Phase::Over) {
                continue;
            }
            if let Device::Sip(sip) = leg.device {
                sh.sip_legs.remove(&sip);
            }
            leg.phase = Phase::Over;
            release(leg, sh);
        }
        self.media = MediaPlane::Gone;
    }

    /// Gives everything back and writes the record. The switch drops the call right after.
    pub fn bury(self, sh: &mut Shared) {
        let State::Closing { failure, by, ended, .. } = self.state else { return };
        if let Some(permit) = self.callee_permit {
            sh.usage.release(permit);
        }
        sh.usage.workers.release(self.seat);
        let callee = self.last_callee.and_then(|id| self.legs.iter().find(|l| l.id == id));
        let caller = self.legs.iter().find(|l| l.id == LegId::CALLER);
        let answered = self.facts.answered;
        // Who joined later has not waited since the answer.
        let first_audio = |leg: Option<&Leg>| {
            let (at, _) = answered.filter(|_| self.facts.transfers.is_empty())?;
            Some(leg?.stats?.first_heard?.saturating_duration_since(at))
        };
        let cdr = Cdr {
            call: self.id,
            started: self.facts.started,
            answered: answered.map(|(_, wall)| wall),
            ended: ended.1,
            from: self.facts.from,
            to: self.facts.to,
            from_e164: self.facts.from_e164,
            to_e164: self.facts.to_e164,
            emergency: self.facts.emergency,
            caller: self.facts.caller,
            callee: callee.map(|l| l.cdr_party(sh)),
            reason: failure.reason,
            sip_status: failure.status,
            q850: failure.q850(),
            ended_by: by,
            duration_ms: answered
                .map_or(0, |(at, _)| ended.0.saturating_duration_since(at).as_millis() as u64),
            caller_codec: caller.and_then(|l| l.codec),
            callee_codec: callee.and_then(|l| l.codec),
            caller_media: caller.and_then(|l| l.stats),
            callee_media: callee.and_then(|l| l.stats),
            caller_first_audio: first_audio(caller),
            callee_first_audio: first_audio(callee),
            digits: self.facts.digits,
            transfers: self.facts.transfers,
            continued_in: self.continued_in,
            recorded: self.facts.recordings > 0,
            notes: self.facts.notes,
            text: failure.sentence().to_owned(),
        };
        sh.out.push_back(Output::Cdr(Box::new(cdr)));
    }
}

/// Gives back a leg's own permit, once.
pub(super) fn release(leg: &mut Leg, sh: &mut Shared) {
    if let Some(permit) = leg.permit.take() {
        sh.usage.release(permit);
    }
}

/// Tells a leg's peer that it is over, in the way that its phase asks for.
pub(super) fn stop_leg(leg: &mut Leg, failure: &Failure, sh: &mut Shared) {
    let was_caller_waiting = leg.id == LegId::CALLER && matches!(leg.phase, Phase::Trying | Phase::Ringing);
    match (&leg.device, &leg.phase) {
        (_, Phase::Over | Phase::Stopping) => {}
        (Device::Browser { session, name }, _) => {
            let reason = failure.reason;
            let ended = ToBrowser::Ended {
                call: name.clone(),
                reason: reason.word().into(),
                text: failure.sentence().into(),
            };
            sh.sessions.forget_call(*session, name);
            sh.browser(*session, ended);
            leg.phase = Phase::Over;
            release(leg, sh);
        }
        (Device::Proxy(proxy), _) => {
            if failure.reason != EndReason::Transferred {
                let (of, by) = (proxy.of, proxy.by);
                sh.effects.push_back(Effect::Failed { of, by, failure: failure.clone() });
            }
            leg.phase = Phase::Over;
            release(leg, sh);
        }
        (Device::Sip(sip), Phase::Preparing(_)) => {
            sh.sip_legs.remove(sip);
            leg.phase = Phase::Over;
            release(leg, sh);
        }
        (Device::Sip(sip), Phase::Trying | Phase::Ringing | Phase::Up) => {
            let sip = *sip;
            if was_caller_waiting {
                let reason = quoted(failure.sentence()).trim_end_matches('.').to_owned();
                let headers = reject_headers(failure);
                sh.sip(Sip::Reject { leg: sip, status: failure.reject_status(), reason, headers });
            } else {
                sh.sip(Sip::HangUp { leg: sip, reason: Some(reason_value(failure)) });
            }
            leg.phase = Phase::Stopping;
        }
    }
}

fn reject_headers(failure: &Failure) -> Headers {
    let mut headers: Headers = vec![("Reason", reason_value(failure))];
    if let Some(warning) = &failure.warning {
        headers.push(("Warning", warning.clone()));
    }
    if failure.reject_status() == 503 {
        headers.push(("Retry-After", failure.retry_after.unwrap_or(5).to_string()));
    }
    headers
}
