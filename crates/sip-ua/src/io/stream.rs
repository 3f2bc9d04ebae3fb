use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{debug, warn};
use types::{Places, limits};

use super::tls::{self, TlsSetup};
use super::{Inbound, SendError};
use crate::framer::{Frame, FrameError, Framer};
use crate::keep_alive::PING;
use crate::message::{Message, MessageWriter, Method, ParseError};
use crate::{ConnectionId, Flow, Target, TlsPeer, Transport};

/// Bytes asked for in one read.
const READ: usize = 16 * 1024;
/// Probes find peers that went away without a word.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(60);

/// How long a refused peer may take to hear why.
const LEAVING: std::time::Duration = std::time::Duration::from_secs(1);

type Queue = mpsc::Sender<Arc<[u8]>>;

/// All stream connections. Each has one task that reads, writes and closes it; the table knows how to reach it.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    table: Arc<Mutex<Table>>,
    inbound: mpsc::Sender<Inbound>,
    tls: Arc<TlsSetup>,
}

/// What a connection leads to. One that a TLS peer opened has none: who it is was not shown (RFC 5923 §8.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum End {
    Tcp(SocketAddr),
    Tls(TlsPeer, SocketAddr),
}

impl End {
    fn of(target: &Target) -> End {
        match target {
            Target::Tls { peer, remote, .. } => End::Tls(*peer, *remote),
            Target::Flow(_) | Target::Address { .. } => End::Tcp(target.remote()),
        }
    }
}

#[derive(Debug)]
struct Table {
    next_id: u64,
    by_id: HashMap<ConnectionId, Entry>,
    /// The newest connection to an end: later messages to it reuse it (RFC 3261 §18.1.1).
    by_end: HashMap<End, ConnectionId>,
    started: Instant,
    /// Of those that others opened.
    places: Places,
}

#[derive(Debug)]
struct Entry {
    /// Where further messages to that end go by this connection; none for guests.
    end: Option<End>,
    queue: Queue,
    /// Milliseconds after the table's start when the last whole message came; 0: none yet.
    heard: Arc<AtomicU64>,
    /// A ping was queued whose pong has not come.
    asked: Arc<AtomicBool>,
    /// Who opened it, where that was not we and it has a place of its address.
    from: Option<IpAddr>,
    /// Dropping it closes the connection.
    _alive: oneshot::Sender<()>,
}

/// What a connection's task holds of its entry.
#[derive(Debug)]
pub(super) struct Ticket {
    pub id: ConnectionId,
    /// For answers of the connection itself: pongs, refusals. Weak, so that dropping the entry ends the queue.
    queue: mpsc::WeakSender<Arc<[u8]>>,
    pub outbound: mpsc::Receiver<Arc<[u8]>>,
    heard: Arc<AtomicU64>,
    asked: Arc<AtomicBool>,
    closed: oneshot::Receiver<()>,
}

impl Streams {
    pub(super) fn new(inbound: mpsc::Sender<Inbound>, tls: TlsSetup) -> Streams {
        let table = Table {
            next_id: 1,
            by_id: HashMap::new(),
            by_end: HashMap::new(),
            started: Instant::now(),
            places: Places::default(),
        };
        Streams { table: Arc::new(Mutex::new(table)), inbound, tls: Arc::new(tls) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.table().by_id.len()
    }

    /// What we show to those who call us over TLS.
    pub(super) fn certificate(&self) -> Option<Arc<ServerConfig>> {
        self.tls.server.clone()
    }

    /// Queues for an open connection.
    pub(super) fn send(&self, id: ConnectionId, bytes: Arc<[u8]>) -> Result<(), SendError> {
        let mut table = self.table();
        let entry = table.by_id.get(&id).ok_or(SendError::Gone)?;
        if *bytes == *PING {
            entry.asked.store(true, Ordering::Relaxed);
        }
        match entry.queue.try_send(bytes) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SendError::Gone),
            Err(mpsc::error::TrySendError::Full(_)) => {
                table.remove(id);
                Err(SendError::TooSlow)
            }
        }
    }

    /// Queues for the connection to an address over TCP or TLS, opening it if need be.
    pub(super) fn send_to(&self, target: Target, bytes: Arc<[u8]>) -> Result<(), SendError> {
        let end = End::of(&target);
        let known = self.table().by_end.get(&end).copied();
        if let Some(id) = known {
            match self.send(id, bytes.clone()) {
                // Just closed, its task has not said so yet.
                Err(SendError::Gone) => self.remove(id),
                done => return done,
            }
        }
        if bytes.iter().all(|b| b"\r\n".contains(b)) {
            // There is nothing to keep open.
            return Err(SendError::Gone);
        }
        let ticket = self.enter(Some(end));
        let sent = self.send(ticket.id, bytes);
        tokio::spawn(connect(ticket, target, self.clone()));
        sent
    }

    /// Closes the connection to an address, if one is open.
    pub(super) fn close(&self, target: Target) {
        let mut table = self.table();
        if let Some(id) = table.by_end.get(&End::of(&target)).copied() {
            table.remove(id);
        }
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        let mut table = self.table();
        table.by_end.clear();
        table.by_id.clear();
    }

    /// Makes an entry for a connection that `from` opened, unless that has too many.
    fn admit(&self, end: Option<End>, from: IpAddr) -> Option<Ticket> {
        if !self.table().places.take(from) {
            debug!("{from} has too many SIP connections");
            return None;
        }
        Some(self.enter_from(end, Some(from)))
    }

    /// Connections that were closed at once because their address had too many.
    pub(super) fn refused(&self) -> u64 {
        self.table().places.refused()
    }

    /// Makes an entry, closing another where there are too many.
    pub(super) fn enter(&self, end: Option<End>) -> Ticket {
        self.enter_from(end, None)
    }

    fn enter_from(&self, end: Option<End>, from: Option<IpAddr>) -> Ticket {
        let mut table = self.table();
        if table.by_id.len() >= limits::SIP_CONNECTIONS {
            table.remove_idlest();
        }
        let id = ConnectionId(table.next_id);
        table.next_id += 1;
        let (queue, outbound) = mpsc::channel(limits::SIP_WRITER_QUEUE);
        let (alive, closed) = oneshot::channel();
        let heard = Arc::new(AtomicU64::new(0));
        let asked = Arc::new(AtomicBool::new(false));
        let weak = queue.downgrade();
        let entry = Entry { end, queue, heard: heard.clone(), asked: asked.clone(), from, _alive: alive };
        table.by_id.insert(id, entry);
        if let Some(end) = end {
            table.by_end.insert(end, id);
        }
        Ticket { id, queue: weak, outbound, heard, asked, closed }
    }

    pub(super) fn remove(&self, id: ConnectionId) {
        self.table().remove(id);
    }

    /// Something whole came by this connection.
    pub(super) fn heard(&self, ticket: &Ticket) {
        ticket.heard.store(self.millis().max(1), Ordering::Relaxed);
    }

    /// Hands on what came.
    pub(super) async fn tell(&self, inbound: Inbound) {
        let _ = self.inbound.send(inbound).await;
    }

    fn millis(&self) -> u64 {
        self.table().started.elapsed().as_millis() as u64
    }
}

impl Table {
    fn remove(&mut self, id: ConnectionId) {
        let Some(entry) = self.by_id.remove(&id) else { return };
        if let Some(from) = entry.from {
            self.places.give_back(from);
        }
        if let Some(end) = entry.end
            && self.by_end.get(&end) == Some(&id)
        {
            self.by_end.remove(&end);
        }
    }

    /// Those that never brought a message go first, then the one silent longest.
    fn remove_idlest(&mut self) {
        let idlest = self.by_id.iter().min_by_key(|(id, e)| (e.heard.load(Ordering::Relaxed), id.0));
        if let Some(id) = idlest.map(|(id, _)| *id) {
            self.remove(id);
        }
    }
}

/// A listening socket; IPv6 takes IPv6 only.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier run in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Accepts for ever; with TLS where an acceptor is given.
pub(super) async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, streams: Streams) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let streams = streams.clone();
                let end = acceptor.is_none().then_some(End::Tcp(remote));
                let Some(ticket) = streams.admit(end, remote.ip()) else { continue };
                match &acceptor {
                    None => {
                        tokio::spawn(run(Link::Tcp(stream), remote, ticket, streams));
                    }
                    Some(acceptor) => {
                        let acceptor = acceptor.clone();
                        tokio::spawn(welcome((stream, remote), acceptor, ticket, streams));
                    }
                }
            }
            Err(e) => {
                // Out of descriptors, usually: others must be able to close theirs.
                warn!("accepting a SIP connection failed: {e}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// The handshake with a peer that came to us.
async fn welcome(
    (stream, remote): (TcpStream, SocketAddr),
    acceptor: TlsAcceptor,
    mut ticket: Ticket,
    streams: Streams,
) {
    let shaken = tokio::select! {
        shaken = timeout(limits::SIP_TLS_DEADLINE, acceptor.accept(stream)) => shaken,
        _ = &mut ticket.closed => return,
    };
    let why = match shaken {
        Ok(Ok(stream)) => return run(Link::Tls(Box::new(stream.into())), remote, ticket, streams).await,
        Ok(Err(e)) => e.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    debug!("a TLS handshake under SIP with {remote} failed: {why}");
    streams.remove(ticket.id);
}

async fn connect(mut ticket: Ticket, target: Target, streams: Streams) {
    let opened = tokio::select! {
        opened = open(&target, &streams.tls) => opened,
        _ = &mut ticket.closed => Err(CLOSED_BY_US.to_owned()),
    };
    match opened {
        Ok(link) => run(link, target.remote(), ticket, streams).await,
        Err(why) => {
            streams.remove(ticket.id);
            let _ = streams.inbound.send(Inbound::Unreachable { target, why }).await;
        }
    }
}

async fn open(target: &Target, setup: &TlsSetup) -> Result<Link, String> {
    let connecting = timeout(limits::SIP_CONNECT_DEADLINE, TcpStream::connect(target.remote()));
    let stream = connecting.await.map_err(|_| "no answer to the connection request".to_owned())?;
    let stream = stream.map_err(|e| e.to_string())?;
    let Target::Tls { peer, .. } = target else { return Ok(Link::Tcp(stream)) };
    let client = setup.peers.get(usize::from(peer.0)).ok_or("nobody is expected there")?;
    let shaking = timeout(limits::SIP_TLS_DEADLINE, client.connector.connect(client.name.clone(), stream));
    let stream = shaking.await.map_err(|_| "no answer to the TLS handshake".to_owned())?;
    Ok(Link::Tls(Box::new(stream.map_err(|e| tls::words(&e))?.into())))
}

const CLOSED_BY_US: &str = "closed by us: it read too slowly, answered no ping, or there were too many";

/// An open connection.
enum Link {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The life of one connection.
async fn run(link: Link, remote: SocketAddr, ticket: Ticket, streams: Streams) {
    let (transport, tcp) = match &link {
        Link::Tcp(stream) => (Transport::Tcp, stream),
        Link::Tls(stream) => (Transport::Tls, stream.get_ref().0),
    };
    let local = match prepare(tcp) {
        Ok(local) => local,
        Err(e) => {
            debug!("SIP connection {} failed: {e}", ticket.id.0);
            return streams.remove(ticket.id);
        }
    };
    let flow = Flow { transport, local, remote, connection: Some(ticket.id) };
    match link {
        Link::Tcp(stream) => {
            let (read, write) = stream.into_split();
            live(read, write, flow, ticket, streams).await;
        }
        Link::Tls(stream) => {
            let (read, write) = tokio::io::split(*stream);
            live(read, write, flow, ticket, streams).await;
        }
    }
}

async fn live(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    flow: Flow,
    ticket: Ticket,
    streams: Streams,
) {
    let Ticket { id, queue, outbound, heard, asked, closed } = ticket;
    let mut reader = Reader { read, flow, heard, asked, queue, streams: streams.clone() };
    let mut writer = Writer { write, outbound };
    let end = {
        let mut writing = std::pin::pin!(writer.run());
        let end = tokio::select! {
            end = reader.run() => end,
            why = &mut writing => Farewell::of(why),
            _ = closed => Farewell::of(CLOSED_BY_US),
        };
        if end.last.is_none() {
            streams.remove(id);
        }
        debug!("SIP connection {} closed: {}", id.0, end.why);
        let why = end.why.clone();
        streams.tell(Inbound::Closed { flow, why }).await;
        if end.last.is_some() {
            // Answers to what came before: the endpoint lets go of the connection once it has given them.
            let _ = timeout(limits::SIP_WRITE_DEADLINE, writing).await;
            streams.remove(id);
        }
        end
    };
    if let Some(last) = end.last {
        let leaving = async {
            let _ = writer.write.write_all(&last).await;
            let _ = writer.write.shutdown().await;
            // Closing with unread bytes would be a reset, and the answer lost with it.
            let _ = tokio::io::copy(&mut reader.read, &mut tokio::io::sink()).await;
        };
        let _ = timeout(LEAVING, leaving).await;
    }
}

/// Why a connection ends, and what is still to be said.
struct Farewell {
    why: String,
    last: Option<Vec<u8>>,
}

impl Farewell {
    fn of(why: impl Into<String>) -> Farewell {
        Farewell { why: why.into(), last: None }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    stream.local_addr()
}

struct Writer<W> {
    write: W,
    outbound: mpsc::Receiver<Arc<[u8]>>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes what is queued, each message within the deadline.
    async fn run(&mut self) -> String {
        while let Some(bytes) = self.outbound.recv().await {
            let writing = async {
                self.write.write_all(&bytes).await?;
                // TLS keeps what it has encrypted until it is told.
                self.write.flush().await
            };
            match timeout(limits::SIP_WRITE_DEADLINE, writing).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => return format!("writing failed: {e}"),
                Err(_) => return "the peer does not read".to_owned(),
            }
        }
        CLOSED_BY_US.to_owned()
    }
}

struct Reader<R> {
    read: R,
    flow: Flow,
    heard: Arc<AtomicU64>,
    asked: Arc<AtomicBool>,
    queue: mpsc::WeakSender<Arc<[u8]>>,
    streams: Streams,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads until the end, an error, or silence.
    async fn run(&mut self) -> Farewell {
        let mut framer = Framer::new();
        let mut buffer = vec![0; READ];
        // The first message and the rest of a message are waited for shortly, the next message long.
        let mut waiting = true;
        let mut deadline = Instant::now() + limits::SIP_MESSAGE_DEADLINE;
        loop {
            let read = tokio::select! {
                read = self.read.read(&mut buffer) => read,
                () = sleep_until(deadline) => return Farewell::of("silent too long"),
            };
            match read {
                Ok(0) => return Farewell::of("closed by the peer"),
                Ok(n) => framer.push(&buffer[..n]),
                Err(e) => return Farewell::of(tls::reading_failed(&e)),
            }
            if self.asked.swap(false, Ordering::Relaxed) {
                framer.expect_pong();
            }
            let frames = match self.deliver(&mut framer).await {
                Ok(frames) => frames,
                Err(error) => return refusal(error, framer),
            };
            let partial = framer.buffered() > 0;
            if frames > 0 || (partial && !waiting) {
                let patience = if partial { limits::SIP_MESSAGE_DEADLINE } else { limits::SIP_IDLE };
                deadline = Instant::now() + patience;
                waiting = partial;
            }
        }
    }

    /// Hands on all complete messages; says how many frames there were.
    async fn deliver(&mut self, framer: &mut Framer) -> Result<usize, FrameError> {
        let mut frames = 0;
        while let Some(frame) = framer.next_frame()? {
            frames += 1;
            self.heard.store(self.streams.millis().max(1), Ordering::Relaxed);
            match frame {
                Frame::Message(bytes) => {
                    let _ = self.streams.inbound.send(Inbound::Message { flow: self.flow, bytes }).await;
                }
                Frame::Pong => {
                    let bytes = b"\r\n".to_vec();
                    self.streams.tell(Inbound::KeepAlive { flow: self.flow, bytes }).await;
                }
                Frame::Ping => {
                    // A full queue is the writer's business.
                    if let Some(queue) = self.queue.upgrade() {
                        let _ = queue.try_send(b"\r\n"[..].into());
                    }
                }
            }
        }
        Ok(frames)
    }
}

/// The answer to a request that cannot be framed, if its head can be read (RFC 3261 §18.3).
fn refusal(error: FrameError, framer: Framer) -> Farewell {
    let mut head = framer.into_rest();
    head.truncate(limits::SIP_MESSAGE_BYTES);
    let request = match Message::parse(head) {
        Ok(message) if message.is_request() => Some(message),
        Err(ParseError::BadRequest { message, .. }) => Some(*message),
        Ok(_) | Err(ParseError::NotSip(_) | ParseError::BadResponse(_)) => None,
    };
    let last = request
        .filter(|r| r.top_via().is_some() && r.method() != Some(&Method::Ack))
        .map(|r| MessageWriter::response(&r, error.status(), error.phrase(), None).finish());
    Farewell { why: error.to_string(), last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_there_are_too_many_connections_the_one_silent_longest_goes() {
        let (inbound, _receiver) = mpsc::channel(1);
        let streams = Streams::new(inbound, TlsSetup::default());
        let remote = |n: usize| SocketAddr::from(([10, (n >> 16) as u8, (n >> 8) as u8, n as u8], 5060));
        let mut tickets: Vec<_> =
            (0..limits::SIP_CONNECTIONS).map(|n| streams.enter(Some(End::Tcp(remote(n))))).collect();
        for (n, ticket) in tickets.iter().enumerate() {
            // The third has said nothing yet, the second was heard first of all.
            ticket.heard.store(if n == 2 { 0 } else { (n + 10) as u64 }, Ordering::Relaxed);
        }
        tickets[1].heard.store(1, Ordering::Relaxed);
        for (n, victim) in [(20_000, 2), (20_001, 1), (20_002, 0)] {
            let newcomer = streams.enter(Some(End::Tcp(remote(n))));
            newcomer.heard.store(1_000_000, Ordering::Relaxed);
            tickets.push(newcomer);
            assert_eq!(streams.len(), limits::SIP_CONNECTIONS);
            assert!(
                tickets[victim].closed.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed)
            );
        }
        streams.clear();
        assert_eq!(streams.len(), 0);
    }

    #[tokio::test]
    async fn one_address_has_its_share_of_connections_and_gets_it_back_when_they_close() {
        let (inbound, _receiver) = mpsc::channel(1);
        let streams = Streams::new(inbound, TlsSetup::default());
        let remote = |port: usize| SocketAddr::from(([192, 0, 2, 1], port as u16));
        let admit = |port| streams.admit(Some(End::Tcp(remote(port))), remote(port).ip());
        let mut tickets: Vec<_> = (0..limits::CONNECTIONS_PER_ADDRESS).map(|n| admit(n).unwrap()).collect();
        assert!(admit(2_000).is_none());
        assert_eq!(streams.refused(), 1);
        assert!(streams.admit(None, "192.0.2.2".parse().unwrap()).is_some(), "others have theirs");
        let first = tickets.remove(0);
        streams.remove(first.id);
        streams.remove(first.id);
        assert!(admit(2_001).is_some() && admit(2_002).is_none());
    }
}
