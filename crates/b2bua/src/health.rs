//! Whether trunks that we do not register at are there: OPTIONS now and then (RFC 3261 §11). A registration shows
//! it by itself.

use std::time::{Duration, Instant};

use sip_ua::{Command, PingId, Target};

use crate::config::TrunkConfig;

/// How often a trunk is asked.
pub const PING_EVERY: Duration = Duration::from_secs(60);

/// What is known of each trunk.
#[derive(Debug)]
pub(crate) struct Health {
    next: Option<Instant>,
    trunks: Vec<Reach>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Reach {
    waiting: bool,
    reachable: Option<bool>,
}

impl Health {
    pub fn new(trunks: usize) -> Health {
        Health { next: None, trunks: vec![Reach::default(); trunks] }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The questions that are due. The first round comes one interval after the first call.
    pub fn due(&mut self, trunks: &[TrunkConfig], targets: &[Vec<Target>], now: Instant) -> Vec<Command> {
        let asked = trunks.iter().any(|trunk| trunk.registration.is_none());
        let first = self.next.is_none();
        if !asked || self.next.is_some_and(|at| at > now) {
            return Vec::new();
        }
        self.next = Some(now + PING_EVERY);
        if first {
            return Vec::new();
        }
        let mut questions = Vec::new();
        for (index, (trunk, reach)) in trunks.iter().zip(&mut self.trunks).enumerate() {
            let Some(target) = targets[index].first().filter(|_| trunk.registration.is_none()) else {
                continue;
            };
            if !std::mem::replace(&mut reach.waiting, true) {
                let ping = PingId(index as u32);
                questions.push(Command::Ping { ping, target: *target, uri: format!("sip:{}", trunk.host) });
            }
        }
        questions
    }

    /// An answer, whatever its status, or none. Some: the trunk and whether it is there, if that is news.
    pub fn answered(&mut self, ping: PingId, status: Option<u16>) -> Option<(usize, bool)> {
        let index = ping.0 as usize;
        let reach = self.trunks.get_mut(index)?;
        reach.waiting = false;
        let there = status.is_some();
        let news = reach.reachable.replace(there) != Some(there);
        news.then_some((index, there))
    }

    pub fn reachable(&self, trunk: usize) -> Option<bool> {
        self.trunks.get(trunk)?.reachable
    }

    /// No more questions.
    pub fn stop(&mut self) {
        self.next = None;
    }
}
