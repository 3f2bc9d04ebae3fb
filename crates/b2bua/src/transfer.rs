//! Transfers: what concerns two calls at once. Calls never touch each other; they leave `Effect`s, and the switch
//! carries these out between two inputs.

use media_bridge::control::Command as Media;
use sip_ua::message::{Scheme, Uri};
use sip_ua::{Command as Sip, ReferId, Referral, ReplacedDialog, SipLeg};
use types::{CallId, EndReason, EndedBy, LegId, SessionId};

use crate::call::{Adopted, Aim, Device, Failure, Leg, Party, Phase, Proxy, State, Transfer};
use crate::config::without_port;
use crate::dialplan::Number;
use crate::identity::CallerId;
use crate::inbound::Asked;
use crate::lookup::{self, Destination};
use crate::number::clean;
use crate::shared::Clock;
use crate::switch::{Purpose, Switch};

/// What one call's input means for another call.
#[derive(Debug)]
pub(crate) enum Effect {
    /// What is called for this call rings.
    Rings(CallId),
    /// A leg of the call that is made for `of` sends media before it answers; whether it wants to hear nothing.
    Early { of: CallId, from: (CallId, LegId), holds: bool },
    /// It has gone without answering.
    EarlyOver { of: CallId, leg: LegId },
    /// For the media of a leg that is lent to this call.
    Media { of: CallId, command: Media },
    /// Nobody came: `by` was made for `of`.
    Failed { of: CallId, by: CallId, failure: Failure },
    /// Someone came: this leg is to join `of`.
    Join { of: CallId, from: (CallId, LegId) },
    /// This leg is to take another's place.
    Replace { into: (CallId, LegId), from: (CallId, LegId) },
    /// Nobody waits for this call any more.
    Abandoned(CallId),
    /// The trunk will not transfer: we do.
    ReferRefused { call: CallId, by: LegId, to: String },
}

/// Why a transfer cannot even begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Problem {
    NotConnected,
    Busy,
    NoSuchCall,
    NotOurs,
    Refused(EndReason),
}

impl Problem {
    fn status(self) -> u16 {
        match self {
            Problem::NotConnected => 403,
            Problem::Busy => 491,
            Problem::NoSuchCall => 481,
            Problem::NotOurs => 404,
            Problem::Refused(reason) => reason.sip_status().max(400),
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Problem::NotConnected => ("not-connected", "Only an answered call can be transferred."),
            Problem::Busy => ("transfer-busy", "This call is being transferred already."),
            Problem::NoSuchCall => ("unknown-call", "There is no such call any more."),
            Problem::NotOurs => ("unknown-number", EndReason::UnknownNumber.sentence()),
            Problem::Refused(reason) => (reason.word(), reason.sentence()),
        }
    }
}

/// A leg of a call that asks to be left out of it.
#[derive(Clone, Copy, Debug)]
struct Ask {
    call: CallId,
    leg: LegId,
    refer: Option<ReferId>,
    /// The new party is not to know who has asked.
    private: bool,
}

/// A party of a call as it is shown to whoever it is handed over to.
fn shown_again(shown: &str) -> CallerId {
    let anonymous = CallerId::anonymous();
    if shown == anonymous.number {
        anonymous
    } else {
        CallerId { number: shown.into(), ..CallerId::default() }
    }
}

impl Switch {
    /// The page's Transfer: to a number, or to the far end of another call.
    pub(crate) fn on_browser_transfer(
        &mut self,
        session: SessionId,
        name: &str,
        (to, with): (Option<String>, Option<String>),
        t: Clock,
    ) {
        let named = |name: &str| self.shared.sessions.get(session).and_then(|s| s.calls.get(name).copied());
        let other = with.as_deref().and_then(named);
        let Some((call, leg)) = named(name) else {
            let (code, text) = Problem::NoSuchCall.words();
            return self.shared.error(session, code, text, Some(name));
        };
        let ask = Ask { call, leg, refer: None, private: false };
        let done = match (to, other) {
            (Some(to), _) => {
                let dialled = self.strip_domain(&to);
                self.transfer_to(ask, dialled, t)
            }
            (None, Some(other)) => self.transfer_with(ask, other, t),
            (None, None) => Err(Problem::NoSuchCall),
        };
        if let Err(problem) = done {
            let (code, text) = problem.words();
            self.shared.error(session, code, text, Some(name));
        }
    }

    /// REFER in a call (RFC 3515): to a URI, or to the far end of another call of the same party (RFC 5589 §7).
    pub(crate) fn on_refer(&mut self, sip: SipLeg, refer: ReferId, referral: &Referral, t: Clock) {
        let Some((call, leg)) = self.shared.sip_legs.get(&sip).copied() else {
            return self.shared.sip(Sip::RejectRefer { refer, status: 481, reason: String::new() });
        };
        let ask = Ask { call, leg, refer: Some(refer), private: referral.private };
        let done = match referral.replaces {
            Some(ReplacedDialog::Leg(other)) => match self.shared.sip_legs.get(&other).copied() {
                Some(other) => self.transfer_with(ask, other, t),
                None => Err(Problem::NoSuchCall),
            },
            Some(ReplacedDialog::Unknown) => Err(Problem::NoSuchCall),
            None => match self.referred_number(ask, &referral.to) {
                Some(number) => self.transfer_to(ask, number, t),
                None => Err(Problem::NotOurs),
            },
        };
        if let Err(problem) = done {
            let reason = problem.words().1.trim_end_matches('.').to_owned();
            self.shared.sip(Sip::RejectRefer { refer, status: problem.status(), reason });
        }
    }

    /// The number in a Refer-To: of our own domain, or in the sender's own words of its trunk's.
    fn referred_number(&self, ask: Ask, uri: &str) -> Option<String> {
        let uri = Uri::parse(uri).ok()?;
        let leg = self.calls.get(&ask.call)?.legs.iter().find(|l| l.id == ask.leg)?;
        let config = &self.shared.config;
        let host = uri.host();
        let trunk = match &leg.party {
            Party::Trunk(trunk) => without_port(&config.trunks[*trunk].host),
            Party::User(_) => "",
        };
        let ours = uri.scheme() == Scheme::Tel
            || config.is_own_host(host)
            || host.eq_ignore_ascii_case(trunk)
            || (uri.ip().is_some() && uri.ip() == leg.local);
        Some(uri.user_unescaped()).filter(|user| ours && !user.is_empty())
    }

    /// Blind transfer: rings the number on the transferor's account, for the other party.
    fn transfer_to(&mut self, ask: Ask, dialled: String, t: Clock) -> Result<(), Problem> {
        let call = self.calls.get(&ask.call).ok_or(Problem::NoSuchCall)?;
        let other = call.transferable(ask.leg)?;
        let (upstream, target) = (self.refers_upstream(ask, other, &dialled), other.id);
        if let Some((sip, to)) = upstream {
            let transfer = Transfer {
                by: ask.leg,
                refer: ask.refer,
                to: dialled,
                aim: Aim::Upstream(target),
                rings: false,
                early: None,
            };
            let referred_by = self.referred_by(ask);
            self.shared.sip(Sip::Refer { leg: sip, to, referred_by });
            self.with_call(ask.call, |call, sh| call.begin_transfer(transfer, sh));
            return Ok(());
        }
        self.dial_for(ask, dialled, t)
    }

    fn dial_for(&mut self, ask: Ask, dialled: String, t: Clock) -> Result<(), Problem> {
        let asks =
            |call: &crate::call::Call| call.legs.iter().find(|l| l.id == ask.leg).map(|l| l.party.clone());
        let party = self.calls.get(&ask.call).and_then(asks).ok_or(Problem::NotConnected)?;
        let help = self.calls_for_help(&party, &dialled);
        let purpose = if help { Purpose::Help } else { Purpose::Transfer };
        self.admit(purpose, t.now).map_err(Problem::Refused)?;
        let call = self.calls.get(&ask.call).ok_or(Problem::NoSuchCall)?;
        let other = call.transferable(ask.leg)?;
        let transferor = call.legs.iter().find(|l| l.id == ask.leg).ok_or(Problem::NotConnected)?;
        let (codec, shown) = (other.codec, other.shown.clone());
        let transferor_shown = transferor.cdr_party(&self.shared);
        let by = match &party {
            Party::User(user) => Some(user.clone()),
            Party::Trunk(_) => None,
        };
        let asked = Asked {
            dialled: dialled.clone(),
            from: shown_again(&other.shown),
            offer: None,
            flow: transferor.flow,
            waiting: Some((other.device.clone(), other.flow)),
            worker: Some(call.worker),
            takes_over: None,
            referred_by: by.filter(|_| !ask.private),
        };
        let id = self.new_call_id();
        let proxy = Proxy { of: ask.call, by: id, transferor: transferor_shown };
        let mut leg = Leg::new(LegId::CALLER, party, Device::Proxy(proxy), Phase::Trying);
        leg.codec = codec;
        leg.shown = shown;
        let transfer = Transfer {
            by: ask.leg,
            refer: ask.refer,
            to: dialled,
            aim: Aim::Call(id),
            rings: false,
            early: None,
        };
        self.with_call(ask.call, |call, sh| call.begin_transfer(transfer, sh));
        self.place(id, leg, asked, t);
        Ok(())
    }

    /// The trunk leg that is to be asked by REFER, and for what: where it allows that, and the number is its own to call.
    fn refers_upstream(&self, ask: Ask, other: &Leg, dialled: &str) -> Option<(SipLeg, String)> {
        let (Party::Trunk(trunk), Device::Sip(sip)) = (&other.party, &other.device) else { return None };
        let config = &self.shared.config;
        let host = config.trunks[*trunk].refer.then(|| config.trunks[*trunk].host.clone())?;
        let by = self.calls.get(&ask.call)?.legs.iter().find(|l| l.id == ask.leg)?;
        let number = Number::read(&clean(dialled)?, lookup::home(config, &by.party));
        match lookup::look_up(config, &number, &by.party).ok()? {
            Destination::Trunks(trunks) => {
                let (_, number) = trunks.iter().find(|(t, _)| t == trunk)?;
                Some((*sip, crate::call::address(number, &host)))
            }
            Destination::User(_) | Destination::Announcement => None,
        }
    }

    fn referred_by(&self, ask: Ask) -> String {
        let leg = self.calls.get(&ask.call).and_then(|c| c.legs.iter().find(|l| l.id == ask.leg));
        match leg.map(|l| &l.party) {
            Some(Party::User(user)) if !ask.private => {
                crate::call::address(user.as_str(), &self.shared.config.domain)
            }
            Some(Party::User(_) | Party::Trunk(_)) | None => String::new(),
        }
    }

    /// Attended transfer: the far ends of two calls of one party are joined (RFC 5589 §7).
    fn transfer_with(&mut self, ask: Ask, with: (CallId, LegId), t: Clock) -> Result<(), Problem> {
        let call = self.calls.get(&ask.call).ok_or(Problem::NoSuchCall)?;
        let other = call.transferable(ask.leg)?;
        let codec = other.codec;
        let party = |call: &crate::call::Call, leg: LegId| {
            call.legs.iter().find(|l| l.id == leg && l.alive()).map(|l| l.party.clone())
        };
        let target = self.calls.get(&with.0).filter(|c| c.id != ask.call).ok_or(Problem::NoSuchCall)?;
        let (asks, owns) = (party(call, ask.leg), party(target, with.1).ok_or(Problem::NoSuchCall)?);
        if asks.as_ref() != Some(&owns) {
            return Err(Problem::NoSuchCall);
        }
        let to = target.facts.to.clone();
        let aim = Aim::Call(with.0);
        let transfer = Transfer { by: ask.leg, refer: ask.refer, to, aim, rings: false, early: None };
        match target.state {
            State::Talking { .. } => {
                let far = target.transferable(with.1)?.id;
                self.with_call(ask.call, |call, sh| call.begin_transfer(transfer, sh));
                let join = Effect::Join { of: ask.call, from: (with.0, far) };
                self.shared.effects.push_back(join);
            }
            // It still rings there: as if the number had been dialled for the other party (RFC 5589 §7.6).
            State::Trying { .. } | State::Connecting { .. } if with.1 == LegId::CALLER => {
                self.with_call(ask.call, |call, sh| call.begin_transfer(transfer, sh));
                self.with_call(with.0, |call, sh| call.become_proxy(ask.call, codec, sh, t));
            }
            State::Preparing { .. }
            | State::Announcing { .. }
            | State::Trying { .. }
            | State::Connecting { .. }
            | State::Closing { .. } => {
                return Err(Problem::NotConnected);
            }
        }
        Ok(())
    }

    /// Carries out what calls have left for each other.
    pub(crate) fn run_effects(&mut self, t: Clock) {
        while let Some(effect) = self.shared.effects.pop_front() {
            match effect {
                Effect::Rings(of) => self.with_call(of, |call, sh| call.transfer_rings(sh)),
                Effect::Early { of, from, holds } => self.lend_early(of, from, holds),
                Effect::EarlyOver { of, leg } => self.with_call(of, |call, sh| call.early_over(leg, sh)),
                Effect::Media { of, command } => {
                    self.with_call(of, |call, sh| call.tell_media(command, sh));
                }
                Effect::Failed { of, by, failure } => self.with_call(of, |call, sh| {
                    if call.transfer.as_ref().is_some_and(|t| t.aim == Aim::Call(by)) {
                        call.transfer_failed(&failure, sh, t);
                    }
                }),
                Effect::Join { of, from } => {
                    let by = self.calls.get(&of).and_then(|c| c.transfer.as_ref()).map(|t| (t.by, t.aim));
                    match by {
                        Some((out, Aim::Call(call))) if call == from.0 => self.join((of, out), from, t),
                        Some(_) | None => self.dismiss(from.0, t),
                    }
                }
                Effect::Replace { into, from } => self.join(into, from, t),
                Effect::Abandoned(call) => self.dismiss(call, t),
                Effect::ReferRefused { call, by, to } => self.transfer_ourselves(call, by, to, t),
            }
        }
    }

    /// Moves the media of an early leg to where somebody waits for it; its signalling stays where it is.
    fn lend_early(&mut self, of: CallId, from: (CallId, LegId), holds: bool) {
        let Some(worker) = self.calls.get(&from.0).map(|c| c.worker) else { return };
        let Some(waiting) = self.calls.get_mut(&of) else { return };
        let known = waiting.borrowed.filter(|b| b.to == from).map(|b| b.leg);
        let wanted = waiting.transfer.as_ref().is_some_and(|t| t.aim == Aim::Call(from.0));
        let id = match known {
            Some(id) => id,
            None if !wanted => return,
            None => {
                let id = waiting.next_leg();
                let rings = self.calls.get_mut(&from.0).filter(|c| matches!(c.state, State::Trying { .. }));
                let Some(leg) = rings.and_then(|c| c.leg(from.1)).filter(|l| l.has_media) else {
                    return;
                };
                leg.lent = Some((of, id));
                id
            }
        };
        self.with_call(of, |call, sh| call.hear_early(id, from, worker, holds, sh));
    }

    fn dismiss(&mut self, call: CallId, t: Clock) {
        self.with_call(call, |call, sh| call.end(Failure::of(EndReason::Cancelled), EndedBy::Caller, sh, t));
    }

    fn transfer_ourselves(&mut self, call: CallId, by: LegId, to: String, t: Clock) {
        let Some(refer) = self.calls.get_mut(&call).and_then(|c| c.transfer.take()).map(|t| t.refer) else {
            return;
        };
        let done = self.dial_for(Ask { call, leg: by, refer: None, private: false }, to.clone(), t);
        self.with_call(call, |call, sh| match (done, &mut call.transfer) {
            // The dialling may have failed already; then this is where it is told.
            (Ok(()), Some(transfer)) => transfer.refer = refer,
            (Ok(()), None) | (Err(_), _) => {
                let aim = Aim::Upstream(by);
                call.transfer = Some(Transfer { by, refer, to, aim, rings: false, early: None });
                call.transfer_failed(&Failure::of(EndReason::RemoteFailure), sh, t);
            }
        });
    }

    /// Moves a leg into the place of another call's leg. Its former call is over by that.
    fn join(&mut self, (into, out): (CallId, LegId), from: (CallId, LegId), t: Clock) {
        let fits = |c: &crate::call::Call| match c.state {
            State::Talking { .. } | State::Trying { .. } => c.legs.iter().any(|l| l.id == out),
            State::Preparing { .. }
            | State::Announcing { .. }
            | State::Connecting { .. }
            | State::Closing { .. } => false,
        };
        let id = match self.calls.get_mut(&into).filter(|c| fits(c)) {
            Some(call) => call.take_borrowed(from).unwrap_or_else(|| call.next_leg()),
            None => return self.dismiss(from.0, t),
        };
        let given = self.calls.get_mut(&from.0).and_then(|c| Some((c.give(from.1, (into, id))?, c.worker)));
        let Some((mut leg, worker)) = given else {
            return self.dismiss(from.0, t);
        };
        leg.id = id;
        let from_there = Adopted { leg, call: from.0, worker, their: from.1 };
        self.with_call(into, |call, sh| call.adopt(from_there, out, sh, t));
        self.with_call(from.0, |call, sh| {
            call.end(Failure::of(EndReason::Transferred), EndedBy::Caller, sh, t);
        });
    }
}
