//! What SIP peers do.

use std::time::Duration;

use media_bridge::control::{Bandwidth, Codec, Command as Media, DtmfMode, LegKind};
use sip_ua::message::{q850, reasons};
use sip_ua::{Body, Command as Sip, LegEnd};
use types::{EndReason, EndedBy, LegId};

use super::end::{Failure, release};
use super::{ANSWER_MEDIA, Call, Device, MEDIA_OPS, MEDIA_REPLY, MediaOp, Phase, State};
use crate::shared::{Clock, Shared};

/// Length of a digit where the peer does not say.
const DIGIT: Duration = Duration::from_millis(160);
/// A digit alone.
const DTMF: &str = "application/dtmf";
/// A digit and its length.
const DTMF_RELAY: &str = "application/dtmf-relay";

impl Call {
    /// 1xx from a callee.
    pub fn on_provisional(&mut self, id: LegId, status: u16, body: Option<Body>, sh: &mut Shared, t: Clock) {
        self.on_heard(id, sh, t);
        if id == self.caller || !matches!(self.state, State::Trying { .. }) {
            return;
        }
        let Some(leg) = self.leg(id).filter(|l| matches!(l.phase, Phase::Trying | Phase::Ringing)) else {
            return;
        };
        if status == 180 {
            leg.phase = Phase::Ringing;
            self.ringing(body.is_none(), sh);
        }
        if let Some(body) = body {
            self.take_answer(id, body.bytes, sh);
        }
        self.advance(sh, t);
    }

    /// Gives a callee's answer to the media plane, unless it is what we have already.
    fn take_answer(&mut self, id: LegId, answer: Vec<u8>, sh: &mut Shared) {
        let Some(leg) = self.leg(id) else { return };
        if leg.remote_sdp.as_ref() == Some(&answer) || leg.ops.len() >= MEDIA_OPS {
            return;
        }
        leg.remote_sdp = Some(answer.clone());
        self.ask_media(id, MediaOp::SetAnswer, Media::SetAnswer { leg: id, answer }, sh);
    }

    /// 200 from a callee: the first one wins, the others stop.
    pub fn on_answered(&mut self, id: LegId, body: Option<Body>, sh: &mut Shared, t: Clock) {
        self.on_heard(id, sh, t);
        let ringing = self.leg(id).is_some_and(|l| matches!(l.phase, Phase::Trying | Phase::Ringing));
        if id == self.caller || !ringing || !matches!(self.state, State::Trying { .. }) {
            return;
        }
        if let Some(body) = body {
            self.take_answer(id, body.bytes, sh);
        }
        let patience = match self.leg(id).map(|l| l.kind) {
            Some(LegKind::WebRtc) => ANSWER_MEDIA,
            Some(LegKind::Rtp) | None => MEDIA_REPLY,
        };
        self.win(id, patience, sh, t);
        let nothing = self.leg(id).is_some_and(|l| l.idle() && l.codec.is_none());
        if nothing {
            // A 2xx to our offer must hold an answer, unless an earlier response did (RFC 3261 §13.2.1).
            self.end(Failure::of(EndReason::BadSdp), EndedBy::Callee, sh, t);
        }
    }

    /// This callee gets the call; every other device is told that it was answered elsewhere.
    pub(super) fn win(&mut self, id: LegId, patience: Duration, sh: &mut Shared, t: Clock) {
        let others: Vec<LegId> =
            self.legs.iter().map(|l| l.id).filter(|l| *l != self.caller && *l != id).collect();
        for other in others {
            if self.leg(other).is_some_and(|l| l.alive()) {
                self.stop_callee(other, &Failure::of(EndReason::AnsweredElsewhere), sh);
            }
        }
        let permit = self.callee_permit.take();
        if let Some(leg) = self.leg(id) {
            leg.phase = Phase::Up;
            leg.permit = leg.permit.take().or(permit);
        }
        self.last_callee = Some(id);
        self.state = State::Connecting { callee: id, overdue: false, deadline: t.now + patience };
        self.advance(sh, t);
    }

    /// ACK to our 200; with an answer where we made the offer (RFC 3261 §13.2.2.4).
    pub fn on_acked(&mut self, id: LegId, body: Option<Body>, sh: &mut Shared, t: Clock) {
        let Some(leg) = self.leg(id).filter(|l| l.alive()) else { return };
        let ours_to_answer = leg.offer.is_none() || leg.reoffered;
        leg.reoffered = false;
        match body {
            Some(body) if ours_to_answer => {
                leg.remote_sdp = None;
                self.take_answer(id, body.bytes, sh);
            }
            // They wanted our offer and never answered it: nothing was agreed.
            None if leg.offer.is_none() && leg.codec.is_none() && leg.idle() => {
                self.end(Failure::of(EndReason::BadSdp), EndedBy::Caller, sh, t);
            }
            Some(_) | None => {}
        }
    }

    /// A re-INVITE: answered for this leg alone, so that the other side's session never waits for it.
    pub fn on_reinvite(&mut self, id: LegId, body: Option<Body>, sh: &mut Shared) {
        let Some(leg) = self.leg(id).filter(|l| l.alive()) else { return };
        let Device::Sip(sip) = leg.device else { return };
        if leg.ops.len() >= MEDIA_OPS || !leg.has_media {
            return sh.sip(Sip::RejectReinvite { leg: sip, status: 491, headers: Vec::new() });
        }
        leg.reoffered |= body.is_none();
        let params = leg.params(sh, leg.codec, Bandwidth::Full);
        let params = self.untouched(id, params, sh);
        match body {
            Some(body) => {
                let command = Media::Answer { leg: id, params, offer: body.bytes };
                self.ask_media(id, MediaOp::Reanswer, command, sh);
            }
            None => self.ask_media(id, MediaOp::Reoffer, Media::Offer { leg: id, params }, sh),
        }
    }

    /// Offers a caller who has its answer already the codec that the callee has, so that nothing need be transcoded
    /// (RFC 3311 §5.1). Whether there is nothing to wait for. What it refuses is transcoded.
    pub(super) fn update_caller(&mut self, codec: Codec, overdue: bool, sh: &mut Shared) -> bool {
        let caller = &mut self.legs[0];
        if caller.offering {
            return overdue;
        }
        let params = caller.params(sh, Some(codec), Bandwidth::Full);
        let known = caller.codec == Some(codec) || caller.preferred == Some(codec);
        if known || !params.codecs.contains(&codec) {
            return true;
        }
        (caller.preferred, caller.offering) = (Some(codec), true);
        self.ask_media(self.caller, MediaOp::Update, Media::Offer { leg: self.caller, params }, sh);
        false
    }

    /// What became of our UPDATE.
    pub fn on_updated(&mut self, id: LegId, result: Result<Option<Body>, u16>, sh: &mut Shared, t: Clock) {
        let Some(leg) = self.leg(id).filter(|l| l.alive()) else { return };
        if !std::mem::take(&mut leg.offering) {
            return;
        }
        if let Ok(Some(body)) = result {
            leg.remote_sdp = None;
            self.take_answer(id, body.bytes, sh);
        }
        self.advance(sh, t);
    }

    /// INFO: digits in the two common forms. Who uses one gets the same.
    pub fn on_info(&mut self, id: LegId, body: &Body, sh: &mut Shared) {
        let Some((digit, duration)) = digit_of(body) else { return };
        if let Some(leg) = self.leg(id) {
            leg.says_dtmf = is_type(body, DTMF);
        }
        self.send_digit(id, digit, duration, sh);
    }

    /// A digit that was pressed outside the media path counts like one in it. Whether somebody is there to hear it.
    pub(super) fn send_digit(
        &mut self,
        from: LegId,
        digit: char,
        duration: Duration,
        sh: &mut Shared,
    ) -> bool {
        let heard = self.peer_of(from).is_some();
        if heard {
            self.tell_media(Media::Pressed { leg: from, digit, duration }, sh);
        }
        heard
    }

    /// A digit of `from`: counted, shown, and sent by INFO to a trunk that wants it so.
    pub(super) fn on_digit(&mut self, from: LegId, digit: char, duration: Duration, sh: &mut Shared) {
        self.facts.digits = self.facts.digits.saturating_add(1);
        let ms = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        self.show_digit(from, digit, ms, sh);
        let Some(peer) = self.peer_of(from).and_then(|peer| self.leg(peer)) else { return };
        let by_info = peer.profile(sh).is_some_and(|p| p.dtmf == DtmfMode::Info);
        if let (Device::Sip(leg), Phase::Up, true) = (&peer.device, &peer.phase, by_info) {
            let (content_type, text) = match peer.says_dtmf {
                true => (DTMF, digit.to_string()),
                false => (DTMF_RELAY, format!("Signal={digit}\r\nDuration={ms}\r\n")),
            };
            let body = Body { content_type: content_type.into(), bytes: text.into_bytes() };
            sh.sip(Sip::Info { leg: *leg, body });
        }
    }

    /// A SIP leg is over.
    pub fn on_ended(&mut self, id: LegId, end: LegEnd, sh: &mut Shared, t: Clock) {
        let Some(leg) = self.leg(id) else { return };
        let Device::Sip(sip) = leg.device else { return };
        sh.sip_legs.remove(&sip);
        let party = leg.party.clone();
        let was_alive = leg.alive();
        let was_up = matches!(leg.phase, Phase::Up);
        if !was_up && was_alive {
            self.learn_by_end(id, &end, sh, t);
        }
        let Some(leg) = self.leg(id) else { return };
        leg.phase = Phase::Over;
        release(leg, sh);
        if !was_alive {
            return;
        }
        if self.leaves_transfer(id, sh) {
            return;
        }
        let failure = failure_of(&end, &party, was_up);
        if id == self.caller {
            return self.end(failure, caller_or_gateway(&end), sh, t);
        }
        match self.state {
            State::Trying { .. } => {
                if !self.ring_encrypted(id, failure.status, sh) {
                    self.callee_failed(id, failure, sh, t);
                }
            }
            State::Connecting { callee, .. } | State::Talking { callee, .. } if callee == id => {
                self.end(failure, EndedBy::Callee, sh, t);
            }
            State::Preparing { .. }
            | State::Announcing { .. }
            | State::Connecting { .. }
            | State::Talking { .. }
            | State::Closing { .. } => self.drop_media(id, sh),
        }
    }
}

fn caller_or_gateway(end: &LegEnd) -> EndedBy {
    match end {
        LegEnd::Cancelled { .. } | LegEnd::Bye { .. } | LegEnd::Refused { .. } => EndedBy::Caller,
        LegEnd::Unreachable { .. } | LegEnd::Local | LegEnd::NoAck => EndedBy::Gateway,
    }
}

fn failure_of(end: &LegEnd, party: &super::Party, was_up: bool) -> Failure {
    match end {
        LegEnd::Refused { status, q850, retry_after, .. } => {
            Failure { retry_after: *retry_after, ..Failure::of_status(*status, *q850, party) }
        }
        LegEnd::Unreachable { .. } if was_up => Failure::of(EndReason::PeerGone),
        LegEnd::Unreachable { why } => {
            // What the transport says of a carrier is for the person who runs this; of a device it is nobody's business.
            let words = why.as_ref().filter(|_| matches!(party, super::Party::Trunk(_)));
            let detail = words.map(|why| format!("The carrier could not be reached: {why}."));
            Failure { status: None, detail, ..Failure::of_status(408, None, party) }
        }
        // The caller's own network had it answered on another branch (RFC 3326 §3.1).
        LegEnd::Cancelled { reason: Some(reason) } if answered_elsewhere(reason) => {
            Failure::of(EndReason::AnsweredElsewhere)
        }
        LegEnd::Cancelled { reason } => {
            let q850 = reason.as_deref().and_then(q850);
            Failure { q850, ..Failure::of(EndReason::Cancelled) }
        }
        LegEnd::Bye { q850 } => Failure { q850: *q850, ..Failure::of(EndReason::HungUp) },
        LegEnd::Local => Failure::of(EndReason::RemoteFailure),
        LegEnd::NoAck => Failure::of(EndReason::NoAck),
    }
}

fn answered_elsewhere(reason: &str) -> bool {
    reasons(reason).any(|r| r.protocol.eq_ignore_ascii_case("SIP") && r.cause() == Some(200))
}

fn is_type(body: &Body, kind: &str) -> bool {
    body.content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(kind)
}

/// The digit of an INFO body: `application/dtmf-relay` (`Signal=5`, `Duration=160`) or `application/dtmf` (`5`).
fn digit_of(body: &Body) -> Option<(char, Duration)> {
    let text = std::str::from_utf8(&body.bytes).ok()?;
    let value = |name: &str| {
        text.lines()
            .filter_map(|l| l.split_once('='))
            .find_map(|(n, v)| n.trim().eq_ignore_ascii_case(name).then(|| v.trim()))
    };
    if is_type(body, DTMF_RELAY) {
        let ms = value("Duration").and_then(|d| d.parse().ok()).map(Duration::from_millis);
        Some((key_of(value("Signal")?)?, ms.unwrap_or(DIGIT)))
    } else if is_type(body, DTMF) {
        Some((key_of(value("Signal").unwrap_or(text.trim()))?, DIGIT))
    } else {
        None
    }
}

/// A key as INFO says it: itself, or from 10 on the code that it has as an event (RFC 4733 §3.2), as some write `*` and `#`.
fn key_of(signal: &str) -> Option<char> {
    let mut chars = signal.chars();
    match (chars.next()?.to_ascii_uppercase(), chars.next(), chars.next()) {
        (key, None, None) => Some(key).filter(|key| is_digit(*key)),
        ('1', Some(second), None) => "*#ABCD".chars().nth(second.to_digit(10)? as usize),
        (_, _, _) => None,
    }
}

/// Whether this is a key of a phone (RFC 4733 §3.2).
pub(super) fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '*' | '#' | 'A'..='D')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_digits_in_info_are_read() {
        let body = |kind: &str, text: &str| Body { content_type: kind.into(), bytes: text.into() };
        let relay = body("application/dtmf-relay", "Signal=5\r\nDuration=250\r\n");
        assert_eq!(digit_of(&relay), Some(('5', Duration::from_millis(250))));
        assert_eq!(digit_of(&body("application/dtmf", " # ")), Some(('#', DIGIT)));
        let star = body("Application/DTMF-Relay; charset=utf-8", "Signal= 10\nDuration = 100");
        assert_eq!(digit_of(&star), Some(('*', Duration::from_millis(100))));
        assert_eq!(digit_of(&body("application/dtmf-relay", "Signal=11\r\n")), Some(('#', DIGIT)));
        assert_eq!(digit_of(&body("application/dtmf-relay", "Signal=d\r\n")), Some(('D', DIGIT)));
        assert_eq!(digit_of(&body("application/dtmf-relay", "Signal=16\r\n")), None, "hook flash");
        assert_eq!(digit_of(&body("application/dtmf-relay", "Signal=123\r\n")), None);
        assert_eq!(digit_of(&body("application/dtmf-relay", "Signal=\r\n")), None);
        assert_eq!(digit_of(&body("application/dtmf", "x")), None);
        assert_eq!(digit_of(&body("text/plain", "5")), None);
    }
}
