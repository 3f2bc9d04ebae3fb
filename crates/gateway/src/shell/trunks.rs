//! Keeps the addresses of trunk servers up to date; the core never waits for DNS.

use std::time::Duration;

use b2bua::TrunkTarget;
use sip_ua::io::Sockets;
use sip_ua::{Target, TlsPeer, Transport};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::resolve::{self, Answers, Dns, Families, Found, Place};
use super::{CoreInput, SystemEntropy, addresses};
use types::Advertised;
use types::limits::TRUNK_TARGETS;

use crate::config::{Config, RankedServer};

/// Longest time between two lookups of a name that resolves.
const LONGEST: Duration = Duration::from_secs(3600);
/// Shortest time between two lookups, also of a name that does not resolve.
const SHORTEST: Duration = Duration::from_secs(5);
/// How often our own address on the way there is looked at.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known about a trunk's server.
#[derive(Default)]
struct Known {
    places: Vec<Place>,
    answers: Answers,
    /// What is wrong with its name; has been said.
    trouble: Option<String>,
}

impl Known {
    /// Takes a result over; when to ask again.
    fn take(&mut self, trunk: &str, found: Found) -> Duration {
        let nowhere = found.places.is_empty();
        let trouble = found.failure.or_else(|| nowhere.then(|| "DNS has no address for it".into()));
        if let Some(why) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            let what = match (nowhere, self.places.is_empty()) {
                (true, true) => {
                    "its server name does not resolve: calls to it end with trunk-unreachable until it does"
                }
                (true, false) => "its server name does not resolve any more; the last addresses stay",
                (false, _) => "a DNS lookup failed; what is known otherwise is used",
            };
            tracing::warn!("trunk {trunk}: {what} ({why})");
        } else if trouble.is_none() && self.trouble.is_some() {
            tracing::info!("trunk {trunk}: its server name resolves now");
        }
        self.trouble = trouble;
        if nowhere {
            return SHORTEST;
        }
        // The same records keep the order drawn before: a registration stays where it is.
        if self.places.is_empty() || self.answers != found.answers {
            self.places = found.places;
            self.answers = found.answers;
        }
        found.lives.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
    }
}

/// Ranks of one server's own addresses: SRV priorities, doubled for IPv6 behind IPv4.
const RANKS: u32 = 1 << 17;

/// Each address that a server was found at.
pub fn targets(server: &RankedServer, places: &[Place], peer: TlsPeer) -> Vec<TrunkTarget> {
    let target = |place: &Place| {
        let (transport, remote) = (place.transport, place.at);
        let local = Sockets::source_towards(remote).ok();
        let target = match transport {
            Transport::Tls => Target::Tls { peer, remote, local },
            Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => {
                Target::Address { transport, remote, local }
            }
        };
        TrunkTarget {
            target,
            // 15 bits are enough for the file's numbers in the order in which people write them.
            priority: u32::from(server.priority.min(0x7fff)) * RANKS + place.rank.min(RANKS - 1),
            weight: u32::from(server.weight) * place.weight.max(1),
        }
    };
    places.iter().map(target).collect()
}

/// Where servers are that are named by address: known before the first call comes.
pub fn known_at_start(servers: &[RankedServer], peer: TlsPeer) -> Vec<TrunkTarget> {
    let known = |ranked: &RankedServer| {
        let places = resolve::places(&ranked.server, &Answers::default(), &mut SystemEntropy);
        targets(ranked, &places.unwrap_or_default(), peer)
    };
    servers.iter().flat_map(known).collect()
}

/// Follows every trunk's server, each in a task of its own.
pub fn start(config: &Config, core: &mpsc::Sender<CoreInput>) {
    let dns = Dns { servers: config.dns_servers.clone(), families: Families::of(&config.sip.listen) };
    let (media, sip) = (config.media.advertise, config.sip.advertise);
    let advertise = Advertised { v4: media.v4.or(sip.v4), v6: media.v6.or(sip.v6) };
    for (trunk, n) in config.trunks.iter().zip(0..) {
        let servers = (trunk.next_hops(), TlsPeer(n));
        tokio::spawn(follow(trunk.name.clone(), servers, dns.clone(), advertise, core.clone()));
    }
}

/// Looks a trunk's servers up for ever and tells the core of changes.
async fn follow(
    name: String,
    (servers, peer): (Vec<RankedServer>, TlsPeer),
    dns: Dns,
    advertise: Advertised,
    core: mpsc::Sender<CoreInput>,
) {
    let mut all: Vec<_> = servers.into_iter().map(|s| (s, Known::default(), Instant::now())).collect();
    let mut told = Vec::new();
    loop {
        for (ranked, known, ask_at) in &mut all {
            if Instant::now() >= *ask_at {
                let found = dns.walk(&ranked.server, &known.answers, &mut SystemEntropy).await;
                *ask_at = Instant::now() + known.take(&name, found);
            }
        }
        let mut now: Vec<TrunkTarget> =
            all.iter().flat_map(|(ranked, known, _)| targets(ranked, &known.places, peer)).collect();
        now.truncate(TRUNK_TARGETS);
        if now != told {
            warn(&name, advertise, &now);
            told.clone_from(&now);
            if core.send(CoreInput::TrunkTargets { name: name.clone(), targets: now }).await.is_err() {
                return;
            }
        }
        let next = all.iter().map(|(_, _, ask_at)| *ask_at).min();
        let again = Instant::now() + AGAIN;
        tokio::time::sleep_until(next.map_or(again, |at| at.min(again))).await;
    }
}

fn warn(name: &str, advertise: Advertised, targets: &[TrunkTarget]) {
    for target in targets {
        if let Some(local) = target.target.local_ip()
            && let Some(sentence) =
                addresses::doubt(name, local, advertise.like(local), target.target.remote().ip())
        {
            tracing::warn!("{sentence}");
        }
    }
}
