//! Requests that are too large for a datagram go over TCP where the peer takes that (RFC 3261 §18.1.1).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use types::limits;

use crate::endpoint::{Endpoint, Hop, Listener, Path, TxnId};
use crate::{Target, Transport};

/// Largest request that is sent as a datagram, in bytes: the path's MTU is unknown.
const LARGEST: usize = 1_300;
/// How long a peer that refused TCP is not tried again.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Peers that took no TCP connection, and until when they are not asked again.
#[derive(Debug, Default)]
pub(super) struct NoTcp(HashMap<SocketAddr, Instant>);

impl NoTcp {
    fn refuses(&self, remote: SocketAddr, now: Instant) -> bool {
        self.0.get(&remote).is_some_and(|until| *until > now)
    }

    fn note(&mut self, remote: SocketAddr, now: Instant) {
        if self.0.len() >= limits::SIP_NO_TCP {
            self.0.clear();
        }
        self.0.insert(remote, now + REMEMBERED);
    }
}

impl Endpoint {
    /// The way for a request of this size, if another than `path`. A contact registered over UDP has its flow only.
    pub(super) fn larger_path(&self, path: &Path, bytes: usize, now: Instant) -> Option<Path> {
        let Target::Address { transport: Transport::Udp, remote, local } = path.target else { return None };
        if bytes <= LARGEST || self.no_tcp.refuses(remote, now) {
            return None;
        }
        let target = Target::Address { transport: Transport::Tcp, remote, local };
        let listens = |l: &Listener| l.transport == Transport::Tcp && l.local.is_ipv4() == remote.is_ipv4();
        // Without a listener for TCP peers still find us over UDP.
        let there = self.config.listeners.iter().any(listens);
        Some(if there { Path::to(target, &self.config.listeners) } else { path.retarget(target) })
    }

    /// No connection: a request that would have been a datagram but for its size becomes one, the same transaction with
    /// its timers begun anew. Says whether. The RFC wants this after a refusal; a firewall that answers nothing is met
    /// as often.
    pub(super) fn fall_back_on_datagrams(&mut self, id: TxnId, now: Instant) -> bool {
        let Some(txn) = self.clients.get_mut(&id) else { return false };
        let Some(path) = txn.datagrams.take() else { return false };
        let old = Hop::of(&txn.request.path.target);
        txn.request.path = path.clone();
        let wire = txn.request.write(&txn.branch, &self.config.user_agent);
        txn.begin(wire.clone(), now);
        self.no_tcp.note(path.target.remote(), now);
        self.forget_hop(old, id);
        self.client_hops.entry(Hop::of(&path.target)).or_default().insert(id);
        self.transmit(&path, wire);
        self.settle_client(id);
        true
    }
}
