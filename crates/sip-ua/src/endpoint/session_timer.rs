//! Session timers (RFC 4028) of each leg by itself: negotiated, kept alive and enforced without the application.

use std::time::{Duration, Instant};

use crate::endpoint::client::Purpose;
use crate::endpoint::leg::{LegState, Outgoing};
use crate::endpoint::server::Reply;
use crate::endpoint::{Endpoint, OutRequest, Owner, TxnId};
use crate::message::{Message, Method, Params};
use crate::{Body, Event, Flow, LegEnd, Refresher, SessionTimer, SipLeg};

/// The option tag (RFC 4028 §6).
pub(super) const TAG: &str = "timer";
/// The smallest interval that we take, in seconds: the smallest there is (RFC 4028 §5).
const MIN_SE: u32 = 90;
/// An answer may set any interval; below this we would refresh without pause.
const FLOOR: u32 = 10;
/// Requests that a 422 made us repeat in a row: each proxy may want more than the one before.
const RETRIES: u8 = 4;
/// After a refusal of the refresh that says nothing about the session, and while another offer is open.
const RETRY: Duration = Duration::from_secs(10);
const BUSY: Duration = Duration::from_secs(2);
/// Why we hang up (RFC 3326).
const EXPIRED: &str = "SIP;cause=408;text=\"Session Timer Expired\"";

/// Who refreshes, seen from the request that negotiates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Uac,
    Uas,
}

/// What was agreed last.
#[derive(Clone, Copy, Debug)]
struct Timer {
    /// In seconds.
    interval: u32,
    /// We refresh, at this time; none: under way.
    ours: bool,
    refresh: Option<Instant>,
    /// BYE.
    end: Instant,
}

/// What a leg keeps for its session timer. Some of it is there before the session is.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// What the application wants.
    policy: SessionTimer,
    timer: Option<Timer>,
    /// The session description that we sent last and that counts.
    description: Option<Body>,
    /// The peer allows UPDATE.
    by_update: bool,
    /// The smallest interval that the peer's side takes, if it ever said so.
    min_se: u32,
    /// The re-INVITE under way is ours, not the application's.
    reinviting: bool,
    /// The application wanted to send one meanwhile.
    blocked: bool,
}

/// A Session-Expires value (RFC 4028 §4).
fn session_expires(message: &Message) -> Option<(u32, Option<Side>)> {
    let value = message.header("Session-Expires")?;
    let (seconds, params) = value.split_once(';').unwrap_or((value, ""));
    let refresher = match Params::new(params).get("refresher") {
        Some(who) if who.eq_ignore_ascii_case("uac") => Some(Side::Uac),
        Some(who) if who.eq_ignore_ascii_case("uas") => Some(Side::Uas),
        Some(_) | None => None,
    };
    Some((number(seconds)?, refresher))
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

impl Timer {
    fn start(interval: u32, ours: bool, now: Instant) -> Timer {
        let interval = interval.max(FLOOR);
        let whole = Duration::from_secs(interval.into());
        // RFC 4028 §10: whoever waits for a refresh hangs up a little before the end.
        let early = if ours { Duration::ZERO } else { (whole / 3).min(Duration::from_secs(32)) };
        Timer { interval, ours, refresh: ours.then(|| now + whole / 2), end: now + whole - early }
    }
}

/// RFC 4028 §9, table 2: interval and refresher of our 2xx. None: no timer, since nobody asks for one.
fn agree(request: &Message, current: Option<Timer>, policy: SessionTimer) -> Option<(u32, Side)> {
    let required = request.has_token("Require", TAG);
    let supported = request.has_token("Supported", TAG) || required;
    let (wanted, min_se, refresher) = match policy {
        SessionTimer::Off if !required => return None,
        SessionTimer::Off => (MIN_SE, MIN_SE, None),
        SessionTimer::On { interval, min_se, refresher } => (interval, min_se, refresher),
    };
    let ours = refresher.map(|who| match who {
        Refresher::Us => Side::Uas,
        Refresher::Peer => Side::Uac,
    });
    let keep = current.map(|t| if t.ours { Side::Uas } else { Side::Uac }).or(ours);
    match (session_expires(request), supported) {
        (None, false) => None,
        (None, true) => Some((current.map_or(wanted, |t| t.interval), keep.unwrap_or(Side::Uas))),
        // A proxy asks, the caller would not understand.
        (Some((interval, _)), false) => Some((interval.max(min_se), Side::Uas)),
        (Some((interval, asked)), true) => Some((interval, asked.or(keep).unwrap_or(Side::Uac))),
    }
}

impl SessionTimer {
    fn min_se(self) -> u32 {
        match self {
            SessionTimer::Off => MIN_SE,
            SessionTimer::On { min_se, .. } => min_se.max(MIN_SE),
        }
    }
}

impl Endpoint {
    /// What the application wants on a leg, from its beginning.
    pub(super) fn set_timer(&mut self, leg: SipLeg, timer: SessionTimer) {
        self.refreshes.entry(leg).or_default().policy = timer;
    }

    /// 422 to an INVITE or UPDATE whose sender would understand it (RFC 4028 §9); says whether.
    pub(super) fn too_brief(&mut self, id: TxnId, request: &Message, now: Instant) -> bool {
        let refreshes = matches!(request.method(), Some(Method::Invite | Method::Update));
        let brief = session_expires(request).is_some_and(|(seconds, _)| seconds < MIN_SE);
        if !refreshes || !brief || !request.has_token("Supported", TAG) {
            return false;
        }
        let reply = Reply { reason: "Session Interval Too Small", ..Reply::new(422) };
        self.reply(id, reply.with("Min-SE", &MIN_SE.to_string()), now);
        true
    }

    /// Before a response of ours goes out: what it says of the session timer, which starts now.
    pub(super) fn timer_of_reply(
        &mut self,
        id: TxnId,
        reply: &Reply<'_>,
        now: Instant,
    ) -> Vec<(&'static str, String)> {
        let Some(txn) = self.servers.get(&id).filter(|_| (101..300).contains(&reply.status)) else {
            return Vec::new();
        };
        let (Some(request), leg) = (txn.request.clone(), txn.leg) else { return Vec::new() };
        let (Some(Method::Invite | Method::Update), Some(leg)) =
            (request.method(), leg.or_else(|| self.find_leg(&request)))
        else {
            return Vec::new();
        };
        let up = self.session(leg).is_some() || request.method() == Some(&Method::Invite);
        let refresh = self.refreshes.entry(leg).or_default();
        if let Some(body) = reply.body {
            refresh.description = Some(body.clone());
        }
        if request.header("Allow").is_some() {
            refresh.by_update = request.has_token("Allow", Method::Update.as_str());
        }
        if reply.status < 200 || !up {
            return Vec::new();
        }
        let agreed = agree(&request, refresh.timer, refresh.policy);
        refresh.timer = agreed.map(|(s, who)| Timer::start(s, who == Side::Uas, now));
        self.settle_refresh(leg);
        let mut headers = vec![("Supported", TAG.to_owned())];
        if let Some((interval, who)) = agreed {
            let who = if who == Side::Uac { "uac" } else { "uas" };
            headers.push(("Session-Expires", format!("{interval};refresher={who}")));
            if request.has_token("Supported", TAG) {
                headers.push(("Require", TAG.to_owned()));
            }
        }
        headers
    }

    /// INVITE and UPDATE of ours ask for a timer; the first leaves the choice of the refresher to the peer (RFC 4028 §7.1).
    pub(super) fn ask_for_timer(&self, request: &mut OutRequest, purpose: Purpose) {
        let asked = request.headers.iter().any(|(name, _)| *name == "Session-Expires");
        let Some(leg) = purpose.leg().filter(|_| !asked) else { return };
        // Before the answer there is no session to keep alive (RFC 4028 §7.1).
        let early = matches!(purpose, Purpose::Offer(_));
        if early || !matches!(request.method, Method::Invite | Method::Update) {
            return;
        }
        let refresh = self.refreshes.get(&leg);
        let policy = refresh.map(|r| r.policy).unwrap_or_default();
        let (value, least) = match (refresh.and_then(|r| r.timer), policy) {
            (None, SessionTimer::Off) => return,
            (Some(timer), policy) => {
                let who = if timer.ours { "uac" } else { "uas" };
                (format!("{};refresher={who}", timer.interval), policy.min_se())
            }
            (None, SessionTimer::On { interval, min_se, refresher }) => {
                let who = match refresher {
                    None => "",
                    Some(Refresher::Us) => ";refresher=uac",
                    Some(Refresher::Peer) => ";refresher=uas",
                };
                (format!("{interval}{who}"), min_se)
            }
        };
        let min_se = refresh.map_or(least, |r| r.min_se.max(least));
        request.headers.push(("Supported", TAG.to_owned()));
        request.headers.push(("Session-Expires", value));
        request.headers.push(("Min-SE", min_se.to_string()));
    }

    /// 422: sends the request again with the interval that is wanted, where that is more than we asked for
    /// (RFC 4028 §7.3); says whether.
    pub(super) fn ask_for_longer(&mut self, id: TxnId, response: &Message, now: Instant) -> bool {
        let wanted = response.header("Min-SE").and_then(|v| number(v.split(';').next().unwrap_or_default()));
        let (Some(min_se), Some((purpose, tries))) = (wanted, self.challenged_request(id)) else {
            return false;
        };
        let (Some(leg), Some(txn)) = (purpose.leg(), self.clients.get(&id)) else { return false };
        let mut request = txn.request.clone();
        let Some(value) = request.headers.iter_mut().find(|(name, _)| *name == "Session-Expires") else {
            return false;
        };
        let (seconds, param) = value.1.split_at(value.1.find(';').unwrap_or(value.1.len()));
        if tries >= RETRIES || number(seconds).is_none_or(|s| s >= min_se) {
            return false;
        }
        value.1 = format!("{min_se}{param}");
        request.headers.retain(|(name, _)| *name != "Min-SE");
        request.headers.push(("Min-SE", min_se.to_string()));
        self.refreshes.entry(leg).or_default().min_se = min_se;
        request.cseq = self.next_seq(purpose, request.cseq);
        let branch = self.new_branch();
        let new = self.send_with_branch(request, branch, purpose, tries + 1, now);
        self.replaced(purpose, id, new);
        true
    }

    /// A 2xx to our INVITE or UPDATE: its Session-Expires counts, and without one there is no timer (RFC 4028 §7.2).
    pub(super) fn timer_of_answer(&mut self, leg: SipLeg, id: TxnId, response: &Message, now: Instant) {
        let offer = self.clients.get(&id).and_then(|t| t.request.body.clone());
        let Some(session) = self.session(leg) else { return };
        // Not of another fork.
        if response.to().and_then(|to| to.tag()) != Some(&session.dialog.remote_tag) {
            return;
        }
        let refresh = self.refreshes.entry(leg).or_default();
        refresh.description = offer.or(refresh.description.take());
        if response.header("Allow").is_some() {
            refresh.by_update = response.has_token("Allow", Method::Update.as_str());
        }
        refresh.timer = session_expires(response)
            .map(|(interval, who)| Timer::start(interval, who != Some(Side::Uas), now));
        self.settle_refresh(leg);
    }

    pub(super) fn settle_refresh(&mut self, leg: SipLeg) {
        let timer = self.refreshes.get(&leg).and_then(|r| r.timer);
        let at = timer.map(|t| t.refresh.map_or(t.end, |at| at.min(t.end)));
        self.schedule.set(Owner::Refresh(leg), at);
    }

    pub(super) fn forget_refresh(&mut self, leg: SipLeg) {
        self.refreshes.remove(&leg);
        self.schedule.set(Owner::Refresh(leg), None);
    }

    pub(super) fn refresh_timeout(&mut self, leg: SipLeg, now: Instant) {
        let up = self.session(leg).is_some();
        let Some(refresh) = self.refreshes.get_mut(&leg) else { return };
        let Some(timer) = &mut refresh.timer else { return };
        if !up || timer.end <= now {
            refresh.timer = None;
            self.close(leg, Some(EXPIRED.to_owned()), LegEnd::Unreachable { why: None }, now);
        } else if timer.refresh.take_if(|at| *at <= now).is_some() {
            self.refresh_session(leg, now);
        }
        self.settle_refresh(leg);
    }

    fn refresh_again(&mut self, leg: SipLeg, at: Instant) {
        if let Some(timer) = self.refreshes.get_mut(&leg).and_then(|r| r.timer.as_mut()) {
            timer.refresh = timer.ours.then_some(at);
        }
        self.settle_refresh(leg);
    }

    /// UPDATE without an offer where the peer allows it, else re-INVITE with the description as it was (RFC 4028 §7.4).
    fn refresh_session(&mut self, leg: SipLeg, now: Instant) {
        let Some(refresh) = self.refreshes.get(&leg) else { return };
        let description = refresh.description.clone().filter(|_| !refresh.by_update);
        let answering = self.legs.get(&leg).is_some_and(|l| l.incoming.is_some());
        let Some(session) = self.session(leg) else { return };
        let Some(body) = description else {
            let mut update = session.dialog.request(Method::Update, Vec::new(), None);
            update.contact = Some(session.dialog.contact.clone());
            self.send_request(update, Purpose::Update(leg), now);
            return;
        };
        let idle = matches!(session.outgoing, Outgoing::Idle);
        if !idle || session.unacked.is_some() || answering {
            self.refresh_again(leg, now + BUSY);
            return;
        }
        if let Some(refresh) = self.refreshes.get_mut(&leg) {
            refresh.reinviting = true;
        }
        self.open_reinvite(leg, body, now);
    }

    /// The answer to UPDATE (RFC 4028 §10).
    pub(super) fn update_answered(&mut self, leg: SipLeg, answer: Option<(&Message, &Flow)>, now: Instant) {
        let status = answer.and_then(|(m, _)| m.status()).unwrap_or(408);
        match status {
            200..300 => {
                if let (Some((response, flow)), Some(session)) = (answer, self.session(leg)) {
                    session.dialog.refresh_target(response, flow);
                }
            }
            408 | 481 => self.close(leg, None, LegEnd::Unreachable { why: None }, now),
            405 | 501 => {
                if let Some(refresh) = self.refreshes.get_mut(&leg) {
                    refresh.by_update = false;
                    let pause = if refresh.description.is_some() { Duration::ZERO } else { RETRY };
                    self.refresh_again(leg, now + pause);
                }
            }
            491 => {
                if let Some(pause) = self.glare_pause(leg) {
                    self.refresh_again(leg, now + pause);
                }
            }
            // RFC 3311 §5.1: 500 says itself when the other offer will be settled.
            _ => {
                let seconds =
                    answer.and_then(|(m, _)| m.retry_after()).map(|s| Duration::from_secs(s.into()));
                self.refresh_again(leg, now + seconds.map_or(RETRY, |s| s.min(RETRY)));
            }
        }
    }

    /// The application's re-INVITE must wait while ours is under way; it hears 491 when that is over.
    pub(super) fn wait_for_refresh(&mut self, leg: SipLeg) -> bool {
        let Some(refresh) = self.refreshes.get_mut(&leg).filter(|r| r.reinviting) else { return false };
        refresh.blocked = true;
        true
    }

    /// The outcome of a re-INVITE, for the application or for the timer.
    pub(super) fn reinvite_done(&mut self, leg: SipLeg, result: Result<Option<Body>, u16>, now: Instant) {
        let Some(refresh) = self.refreshes.get_mut(&leg).filter(|r| r.reinviting) else {
            self.tell(Event::ReinviteDone { leg, result });
            return;
        };
        refresh.reinviting = false;
        if std::mem::take(&mut refresh.blocked) {
            self.tell(Event::ReinviteDone { leg, result: Err(491) });
        }
        match result {
            Ok(_) | Err(408) => {}
            Err(481) => self.close(leg, None, LegEnd::Unreachable { why: None }, now),
            Err(491) => self.refresh_again(leg, now),
            Err(_) => self.refresh_again(leg, now + RETRY),
        }
    }

    /// RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s, the other 0 to 2 s, in steps of 10 ms.
    pub(super) fn glare_pause(&mut self, leg: SipLeg) -> Option<Duration> {
        let random = u64::from(self.entropy.u32());
        let LegState::Established(session) = &self.legs.get(&leg)?.state else { return None };
        let steps = if session.dialog.caller { 210 + random % 191 } else { random % 201 };
        Some(Duration::from_millis(steps * 10))
    }
}
