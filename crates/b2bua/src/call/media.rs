//! What the media plane reports.

use media_bridge::control::{Codec, Event, LegStats, Refusal};
use sip_ua::{Body, Command as Sip, Headers};
use types::{EndReason, EndedBy, LegId, limits};
use webrtc_peer::signalling::ToBrowser;

use super::end::{Failure, warning};
use super::{Call, Device, GOODBYE, Leg, MediaOp, MediaPlane, Phase, Progress, State, TRUNK_PATIENCE};
use crate::output::Level;
use crate::shared::{Clock, Shared};

impl Call {
    pub fn handle_media(&mut self, event: Event, sh: &mut Shared, t: Clock) {
        match event {
            Event::LocalSdp { leg, sdp, codec } => self.on_local_sdp(leg, sdp, codec, sh, t),
            Event::Negotiated { leg, codec } => self.on_negotiated(leg, codec, sh, t),
            Event::Direction { leg, direction } => self.on_direction(leg, direction, sh),
            Event::Refused { leg, why } => self.on_refused(leg, why, sh, t),
            Event::Connected { leg } => {
                if let Some(leg) = self.leg(leg) {
                    leg.connected = true;
                }
                self.advance(sh, t);
            }
            Event::PathLost { leg } => self.on_path(leg, true, sh),
            Event::PathRestored { leg } => self.on_path(leg, false, sh),
            Event::Lost { leg, why } => self.on_lost(leg, why, t),
            Event::Silent { leg, expected } => self.on_silent(leg, &expected, sh),
            Event::Dtmf { leg, digit, duration } => self.on_digit(leg, digit, duration, sh),
            Event::Played { leg } => self.on_played(leg, sh, t),
            Event::Stats { leg, stats } => self.on_stats(leg, stats, sh, t),
            Event::Closed => self.media = MediaPlane::Gone,
            Event::Crashed => {
                self.media = MediaPlane::Gone;
                self.end(Failure::of(EndReason::Internal), EndedBy::Gateway, sh, t);
            }
        }
    }

    fn next_op(&mut self, leg: LegId) -> Option<MediaOp> {
        self.leg(leg).filter(|l| l.alive()).and_then(|l| l.ops.pop_front())
    }

    fn on_local_sdp(&mut self, id: LegId, sdp: Vec<u8>, codec: Option<Codec>, sh: &mut Shared, t: Clock) {
        let Some(op) = self.next_op(id) else { return };
        let caller = self.caller;
        let Some(leg) = self.leg(id) else { return };
        leg.codec = codec.or(leg.codec);
        leg.local_sdp = Some(sdp.clone());
        let device = leg.device.clone();
        let is_caller = id == caller;
        match (op, device) {
            (MediaOp::Answer | MediaOp::Reanswer, Device::Browser { session, name }) => {
                let sdp = String::from_utf8_lossy(&sdp).into_owned();
                sh.browser(session, ToBrowser::Sdp { call: name, sdp });
            }
            (MediaOp::Reanswer | MediaOp::Reoffer, Device::Sip(sip)) => {
                sh.sip(Sip::AcceptReinvite { leg: sip, body: Body::sdp(sdp) });
            }
            (MediaOp::Update, Device::Sip(sip)) => {
                sh.sip(Sip::Reinvite { leg: sip, body: Body::sdp(sdp) });
            }
            (MediaOp::Offer, Device::Sip(sip)) if !is_caller => {
                let trying = std::mem::replace(&mut leg.phase, Phase::Trying);
                if let Phase::Preparing(mut invite) = trying {
                    leg.unheard = leg.target.map(|_| t.now + TRUNK_PATIENCE);
                    invite.body = Some(Body::sdp(sdp));
                    sh.sip(Sip::Invite(sip, invite));
                }
            }
            (MediaOp::Answer | MediaOp::AnswerAgain | MediaOp::Offer | MediaOp::SetAnswer, _)
            | (MediaOp::Reoffer | MediaOp::Update, Device::Browser { .. })
            | (MediaOp::Reanswer | MediaOp::Reoffer | MediaOp::Update, Device::Proxy(_)) => {}
        }
        if id == self.caller && matches!(self.state, State::Preparing { .. }) {
            self.show(id, webrtc_peer::signalling::CallState::Calling, sh);
            self.announce_or_try(sh, t);
        }
        self.advance(sh, t);
    }

    fn on_negotiated(&mut self, id: LegId, codec: Codec, sh: &mut Shared, t: Clock) {
        if self.next_op(id).is_none() {
            return;
        }
        if let Some(leg) = self.leg(id) {
            leg.codec = Some(codec);
        }
        if let State::Trying { progress, .. } = &mut self.state
            && id != self.caller
            && matches!(*progress, Progress::Silent | Progress::Ringing)
        {
            *progress = Progress::EarlyWanted(id);
        }
        self.advance(sh, t);
    }

    fn on_refused(&mut self, id: LegId, why: Refusal, sh: &mut Shared, t: Clock) {
        let Some(op) = self.next_op(id) else { return };
        let Some(device) = self.leg(id).map(|l| l.device.clone()) else { return };
        let failure = Failure::of_refusal(&why, &sh.config.domain);
        let side = if id == self.caller { EndedBy::Caller } else { EndedBy::Callee };
        if matches!(why, Refusal::Srtp(_)) {
            self.record(refusal_sentence(&why));
        }
        match (op, device) {
            (MediaOp::Answer | MediaOp::Offer, _) if id == self.caller => self.end(failure, side, sh, t),
            (MediaOp::Answer, Device::Browser { session, name }) => {
                sh.error(session, failure.reason.word(), refusal_sentence(&why), Some(&name));
                self.lose_callee(id, failure, sh, t);
            }
            (MediaOp::Offer | MediaOp::Answer, _) => self.lose_callee(id, failure, sh, t),
            // The session stays as it was (RFC 3261 §14.2): the call goes on.
            (MediaOp::Reanswer | MediaOp::Reoffer, Device::Browser { session, name }) => {
                sh.error(session, "bad-sdp", refusal_sentence(&why), Some(&name));
            }
            (MediaOp::Reanswer | MediaOp::Reoffer, Device::Sip(sip)) => {
                let headers: Headers =
                    warning(&why, &sh.config.domain).into_iter().map(|w| ("Warning", w)).collect();
                sh.sip(Sip::RejectReinvite { leg: sip, status: 488, headers });
            }
            (MediaOp::SetAnswer, _) if matches!(self.state, State::Trying { .. }) => {
                if let Some(leg) = self.leg(id) {
                    leg.remote_sdp = None;
                }
                let note = format!("early media that cannot be used: {}", refusal_sentence(&why));
                self.note(note, sh);
            }
            (MediaOp::SetAnswer, _) => self.end(failure, side, sh, t),
            (MediaOp::AnswerAgain, _) => self.advance(sh, t),
            (MediaOp::Update, _) => self.on_updated(id, Err(500), sh, t),
            (MediaOp::Reanswer | MediaOp::Reoffer, Device::Proxy(_)) => {}
        }
    }

    /// Takes a callee out that is not yet connected; the other devices go on ringing.
    pub(super) fn lose_callee(&mut self, id: LegId, failure: Failure, sh: &mut Shared, t: Clock) {
        match self.state {
            State::Trying { .. } => {
                self.stop_callee(id, &failure, sh);
                self.callee_failed(id, failure, sh, t);
            }
            State::Connecting { callee, .. } | State::Talking { callee, .. } if callee == id => {
                self.end(failure, EndedBy::Callee, sh, t);
            }
            State::Preparing { .. }
            | State::Announcing { .. }
            | State::Connecting { .. }
            | State::Talking { .. }
            | State::Closing { .. } => {}
        }
    }

    /// A browser is not heard, or is heard again: both sides are told, the call goes on.
    fn on_path(&mut self, id: LegId, lost: bool, sh: &mut Shared) {
        let side = self.side(id);
        let words = if lost { "nothing comes from" } else { "something comes again from" };
        self.record(format!("{words} the browser of the {side}"));
        for (leg, local) in [(Some(id), true), (self.peer_of(id), false)] {
            if let Some(Device::Browser { session, name }) =
                leg.and_then(|l| self.leg(l)).map(|l| l.device.clone())
            {
                sh.browser(session, ToBrowser::Path { call: name, local, lost });
            }
        }
    }

    fn on_lost(&mut self, id: LegId, why: String, t: Clock) {
        if let Some(leg) = self.leg(id) {
            leg.lost.get_or_insert((t.now, why));
        }
    }

    /// Ends what lost its media and did not say goodbye in time.
    pub(super) fn give_up_lost(&mut self, sh: &mut Shared, t: Clock) {
        let due = |leg: &Leg| leg.alive() && leg.lost.as_ref().is_some_and(|(at, _)| *at + GOODBYE <= t.now);
        while let Some(leg) = self.legs.iter_mut().find(|l| due(l)) {
            let (id, lost) = (leg.id, leg.lost.take());
            if let Some((_, why)) = lost {
                self.record(format!("the audio of the {}'s browser ended: {why}", self.side(id)));
            }
            let failure = Failure::of(EndReason::MediaLost);
            if self.leaves_transfer(id, sh) {
                // The others wait for the outcome.
            } else if id == self.caller {
                self.end(failure, EndedBy::Caller, sh, t);
            } else {
                self.lose_callee(id, failure, sh, t);
            }
        }
    }

    /// No audio arrives though it was promised (field problem 1): say it where people look, the call goes on.
    fn on_silent(&mut self, id: LegId, expected: &str, sh: &mut Shared) {
        let holds = self.leg(id).is_some_and(|l| l.hold.is_on());
        if holds || !matches!(self.state, State::Talking { .. }) {
            return;
        }
        let side = self.side(id);
        self.note(format!("no audio has come from the {side}; its description says {expected}"), sh);
        if let Some(peer) = self.peer_of(id)
            && let Some(Device::Browser { session, name }) = self.leg(peer).map(|l| l.device.clone())
        {
            sh.error(session, "no-audio", "No audio is arriving from the other side.", Some(&name));
        }
    }

    /// Field problem 23: who neither speaks nor is on the way out may have vanished. Who is mute, or holds, answers.
    fn on_stats(&mut self, id: LegId, stats: LegStats, sh: &mut Shared, t: Clock) {
        let talking = matches!(self.state, State::Talking { .. });
        if let Some(moment) = &stats.moment {
            self.show_quality(id, moment, sh);
        }
        let Some(leg) = self.leg(id) else { return };
        let moves = leg.stats.replace(stats).is_none_or(|before| before.packets_in != stats.packets_in);
        let since = *leg.quiet.get_or_insert(t.now);
        if moves || !talking {
            leg.quiet = Some(t.now);
        } else if t.now.saturating_duration_since(since) >= limits::PEER_SILENCE
            && let Device::Sip(sip) = leg.device
        {
            leg.quiet = Some(t.now);
            sh.sip(Sip::Probe { leg: sip });
        }
    }

    fn side(&self, id: LegId) -> &'static str {
        if id == self.caller { "caller" } else { "callee" }
    }

    /// A sentence for the record and the log; addresses belong into the record only.
    fn note(&mut self, text: String, sh: &mut Shared) {
        self.record(text.clone());
        sh.log(Level::Debug, Some(self.id), text);
        sh.log(Level::Warn, Some(self.id), "something is wrong with the audio of this call; see its record");
    }

    /// A sentence for the record alone.
    pub(super) fn record(&mut self, text: String) {
        if self.facts.notes.len() < NOTES {
            self.facts.notes.push(text);
        }
    }

    /// Shows a digit that `from` pressed to the other side's person.
    pub(super) fn show_digit(&mut self, from: LegId, digit: char, ms: u32, sh: &mut Shared) {
        if let Some(peer) = self.peer_of(from)
            && let Some(Device::Browser { session, name }) = self.leg(peer).map(|l| l.device.clone())
        {
            sh.browser(session, ToBrowser::Dtmf { call: name, digit, ms });
        }
    }
}

/// Notes kept for one record. Full: later ones are only logged.
const NOTES: usize = 8;

fn refusal_sentence(why: &Refusal) -> String {
    match why {
        Refusal::Unparsable(words) => format!("The session description cannot be read: {words}."),
        Refusal::Srtp(words) => format!("Encryption of the audio cannot be agreed on: {words}."),
        Refusal::Unusable(words) => format!("The session description cannot be used: {words}."),
        Refusal::NoCommonCodec { theirs, ours } => {
            format!("No audio codec in common: one side has {theirs}, the other {ours}.")
        }
        Refusal::NoPort(words) => format!("No media port is free: {words}."),
        Refusal::Unknown => "The gateway lost track of this call's audio.".into(),
    }
}
