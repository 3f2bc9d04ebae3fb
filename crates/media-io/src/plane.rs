//! Starting, commanding and stopping the workers.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use media_bridge::control::{CallCommand, CallEvent, Command};
use media_bridge::sound::Sound;
use types::{Advertised, CallId, Entropy, Handover, NotGiven, RecordingId, WorkerId, limits};
use webrtc_peer::PeerFactory;

use crate::browser::BrowserSocket;
use crate::counters::{Counters, Tally, WorkerStatus};
use crate::poll::Poller;
use crate::ports::PortPool;
use crate::post::{Order, Place, Post};
use crate::tcp::{self, TcpBrowsers};
use crate::worker::{Shared, Worker, listen};

/// How the workers are set up.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// First of `workers` consecutive ports for browsers, of UDP and, as far as they are free, of TCP; 0: any free ones (tests).
    pub webrtc_port: u16,
    /// Where browser sockets bind; the wildcard answers from the address it was reached on.
    pub webrtc_bind: IpAddr,
    /// Addresses offered to browsers, best first: this host's (loopback included), or the advertised ones.
    pub candidates: Vec<IpAddr>,
    /// Ports for RTP legs; each takes an even one and the next.
    pub rtp_ports: RangeInclusive<u16>,
    /// Where RTP legs bind whose command names no local address.
    pub rtp_bind: IpAddr,
    /// Written into `c=` of RTP legs that name none themselves and are not on a loopback address.
    pub advertise: Advertised,
    /// What calls can play, by their ids.
    pub sounds: Arc<[Sound]>,
    /// Takes what is recorded.
    pub recordings: Recordings,
}

impl Default for MediaConfig {
    fn default() -> Self {
        let wildcard = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        MediaConfig {
            workers: 1,
            webrtc_port: 0,
            webrtc_bind: wildcard,
            candidates: crate::host_addresses(),
            rtp_ports: 20_000..=29_999,
            rtp_bind: wildcard,
            advertise: Advertised::default(),
            sounds: Arc::default(),
            recordings: Recordings::default(),
        }
    }
}

/// A piece of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// The next frame, of `media_bridge::call::record::FRAME_BYTES`.
    Frame {
        /// Counted from 0; what is left out is a gap of 20 ms for each.
        number: u32,
        /// Samples.
        bytes: &'a [u8],
    },
    /// There are no more.
    Over,
}

/// Takes pieces of recordings, without waiting. Called on worker threads. By default they are dropped.
#[derive(Clone)]
pub struct Recordings(Arc<Take>);

type Take = dyn Fn((CallId, RecordingId), Piece<'_>) + Send + Sync;

impl Recordings {
    /// Pieces go there.
    pub fn new(to: impl Fn((CallId, RecordingId), Piece<'_>) + Send + Sync + 'static) -> Recordings {
        Recordings(Arc::new(to))
    }

    pub(crate) fn take(&self, of: (CallId, RecordingId), piece: Piece<'_>) {
        (self.0)(of, piece);
    }
}

impl Default for Recordings {
    fn default() -> Self {
        Recordings::new(|_, _| {})
    }
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recordings")
    }
}

/// Takes events out of a worker from the front, as many as there is room for, without waiting. Called on worker threads
/// with all that one turn of the worker brought, so that whoever waits is woken once for all of them.
pub type EventSender = Arc<dyn Fn(&mut VecDeque<CallEvent>) + Send + Sync>;

/// Makes the randomness of one call. Called on worker threads.
pub type EntropyFactory = Arc<dyn Fn() -> Box<dyn Entropy> + Send + Sync>;

/// Why the media plane does not start: one sentence for the person who started it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Why a command was not taken: the call that asked must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// The worker's command queue is full (`limits::WORKER_COMMANDS`).
    Full,
    /// The worker has ended by a defect, or there is none of that number: it will never have this call, or has it no more.
    Gone,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotTaken::Full => "the media worker's command queue is full",
            NotTaken::Gone => "there is no such media worker any more",
        })
    }
}

impl std::error::Error for NotTaken {}

/// All media workers. Dropping it stops them.
pub struct MediaPlane {
    handles: Vec<Handle>,
    post: Arc<Post>,
    pool: PortPool,
    stopping: Arc<AtomicBool>,
}

struct Handle {
    orders: Arc<Handover<Order>>,
    /// Orders were queued since the last `wake`.
    asleep: AtomicBool,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for MediaPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaPlane").field("workers", &self.handles.len()).finish_non_exhaustive()
    }
}

impl MediaPlane {
    /// Binds the sockets and starts the threads.
    pub fn start(
        config: MediaConfig,
        entropy: EntropyFactory,
        events: EventSender,
    ) -> Result<MediaPlane, StartError> {
        let peers = PeerFactory::new().map_err(|e| StartError(format!("WebRTC can not start: {e}.")))?;
        let pool = PortPool::new(&config.rtp_ports);
        if pool.free() == 0 {
            let range = &config.rtp_ports;
            return Err(StartError(format!(
                "The RTP port range {}-{} has no pair of an even port and the next.",
                range.start(),
                range.end()
            )));
        }
        let stopping = Arc::new(AtomicBool::new(false));
        let (mut waiting, mut boxes) = (Vec::new(), Vec::new());
        for index in 0..config.workers.max(1) {
            let browser = bind_browser(&config, index)?;
            let (poller, waker) = listen(&browser).map_err(|e| failed(index, &e))?;
            let tcp = TcpBrowsers::new(poller.clone(), door(&browser)).map_err(|e| failed(index, &e))?;
            let tally = Arc::new(Tally::default());
            waiting.push((poller, tcp, tally.clone()));
            boxes.push((browser, waker, tally));
        }
        let post = Arc::new(Post::new(boxes));
        let (handles, of_plane) = (Vec::new(), pool.clone());
        let mut plane =
            MediaPlane { handles, post: post.clone(), pool: of_plane, stopping: stopping.clone() };
        for (index, (poller, tcp, tally)) in waiting.into_iter().enumerate() {
            let shared = Shared {
                peers: peers.clone(),
                config: config.clone(),
                pool: pool.clone(),
                entropy: entropy.clone(),
                events: events.clone(),
                stopping: stopping.clone(),
                tally,
            };
            plane.handles.push(start_worker(index, (poller, tcp), post.clone(), shared)?);
        }
        Ok(plane)
    }

    /// Number of workers: ids are `0..workers`.
    pub fn workers(&self) -> usize {
        self.handles.len()
    }

    /// UDP ports of the browser sockets, by worker.
    pub fn webrtc_ports(&self) -> Vec<u16> {
        (0..self.handles.len()).map(|worker| self.post.socket(worker).port()).collect()
    }

    /// Hands a command to the worker that has (or shall have) the call.
    pub fn send(&self, worker: WorkerId, command: CallCommand) -> Result<(), NotTaken> {
        let queued = self.queue(worker, command);
        self.wake();
        queued
    }

    /// The same without waking the worker: for several commands before one `wake`, which is a system call.
    pub fn queue(&self, worker: WorkerId, command: CallCommand) -> Result<(), NotTaken> {
        let CallCommand { call, command } = command;
        let Command::Adopt { leg, from, worker: giver, their } = command else {
            return self.order(worker, Order::Call(CallCommand { call, command }));
        };
        self.handles.get(usize::from(worker.0)).ok_or(NotTaken::Gone)?;
        // The channel tells each side what becomes of the other, also where its half never arrives.
        let (into, out) = sync_channel(1);
        let to = Place { worker: usize::from(worker.0), call, leg };
        self.order(giver, Order::Give { from: (from, their), to, into })?;
        self.order(worker, Order::Take { to: (call, leg), from: out })
    }

    fn order(&self, worker: WorkerId, order: Order) -> Result<(), NotTaken> {
        let handle = self.handles.get(usize::from(worker.0)).ok_or(NotTaken::Gone)?;
        handle.orders.give(order).map_err(|e| match e {
            NotGiven::Full(_) => NotTaken::Full,
            NotGiven::Closed(_) => NotTaken::Gone,
        })?;
        handle.asleep.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Wakes the workers that have new commands.
    pub fn wake(&self) {
        for (worker, handle) in self.handles.iter().enumerate() {
            if handle.asleep.swap(false, Ordering::Relaxed) {
                self.post.wake(worker);
            }
        }
    }

    /// How each worker is.
    pub fn status(&self) -> impl Iterator<Item = WorkerStatus> {
        self.handles.iter().map(|h| h.tally.status())
    }

    /// Counters of one worker.
    pub fn worker_counters(&self, worker: WorkerId) -> Counters {
        self.handles.get(usize::from(worker.0)).map(|h| h.tally.read()).unwrap_or_default()
    }

    /// Counters of all workers together.
    pub fn counters(&self) -> Counters {
        self.handles.iter().map(|h| h.tally.read()).fold(Counters::default(), |a, b| a + b)
    }

    /// RTP port pairs that are free.
    pub fn free_rtp_ports(&self) -> usize {
        self.pool.free()
    }

    /// Ends every call (its peers are told by RTCP BYE and DTLS close), joins the threads, closes the sockets.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for worker in 0..self.handles.len() {
            self.post.wake(worker);
        }
        for thread in self.handles.iter_mut().filter_map(|h| h.thread.take()) {
            if thread.join().is_err() {
                tracing::error!("a media worker had panicked");
            }
        }
    }
}

impl Drop for MediaPlane {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn bind_browser(config: &MediaConfig, index: usize) -> Result<BrowserSocket, StartError> {
    let wanted = match config.webrtc_port {
        0 => Some(0),
        first => u16::try_from(index).ok().and_then(|i| first.checked_add(i)),
    };
    let port = wanted.ok_or_else(|| {
        let (first, workers) = (config.webrtc_port, config.workers);
        StartError(format!("{workers} UDP ports for browsers do not fit above {first}."))
    })?;
    let address = SocketAddr::new(config.webrtc_bind, port);
    BrowserSocket::bind(address).map_err(|e| {
        let why = if e.kind() == io::ErrorKind::AddrInUse {
            "is in use by another program".to_owned()
        } else {
            format!("can not be opened: {e}")
        };
        StartError(format!("UDP port {port} on {} for browser media {why}.", address.ip()))
    })
}

/// Where browsers that can not send UDP are let in: the port of the same number. Without it the others are served still.
fn door(browser: &BrowserSocket) -> Option<TcpListener> {
    let address = browser.bound();
    match tcp::listen(address) {
        Ok(listener) => Some(listener),
        Err(e) => {
            tracing::warn!(
                "TCP port {} can not be opened ({e}): browsers whose networks let no UDP through will not be heard",
                address.port()
            );
            None
        }
    }
}

fn failed(index: usize, why: &io::Error) -> StartError {
    StartError(format!("Media worker {index} can not be started: {why}."))
}

fn start_worker(
    index: usize,
    (poller, tcp): (Poller, TcpBrowsers),
    post: Arc<Post>,
    shared: Shared,
) -> Result<Handle, StartError> {
    let orders = Arc::new(Handover::new(limits::WORKER_COMMANDS));
    let taken = orders.clone();
    let tally = shared.tally.clone();
    let thread = std::thread::Builder::new()
        .name(format!("media-{index}"))
        .spawn(move || Worker::new(index, post, poller, tcp, taken, shared).run())
        .map_err(|e| failed(index, &e))?;
    Ok(Handle { orders, asleep: AtomicBool::new(false), tally, thread: Some(thread) })
}
