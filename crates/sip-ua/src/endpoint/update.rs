//! UPDATE (RFC 3311): target refresh without a body, a new offer with one. Ours offers before the answer only; afterwards
//! a person may have to agree, and re-INVITE leaves time for that (§5.1).

use std::time::Instant;

use crate::endpoint::client::Purpose;
use crate::endpoint::leg::{Incoming, IncomingKind, LegState, Outgoing};
use crate::endpoint::server::Reply;
use crate::endpoint::session::Verdict;
use crate::endpoint::uas::{foreign_body, unsupported_media};
use crate::endpoint::{ALLOW, Endpoint, TxnId};
use crate::message::{Message, Method};
use crate::{Body, Event, Flow, SipLeg};

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

    /// Offers a new session to a caller whom we have not answered; `ReinviteDone` says what came of it. At once with 491
    /// where it may not be: its first offer has no reliable answer, it knows no UPDATE, or another offer is open.
    pub(super) fn offer_early(&mut self, leg: SipLeg, body: Body, now: Instant) {
        let Some(found) = self.legs.get_mut(&leg) else { return };
        let settled = found.first_offer_settled() && found.incoming.is_none();
        let LegState::Ringing(ringing) = &mut found.state else { return };
        if !settled || !ringing.updatable || ringing.offering.is_some() {
            return self.tell(Event::ReinviteDone { leg, result: Err(491) });
        }
        let mut update = ringing.dialog.request(Method::Update, Vec::new(), Some(body));
        update.contact = Some(ringing.dialog.contact.clone());
        let txn = self.send_request(update, Purpose::Offer(leg), now);
        if let Some(LegState::Ringing(ringing)) = self.legs.get_mut(&leg).map(|l| &mut l.state) {
            ringing.offering = Some(txn);
        }
    }

    /// Our UPDATE was answered, maybe after the INVITE was. It is not sent again: whoever wants to may offer once more
    /// when there is time (RFC 3311 §5.1).
    pub(super) fn offer_done(&mut self, leg: SipLeg, id: TxnId, answer: Option<(&Message, &Flow)>) {
        let dialog = match self.legs.get_mut(&leg).map(|l| &mut l.state) {
            Some(LegState::Ringing(ringing)) if ringing.offering == Some(id) => {
                ringing.offering = None;
                &mut ringing.dialog
            }
            Some(LegState::Established(session)) => {
                if !matches!(session.outgoing, Outgoing::Sent { txn, .. } if txn == id) {
                    return;
                }
                session.outgoing = Outgoing::Idle;
                &mut session.dialog
            }
            Some(LegState::Calling(_) | LegState::Ringing(_) | LegState::Closing { .. }) | None => return,
        };
        let status = answer.and_then(|(m, _)| m.status()).unwrap_or(408);
        let result = match answer.filter(|_| status < 300) {
            Some((response, flow)) => {
                dialog.refresh_target(response, flow);
                Ok(response.typed_body())
            }
            None => Err(status),
        };
        self.settle_leg(leg);
        self.tell(Event::ReinviteDone { leg, result });
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
