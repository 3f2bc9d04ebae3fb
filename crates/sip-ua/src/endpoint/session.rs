use std::time::Instant;

use crate::endpoint::client::Purpose;
use crate::endpoint::leg::{Calling, Cancel, Incoming, IncomingKind, LegState, Outgoing, Parting, Session};
use crate::endpoint::server::Reply;
use crate::endpoint::uas::{foreign_body, unsupported_media};
use crate::endpoint::{Endpoint, TxnId, reliable};
use crate::message::{Message, Method};
use crate::transaction::{GIVE_UP, T2};
use crate::{Body, Event, Flow, Headers, LegEnd, SipLeg};

/// What to do with a re-INVITE.
pub(super) enum Verdict {
    Deliver,
    Pending,
    Overlap,
    Gone,
}

impl Endpoint {
    /// The leg that a request inside a dialog belongs to.
    pub(super) fn find_leg(&self, request: &Message) -> Option<SipLeg> {
        let id = *self.tags.get(request.to()?.tag()?)?;
        let leg = self.legs.get(&id)?;
        let known = leg.knows_peer(request.from()?.tag().unwrap_or_default());
        (known && request.call_id() == Some(&leg.call_id)).then_some(id)
    }

    pub(super) fn session(&mut self, leg: SipLeg) -> Option<&mut Session> {
        match &mut self.legs.get_mut(&leg)?.state {
            LegState::Established(session) => Some(session),
            LegState::Calling(_) | LegState::Ringing(_) | LegState::Closing { .. } => None,
        }
    }

    pub(super) fn in_dialog(
        &mut self,
        id: TxnId,
        method: &Method,
        request: &Message,
        flow: &Flow,
        now: Instant,
    ) {
        let Some(leg) = self.find_leg(request) else {
            self.reply(id, Reply::new(481), now);
            return;
        };
        if !self.in_order(leg, request) {
            self.reply(id, Reply { reason: "CSeq Out Of Order", ..Reply::new(500) }, now);
            return;
        }
        match method {
            Method::Bye => self.on_bye(leg, id, request, now),
            Method::Invite => self.on_reinvite(leg, id, request, flow, now),
            Method::Update => self.on_update(leg, id, request, flow, now),
            Method::Prack => self.on_prack(leg, id, request, flow, now),
            // No package is wanted here (RFC 6086 §4.2.2); INFO without one is the old kind.
            Method::Info if request.header("Info-Package").is_some() => {
                self.reply(id, Reply::new(469).with("Recv-Info", "nil"), now);
            }
            Method::Info => {
                self.reply(id, Reply::new(200), now);
                if let Some(body) = request.typed_body() {
                    self.tell(Event::Info { leg, body });
                }
            }
            Method::Options => self.reply_options(id, now),
            Method::Refer => self.on_refer(leg, id, request, now),
            Method::Notify => self.on_notify(leg, id, request, now),
            Method::Subscribe => self.on_subscribe(leg, id, request, now),
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Message
            | Method::Publish
            | Method::Other(_) => self.refuse_method(id, method, now),
        }
    }

    fn in_order(&mut self, leg: SipLeg, request: &Message) -> bool {
        let seq = request.cseq().map_or(0, |c| c.seq);
        match self.legs.get_mut(&leg).map(|l| &mut l.state) {
            Some(LegState::Ringing(ringing)) => ringing.dialog.accept_seq(seq),
            Some(LegState::Established(session)) => session.dialog.accept_seq(seq),
            Some(LegState::Closing { dialog, .. }) => dialog.accept_seq(seq),
            // Early dialogs of ours keep no count: hardly anything may come in them.
            Some(LegState::Calling(_)) | None => true,
        }
    }

    fn on_bye(&mut self, leg: SipLeg, id: TxnId, request: &Message, now: Instant) {
        self.reply(id, Reply::new(200), now);
        let Some(state) = self.legs.get(&leg).map(|l| &l.state) else { return };
        match state {
            // Wrong of the callee (RFC 3261 §15): the INVITE still needs its final response.
            // In Closing both sides hung up: our BYE ends the leg.
            LegState::Calling(_) | LegState::Closing { .. } => {}
            LegState::Ringing(ringing) => {
                let invite = ringing.txn;
                let reason = request.reason_values();
                self.cancelled(leg, invite, reason, now);
            }
            LegState::Established(_) => {
                self.refuse_incoming(leg, now);
                self.end_leg(leg, LegEnd::Bye { q850: request.q850_cause() });
            }
        }
    }

    /// RFC 3261 §14.2 for overlaps; RFC 5407 §3.1.4 for one that overtakes the ACK.
    pub(super) fn judge_reinvite(&mut self, leg: SipLeg) -> Verdict {
        let Some(found) = self.legs.get(&leg) else { return Verdict::Gone };
        match &found.state {
            LegState::Closing { .. } => Verdict::Gone,
            LegState::Calling(_) => Verdict::Pending,
            LegState::Ringing(ringing) if ringing.offering.is_some() => Verdict::Pending,
            LegState::Ringing(_) => Verdict::Overlap,
            LegState::Established(session) => match session.outgoing {
                _ if found.incoming.is_some() => Verdict::Overlap,
                Outgoing::Sent { .. } => Verdict::Pending,
                Outgoing::Idle | Outgoing::Glare { .. } => match &session.unacked {
                    Some(unacked) if unacked.late_offer || session.hang_up.is_some() => Verdict::Pending,
                    Some(_) | None => Verdict::Deliver,
                },
            },
        }
    }

    fn on_reinvite(&mut self, leg: SipLeg, id: TxnId, request: &Message, flow: &Flow, now: Instant) {
        match self.judge_reinvite(leg) {
            Verdict::Gone => self.reply(id, Reply::new(481), now),
            Verdict::Pending => self.reply(id, Reply::new(491), now),
            Verdict::Overlap => self.reply_overlap(id, now),
            Verdict::Deliver if foreign_body(request) => {
                self.reply(id, unsupported_media(request), now);
            }
            Verdict::Deliver => {
                let late = request.body().is_empty();
                let kind = if late { IncomingKind::LateOffer } else { IncomingKind::Reinvite };
                self.take_offer(leg, Incoming { txn: id, kind, flow: *flow });
                let Some(session) = self.session(leg) else { return };
                // Whoever sends a re-INVITE has our 2xx: the ACK was lost or is late.
                if session.unacked.take().is_some() {
                    self.tell(Event::Acked { leg, body: None });
                }
                self.tell(Event::Reinvite { leg, body: request.typed_body() });
                self.settle_leg(leg);
            }
        }
    }

    /// 500 to an offer while another is open (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn reply_overlap(&mut self, id: TxnId, now: Instant) {
        let seconds = (self.entropy.u32() % 11).to_string();
        self.reply(id, Reply::new(500).with("Retry-After", &seconds), now);
    }

    /// Notes a request that the application is to answer.
    pub(super) fn take_offer(&mut self, leg: SipLeg, incoming: Incoming) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.incoming = Some(incoming);
        }
    }

    /// Pending requests must still be answered when their dialog ends (RFC 3261 §15.1.2).
    pub(super) fn refuse_incoming(&mut self, leg: SipLeg, now: Instant) {
        if let Some(incoming) = self.legs.get_mut(&leg).and_then(|l| l.incoming.take()) {
            self.reply(incoming.txn, Reply::new(487), now);
        }
    }

    pub(super) fn accept_reinvite(&mut self, leg: SipLeg, body: Body, now: Instant) {
        let Some(incoming) = self.legs.get_mut(&leg).and_then(|l| l.incoming.take()) else { return };
        let request = self.servers.get(&incoming.txn).and_then(|t| t.request.clone());
        let Some(request) = request else { return };
        // PRACK refreshes no target (RFC 3262 §3).
        let contact = match incoming.kind {
            IncomingKind::Prack => self.contact_of(leg),
            IncomingKind::Reinvite | IncomingKind::LateOffer | IncomingKind::Update => {
                self.refresh_target(leg, &request, &incoming.flow)
            }
        };
        let late_offer = incoming.kind == IncomingKind::LateOffer;
        let contact = contact.unwrap_or_default();
        let unacked = self.accept(incoming.txn, &contact, Some(&body), late_offer, now);
        match incoming.kind {
            IncomingKind::Reinvite | IncomingKind::LateOffer => {
                if let Some(session) = self.session(leg) {
                    session.unacked = unacked;
                }
            }
            IncomingKind::Update | IncomingKind::Prack => self.offer_answered(leg, &request, now),
        }
        self.settle_leg(leg);
    }

    pub(super) fn reject_reinvite(&mut self, leg: SipLeg, status: u16, headers: &Headers, now: Instant) {
        let Some(incoming) = self.legs.get_mut(&leg).and_then(|l| l.incoming.take()) else { return };
        let headers = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let status = status.clamp(300, 699);
        self.reply(incoming.txn, Reply { status, reason: "", headers, body: None }, now);
        self.answer_held(leg, now);
    }

    pub(super) fn on_ack(&mut self, request: &Message, _flow: &Flow, now: Instant) {
        let Some(leg) = self.find_leg(request) else { return };
        let Some(session) = self.session(leg) else { return };
        let seq = request.cseq().map(|c| c.seq);
        let Some(_) = session.unacked.take_if(|u| Some(u.cseq) == seq) else { return };
        let hang_up = session.hang_up.take();
        self.tell(Event::Acked { leg, body: request.typed_body() });
        if let Some(reason) = hang_up {
            self.close(leg, reason, LegEnd::Local, now);
        }
        self.settle_leg(leg);
    }

    pub(super) fn hang_up(&mut self, leg: SipLeg, reason: Option<String>, now: Instant) {
        let Some(found) = self.legs.get_mut(&leg) else { return };
        match &mut found.state {
            LegState::Calling(Calling { txn, cancel: Cancel::No, .. }) => {
                let txn = *txn;
                self.cancel_invite(leg, txn, reason, now);
            }
            LegState::Ringing(_) => {
                let headers: Headers = reason.map(|r| ("Reason", r)).into_iter().collect();
                self.reject(leg, (480, ""), &headers, now);
            }
            LegState::Established(session) if session.unacked.is_some() => {
                // Not before the ACK or the end of its waiting (RFC 3261 §15).
                session.hang_up.get_or_insert(reason);
            }
            LegState::Established(session) if session.parting.is_some() => {}
            LegState::Established(_) => match self.parting(leg, now) {
                Some(at) => self.part(leg, Parting { at, reason }),
                None => self.close(leg, reason, LegEnd::Local, now),
            },
            LegState::Calling(_) | LegState::Closing { .. } => {}
        }
    }

    fn part(&mut self, leg: SipLeg, parting: Parting) {
        if let Some(session) = self.session(leg) {
            session.parting = Some(parting);
        }
        self.settle_leg(leg);
    }

    /// Sends BYE; the leg ends as told once it is answered or given up on.
    pub(super) fn close(&mut self, leg: SipLeg, reason: Option<String>, end: LegEnd, now: Instant) {
        let Some(found) = self.legs.get_mut(&leg) else { return };
        let reinvite = found.open_invite();
        let LegState::Established(session) = &mut found.state else { return };
        let headers = reason.map(|r| ("Reason", r)).into_iter().collect();
        let bye = session.dialog.request(Method::Bye, headers, None);
        found.state = LegState::Closing { dialog: Box::new(session.dialog.clone()), end, reinvite };
        self.refuse_incoming(leg, now);
        self.send_request(bye, Purpose::Bye(leg), now);
        self.settle_leg(leg);
    }

    pub(super) fn bye_answered(&mut self, leg: SipLeg) {
        if let Some(LegState::Closing { end, .. }) = self.legs.get(&leg).map(|l| &l.state) {
            let end = end.clone();
            self.end_leg(leg, end);
        }
    }

    pub(super) fn send_info(&mut self, leg: SipLeg, body: Body, now: Instant) {
        let Some(session) = self.session(leg) else { return };
        let info = session.dialog.request(Method::Info, Vec::new(), Some(body));
        self.send_request(info, Purpose::InDialog(leg), now);
    }

    pub(super) fn send_probe(&mut self, leg: SipLeg, now: Instant) {
        let Some(session) = self.session(leg) else { return };
        let options = session.dialog.request(Method::Options, Vec::new(), None);
        self.send_request(options, Purpose::InDialog(leg), now);
    }

    /// 481 and 408 say that the dialog is dead (RFC 3261 §12.2.1.2); other answers do not matter.
    pub(super) fn in_dialog_answered(&mut self, leg: SipLeg, status: u16, now: Instant) {
        match status {
            481 => self.dialog_gone(leg, now),
            408 => self.close(leg, None, LegEnd::Unreachable { why: None }, now),
            _ => {}
        }
    }

    /// The peer knows no such dialog: a BYE would be pointless.
    fn dialog_gone(&mut self, leg: SipLeg, now: Instant) {
        if self.session(leg).is_some() {
            self.refuse_incoming(leg, now);
            self.end_leg(leg, LegEnd::Unreachable { why: None });
        }
    }

    pub(super) fn send_reinvite(&mut self, leg: SipLeg, body: Body, now: Instant) {
        if self.ringing(leg).is_some() {
            return self.offer_early(leg, body, now);
        }
        if self.wait_for_refresh(leg) {
            return;
        }
        let answering = self.legs.get(&leg).is_some_and(|l| l.incoming.is_some());
        let Some(session) = self.session(leg) else { return };
        match session.outgoing {
            Outgoing::Sent { .. } | Outgoing::Glare { .. } => {
                self.tell(Event::ReinviteDone { leg, result: Err(491) });
            }
            // Not while another INVITE is under way in either direction (RFC 3261 §14.1).
            Outgoing::Idle if session.unacked.is_some() || answering => {
                self.pause_reinvite(leg, now);
            }
            Outgoing::Idle => self.open_reinvite(leg, body, now),
        }
    }

    /// Sends a re-INVITE in a session where none is open.
    pub(super) fn open_reinvite(&mut self, leg: SipLeg, body: Body, now: Instant) {
        let knows_100rel = self.legs.get(&leg).is_some_and(|l| l.knows_100rel);
        let headers = if knows_100rel { vec![("Supported", reliable::TAG.to_owned())] } else { Vec::new() };
        let Some(session) = self.session(leg) else { return };
        let invite = session.dialog.request(Method::Invite, headers, Some(body));
        let txn = self.send_request(invite, Purpose::Reinvite(leg), now);
        self.set_outgoing(leg, Outgoing::Sent { txn, deadline: now + GIVE_UP });
    }

    pub(super) fn set_outgoing(&mut self, leg: SipLeg, outgoing: Outgoing) {
        if let Some(session) = self.session(leg) {
            session.outgoing = outgoing;
        }
        self.settle_leg(leg);
    }

    fn pause_reinvite(&mut self, leg: SipLeg, now: Instant) {
        let Some(pause) = self.glare_pause(leg) else { return };
        self.set_outgoing(leg, Outgoing::Glare { until: now + pause });
    }

    pub(super) fn reinvite_answered(
        &mut self,
        leg: SipLeg,
        id: TxnId,
        flow: &Flow,
        response: &Message,
        now: Instant,
    ) {
        let status = response.status().unwrap_or_default();
        if status < 200 {
            return self.acknowledge_in_session(leg, id, response, now);
        }
        if status < 300 {
            self.reinvite_accepted(leg, id, flow, response, now);
            return;
        }
        if self.session(leg).is_none() {
            return;
        }
        if status == 491 {
            self.pause_reinvite(leg, now);
            return;
        }
        self.set_outgoing(leg, Outgoing::Idle);
        self.reinvite_done(leg, Err(status), now);
        self.in_dialog_answered(leg, status, now);
    }

    fn reinvite_accepted(&mut self, leg: SipLeg, id: TxnId, flow: &Flow, response: &Message, now: Instant) {
        let branch = self.new_branch();
        let Some(txn) = self.clients.get(&id) else { return };
        if let Some((_, wire, path)) = txn.acks.first() {
            let (wire, path) = (wire.clone(), path.clone());
            self.transmit(&path, wire);
            return;
        }
        let (cseq, auth) = (txn.request.cseq, txn.request.auth.clone());
        let dialog = match self.legs.get_mut(&leg).map(|l| &mut l.state) {
            Some(LegState::Established(session)) => &mut session.dialog,
            // Hung up meanwhile: acknowledged all the same (RFC 5407 §3.2.3).
            Some(LegState::Closing { dialog, .. }) => &mut **dialog,
            Some(LegState::Calling(_) | LegState::Ringing(_)) | None => return,
        };
        dialog.refresh_target(response, flow);
        let ack = dialog.ack(cseq, &auth);
        let wire = ack.write(&branch, &self.config.user_agent);
        self.transmit(&ack.path, wire.clone());
        if let Some(txn) = self.clients.get_mut(&id) {
            txn.acks.push((String::new(), wire, ack.path));
        }
        if self.session(leg).is_none() {
            return;
        }
        let early = self.clients.get(&id).and_then(|t| t.early.session_answer());
        self.set_outgoing(leg, Outgoing::Idle);
        self.reinvite_done(leg, Ok(response.typed_body().or(early)), now);
    }

    /// No final response in time: the session cannot be relied on (RFC 3261 §14.1).
    pub(super) fn reinvite_failed(&mut self, leg: SipLeg, now: Instant) {
        if self.session(leg).is_some() {
            self.reinvite_done(leg, Err(408), now);
            self.close(leg, None, LegEnd::Unreachable { why: None }, now);
        }
    }

    pub(super) fn leg_timeout(&mut self, leg: SipLeg, now: Instant) {
        match self.legs.get_mut(&leg).map(|l| &mut l.state) {
            // The cancelled INVITE got no final response (RFC 3261 §9.1).
            Some(LegState::Calling(_)) => {
                self.refuse_incoming(leg, now);
                self.end_leg(leg, LegEnd::Local);
            }
            Some(LegState::Established(_)) => self.session_timeout(leg, now),
            Some(LegState::Ringing(_)) => self.reliable_timeout(leg, now),
            Some(LegState::Closing { .. }) | None => {}
        }
        self.settle_leg(leg);
    }

    fn session_timeout(&mut self, leg: SipLeg, now: Instant) {
        let Some(session) = self.session(leg) else { return };
        if let Some(unacked) = &mut session.unacked {
            if unacked.give_up <= now {
                session.unacked = None;
                let reason = session.hang_up.take().flatten();
                self.close(leg, reason, LegEnd::NoAck, now);
                return;
            }
            if unacked.repeat.at <= now {
                unacked.repeat.step(now, Some(T2));
                let (path, wire) = (unacked.path.clone(), unacked.wire.clone());
                self.transmit(&path, wire);
            }
        }
        if let Some(parting) = self.session(leg).and_then(|s| s.parting.take_if(|p| p.at <= now)) {
            return self.close(leg, parting.reason, LegEnd::Local, now);
        }
        match self.session(leg).map(|s| s.outgoing) {
            Some(Outgoing::Sent { deadline, .. }) if deadline <= now => self.reinvite_failed(leg, now),
            Some(Outgoing::Glare { until }) if until <= now => {
                self.set_outgoing(leg, Outgoing::Idle);
                self.reinvite_done(leg, Err(491), now);
            }
            Some(Outgoing::Idle | Outgoing::Sent { .. } | Outgoing::Glare { .. }) | None => {}
        }
    }
}
