//! What the addresses on both sides let expect.

use std::net::IpAddr;

/// What will go wrong with audio if this stays as it is (field problem 1), in words.
pub fn doubt(trunk: &str, ours: IpAddr, advertised: Option<IpAddr>, theirs: IpAddr) -> Option<String> {
    let shown = advertised.unwrap_or(ours);
    if shown.is_loopback() && !theirs.is_loopback() {
        return Some(format!(
            "trunk {trunk}: we would tell it to send audio to {shown}, which only this machine reaches; set advertise"
        ));
    }
    if is_private(shown) && !is_private(theirs) && !theirs.is_loopback() {
        return Some(format!(
            "trunk {trunk}: we would tell it to send audio to the private address {shown}, but it is a public one: \
             expect one-way audio unless [sip] advertise and [media] advertise name our public address"
        ));
    }
    None
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_link_local() || ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn a_private_address_shown_to_a_public_carrier_is_doubted_in_words() {
        let sentence = doubt("carrier", ip("10.0.0.5"), None, ip("203.0.113.9")).expect("doubt");
        assert!(sentence.contains("10.0.0.5") && sentence.contains("advertise"), "{sentence}");
        assert_eq!(doubt("carrier", ip("10.0.0.5"), Some(ip("198.51.100.7")), ip("203.0.113.9")), None);
        assert_eq!(doubt("pbx", ip("10.0.0.5"), None, ip("10.0.0.9")), None);
        assert_eq!(doubt("demo", ip("127.0.0.1"), None, ip("127.0.0.1")), None);
        assert!(doubt("carrier", ip("127.0.0.1"), None, ip("10.0.0.9")).is_some());
    }
}
