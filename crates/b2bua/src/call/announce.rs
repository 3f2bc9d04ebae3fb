//! Announcements: what a caller hears before the call goes on, or instead of anybody.

use media_bridge::control::{Command as Media, LegKind};
use sip_ua::{Body, Command as Sip};
use types::{EndReason, EndedBy, LegId, limits};
use webrtc_peer::signalling::CallState;

use super::end::Failure;
use super::{Call, Device, MEDIA_REPLY, State};
use crate::route::Plan;
use crate::shared::{Clock, Shared};

impl Call {
    /// The caller's media is made: it hears the announcement of its route first, if there is one. Where that leads to
    /// somebody the call is not answered by it, and costs nobody anything.
    pub(super) fn announce_or_try(&mut self, sh: &mut Shared, t: Clock) {
        let State::Preparing { plan, .. } = &mut self.state else { return };
        let announced = self.facts.treatment.announce.filter(|_| !self.facts.emergency);
        let answers = matches!(plan, Plan::Announce);
        // Whoever wants our offer has not answered it, and can hear nothing before we answer.
        let hears = answers || self.legs[0].offer.is_some() || self.legs[0].kind == LegKind::WebRtc;
        let Some(sound) = announced.filter(|_| hears) else { return self.begin_trying(sh, t) };
        let plan = std::mem::replace(plan, Plan::Announce);
        self.state = State::Announcing { plan, deadline: t.now + limits::SOUND_DURATION + MEDIA_REPLY };
        if answers {
            self.answer_caller(sh, t)
        } else {
            self.progress_to_caller(sh)
        }
        self.tell_media(Media::Play { leg: self.caller, sound }, sh);
    }

    fn answer_caller(&mut self, sh: &mut Shared, t: Clock) {
        self.pick_up(sh);
        self.has_answered(sh, t);
        self.show(self.caller, CallState::InCall, sh);
    }

    fn progress_to_caller(&mut self, sh: &mut Shared) {
        let caller = &mut self.legs[0];
        if let (Device::Sip(leg), Some(sdp)) = (&caller.device, &caller.local_sdp) {
            sh.sip(Sip::Provisional { leg: *leg, status: 183, body: Some(Body::sdp(sdp.clone())) });
            caller.answer_sent = true;
        }
        self.show(self.caller, CallState::EarlyMedia, sh);
    }

    /// A sound was played to its end. Notices end by themselves.
    pub(super) fn on_played(&mut self, id: LegId, sh: &mut Shared, t: Clock) {
        let State::Announcing { plan, .. } = &mut self.state else { return };
        if id != self.caller {
            return;
        }
        if let Plan::Announce = plan {
            return self.end(Failure::of(EndReason::HungUp), EndedBy::Gateway, sh, t);
        }
        let plan = std::mem::replace(plan, Plan::Announce);
        self.state = State::Preparing { plan, deadline: t.now + MEDIA_REPLY };
        self.begin_trying(sh, t);
    }
}
