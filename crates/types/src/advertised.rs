use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that peers are told instead of the one a socket is bound to, at most one of each family.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Advertised {
    /// For sockets that speak IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For sockets that speak IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Advertised {
    /// The one of the same family as `own`.
    pub fn like(&self, own: IpAddr) -> Option<IpAddr> {
        match own {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl From<IpAddr> for Advertised {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Advertised { v4: Some(v4), v6: None },
            IpAddr::V6(v6) => Advertised { v4: None, v6: Some(v6) },
        }
    }
}
