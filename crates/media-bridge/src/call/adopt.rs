//! Legs that change calls: everything that a leg has goes along, its outgoing stream above all, which has one SSRC, one
//! sequence and one timeline from its first packet to its last (field problems 2 and 3).

use std::fmt;
use std::time::Instant;

use types::LegId;

use super::MediaCall;
use super::leg::Leg;
use crate::control::Source;

/// A leg between two calls.
pub struct GivenLeg(Box<Leg>);

impl fmt::Debug for GivenLeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenLeg({})", self.0.id)
    }
}

impl MediaCall {
    /// Takes a leg out, with its ports and streams. Its listeners hear nothing from now on.
    pub fn give(&mut self, leg: LegId, now: Instant) -> Option<GivenLeg> {
        self.now = Some(now);
        let index = self.find(leg)?;
        let given = self.legs.remove(index);
        self.silence_listeners(leg, now);
        Some(GivenLeg(Box::new(given)))
    }

    /// Takes a leg in under a name that is free here. It sends silence until it is given a source.
    pub fn adopt(&mut self, given: GivenLeg, leg: LegId, now: Instant) {
        self.now = Some(now);
        let mut adopted = *given.0;
        adopted.id = leg;
        // Both calls count their sources; the leg's stream must never see a number twice.
        self.bindings = self.bindings.max(adopted.binding) + 1;
        adopted.binding = self.bindings;
        (adopted.source, adopted.tone, adopted.once) = (Source::Nothing, None, None);
        adopted.mouth.set_effort(self.effort);
        self.legs.push(adopted);
        self.settle(self.legs.len() - 1, now);
        self.drain_peers(now);
    }
}
