//! Between which two addresses datagrams travel, and how.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::SrtpProfile;

/// What carries datagrams to and from a browser.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// As they are.
    Udp,
    /// Framed in a connection that the browser opened (RFC 6544, RFC 4571), where its network lets no UDP through.
    Tcp,
}

impl Transport {
    /// In lower case, as candidates have it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// Where datagrams of a browser come from. Ports of UDP and TCP are two things.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Far {
    /// By UDP or TCP.
    pub transport: Transport,
    /// The browser's, or that of the last router before us.
    pub address: SocketAddr,
}

impl From<SocketAddr> for Far {
    /// By UDP.
    fn from(address: SocketAddr) -> Far {
        Far { transport: Transport::Udp, address }
    }
}

/// A way between us and a browser.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Route {
    /// By UDP or TCP.
    pub transport: Transport,
    /// Ours.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
}

impl Route {
    /// Its other end.
    pub fn far(&self) -> Far {
        Far { transport: self.transport, address: self.remote }
    }
}

impl From<(SocketAddr, SocketAddr)> for Route {
    /// Ours and theirs, by UDP.
    fn from((local, remote): (SocketAddr, SocketAddr)) -> Route {
        Route { transport: Transport::Udp, local, remote }
    }
}

/// How long a session took to come up, counted from when both descriptions were known; none: that is not done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SetUp {
    /// Until the browser had chosen a way (ICE).
    pub ice: Option<Duration>,
    /// From there until both had keys (DTLS).
    pub dtls: Option<Duration>,
}

/// What a session runs over, for the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Of the way in use.
    pub transport: Transport,
    /// Between IPv6 addresses, not IPv4.
    pub ipv6: bool,
    /// DTLS 1.3, not 1.2.
    pub dtls13: bool,
    /// What protects media.
    pub profile: SrtpProfile,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        let version = if self.dtls13 { "1.3" } else { "1.2" };
        write!(f, "{} over {family}, DTLS {version}, {}", self.transport.name(), self.profile.name())
    }
}
