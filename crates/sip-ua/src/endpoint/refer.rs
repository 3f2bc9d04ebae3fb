//! REFER of the peer inside a call (RFC 3515) and the implicit subscription that tells it how the call goes that it
//! asked for (RFC 6665). The subscription outlives the call: a transferor may hang up before the outcome is known
//! (RFC 5589 §6.1, RFC 5057 §5).

use std::time::{Duration, Instant};

use types::limits;

use crate::dialog::Dialog;
use crate::endpoint::client::Purpose;
use crate::endpoint::leg::{Leg, LegState};
use crate::endpoint::server::Reply;
use crate::endpoint::{ALLOW, Endpoint, Owner, TxnId};
use crate::message::{Message, Method, NameAddr, Params, Replaces, Scheme, Uri, standard_reason};
use crate::{Body, Event, Headers, ReferId, Referral, ReplacedDialog, SipLeg};

/// The option tag of RFC 4488.
pub(super) const TAG: &str = "norefersub";
/// How long the peer is kept informed: longer than any phone rings.
const SUBSCRIPTION: Duration = Duration::from_secs(180);
/// How long a transferor has to hang up by itself once it knows that all went well (RFC 5589 §6.1), and before it does.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_UNTOLD: Duration = Duration::from_secs(4);

/// One REFER of a peer.
#[derive(Debug)]
pub(super) struct Refer {
    leg: SipLeg,
    /// The dialog, once the leg is gone.
    dialog: Option<Box<Dialog>>,
    stage: Stage,
    /// CSeq of the REFER where it is not the call's first (RFC 3515 §2.4.6).
    id: Option<u32>,
    /// The peer wants to be told (RFC 4488 §4).
    wanted: bool,
    /// What was told last, or is to be told.
    status: u16,
    /// A NOTIFY is under way; the next waits, so that none overtakes another.
    busy: bool,
    /// `status` is news.
    news: bool,
    /// The subscription ends by itself.
    until: Instant,
    /// The peer ended it, or its time is over.
    timed_out: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The application has not decided.
    Asked(TxnId),
    /// 202 was sent.
    Taken,
}

impl Refer {
    fn event(&self) -> String {
        self.id.map_or_else(|| "refer".to_owned(), |id| format!("refer;id={id}"))
    }

    /// No NOTIFY will follow the present one.
    fn is_last(&self) -> bool {
        self.status >= 200 || self.timed_out
    }
}

/// The one Refer-To of a REFER (RFC 3515 §2.4.1).
fn referral(request: &Message) -> Result<(Uri, Option<String>), Reply<'static>> {
    let bad = |reason| Reply { reason, ..Reply::new(400) };
    let mut values = request.headers("Refer-To");
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(bad("Exactly One Refer-To Is Needed"));
    };
    let uri = NameAddr::parse(value).ok().and_then(|a| a.uri().ok()).ok_or_else(|| bad("Bad Refer-To"))?;
    if uri.scheme() == Scheme::Other {
        return Err(Reply::new(416));
    }
    if uri.param("method").is_some_and(|m| !m.eq_ignore_ascii_case("INVITE")) {
        return Err(Reply { reason: "Only INVITE Can Be Asked For", ..Reply::new(403) });
    }
    let replaces = uri.header("Replaces");
    Ok((uri, replaces))
}

/// Whether a REFER asks for privacy, or says that its sender is nobody (RFC 3323 §4.1.1.3 and §4.2, RFC 3892 §3).
fn wants_privacy(request: &Message) -> bool {
    let mut asked = request.headers("Privacy").flat_map(|v| v.split([';', ','])).map(str::trim);
    let nobody =
        |name: &str| request.header(name).is_some_and(|v| v.to_ascii_lowercase().contains("anonymous"));
    asked.any(|p| !p.is_empty() && !p.eq_ignore_ascii_case("none")) || nobody("Referred-By") || nobody("From")
}

impl Endpoint {
    pub(super) fn on_refer(&mut self, leg: SipLeg, id: TxnId, request: &Message, now: Instant) {
        match self.legs.get(&leg).map(|l| &l.state) {
            Some(LegState::Established(session)) if session.parting.is_none() => {}
            // RFC 5407 §3.2: REFER crossing our BYE finds no call any more.
            Some(LegState::Established(_) | LegState::Closing { .. }) | None => {
                return self.reply(id, Reply::new(481), now);
            }
            Some(LegState::Calling(_) | LegState::Ringing(_)) => {
                return self.reply(id, Reply { reason: "Not Before The Answer", ..Reply::new(403) }, now);
            }
        }
        let (uri, replaces) = match referral(request) {
            Ok(found) => found,
            Err(reply) => return self.reply(id, reply, now),
        };
        let replaces = match replaces.map(|r| Replaces::parse(&r)) {
            None => None,
            Some(None) => return self.reply(id, Reply { reason: "Bad Replaces", ..Reply::new(400) }, now),
            Some(Some(r)) => Some(self.dialog_of(&r).map_or(ReplacedDialog::Unknown, ReplacedDialog::Leg)),
        };
        let before = self.refers.values().filter(|r| r.leg == leg).count();
        if before >= limits::REFERS_PER_LEG {
            return self.reply(id, Reply::new(503).with("Retry-After", "10"), now);
        }
        let seq = request.cseq().map(|c| c.seq);
        let refer = Refer {
            leg,
            dialog: None,
            stage: Stage::Asked(id),
            id: seq.filter(|_| !self.first_refer(leg)),
            wanted: !request.header("Refer-Sub").is_some_and(|v| v.trim().eq_ignore_ascii_case("false")),
            status: 100,
            busy: false,
            news: false,
            until: now + SUBSCRIPTION,
            timed_out: false,
        };
        let name = ReferId(id.0);
        self.refers.insert(name, refer);
        let private = wants_privacy(request);
        let referral = Referral { to: uri.without_headers().to_owned(), replaces, private };
        self.tell(Event::Refer { leg, refer: name, referral });
    }

    /// Whether the call has seen no REFER yet; notes that it has now.
    fn first_refer(&mut self, leg: SipLeg) -> bool {
        self.session(leg).is_some_and(|s| !std::mem::replace(&mut s.referred, true))
    }

    pub(super) fn accept_refer(&mut self, refer: ReferId, now: Instant) {
        let Some(known) = self.refers.get_mut(&refer) else { return };
        let Stage::Asked(txn) = known.stage else { return };
        if !self.legs.contains_key(&known.leg) {
            return self.reject_refer(refer, (481, ""), now);
        }
        known.stage = Stage::Taken;
        known.news = true;
        let (wanted, until, leg) = (known.wanted, known.until, known.leg);
        let contact = self.session(leg).map(|s| s.dialog.contact.clone()).unwrap_or_default();
        let reply = Reply::new(202).with("Contact", &contact);
        if !wanted {
            // RFC 4488 §4: no subscription, and the peer is told so.
            self.reply(txn, reply.with("Refer-Sub", "false"), now);
            return;
        }
        self.reply(txn, reply, now);
        self.schedule.set(Owner::Refer(refer), Some(until));
        // At once, even if there is nothing to say yet (RFC 3515 §2.4.4).
        self.notify(refer, now);
    }

    pub(super) fn reject_refer(&mut self, refer: ReferId, (status, reason): (u16, &str), now: Instant) {
        let Some(Stage::Asked(txn)) = self.refers.get(&refer).map(|r| r.stage) else { return };
        self.refers.remove(&refer);
        self.reply(
            txn,
            Reply { status: status.clamp(300, 699), reason, headers: Vec::new(), body: None },
            now,
        );
    }

    pub(super) fn refer_status(&mut self, refer: ReferId, status: u16, now: Instant) {
        let Some(known) = self.refers.get_mut(&refer).filter(|r| r.stage == Stage::Taken) else { return };
        if known.is_last() || known.status == status {
            return;
        }
        (known.status, known.news) = (status.clamp(100, 699), true);
        if !known.wanted && known.is_last() {
            self.refers.remove(&refer);
            return;
        }
        self.notify(refer, now);
    }

    /// Its time is over (RFC 6665 §4.2.2).
    pub(super) fn refer_timeout(&mut self, refer: ReferId, now: Instant) {
        if let Some(known) = self.refers.get_mut(&refer) {
            (known.timed_out, known.news) = (true, true);
            self.notify(refer, now);
        }
    }

    /// Sends what is new, unless a NOTIFY is under way.
    fn notify(&mut self, refer: ReferId, now: Instant) {
        let Some(known) = self.refers.get_mut(&refer).filter(|r| r.wanted && r.news && !r.busy) else {
            return;
        };
        let mut headers: Headers = vec![("Event", known.event())];
        let left = known.until.saturating_duration_since(now).as_secs();
        let state = match (known.status, known.timed_out) {
            (200.., _) => "terminated;reason=noresource".to_owned(),
            (_, true) => "terminated;reason=timeout".to_owned(),
            (_, false) => format!("active;expires={left}"),
        };
        headers.push(("Subscription-State", state));
        let line = format!("SIP/2.0 {} {}\r\n", known.status, standard_reason(known.status));
        let body = Body { content_type: "message/sipfrag;version=2.0".into(), bytes: line.into_bytes() };
        let leg = known.leg;
        let dialog = match self.legs.get_mut(&leg).map(|l| &mut l.state) {
            Some(LegState::Established(session)) => Some(&mut session.dialog),
            Some(LegState::Closing { dialog, .. }) => Some(&mut **dialog),
            Some(LegState::Calling(_) | LegState::Ringing(_)) | None => known.dialog.as_deref_mut(),
        };
        let Some(request) = dialog.map(|d| d.request(Method::Notify, headers, Some(body))) else { return };
        (known.busy, known.news) = (true, false);
        self.send_request(request, Purpose::Notify(refer, leg), now);
    }

    /// Any refusal, and silence, end the subscription (RFC 6665 §4.2.2).
    pub(super) fn notify_answered(&mut self, refer: ReferId, status: u16, now: Instant) {
        let Some(known) = self.refers.get_mut(&refer) else { return };
        known.busy = false;
        if known.news && status < 300 {
            return self.notify(refer, now);
        }
        if known.is_last() || status >= 300 {
            let leg = known.leg;
            self.refers.remove(&refer);
            self.schedule.set(Owner::Refer(refer), None);
            self.hasten_parting(leg, now);
        }
    }

    /// The peer refreshes or ends the subscription (RFC 3515 §2.4.3).
    pub(super) fn on_subscribe(&mut self, leg: SipLeg, id: TxnId, request: &Message, now: Instant) {
        let Some(wanted_id) = refer_event(request) else { return self.bad_event(id, now) };
        let fits = |r: &Refer| r.leg == leg && r.wanted && r.stage == Stage::Taken && r.id == wanted_id;
        let Some(refer) = self.refers.iter().find(|(_, r)| fits(r)).map(|(id, _)| *id) else {
            return self.reply(id, Reply::new(481), now);
        };
        let most = SUBSCRIPTION.as_secs() as u32;
        let seconds = request.expires().unwrap_or(most).min(most);
        self.reply(id, Reply::new(200).with("Expires", &seconds.to_string()), now);
        let Some(known) = self.refers.get_mut(&refer) else { return };
        known.until = now + Duration::from_secs(seconds.into());
        known.timed_out = seconds == 0;
        known.news = true;
        self.schedule
            .set(Owner::Refer(refer), (seconds > 0).then_some(now + Duration::from_secs(seconds.into())));
        self.notify(refer, now);
    }

    /// 489: no events but those of REFER (RFC 6665 §4.2.1.1).
    pub(super) fn bad_event(&mut self, id: TxnId, now: Instant) {
        self.reply(id, Reply::new(489).with("Allow-Events", "refer").with("Allow", ALLOW), now);
    }

    /// A leg is gone: what is still to be told goes by a copy of its dialog.
    pub(super) fn keep_refers(&mut self, id: SipLeg, leg: &Leg) {
        let dialog = match &leg.state {
            LegState::Established(session) => Some(&session.dialog),
            LegState::Closing { dialog, .. } => Some(&**dialog),
            LegState::Calling(_) | LegState::Ringing(_) => None,
        };
        let of_leg = |(name, r): (&ReferId, &Refer)| (r.leg == id).then_some(*name);
        for name in self.refers.iter().filter_map(of_leg).collect::<Vec<_>>() {
            let Some(known) = self.refers.get_mut(&name) else { continue };
            match (known.stage, dialog) {
                (Stage::Taken, Some(dialog)) if known.wanted => known.dialog = Some(Box::new(dialog.clone())),
                (Stage::Taken, _) => {
                    self.refers.remove(&name);
                    self.schedule.set(Owner::Refer(name), None);
                }
                // The application answers it in a moment.
                (Stage::Asked(_), _) => {}
            }
        }
    }

    /// When a transferor that we hang up on gets our BYE; none: now.
    pub(super) fn parting(&self, leg: SipLeg, now: Instant) -> Option<Instant> {
        let told = |r: &&Refer| r.leg == leg && r.wanted && r.stage == Stage::Taken && r.is_last();
        self.refers.values().find(told).map(|_| now + PARTING_UNTOLD)
    }

    /// The outcome is known over there: it hangs up now or never.
    fn hasten_parting(&mut self, leg: SipLeg, now: Instant) {
        if let Some(parting) = self.session(leg).and_then(|s| s.parting.as_mut()) {
            parting.at = parting.at.min(now + PARTING);
        }
        self.settle_leg(leg);
    }
}

/// The id of an Event field for REFER: none for other events, `Some(None)` without id.
pub(super) fn refer_event(request: &Message) -> Option<Option<u32>> {
    let value = request.header("Event")?;
    let (package, params) = value.split_once(';').unwrap_or((value, ""));
    let id = Params::new(params).get("id").map(|id| id.parse().unwrap_or(0));
    package.trim().eq_ignore_ascii_case("refer").then_some(id)
}
