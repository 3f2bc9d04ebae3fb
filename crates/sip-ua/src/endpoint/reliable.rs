//! Provisional responses that are acknowledged (RFC 3262), in both roles. The application sees ordinary ones.

use std::time::Instant;

use crate::dialog::Dialog;
use crate::endpoint::client::Purpose;
use crate::endpoint::leg::{Incoming, IncomingKind, LegState};
use crate::endpoint::server::Reply;
use crate::endpoint::uac::FORKS;
use crate::endpoint::uas::{foreign_body, unsupported_media};
use crate::endpoint::{ALLOW, Endpoint, OutRequest, Path, TxnId};
use crate::message::{Message, Method};
use crate::transaction::{GIVE_UP, Repeat, Wire};
use crate::{Body, Event, Flow, LegEnd, SipLeg};

/// The option tag (RFC 3262 §8.1).
pub(super) const TAG: &str = "100rel";

/// The early dialogs of one INVITE of ours in which something had to be acknowledged, one per To-tag.
#[derive(Debug, Default)]
pub(super) struct Early {
    dialogs: Vec<EarlyDialog>,
    /// Of a re-INVITE: what was acknowledged last in its dialog, and the answer that came with any of it.
    in_session: Option<(u32, Option<Body>)>,
    /// The highest number that a request in any of them used; they share one count.
    pub seq: u32,
}

#[derive(Debug)]
struct EarlyDialog {
    dialog: Dialog,
    /// What was acknowledged last.
    rseq: u32,
    /// The answer to our offer, if a reliable response brought it: the 2xx need not repeat it (RFC 3262 §5).
    answer: Option<Body>,
    /// An UPDATE of theirs was answered: the session is another one since.
    renegotiated: bool,
}

impl Early {
    /// Whether this fork changed the session by UPDATE.
    pub fn renegotiated(&self, tag: &str) -> bool {
        self.dialogs.iter().any(|d| d.dialog.remote_tag == tag && d.renegotiated)
    }

    /// Whether a reliable response to a re-INVITE is the next to be acknowledged (RFC 3262 §4); notes it if so.
    fn next_in_session(&mut self, rseq: u32, body: Option<Body>) -> bool {
        let next = self.in_session.as_ref().is_none_or(|(last, _)| last.checked_add(1) == Some(rseq));
        if next {
            let before = self.in_session.take().and_then(|(_, answer)| answer);
            self.in_session = Some((rseq, before.or(body)));
        }
        next
    }

    /// The answer to our re-INVITE that came reliably: the 2xx need not repeat it (RFC 3262 §5).
    pub fn session_answer(&self) -> Option<Body> {
        self.in_session.as_ref()?.1.clone()
    }

    fn dialog(&mut self, tag: &str) -> Option<&mut EarlyDialog> {
        self.dialogs.iter_mut().find(|d| d.dialog.remote_tag == tag)
    }

    /// The answer that came reliably from this fork.
    pub fn answer(&self, tag: &str) -> Option<Body> {
        self.dialogs.iter().find(|d| d.dialog.remote_tag == tag)?.answer.clone()
    }

    /// The number of the next request in one of the dialogs.
    pub fn next_seq(&mut self) -> u32 {
        self.seq += 1;
        self.seq
    }

    /// The PRACK for a reliable response; none for repetitions and for those that are ahead of a lost one: these are
    /// not processed at all (RFC 3262 §4).
    fn acknowledge(
        &mut self,
        invite: &OutRequest,
        response: &Message,
        rseq: u32,
        flow: &Flow,
    ) -> Option<OutRequest> {
        let tag = response.to().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
        let at = self.dialogs.iter().position(|d| d.dialog.remote_tag == tag);
        let at = match at {
            Some(at) if self.dialogs[at].rseq.checked_add(1) == Some(rseq) => at,
            Some(_) => return None,
            None if self.dialogs.len() >= FORKS => return None,
            None => {
                let dialog = Dialog::by_response(invite, response, flow);
                self.dialogs.push(EarlyDialog { dialog, rseq, answer: None, renegotiated: false });
                self.dialogs.len() - 1
            }
        };
        let early = &mut self.dialogs[at];
        early.rseq = rseq;
        early.answer = early.answer.take().or_else(|| response.typed_body());
        early.dialog.advance_seq(self.seq.max(invite.cseq));
        let rack = format!("{rseq} {} {}", invite.cseq, invite.method);
        let prack = early.dialog.request(Method::Prack, vec![("RAck", rack)], None);
        self.seq = prack.cseq;
        Some(prack)
    }
}

/// The RSeq of a response that wants an acknowledgement and says which (RFC 3262 §7.1). A dialog it must have too.
fn reliable_number(response: &Message) -> Option<u32> {
    let reliable = response.status().is_some_and(|s| s > 100)
        && response.has_token("Require", TAG)
        && response.to().is_some_and(|to| to.tag().is_some());
    response.header("RSeq").filter(|_| reliable)?.trim().parse().ok()
}

/// RFC 3262 §7.2: response number, CSeq number, method.
fn rack(request: &Message) -> Option<(u32, u32, &str)> {
    let mut parts = request.header("RAck")?.split_whitespace();
    let rack = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    parts.next().is_none().then_some(rack)
}

/// What our side of an INVITE owes that requires reliable provisional responses.
#[derive(Debug)]
pub(super) struct Reliable {
    rseq: u32,
    /// Our answer went out with one of them, or our offer where the INVITE had none.
    answered: bool,
    /// Sent, no PRACK yet.
    unacked: Option<Unpracked>,
    /// What the application wanted sent meanwhile, newest status and first body: one at a time (RFC 3262 §3).
    next: Option<(u16, Option<Body>)>,
    /// The 2xx that must wait for a PRACK.
    accepted: Option<Body>,
}

#[derive(Debug)]
struct Unpracked {
    cseq: u32,
    wire: Wire,
    path: Path,
    /// None: a final response was given, so it is not repeated any more, but a PRACK is still taken.
    repeat: Option<Repeat>,
    give_up: Instant,
    has_answer: bool,
}

impl Reliable {
    /// For an INVITE that requires them; the first number is random (RFC 3262 §3).
    pub fn required(invite: &Message, random: u32) -> Option<Box<Reliable>> {
        let new = Reliable {
            rseq: random & 0x3fff_ffff,
            answered: false,
            unacked: None,
            next: None,
            accepted: None,
        };
        invite.has_token("Require", TAG).then(|| Box::new(new))
    }

    /// An answer has gone out and everything is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.answered && self.unacked.is_none() && self.accepted.is_none()
    }

    /// When the unacknowledged response is repeated or given up.
    pub fn next_timeout(&self) -> Option<Instant> {
        let unacked = self.unacked.as_ref()?;
        unacked.repeat.map(|r| r.at.min(unacked.give_up))
    }
}

impl Endpoint {
    /// Acknowledges a provisional response where it wants that. Whether the application is to hear of it.
    pub(super) fn acknowledge_provisional(
        &mut self,
        leg: SipLeg,
        id: TxnId,
        flow: &Flow,
        response: &Message,
        now: Instant,
    ) -> bool {
        let Some(rseq) = reliable_number(response) else { return true };
        let Some(txn) = self.clients.get_mut(&id) else { return true };
        let Some(prack) = txn.early.acknowledge(&txn.request, response, rseq, flow) else { return false };
        self.send_request(prack, Purpose::Prack(leg), now);
        true
    }

    /// The same for a response to a re-INVITE of ours, in its session.
    pub(super) fn acknowledge_in_session(
        &mut self,
        leg: SipLeg,
        id: TxnId,
        response: &Message,
        now: Instant,
    ) {
        let Some(rseq) = reliable_number(response) else { return };
        let Some(txn) = self.clients.get_mut(&id) else { return };
        let rack = format!("{rseq} {} INVITE", txn.request.cseq);
        if !txn.early.next_in_session(rseq, response.typed_body()) {
            return;
        }
        let Some(session) = self.session(leg) else { return };
        let prack = session.dialog.request(Method::Prack, vec![("RAck", rack)], None);
        self.send_request(prack, Purpose::Prack(leg), now);
    }

    fn reliable(&mut self, leg: SipLeg) -> Option<&mut Reliable> {
        self.legs.get_mut(&leg)?.reliable.as_deref_mut()
    }

    /// Sends a provisional response reliably, now or after those before it. False: the caller did not require it.
    pub(super) fn send_reliable(
        &mut self,
        leg: SipLeg,
        status: u16,
        body: Option<&Body>,
        now: Instant,
    ) -> bool {
        let Some(found) = self.legs.get_mut(&leg) else { return false };
        let (Some(reliable), LegState::Ringing(ringing)) = (found.reliable.as_deref_mut(), &found.state)
        else {
            return false;
        };
        // Without an offer in the INVITE the first of them has to bring ours (RFC 3262 §5).
        let offer_due = ringing.late_offer && !reliable.answered && body.is_none();
        if offer_due || reliable.accepted.is_some() {
            return true;
        }
        let body = body.filter(|_| !reliable.answered);
        if reliable.unacked.is_some() {
            let first = reliable.next.take().and_then(|(_, body)| body);
            reliable.next = Some((status, first.or_else(|| body.cloned())));
            return true;
        }
        let Some(cseq) = self.servers.get(&ringing.txn).and_then(|t| Some(t.request.as_ref()?.cseq()?.seq))
        else {
            return true;
        };
        reliable.rseq += 1;
        reliable.answered |= body.is_some();
        let (txn, contact, rseq) = (ringing.txn, ringing.dialog.contact.clone(), reliable.rseq.to_string());
        let reply = Reply { body, ..Reply::new(status) }.with("Require", TAG).with("RSeq", &rseq);
        let sent = self.reply_with_wire(txn, reply.with("Contact", &contact).with("Allow", ALLOW), now);
        if let (Some((wire, path)), Some(reliable)) = (sent, self.reliable(leg)) {
            let (repeat, give_up, has_answer) = (Some(Repeat::start(now)), now + GIVE_UP, body.is_some());
            reliable.unacked = Some(Unpracked { cseq, wire, path, repeat, give_up, has_answer });
        }
        self.settle_leg(leg);
        true
    }

    /// The 2xx of a leg: none while an answer sent provisionally is unacknowledged (RFC 3262 §3); then it is kept.
    /// The body is left out of it where the answer is there already (RFC 6337 §2.2).
    pub(super) fn hold_answer(&mut self, leg: SipLeg, body: Body) -> Option<Option<Body>> {
        let answering = self.legs.get(&leg).is_some_and(|l| l.incoming.is_some());
        let Some(reliable) = self.reliable(leg) else { return Some(Some(body)) };
        reliable.next = None;
        if answering {
            reliable.accepted.get_or_insert(body);
            return None;
        }
        match &mut reliable.unacked {
            Some(unacked) if unacked.has_answer => {
                reliable.accepted.get_or_insert(body);
                return None;
            }
            Some(unacked) => unacked.repeat = None,
            None => {}
        }
        Some(Some(body).filter(|_| !reliable.answered))
    }

    /// PRACK (RFC 3262 §3): 481 where it acknowledges nothing. Its description is the answer to an offer of ours, or a
    /// new offer once the first is answered (§5); another one is refused, and the PRACK counts all the same.
    pub(super) fn on_prack(&mut self, leg: SipLeg, id: TxnId, request: &Message, flow: &Flow, now: Instant) {
        let named = rack(request);
        let late_offer = self.ringing(leg).is_some_and(|r| r.late_offer);
        let offering = self.ringing(leg).is_some_and(|r| r.offering.is_some());
        let Some(reliable) = self.reliable(leg) else {
            self.reply(id, Reply::new(481), now);
            return;
        };
        let rseq = reliable.rseq;
        let fits = |u: &mut Unpracked| named == Some((rseq, u.cseq, Method::Invite.as_str()));
        let Some(acknowledged) = reliable.unacked.take_if(fits) else {
            self.reply(id, Reply::new(481), now);
            return;
        };
        let (answered, next) = (reliable.answered, reliable.next.take());
        let answer_due = late_offer && acknowledged.has_answer;
        let body = request.typed_body();
        match body {
            None => self.reply(id, Reply::new(200), now),
            Some(_) if foreign_body(request) => {
                self.reply(id, unsupported_media(request), now);
            }
            body @ Some(_) if answer_due => {
                self.reply(id, Reply::new(200), now);
                self.tell(Event::Acked { leg, body });
            }
            // RFC 3311 §5.2: ours is open.
            Some(_) if offering => self.reply(id, Reply::new(491), now),
            body @ Some(_) if answered => {
                self.take_offer(leg, Incoming { txn: id, kind: IncomingKind::Prack, flow: *flow });
                self.tell(Event::Reinvite { leg, body });
            }
            Some(_) => self.reply(id, Reply::new(488), now),
        }
        if let Some((status, body)) = next {
            self.send_provisional(leg, status, body, now);
        }
        self.answer_held(leg, now);
        self.settle_leg(leg);
    }

    /// Sends the 2xx that waited for a PRACK, once nothing of theirs is open.
    pub(super) fn answer_held(&mut self, leg: SipLeg, now: Instant) {
        let Some(found) = self.legs.get_mut(&leg).filter(|l| l.incoming.is_none()) else { return };
        let held =
            found.reliable.as_deref_mut().filter(|r| r.unacked.is_none()).and_then(|r| r.accepted.take());
        if let Some(body) = held {
            self.answer(leg, body, now);
        }
    }

    /// Whether an UPDATE with an offer may come before the 2xx: the first offer has its answer, sent reliably and
    /// acknowledged, and nothing else is open (RFC 3311 §5.1).
    pub(super) fn early_offer_fits(&mut self, leg: SipLeg, request: &Message) -> bool {
        let Some(found) = self.legs.get(&leg).filter(|l| l.incoming.is_none()) else { return false };
        match &found.state {
            LegState::Ringing(ringing) => ringing.offering.is_none() && found.first_offer_settled(),
            LegState::Calling(calling) => {
                let tag = request.from().and_then(|f| f.tag().map(str::to_owned)).unwrap_or_default();
                let early = self.clients.get(&calling.txn).map(|t| &t.early);
                early.is_some_and(|e| e.answer(&tag).is_some())
            }
            LegState::Established(_) | LegState::Closing { .. } => false,
        }
    }

    /// The application has answered an offer of theirs that came before or after the 2xx.
    pub(super) fn offer_answered(&mut self, leg: SipLeg, request: &Message, now: Instant) {
        if let Some(LegState::Calling(calling)) = self.legs.get(&leg).map(|l| &l.state) {
            let txn = calling.txn;
            let tag = request.from().and_then(|f| f.tag().map(str::to_owned)).unwrap_or_default();
            if let Some(dialog) = self.clients.get_mut(&txn).and_then(|t| t.early.dialog(&tag)) {
                dialog.renegotiated = true;
            }
        }
        self.answer_held(leg, now);
    }

    /// Whether the open offer, if there is one, came from this fork.
    pub(super) fn offer_is_from(&self, leg: SipLeg, tag: &str) -> bool {
        let incoming = self.legs.get(&leg).and_then(|l| l.incoming);
        let request = incoming.and_then(|i| self.servers.get(&i.txn)).and_then(|t| t.request.as_ref());
        request.is_none_or(|r| r.from().is_some_and(|f| f.tag() == Some(tag)))
    }

    /// The reliable response is due again, or for 64*T1 nobody acknowledged it: then the call is refused (RFC 3262 §3).
    pub(super) fn reliable_timeout(&mut self, leg: SipLeg, now: Instant) {
        let Some(found) = self.legs.get_mut(&leg) else { return };
        let LegState::Ringing(ringing) = &found.state else { return };
        let txn = ringing.txn;
        let Some(unacked) = found.reliable.as_deref_mut().and_then(|r| r.unacked.as_mut()) else { return };
        let Some(repeat) = &mut unacked.repeat else { return };
        if unacked.give_up <= now {
            self.reply(txn, Reply { reason: "No PRACK", ..Reply::new(504) }, now);
            self.refuse_incoming(leg, now);
            self.end_leg(leg, LegEnd::NoAck);
        } else if repeat.at <= now {
            repeat.step(now, None);
            let (path, wire) = (unacked.path.clone(), unacked.wire.clone());
            self.transmit(&path, wire);
        }
    }
}
