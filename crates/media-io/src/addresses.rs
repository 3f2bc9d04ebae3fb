//! Which addresses this host has.

use std::net::IpAddr;

/// Addresses of this host's interfaces, loopback last: browsers on other machines, and Firefox everywhere, need the
/// others. Empty where the system does not tell. IPv6 link-local ones are left out (they need a scope).
pub fn host_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut found: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(is_usable).collect();
    found.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    found.dedup();
    found
}

fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn loopback_comes_last() {
        let found = host_addresses();
        assert!(found.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let first_loopback = found.iter().position(IpAddr::is_loopback).unwrap();
        assert!(found[first_loopback..].iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[test]
    fn addresses_that_need_a_scope_are_left_out() {
        assert!(!is_usable(&"fe80::1".parse().unwrap()));
        assert!(is_usable(&"2001:db8::1".parse().unwrap()));
    }
}
