//! Which SIP requests are looked at at all, judged before any transaction exists (field problem 37).
//!
//! On loopback and from trunks everything is answered; from registered contacts too, as long as it is no flood. From
//! anywhere else a REGISTER or INVITE to our domain is challenged without leaving state behind, whoever it names, and
//! all else is dropped: a scanner learns nothing but that there is a challenge.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sip_ua::digest::Asks;
use sip_ua::message::{Message, Method, ParseError, Uri, Verdict, validate_request};
use sip_ua::{Flow, overload};
use types::{Wall, customer, limits};

use crate::output::Level;
use crate::switch::Switch;

/// New requests a second that one address may send for long.
pub const REQUESTS_PER_SECOND: u32 = 50;
/// New requests that one address may send at once: an office of phones behind one address that start together.
pub const REQUESTS_AT_ONCE: u32 = 500;
/// What a wrong password counts as, in requests: guesses for many names are slowed to one a second.
pub const WRONG_PASSWORD: u32 = 50;

/// What to do with a message that came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Screen {
    /// Hand it to the endpoint.
    Admit,
    /// Answer it without a transaction.
    Refuse(Verdict),
    /// Say nothing; it has been counted.
    Drop,
}

/// Why nothing was said to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// No SIP message.
    NotSip,
    /// From a stranger: cannot be read, or lacks what every request has.
    Malformed,
    /// From a stranger: neither REGISTER nor INVITE, or inside a dialog that is not here.
    Method,
    /// From a stranger: for somebody else's domain.
    Domain,
    /// More than one address may send.
    Flood,
    /// From an address that the configuration denies.
    Denied,
    /// From a stranger whose address guessed too many passwords.
    Banned,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 7] = [
        DropReason::NotSip,
        DropReason::Malformed,
        DropReason::Method,
        DropReason::Domain,
        DropReason::Flood,
        DropReason::Denied,
        DropReason::Banned,
    ];

    /// As a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            DropReason::NotSip => "not-sip",
            DropReason::Malformed => "malformed",
            DropReason::Method => "method",
            DropReason::Domain => "domain",
            DropReason::Flood => "flood",
            DropReason::Denied => "denied",
            DropReason::Banned => "banned",
        }
    }
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// This machine or a trunk.
    Trusted,
    /// A registered device, by the very flow it registered on.
    Contact,
    /// Anybody.
    Stranger,
}

/// Whose requests are counted together: a device, or an address (of IPv6 the network that one customer gets).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Source {
    Contact(SocketAddr),
    Stranger(IpAddr),
}

impl Source {
    fn of(flow: &Flow, standing: Standing) -> Source {
        match (standing, flow.remote.ip()) {
            (Standing::Contact, _) => Source::Contact(flow.remote),
            (Standing::Trusted | Standing::Stranger, ip) => Source::Stranger(customer(ip)),
        }
    }
}

/// A token bucket, as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

const TOKEN: Duration = Duration::from_nanos(1_000_000_000 / REQUESTS_PER_SECOND as u64);

impl Bucket {
    /// Takes tokens if one is left; more than there are may be taken, and are owed for no longer than a full bucket takes.
    fn take(&mut self, tokens: u32, now: Instant) -> bool {
        let depth = TOKEN * REQUESTS_AT_ONCE;
        let full_at = self.full_at.max(now);
        if full_at + TOKEN > now + depth {
            return false;
        }
        self.full_at = (full_at + TOKEN * tokens).min(now + depth);
        true
    }
}

/// What is remembered of senders, and what was dropped.
#[derive(Debug, Default)]
pub(crate) struct Access {
    buckets: HashMap<Source, Bucket>,
    order: VecDeque<Source>,
    dropped: [u64; DropReason::ALL.len()],
}

impl Access {
    fn take(&mut self, source: Source, tokens: u32, now: Instant) -> bool {
        if !self.buckets.contains_key(&source) {
            while self.order.len() >= limits::SIP_SOURCES {
                if let Some(oldest) = self.order.pop_front() {
                    self.buckets.remove(&oldest);
                }
            }
            self.order.push_back(source);
        }
        self.buckets.entry(source).or_insert(Bucket { full_at: now }).take(tokens, now)
    }

    /// A wrong password came this way.
    pub fn wrong_password(&mut self, flow: &Flow, now: Instant) {
        if !flow.remote.ip().is_loopback() {
            self.take(Source::of(flow, Standing::Stranger), WRONG_PASSWORD, now);
        }
    }

    fn drop(&mut self, reason: DropReason) -> Screen {
        self.dropped[reason as usize] += 1;
        Screen::Drop
    }
}

impl Switch {
    /// Judges what came before the endpoint sees it. `recognised`: whether the endpoint knows a request's transaction
    /// or dialog.
    pub fn screen(
        &mut self,
        flow: &Flow,
        parsed: &Result<Message, ParseError>,
        recognised: impl FnOnce(&Message) -> bool,
        now: Instant,
        wall: Wall,
    ) -> Screen {
        if self.bans.denies(flow.remote.ip()) {
            return self.access.drop(DropReason::Denied);
        }
        let request = match parsed {
            Ok(message) if message.is_request() => Some(message),
            Err(ParseError::BadRequest { .. }) => None,
            // Responses find their transaction by a branch of ours, or nobody.
            Ok(_) | Err(ParseError::BadResponse(_)) => return Screen::Admit,
            Err(ParseError::NotSip(_)) => return self.access.drop(DropReason::NotSip),
        };
        let standing = self.standing(flow);
        if standing == Standing::Trusted || request.is_some_and(recognised) {
            return Screen::Admit;
        }
        if standing == Standing::Stranger && self.bans.bans(flow.remote.ip(), now) {
            return self.access.drop(DropReason::Banned);
        }
        // The ACK to a refusal of ours that left nothing behind.
        if request.is_some_and(|r| r.method() == Some(&Method::Ack)) {
            return Screen::Drop;
        }
        let in_time = self.access.take(Source::of(flow, standing), 1, now);
        match (standing, in_time, request) {
            (Standing::Contact, true, _) | (Standing::Trusted, _, _) => Screen::Admit,
            (Standing::Contact, false, Some(_)) => Screen::Refuse(overload()),
            (Standing::Contact, false, None) | (Standing::Stranger, false, _) => {
                self.access.drop(DropReason::Flood)
            }
            (Standing::Stranger, true, Some(request)) => self.screen_stranger(flow, request, wall),
            (Standing::Stranger, true, None) => self.access.drop(DropReason::Malformed),
        }
    }

    fn screen_stranger(&mut self, flow: &Flow, request: &Message, wall: Wall) -> Screen {
        let registers = request.method() == Some(&Method::Register);
        let outside = request.to().is_some_and(|to| to.tag().is_none());
        if !registers && (request.method() != Some(&Method::Invite) || !outside) {
            return self.access.drop(DropReason::Method);
        }
        // What it requires is looked at once we know who asks.
        if validate_request(request, &[]).is_err_and(|verdict| verdict.status != 420) {
            return self.access.drop(DropReason::Malformed);
        }
        let ours = |uri: Option<Uri>| uri.is_some_and(|uri| self.is_ours(&uri, flow));
        let to = request.to().and_then(|to| to.uri().ok());
        if !ours(request.request_uri()) || (registers && !ours(to)) {
            return self.access.drop(DropReason::Domain);
        }
        if self.challenger.was_challenged(Asks::Www, request) {
            return Screen::Admit;
        }
        if !registers {
            self.explain_stranger(flow);
        }
        let headers = self.challenger.challenge(Asks::Www, false, wall, &mut *self.entropy);
        Screen::Refuse(Verdict { status: Asks::Www.status(), reason: "Unauthorized", headers })
    }

    /// Field problem 31: which trunks a call could have come from, and why it did not.
    fn explain_stranger(&mut self, flow: &Flow) {
        let mut why = String::new();
        for (index, trunk) in self.shared.config.trunks.iter().enumerate() {
            let targets = self.shared.targets.of(index);
            let known: Vec<String> = targets.map(|t| t.remote().ip().to_string()).collect();
            let from = trunk.inbound_from.len();
            let registered = if trunk.registration.is_some() { ", nor where we register" } else { "" };
            why += &format!(
                "; trunk {}: not its server ({}){registered}, nor in its {from} ranges of inbound_from",
                trunk.name,
                known.join(", ")
            );
        }
        let source = flow.remote.ip();
        self.shared.log(
            Level::Debug,
            None,
            format!("an INVITE from {source} is nobody's we know and was challenged{why}"),
        );
    }

    fn standing(&self, flow: &Flow) -> Standing {
        let ip = flow.remote.ip();
        let config = &self.shared.config;
        let is_trunk = || {
            let ranges = config.trunks.iter().flat_map(|t| &t.inbound_from);
            let mut servers = (0..config.trunks.len()).flat_map(|i| self.shared.targets.of(i));
            servers.any(|t| t.remote().ip() == ip) || ranges.into_iter().any(|net| net.contains(ip))
        };
        if ip.is_loopback() || is_trunk() {
            Standing::Trusted
        } else if self.shared.registrar.knows(flow) {
            Standing::Contact
        } else {
            Standing::Stranger
        }
    }

    /// How many addresses are banned for guessing passwords.
    pub fn banned(&self, now: Instant) -> usize {
        self.bans.banned(now)
    }

    /// How many messages were dropped, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.access.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket { full_at: start };
        let at_once = (0..2 * REQUESTS_AT_ONCE).filter(|_| bucket.take(1, start)).count();
        assert_eq!(at_once, REQUESTS_AT_ONCE as usize);
        let second = (1..=1000).map(|ms| start + Duration::from_millis(ms));
        let in_a_second = second.filter(|now| bucket.take(1, *now)).count();
        assert_eq!(in_a_second, REQUESTS_PER_SECOND as usize);
    }

    #[test]
    fn wrong_passwords_empty_a_bucket_fast_and_are_owed_no_longer_than_it_takes_to_fill() {
        let start = Instant::now();
        let mut bucket = Bucket { full_at: start };
        let guesses = (0..1000).filter(|_| bucket.take(WRONG_PASSWORD, start)).count();
        assert_eq!(guesses, 10);
        assert!(!bucket.take(1, start));
        assert!(bucket.take(1, start + TOKEN));
    }

    #[test]
    fn a_full_table_forgets_the_oldest_source() {
        let (mut access, now) = (Access::default(), Instant::now());
        for n in 0..=limits::SIP_SOURCES as u32 {
            access.take(Source::Stranger(IpAddr::from(n.to_be_bytes())), 1, now);
        }
        assert_eq!(access.buckets.len(), limits::SIP_SOURCES);
        assert_eq!(access.order.len(), limits::SIP_SOURCES);
        assert!(!access.buckets.contains_key(&Source::Stranger(IpAddr::from([0; 4]))));
    }

    #[test]
    fn the_addresses_of_one_ipv6_customer_are_counted_together() {
        let flow = |remote: &str| Flow {
            transport: sip_ua::Transport::Udp,
            local: "[2001:db8:9::1]:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: None,
        };
        let of = |remote| Source::of(&flow(remote), Standing::Stranger);
        assert_eq!(of("[2001:db8::1]:5060"), of("[2001:db8::ffff]:7000"));
        assert_ne!(of("[2001:db8::1]:5060"), of("[2001:db8:0:1::1]:5060"));
    }
}
