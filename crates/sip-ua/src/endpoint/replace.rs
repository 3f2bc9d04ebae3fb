//! INVITE that takes over a dialog (RFC 3891).

use crate::SipLeg;
use crate::endpoint::Endpoint;
use crate::endpoint::leg::{Calling, Cancel, LegState};
use crate::message::{Message, Replaces};

/// The option tag (RFC 3891 §6.2).
pub(super) const TAG: &str = "replaces";

impl Endpoint {
    /// The leg that an INVITE wants to take over, none where it wants none, or the status that refuses it
    /// (RFC 3891 §3).
    pub(super) fn replaced_by(&self, request: &Message) -> Result<Option<SipLeg>, u16> {
        let mut fields = request.headers("Replaces");
        let (first, second) = (fields.next(), fields.next());
        let joins = request.header("Join").is_some();
        let Some(first) = first else { return Ok(None) };
        if second.is_some() || joins {
            return Err(400);
        }
        let replaces = Replaces::parse(first).ok_or(400u16)?;
        let leg = self.dialog_of(&replaces).ok_or(481u16)?;
        match self.legs.get(&leg).map(|l| &l.state) {
            None => Err(481),
            // An early dialog that we did not begin.
            Some(LegState::Ringing(_)) => Err(481),
            Some(LegState::Calling(Calling { cancel: Cancel::No, .. })) => Ok(Some(leg)),
            Some(LegState::Calling(_) | LegState::Closing { .. }) => Err(603),
            Some(LegState::Established(s)) if s.parting.is_some() || s.hang_up.is_some() => Err(603),
            Some(LegState::Established(_)) if replaces.early_only => Err(486),
            Some(LegState::Established(_)) => Ok(Some(leg)),
        }
    }

    /// The leg whose dialog has this Call-ID and these tags, in whatever state.
    pub(super) fn dialog_of(&self, replaces: &Replaces) -> Option<SipLeg> {
        let id = *self.tags.get(&replaces.to_tag)?;
        let leg = self.legs.get(&id)?;
        (leg.call_id == replaces.call_id && leg.knows_peer(&replaces.from_tag)).then_some(id)
    }
}
