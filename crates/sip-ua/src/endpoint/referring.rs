//! REFER of ours inside a call, and the peer's NOTIFYs about it (RFC 3515 §2.4.5).

use std::time::{Duration, Instant};

use crate::endpoint::client::Purpose;
use crate::endpoint::refer::refer_event;
use crate::endpoint::server::Reply;
use crate::endpoint::{Endpoint, Owner, TxnId};
use crate::message::{Message, Method};
use crate::{Event, Headers, ReferOutcome, SipLeg};

/// How long a peer may take to tell the outcome.
const PATIENCE: Duration = Duration::from_secs(180);

/// Our REFER, from sending it to its outcome.
#[derive(Debug)]
pub(super) struct Referring {
    /// CSeq of the REFER: an Event field may name it.
    seq: u32,
    status: Option<u16>,
}

/// The status line of a message/sipfrag body (RFC 3420).
fn fragment_status(body: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(body).ok()?;
    let status = text.trim_start().strip_prefix("SIP/2.0")?.split_whitespace().next()?;
    status.parse().ok().filter(|s| (100..700).contains(s))
}

impl Endpoint {
    /// One at a time; while one is under way, and outside answered calls, it is refused at once.
    pub(super) fn send_refer(&mut self, leg: SipLeg, to: &str, referred_by: &str, now: Instant) {
        if !self.legs.contains_key(&leg) {
            return;
        }
        let free = !self.referring.contains_key(&leg);
        let Some(session) = self.session(leg).filter(|s| free && s.parting.is_none()) else {
            return self.tell(Event::Referred { leg, outcome: ReferOutcome::Refused(Some(491)) });
        };
        let mut headers: Headers = vec![("Refer-To", format!("<{to}>"))];
        if !referred_by.is_empty() {
            headers.push(("Referred-By", format!("<{referred_by}>")));
        }
        let request = session.dialog.request(Method::Refer, headers, None);
        self.referring.insert(leg, Referring { seq: request.cseq, status: None });
        self.schedule.set(Owner::Referring(leg), Some(now + PATIENCE));
        self.send_request(request, Purpose::Refer(leg), now);
    }

    pub(super) fn refer_answered(&mut self, leg: SipLeg, response: Option<&Message>) {
        let status = response.and_then(Message::status);
        let silent = response.and_then(|r| r.header("Refer-Sub")).is_some_and(|v| v.trim() == "false");
        match status {
            Some(200..=299) if silent => self.referring_over(leg, ReferOutcome::Done(None)),
            Some(200..=299) => {}
            refused => self.referring_over(leg, ReferOutcome::Refused(refused)),
        }
    }

    /// NOTIFY in a call; it may overtake the 202 (RFC 3515 §2.4.4).
    pub(super) fn on_notify(&mut self, leg: SipLeg, id: TxnId, request: &Message, now: Instant) {
        let Some(event) = refer_event(request) else { return self.bad_event(id, now) };
        let Some(known) = self.referring.get_mut(&leg).filter(|r| event.is_none_or(|id| id == r.seq)) else {
            return self.reply(id, Reply::new(481), now);
        };
        let state = request.header("Subscription-State").unwrap_or_default();
        let over = state.trim_start().to_ascii_lowercase().starts_with("terminated");
        let status = fragment_status(request.body());
        known.status = status.or(known.status);
        let last = known.status.filter(|s| *s >= 200);
        self.reply(id, Reply::new(200), now);
        match status {
            _ if over || last.is_some() => self.referring_over(leg, ReferOutcome::Done(last)),
            Some(status) => self.tell(Event::Referred { leg, outcome: ReferOutcome::Progress(status) }),
            None => {}
        }
    }

    pub(super) fn referring_over(&mut self, leg: SipLeg, outcome: ReferOutcome) {
        if self.forget_referring(leg) {
            self.tell(Event::Referred { leg, outcome });
        }
    }

    /// Says whether there was one.
    pub(super) fn forget_referring(&mut self, leg: SipLeg) -> bool {
        self.schedule.set(Owner::Referring(leg), None);
        self.referring.remove(&leg).is_some()
    }
}
