//! Addresses that a configuration names, of both families.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use types::Advertised;

use super::Trunk;
use super::reader::{Findings, Section};
use super::values::{self, SipListen};
use sip_ua::Transport;

/// Why an address can not be written into SIP or heard from there; none: it can.
pub fn unfit(ip: IpAddr) -> Option<String> {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(format!(
            "{v6} is a link-local address, which works on one wire only and cannot stand in SIP without its interface; \
             use a global or unique local one"
        )),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Refuses a zone such as `%eth0` in words, and link-local addresses with or without one (RFC 4007 §11.2: a zone means
/// something on this machine only).
pub fn without_zone(text: &str) -> Result<(), String> {
    match text.split_once('%') {
        Some(_) => {
            Err("an interface behind % cannot stand in SIP: use a global or unique local address".to_owned())
        }
        None => Ok(()),
    }
}

/// `advertise`: one address, or a list with one of each family.
pub fn advertise(section: &mut Section<'_, '_>, found: &mut Findings<'_>) -> Advertised {
    let mut all = Advertised::default();
    for one in section.strings(found, "advertise").into_iter().flatten() {
        let Some(ip) = one.parse(found, |text| values::advertised(text)) else { continue };
        if all.like(ip).is_some() {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            found.add(
                &one.span,
                one.key,
                format!("is a second {family} address; at most one of each family"),
            );
            continue;
        }
        match ip {
            IpAddr::V4(v4) => all.v4 = Some(v4),
            IpAddr::V6(v6) => all.v6 = Some(v6),
        }
    }
    all
}

/// A server that is named by address and reached over UDP needs a socket of that family.
pub fn reachable(listen: &[SipListen], trunks: &[(Trunk, Range<usize>)], found: &mut Findings<'_>) {
    // None at all was told already.
    if listen.is_empty() {
        return;
    }
    for (trunk, span) in trunks {
        for ranked in trunk.next_hops() {
            let udp = matches!(ranked.server.transport, None | Some(Transport::Udp));
            let Some(ip) = ranked.server.host.parse::<IpAddr>().ok().filter(|_| udp) else { continue };
            let from = |l: &SipListen| l.transport == Transport::Udp && l.addr.is_ipv4() == ip.is_ipv4();
            if !listen.iter().any(from) {
                let (family, any) = if ip.is_ipv4() { ("IPv4", "0.0.0.0") } else { ("IPv6", "[::]") };
                let own: SocketAddr = SocketAddr::new(ip, ranked.server.port.unwrap_or(5060));
                let message = format!(
                    "{own} is an {family} address, but [sip] listen has no UDP socket for {family}: add \
                     \"udp:{any}:5060\""
                );
                found.add(span, "trunks.server", message);
            }
        }
    }
}
