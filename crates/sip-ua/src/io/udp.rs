use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Inbound;
use crate::stun;
use crate::{Flow, Transport};

/// Largest datagram there is.
const DATAGRAM: usize = 65_535;
/// Bytes that the kernel keeps for us while the endpoint is busy.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

/// One UDP socket. It learns which address of ours a datagram was sent to, and answers from it. Large messages are
/// fragmented: responses have no other way (RFC 3261 §18.1.1 moves requests only), which is why this is not quinn-udp.
#[derive(Debug)]
pub(super) struct UdpListener {
    socket: UdpSocket,
    local: SocketAddr,
}

impl UdpListener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<UdpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        // The system may give less; that is no error.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(UdpListener { socket, local })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn is_wildcard(&self) -> bool {
        self.local.ip().is_unspecified()
    }

    /// Sends at once or not at all: a full kernel buffer is a lost datagram, and the transaction repeats.
    pub(super) fn send(&self, to: SocketAddr, source: Option<IpAddr>, bytes: &[u8]) -> io::Result<()> {
        let v4 = source.and_then(as_v4).map(|ip| libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        });
        let v6 = source.and_then(as_v6).map(|ip| libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
            ipi6_ifindex: 0,
        });
        let control: Vec<ControlMessage<'_>> = v4
            .iter()
            .map(ControlMessage::Ipv4PacketInfo)
            .chain(v6.iter().map(ControlMessage::Ipv6PacketInfo))
            .collect();
        let to = SockaddrStorage::from(to);
        let fd = self.socket.as_raw_fd();
        let send = || {
            sendmsg(fd, &[IoSlice::new(bytes)], &control, MsgFlags::MSG_DONTWAIT, Some(&to))
                .map(|_| ())
                .map_err(io::Error::from)
        };
        match self.socket.try_io(Interest::WRITABLE, send) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    /// Reads for ever, or until nobody listens any more.
    pub(super) async fn read(&self, inbound: mpsc::Sender<Inbound>) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let read = self.socket.async_io(Interest::READABLE, || self.receive(&mut buffer)).await;
            match read {
                Ok((len, flow)) => {
                    // Keep-alives: line ends, NULs, STUN (RFC 5626 §3.5); nothing below this is a message.
                    if is_keep_alive(&buffer[..len]) {
                        self.keep_alive(&buffer[..len], &flow);
                        if stun::is_answer(&buffer[..len])
                            && inbound
                                .send(Inbound::KeepAlive { flow, bytes: buffer[..len].to_vec() })
                                .await
                                .is_err()
                        {
                            return;
                        }
                        continue;
                    }
                    let bytes = buffer[..len].to_vec();
                    if inbound.send(Inbound::Message { flow, bytes }).await.is_err() {
                        return;
                    }
                }
                // An ICMP error of an earlier datagram; the socket is fine.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => debug!("udp: {e}"),
                Err(e) => {
                    warn!("reading SIP over UDP on {} failed: {e}", self.local);
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Who asks by STUN how we see him hears it from the address he asked (RFC 5626 §3.5.2); line ends get no answer.
    fn keep_alive(&self, bytes: &[u8], flow: &Flow) {
        if let Some(answer) = stun::answer(bytes, flow.remote) {
            let source = self.is_wildcard().then_some(flow.local.ip());
            if let Err(e) = self.send(flow.remote, source, &answer) {
                debug!("an answer by STUN could not be sent: {e}");
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Flow)> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let got = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
        let remote = got.address.as_ref().and_then(socket_addr).ok_or(io::ErrorKind::InvalidData)?;
        let mut local = self.local;
        for message in got.cmsgs()? {
            if let Some(ip) = destination(&message) {
                local.set_ip(ip);
            }
        }
        Ok((got.bytes, Flow { transport: Transport::Udp, local, remote, connection: None }))
    }
}

fn destination(message: &ControlMessageOwned) -> Option<IpAddr> {
    if let ControlMessageOwned::Ipv4PacketInfo(info) = message {
        return Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
    }
    if let ControlMessageOwned::Ipv6PacketInfo(info) = message {
        return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
    }
    None
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into())
}

fn as_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

fn as_v6(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    }
}

/// Nothing but line ends, spaces and NULs, or a first byte that only STUN has.
fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| b"\r\n\0 \t".contains(b)) || bytes[0] < 4
}
