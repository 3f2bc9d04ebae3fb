//! Datagrams to browsers, gathered in a turn of a worker and sent by few system calls.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use types::Datagram;
use types::limits::BROWSER_BATCH;

use crate::browser::BrowserSocket;

/// What waits. All of it leaves from one address.
#[derive(Debug)]
pub(crate) struct Outgoing {
    headers: MultiHeaders<SockaddrStorage>,
    /// Like the sockets, but for the port.
    bound: IpAddr,
    from: SocketAddr,
    to: Vec<Option<SockaddrStorage>>,
    /// As many as fit, the first ones with what waits.
    packets: Vec<Datagram>,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sent {
    pub(crate) sent: u64,
    /// The system took them not: its buffer was full, or the destination is none.
    pub(crate) refused: u64,
}

impl Outgoing {
    /// For sockets bound like this one.
    pub(crate) fn new(bound: SocketAddr) -> Outgoing {
        let control = match bound.ip() {
            ip if !ip.is_unspecified() => None,
            IpAddr::V4(_) => Some(nix::cmsg_space!(libc::in_pktinfo)),
            IpAddr::V6(_) => Some(nix::cmsg_space!(libc::in6_pktinfo)),
        };
        Outgoing {
            headers: MultiHeaders::preallocate(BROWSER_BATCH, control),
            bound: bound.ip(),
            from: bound,
            to: Vec::with_capacity(BROWSER_BATCH),
            packets: (0..BROWSER_BATCH).map(|_| Datagram::new()).collect(),
        }
    }

    /// Where what waits leaves from.
    pub(crate) fn from(&self) -> SocketAddr {
        self.from
    }

    /// What waits must be sent before a datagram from `from`.
    pub(crate) fn must_leave_before(&self, from: SocketAddr) -> bool {
        self.to.len() == BROWSER_BATCH || (self.from != from && !self.to.is_empty())
    }

    /// Takes a datagram, and its memory for other memory. There is room if nothing must leave before it.
    pub(crate) fn push(&mut self, from: SocketAddr, to: SocketAddr, packet: &mut Datagram) {
        let Some(place) = self.packets.get_mut(self.to.len()) else { return };
        self.from = from;
        std::mem::swap(place, packet);
        self.to.push(Some(like(self.bound, to).into()));
    }

    /// Sends what waits from `socket`.
    pub(crate) fn send(&mut self, socket: &BrowserSocket) -> Sent {
        let waiting = self.to.len();
        let slices: [[IoSlice<'_>; 1]; BROWSER_BATCH] =
            std::array::from_fn(|n| [IoSlice::new(&self.packets[n])]);
        let (v4, v6) = source(self.bound, self.from.ip());
        let control = v4.iter().map(ControlMessage::Ipv4PacketInfo);
        let control = control.chain(v6.iter().map(ControlMessage::Ipv6PacketInfo)).next();
        let fd = socket.socket.as_raw_fd();
        let (mut next, mut sent) = (0, 0);
        while next < waiting {
            let (slices, to) = (&slices[next..waiting], &self.to[next..]);
            match sendmmsg(fd, &mut self.headers, slices, to, control.as_slice(), MsgFlags::MSG_DONTWAIT) {
                Ok(done) => {
                    let done = done.count().max(1);
                    (next, sent) = (next + done, sent + done);
                }
                // A full buffer takes none of the others either.
                Err(Errno::EWOULDBLOCK | Errno::ENOBUFS) => break,
                Err(_) => next += 1,
            }
        }
        self.to.clear();
        Sent { sent: sent as u64, refused: (waiting - sent) as u64 }
    }
}

/// An address as a socket that is bound so writes it.
fn like(bound: IpAddr, address: SocketAddr) -> SocketAddr {
    match (bound, address.ip()) {
        (IpAddr::V6(_), IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => address,
    }
}

/// What tells a wildcard socket where to send from.
fn source(bound: IpAddr, from: IpAddr) -> (Option<libc::in_pktinfo>, Option<libc::in6_pktinfo>) {
    if !bound.is_unspecified() {
        return (None, None);
    }
    match like(bound, SocketAddr::new(from, 0)).ip() {
        IpAddr::V4(ip) => {
            let ipi_spec_dst = libc::in_addr { s_addr: u32::from(ip).to_be() };
            let ipi_addr = libc::in_addr { s_addr: 0 };
            (Some(libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr }), None)
        }
        IpAddr::V6(ip) => {
            let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
            (None, Some(libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn client() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn shared() -> (BrowserSocket, Outgoing) {
        let shared = BrowserSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let outgoing = Outgoing::new(shared.bound());
        (shared, outgoing)
    }

    #[test]
    fn a_batch_arrives_whole_and_in_order_and_its_memory_goes_round() {
        let ((shared, mut outgoing), (client, to)) = (shared(), client());
        let mut packet = Datagram::new();
        for round in 0..3_u8 {
            for n in 0..BROWSER_BATCH as u8 {
                assert!(!outgoing.must_leave_before(shared.bound()));
                packet.clear();
                packet.extend_from_slice(&[round, n]);
                outgoing.push(shared.bound(), to, &mut packet);
                assert!(packet.has_memory());
            }
            assert!(outgoing.must_leave_before(shared.bound()), "it is full");
            let sent = allocation_counter::measure(|| {
                let all = Sent { sent: BROWSER_BATCH as u64, refused: 0 };
                assert_eq!(outgoing.send(&shared), all);
            });
            assert_eq!(sent.count_total, 0);
            assert_eq!(outgoing.send(&shared), Sent::default(), "nothing is left");
            for n in 0..BROWSER_BATCH as u8 {
                let mut buf = [0; 16];
                let len = client.recv(&mut buf).unwrap();
                assert_eq!(buf[..len], [round, n]);
            }
        }
    }

    #[test]
    fn a_datagram_that_can_not_be_sent_is_counted_and_holds_up_no_other() {
        let ((shared, mut outgoing), (client, to)) = (shared(), client());
        let nowhere = SocketAddr::new(to.ip(), 0);
        for (n, to) in [nowhere, to, nowhere, nowhere, to].into_iter().enumerate() {
            outgoing.push(shared.bound(), to, &mut Datagram::from(&[n as u8][..]));
        }
        assert_eq!(outgoing.send(&shared), Sent { sent: 2, refused: 3 });
        let mut buf = [0; 16];
        let heard: Vec<u8> = (0..2).map(|_| client.recv(&mut buf).map(|_| buf[0]).unwrap()).collect();
        assert_eq!(heard, [1, 4]);
    }

    #[test]
    fn what_leaves_from_another_address_does_not_join() {
        let ((shared, mut outgoing), (_, to)) = (shared(), client());
        let other: SocketAddr = "127.0.0.2:9".parse().unwrap();
        assert!(!outgoing.must_leave_before(other), "nothing waits");
        outgoing.push(shared.bound(), to, &mut Datagram::from(&[1][..]));
        assert!(outgoing.must_leave_before(other));
        assert!(!outgoing.must_leave_before(shared.bound()));
    }
}
