//! The sockets under an endpoint: UDP, TCP and TLS on tokio. Sending never waits; a peer that does not read hurts only itself.

mod guest;
mod stream;
mod tls;
mod udp;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use types::limits;

use crate::{Flow, Target, Transport};
pub use guest::{Guest, Guests};
use stream::Streams;
pub use tls::{TlsClient, TlsSetup};
use udp::UdpListener;

/// What the sockets bring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inbound {
    /// The bytes of one message.
    Message {
        /// How they came, and the way back.
        flow: Flow,
        /// Not yet parsed.
        bytes: Vec<u8>,
    },
    /// A stream connection is gone, with everything that waited to be written; or it brought what cannot be framed, and
    /// answers to what came before are still written: call `release` once they are sent.
    Closed {
        /// Which.
        flow: Flow,
        /// In words, for the log.
        why: String,
    },
    /// What shows that a peer is there and is no message: the line end that answers a double one on a stream, or a datagram
    /// of STUN that answers.
    KeepAlive {
        /// How it came.
        flow: Flow,
        /// What.
        bytes: Vec<u8>,
    },
    /// A connection that `send` asked for could not be opened; its messages are lost.
    Unreachable {
        /// Where to.
        target: Target,
        /// In words, for the log.
        why: String,
    },
}

/// Why a message was not sent. The transaction has failed (RFC 3261 §18.4).
#[derive(Debug)]
pub enum SendError {
    /// No socket of ours has that transport and address family.
    NoSocket,
    /// The flow's connection is closed.
    Gone,
    /// The peer reads too slowly: `limits::SIP_WRITER_QUEUE` messages wait. Its connection is being closed.
    TooSlow,
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::NoSocket => f.write_str("no socket of that transport and address family"),
            SendError::Gone => f.write_str("the connection is closed"),
            SendError::TooSlow => f.write_str("the peer reads too slowly"),
            SendError::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for SendError {}

/// An address that cannot be bound.
#[derive(Debug)]
pub struct BindError {
    /// How it was to be used.
    pub transport: Transport,
    /// Which.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.transport.name(), self.address, self.error)
    }
}

impl std::error::Error for BindError {}

/// All sockets of one endpoint. Dropping it closes them.
#[derive(Debug)]
pub struct Sockets {
    udp: Vec<Arc<UdpListener>>,
    /// Listening, for connections.
    listening: Vec<(Transport, SocketAddr)>,
    streams: Streams,
    tasks: tokio::task::JoinSet<()>,
}

impl Sockets {
    /// Binds all addresses and starts reading. Port 0 takes a free one: see `local_addrs`. IPv6 sockets take IPv6 only.
    /// A TLS listener needs `tls.server`.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn bind(
        listen: &[(Transport, SocketAddr)],
        tls: TlsSetup,
    ) -> Result<(Sockets, mpsc::Receiver<Inbound>), BindError> {
        let (inbound, receiver) = mpsc::channel(limits::SIP_INBOUND);
        let mut sockets = Sockets {
            udp: Vec::new(),
            listening: Vec::new(),
            streams: Streams::new(inbound.clone(), tls),
            tasks: tokio::task::JoinSet::new(),
        };
        for &(transport, address) in listen {
            sockets.listen(transport, address, &inbound).map_err(|error| BindError {
                transport,
                address,
                error,
            })?;
        }
        Ok((sockets, receiver))
    }

    fn listen(
        &mut self,
        transport: Transport,
        address: SocketAddr,
        inbound: &mpsc::Sender<Inbound>,
    ) -> io::Result<()> {
        match transport {
            Transport::Udp => {
                let listener = Arc::new(UdpListener::bind(address)?);
                self.udp.push(listener.clone());
                let inbound = inbound.clone();
                self.tasks.spawn(async move { listener.read(inbound).await });
            }
            Transport::Tcp => self.accept(transport, address, None)?,
            Transport::Tls => {
                let server = self.streams.certificate().ok_or(io::ErrorKind::InvalidInput)?;
                self.accept(transport, address, Some(TlsAcceptor::from(server)))?;
            }
            Transport::Ws | Transport::Wss => {
                return Err(io::Error::from(io::ErrorKind::Unsupported));
            }
        }
        Ok(())
    }

    fn accept(
        &mut self,
        transport: Transport,
        address: SocketAddr,
        acceptor: Option<TlsAcceptor>,
    ) -> io::Result<()> {
        let listener = stream::listen(address)?;
        self.listening.push((transport, listener.local_addr()?));
        self.tasks.spawn(stream::accept(listener, acceptor, self.streams.clone()));
        Ok(())
    }

    /// What is bound, with the ports taken.
    pub fn local_addrs(&self) -> impl Iterator<Item = (Transport, SocketAddr)> {
        let udp = self.udp.iter().map(|u| (Transport::Udp, u.local()));
        udp.chain(self.listening.iter().copied())
    }

    /// Open stream connections, those being opened included.
    pub fn connections(&self) -> usize {
        self.streams.len()
    }

    /// Connections that were closed at once because their address had `limits::CONNECTIONS_PER_ADDRESS` already.
    pub fn refused(&self) -> u64 {
        self.streams.refused()
    }

    /// `Inbound::Closed` has been dealt with: nothing more is to be written to this flow.
    pub fn release(&self, flow: &Flow) {
        if let Some(id) = flow.connection {
            self.streams.remove(id);
        }
    }

    /// Closes the connection to this target, if one is open; `Inbound::Closed` follows.
    pub fn close(&self, target: Target) {
        self.streams.close(target);
    }

    /// Takes in connections that others open and read.
    pub fn guests(&self) -> Guests {
        Guests::new(self.streams.clone())
    }

    /// Sends one message, or queues it for its connection; never waits. `local` is the source to send datagrams from: without
    /// it, or with a wildcard, the system chooses. Streams are opened where none to that address is open.
    ///
    /// # Errors
    /// What is known at once. `Inbound::Closed` and `Inbound::Unreachable` tell the rest.
    pub fn send(&self, target: Target, local: Option<SocketAddr>, bytes: Arc<[u8]>) -> Result<(), SendError> {
        match target {
            Target::Flow(Flow { connection: Some(id), .. }) => self.streams.send(id, bytes),
            Target::Flow(Flow { transport: Transport::Tcp, connection: None, .. })
            | Target::Address { transport: Transport::Tcp, .. }
            | Target::Tls { .. } => self.streams.send_to(target, bytes),
            Target::Flow(Flow { transport: Transport::Tls | Transport::Ws | Transport::Wss, .. }) => {
                Err(SendError::Gone)
            }
            Target::Address { transport: Transport::Tls | Transport::Ws | Transport::Wss, .. } => {
                Err(SendError::NoSocket)
            }
            Target::Flow(Flow { transport: Transport::Udp, remote, local: own, .. }) => {
                self.send_datagram(remote, Some(local.unwrap_or(own)), &bytes)
            }
            Target::Address { transport: Transport::Udp, remote, .. } => {
                self.send_datagram(remote, local, &bytes)
            }
        }
    }

    fn send_datagram(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        let family = || self.udp.iter().filter(|u| u.local().is_ipv4() == remote.is_ipv4());
        let exact = |l: SocketAddr| family().find(|u| u.local() == l);
        let port = |l: SocketAddr| family().find(|u| u.local().port() == l.port() && u.is_wildcard());
        let listener = local.and_then(|l| exact(l).or_else(|| port(l))).or_else(|| family().next());
        let listener = listener.ok_or(SendError::NoSocket)?;
        let source =
            local.map(|l| l.ip()).filter(|_| listener.is_wildcard()).filter(|ip| !ip.is_unspecified());
        listener.send(remote, source, bytes).map_err(SendError::Io)
    }

    /// The address of ours from which `remote` is reached, by the system's routing table; sends nothing.
    ///
    /// # Errors
    /// There is no route.
    pub fn source_towards(remote: SocketAddr) -> io::Result<IpAddr> {
        let any: IpAddr = match remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let probe = std::net::UdpSocket::bind((any, 0))?;
        probe.connect(remote)?;
        Ok(probe.local_addr()?.ip())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.streams.clear();
    }
}
