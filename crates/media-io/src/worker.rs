//! One worker thread: waits for its sockets, its command queue and its timers, and hands each to the call concerned.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use media_bridge::effort::EffortControl;
use types::{Datagram, Handover, Wall};
use webrtc_peer::PeerFactory;

use crate::browser::{Batch, BrowserSocket, DATAGRAM};
use crate::calls::{Calls, panic_words};
use crate::counters::{Tally, bump};
use crate::load::Load;
use crate::pace::Pace;
use crate::plane::{EntropyFactory, EventSender, MediaConfig};
use crate::poll::{Poller, Ready, Token, Waker};
use crate::ports::PortPool;
use crate::post::{Order, Post};
use crate::tcp::TcpBrowsers;
use crate::urgency::Urgency;

/// Most batches of the browser socket and commands taken in one turn, before others get theirs. Of a leg's sockets one
/// packet each is taken: that is what they have, unless somebody floods them.
const BATCHES_AT_ONCE: usize = 8;
const ORDERS_AT_ONCE: usize = 256;
/// How soon a full event queue is tried again, and the channel of a leg that comes is looked at unasked.
const RETRY: Duration = Duration::from_millis(5);
/// How long timers wait at most for sockets to be read to their end.
const BEHIND: Duration = Duration::from_millis(100);

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
    poller: Poller,
    orders: Arc<Handover<Order>>,
    calls: Calls,
    batch: Batch,
    packet: Datagram,
    pace: Pace,
    /// Packets of this turn.
    packets: u32,
    left: Left,
    /// All that had come by then was read.
    caught_up: Instant,
    stopping: Arc<AtomicBool>,
    tally: Arc<Tally>,
    load: Load,
    urgency: Urgency,
    effort: EffortControl,
}

/// What may be left for the next turn.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Left {
    orders: bool,
    mail: bool,
    sockets: bool,
}

impl Worker {
    /// Worker number `index` of those in `post`; `poller` is what its [`listen`] made.
    pub(crate) fn new(
        index: usize,
        post: Arc<Post>,
        poller: Poller,
        tcp: TcpBrowsers,
        orders: Arc<Handover<Order>>,
        shared: Shared,
    ) -> Worker {
        let batch = Batch::new();
        let (stopping, tally) = (shared.stopping.clone(), shared.tally.clone());
        let calls = Calls::new(index, post, poller.clone(), tcp, shared);
        let packet = Datagram::new();
        let now = Instant::now();
        let (pace, load, left) = (Pace::new(now), Load::new(now), Left::default());
        let effort = EffortControl::default();
        let urgency = Urgency::Ordinary;
        Worker {
            poller,
            orders,
            calls,
            batch,
            packet,
            pace,
            packets: 0,
            left,
            caught_up: now,
            stopping,
            tally,
            load,
            urgency,
            effort,
        }
    }

    /// Until told to stop. A defect outside a call ends all calls of this worker, and the worker.
    pub(crate) fn run(mut self) {
        let why = match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(Ok(())) => return self.orders.close(),
            Ok(Err(e)) => format!("it can not wait for its sockets: {e}"),
            Err(panic) => panic_words(panic.as_ref()).to_owned(),
        };
        tracing::error!("a media worker ends with all its calls: {why}");
        self.tally.level.gone.store(true, Ordering::Release);
        self.tally.level.set_load(0.0);
        let Worker { orders, mut calls, stopping, .. } = self;
        orders.close();
        if catch_unwind(AssertUnwindSafe(|| calls.abandon_all())).is_err() {
            tracing::error!("calls of that worker could not be ended cleanly");
        }
        while calls.has_unsent_events() && !stopping.load(Ordering::Acquire) {
            calls.send_events();
            std::thread::sleep(RETRY);
        }
    }

    fn work(&mut self) -> io::Result<()> {
        self.urgency = Urgency::ask();
        if self.urgency == Urgency::Refused {
            tracing::info!(
                "no real-time scheduling for media: CAP_SYS_NICE or LimitRTPRIO=1 would permit it"
            );
        }
        let mut ready = Ready::new();
        while !self.stopping.load(Ordering::Acquire) {
            self.turn(&mut ready)?;
        }
        self.calls.close_all();
        Ok(())
    }

    /// Waits until there is something to do, and does it.
    fn turn(&mut self, ready: &mut Ready) -> io::Result<()> {
        let ended = Instant::now();
        let left = self.left != Left::default();
        let rest = if left { Duration::ZERO } else { self.pace.rest(ended) };
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        self.poller.wait(ready, self.wait(left, ended + rest))?;
        let now = Instant::now();
        self.pace.begin(now);
        self.calls.set_time(now, wall_clock());
        self.measure(now - ended, now);
        let orders = self.take_orders();
        self.calls.take_arrivals();
        let mail = self.calls.read_mail(self.left.mail);
        let sockets = self.read_all(ready);
        self.left = Left { orders, mail, sockets };
        if self.may_fire_timers(now) {
            self.calls.fire_timers();
        }
        self.calls.send_to_browsers();
        self.calls.send_ripe_events();
        self.pace.end(std::mem::take(&mut self.packets), Instant::now());
        Ok(())
    }

    /// What came while the worker was held up is heard before anything is made up in its place: that would cost the time
    /// which the worker lacks, and be heard instead. A flood keeps timers waiting no longer than [`BEHIND`].
    fn may_fire_timers(&mut self, now: Instant) -> bool {
        let behind = self.left.mail || self.left.sockets;
        if behind && now.saturating_duration_since(self.caught_up) < BEHIND {
            return false;
        }
        self.caught_up = now;
        true
    }

    fn wait(&self, left: bool, now: Instant) -> Option<Duration> {
        if left {
            return Some(Duration::ZERO);
        }
        let timers = [
            self.calls.next_timer(),
            self.load.poll_timeout(self.effort.is_reduced()),
            self.calls.events_at(now, RETRY),
            self.calls.has_expected().then_some(now + RETRY),
        ];
        timers.into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }

    fn measure(&mut self, waited: Duration, now: Instant) {
        self.load.handle_wait(waited);
        let Some(load) = self.load.measure(now) else { return };
        self.tally.level.set_load(load);
        self.urgency.handle_load(load);
        if let Some(effort) = self.effort.handle_load(load, now) {
            self.tally.level.set_effort(effort);
            self.calls.set_effort(effort);
        }
    }

    /// True if the queue may have more.
    fn take_orders(&mut self) -> bool {
        for _ in 0..ORDERS_AT_ONCE {
            match self.orders.take() {
                Some(order) => self.calls.order(order),
                None => return false,
            }
        }
        true
    }

    /// True if there may be more than the turn had room for.
    fn read_all(&mut self, ready: &Ready) -> bool {
        let mut more = ready.is_full();
        for token in ready.tokens() {
            match token {
                Token::Wake => {}
                Token::Browsers => more |= self.read_browser(),
                Token::TcpDoor => self.calls.accept_connections(),
                Token::Tcp(connection) => self.packets += self.calls.connection_ready(connection),
                Token::Leg(socket) => self.read_rtp(socket),
            }
        }
        more
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
            let (bound, batch) = (self.calls.browser().bound(), &mut self.batch);
            for arrival in batch.arrivals(bound) {
                bump(&self.tally.browser_in);
                self.packets += 1;
                if arrival.data.is_empty() || arrival.data.len() > DATAGRAM {
                    bump(&self.tally.wrong_size);
                } else {
                    self.calls.browser_arrival(arrival);
                }
            }
            if !self.batch.is_full() {
                return false;
            }
        }
        true
    }

    fn read_rtp(&mut self, socket: usize) {
        // The call may have given the socket up since it was named.
        let Some(received) = self.calls.receive_rtp(socket, &mut self.packet) else { return };
        match received {
            Ok(source) if self.packet.len() < Datagram::ROOM => {
                bump(&self.tally.rtp_in);
                self.packets += 1;
                let source = SocketAddr::new(source.ip().to_canonical(), source.port());
                self.calls.rtp_arrival(socket, source, &mut self.packet);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // Longer than any RTP of ours.
            Ok(_) => {
                bump(&self.tally.rtp_in);
                bump(&self.tally.wrong_size);
            }
            // An ICMP error of an earlier send.
            Err(_) => bump(&self.tally.socket_errors),
        }
    }
}

/// What a worker waits with: for its browser socket at first, and whatever wakes it.
pub(crate) fn listen(browser: &BrowserSocket) -> io::Result<(Poller, Waker)> {
    let poller = Poller::new()?;
    let waker = poller.waker()?;
    poller.add(&browser.socket, Token::Browsers)?;
    Ok((poller, waker))
}

fn wall_clock() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
