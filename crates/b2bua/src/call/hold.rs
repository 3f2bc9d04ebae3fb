//! Hold: each leg for itself, and what everyone hears follows from it.
//!
//! Whoever holds hears nothing; whoever is put on hold hears music. The other leg's session stays as it is: audio is
//! routed, nothing is negotiated with the held side, and its stream never stops (field problems 18, 21 and 35).

use media_bridge::control::{Direction, Source, Tone};
use types::LegId;
use webrtc_peer::signalling::ToBrowser;

use super::{Call, Device, Leg, Party, State};
use crate::shared::Shared;

/// How a leg's peer holds the call, if it does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Hold {
    /// Its person pressed Hold in a browser.
    pressed: bool,
    /// Its session description says so.
    described: bool,
}

impl Hold {
    /// Whether the call is on hold from this side.
    pub fn is_on(self) -> bool {
        self.pressed || self.described
    }
}

/// What `listener` hears in a conversation with `other`, who may have put it on hold.
fn heard_by(listener: &Leg, other: &Leg, music: Source) -> Source {
    if listener.hold.is_on() {
        Source::Nothing
    } else if other.hold.is_on() {
        music
    } else {
        Source::Leg(other.id)
    }
}

impl Call {
    /// Lets caller and callee hear each other, as far as neither holds.
    pub(super) fn bridge(&mut self, callee: LegId, sh: &mut Shared) {
        if self.transfer.is_some() {
            return self.sound_transfer(sh);
        }
        let Some(other) = self.legs.iter().find(|l| l.id == callee) else { return };
        let caller = &self.legs[0];
        let to_caller = heard_by(caller, other, self.music_for(caller, sh));
        let to_callee = heard_by(other, caller, self.music_for(other, sh));
        self.set_source(self.caller, to_caller, sh);
        self.set_source(callee, to_callee, sh);
        self.record_whoever_talks(callee, sh);
    }

    /// What this party hears on hold: its route's music, else its trunk's, else everybody's, else our own tune.
    pub(super) fn music_for(&self, listener: &Leg, sh: &Shared) -> Source {
        let of_trunk = match &listener.party {
            Party::Trunk(trunk) => sh.config.trunks[*trunk].hold_music,
            Party::User(_) => None,
        };
        let sound = self.facts.treatment.hold_music.or(of_trunk).or(sh.config.hold_music);
        sound.map_or(Source::Tone(Tone::Music), Source::Music)
    }

    /// `hold` and `resume` of a browser: nothing is negotiated, so it has happened as soon as it is said.
    pub(super) fn on_browser_hold(&mut self, id: LegId, pressed: bool, sh: &mut Shared) {
        let talking = matches!(self.state, State::Talking { .. });
        let Some(leg) = self.leg(id) else { return };
        if talking {
            let hold = Hold { pressed, ..leg.hold };
            return self.change_hold(id, hold, sh);
        }
        if let Device::Browser { session, name } = leg.device.clone() {
            sh.error(session, "not-connected", "Only an answered call can be put on hold.", Some(&name));
        }
    }

    /// A description lets media flow another way. `sendonly` at the start of a session is an announcement, not a hold.
    pub(super) fn on_direction(&mut self, id: LegId, direction: Direction, sh: &mut Shared) {
        let talking = matches!(self.state, State::Talking { .. });
        let Some(leg) = self.leg(id) else { return };
        let described = match direction {
            Direction::SendRecv | Direction::RecvOnly => false,
            Direction::SendOnly => talking && leg.codec.is_some(),
            Direction::Inactive => true,
        };
        let hold = Hold { described, ..leg.hold };
        self.change_hold(id, hold, sh);
    }

    fn change_hold(&mut self, id: LegId, hold: Hold, sh: &mut Shared) {
        let Some(leg) = self.leg(id) else { return };
        let before = std::mem::replace(&mut leg.hold, hold);
        let State::Talking { callee, .. } = self.state else {
            if self.leg(id).is_some_and(|l| l.lent.is_some()) {
                self.lend(id, sh);
            }
            return;
        };
        if before.is_on() != hold.is_on() {
            self.bridge(callee, sh);
            self.show_hold(self.caller, callee, sh);
            self.show_hold(callee, self.caller, sh);
        } else {
            // Said twice: the page is told again how things are.
            let other = if id == self.caller { callee } else { self.caller };
            self.show_hold(id, other, sh);
        }
    }

    /// Tells a browser who holds the call.
    pub(super) fn show_hold(&mut self, id: LegId, other: LegId, sh: &mut Shared) {
        let remote = self.leg(other).is_some_and(|l| l.hold.is_on());
        let Some(leg) = self.leg(id).filter(|l| l.alive()) else { return };
        let local = leg.hold.is_on();
        if let Device::Browser { session, name } = leg.device.clone() {
            sh.browser(session, ToBrowser::Held { call: name, local, remote });
        }
    }
}
