use std::time::Instant;

use types::limits;

use crate::dialog::Dialog;
use crate::digest::{DigestClient, why_refused};
use crate::endpoint::client::Purpose;
use crate::endpoint::leg::{Calling, Cancel, Leg, LegState, Session};
use crate::endpoint::{Endpoint, OutRequest, Owner, Path, TxnId, reliable, replace};
use crate::message::{Message, Method};
use crate::transaction::GIVE_UP;
use crate::{Event, Flow, Invite, LegEnd, Reliable100, SipLeg};

/// Most 2xx of one forked INVITE that are acknowledged and hung up; later ones time out at the far end.
pub(super) const FORKS: usize = 16;

impl Endpoint {
    pub(super) fn start_invite(&mut self, leg: SipLeg, invite: Invite, now: Instant) {
        if self.legs.contains_key(&leg) {
            return;
        }
        if self.legs.len() >= limits::SIP_DIALOGS || self.transactions() >= limits::SIP_TRANSACTIONS {
            let reason = "Too Many Calls Here".to_owned();
            let end = LegEnd::Refused { status: 503, reason, q850: None, retry_after: None };
            self.tell(Event::Ended { leg, end });
            return;
        }
        let path = Path::to(invite.target, &self.config.listeners);
        let local_tag = self.entropy.token(12);
        let call_id = self.entropy.token(24);
        let mut headers = invite.headers;
        // Without an offer of ours a reliable response could bring theirs, to be answered in the PRACK (RFC 3262 §5).
        let asks = match invite.reliable {
            Reliable100::Off => None,
            Reliable100::Supported => Some("Supported"),
            Reliable100::Required => Some("Require"),
        };
        let knows_100rel = asks.is_some();
        headers.extend(asks.filter(|_| invite.body.is_some()).map(|name| (name, reliable::TAG.to_owned())));
        self.set_timer(leg, invite.timer);
        headers.push(("Supported", replace::TAG.to_owned()));
        let request = OutRequest {
            method: Method::Invite,
            uri: invite.uri,
            contact: Some(path.contact(&invite.contact_user)),
            path,
            routes: invite.routes,
            from: format!("{};tag={local_tag}", invite.from),
            to: invite.to,
            call_id: call_id.clone(),
            cseq: 1,
            headers,
            body: invite.body,
            auth: Vec::new(),
        };
        let txn = self.send_request(request, Purpose::Invite(leg), now);
        let state = LegState::Calling(Calling { txn, cancel: Cancel::No, heard: false, early: Vec::new() });
        self.tags.insert(local_tag.clone(), leg);
        let auth = invite.credentials.map(DigestClient::new);
        let (reliable, incoming) = (None, None);
        self.legs.insert(leg, Leg { call_id, local_tag, auth, knows_100rel, reliable, incoming, state });
    }

    fn calling(&mut self, leg: SipLeg, txn: TxnId) -> Option<&mut Calling> {
        match &mut self.legs.get_mut(&leg)?.state {
            LegState::Calling(calling) if calling.txn == txn => Some(calling),
            LegState::Calling(_)
            | LegState::Ringing(_)
            | LegState::Established(_)
            | LegState::Closing { .. } => None,
        }
    }

    pub(super) fn invite_answered(
        &mut self,
        leg: SipLeg,
        txn: TxnId,
        flow: &Flow,
        response: &Message,
        now: Instant,
    ) {
        match response.status().unwrap_or_default() {
            100 => {
                self.invite_heard(leg, txn);
                self.invite_progress(leg, txn, flow, response, now);
            }
            ..200 => self.invite_progress(leg, txn, flow, response, now),
            200..=299 => self.invite_accepted(leg, txn, flow, response, now),
            status => {
                let why = why_refused(response, self.legs.get(&leg).and_then(|l| l.auth.as_ref()));
                let Some(calling) = self.calling(leg, txn) else { return };
                let end = match calling.cancel {
                    Cancel::No => LegEnd::Refused {
                        status,
                        reason: why,
                        q850: response.q850_cause(),
                        retry_after: response.retry_after(),
                    },
                    Cancel::Wanted(_) | Cancel::Sent(_) => LegEnd::Local,
                };
                self.refuse_incoming(leg, now);
                self.end_leg(leg, end);
            }
        }
    }

    /// 100, or a challenge that we answer: whoever else may be asked, this peer is there.
    pub(super) fn invite_heard(&mut self, leg: SipLeg, txn: TxnId) {
        let Some(calling) = self.calling(leg, txn).filter(|c| matches!(c.cancel, Cancel::No)) else { return };
        if !std::mem::replace(&mut calling.heard, true) {
            self.tell(Event::Trying { leg });
        }
    }

    fn invite_progress(&mut self, leg: SipLeg, txn: TxnId, flow: &Flow, response: &Message, now: Instant) {
        if self.calling(leg, txn).is_none() || !self.acknowledge_provisional(leg, txn, flow, response, now) {
            return;
        }
        let Some(calling) = self.calling(leg, txn) else { return };
        match &mut calling.cancel {
            Cancel::Wanted(reason) => {
                let reason = reason.take();
                self.cancel_invite(leg, txn, reason, now);
                return;
            }
            Cancel::Sent(_) => return,
            Cancel::No => {}
        }
        let status = response.status().unwrap_or_default();
        calling.heard = true;
        if let Some(tag) = response.to().and_then(|to| to.tag().map(str::to_owned))
            && calling.early.len() < FORKS
            && !calling.early.contains(&tag)
        {
            calling.early.push(tag);
        }
        if status > 100 {
            self.tell(Event::Provisional { leg, status, body: response.typed_body() });
        }
    }

    /// 2xx: the first makes the session, its repetitions get the same ACK, those of other forks ACK and BYE
    /// (RFC 3261 §13.2.2.4).
    fn invite_accepted(&mut self, leg: SipLeg, id: TxnId, flow: &Flow, response: &Message, now: Instant) {
        let Some(dialog) = self.acknowledge(id, flow, response) else { return };
        let early = || self.clients.get(&id)?.early.answer(&dialog.remote_tag);
        // What was settled before the 2xx stands, whatever the 2xx repeats (RFC 6337 §2.2).
        let settled = self.clients.get(&id).is_some_and(|t| t.early.renegotiated(&dialog.remote_tag));
        let body = response.typed_body().filter(|_| !settled).or_else(early);
        let theirs = self.offer_is_from(leg, &dialog.remote_tag);
        let Some(calling) = self.calling(leg, id) else {
            self.drop_fork(leg, dialog, now);
            return;
        };
        let hung_up = match &mut calling.cancel {
            Cancel::No => None,
            Cancel::Wanted(reason) => Some(reason.take()),
            Cancel::Sent(_) => Some(None),
        };
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.auth.iter_mut().for_each(DigestClient::accepted);
            leg.state = LegState::Established(Box::new(Session::new(dialog, None)));
        }
        if !theirs {
            self.refuse_incoming(leg, now);
        }
        match hung_up {
            // The 200 crossed our CANCEL, or came before we could send it (RFC 5407 §3.1.2).
            Some(reason) => self.close(leg, reason, LegEnd::Local, now),
            None => self.tell(Event::Answered { leg, body }),
        }
        self.settle_leg(leg);
    }

    /// Sends the ACK for a 2xx. The dialog is returned for the first 2xx of each fork only.
    fn acknowledge(&mut self, id: TxnId, flow: &Flow, response: &Message) -> Option<Dialog> {
        let tag = response.to().and_then(|to| to.tag()).unwrap_or_default();
        let branch = self.new_branch();
        let txn = self.clients.get_mut(&id)?;
        if let Some((_, wire, path)) = txn.acks.iter().find(|(t, ..)| t == tag) {
            let (wire, path) = (wire.clone(), path.clone());
            self.transmit(&path, wire);
            return None;
        }
        if txn.acks.len() >= FORKS {
            return None;
        }
        let mut dialog = Dialog::by_response(&txn.request, response, flow);
        dialog.advance_seq(txn.early.seq);
        let ack = dialog.ack(txn.request.cseq, &txn.request.auth);
        let wire = ack.write(&branch, &self.config.user_agent);
        txn.acks.push((tag.to_owned(), wire.clone(), ack.path.clone()));
        self.transmit(&ack.path, wire);
        Some(dialog)
    }

    fn drop_fork(&mut self, leg: SipLeg, mut dialog: Dialog, now: Instant) {
        let bye = dialog.request(Method::Bye, Vec::new(), None);
        self.send_request(bye, Purpose::Fork(leg), now);
    }

    pub(super) fn invite_failed(&mut self, leg: SipLeg, txn: TxnId, why: Option<&str>, now: Instant) {
        let Some(calling) = self.calling(leg, txn) else { return };
        let end = match calling.cancel {
            Cancel::No => LegEnd::Unreachable { why: why.map(str::to_owned) },
            Cancel::Wanted(_) | Cancel::Sent(_) => LegEnd::Local,
        };
        self.refuse_incoming(leg, now);
        self.end_leg(leg, end);
    }

    /// Sends CANCEL now or, where no provisional response has come yet, as soon as one does (RFC 3261 §9.1).
    pub(super) fn cancel_invite(&mut self, leg: SipLeg, txn: TxnId, reason: Option<String>, now: Instant) {
        let sent = self.send_cancel(txn, reason.as_deref(), now);
        if let Some(calling) = self.calling(leg, txn) {
            calling.cancel = if sent { Cancel::Sent(now + GIVE_UP) } else { Cancel::Wanted(reason) };
        }
        self.settle_leg(leg);
    }

    pub(super) fn settle_leg(&mut self, leg: SipLeg) {
        let at = self.legs.get(&leg).and_then(Leg::next_timeout);
        self.schedule.set(Owner::Leg(leg), at);
    }

    /// The one place where a leg ends.
    pub(super) fn end_leg(&mut self, id: SipLeg, end: LegEnd) {
        let Some(leg) = self.legs.remove(&id) else { return };
        self.tags.remove(&leg.local_tag);
        self.schedule.set(Owner::Leg(id), None);
        self.forget_refresh(id);
        self.forget_referring(id);
        self.keep_refers(id, &leg);
        if let Some(txn) = leg.open_invite() {
            self.abandon_invite(txn);
        }
        self.tell(Event::Ended { leg: id, end });
    }
}
