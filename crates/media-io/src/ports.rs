//! RTP ports: leased in pairs (even for RTP, the next for RTCP, RFC 3550 §11), returned by dropping the lease.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

/// Room in the kernel for one leg: a few seconds of audio.
const RTP_BUFFER: usize = 128 * 1024;

/// The even ports that are free, the one free for longest first: late packets of an old call find nobody.
#[derive(Clone, Debug)]
pub(crate) struct PortPool {
    free: Arc<Mutex<VecDeque<u16>>>,
}

/// One leg's pair of bound sockets. Dropping it closes them and returns the ports.
#[derive(Debug)]
pub(crate) struct RtpSockets {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    /// What the peer is told: the bound address, or the address that a wildcard socket stands for.
    pub(crate) address: SocketAddr,
    _lease: Lease,
}

#[derive(Debug)]
struct Lease {
    pool: PortPool,
    port: u16,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.lock().push_back(self.port);
    }
}

impl PortPool {
    /// Pairs that fit wholly into the range.
    pub(crate) fn new(range: &RangeInclusive<u16>) -> PortPool {
        let free = range.clone().filter(|p| p % 2 == 0 && *p > 0 && range.contains(&(p | 1))).collect();
        PortPool { free: Arc::new(Mutex::new(free)) }
    }

    /// Pairs that are free now.
    pub(crate) fn free(&self) -> usize {
        self.lock().len()
    }

    /// Binds the next free pair on `address`, or on the wildcard when `address` is not one of this host's (it is then
    /// what a translating router has outside). Ports that something else holds are passed over. The error is a sentence.
    pub(crate) fn lease(&self, address: IpAddr) -> Result<RtpSockets, String> {
        let mut failed = None;
        for _ in 0..self.free() {
            let Some(port) = self.lock().pop_front() else { break };
            let lease = Lease { pool: self.clone(), port };
            match bind_pair(address, port) {
                Ok((rtp, rtcp)) => {
                    return Ok(RtpSockets {
                        rtp,
                        rtcp,
                        address: SocketAddr::new(address, port),
                        _lease: lease,
                    });
                }
                Err(e) => failed = Some(e),
            }
        }
        Err(match failed {
            Some(e) => format!("No RTP port could be opened: {e}."),
            None => "Every RTP port of the configured range is in use.".to_owned(),
        })
    }

    // A panic while holding the lock can not leave the queue half changed, so poison means nothing here.
    fn lock(&self) -> MutexGuard<'_, VecDeque<u16>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind_pair(address: IpAddr, port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
    let pair = |ip: IpAddr| -> io::Result<_> { Ok((bind(ip, port)?, bind(ip, port + 1)?)) };
    match pair(address) {
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => pair(wildcard_like(address)),
        result => result,
    }
}

fn bind(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = open(SocketAddr::new(ip, port))?;
    // A smaller buffer than wished for is no reason to refuse the call.
    let _ = socket.set_recv_buffer_size(RTP_BUFFER);
    Ok(socket.into())
}

/// Whether this host has the address; asked each time, because an address may move from host to host.
pub(crate) fn is_own(ip: IpAddr) -> bool {
    open(SocketAddr::new(ip, 0)).is_ok()
}

/// The address of this host from which the system would send to `peer`; sends nothing.
pub(crate) fn source_towards(peer: IpAddr) -> io::Result<IpAddr> {
    let probe = open(SocketAddr::new(wildcard_like(peer), 0))?;
    // Any port: nothing is sent.
    probe.connect(&SocketAddr::new(peer, 9).into())?;
    let own = probe.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(own.ip())
}

/// A bound, non-blocking UDP socket.
pub(crate) fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn wildcard_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn pairs_are_even_within_the_range_and_come_back_last() {
        let pool = PortPool::new(&(17_101..=17_107));
        assert_eq!(pool.free(), 3, "17102/3, 17104/5, 17106/7");
        let first = pool.lease(LOOPBACK).unwrap();
        assert_eq!(first.address.port(), 17_102);
        assert_eq!(first.rtp.local_addr().unwrap().port(), 17_102);
        assert_eq!(first.rtcp.local_addr().unwrap().port(), 17_103);
        drop(first);
        let ports: Vec<_> = (0..3).map(|_| pool.lease(LOOPBACK).unwrap().address.port()).collect();
        assert_eq!(ports, [17_104, 17_106, 17_102], "each was dropped at once, so all three took their turn");
    }

    #[test]
    fn a_port_that_someone_else_holds_is_passed_over() {
        let squatter = UdpSocket::bind("127.0.0.1:17113").unwrap();
        let pool = PortPool::new(&(17_112..=17_115));
        let lease = pool.lease(LOOPBACK).unwrap();
        assert_eq!(lease.address.port(), 17_114);
        let refused = pool.lease(LOOPBACK).unwrap_err();
        assert!(refused.starts_with("No RTP port could be opened: "), "{refused}");
        drop(squatter);
        assert_eq!(pool.lease(LOOPBACK).unwrap().address.port(), 17_112);
    }

    #[test]
    fn the_hosts_own_addresses_are_told_from_others() {
        assert!(is_own(LOOPBACK) && is_own("127.0.0.77".parse().unwrap()));
        assert!(!is_own("198.51.100.77".parse().unwrap()));
    }

    #[test]
    fn an_address_of_a_router_is_told_and_the_wildcard_is_bound() {
        let pool = PortPool::new(&(17_120..=17_121));
        let lease = pool.lease("198.51.100.77".parse().unwrap()).unwrap();
        assert_eq!(lease.address, "198.51.100.77:17120".parse().unwrap());
        assert!(lease.rtp.local_addr().unwrap().ip().is_unspecified());
        assert_eq!(pool.lease(LOOPBACK).unwrap_err(), "Every RTP port of the configured range is in use.");
    }
}
