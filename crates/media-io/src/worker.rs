//! One worker thread: waits for its sockets, its command queue and its timers, and hands each to the call concerned.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token, Waker};
use types::Wall;
use webrtc_peer::PeerFactory;

use crate::browser::{Batch, BrowserSocket};
use crate::calls::{Calls, panic_words};
use crate::counters::{Tally, bump};
use crate::load::Load;
use crate::plane::{EntropyFactory, EventSender, MediaConfig};
use crate::ports::PortPool;
use crate::post::{Order, Post};

const WAKER: Token = Token(usize::MAX);
const BROWSER: Token = Token(usize::MAX - 1);

/// Most batches of the browser socket, packets of one RTP socket, and commands taken before others get their turn.
const BATCHES_AT_ONCE: usize = 8;
const PACKETS_AT_ONCE: usize = 64;
const ORDERS_AT_ONCE: usize = 256;
/// How soon a full event queue is tried again, and the channel of a leg that comes is looked at unasked.
const RETRY: Duration = Duration::from_millis(5);

/// What a worker gets at its start.
pub(crate) struct Shared {
    pub(crate) peers: PeerFactory,
    pub(crate) config: MediaConfig,
    pub(crate) pool: PortPool,
    pub(crate) entropy: EntropyFactory,
    pub(crate) events: EventSender,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) tally: Arc<Tally>,
}

/// The thread's state.
pub(crate) struct Worker {
    poll: Poll,
    orders: Receiver<Order>,
    calls: Calls,
    batch: Batch,
    packet: Vec<u8>,
    /// Sockets that were left before they were empty; edge-triggered polling will not name them again.
    unread: Vec<Token>,
    stopping: Arc<AtomicBool>,
    tally: Arc<Tally>,
    load: Load,
}

impl Worker {
    /// Worker number `index` of those in `post`; `poll` is what its [`listen`] made.
    pub(crate) fn new(
        index: usize,
        post: Arc<Post>,
        poll: Poll,
        orders: Receiver<Order>,
        shared: Shared,
    ) -> io::Result<Worker> {
        let batch = post.socket(index).batch();
        let (stopping, tally) = (shared.stopping.clone(), shared.tally.clone());
        let calls = Calls::new(index, post, poll.registry().try_clone()?, shared);
        let packet = vec![0; 2048];
        let load = Load::new(Instant::now());
        Ok(Worker { poll, orders, calls, batch, packet, unread: Vec::new(), stopping, tally, load })
    }

    /// Until told to stop. A defect outside a call ends all calls of this worker, and the worker.
    pub(crate) fn run(mut self) {
        let why = match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(Ok(())) => return,
            Ok(Err(e)) => format!("it can not wait for its sockets: {e}"),
            Err(panic) => panic_words(panic.as_ref()).to_owned(),
        };
        tracing::error!("a media worker ends with all its calls: {why}");
        self.tally.level.gone.store(true, Ordering::Release);
        self.tally.level.set_load(0.0);
        let Worker { orders, mut calls, stopping, .. } = self;
        drop(orders);
        if catch_unwind(AssertUnwindSafe(|| calls.abandon_all())).is_err() {
            tracing::error!("calls of that worker could not be ended cleanly");
        }
        while calls.has_unsent_events() && !stopping.load(Ordering::Acquire) {
            calls.send_events();
            std::thread::sleep(RETRY);
        }
    }

    fn work(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut ready: Vec<Token> = Vec::with_capacity(256);
        let (mut more_orders, mut more_mail) = (false, false);
        loop {
            let begun = Instant::now();
            let wait = self.wait(more_orders || more_mail, begun);
            if let Err(e) = self.poll.poll(&mut events, wait)
                && e.kind() != io::ErrorKind::Interrupted
            {
                return Err(e);
            }
            let now = Instant::now();
            self.calls.set_time(now, wall_clock());
            self.measure(now - begun, now);
            if self.stopping.load(Ordering::Acquire) {
                self.calls.close_all();
                return Ok(());
            }
            more_orders = self.take_orders();
            self.calls.take_arrivals();
            more_mail = self.calls.read_mail(more_mail);
            ready.clear();
            ready.append(&mut self.unread);
            for event in &events {
                if !ready.contains(&event.token()) {
                    ready.push(event.token());
                }
            }
            for token in &ready {
                self.read(*token);
            }
            self.calls.fire_timers();
            self.calls.send_events();
        }
    }

    fn wait(&self, more: bool, now: Instant) -> Option<Duration> {
        if more || !self.unread.is_empty() {
            return Some(Duration::ZERO);
        }
        let timers = [self.calls.next_timer(), self.load.poll_timeout()];
        let timer = timers.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        let waits = self.calls.has_unsent_events() || self.calls.has_expected();
        let retry = waits.then_some(RETRY);
        [timer, retry].into_iter().flatten().min()
    }

    fn measure(&mut self, waited: Duration, now: Instant) {
        self.load.handle_wait(waited);
        if let Some(load) = self.load.measure(now) {
            self.tally.level.set_load(load);
        }
    }

    /// True if the queue may have more.
    fn take_orders(&mut self) -> bool {
        for _ in 0..ORDERS_AT_ONCE {
            match self.orders.try_recv() {
                Ok(order) => self.calls.order(order),
                Err(_) => return false,
            }
        }
        true
    }

    fn read(&mut self, token: Token) {
        let more = match token {
            WAKER => false,
            BROWSER => self.read_browser(),
            Token(socket) => self.read_rtp(socket),
        };
        if more {
            self.unread.push(token);
        }
    }

    fn read_browser(&mut self) -> bool {
        for _ in 0..BATCHES_AT_ONCE {
            if let Err(e) = self.calls.browser().receive(&mut self.batch) {
                if e.kind() == io::ErrorKind::WouldBlock {
                    return false;
                }
                bump(&self.tally.socket_errors);
                continue;
            }
            let (bound, batch) = (self.calls.browser().bound(), &self.batch);
            for arrival in batch.arrivals(bound) {
                bump(&self.tally.browser_in);
                self.calls.browser_arrival(arrival);
            }
        }
        true
    }

    fn read_rtp(&mut self, socket: usize) -> bool {
        for _ in 0..PACKETS_AT_ONCE {
            // The call may have given the socket up after the packet before.
            let Some(received) = self.calls.receive_rtp(socket, &mut self.packet) else { return false };
            match received {
                Ok((len, source)) if len < self.packet.len() => {
                    bump(&self.tally.rtp_in);
                    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
                    self.calls.rtp_arrival(socket, source, &self.packet[..len]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                // Longer than any RTP of ours, or an ICMP error of an earlier send.
                Ok(_) | Err(_) => bump(&self.tally.socket_errors),
            }
        }
        true
    }
}

/// What a worker waits with: for its browser socket at first, and whatever wakes it.
pub(crate) fn listen(browser: &mut BrowserSocket) -> io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    poll.registry().register(&mut browser.socket, BROWSER, Interest::READABLE)?;
    Ok((poll, waker))
}

fn wall_clock() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
