//! One call: a caller's leg, the legs that ring, and the one state that says what is going on.
//!
//! Events change facts on legs; `advance` then looks whether the state can go on. Every end goes through
//! `end`, into `Closing`, and out through `Cdr`: there is no other way for a call to be over.

mod announce;
mod browser;
mod codecs;
mod dial;
mod end;
mod heard;
mod hold;
mod leg;
mod media;
mod quality;
mod record;
mod sip;
mod transfer;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use media_bridge::control::{Bandwidth, Codec, Command as Media, LegKind, Source, Tone};
use sip_ua::{Body, Command as Sip};
use types::{CallId, EndReason, EndedBy, LegId, UserName, Wall, WorkerId, limits};
use webrtc_peer::signalling::{CallState, ToBrowser};

use crate::config::Treatment;
use crate::output::{CdrParty, CdrTransfer};
use crate::route::{Hop, Plan};
use crate::shared::{Clock, Permit, Shared};
use crate::transfer::Effect;
use crate::workers::Seat;

pub(crate) use dial::{address, usual_kind};
pub(crate) use end::{Failure, quoted};
pub(crate) use leg::{Device, Leg, MEDIA_OPS, MediaOp, Party, Phase, Proxy};

pub use quality::{complaint, remarks, two_decimals, unconnected};
use record::{By, Running};
pub(crate) use transfer::{Adopted, Aim, Given, Transfer};

/// How long an answering browser may take to have its audio up before the caller is connected regardless: its
/// first words would be lost otherwise (field problem 10).
pub const ANSWER_MEDIA: Duration = Duration::from_secs(2);
/// How long a browser whose media is gone has to say goodbye: closing a page ends DTLS before the `bye` arrives.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);
/// How long a trunk's target may say nothing at all to an INVITE before the next one is tried (RFC 3263 §4.3): a server
/// that is there says 100 within 200 ms (RFC 3261 §17.2.1), and by now four copies have gone out (§17.1.1.2).
pub const TRUNK_PATIENCE: Duration = limits::TRUNK_SILENCE;
/// How long the media plane may take for one answer; it is local, so this is a defect when it passes.
pub const MEDIA_REPLY: Duration = Duration::from_secs(5);

/// What the caller knows of the callees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Nothing yet.
    Silent,
    /// A real 180 came from somewhere, or a browser shows the call (field problem 12).
    Ringing,
    /// A callee sends media before answering; the caller's answer for it is being made.
    EarlyWanted(LegId),
    /// The caller hears this leg.
    Early(LegId),
}

#[derive(Debug)]
pub(crate) enum State {
    /// The caller's media is being made; nobody rings yet.
    Preparing { plan: Plan, deadline: Instant },
    /// The caller hears the announcement of its route; nobody rings yet.
    Announcing { plan: Plan, deadline: Instant },
    /// Devices of a user ring at once, or trunks are tried in turn.
    Trying {
        hops: VecDeque<Hop>,
        /// The trunk that was asked last.
        asked: Option<usize>,
        progress: Progress,
        best: Option<Failure>,
        deadline: Instant,
    },
    /// One callee has answered; its media and the caller's answer are being completed.
    Connecting { callee: LegId, overdue: bool, deadline: Instant },
    /// Both are connected.
    Talking { callee: LegId, deadline: Instant },
    /// Everyone was told; waiting for legs in `Stopping` and for the media plane, at most until the deadline.
    Closing { failure: Failure, by: EndedBy, ended: (Instant, Wall), deadline: Instant },
}

/// Whether the media plane holds anything of this call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MediaPlane {
    Unused,
    Open,
    Closing,
    Gone,
}

/// Who calls and what is known for the record.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Number or name shown to callees of ours.
    pub from: String,
    /// Their number in international form, where it has one and may be known.
    pub from_e164: Option<String>,
    /// Display name, may be empty.
    pub from_name: String,
    /// The caller wants not to be known (RFC 3323).
    pub private: bool,
    /// The caller's number as a trusted trunk asserts it, even where it is not to be known.
    pub asserted: Option<String>,
    /// What was dialled.
    pub to: String,
    /// The same in international form, where it has one.
    pub to_e164: Option<String>,
    /// The user who has asked for this call in favour of another's, and may be known.
    pub referred_by: Option<UserName>,
    /// The caller asks for help.
    pub emergency: bool,
    pub caller: CdrParty,
    pub started: Wall,
    pub answered: Option<(Instant, Wall)>,
    pub digits: u32,
    pub transfers: Vec<CdrTransfer>,
    /// What its route does with it.
    pub treatment: Treatment,
    /// How many have begun.
    pub recordings: u16,
    pub notes: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub id: CallId,
    pub worker: WorkerId,
    pub state: State,
    /// The caller, or whoever has taken that place by a transfer, is first.
    pub legs: Vec<Leg>,
    /// That leg.
    caller: LegId,
    pub media: MediaPlane,
    pub facts: Facts,
    /// Of the user who is called, until one of their devices has answered.
    callee_permit: Option<Permit>,
    seat: Seat,
    /// The recording that runs.
    recording: Option<Running>,
    pub transfer: Option<Transfer>,
    pub given: Option<Given>,
    /// Media of another call's leg that this one hears before it is answered: its name here, and whose it is.
    pub borrowed: Option<Given>,
    continued_in: Option<CallId>,
    next_leg: u16,
    /// The leg that answered, else the one tried last.
    last_callee: Option<LegId>,
    /// When the switch has this call in its wake-up index.
    pub wakes: Option<Instant>,
}

/// What is needed to begin a call.
pub(crate) struct NewCall {
    pub id: CallId,
    pub caller: Leg,
    /// The caller's session description; none: the caller wants our offer.
    pub offer: Option<Vec<u8>>,
    pub plan: Result<Plan, Failure>,
    pub facts: Facts,
    /// Of the user who is called.
    pub callee_permit: Option<Permit>,
    /// Where its media is to be; none: it does not matter.
    pub worker: Option<WorkerId>,
}

impl Call {
    /// Begins a call; a plan that failed ends it at once, with its record.
    pub fn start(new: NewCall, sh: &mut Shared, t: Clock) -> Call {
        let permits = [new.caller.permit.as_ref(), new.callee_permit.as_ref()];
        let (worker, seat) = sh.usage.take_worker(new.worker, permits);
        let mut call = Call {
            id: new.id,
            worker,
            state: State::Preparing { plan: Plan::Dial(VecDeque::new()), deadline: t.now + MEDIA_REPLY },
            legs: vec![new.caller],
            caller: LegId::CALLER,
            media: MediaPlane::Unused,
            facts: new.facts,
            callee_permit: new.callee_permit,
            seat,
            recording: None,
            transfer: None,
            given: None,
            borrowed: None,
            continued_in: None,
            next_leg: 1,
            last_callee: None,
            wakes: None,
        };
        match new.plan {
            Ok(plan) => call.prepare(plan, new.offer, sh, t),
            Err(failure) => call.end(failure, EndedBy::Gateway, sh, t),
        }
        call
    }

    /// Makes the caller's media first: it connects while the phone rings, and a bad offer rings nowhere.
    fn prepare(&mut self, plan: Plan, offer: Option<Vec<u8>>, sh: &mut Shared, t: Clock) {
        if let Device::Proxy(_) = self.legs[0].device {
            self.state = State::Preparing { plan, deadline: t.now + MEDIA_REPLY };
            return self.begin_trying(sh, t);
        }
        let far = plan.trunk(&sh.config).map(|trunk| trunk.profile.codecs.as_slice());
        let bandwidth =
            far.and_then(|codecs| codecs.iter().map(|c| Bandwidth::of(*c)).max()).unwrap_or_default();
        let first = match (self.legs[0].kind, &self.legs[0].device) {
            (LegKind::WebRtc, _) => None,
            (LegKind::Rtp, _) => far.and_then(|codecs| codecs.first().copied()),
        };
        let params = self.legs[0].params(sh, first, bandwidth);
        self.state = State::Preparing { plan, deadline: t.now + MEDIA_REPLY };
        let params = self.untouched(self.caller, params, sh);
        match offer {
            Some(offer) => {
                self.legs[0].offer = Some(offer.clone());
                self.ask_media(
                    self.caller,
                    MediaOp::Answer,
                    Media::Answer { leg: self.caller, params, offer },
                    sh,
                );
            }
            None => {
                let command = Media::Offer { leg: self.caller, params };
                self.ask_media(self.caller, MediaOp::Offer, command, sh);
            }
        }
    }

    pub fn leg(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|l| l.id == id)
    }

    fn peer_of(&self, leg: LegId) -> Option<LegId> {
        let callee = match self.state {
            State::Talking { callee, .. } | State::Connecting { callee, .. } => callee,
            State::Trying { progress: Progress::Early(callee), .. } => callee,
            State::Preparing { .. }
            | State::Announcing { .. }
            | State::Trying { .. }
            | State::Closing { .. } => return None,
        };
        let peer = match leg {
            leg if leg == self.caller => callee,
            leg if leg == callee => self.caller,
            _ => return None,
        };
        self.legs.iter().any(|l| l.id == peer && l.alive() && l.has_media).then_some(peer)
    }

    /// A command that the media plane answers with one event.
    fn ask_media(&mut self, leg: LegId, op: MediaOp, command: Media, sh: &mut Shared) {
        if let Some(leg) = self.leg(leg) {
            leg.ops.push_back(op);
            leg.has_media = true;
        }
        self.tell_media(command, sh);
    }

    pub(crate) fn tell_media(&mut self, mut command: Media, sh: &mut Shared) {
        if let Some(leg) = command.leg_mut()
            && let Some((of, id)) = self.legs.iter().find(|l| l.id == *leg).and_then(|l| l.lent)
        {
            *leg = id;
            return sh.effects.push_back(Effect::Media { of, command });
        }
        match self.media {
            MediaPlane::Unused | MediaPlane::Open => {
                self.media = MediaPlane::Open;
                sh.media(self.worker, self.id, command);
            }
            MediaPlane::Closing | MediaPlane::Gone => {}
        }
    }

    fn set_source(&mut self, leg: LegId, source: Source, sh: &mut Shared) {
        if self.leg(leg).is_none_or(|l| !l.has_media) {
            return;
        }
        self.tell_media(Media::SetSource { leg, source }, sh);
    }

    /// Shows progress to a leg that is a browser.
    fn show(&mut self, leg: LegId, state: CallState, sh: &mut Shared) {
        let leg = self.leg(leg).filter(|l| l.alive());
        if let Some(Device::Browser { session, name }) = leg.map(|l| l.device.clone()) {
            sh.browser(session, ToBrowser::State { call: name, state });
        }
    }

    /// Looks whether what is now known lets the state go on.
    fn advance(&mut self, sh: &mut Shared, t: Clock) {
        match self.state {
            State::Trying { progress: Progress::EarlyWanted(callee), .. } => self.advance_early(callee, sh),
            State::Connecting { callee, overdue, .. } => self.advance_connecting(callee, overdue, sh, t),
            State::Preparing { .. }
            | State::Announcing { .. }
            | State::Trying { .. }
            | State::Talking { .. }
            | State::Closing { .. } => {}
        }
    }

    fn advance_early(&mut self, callee: LegId, sh: &mut Shared) {
        let Some(codec) = self.leg(callee).filter(|l| l.idle()).and_then(|l| l.codec) else { return };
        if let Device::Proxy(Proxy { of, .. }) = self.legs[0].device {
            self.set_progress(Progress::Early(callee));
            sh.effects.push_back(Effect::Rings(of));
            return self.lend(callee, sh);
        }
        if !self.caller_ready(codec, false, sh) {
            return;
        }
        if let State::Trying { progress, .. } = &mut self.state {
            *progress = Progress::Early(callee);
        }
        self.bridge(callee, sh);
        self.show(self.caller, CallState::EarlyMedia, sh);
        let caller = &mut self.legs[0];
        if let (Device::Sip(leg), Some(sdp), true) =
            (&caller.device, &caller.local_sdp, caller.offer.is_some())
        {
            sh.sip(Sip::Provisional { leg: *leg, status: 183, body: Some(Body::sdp(sdp.clone())) });
            caller.answer_sent = true;
        }
    }

    /// Whether the caller's answer is made, with the callee's codec where the caller has it too. Asks the media
    /// plane for it at most once per codec. A caller that has its answer is offered the codec by UPDATE where it can be;
    /// `overdue`: its answer to that has been waited for long enough.
    fn caller_ready(&mut self, codec: Codec, overdue: bool, sh: &mut Shared) -> bool {
        let caller = &mut self.legs[0];
        if !caller.idle() {
            return false;
        }
        let offer = match (caller.kind, &caller.offer) {
            (LegKind::Rtp, Some(offer)) if !caller.answer_sent => offer.clone(),
            (LegKind::Rtp, Some(_)) if caller.updatable => return self.update_caller(codec, overdue, sh),
            // Its codec was chosen when its connection began.
            (LegKind::Rtp, Some(_) | None) | (LegKind::WebRtc, _) => return true,
        };
        if caller.codec == Some(codec) || caller.preferred == Some(codec) {
            return true;
        }
        caller.preferred = Some(codec);
        let params = caller.params(sh, Some(codec), Bandwidth::Full);
        let command = Media::Answer { leg: self.caller, params, offer };
        self.ask_media(self.caller, MediaOp::AnswerAgain, command, sh);
        false
    }

    /// Who is at a leg.
    pub fn party(&self, id: LegId, sh: &Shared) -> Option<CdrParty> {
        self.legs.iter().find(|leg| leg.id == id).map(|leg| leg.cdr_party(sh))
    }

    /// What caller and callee speak, while they talk.
    pub fn codecs(&self) -> Option<(Codec, Codec)> {
        let State::Talking { callee, .. } = self.state else { return None };
        let of = |id| self.legs.iter().find(|l| l.id == id).and_then(|l| l.codec);
        of(self.caller).zip(of(callee))
    }

    /// From now on it is a talk, and its audio costs what audio costs.
    fn has_answered(&mut self, sh: &mut Shared, t: Clock) {
        self.facts.answered = Some((t.now, t.wall));
        sh.usage.workers.answered(&mut self.seat, t.now);
    }

    /// The caller's leg is answered.
    fn pick_up(&mut self, sh: &mut Shared) {
        let caller = &mut self.legs[0];
        caller.phase = Phase::Up;
        if let Device::Sip(leg) = caller.device {
            let sdp = caller.local_sdp.clone().unwrap_or_default();
            sh.sip(Sip::Answer { leg, body: Body::sdp(sdp) });
            caller.answer_sent = true;
        }
    }

    fn advance_connecting(&mut self, callee: LegId, overdue: bool, sh: &mut Shared, t: Clock) {
        let Some(leg) = self.leg(callee) else { return };
        let Some(codec) = leg.codec.filter(|_| leg.idle()) else { return };
        let ready = match leg.kind {
            LegKind::Rtp => true,
            LegKind::WebRtc => leg.connected || overdue,
        };
        if !ready || !self.caller_ready(codec, overdue, sh) {
            return;
        }
        if let Device::Proxy(Proxy { of, .. }) = self.legs[0].device {
            self.state = State::Talking { callee, deadline: t.now + limits::CALL_DURATION };
            self.has_answered(sh, t);
            self.show(callee, CallState::InCall, sh);
            return sh.effects.push_back(Effect::Join { of, from: (self.id, callee) });
        }
        self.bridge(callee, sh);
        self.pick_up(sh);
        self.state = State::Talking { callee, deadline: t.now + limits::CALL_DURATION };
        self.has_answered(sh, t);
        self.show(self.caller, CallState::InCall, sh);
        self.show(callee, CallState::InCall, sh);
        if self.legs.iter().any(|l| l.hold.is_on()) {
            self.show_hold(self.caller, callee, sh);
            self.show_hold(callee, self.caller, sh);
        }
        if self.facts.treatment.record {
            self.begin_recording(By::Route, callee, sh, t);
        }
    }

    fn set_progress(&mut self, now: Progress) {
        if let State::Trying { progress, .. } = &mut self.state {
            *progress = now;
        }
    }

    /// Tells the caller that it rings, once.
    fn ringing(&mut self, with_tone: bool, sh: &mut Shared) {
        let State::Trying { progress, .. } = &mut self.state else { return };
        if *progress != Progress::Silent {
            return;
        }
        *progress = Progress::Ringing;
        match self.legs[0].device {
            Device::Browser { .. } => {
                if with_tone {
                    self.set_source(self.caller, Source::Tone(Tone::Ringback), sh);
                }
                self.show(self.caller, CallState::Ringing, sh);
            }
            Device::Sip(leg) => {
                // Where the caller wants our offer, a response that it acknowledges brings it (RFC 3262 §5).
                let caller = &self.legs[0];
                let offer = caller.local_sdp.clone().filter(|_| caller.offer.is_none()).map(Body::sdp);
                sh.sip(Sip::Provisional { leg, status: 180, body: offer });
            }
            Device::Proxy(Proxy { of, .. }) => sh.effects.push_back(Effect::Rings(of)),
        }
        self.legs[0].phase = Phase::Ringing;
    }

    /// When `handle_timeout` is wanted.
    pub fn deadline(&self) -> Instant {
        let lost = self.legs.iter().filter(|l| l.alive()).filter_map(|l| Some(l.lost.as_ref()?.0 + GOODBYE));
        lost.chain(self.next_unheard()).fold(self.state_deadline(), Instant::min)
    }

    fn state_deadline(&self) -> Instant {
        match self.state {
            State::Preparing { deadline, .. }
            | State::Announcing { deadline, .. }
            | State::Trying { deadline, .. }
            | State::Connecting { deadline, .. }
            | State::Talking { deadline, .. }
            | State::Closing { deadline, .. } => deadline,
        }
    }

    /// The state's time is over.
    pub fn handle_timeout(&mut self, sh: &mut Shared, t: Clock) {
        self.give_up_lost(sh, t);
        self.give_up_unheard(sh, t);
        if self.state_deadline() > t.now {
            return;
        }
        match &mut self.state {
            State::Preparing { .. } => self.end(Failure::of(EndReason::Internal), EndedBy::Gateway, sh, t),
            State::Announcing { .. } => {
                self.end(Failure::of(EndReason::MediaNotConnected), EndedBy::Caller, sh, t);
            }
            State::Trying { .. } => self.end(Failure::of(EndReason::NoAnswer), EndedBy::Gateway, sh, t),
            State::Connecting { callee, overdue, deadline } => {
                let (callee, late) = (*callee, *overdue);
                *overdue = true;
                *deadline = t.now + MEDIA_REPLY;
                let usable = self.leg(callee).is_some_and(|l| l.codec.is_some() && l.idle());
                if late || !usable {
                    self.end(Failure::of(EndReason::MediaNotConnected), EndedBy::Callee, sh, t);
                } else {
                    self.advance(sh, t);
                }
            }
            State::Talking { .. } => self.end(Failure::of(EndReason::MaxDuration), EndedBy::Gateway, sh, t),
            State::Closing { .. } => self.give_up_waiting(sh),
        }
    }
}
