use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{Flow, Target, Transport};

/// A socket that takes requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// How.
    pub transport: Transport,
    /// The address it is bound to; a wildcard is fine.
    pub local: SocketAddr,
    /// The address that peers shall see in Via and Contact instead, e.g. in front of a NAT. The port stays.
    pub advertise: Option<IpAddr>,
}

/// Where messages go, and what we call ourselves there.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// Where to.
    pub target: Target,
    /// The socket address to send from.
    pub local: Option<SocketAddr>,
    /// Our host and port as the peer shall see them.
    pub sent_by: String,
    /// Via says that we would keep the way open (RFC 6223).
    pub keep: bool,
}

impl Path {
    /// The path to `target` through the listener that fits best.
    pub fn to(target: Target, listeners: &[Listener]) -> Path {
        let transport = target.transport();
        let hint = target.local_ip();
        let remote = target.remote().ip();
        let Some(listener) = choose(&target, listeners) else {
            let local = match target {
                Target::Flow(flow) => flow.local,
                Target::Address { .. } | Target::Tls { .. } => {
                    let mut all = listeners.iter().filter_map(|l| l.advertise);
                    let advertised = all.find(|ip| ip.is_ipv4() == remote.is_ipv4());
                    let ip = advertised.or(hint).unwrap_or_else(|| loopback(remote));
                    SocketAddr::new(ip, transport.default_port())
                }
            };
            return Path { target, local: None, sent_by: local.to_string(), keep: false };
        };
        let bound = listener.local.ip();
        let own = if bound.is_unspecified() { hint.unwrap_or_else(|| loopback(remote)) } else { bound };
        let port = listener.local.port();
        let sent_by = SocketAddr::new(listener.advertise.unwrap_or(own), port).to_string();
        let known = !bound.is_unspecified() || hint.is_some();
        let local = match (transport, target) {
            (_, Target::Flow(flow)) => Some(flow.local),
            (Transport::Udp, Target::Address { .. }) => {
                Some(SocketAddr::new(if known { own } else { bound }, port))
            }
            (_, Target::Address { .. } | Target::Tls { .. }) => None,
        };
        Path { target, local, sent_by, keep: false }
    }

    /// The same name of ours, another target: requests inside a dialog.
    pub fn retarget(&self, target: Target) -> Path {
        let local = match target {
            Target::Flow(Flow { local, .. }) => Some(local),
            Target::Address { .. } | Target::Tls { .. } => {
                self.local.filter(|_| target.transport() == self.target.transport())
            }
        };
        Path { target, local, sent_by: self.sent_by.clone(), keep: false }
    }

    /// Our Via value. `rport` asks for the answer to where we really come from (RFC 3581).
    pub fn via(&self, branch: &str) -> String {
        let transport = self.target.transport().via();
        let keep = if self.keep { ";keep" } else { "" };
        format!("SIP/2.0/{transport} {};branch={branch};rport{keep}", self.sent_by)
    }

    /// Our Contact URI in brackets.
    pub fn contact(&self, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        let transport = self.target.transport().param();
        format!("<sip:{user}{at}{}{transport}>", self.sent_by)
    }
}

/// Exact address first, then the same address, then a wildcard of the same family.
fn choose<'a>(target: &Target, listeners: &'a [Listener]) -> Option<&'a Listener> {
    let remote = target.remote().ip();
    let rank = |l: &&Listener| -> Option<u8> {
        if l.transport != target.transport() || l.local.is_ipv4() != remote.is_ipv4() {
            return None;
        }
        let exact = matches!(target, Target::Flow(flow) if flow.local == l.local);
        let same_port = matches!(target, Target::Flow(flow) if flow.local.port() == l.local.port());
        let same = target.local_ip() == Some(l.local.ip());
        let usable = l.local.ip().is_loopback() == remote.is_loopback() || l.local.ip().is_unspecified();
        Some(match (exact, same, same_port) {
            (true, _, _) => 5,
            (false, true, _) => 4,
            (false, false, true) if l.local.ip().is_unspecified() => 3,
            (false, false, _) if usable => 2,
            (false, false, _) => 1,
        })
    };
    // The first of equals: max_by_key would take the last.
    listeners.iter().rev().max_by_key(|l| rank(l)).filter(|l| rank(l).is_some())
}

fn loopback(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}
