//! A UDP socket that stands for many parties: all of 127.0.0.0/8 is this machine, so each browser gets an address of its own
//! and one socket serves them all. Received in batches, with the kernel's time of arrival: what this process was late to
//! read is not counted against whom it measures.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmsg, setsockopt,
    sockopt,
};
use nix::sys::time::TimeSpec;

use crate::Fallible;

/// Datagrams of one receive.
const BATCH: usize = 64;
/// Largest datagram.
const ROOM: usize = 2048;
/// What the kernel holds while we are busy: a loss there would be counted against whom we measure.
const BUFFER: usize = 32 * 1024 * 1024;

/// Nanoseconds since 1970, the clock that the kernel stamps arrivals with.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The socket.
pub struct Wire {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; ROOM]>,
}

/// A datagram that came.
pub struct Arrival<'a> {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// Which of our addresses it came to.
    pub to: Ipv4Addr,
    /// When, as [`now_ns`] counts.
    pub at: u64,
    /// The datagram.
    pub bytes: &'a [u8],
}

impl Wire {
    /// On every IPv4 address of this machine, at a port that the system chooses.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open() -> Fallible<Wire> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
        }
        setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let headers = MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(in_pktinfo, TimeSpec)));
        Ok(Wire { socket, headers, buffers: vec![[0; ROOM]; BATCH] })
    }

    /// Its port.
    ///
    /// # Errors
    /// When the system does not know it.
    pub fn port(&self) -> Fallible<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Sends from this address of ours; false if the system refuses.
    pub fn send(&self, from: Ipv4Addr, to: SocketAddrV4, bytes: &[u8]) -> bool {
        let info = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
            ipi_addr: nix::libc::in_addr { s_addr: 0 },
        };
        let (vector, control) = ([IoSlice::new(bytes)], [ControlMessage::Ipv4PacketInfo(&info)]);
        let to = SockaddrIn::from(to);
        sendmsg(self.socket.as_raw_fd(), &vector, &control, MsgFlags::empty(), Some(&to)).is_ok()
    }

    /// Hands over up to a batch of what is there; how many it was.
    pub fn receive(&mut self, mut each: impl FnMut(Arrival<'_>)) -> usize {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let received = recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        let Ok(received) = received else { return 0 };
        let mut count = 0;
        for message in received {
            count += 1;
            let (mut to, mut at) = (Ipv4Addr::UNSPECIFIED, 0);
            for control in message.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
                    to = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                } else if let ControlMessageOwned::ScmTimestampns(time) = control {
                    at = time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64;
                }
            }
            let (Some(from), Some(bytes)) = (message.address, message.iovs().next()) else { continue };
            each(Arrival { from: SocketAddrV4::new(from.ip(), from.port()), to, at, bytes });
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_socket_speaks_for_many_addresses_and_arrivals_say_to_which_they_came_and_when() {
        let (here, mut there) = (Wire::open().expect("a socket"), Wire::open().expect("a socket"));
        let port = there.port().expect("a port");
        let before = now_ns();
        for n in 1..=100 {
            let (from, to) = (Ipv4Addr::new(127, 1, 0, n), Ipv4Addr::new(127, 2, 0, n));
            assert!(here.send(from, SocketAddrV4::new(to, port), &[n; 30]));
        }
        let mut seen = Vec::new();
        while seen.len() < 100 {
            there.receive(|arrival| {
                let n = arrival.bytes[0];
                assert_eq!(arrival.bytes, [n; 30]);
                assert_eq!(
                    (*arrival.from.ip(), arrival.to),
                    (Ipv4Addr::new(127, 1, 0, n), Ipv4Addr::new(127, 2, 0, n))
                );
                assert!(arrival.at >= before && arrival.at <= now_ns());
                seen.push(n);
            });
        }
        assert_eq!(seen, (1..=100).collect::<Vec<u8>>());
    }
}
