//! Where a trunk's server is (RFC 3263 §4): a function over DNS records. `dns` asks for them.

mod dns;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sip_ua::Transport;
use types::{Entropy, limits};

use crate::config::values::Server;

pub use dns::{Dns, Families, Found};

/// How and where to reach a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// How.
    pub transport: Transport,
    /// Where.
    pub at: SocketAddr,
    /// The lowest is tried first.
    pub rank: u32,
    /// Share among places of one rank.
    pub weight: u32,
}

/// A NAPTR record (RFC 3403 §4.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Naptr {
    order: u16,
    preference: u16,
    flags: String,
    service: String,
    replacement: String,
}

/// An SRV record (RFC 2782); the target is empty where the service is declared absent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Srv {
    priority: u16,
    weight: u16,
    port: u16,
    target: String,
}

/// What has to be looked up before there is a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// NAPTR records of this name.
    Naptr(String),
    /// SRV records of this name.
    Srv(String),
    /// Addresses of this name.
    Host(String),
}

/// The records known so far; an empty list: there are none.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Answers {
    naptr: BTreeMap<String, Vec<Naptr>>,
    srv: BTreeMap<String, Vec<Srv>>,
    host: BTreeMap<String, Vec<IpAddr>>,
}

fn known<'a, T>(
    answers: &'a BTreeMap<String, Vec<T>>,
    name: &str,
    question: fn(String) -> Question,
) -> Result<&'a [T], Question> {
    answers.get(name).map(Vec::as_slice).ok_or_else(|| question(name.to_owned()))
}

/// Where the server is, in the order to try; empty: the records lead nowhere.
///
/// # Errors
/// The question whose answer is missing.
pub fn places(server: &Server, answers: &Answers, entropy: &mut dyn Entropy) -> Result<Vec<Place>, Question> {
    let mut found: Vec<Place> = Vec::new();
    for Service { transport, host, port, priority, weight } in hosts(server, answers, entropy)? {
        let literal = host.parse().ok();
        let mut ips = match &literal {
            Some(ip) => std::slice::from_ref(ip),
            None => known(&answers.host, &host, Question::Host)?,
        }
        .to_vec();
        // More machines have no way out over IPv6 than over IPv4.
        ips.sort_by_key(IpAddr::is_ipv6);
        for ip in ips {
            let at = SocketAddr::new(ip, port);
            let known = found.iter().any(|p| (p.transport, p.at) == (transport, at));
            let rank = u32::from(priority) * 2 + u32::from(ip.is_ipv6());
            if !known && found.len() < limits::TRUNK_TARGETS {
                found.push(Place { transport, at, rank, weight: weight.into() });
            }
        }
    }
    Ok(found)
}

/// A machine that offers SIP, by name or address.
struct Service {
    transport: Transport,
    host: String,
    port: u16,
    priority: u16,
    weight: u16,
}

fn hosts(server: &Server, answers: &Answers, entropy: &mut dyn Entropy) -> Result<Vec<Service>, Question> {
    let itself = |port| {
        let (transport, host) = (server.transport.unwrap_or(Transport::Udp), server.host.clone());
        vec![Service { transport, host, port, priority: 0, weight: 1 }]
    };
    // RFC 3263 §4.2: a port or an address leaves nothing to ask of SRV.
    if let Some(port) = server.port {
        return Ok(itself(port));
    }
    if server.host.parse::<IpAddr>().is_ok() {
        return Ok(itself(server.default_port()));
    }
    let mut absent = false;
    for (transport, name) in services(server, answers)? {
        let records = known(&answers.srv, &name, Question::Srv)?;
        let there = in_turn(records, entropy).into_iter().filter(|r| !r.target.is_empty());
        let there: Vec<_> = there
            .map(|r| Service {
                transport,
                host: r.target,
                port: r.port,
                priority: r.priority,
                weight: r.weight,
            })
            .collect();
        if !there.is_empty() {
            return Ok(there);
        }
        absent |= !records.is_empty();
    }
    // RFC 2782: the target "." says that there is no such service; its addresses are not to be tried.
    Ok(if absent { Vec::new() } else { itself(server.default_port()) })
}

/// Names of SRV records, the preferred transport first (RFC 3263 §4.1).
fn services(server: &Server, answers: &Answers) -> Result<Vec<(Transport, String)>, Question> {
    let own = |transport| (transport, service_name(transport, &server.host));
    if let Some(transport) = server.transport {
        return Ok(vec![own(transport)]);
    }
    let mut records: Vec<&Naptr> = known(&answers.naptr, &server.host, Question::Naptr)?.iter().collect();
    records.sort_by_key(|r| (r.order, r.preference));
    let usable: Vec<_> = records.into_iter().filter_map(usable).collect();
    Ok(if usable.is_empty() { [Transport::Udp, Transport::Tcp].map(own).into() } else { usable })
}

/// RFC 3263 §4.1: TLS has a service of its own, `_sips._tcp`.
fn service_name(transport: Transport, host: &str) -> String {
    match transport {
        Transport::Tls => format!("_sips._tcp.{host}"),
        other @ (Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss) => {
            format!("_sip._{}.{host}", other.name())
        }
    }
}

fn usable(record: &Naptr) -> Option<(Transport, String)> {
    let transport = match record.service.to_ascii_uppercase().as_str() {
        "SIP+D2U" => Transport::Udp,
        "SIP+D2T" => Transport::Tcp,
        "SIPS+D2T" => Transport::Tls,
        _ => return None,
    };
    let leads_to_srv = record.flags.eq_ignore_ascii_case("s") && !record.replacement.is_empty();
    leads_to_srv.then(|| (transport, record.replacement.clone()))
}

/// By priority; among equals drawn by weight (RFC 2782).
fn in_turn(records: &[Srv], entropy: &mut dyn Entropy) -> Vec<Srv> {
    let mut left = records.to_vec();
    // Weight 0 first: drawn only when the draw is 0.
    left.sort_by_key(|r| (r.priority, r.weight));
    let mut out = Vec::with_capacity(left.len());
    while let Some(priority) = left.first().map(|r| r.priority) {
        let equals = left.iter().take_while(|r| r.priority == priority);
        let sum: u64 = equals.map(|r| u64::from(r.weight)).sum();
        let drawn = entropy.u64() % (sum + 1);
        let mut running = 0;
        let at = left.iter().position(|r| {
            running += u64::from(r.weight);
            running >= drawn
        });
        out.push(left.remove(at.unwrap_or(0)));
    }
    out
}

#[cfg(test)]
mod tests;
