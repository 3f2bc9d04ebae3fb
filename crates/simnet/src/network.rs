//! Datagrams between SIP parties: lost, duplicated, delayed and thereby reordered. Streams: in order, until cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_ua::Flow;

use crate::rng::Rng;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// As the receiver sees it.
    pub flow: Flow,
    pub bytes: Arc<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    /// Per 1,000, at least 100.
    pub loss: u64,
    pub duplication: u64,
    longest: u64,
    pub lost: u64,
    pub sent: u64,
    pub duplicated: u64,
    /// Addresses that answer nothing.
    pub dark: Vec<SocketAddr>,
}

/// Streams have one delay, so that they keep their order.
pub(crate) const STREAM_DELAY: Duration = Duration::from_millis(8);

impl Network {
    pub fn new(mut rng: Rng) -> Self {
        let (loss, duplication, longest) = (100 + rng.below(60), 20 + rng.below(60), 20 + rng.below(200));
        Network { rng, loss, duplication, longest, lost: 0, sent: 0, duplicated: 0, dark: Vec::new() }
    }

    /// When copies of a datagram arrive: never, once or twice.
    pub fn arrivals(&mut self, now: Instant, to: SocketAddr) -> Vec<Instant> {
        self.sent += 1;
        if self.rng.chance(self.loss) || self.dark.contains(&to) {
            self.lost += 1;
            return Vec::new();
        }
        let copies = if self.rng.chance(self.duplication) { 2 } else { 1 };
        self.duplicated += copies - 1;
        (0..copies).map(|_| now + self.rng.millis(1, self.longest)).collect()
    }
}
