//! The socket that all browsers of one worker share: batched receive, with the address that a datagram was sent to (a
//! browser ignores answers from an address that it did not ask). Sending is in `outgoing.rs`.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use types::Datagram;
use webrtc_peer::Route;

use crate::ports;

/// Room in the kernel: all browsers of a worker for some tens of milliseconds.
const BROWSER_BUFFER: usize = 4 * 1024 * 1024;
/// Largest datagram taken.
pub(crate) const DATAGRAM: usize = 1500;

/// The socket.
#[derive(Debug)]
pub(crate) struct BrowserSocket {
    pub(crate) socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// What one batched receive takes; its memory is lent to whom it is for, or exchanged for other.
#[derive(Debug)]
pub(crate) struct Batch {
    datagrams: Vec<Datagram>,
    metas: Vec<RecvMeta>,
    filled: usize,
}

/// One datagram of a browser.
pub(crate) struct Arrival<'a> {
    pub(crate) route: Route,
    pub(crate) data: &'a mut Datagram,
}

impl BrowserSocket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<BrowserSocket> {
        let socket = ports::open(address)?;
        // The system's limit may be lower; that is its administrator's decision.
        let _ = socket.set_recv_buffer_size(BROWSER_BUFFER);
        let _ = socket.set_send_buffer_size(BROWSER_BUFFER);
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        // Each datagram gets memory of its own, in which it may leave: the kernel is not to put several into one (GRO). A
        // browser's come one by one. Where it can not do that, there is nothing to switch off.
        let _ = setsockopt(&socket, UdpGroSegment, &false);
        let local = socket.local_addr()?;
        Ok(BrowserSocket { socket, state, local })
    }

    pub(crate) fn port(&self) -> u16 {
        self.local.port()
    }

    /// Fills the batch; `WouldBlock` when nothing is there.
    pub(crate) fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        let mut rooms = batch.datagrams.iter_mut().map(Datagram::room);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
        batch.filled = 0;
        batch.filled = self.state.recv((&self.socket).into(), &mut slices, &mut batch.metas)?;
        Ok(())
    }

    /// Where the socket is bound.
    pub(crate) fn bound(&self) -> SocketAddr {
        self.local
    }
}

impl Batch {
    pub(crate) fn new() -> Batch {
        let datagrams = std::iter::repeat_with(Datagram::new).take(BATCH_SIZE).collect();
        Batch { datagrams, metas: vec![RecvMeta::default(); BATCH_SIZE], filled: 0 }
    }

    /// The receive found more datagrams than there is room for, or as many: there may be others.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == BATCH_SIZE
    }

    /// Datagrams in order of arrival; `bound` is the socket's own address.
    pub(crate) fn arrivals(&mut self, bound: SocketAddr) -> impl Iterator<Item = Arrival<'_>> {
        let filled = self.metas[..self.filled].iter().zip(&mut self.datagrams);
        filled.map(move |(meta, data)| {
            let ip = meta.dst_ip.map_or(bound.ip(), |ip| ip.to_canonical());
            let local = SocketAddr::new(ip, bound.port());
            let source = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            data.received(meta.len);
            Arrival { route: (local, source).into(), data }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::outgoing::Outgoing;
    use crate::poll::Ready;

    fn answer_comes_from_the_address_asked(bind: &str, ask: &str) {
        let shared = BrowserSocket::bind(bind.parse().unwrap()).unwrap();
        let ask: IpAddr = ask.parse().unwrap();
        let near: IpAddr = if ask.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { ask };
        let client = UdpSocket::bind((near, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let ask = SocketAddr::new(ask, shared.port());
        client.send_to(b"question", ask).unwrap();
        let (poller, _waker) = crate::worker::listen(&shared).unwrap();
        poller.wait(&mut Ready::new(), Some(Duration::from_secs(5))).unwrap();
        let mut batch = Batch::new();
        shared.receive(&mut batch).unwrap();
        let arrivals: Vec<_> = batch.arrivals(shared.bound()).collect();
        assert_eq!(arrivals.len(), 1);
        assert_eq!(arrivals[0].data[..], *b"question");
        let route = arrivals[0].route;
        assert_eq!(route, (ask, client.local_addr().unwrap()).into());
        let mut outgoing = Outgoing::new(shared.bound());
        outgoing.push(route.local, route.remote, &mut Datagram::from(&b"answer"[..]));
        assert_eq!(outgoing.send(&shared).sent, 1);
        let mut buf = [0; 16];
        let (n, from) = client.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..n], from), (&b"answer"[..], ask));
    }

    #[test]
    fn a_wildcard_socket_answers_from_the_address_it_was_reached_on() {
        answer_comes_from_the_address_asked("0.0.0.0:0", "127.0.0.1");
        answer_comes_from_the_address_asked("0.0.0.0:0", "127.0.0.77");
        answer_comes_from_the_address_asked("127.0.0.1:0", "127.0.0.1");
        answer_comes_from_the_address_asked("[::]:0", "127.0.0.77");
        answer_comes_from_the_address_asked("[::]:0", "::1");
        answer_comes_from_the_address_asked("[::1]:0", "::1");
    }
}
