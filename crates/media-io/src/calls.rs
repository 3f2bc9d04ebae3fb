//! The calls of one worker: their sockets, their place in the demultiplexer and the timers, and what becomes of outputs.

mod moves;
mod tcp;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use media_bridge::call::{MediaCall, MediaSetup, Output, PortNeed};
use media_bridge::control::{CallCommand, CallEvent, Command, Event, LegParams, Refusal};
use media_bridge::effort::Effort;
use smallvec::SmallVec;
use types::{CallId, Datagram, LegId, Wall, limits};
use webrtc_peer::{Demux, Route, Transport};

use moves::Expected;

use crate::browser::{Arrival, BrowserSocket};
use crate::counters::bump;
use crate::outgoing::{Outgoing, Sent};
use crate::plane::{MediaConfig, Piece};
use crate::poll::{Poller, Token};
use crate::ports::{RtpSockets, is_own, source_towards};
use crate::post::{Lodging, Place, Post};
use crate::tcp::TcpBrowsers;
use crate::timers::Timers;
use crate::udp;
use crate::worker::Shared;

/// A leg of a call of this worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct LegKey {
    slot: usize,
    leg: LegId,
}

/// Whose the datagrams of a browser are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Owner {
    Here(LegKey),
    /// A leg that began here has gone to another worker.
    Away(Place),
}

struct RtpLeg {
    key: LegKey,
    sockets: RtpSockets,
}

/// Where a pair of sockets is.
#[derive(Clone, Copy)]
struct RtpPlace {
    leg: LegId,
    ipv4: bool,
    index: usize,
}

/// How long statistics wait for others to go with.
const GATHERED: Duration = Duration::from_millis(100);
/// Why a browser's leg is lost whose credentials can not be told from others.
const NO_ROOM: &str = "the media worker has no room for another browser";

struct Entry {
    call: MediaCall,
    id: CallId,
    /// RTP legs and where their sockets are; a leg has at most one pair of each address family.
    rtp: SmallVec<[RtpPlace; 2]>,
    /// Browser legs that a demultiplexer knows; those that began on another worker lodge there.
    browsers: Vec<(LegId, Option<Lodging>)>,
}

/// What a call is after it was let do something.
enum Outcome {
    Alive { wake_at: Option<Instant> },
    Closed,
}

/// All calls of the worker, with everything that they act upon.
pub(crate) struct Calls {
    shared: Shared,
    setup: Arc<MediaSetup>,
    poller: Poller,
    post: Arc<Post>,
    /// Which one we are.
    worker: usize,
    demux: Demux<Owner>,
    slots: Vec<Option<Box<Entry>>>,
    free_slots: Vec<usize>,
    by_id: HashMap<CallId, usize>,
    sockets: Vec<Option<RtpLeg>>,
    free_sockets: Vec<usize>,
    /// Legs that come from other calls.
    expected: Vec<Expected>,
    timers: Timers,
    /// Of all encoders.
    effort: Effort,
    /// To browsers, at the end of the turn.
    outgoing: Outgoing,
    /// Browsers that come by TCP.
    tcp: TcpBrowsers,
    unsent: VecDeque<CallEvent>,
    /// Until when nothing but statistics may wait for more; none: there is something that may not.
    gathers_until: Option<Instant>,
    /// Events of an earlier turn found the queue full.
    behind: bool,
    /// What calls that were handed no datagram are polled with.
    buf: Datagram,
    now: Instant,
    wall: Wall,
}

impl Calls {
    pub(crate) fn new(
        worker: usize,
        post: Arc<Post>,
        poller: Poller,
        tcp: TcpBrowsers,
        shared: Shared,
    ) -> Calls {
        let browser = post.socket(worker);
        // An IPv4 socket is not reached at an IPv6 address; one on `::` is reached at both.
        let reached = |ip: &&IpAddr| ip.is_ipv4() || browser.bound().is_ipv6();
        let offered = shared.config.candidates.iter().filter(reached);
        let candidates: Vec<SocketAddr> = offered.map(|ip| SocketAddr::new(*ip, browser.port())).collect();
        let doors = if tcp.listens() { candidates.clone() } else { Vec::new() };
        let outgoing = Outgoing::new(browser.bound());
        let setup = Arc::new(MediaSetup {
            peers: shared.peers.clone(),
            candidates,
            tcp: doors,
            sounds: shared.config.sounds.clone(),
        });
        Calls {
            shared,
            setup,
            poller,
            post,
            worker,
            demux: Demux::default(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            by_id: HashMap::new(),
            sockets: Vec::new(),
            free_sockets: Vec::new(),
            expected: Vec::new(),
            timers: Timers::default(),
            effort: Effort::default(),
            outgoing,
            tcp,
            unsent: VecDeque::new(),
            gathers_until: None,
            behind: false,
            buf: Datagram::new(),
            now: Instant::now(),
            wall: Wall::default(),
        }
    }

    pub(crate) fn set_time(&mut self, now: Instant, wall: Wall) {
        (self.now, self.wall) = (now, wall);
    }

    pub(crate) fn browser(&self) -> &BrowserSocket {
        self.post.socket(self.worker)
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        [self.timers.next(), self.tcp.poll_timeout()].into_iter().flatten().min()
    }

    fn command(&mut self, CallCommand { call, command }: CallCommand) {
        let slot = match self.by_id.get(&call) {
            Some(slot) => *slot,
            None => match &command {
                Command::Answer { .. } | Command::Offer { .. } => self.open_call(call),
                Command::SetAnswer { leg, .. } => {
                    let event = Event::Refused { leg: *leg, why: Refusal::Unknown };
                    return self.emit(CallEvent { call, event });
                }
                Command::Close => return self.emit(CallEvent { call, event: Event::Closed }),
                Command::SetSource { .. }
                | Command::SendDtmf { .. }
                | Command::Play { .. }
                | Command::Record { .. }
                | Command::EndRecording
                | Command::Pressed { .. }
                | Command::Adopt { .. }
                | Command::Remove { .. } => return,
            },
        };
        match self.lease_for(slot, command) {
            Ok((command, rtp_local)) => {
                self.with_call(slot, |call, now, wall| call.handle_command(command, rtp_local, now, wall));
            }
            Err((leg, why)) => self.emit(CallEvent { call, event: Event::Refused { leg, why } }),
        }
    }

    /// False if it is no session's.
    pub(crate) fn browser_arrival(&mut self, arrival: Arrival<'_>) -> bool {
        let LegKey { slot, leg } = match self.demux.lookup(arrival.route.far(), arrival.data) {
            Some(Owner::Here(key)) => key,
            Some(Owner::Away(place)) => {
                bump(&self.shared.tally.passed_on);
                self.post.pass_on(place, arrival);
                return true;
            }
            None => {
                bump(&self.shared.tally.browser_unknown);
                return false;
            }
        };
        let Arrival { route, data } = arrival;
        self.with_datagram(slot, data, |call, data, now, wall| {
            call.handle_browser(leg, route, data, now, wall);
        });
        true
    }

    /// Reads one datagram of an RTP or RTCP socket; none if the socket is gone.
    pub(crate) fn receive_rtp(&self, socket: usize, data: &mut Datagram) -> Option<io::Result<SocketAddr>> {
        let sockets = &self.sockets.get(socket / 2)?.as_ref()?.sockets;
        let socket = if is_rtcp(socket) { &sockets.rtcp } else { &sockets.rtp };
        Some(udp::receive(socket, data.room()).map(|(length, source)| {
            data.received(length);
            source
        }))
    }

    pub(crate) fn rtp_arrival(&mut self, socket: usize, source: SocketAddr, data: &mut Datagram) {
        let Some(Some(RtpLeg { key: LegKey { slot, leg }, .. })) = self.sockets.get(socket / 2) else {
            return;
        };
        let (slot, leg) = (*slot, *leg);
        self.with_datagram(slot, data, |call, data, now, wall| {
            if is_rtcp(socket) {
                call.handle_rtcp(leg, source, data, now, wall);
            } else {
                call.handle_rtp(leg, source, data, now, wall);
            }
        });
    }

    pub(crate) fn fire_timers(&mut self) {
        self.sweep_connections();
        while let Some(slot) = self.timers.take_due(self.now) {
            self.with_call(slot, |call, now, wall| {
                if call.poll_timeout().is_some_and(|at| at <= now) {
                    call.handle_timeout(now, wall);
                }
            });
        }
    }

    pub(crate) fn close_all(&mut self) {
        for slot in 0..self.slots.len() {
            self.with_call(slot, |call, now, wall| call.handle_command(Command::Close, None, now, wall));
        }
        self.send_to_browsers();
        self.send_events();
    }

    /// This worker ends by a defect, and every call of it.
    pub(crate) fn abandon_all(&mut self) {
        for slot in 0..self.slots.len() {
            if let Some(entry) = self.slots.get_mut(slot).and_then(Option::take) {
                self.crashed(slot, entry);
            }
        }
    }

    /// A defect ended this call.
    fn crashed(&mut self, slot: usize, entry: Box<Entry>) {
        let call = entry.id;
        bump(&self.shared.tally.crashed);
        self.forget(slot, entry);
        self.emit(CallEvent { call, event: Event::Crashed });
        self.emit(CallEvent { call, event: Event::Closed });
    }

    /// How much work encoders may take from now on.
    pub(crate) fn set_effort(&mut self, effort: Effort) {
        self.effort = effort;
        for slot in 0..self.slots.len() {
            self.with_call(slot, |call, _, _| call.set_effort(effort));
        }
    }

    pub(crate) fn has_unsent_events(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// When events are to be handed over, if there are any. Those that found no room are tried again `retry` later.
    pub(crate) fn events_at(&self, now: Instant, retry: Duration) -> Option<Instant> {
        let soon = now + retry;
        (!self.unsent.is_empty()).then(|| self.gathers_until.filter(|_| !self.behind).unwrap_or(soon))
    }

    /// Hands over the events of this turn unless they can wait: waking signalling costs more than what it does with one.
    pub(crate) fn send_ripe_events(&mut self) {
        if self.gathers_until.is_none_or(|until| until <= self.now) {
            self.send_events();
        }
    }

    /// Hands over the events of this turn, and those that found the queue full before, in order.
    pub(crate) fn send_events(&mut self) {
        if !self.unsent.is_empty() {
            (self.shared.events)(&mut self.unsent);
        }
        self.behind = !self.unsent.is_empty();
        self.gathers_until = None;
    }

    fn open_call(&mut self, id: CallId) -> usize {
        let mut call = MediaCall::new(id, self.setup.clone(), (self.shared.entropy)());
        call.set_effort(self.effort);
        let entry = Box::new(Entry { call, id, rtp: SmallVec::new(), browsers: Vec::new() });
        let slot = self.free_slots.pop().unwrap_or(self.slots.len());
        put(&mut self.slots, slot, entry);
        self.by_id.insert(id, slot);
        self.shared.tally.calls.fetch_add(1, Ordering::Relaxed);
        slot
    }

    /// A new RTP leg needs its port before the call can write the description. The error says which leg is refused, and why.
    fn lease_for(
        &mut self,
        slot: usize,
        mut command: Command,
    ) -> Result<(Command, Option<SocketAddr>), (LegId, Refusal)> {
        let entry = self.slots.get(slot).and_then(Option::as_ref);
        let need = entry.and_then(|entry| entry.call.needs_port(&command));
        let leased = match (need, &mut command) {
            (None, _) => return Ok((command, None)),
            (Some(PortNeed::OtherFamily { leg, peer }), _) => {
                let key = LegKey { slot, leg };
                towards(peer).and_then(|local| self.open_rtp(key, local)).map_err(|why| (leg, why))
            }
            (
                Some(PortNeed::First { peer }),
                Command::Answer { leg, params, .. } | Command::Offer { leg, params },
            ) => {
                let (leg, config) = (*leg, &self.shared.config);
                let local = local_address(config, params, peer).map_err(|why| (leg, why))?;
                if params.advertise.like(local).is_none() && !local.is_loopback() {
                    params.advertise = config.advertise;
                }
                // Audio must come from where the description says and be heard there, if that is this host's.
                let bind = params.advertise.like(local).filter(|ip| is_own(*ip)).unwrap_or(local);
                self.open_rtp(LegKey { slot, leg }, bind).map_err(|why| (leg, why))
            }
            (Some(PortNeed::First { .. }), _) => return Ok((command, None)),
        };
        leased.map(|address| (command, Some(address)))
    }

    fn open_rtp(&mut self, key: LegKey, local: IpAddr) -> Result<SocketAddr, Refusal> {
        let sockets = self.shared.pool.lease(local);
        let opened = sockets.and_then(|sockets| {
            let address = sockets.address;
            self.watch(key, sockets).map(|()| address)
        });
        opened.map_err(|words| {
            bump(&self.shared.tally.no_port);
            Refusal::NoPort(words)
        })
    }

    /// Reads a leg's sockets from now on.
    fn watch(&mut self, key: LegKey, sockets: RtpSockets) -> Result<(), String> {
        let ipv4 = sockets.address.is_ipv4();
        let index = self.free_sockets.pop().unwrap_or(self.sockets.len());
        let listen = |socket: &UdpSocket, number| self.poller.add(socket, Token::Leg(number));
        let done = listen(&sockets.rtp, index * 2).and_then(|()| listen(&sockets.rtcp, index * 2 + 1));
        // A place without sockets, if that failed.
        put(&mut self.sockets, index, RtpLeg { key, sockets });
        if let Err(e) = done {
            self.close_rtp(index);
            return Err(format!("An RTP port could not be watched: {e}."));
        }
        if let Some(Some(entry)) = self.slots.get_mut(key.slot) {
            entry.rtp.push(RtpPlace { leg: key.leg, ipv4, index });
        }
        Ok(())
    }

    /// Lets a call do something and carries out what it wants.
    fn with_call(&mut self, slot: usize, act: impl FnOnce(&mut MediaCall, Instant, Wall)) {
        let mut buf = std::mem::take(&mut self.buf);
        self.with_datagram(slot, &mut buf, |call, _, now, wall| act(call, now, wall));
        self.buf = buf;
    }

    /// The same with a datagram, which the call may send on as it lies. A panic in it ends that call alone.
    fn with_datagram(
        &mut self,
        slot: usize,
        data: &mut Datagram,
        act: impl FnOnce(&mut MediaCall, &mut Datagram, Instant, Wall),
    ) {
        let Some(mut entry) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        let (now, wall) = (self.now, self.wall);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            act(&mut entry.call, data, now, wall);
            self.carry_out(slot, &mut entry, data)
        }));
        match outcome {
            Ok(Outcome::Alive { wake_at }) => {
                self.timers.arm(slot, wake_at);
                self.slots[slot] = Some(entry);
            }
            Ok(Outcome::Closed) => {
                let call = entry.id;
                self.forget(slot, entry);
                self.emit(CallEvent { call, event: Event::Closed });
            }
            Err(panic) => {
                let words = panic_words(panic.as_ref());
                tracing::error!("{}: its media ended by a defect: {words}", entry.id);
                self.crashed(slot, entry);
            }
        }
    }

    fn carry_out(&mut self, slot: usize, entry: &mut Entry, buf: &mut Datagram) -> Outcome {
        let mut closed = false;
        while let Some(output) = entry.call.poll_output(buf) {
            match output {
                Output::Rtp { leg, to } => self.send_rtp(entry, leg, (to, buf), |s| &s.rtp),
                Output::Rtcp { leg, to } => self.send_rtp(entry, leg, (to, buf), |s| &s.rtcp),
                Output::Browser { leg: _, route } => self.send_browser(route, buf),
                Output::AcceptUfrag { leg, ufrag, password } => {
                    self.accept_ufrag(LegKey { slot, leg }, entry, (ufrag, password));
                }
                Output::ReleaseLeg { leg } => self.release_leg(slot, entry, leg),
                Output::Recorded { recording, number } => {
                    let frame = Piece::Frame { number, bytes: buf };
                    self.shared.config.recordings.take((entry.id, recording), frame);
                }
                Output::RecordingOver(recording) => {
                    self.shared.config.recordings.take((entry.id, recording), Piece::Over);
                }
                Output::Event(Event::Closed) => closed = true,
                Output::Event(event) => {
                    if matches!(event, Event::Stats { .. }) {
                        self.shared.tally.dropped(&entry.call.take_drops());
                    }
                    self.emit(CallEvent { call: entry.id, event });
                }
            }
        }
        if closed { Outcome::Closed } else { Outcome::Alive { wake_at: entry.call.poll_timeout() } }
    }

    fn send_rtp(
        &self,
        entry: &Entry,
        leg: LegId,
        (to, data): (SocketAddr, &[u8]),
        which: fn(&RtpSockets) -> &UdpSocket,
    ) {
        let place = entry.rtp.iter().find(|place| place.leg == leg && place.ipv4 == to.is_ipv4());
        let Some(Some(rtp)) = place.and_then(|place| self.sockets.get(place.index)) else { return };
        match udp::send(which(&rtp.sockets), data, to) {
            Ok(()) => bump(&self.shared.tally.rtp_out),
            Err(_) => bump(&self.shared.tally.socket_errors),
        }
    }

    fn send_browser(&mut self, route: Route, data: &mut Datagram) {
        match route.transport {
            Transport::Udp => {
                if self.outgoing.must_leave_before(route.local) {
                    self.send_to_browsers();
                }
                self.outgoing.push(route.local, route.remote, data);
            }
            Transport::Tcp => self.send_by_connection(route, data),
        }
    }

    /// What the turn had for browsers leaves.
    pub(crate) fn send_to_browsers(&mut self) {
        let socket = self.post.socket_at(self.outgoing.from(), self.worker);
        let Sent { sent, refused } = self.outgoing.send(socket);
        self.shared.tally.browser_out.fetch_add(sent, Ordering::Relaxed);
        self.shared.tally.socket_errors.fetch_add(refused, Ordering::Relaxed);
    }

    fn accept_ufrag(&mut self, key: LegKey, entry: &mut Entry, (ufrag, password): (String, String)) {
        let known = entry.browsers.iter().find(|(l, _)| *l == key.leg);
        if let Some((_, Some(lodging))) = known {
            return lodging.accept(ufrag, password);
        }
        if !self.demux.insert_ufrag(&ufrag, &password, Owner::Here(key)) {
            tracing::error!("{} {}: no room for another browser session on this worker", entry.id, key.leg);
            let event = Event::Lost { leg: key.leg, why: NO_ROOM.to_owned() };
            return self.emit(CallEvent { call: entry.id, event });
        }
        if known.is_none() {
            entry.browsers.push((key.leg, None));
        }
    }

    fn release_leg(&mut self, slot: usize, entry: &mut Entry, leg: LegId) {
        self.demux.remove(Owner::Here(LegKey { slot, leg }));
        entry.browsers.retain(|(l, _)| *l != leg);
        entry.rtp.retain(|place| {
            let goes = place.leg == leg;
            if goes {
                self.close_rtp(place.index);
            }
            !goes
        });
    }

    fn close_rtp(&mut self, index: usize) {
        drop(self.unwatch(index));
    }

    fn unwatch(&mut self, index: usize) -> Option<RtpSockets> {
        let RtpLeg { sockets, .. } = self.sockets.get_mut(index).and_then(Option::take)?;
        // Closing a socket takes it out of the poll as well; an error here changes nothing.
        let _ = self.poller.remove(&sockets.rtp);
        let _ = self.poller.remove(&sockets.rtcp);
        self.free_sockets.push(index);
        Some(sockets)
    }

    /// Returns everything that the call had.
    fn forget(&mut self, slot: usize, mut entry: Box<Entry>) {
        while let Some(place) = entry.rtp.pop() {
            self.close_rtp(place.index);
        }
        for (leg, _) in std::mem::take(&mut entry.browsers) {
            self.demux.remove(Owner::Here(LegKey { slot, leg }));
        }
        self.expected.retain(|e| !e.is_of(entry.id));
        self.timers.disarm(slot);
        self.by_id.remove(&entry.id);
        self.free_slots.push(slot);
        self.shared.tally.calls.fetch_sub(1, Ordering::Relaxed);
        // A call that panicked may panic again while it is dropped.
        if catch_unwind(AssertUnwindSafe(|| drop(entry))).is_err() {
            tracing::error!("a call's media could not be dropped cleanly");
        }
    }

    /// Never waits: sent when the turn is over. Statistics are given up when the queue is full, other events wait here, up
    /// to the bound.
    fn emit(&mut self, event: CallEvent) {
        let is_statistics = matches!(event.event, Event::Stats { .. });
        if (is_statistics && self.behind) || self.unsent.len() >= limits::WORKER_EVENTS {
            bump(&self.shared.tally.events_lost);
            return;
        }
        if !is_statistics {
            self.gathers_until = None;
        } else if self.unsent.is_empty() {
            self.gathers_until = Some(self.now + GATHERED);
        }
        self.unsent.push_back(event);
    }
}

/// The address that a new RTP leg has: that on which signalling came, else the configured one, else the host's best; of
/// the peer's address family where that is known (RFC 6157 §4).
fn local_address(config: &MediaConfig, params: &LegParams, peer: Option<IpAddr>) -> Result<IpAddr, Refusal> {
    let wanted = peer.or(params.local).or(params.remote);
    let fits = |ip: &IpAddr| !ip.is_unspecified() && wanted.is_none_or(|w| w.is_ipv4() == ip.is_ipv4());
    let known = params.local.filter(fits).or(Some(config.rtp_bind).filter(fits));
    match (known, peer) {
        (Some(ip), _) => Ok(ip),
        (None, Some(peer)) => towards(peer),
        (None, None) => {
            let routed = params.remote.and_then(|ip| source_towards(ip).ok());
            let best = || config.candidates.iter().copied().find(fits);
            Ok(routed.or_else(best).unwrap_or(Ipv4Addr::LOCALHOST.into()))
        }
    }
}

/// Our address from which `peer` is reached.
fn towards(peer: IpAddr) -> Result<IpAddr, Refusal> {
    source_towards(peer).map_err(|_| {
        let family = if peer.is_ipv4() { "IPv4" } else { "IPv6" };
        Refusal::Unusable(format!("its media is at an {family} address, and this machine has no way there"))
    })
}

/// Puts `value` into a free place, or the next new one.
fn put<T>(places: &mut Vec<Option<T>>, index: usize, value: T) {
    if places.len() <= index {
        places.resize_with(index + 1, || None);
    }
    places[index] = Some(value);
}

/// Sockets are numbered by leg: RTP even, its RTCP the next.
fn is_rtcp(socket: usize) -> bool {
    socket % 2 == 1
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown panic")
}
