use std::sync::Arc;
use std::time::Instant;

use types::limits;

use crate::dialog::Dialog;
use crate::endpoint::leg::{Leg, LegState, Outgoing, Ringing, Session, Unacked};
use crate::endpoint::reliable::{Reliable, TAG};
use crate::endpoint::server::Reply;
use crate::endpoint::{ALLOW, Endpoint, Path, TxnId, replace};
use crate::message::{Message, Method};
use crate::transaction::GIVE_UP;
use crate::{Body, Event, Flow, Headers, LegEnd, SipLeg, Target};

/// Whether a body is there that is no session description and must be understood (RFC 3261 §8.2.3).
pub(super) fn foreign_body(request: &Message) -> bool {
    let sdp = request.content_type().is_none_or(|t| t.eq_ignore_ascii_case("application/sdp"));
    let optional = request.header("Content-Disposition").is_some_and(|d| d.contains("handling=optional"));
    let coded = request.header("Content-Encoding").is_some_and(|e| !e.eq_ignore_ascii_case("identity"));
    !request.body().is_empty() && !optional && (!sdp || coded)
}

/// The refusal of such a body, with what would do (RFC 3261 §8.2.3, §21.4.13).
pub(super) fn unsupported_media(request: &Message) -> Reply<'static> {
    let reply = Reply::new(415).with("Accept", "application/sdp");
    match request.header("Content-Encoding") {
        Some(_) => reply.with("Accept-Encoding", "identity"),
        None => reply,
    }
}

/// Whether the caller takes session descriptions; without Accept it does (RFC 3261 §20.1).
fn takes_sdp(request: &Message) -> bool {
    let mut types = request.list("Accept").map(|t| t.split(';').next().unwrap_or_default().trim());
    let fits =
        |t: &str| ["application/sdp", "application/*", "*/*"].iter().any(|s| t.eq_ignore_ascii_case(s));
    request.header("Accept").is_none() || types.any(fits)
}

impl Endpoint {
    pub(super) fn on_invite(&mut self, id: TxnId, request: Arc<Message>, flow: Flow, now: Instant) {
        // RFC 2543 knew INVITE without Contact: the From URI stands for it (RFC 4475 §3.4.1).
        let old = request.top_via().is_some_and(|v| !v.has_rfc3261_branch());
        if request.contact_uri().is_none() && !old {
            self.reply(id, Reply { reason: "Missing Contact", ..Reply::new(400) }, now);
            return;
        }
        if foreign_body(&request) {
            self.reply(id, unsupported_media(&request), now);
            return;
        }
        if !takes_sdp(&request) {
            // RFC 4475 §3.3.15.
            let reason = "Not Acceptable: The Answer Is application/sdp";
            self.reply(id, Reply { reason, ..Reply::new(406) }, now);
            return;
        }
        let replaces = match self.replaced_by(&request) {
            Ok(replaces) => replaces,
            Err(status) => {
                let reason = if status == 400 { "Bad Replaces, Or More Than One" } else { "" };
                return self.reply(id, Reply { reason, ..Reply::new(status) }, now);
            }
        };
        if self.legs.len() >= limits::SIP_DIALOGS {
            self.reply(id, Reply::new(503).with("Retry-After", "10"), now);
            return;
        }
        let leg = SipLeg::incoming(id.0);
        let path = Path::to(Target::Flow(flow), &self.config.listeners);
        let Some(txn) = self.servers.get_mut(&id) else { return };
        txn.leg = Some(leg);
        let dialog = Dialog::by_request(&request, &flow, &txn.to_tag, path);
        let (call_id, local_tag) = (dialog.call_id.clone(), dialog.local_tag.clone());
        let updatable = request.has_token("Allow", Method::Update.as_str());
        let late_offer = request.body().is_empty();
        let ringing = Ringing { txn: id, dialog, late_offer, updatable, offering: None };
        self.tags.insert(local_tag.clone(), leg);
        let state = LegState::Ringing(Box::new(ringing));
        let reliable = Reliable::required(&request, self.entropy.u32());
        let knows_100rel = reliable.is_some() || request.has_token("Supported", TAG);
        let (auth, incoming) = (None, None);
        self.legs.insert(leg, Leg { call_id, local_tag, auth, knows_100rel, reliable, incoming, state });
        self.tell(Event::Invite { leg, request, flow, replaces });
    }

    pub(super) fn ringing(&self, leg: SipLeg) -> Option<&Ringing> {
        match &self.legs.get(&leg)?.state {
            LegState::Ringing(ringing) => Some(ringing),
            LegState::Calling(_) | LegState::Established(_) | LegState::Closing { .. } => None,
        }
    }

    pub(super) fn send_provisional(&mut self, leg: SipLeg, status: u16, body: Option<Body>, now: Instant) {
        let status_fits = (101..200).contains(&status);
        if status_fits && self.send_reliable(leg, status, body.as_ref(), now) {
            return;
        }
        let Some(ringing) = self.ringing(leg).filter(|_| status_fits) else { return };
        let (txn, contact) = (ringing.txn, ringing.dialog.contact.clone());
        // An offer of ours must come reliably (RFC 3261 §13.2.1).
        let body = body.filter(|_| !ringing.late_offer);
        let reply = Reply { body: body.as_ref(), ..Reply::new(status) };
        self.reply(txn, reply.with("Contact", &contact).with("Allow", ALLOW), now);
    }

    pub(super) fn answer(&mut self, leg: SipLeg, body: Body, now: Instant) {
        if self.ringing(leg).is_none() {
            return;
        }
        let Some(body) = self.hold_answer(leg, body) else { return };
        let Some(ringing) = self.ringing(leg) else { return };
        // An offer that went out reliably has its answer in the PRACK.
        let (txn, late_offer) = (ringing.txn, ringing.late_offer && body.is_some());
        let (dialog, offering) = (ringing.dialog.clone(), ringing.offering);
        let Some(unacked) = self.accept(txn, &dialog.contact, body.as_ref(), late_offer, now) else { return };
        if let Some(leg) = self.legs.get_mut(&leg) {
            let mut session = Session::new(dialog, Some(unacked));
            if let Some(txn) = offering {
                session.outgoing = Outgoing::Sent { txn, deadline: now + GIVE_UP };
            }
            leg.state = LegState::Established(Box::new(session));
        }
        self.settle_leg(leg);
    }

    /// 200 to an INVITE or re-INVITE.
    pub(super) fn accept(
        &mut self,
        txn: TxnId,
        contact: &str,
        body: Option<&Body>,
        late_offer: bool,
        now: Instant,
    ) -> Option<Unacked> {
        let cseq = self.servers.get(&txn)?.request.as_ref()?.cseq()?.seq;
        let reply = Reply { body, ..Reply::new(200) }
            .with("Contact", contact)
            .with("Allow", ALLOW)
            .with("Supported", replace::TAG);
        let (wire, path) = self.reply_with_wire(txn, reply, now)?;
        Some(Unacked::new(cseq, wire, path, late_offer, now))
    }

    pub(super) fn reject(
        &mut self,
        leg: SipLeg,
        (status, reason): (u16, &str),
        headers: &Headers,
        now: Instant,
    ) {
        let Some(txn) = self.ringing(leg).map(|r| r.txn) else { return };
        let headers = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.reply(txn, Reply { status: status.clamp(300, 699), reason, headers, body: None }, now);
        self.refuse_incoming(leg, now);
        self.end_leg(leg, LegEnd::Local);
    }

    /// CANCEL came for this INVITE. A re-INVITE is not stopped: the application answers it in a moment anyway.
    pub(super) fn cancelled(&mut self, leg: SipLeg, invite: TxnId, reason: Option<String>, now: Instant) {
        if self.ringing(leg).is_some_and(|r| r.txn == invite) {
            self.reply(invite, Reply::new(487), now);
            self.refuse_incoming(leg, now);
            self.end_leg(leg, LegEnd::Cancelled { reason });
        }
    }
}
