//! What people in browsers do.

use std::time::Duration;

use media_bridge::control::{Bandwidth, Command as Media, LegParams};
use types::{EndReason, EndedBy, LegId};
use webrtc_peer::signalling::FromBrowser;

use super::end::{Failure, release};
use super::sip::is_digit;
use super::{ANSWER_MEDIA, Call, Device, MEDIA_OPS, MediaOp, Phase, State};
use crate::shared::{Clock, Shared};

/// Length of a digit where the page does not say.
const DIGIT_MS: u32 = 160;

impl Call {
    /// A message about a leg of this call.
    pub fn handle_browser(&mut self, id: LegId, message: FromBrowser, sh: &mut Shared, t: Clock) {
        match message {
            FromBrowser::Offer { sdp, .. } => self.on_browser_offer(id, sdp.into_bytes(), sh),
            FromBrowser::Answer { .. } => self.on_browser_answer(id, sh, t),
            FromBrowser::Decline { .. } => self.on_browser_end(id, EndReason::Declined, sh, t),
            FromBrowser::Bye { .. } => self.on_browser_end(id, EndReason::HungUp, sh, t),
            FromBrowser::Dtmf { digit, ms, .. } => self.on_browser_digit(id, digit, ms, sh),
            FromBrowser::Hold { .. } => self.on_browser_hold(id, true, sh),
            FromBrowser::Resume { .. } => self.on_browser_hold(id, false, sh),
            FromBrowser::Record { on, .. } => self.on_browser_record(id, on, sh, t),
            // ICE-lite: addresses come from checks. The others are not about a call that exists.
            FromBrowser::Candidate { .. }
            | FromBrowser::Hello { .. }
            | FromBrowser::Call { .. }
            | FromBrowser::Transfer { .. }
            | FromBrowser::Ping {} => {}
        }
    }

    fn on_browser_offer(&mut self, id: LegId, offer: Vec<u8>, sh: &mut Shared) {
        let bandwidth = self.legs[0].codec.map(Bandwidth::of).unwrap_or_default();
        let Some(leg) = self.leg(id).filter(|l| l.alive()) else { return };
        if leg.ops.len() >= MEDIA_OPS {
            if let Device::Browser { session, name } = &leg.device {
                let text = "Too many offers at once; wait for the answer before the next one.";
                sh.error(*session, "bad-message", text, Some(name));
            }
            return;
        }
        let op = if leg.has_media { MediaOp::Reanswer } else { MediaOp::Answer };
        let params = leg.params(sh, leg.codec, bandwidth);
        leg.offer = Some(offer.clone());
        let params = LegParams { called: id != self.caller, ..self.untouched(id, params, sh) };
        self.ask_media(id, op, Media::Answer { leg: id, params, offer }, sh);
    }

    fn on_browser_answer(&mut self, id: LegId, sh: &mut Shared, t: Clock) {
        let rings = self.leg(id).is_some_and(|l| matches!(l.phase, Phase::Ringing));
        if rings && id != self.caller && matches!(self.state, State::Trying { .. }) {
            self.win(id, ANSWER_MEDIA, sh, t);
        }
    }

    fn on_browser_end(&mut self, id: LegId, reason: EndReason, sh: &mut Shared, t: Clock) {
        if self.leaves_transfer(id, sh) {
            return;
        }
        let (by, unanswered) = match (&self.state, id) {
            (State::Preparing { .. } | State::Trying { .. }, id) if id == self.caller => {
                (EndedBy::Caller, true)
            }
            (State::Announcing { .. }, _) => (EndedBy::Caller, self.facts.answered.is_none()),
            (_, id) if id == self.caller => (EndedBy::Caller, false),
            (State::Trying { .. }, _) => {
                return self.lose_callee(id, Failure::of(EndReason::Declined), sh, t);
            }
            (_, _) => (EndedBy::Callee, false),
        };
        let reason = match (unanswered, reason) {
            (true, _) => EndReason::Cancelled,
            (false, EndReason::Declined) => EndReason::HungUp,
            (false, other) => other,
        };
        self.end(Failure::of(reason), by, sh, t);
    }

    fn on_browser_digit(&mut self, id: LegId, digit: char, ms: Option<u32>, sh: &mut Shared) {
        let digit = digit.to_ascii_uppercase();
        let problem = if !is_digit(digit) {
            Some(("bad-message", "A digit is one of 0-9, *, # and A-D."))
        } else if !self.send_digit(id, digit, Duration::from_millis(ms.unwrap_or(DIGIT_MS).into()), sh) {
            Some(("not-connected", "Nobody is there yet to hear the digit."))
        } else {
            None
        };
        if let (Some((code, text)), Some(Device::Browser { session, name })) =
            (problem, self.leg(id).map(|l| l.device.clone()))
        {
            sh.error(session, code, text, Some(&name));
        }
    }

    /// The connection of a leg's browser is gone; nothing more can be said to it.
    pub fn on_session_lost(&mut self, id: LegId, sh: &mut Shared, t: Clock) {
        let Some(leg) = self.leg(id).filter(|l| l.alive()) else { return };
        leg.phase = Phase::Over;
        release(leg, sh);
        if self.leaves_transfer(id, sh) {
            return;
        }
        if id == self.caller {
            return self.end(Failure::of(EndReason::SignallingLost), EndedBy::Caller, sh, t);
        }
        match self.state {
            State::Trying { .. } => self.callee_failed(id, Failure::of(EndReason::NotRegistered), sh, t),
            State::Connecting { .. } | State::Talking { .. } => {
                self.end(Failure::of(EndReason::SignallingLost), EndedBy::Callee, sh, t);
            }
            State::Preparing { .. } | State::Announcing { .. } | State::Closing { .. } => {}
        }
    }
}
