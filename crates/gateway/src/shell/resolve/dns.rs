//! Asks DNS and the hosts file for what `places` wants to know.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use types::Entropy;

use super::{Answers, Naptr, Place, Question, Srv, places};
use crate::config::values::{Server, SipListen};

/// How long one DNS server has for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// When to ask again after a lookup that failed without saying that there is nothing.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Which DNS servers are asked, and for what.
#[derive(Clone, Debug)]
pub struct Dns {
    /// `[dns] servers`; empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Which addresses are of use.
    pub families: Families,
}

/// Address families that we have sockets for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Both,
}

impl Families {
    /// Those of the addresses that we listen on.
    pub fn of(listen: &[SipListen]) -> Families {
        let v4 = listen.iter().any(|l| l.addr.is_ipv4());
        match (v4, listen.iter().any(|l| l.addr.is_ipv6())) {
            (true, true) => Families::Both,
            (false, true) => Families::V6,
            (_, false) => Families::V4,
        }
    }

    fn kinds(self) -> &'static [RecordType] {
        match self {
            Families::V4 => &[RecordType::A],
            Families::V6 => &[RecordType::AAAA],
            Families::Both => &[RecordType::A, RecordType::AAAA],
        }
    }
}

/// What one walk through DNS found.
pub struct Found {
    /// In the order to try; empty: nothing.
    pub places: Vec<Place>,
    /// What it rests on.
    pub answers: Answers,
    /// How long the shortest-lived record lives; none: nothing of it came from DNS.
    pub lives: Option<Duration>,
    /// The last lookup that failed, in words.
    pub failure: Option<String>,
}

/// The records of one answer, and how long they live.
type Records = (Vec<RData>, Option<Duration>);

impl Dns {
    /// Walks from the server's name to addresses. A lookup that fails keeps its part of the `last` answers.
    pub async fn walk(&self, server: &Server, last: &Answers, entropy: &mut dyn Entropy) -> Found {
        let client = Client::open(self);
        let mut server = server.clone();
        // A name of the hosts file is a machine, no domain.
        if server.port.is_none() && !client.hosts(&server.host).is_empty() {
            server.port = Some(server.default_port());
        }
        let mut found = Found { places: Vec::new(), answers: Answers::default(), lives: None, failure: None };
        loop {
            match places(&server, &found.answers, entropy) {
                Ok(places) => {
                    found.places = places;
                    return found;
                }
                Err(question) => client.fill(question, last, &mut found).await,
            }
        }
    }
}

struct Client {
    resolver: Result<TokioResolver, String>,
    hosts: Hosts,
    families: Families,
}

impl Client {
    /// Made for each walk: so changes of the system's files count, and records live no longer than they say.
    fn open(dns: &Dns) -> Client {
        let builder = if dns.servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = dns.servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            options.timeout = ANSWER;
            builder.build()
        });
        let resolver = resolver.map_err(|e| format!("no DNS server can be asked: {e}"));
        Client { resolver, hosts: Hosts::from_system().unwrap_or_default(), families: dns.families }
    }

    fn kinds(&self) -> &'static [RecordType] {
        self.families.kinds()
    }

    fn hosts(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_utf8(name) else { return Vec::new() };
        let queries = self.kinds().iter().map(|kind| Query::query(name.clone(), *kind));
        let found = queries.filter_map(|query| self.hosts.lookup_static_host(&query));
        found
            .flat_map(|lookup| lookup.answers().iter().filter_map(|r| r.data.ip_addr()).collect::<Vec<_>>())
            .collect()
    }

    async fn fill(&self, question: Question, last: &Answers, found: &mut Found) {
        match question {
            Question::Naptr(name) => {
                let asked = self.ask(&name, RecordType::NAPTR).await;
                let records = take(asked, found, naptr).or_else(|| last.naptr.get(&name).cloned());
                found.answers.naptr.insert(name, records.unwrap_or_default());
            }
            Question::Srv(name) => {
                let asked = self.ask(&name, RecordType::SRV).await;
                let records = take(asked, found, srv).or_else(|| last.srv.get(&name).cloned());
                found.answers.srv.insert(name, records.unwrap_or_default());
            }
            Question::Host(name) => {
                let mut ips = Some(self.hosts(&name));
                if ips.as_ref().is_some_and(Vec::is_empty) {
                    for kind in self.kinds() {
                        let more = take(self.ask(&name, *kind).await, found, RData::ip_addr);
                        ips = ips.zip(more).map(|(ips, more)| [ips, more].concat());
                    }
                }
                let ips = ips.or_else(|| last.host.get(&name).cloned());
                found.answers.host.insert(name, ips.unwrap_or_default());
            }
        }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Records, String> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        let mut asked = Name::from_utf8(name).map_err(|e| e.to_string())?;
        // Only a single label is searched for in the system's domains.
        asked.set_fqdn(name.contains('.'));
        match resolver.lookup(asked, kind).await {
            Ok(lookup) => {
                let lives = lookup.answers().iter().map(|r| Duration::from_secs(r.ttl.into())).min();
                Ok((lookup.answers().iter().map(|r| r.data.clone()).collect(), lives))
            }
            Err(error) if error.is_no_records_found() => Ok((Vec::new(), None)),
            Err(NetError::Timeout) => Err("no DNS server answers".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The records of the kind asked for, in an order of their own; none where the lookup failed.
fn take<T: Ord>(
    asked: Result<Records, String>,
    found: &mut Found,
    read: fn(&RData) -> Option<T>,
) -> Option<Vec<T>> {
    let (records, lives) = match asked {
        Ok((data, lives)) => {
            let mut records: Vec<T> = data.iter().filter_map(read).collect();
            records.sort();
            (Some(records), lives)
        }
        Err(failure) => {
            found.failure = Some(failure);
            (None, Some(AFTER_FAILURE))
        }
    };
    found.lives = [found.lives, lives].into_iter().flatten().min();
    records
}

fn name_server(addr: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(addr.ip());
    config.connections.iter_mut().for_each(|c| c.port = addr.port());
    config
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(r) = data else { return None };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Naptr {
        order: r.order,
        preference: r.preference,
        flags: text(&r.flags),
        service: text(&r.services),
        replacement: plain(&r.replacement),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(r) = data else { return None };
    Some(Srv { priority: r.priority, weight: r.weight, port: r.port, target: plain(&r.target) })
}
