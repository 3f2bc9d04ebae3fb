//! Browsers whose networks let no UDP through: connections that they open to us (RFC 6544, we are passive), and datagrams
//! framed in them (RFC 4571). A side door: what comes by UDP never looks here.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use types::{Datagram, limits};
use webrtc_peer::{Route, Transport};

use crate::browser::DATAGRAM;
use crate::poll::{Poller, Token};

/// Connections that wait for us in the kernel.
const BACKLOG: i32 = 256;
/// Most taken in one turn.
const ACCEPTS_AT_ONCE: usize = 32;
/// Room for what one read brings: the longest frame fits.
const READ: usize = 4_096;
/// Asked of the kernel for what it holds unsent: audio that waits long is of no use.
const SEND_BUFFER: usize = 16 * 1024;
/// How often connections are looked through for those to be closed.
const SWEEP: Duration = Duration::from_secs(1);
/// Bytes of a frame's length.
const LENGTH: usize = 2;

/// The listener of one worker and its connections. Their bounds are `limits::TCP_*`.
pub(crate) struct TcpBrowsers {
    poller: Poller,
    /// None where its port is somebody else's.
    listener: Option<TcpListener>,
    open: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_ends: HashMap<(SocketAddr, SocketAddr), usize>,
    sweep_at: Option<Instant>,
    /// The system had no room for another connection: it is not asked again before the next sweep.
    deaf: bool,
}

struct Connection {
    stream: TcpStream,
    route: Route,
    /// Since when it is no session's.
    strange_since: Option<Instant>,
    inbox: Vec<u8>,
    /// What the kernel did not take: the rest of a frame, then whole ones.
    backlog: Vec<u8>,
}

/// Listens on `address`, which is where the UDP socket of the same browsers is bound.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier process that are still closing do not keep the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl TcpBrowsers {
    pub(crate) fn new(poller: Poller, listener: Option<TcpListener>) -> io::Result<TcpBrowsers> {
        if let Some(listener) = &listener {
            poller.add(listener, Token::TcpDoor)?;
        }
        let (open, free, by_ends) = Default::default();
        Ok(TcpBrowsers { poller, listener, open, free, by_ends, sweep_at: None, deaf: false })
    }

    /// Whether there is a door to knock at.
    pub(crate) fn listens(&self) -> bool {
        self.listener.is_some()
    }

    /// When `sweep` is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Takes in those who knock; how many were turned away.
    pub(crate) fn accept(&mut self, now: Instant) -> u64 {
        let mut refused = 0;
        for _ in 0..ACCEPTS_AT_ONCE {
            let Some(listener) = &self.listener else { break };
            match listener.accept() {
                Ok((stream, remote)) => {
                    let taken =
                        self.has_room(remote.ip().to_canonical()) && self.admit(stream, remote, now).is_ok();
                    refused += u64::from(!taken);
                }
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // No descriptor or no memory is left: it would be named again and again.
                Err(_) => {
                    self.deaf = self.poller.remove(listener).is_ok();
                    self.sweep_at.get_or_insert(now + SWEEP);
                    break;
                }
            }
        }
        refused
    }

    fn has_room(&self, ip: IpAddr) -> bool {
        let all = self.open.iter().flatten();
        let strangers = all.clone().filter(|c| c.strange_since.is_some());
        let neighbours = strangers.clone().filter(|c| c.route.remote.ip() == ip).count();
        all.count() < limits::TCP_BROWSERS
            && strangers.count() < limits::TCP_STRANGERS
            && (ip.is_loopback() || neighbours < limits::TCP_STRANGERS_PER_ADDRESS)
    }

    fn admit(&mut self, stream: TcpStream, remote: SocketAddr, now: Instant) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // A larger one only lets old audio wait.
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        let (local, remote) = (canonical(stream.local_addr()?), canonical(remote));
        let index = self.free.pop().unwrap_or(self.open.len());
        if let Err(e) = self.poller.add(&stream, Token::Tcp(index)) {
            self.free.push(index);
            return Err(e);
        }
        let route = Route { transport: Transport::Tcp, local, remote };
        let (inbox, backlog) = Default::default();
        let connection = Connection { stream, route, strange_since: Some(now), inbox, backlog };
        if self.open.len() <= index {
            self.open.resize_with(index + 1, || None);
        }
        self.open[index] = Some(connection);
        self.by_ends.insert((local, remote), index);
        self.sweep_at.get_or_insert(now + SWEEP);
        Ok(())
    }

    /// The connection is readable, or has room for its backlog. False once it is closed.
    pub(crate) fn handle_ready(&mut self, index: usize) -> bool {
        let Some(Some(connection)) = self.open.get_mut(index) else { return false };
        let alive = connection.flush(&self.poller, index).is_ok() && connection.fill();
        if !alive {
            self.close(index);
        }
        alive
    }

    /// The next datagram that has come whole. A connection that sends something else is closed.
    pub(crate) fn next_datagram(&mut self, index: usize, into: &mut Datagram) -> Option<Route> {
        let connection = self.open.get_mut(index)?.as_mut()?;
        loop {
            let (length, rest) = connection.inbox.split_first_chunk::<LENGTH>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            if length > DATAGRAM {
                self.close(index);
                return None;
            }
            let frame = rest.get(..length)?;
            into.clear();
            into.extend_from_slice(frame);
            connection.inbox.drain(..LENGTH + length);
            // RFC 4571 §2: a null packet is to be ignored.
            if length > 0 {
                return Some(connection.route);
            }
        }
    }

    /// An authentic check came by this way, or something of the session that it belongs to.
    pub(crate) fn proved(&mut self, index: usize) {
        if let Some(Some(connection)) = self.open.get_mut(index) {
            connection.strange_since = None;
        }
    }

    /// Sends a datagram; false if it is dropped, because the browser reads too slowly or has closed its connection.
    pub(crate) fn send(&mut self, route: Route, data: &[u8]) -> bool {
        let Some(index) = self.by_ends.get(&(route.local, route.remote)).copied() else { return false };
        let Some(Some(connection)) = self.open.get_mut(index) else { return false };
        match connection.send(data, &self.poller, index) {
            Ok(sent) => sent,
            Err(_) => {
                self.close(index);
                false
            }
        }
    }

    /// Closes the connections that are no session's and have been none for too long.
    pub(crate) fn sweep(&mut self, now: Instant, is_known: impl Fn(Route) -> bool) {
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| self.deaf) {
            self.deaf = self.poller.add(listener, Token::TcpDoor).is_err();
        }
        for index in 0..self.open.len() {
            let Some(connection) = &mut self.open[index] else { continue };
            if is_known(connection.route) {
                connection.strange_since = None;
            } else if *connection.strange_since.get_or_insert(now) + limits::TCP_STRANGER_TIME <= now {
                self.close(index);
            }
        }
        let needed = self.deaf || !self.by_ends.is_empty();
        self.sweep_at = needed.then_some(now + SWEEP);
    }

    fn close(&mut self, index: usize) {
        let Some(connection) = self.open.get_mut(index).and_then(Option::take) else { return };
        let _ = self.poller.remove(&connection.stream);
        self.by_ends.remove(&(connection.route.local, connection.route.remote));
        self.free.push(index);
    }
}

impl Connection {
    /// Reads once: what is left is named again. False at its end.
    fn fill(&mut self) -> bool {
        let held = self.inbox.len();
        self.inbox.resize(READ, 0);
        let read = self.stream.read(&mut self.inbox[held..]);
        self.inbox.truncate(held + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => false,
            Ok(_) => true,
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// False if there is no room for it.
    fn send(&mut self, data: &[u8], poller: &Poller, index: usize) -> io::Result<bool> {
        let Ok(length) = u16::try_from(data.len()) else { return Ok(false) };
        let waiting = self.backlog.len();
        if waiting + LENGTH + data.len() > limits::TCP_BACKLOG {
            return Ok(false);
        }
        self.backlog.extend_from_slice(&length.to_be_bytes());
        self.backlog.extend_from_slice(data);
        if waiting == 0 {
            self.write()?;
            if !self.backlog.is_empty() {
                poller.change(&self.stream, Token::Tcp(index), true)?;
            }
        }
        Ok(true)
    }

    fn flush(&mut self, poller: &Poller, index: usize) -> io::Result<()> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        self.write()?;
        if self.backlog.is_empty() {
            poller.change(&self.stream, Token::Tcp(index), false)?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        match self.stream.write(&self.backlog) {
            Ok(written) => {
                self.backlog.drain(..written);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
