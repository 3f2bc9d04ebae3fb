//! Which addresses this host has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of this host's interfaces, loopback last: browsers on other machines, and Firefox everywhere, need the
/// others. From `/proc`; empty where that does not exist. IPv6 link-local ones are left out (they need a scope).
pub fn host_addresses() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut found: Vec<IpAddr> = ipv4_of(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4).collect();
    found.extend(ipv6_of(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6));
    found.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    found
}

/// The trie lists each local address as a leaf, followed by `/32 host LOCAL`.
fn ipv4_of(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf.filter(|ip| !found.contains(ip)));
        }
    }
    found
}

fn ipv6_of(list: &str) -> Vec<Ipv6Addr> {
    let parse =
        |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok().map(Ipv6Addr::from_bits);
    list.lines().filter_map(parse).filter(|ip| !ip.is_unicast_link_local()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.2
        /32 host LOCAL
";

    #[test]
    fn local_leaves_of_the_trie_are_the_hosts_addresses() {
        assert_eq!(ipv4_of(TRIE), [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::LOCALHOST]);
        let list = "fe800000000000000042acfffe110002 02 40 20 80 eth0\n00000000000000000000000000000001 01 80 10 80 lo\n";
        assert_eq!(ipv6_of(list), [Ipv6Addr::LOCALHOST]);
    }

    #[test]
    fn loopback_comes_last() {
        let found = host_addresses();
        assert!(found.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let first_loopback = found.iter().position(IpAddr::is_loopback).unwrap();
        assert!(found[first_loopback..].iter().all(IpAddr::is_loopback), "{found:?}");
    }
}
