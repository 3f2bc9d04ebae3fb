//! Slows down wrong passwords: per source address and user, doubling, capped, in a bounded table.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use types::limits;

/// Delay after the first wrong password; it doubles with each further one up to `limits::FAILURE_DELAY`.
pub const FIRST_DELAY: Duration = Duration::from_millis(200);
/// How long an address and user are remembered after the last wrong password.
pub const FORGET: Duration = Duration::from_secs(600);
/// Attempts that wait their turn while one is being slowed. Full: refused without a look at the password.
pub const WAITING: u32 = 4;

type Key = (IpAddr, String);

#[derive(Debug)]
struct Entry {
    failures: u32,
    /// Attempts are looked at again from here on.
    until: Instant,
    waiting: u32,
}

/// What to do with an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gate {
    /// Look at it now.
    Open,
    /// Look at it then.
    Later(Instant),
    /// Refuse it then, unseen: too many wait already.
    Refuse(Instant),
}

#[derive(Debug, Default)]
pub(crate) struct Guard {
    entries: HashMap<Key, Entry>,
    order: VecDeque<Key>,
}

impl Guard {
    /// Whether an attempt may be looked at. `Later` counts it as waiting until `waited`.
    pub fn check(&mut self, source: IpAddr, user: &str, now: Instant) -> Gate {
        let Some(entry) = self.entries.get_mut(&(source, user.to_owned())) else { return Gate::Open };
        if entry.until <= now {
            return Gate::Open;
        }
        if entry.waiting >= WAITING {
            return Gate::Refuse(entry.until);
        }
        entry.waiting += 1;
        Gate::Later(entry.until)
    }

    /// A waiting attempt has its turn or is gone.
    pub fn waited(&mut self, source: IpAddr, user: &str) {
        if let Some(entry) = self.entries.get_mut(&(source, user.to_owned())) {
            entry.waiting = entry.waiting.saturating_sub(1);
        }
    }

    /// A wrong password; says when it may be answered.
    pub fn failed(&mut self, source: IpAddr, user: &str, now: Instant) -> Instant {
        let key = (source, user.to_owned());
        if !self.entries.contains_key(&key) {
            while self.order.len() >= limits::FAILURE_TABLE {
                if let Some(oldest) = self.order.pop_front() {
                    self.entries.remove(&oldest);
                }
            }
            self.order.push_back(key.clone());
        }
        let entry = self.entries.entry(key).or_insert(Entry { failures: 0, until: now, waiting: 0 });
        if now.saturating_duration_since(entry.until) > FORGET {
            entry.failures = 0;
        }
        let delay = FIRST_DELAY.saturating_mul(1 << entry.failures.min(16)).min(limits::FAILURE_DELAY);
        entry.failures += 1;
        entry.until = entry.until.max(now) + delay;
        entry.until = entry.until.min(now + limits::FAILURE_DELAY);
        entry.until
    }

    /// A right password from here: nothing to hold against it.
    pub fn succeeded(&mut self, source: IpAddr, user: &str) {
        let key = (source, user.to_owned());
        if self.entries.remove(&key).is_some() {
            self.order.retain(|k| *k != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn delays_double_up_to_three_seconds() {
        let (mut guard, mut now) = (Guard::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..7 {
            let until = guard.failed(ip("192.0.2.1"), "alice", now);
            delays.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(delays, [200, 400, 800, 1600, 3000, 3000, 3000]);
    }

    #[test]
    fn another_address_and_another_user_are_never_delayed() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        guard.failed(ip("192.0.2.1"), "alice", now);
        assert!(matches!(guard.check(ip("192.0.2.1"), "alice", now), Gate::Later(_)));
        assert_eq!(guard.check(ip("192.0.2.2"), "alice", now), Gate::Open);
        assert_eq!(guard.check(ip("192.0.2.1"), "bob", now), Gate::Open);
    }

    #[test]
    fn guesses_in_parallel_wait_their_turn_and_the_fifth_is_refused() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        let until = guard.failed(ip("192.0.2.1"), "alice", now);
        for _ in 0..WAITING {
            assert_eq!(guard.check(ip("192.0.2.1"), "alice", now), Gate::Later(until));
        }
        assert_eq!(guard.check(ip("192.0.2.1"), "alice", now), Gate::Refuse(until));
        guard.waited(ip("192.0.2.1"), "alice");
        assert_eq!(guard.check(ip("192.0.2.1"), "alice", now), Gate::Later(until));
        assert_eq!(guard.check(ip("192.0.2.1"), "alice", until), Gate::Open);
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        for n in 0..=limits::FAILURE_TABLE {
            guard.failed(ip("192.0.2.1"), &format!("u{n}"), now);
        }
        assert_eq!(guard.entries.len(), limits::FAILURE_TABLE);
        assert_eq!(guard.order.len(), limits::FAILURE_TABLE);
        assert_eq!(guard.check(ip("192.0.2.1"), "u0", now), Gate::Open);
    }

    #[test]
    fn a_right_password_clears_the_record() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        guard.failed(ip("192.0.2.1"), "alice", now);
        guard.succeeded(ip("192.0.2.1"), "alice");
        assert_eq!(guard.check(ip("192.0.2.1"), "alice", now), Gate::Open);
        assert!(guard.order.is_empty());
    }
}
