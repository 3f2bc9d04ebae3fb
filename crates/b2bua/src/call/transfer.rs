//! One call's side of a transfer: someone takes the place of one of its parties, or one of its parties goes on in
//! another call. A leg that changes calls keeps its peer, its description and its streams (field problems 2, 3, 22).

use media_bridge::control::{Command as Media, Source, Tone};
use sip_ua::{Command as Sip, ReferId, ReferOutcome};
use types::{CallId, EndReason, EndedBy, LegId, WorkerId};
use webrtc_peer::signalling::{ToBrowser, TransferState};

use super::end::{Failure, stop_leg};
use super::{Call, Device, Leg, Party, Phase, Proxy, State};
use crate::output::{CdrTransfer, Level};
use crate::shared::{Clock, Shared};
use crate::transfer::{Effect, Problem};

/// Someone has asked for a transfer, and nobody has answered yet.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// Who has asked.
    pub by: LegId,
    /// In which form, if by SIP.
    pub refer: Option<ReferId>,
    /// What was asked for.
    pub to: String,
    pub aim: Aim,
    /// It rings there.
    pub rings: bool,
    /// The new party sends media before it answers: an announcement, the network's own ringing.
    pub early: Option<Early>,
}

/// A leg of the call that rings the new party, heard before the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    /// Its name here.
    pub leg: LegId,
    /// It wants to hear nothing.
    pub holds: bool,
}

/// How the new party is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// A call of ours rings them.
    Call(CallId),
    /// This trunk leg was asked to do it (RFC 3515).
    Upstream(LegId),
}

/// A leg that this call has given away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub leg: LegId,
    /// Where it is now.
    pub to: (CallId, LegId),
}

/// A leg that comes from another call.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// Under its name here.
    pub leg: Leg,
    pub call: CallId,
    /// Where that call's media is.
    pub worker: WorkerId,
    /// Its name there.
    pub their: LegId,
}

impl Call {
    /// The party that `by` would hand over, if it may now.
    pub fn transferable(&self, by: LegId) -> Result<&Leg, Problem> {
        let talking = matches!(self.state, State::Talking { .. });
        let other = self.peer_of(by).filter(|_| talking).and_then(|id| self.legs.iter().find(|l| l.id == id));
        match other {
            _ if self.transfer.is_some() => Err(Problem::Busy),
            Some(other) if other.alive() => Ok(other),
            Some(_) | None => Err(Problem::NotConnected),
        }
    }

    /// The transferor waits in silence, the other party with music.
    pub fn begin_transfer(&mut self, transfer: Transfer, sh: &mut Shared) {
        if let Some(refer) = transfer.refer {
            sh.sip(Sip::AcceptRefer { refer });
        }
        sh.log(Level::Info, Some(self.id), "being transferred");
        self.show_transfer(transfer.by, TransferState::Trying, None, sh);
        self.transfer = Some(transfer);
        self.sound_transfer(sh);
    }

    /// What both hear meanwhile.
    pub(super) fn sound_transfer(&mut self, sh: &mut Shared) {
        let Some(Transfer { by, rings, early, .. }) = self.transfer else { return };
        self.set_source(by, Source::Nothing, sh);
        let Some(other) = self.peer_of(by) else { return };
        let Some(leg) = self.legs.iter().find(|l| l.id == other) else { return };
        let (holds, music) = (leg.hold.is_on(), self.music_for(leg, sh));
        let source = match (holds, early, rings) {
            (true, _, _) => Source::Nothing,
            (false, Some(early), _) if !early.holds => Source::Leg(early.leg),
            (false, None, true) => Source::Tone(Tone::Ringback),
            (false, Some(_) | None, _) => music,
        };
        self.set_source(other, source, sh);
        if let Some(early) = early {
            let source = match (early.holds, holds) {
                (true, _) => Source::Nothing,
                (false, true) => music,
                (false, false) => Source::Leg(other),
            };
            self.tell_media(Media::SetSource { leg: early.leg, source }, sh);
        }
    }

    /// Lets whoever waits for this call hear a callee of it that sends media already.
    pub(super) fn lend(&self, callee: LegId, sh: &mut Shared) {
        let holds = self.legs.iter().any(|l| l.id == callee && l.hold.is_on());
        if let Device::Proxy(Proxy { of, .. }) = self.legs[0].device {
            sh.effects.push_back(Effect::Early { of, from: (self.id, callee), holds });
        }
    }

    /// The new party sends media and has not answered: leg `from` of the call that rings it, whose media is on `worker`,
    /// called `id` here.
    pub fn hear_early(
        &mut self,
        id: LegId,
        from: (CallId, LegId),
        worker: WorkerId,
        holds: bool,
        sh: &mut Shared,
    ) {
        if self.borrowed.is_none_or(|b| b.to != from) {
            self.borrowed = Some(Given { leg: id, to: from });
            self.tell_media(Media::Adopt { leg: id, from: from.0, worker, their: from.1 }, sh);
        }
        if let Some(transfer) = &mut self.transfer {
            transfer.early = Some(Early { leg: id, holds });
        }
        self.sound_transfer(sh);
    }

    /// That party did not come.
    pub fn early_over(&mut self, leg: LegId, sh: &mut Shared) {
        if let Some(transfer) = &mut self.transfer
            && transfer.early.take_if(|early| early.leg == leg).is_some()
        {
            self.sound_transfer(sh);
        }
    }

    /// The name that this leg of another call has here already.
    pub fn take_borrowed(&mut self, from: (CallId, LegId)) -> Option<LegId> {
        self.borrowed.take_if(|b| b.to == from).map(|b| b.leg)
    }

    /// The new party's phone rings.
    pub fn transfer_rings(&mut self, sh: &mut Shared) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.rings = true;
        let (by, refer) = (transfer.by, transfer.refer);
        self.sound_transfer(sh);
        if let Some(refer) = refer {
            sh.sip(Sip::ReferStatus { refer, status: 180 });
        }
        self.show_transfer(by, TransferState::Ringing, None, sh);
    }

    /// The new party did not come: the transferor has its call back, if it is still there.
    pub fn transfer_failed(&mut self, failure: &Failure, sh: &mut Shared, t: Clock) {
        let Some(transfer) = self.transfer.take() else { return };
        let State::Talking { callee, .. } = self.state else { return };
        if let Some(refer) = transfer.refer {
            sh.sip(Sip::ReferStatus { refer, status: failure.reject_status() });
        }
        sh.log(Level::Info, Some(self.id), format!("transfer failed: {}", failure.reason.sentence()));
        if self.leg(transfer.by).is_some_and(|l| l.alive()) {
            self.bridge(callee, sh);
            self.show_transfer(transfer.by, TransferState::Failed, Some(failure.reason), sh);
        } else {
            self.end(failure.clone(), EndedBy::Gateway, sh, t);
        }
    }

    /// A transferor that hangs up while its transfer is under way leaves the other party waiting for the outcome
    /// (RFC 5589 §6.1). Says whether that is so.
    pub(super) fn leaves_transfer(&mut self, id: LegId, sh: &mut Shared) -> bool {
        let leaves = self.transfer.as_ref().is_some_and(|t| t.by == id && matches!(t.aim, Aim::Call(_)));
        if leaves {
            if let Some(leg) = self.leg(id) {
                stop_leg(leg, &Failure::of(EndReason::HungUp), sh);
            }
            self.drop_media(id, sh);
        }
        leaves
    }

    /// Whatever was being arranged for this call is no longer needed.
    pub(super) fn abandon_transfer(&mut self, failure: &Failure, sh: &mut Shared) {
        let Some(transfer) = self.transfer.take() else { return };
        if let Some(refer) = transfer.refer {
            let status = if failure.reason == EndReason::Transferred { 200 } else { failure.reject_status() };
            sh.sip(Sip::ReferStatus { refer, status });
        }
        if let Aim::Call(call) = transfer.aim {
            sh.effects.push_back(Effect::Abandoned(call));
        }
    }

    /// What a trunk makes of our REFER. Where it will not do it, we do.
    pub fn on_referred(&mut self, id: LegId, outcome: ReferOutcome, sh: &mut Shared, t: Clock) {
        let Some(transfer) = self.transfer.as_ref().filter(|t| t.aim == Aim::Upstream(id)) else { return };
        match outcome {
            ReferOutcome::Progress(180..) => self.transfer_rings(sh),
            ReferOutcome::Progress(_) => {}
            ReferOutcome::Refused(_) => {
                let again = Effect::ReferRefused { call: self.id, by: transfer.by, to: transfer.to.clone() };
                sh.effects.push_back(again);
            }
            // Not to be told counts as done: the trunk has taken the call over.
            ReferOutcome::Done(Some(200..=299) | None) => {
                let transferor = self.leg(transfer_by(&self.transfer)).map(|l| l.cdr_party(sh));
                self.note_transfer(transferor, None, t);
                let by = if id == self.caller { EndedBy::Callee } else { EndedBy::Caller };
                self.end(Failure::of(EndReason::Transferred), by, sh, t);
            }
            ReferOutcome::Done(Some(status)) => {
                let party = self.leg(id).map_or(Party::Trunk(0), |l| l.party.clone());
                self.transfer_failed(&Failure::of_status(status, None, &party), sh, t);
            }
        }
    }

    /// Gives a leg away: it is in `to` from now on, what is left here is its record.
    pub fn give(&mut self, id: LegId, to: (CallId, LegId)) -> Option<Leg> {
        let at = self.legs.iter().position(|l| l.id == id && l.alive())?;
        let old = &self.legs[at];
        let mut left = Leg::new(id, old.party.clone(), old.device.clone(), Phase::Over);
        (left.codec, left.stats, left.shown) = (old.codec, old.stats, old.shown.clone());
        self.given = Some(Given { leg: id, to });
        self.continued_in = Some(to.0);
        Some(std::mem::replace(&mut self.legs[at], left))
    }

    /// The name for a leg that comes from another call.
    pub fn next_leg(&mut self) -> LegId {
        let id = LegId(self.next_leg);
        self.next_leg = self.next_leg.saturating_add(1);
        id
    }

    /// Takes a leg over in the place of `out`, or as who answers while it rings.
    pub fn adopt(&mut self, adopted: Adopted, out: LegId, sh: &mut Shared, t: Clock) {
        let Adopted { mut leg, call: from, worker, their } = adopted;
        let id = leg.id;
        match &leg.device {
            Device::Sip(sip) => {
                sh.sip_legs.insert(*sip, (self.id, id));
            }
            Device::Browser { session, name } => sh.sessions.remember_call(*session, name, (self.id, id)),
            Device::Proxy(_) => {}
        }
        if leg.lent.take().is_none() && leg.has_media {
            self.tell_media(Media::Adopt { leg: id, from, worker, their }, sh);
        }
        if matches!(self.state, State::Trying { .. }) {
            self.legs.push(leg);
            self.win(id, super::MEDIA_REPLY, sh, t);
            return;
        }
        let State::Talking { callee, deadline } = self.state else { return };
        let transferor = self.leg(out).map(|l| l.cdr_party(sh));
        self.note_transfer(transferor, Some(from), t);
        if out == self.caller {
            self.caller = id;
            self.legs.insert(0, leg);
        } else {
            self.legs.push(leg);
            self.state = State::Talking { callee: id, deadline };
        }
        self.abandon_transfer(&Failure::of(EndReason::Transferred), sh);
        self.hand_permit(out, id);
        if let Some(old) = self.leg(out) {
            stop_leg(old, &Failure::of(EndReason::Transferred), sh);
        }
        self.drop_media(out, sh);
        let callee = if out == self.caller || out != callee { callee } else { id };
        self.bridge(callee, sh);
        let (a, b) = (self.caller, callee);
        self.show_party(a, b, sh);
        self.show_party(b, a, sh);
        sh.log(Level::Info, Some(self.id), format!("transferred: goes on with the party of {from}"));
    }

    /// Another device of the same party counts as the same call of theirs.
    fn hand_permit(&mut self, out: LegId, id: LegId) {
        let Some(old) = self.leg(out) else { return };
        let party = old.party.clone();
        let permit = old.permit.take();
        let same = self.leg(id).filter(|new| new.party == party && new.permit.is_none());
        match same {
            Some(new) => new.permit = permit,
            None => self.leg(out).into_iter().for_each(|old| old.permit = permit.clone()),
        }
    }

    /// The caller's place is taken by nobody: what is rung is for the parties of another call.
    pub fn become_proxy(
        &mut self,
        of: CallId,
        codec: Option<media_bridge::control::Codec>,
        sh: &mut Shared,
        t: Clock,
    ) {
        let old = self.caller;
        let transferor = self.legs[0].cdr_party(sh);
        let proxy = Proxy { of, by: self.id, transferor };
        let id = self.next_leg();
        let party = self.legs[0].party.clone();
        let mut leg = Leg::new(id, party, Device::Proxy(proxy), Phase::Trying);
        (leg.codec, leg.shown) = (codec, self.legs[0].shown.clone());
        self.legs.insert(0, leg);
        self.caller = id;
        if let Some(old) = self.leg(old) {
            stop_leg(old, &Failure::of(EndReason::Transferred), sh);
        }
        self.drop_media(old, sh);
        if let State::Trying { progress, .. } = &mut self.state
            && *progress != super::Progress::Silent
        {
            *progress = match *progress {
                super::Progress::Early(callee) => super::Progress::EarlyWanted(callee),
                other @ (super::Progress::Silent
                | super::Progress::Ringing
                | super::Progress::EarlyWanted(_)) => other,
            };
            sh.effects.push_back(Effect::Rings(of));
        }
        self.advance(sh, t);
    }

    /// The caller is answered at once and goes into the other call (RFC 3891 §3).
    pub(super) fn take_over(&mut self, call: CallId, leg: LegId, sh: &mut Shared, t: Clock) {
        let deadline = t.now + super::MEDIA_REPLY;
        let hops = std::collections::VecDeque::new();
        self.state =
            State::Trying { hops, asked: None, progress: super::Progress::Silent, best: None, deadline };
        let caller = &mut self.legs[0];
        (caller.phase, caller.answer_sent) = (Phase::Up, true);
        if let Device::Sip(sip) = caller.device {
            let sdp = caller.local_sdp.clone().unwrap_or_default();
            sh.sip(Sip::Answer { leg: sip, body: sip_ua::Body::sdp(sdp) });
        }
        self.has_answered(sh, t);
        sh.effects.push_back(Effect::Replace { into: (call, leg), from: (self.id, self.caller) });
    }

    fn note_transfer(&mut self, by: Option<crate::output::CdrParty>, with: Option<CallId>, t: Clock) {
        let to = self.transfer.as_ref().map(|t| t.to.clone()).unwrap_or_default();
        if let Some(by) = by {
            self.facts.transfers.push(CdrTransfer { at: t.wall, by, to, with });
        }
    }

    fn show_transfer(&self, id: LegId, state: TransferState, why: Option<EndReason>, sh: &mut Shared) {
        let leg = self.legs.iter().find(|l| l.id == id && l.alive());
        if let Some(Device::Browser { session, name }) = leg.map(|l| &l.device) {
            let (reason, text) = (why.map(|r| r.word().to_owned()), why.map(|r| r.sentence().to_owned()));
            let message = ToBrowser::Transfer { call: name.clone(), state, reason, text };
            sh.browser(*session, message);
        }
    }

    /// Tells a browser who is at the other end now.
    fn show_party(&self, id: LegId, other: LegId, sh: &mut Shared) {
        let of = |id: LegId| self.legs.iter().find(|l| l.id == id);
        if let (Some(Device::Browser { session, name }), Some(other)) = (of(id).map(|l| &l.device), of(other))
        {
            let message = ToBrowser::Party { call: name.clone(), number: other.shown.clone() };
            sh.browser(*session, message);
        }
    }
}

fn transfer_by(transfer: &Option<Transfer>) -> LegId {
    transfer.as_ref().map_or(LegId::CALLER, |t| t.by)
}
