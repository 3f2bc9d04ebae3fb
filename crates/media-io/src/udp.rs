//! Single datagrams, straight from and to the system: each call of the C library's is a point at which its thread may be
//! cancelled, and every packet would pay for that (docs/DECISIONS.md).

use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

/// The next one, and where it comes from.
///
/// # Errors
/// The system's; `WouldBlock`: there is none.
pub(crate) fn receive(socket: &UdpSocket, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (length, _, source) = recvfrom(socket, room, RecvFlags::empty())?;
    let source = source.ok_or(io::ErrorKind::InvalidData)?;
    Ok((length, SocketAddr::try_from(source)?))
}

/// Sends one.
///
/// # Errors
/// The system's.
pub(crate) fn send(socket: &UdpSocket, data: &[u8], to: SocketAddr) -> io::Result<()> {
    sendto(socket, data, SendFlags::empty(), &to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_whole_with_its_source_in_either_family_and_none_would_block() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let [here, there] = [(); 2].map(|()| UdpSocket::bind(host).unwrap());
            here.set_nonblocking(true).unwrap();
            let mut room = [0; 64];
            assert_eq!(receive(&here, &mut room).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            send(&there, b"twelve bytes", here.local_addr().unwrap()).unwrap();
            send(&there, b"", here.local_addr().unwrap()).unwrap();
            let (length, source) = receive(&here, &mut room).unwrap();
            assert_eq!((&room[..length], source), (&b"twelve bytes"[..], there.local_addr().unwrap()));
            assert_eq!(receive(&here, &mut room).unwrap(), (0, there.local_addr().unwrap()));
        }
    }
}
