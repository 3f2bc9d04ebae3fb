//! UPDATE (RFC 3311) from the peer: target refresh without a body, a new offer with one.

use std::time::Instant;

use crate::endpoint::leg::{Incoming, IncomingKind, LegState};
use crate::endpoint::server::Reply;
use crate::endpoint::session::Verdict;
use crate::endpoint::uas::{foreign_body, unsupported_media};
use crate::endpoint::{ALLOW, Endpoint, TxnId};
use crate::message::Message;
use crate::{Event, Flow, SipLeg};

impl Endpoint {
    pub(super) fn on_update(&mut self, leg: SipLeg, id: TxnId, request: &Message, flow: &Flow, now: Instant) {
        if foreign_body(request) {
            self.reply(id, unsupported_media(request), now);
            return;
        }
        let offer = request.typed_body();
        let verdict = match self.judge_reinvite(leg) {
            // Nothing is negotiated: whatever else is open does not matter.
            Verdict::Pending | Verdict::Overlap if offer.is_none() => Verdict::Deliver,
            Verdict::Pending | Verdict::Overlap if self.early_offer_fits(leg, request) => Verdict::Deliver,
            verdict @ (Verdict::Deliver | Verdict::Pending | Verdict::Overlap | Verdict::Gone) => verdict,
        };
        let answering = self.legs.get(&leg).is_some_and(|l| l.incoming.is_some());
        match verdict {
            Verdict::Gone => self.reply(id, Reply::new(481), now),
            // RFC 3311 §5.2: theirs is open.
            Verdict::Pending | Verdict::Overlap if answering => self.reply_overlap(id, now),
            // RFC 3311 §5.2: our offer is.
            Verdict::Pending => self.reply(id, Reply::new(491), now),
            Verdict::Overlap => self.reply_overlap(id, now),
            Verdict::Deliver if offer.is_none() => self.refresh_by_update(leg, id, request, flow, now),
            Verdict::Deliver => {
                self.take_offer(leg, Incoming { txn: id, kind: IncomingKind::Update, flow: *flow });
                self.tell(Event::Reinvite { leg, body: offer });
            }
        }
    }

    fn refresh_by_update(&mut self, leg: SipLeg, id: TxnId, request: &Message, flow: &Flow, now: Instant) {
        let contact = self.refresh_target(leg, request, flow);
        let reply = Reply::new(200).with("Allow", ALLOW);
        match &contact {
            Some(contact) => self.reply(id, reply.with("Contact", contact), now),
            None => self.reply(id, reply, now),
        }
    }

    /// Takes a request's Contact as the peer's new address; gives ours.
    pub(super) fn refresh_target(&mut self, leg: SipLeg, request: &Message, flow: &Flow) -> Option<String> {
        match &mut self.legs.get_mut(&leg)?.state {
            LegState::Ringing(ringing) => ringing.dialog.refresh_target(request, flow),
            LegState::Established(session) => session.dialog.refresh_target(request, flow),
            // Early dialogs of ours send PRACK at most before the 2xx, which names the target anew.
            LegState::Calling(_) | LegState::Closing { .. } => {}
        }
        self.contact_of(leg)
    }

    /// Our Contact in the leg's dialog, or in the INVITE that waits for its answer.
    pub(super) fn contact_of(&self, leg: SipLeg) -> Option<String> {
        let found = self.legs.get(&leg)?;
        match &found.state {
            LegState::Ringing(ringing) => Some(ringing.dialog.contact.clone()),
            LegState::Established(session) => Some(session.dialog.contact.clone()),
            LegState::Closing { dialog, .. } => Some(dialog.contact.clone()),
            LegState::Calling(calling) => self.clients.get(&calling.txn)?.request.contact.clone(),
        }
    }
}
