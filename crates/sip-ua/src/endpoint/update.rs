//! UPDATE (RFC 3311) from the peer: target refresh without a body, a new offer with one.

use std::time::Instant;

use crate::endpoint::leg::{Incoming, IncomingKind, LegState};
use crate::endpoint::server::Reply;
use crate::endpoint::session::Verdict;
use crate::endpoint::uas::foreign_body;
use crate::endpoint::{ALLOW, Endpoint, TxnId};
use crate::message::Message;
use crate::{Event, Flow, SipLeg};

impl Endpoint {
    pub(super) fn on_update(&mut self, leg: SipLeg, id: TxnId, request: &Message, flow: &Flow, now: Instant) {
        if foreign_body(request) {
            self.reply(id, Reply::new(415).with("Accept", "application/sdp"), now);
            return;
        }
        let offer = request.typed_body();
        let verdict = match self.judge_reinvite(leg) {
            // Nothing is negotiated: whatever else is open does not matter.
            Verdict::Pending | Verdict::Overlap if offer.is_none() => Verdict::Deliver,
            verdict @ (Verdict::Deliver | Verdict::Pending | Verdict::Overlap | Verdict::Gone) => verdict,
        };
        match verdict {
            Verdict::Gone => self.reply(id, Reply::new(481), now),
            // RFC 3311 §5.2: our offer is open.
            Verdict::Pending => self.reply(id, Reply::new(491), now),
            // RFC 3311 §5.2: theirs is.
            Verdict::Overlap => self.reply_overlap(id, now),
            Verdict::Deliver if offer.is_none() => self.refresh_by_update(leg, id, request, flow, now),
            Verdict::Deliver => {
                let Some(session) = self.session(leg) else { return };
                session.incoming = Some(Incoming { txn: id, kind: IncomingKind::Update, flow: *flow });
                self.tell(Event::Reinvite { leg, body: offer });
            }
        }
    }

    fn refresh_by_update(&mut self, leg: SipLeg, id: TxnId, request: &Message, flow: &Flow, now: Instant) {
        let dialog = match self.legs.get_mut(&leg).map(|l| &mut l.state) {
            Some(LegState::Ringing(ringing)) => Some(&mut ringing.dialog),
            Some(LegState::Established(session)) => Some(&mut session.dialog),
            // Early dialogs of ours send nothing before the 2xx, which names the target anew.
            Some(LegState::Calling(_) | LegState::Closing { .. }) | None => None,
        };
        let contact = dialog.map(|dialog| {
            dialog.refresh_target(request, flow);
            dialog.contact.clone()
        });
        let contact = contact.or_else(|| self.calling_contact(leg));
        let reply = Reply::new(200).with("Allow", ALLOW);
        match &contact {
            Some(contact) => self.reply(id, reply.with("Contact", contact), now),
            None => self.reply(id, reply, now),
        }
    }

    /// Our Contact in the INVITE that waits for its answer.
    fn calling_contact(&self, leg: SipLeg) -> Option<String> {
        let txn = self.legs.get(&leg)?.open_invite()?;
        self.clients.get(&txn)?.request.contact.clone()
    }
}
