//! Who hears nothing from us at all: addresses that the configuration denies, and for a while those that guess passwords.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use types::{customer, limits};

use crate::IpNet;

/// Wrong passwords of one address within `GUESSING`, of whatever users, after which it is banned. Only answers to
/// challenges of ours count: whoever pretends to be another address never sees one.
pub const GUESSES: u32 = 50;
/// How long a wrong password counts, and how long a ban lasts.
pub const GUESSING: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Record {
    /// Wrong passwords since then.
    since: Instant,
    guesses: u32,
    banned_until: Option<Instant>,
}

/// Denied networks and records of guesses.
#[derive(Debug)]
pub(crate) struct Bans {
    denied: Vec<IpNet>,
    records: HashMap<IpAddr, Record>,
    order: VecDeque<IpAddr>,
}

impl Bans {
    pub fn new(denied: Vec<IpNet>) -> Bans {
        Bans { denied, records: HashMap::new(), order: VecDeque::new() }
    }

    /// The configuration names it.
    pub fn denies(&self, ip: IpAddr) -> bool {
        self.denied.iter().any(|net| net.contains(ip))
    }

    /// It guessed too often.
    pub fn bans(&self, ip: IpAddr, now: Instant) -> bool {
        let record = self.records.get(&customer(ip));
        record.and_then(|r| r.banned_until).is_some_and(|until| until > now)
    }

    /// A wrong password. `spared`: whether there is somebody at this address who may not be banned. True: it is banned from
    /// now on.
    pub fn guessed(&mut self, ip: IpAddr, spared: impl FnOnce() -> bool, now: Instant) -> bool {
        if ip.is_loopback() {
            return false;
        }
        let ip = customer(ip);
        if !self.records.contains_key(&ip) {
            while self.order.len() >= limits::SIP_SOURCES {
                if let Some(oldest) = self.order.pop_front() {
                    self.records.remove(&oldest);
                }
            }
            self.order.push_back(ip);
        }
        let new = Record { since: now, guesses: 0, banned_until: None };
        let record = self.records.entry(ip).or_insert(new);
        if now.saturating_duration_since(record.since) > GUESSING {
            *record = Record { since: now, guesses: 0, banned_until: None };
        }
        record.guesses += 1;
        if record.guesses < GUESSES || record.banned_until.is_some_and(|until| until > now) || spared() {
            return false;
        }
        *record = Record { since: now, guesses: 0, banned_until: Some(now + GUESSING) };
        true
    }

    /// How many are banned now.
    pub fn banned(&self, now: Instant) -> usize {
        self.records.values().filter(|r| r.banned_until.is_some_and(|until| until > now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn fifty_wrong_passwords_in_ten_minutes_ban_for_ten_minutes() {
        let (mut bans, mut now) = (Bans::new(Vec::new()), Instant::now());
        let guess = |bans: &mut Bans, from, now| bans.guessed(ip(from), || false, now);
        for _ in 1..GUESSES {
            assert!(!guess(&mut bans, "192.0.2.1", now));
        }
        assert!(!bans.bans(ip("192.0.2.1"), now));
        assert!(guess(&mut bans, "192.0.2.1", now));
        assert!(bans.bans(ip("192.0.2.1"), now) && !bans.bans(ip("192.0.2.2"), now));
        assert_eq!(bans.banned(now), 1);
        now += GUESSING;
        assert!(!bans.bans(ip("192.0.2.1"), now));
        assert_eq!(bans.banned(now), 0);
        // A phone with a wrong password that tries every half minute is no burglar.
        for _ in 0..10 * GUESSES {
            now += Duration::from_secs(30);
            assert!(!guess(&mut bans, "192.0.2.7", now));
        }
    }

    #[test]
    fn whoever_shares_the_address_of_a_device_and_this_machine_are_spared() {
        let (mut bans, now) = (Bans::new(Vec::new()), Instant::now());
        for _ in 0..3 * GUESSES {
            assert!(!bans.guessed(ip("192.0.2.1"), || true, now));
            assert!(!bans.guessed(ip("127.0.0.1"), || false, now));
        }
        assert_eq!(bans.banned(now), 0);
    }

    #[test]
    fn the_addresses_of_one_ipv6_customer_are_banned_together_and_a_full_table_forgets_the_oldest() {
        let (mut bans, now) = (Bans::new(Vec::new()), Instant::now());
        for n in 0..GUESSES {
            bans.guessed(ip(&format!("2001:db8::{n:x}")), || false, now);
        }
        assert!(bans.bans(ip("2001:db8::ffff"), now) && !bans.bans(ip("2001:db8:0:1::1"), now));
        for n in 0..limits::SIP_SOURCES as u32 {
            bans.guessed(IpAddr::from(n.to_be_bytes()), || false, now);
        }
        assert_eq!(bans.records.len(), limits::SIP_SOURCES);
        assert!(!bans.bans(ip("2001:db8::1"), now));
    }

    #[test]
    fn a_denied_network_is_denied_for_ever() {
        let bans = Bans::new(vec![IpNet::parse("203.0.113.0/24").unwrap()]);
        assert!(bans.denies(ip("203.0.113.9")) && !bans.denies(ip("203.0.114.9")));
    }
}
