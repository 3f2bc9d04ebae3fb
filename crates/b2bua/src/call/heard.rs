//! Whether a trunk's target says anything: what it is known for afterwards, and when the next one is tried.

use std::time::Instant;

use sip_ua::{LegEnd, Target};
use types::{EndReason, LegId};

use super::end::Failure;
use super::{Call, Leg, Party, State};
use crate::failover::is_about_the_call;
use crate::output::Level;
use crate::shared::{Clock, Shared};

fn trunk_target(leg: &Leg) -> Option<(usize, Target)> {
    match leg.party {
        Party::Trunk(trunk) => Some((trunk, leg.target?)),
        Party::User(_) => None,
    }
}

impl Call {
    /// A trunk answers our INVITE, be it with 100.
    pub fn on_heard(&mut self, id: LegId, sh: &mut Shared, t: Clock) {
        let Some(leg) = self.leg(id) else { return };
        if leg.unheard.take().is_none() {
            return;
        }
        if let Some((trunk, target)) = trunk_target(leg) {
            let news = sh.targets.answered(trunk, &target, t.now);
            sh.tell_target(trunk, &target, news);
        }
    }

    /// A call attempt at a trunk is over: silence, a broken transport and 503 count against the target
    /// (RFC 3263 §4.3).
    pub(super) fn learn_by_end(&mut self, id: LegId, end: &LegEnd, sh: &mut Shared, t: Clock) {
        match end {
            LegEnd::Unreachable { .. } => self.target_failed(id, None, sh, t),
            // RFC 3398 §7.2.4.1: the cause beside it may be about the call alone.
            LegEnd::Refused { status: 503, q850, retry_after, .. } if !is_about_the_call(*q850) => {
                self.target_failed(id, *retry_after, sh, t);
            }
            LegEnd::Refused { status, reason, .. } => {
                if let (401 | 407, Some(Party::Trunk(trunk))) =
                    (status, self.leg(id).map(|l| l.party.clone()))
                {
                    let name = &sh.config.trunks[trunk].name;
                    sh.log(Level::Warn, Some(self.id), format!("trunk {name}: {status} {reason}"));
                }
                self.on_heard(id, sh, t);
            }
            LegEnd::Cancelled { .. } | LegEnd::Bye { .. } | LegEnd::Local | LegEnd::NoAck => {}
        }
    }

    fn target_failed(&mut self, id: LegId, retry_after: Option<u32>, sh: &mut Shared, t: Clock) {
        if let Some((trunk, target)) = self.leg(id).and_then(|l| trunk_target(l)) {
            let news = sh.targets.failed(trunk, &target, retry_after, t.now);
            sh.tell_target(trunk, &target, news);
        }
    }

    /// When a target that says nothing is to be left, if there is another to try.
    pub(super) fn next_unheard(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { hops, .. } if !hops.is_empty() => {
                self.legs.iter().filter(|l| l.alive()).filter_map(|l| l.unheard).min()
            }
            State::Trying { .. }
            | State::Preparing { .. }
            | State::Announcing { .. }
            | State::Connecting { .. }
            | State::Talking { .. }
            | State::Closing { .. } => None,
        }
    }

    /// Leaves a target that says nothing: CANCEL follows as soon as it says something, BYE if that is a 200.
    pub(super) fn give_up_unheard(&mut self, sh: &mut Shared, t: Clock) {
        while self.next_unheard().is_some_and(|at| at <= t.now) {
            let silent = |l: &&Leg| l.alive() && l.unheard.is_some_and(|at| at <= t.now);
            let Some(id) = self.legs.iter().find(silent).map(|l| l.id) else { return };
            self.target_failed(id, None, sh, t);
            if let Some(leg) = self.leg(id) {
                leg.unheard = None;
            }
            self.lose_callee(id, Failure::of(EndReason::TrunkUnreachable), sh, t);
        }
    }
}
