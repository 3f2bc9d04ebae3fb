//! One simulation: everything that happens, in the order of virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use b2bua::{CallStage, CloseWhy, Output, Screen, SignalIn, Switch};
use media_bridge::control::{CallCommand, CallEvent, Command as Media, Event as MediaEvent, Srtp};
use sip_ua::message::Message;
use sip_ua::{
    ConnectionId, Endpoint, EndpointConfig, Flow, Listener, Output as EndpointOutput, Target, Transport,
};
use types::{EndReason, SessionId, Wall, WorkerId};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

use crate::browser::Browser;
use crate::fault::{Fault, Saboteur, Tampered};
use crate::names;
use crate::network::{Network, Packet, STREAM_DELAY};
use crate::party::{Act, Party, gateway};
use crate::plane::Plane;
use crate::rng::Rng;
use crate::room::{Level, Room};
use crate::traffic;
use crate::watch::{Glance, Violation, Watch};

/// Steps that a run has at least before it is drained.
pub const STEPS: u64 = 2_000;
/// Calls that a run has at least before it is drained.
pub const CALLS: usize = 20;
/// Virtual time in which calls must come to an end by themselves: ringing, closing, and the media plane's answers.
const EBB: Duration = Duration::from_secs(200);
/// Virtual time for calls to begin before the gateway drains, and for people to come with new ones meanwhile.
const BEFORE_DRAIN: Duration = Duration::from_secs(3);
const DRAIN: Duration = Duration::from_secs(15);
/// After a transfer both parties may be one phone; if its connection breaks, both goodbyes are lost, and only the session
/// timer notices (RFC 4028 §10).
const SESSION: Duration = Duration::from_secs(1_900);
/// Virtual time in which transactions and dialogs die out after the last word (RFC 3261 §17: 64*T1, some of them in
/// sequence).
const SILENCE: Duration = Duration::from_secs(200);
/// One way of a browser's connection, which keeps its order.
const WEBSOCKET: Duration = Duration::from_millis(5);

/// What a run was.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Things that happened, the draining included.
    pub steps: u64,
    /// Calls, each with its record.
    pub calls: usize,
    /// Calls that were answered.
    pub answered: usize,
    /// Everything that was done to and by the switch, by name.
    pub operations: BTreeSet<&'static str>,
    /// Reasons of ends.
    pub reasons: BTreeSet<&'static str>,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams lost.
    pub lost: u64,
    /// Datagrams duplicated.
    pub duplicated: u64,
    /// What a browser complained about.
    pub(crate) trouble: Option<String>,
    /// The fault, if any was asked for, was done.
    pub struck: bool,
}

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum What {
    ToGateway(Packet),
    ToParty(usize, Packet),
    Act(usize, Act),
    /// A person does something; it is on its way then.
    Says(usize, SessionId, FromBrowser),
    Signal(SessionId, SignalIn),
    ToBrowser(SessionId, ToBrowser),
    Media(CallEvent),
    /// A phone that lost its connection comes back.
    Register(usize),
    /// The workers have so much to do.
    Load(Level),
    /// Somebody wants something new.
    Intent,
}

impl What {
    /// Somebody wants a new call, not one for a call that runs.
    fn asks_for_call(&self) -> bool {
        match self {
            What::ToGateway(packet) => packet.bytes.starts_with(b"INVITE "),
            What::Signal(_, SignalIn::Message(message)) => matches!(message, FromBrowser::Call { .. }),
            What::Signal(..)
            | What::ToParty(..)
            | What::Act(..)
            | What::Says(..)
            | What::ToBrowser(..)
            | What::Media(_)
            | What::Load(_)
            | What::Register(_)
            | What::Intent => false,
        }
    }
}

pub(crate) struct World {
    pub start: Instant,
    pub now: Instant,
    pub rng: Rng,
    pub switch: Switch,
    pub endpoint: Endpoint,
    pub parties: Vec<Party>,
    pub browsers: Vec<Browser>,
    pub plane: Plane,
    pub network: Network,
    pub summary: Summary,
    watch: Watch,
    room: Room,
    saboteur: Saboteur,
    queue: BTreeMap<(Instant, u64), What>,
    next: u64,
    next_connection: u64,
    pub next_session: u64,
    media_at: BTreeMap<WorkerId, Instant>,
    /// In this run peers may say nothing at all.
    pub silence: bool,
    /// Branches of INVITEs that a proxy behind the first carrier has given to the second as well.
    forked: BTreeSet<String>,
}

/// Plays one seed. `start` is any instant; `fault` is done once somewhere in the middle.
///
/// # Errors
/// The first invariant that does not hold.
pub fn run(seed: u64, start: Instant, fault: Option<Fault>) -> Result<Summary, Violation> {
    let mut world = World::new(seed, start, fault);
    let result = world.play(seed);
    result.map_err(|what| Violation { step: world.summary.steps, at: world.now - start, what })?;
    let summary = &mut world.summary;
    summary.calls = world.watch.calls();
    summary.struck = world.saboteur.struck();
    (summary.sent, summary.lost) = (world.network.sent, world.network.lost);
    summary.duplicated = world.network.duplicated;
    Ok(world.summary)
}

impl World {
    fn new(seed: u64, start: Instant, fault: Option<Fault>) -> World {
        let mut rng = Rng::new(seed);
        let listeners = [Transport::Udp, Transport::Tcp]
            .map(|transport| Listener { transport, local: gateway(), advertise: None })
            .to_vec();
        let config = EndpointConfig { user_agent: "webtrunk".into(), listeners };
        let switch = traffic::config();
        let rules = traffic::rules(&switch);
        let parties = traffic::parties(&mut rng);
        let browsers = traffic::browsers(&mut rng);
        World {
            start,
            now: start,
            switch: Switch::new(switch, Box::new(rng.split())),
            endpoint: Endpoint::new(config, Box::new(rng.split())),
            plane: Plane::new(rules, rng.split()),
            network: Network::new(rng.split()),
            parties,
            browsers,
            rng,
            summary: Summary::default(),
            watch: Watch::default(),
            room: Room::default(),
            saboteur: Saboteur::new(fault),
            queue: BTreeMap::new(),
            next: 0,
            next_connection: 0,
            next_session: 0,
            media_at: BTreeMap::new(),
            silence: false,
            forked: BTreeSet::new(),
        }
    }

    fn play(&mut self, seed: u64) -> Result<(), String> {
        traffic::begin(self);
        self.later(Duration::ZERO, What::Intent);
        self.pump()?;
        while self.summary.steps < STEPS || self.watch.calls() < CALLS {
            if !self.step()? {
                return Err("nothing happens any more".into());
            }
        }
        if seed.is_multiple_of(4) {
            traffic::calls_to_nobody(self);
            self.pump()?;
            self.until(self.now + BEFORE_DRAIN)?;
            self.drain();
            self.until(self.now + DRAIN)?;
        }
        self.queue.retain(|_, what| !matches!(what, What::Intent));
        match seed % 4 {
            // Calls end as they come to their end, by people and by timers.
            0 => {}
            1 => traffic::calls_to_nobody(self),
            2 => traffic::everyone_leaves(self),
            _ => self.shut_down(),
        }
        self.pump()?;
        self.until(self.now + EBB)?;
        let silent = self.switch.calls().all(|(_, stage)| stage == CallStage::Talking);
        if silent && self.switch.calls().count() != 0 {
            self.until(self.now + SESSION)?;
        }
        if self.switch.calls().count() != 0 {
            return Err(format!(
                "{} calls are left {EBB:?} after the last began",
                self.switch.calls().count()
            ));
        }
        self.shut_down();
        traffic::everyone_goes_home(self);
        self.pump()?;
        self.until(self.now + SILENCE)?;
        self.drained()
    }

    /// The gateway is to end once its calls have.
    fn drain(&mut self) {
        self.note("in:drain");
        self.room.draining = true;
        if self.saboteur.hastens_drain() {
            self.switch.shut_down(self.now, self.wall());
        } else if !self.saboteur.mutes_drain() {
            self.switch.drain();
        }
    }

    /// News of the workers.
    pub fn tell_loads(&mut self, level: Level) {
        self.note(level.name());
        let loads = self.room.draw(level, &mut self.rng);
        if level == Level::OneGone {
            self.plane.dies(WorkerId(1));
        }
        if !self.saboteur.mutes(&self.room) {
            self.switch.handle_loads(loads, self.now, self.wall());
        }
    }

    fn shut_down(&mut self) {
        self.note("in:shut-down");
        self.room.stopping = true;
        self.switch.shut_down(self.now, self.wall());
    }

    /// Everything must be gone.
    fn drained(&self) -> Result<(), String> {
        // A phone whose last word was lost stays registered for its time.
        let registered = self.switch.registrar().iter().next().is_some();
        let mut left = vec![
            ("calls", self.switch.calls().count()),
            ("gateway transactions", self.endpoint.transactions()),
            ("gateway dialogs", self.endpoint.dialogs()),
            ("gateway registrations", self.endpoint.registrations()),
            ("media leases", self.plane.leases()),
            ("gateway timers", usize::from(self.endpoint.poll_timeout().is_some())),
            ("switch timers", usize::from(self.switch.poll_timeout().is_some() && !registered)),
        ];
        for party in &self.parties {
            left.push(("party calls", party.legs()));
            left.push(("party dialogs", party.endpoint.dialogs()));
            left.push(("party transactions", party.endpoint.transactions()));
        }
        left.extend(self.browsers.iter().map(|b| ("browser calls", b.calls())));
        left.retain(|(_, n)| *n != 0);
        if left.is_empty() { Ok(()) } else { Err(format!("left after all was drained: {left:?}")) }
    }

    pub fn wall(&self) -> Wall {
        Wall(1_800_000_000_000_000).plus(self.now - self.start)
    }

    pub fn note(&mut self, operation: &'static str) {
        self.summary.operations.insert(operation);
    }

    pub fn later(&mut self, after: Duration, what: What) {
        self.at(self.now + after, what);
    }

    fn at(&mut self, at: Instant, what: What) {
        self.queue.insert((at, self.next), what);
        self.next += 1;
    }

    fn until(&mut self, end: Instant) -> Result<(), String> {
        while self.due().is_some_and(|at| at <= end) {
            self.step()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        let queue = self.queue.keys().next().map(|(at, _)| *at);
        let parties = self.parties.iter().filter_map(|p| p.endpoint.poll_timeout()).min();
        [queue, self.switch_due(), self.endpoint.poll_timeout(), parties].into_iter().flatten().min()
    }

    fn switch_due(&self) -> Option<Instant> {
        if self.saboteur.timers_are_lost() { None } else { self.switch.poll_timeout() }
    }

    /// The next thing happens. False: there is none.
    fn step(&mut self) -> Result<bool, String> {
        let Some(at) = self.due() else { return Ok(false) };
        self.now = self.now.max(at);
        self.summary.steps += 1;
        let (now, wall) = (self.now, self.wall());
        let mut asked = false;
        if let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= now) {
            let what = entry.remove();
            asked = what.asks_for_call();
            self.happens(what);
        } else if self.switch_due().is_some_and(|at| at <= now) {
            if !self.saboteur.loses_timer() {
                self.switch.handle_timeout(now, wall);
            }
        } else if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now, wall);
        } else {
            for party in &mut self.parties {
                if party.endpoint.poll_timeout().is_some_and(|at| at <= now) {
                    party.endpoint.handle_timeout(now, wall);
                }
            }
        }
        self.pump()?;
        self.watch.check(&self.switch, self.now)?;
        self.room.check(&self.switch, &self.plane, self.watch.calls(), asked)?;
        self.check_flows()?;
        for (call, stage) in self.switch.calls() {
            if stage == CallStage::Talking {
                self.plane.check_hold(call)?;
                self.plane.check_codecs(call)?;
            }
        }
        self.summary.operations.extend(self.plane.notes.drain(..).chain(self.room.turned_away()));
        Ok(true)
    }

    /// As the gateway's shell does: the switch says who is looked at.
    fn arrives(&mut self, packet: Packet) {
        let (now, wall) = (self.now, self.wall());
        let parsed = Message::parse(packet.bytes.to_vec());
        let known = |request: &Message| self.endpoint.recognises(request);
        match (self.switch.screen(&packet.flow, &parsed, known, now, wall), &parsed) {
            (Screen::Admit, _) => self.endpoint.handle_parsed(packet.flow, parsed, now),
            (Screen::Refuse(verdict), Ok(request)) => self.endpoint.refuse(&packet.flow, request, &verdict),
            (Screen::Refuse(_), Err(_)) | (Screen::Drop, _) => {}
        }
    }

    fn happens(&mut self, what: What) {
        let (now, wall) = (self.now, self.wall());
        match what {
            What::ToGateway(packet) => {
                if self.connected(&packet.flow) {
                    self.watch.arrives(&packet.bytes);
                    self.arrives(packet);
                }
            }
            What::ToParty(index, packet) => {
                let party = &mut self.parties[index];
                if packet.flow.connection == party.connection {
                    party.endpoint.handle_message(packet.flow, packet.bytes.to_vec(), now, wall);
                }
            }
            What::Act(party, act) => self.parties[party].act(act, now),
            What::Says(index, session, message) => {
                let browser = &mut self.browsers[index];
                if browser.session == session && browser.may_say(&message) {
                    self.later(WEBSOCKET, What::Signal(session, SignalIn::Message(message)));
                }
            }
            What::Signal(session, input) => {
                self.note(names::of_signal(&input));
                self.switch.handle_signal(session, input, now, wall);
            }
            What::ToBrowser(session, message) => {
                self.note(names::of_said(&message));
                if let Some(browser) = self.browsers.iter_mut().find(|b| b.session == session && b.connected)
                {
                    self.summary.trouble = browser.hears(message).err().or(self.summary.trouble.take());
                }
            }
            What::Media(event) => {
                // Answers may cross a Remove or Close; a connection that was never made may not.
                let made = if let MediaEvent::Connected { leg } = event.event {
                    self.plane.has(event.call, leg)
                } else {
                    true
                };
                if made && !self.saboteur.swallows(&event) {
                    self.note(names::of_media(&event.event));
                    self.plane.tells(&event);
                    self.switch.handle_media(event, now, wall);
                }
            }
            What::Load(level) => traffic::load(self, level),
            What::Register(index) => self.parties[index].register(now),
            What::Intent => {
                traffic::intent(self);
                let pause = self.rng.millis(20, 900);
                self.later(pause, What::Intent);
            }
        }
    }

    /// Carries out what everyone wants until nobody wants anything.
    fn pump(&mut self) -> Result<(), String> {
        loop {
            let mut quiet = true;
            while let Some(output) = self.endpoint.poll_output() {
                quiet = false;
                match output {
                    EndpointOutput::Transmit { target, bytes, .. } => self.gateway_sends(target, &bytes)?,
                    // The network here has no connections.
                    EndpointOutput::Close { .. } => {}
                    EndpointOutput::Event(event) => {
                        self.note(names::of_event(&event));
                        self.switch.handle_sip(event, self.now, self.wall());
                    }
                }
            }
            while let Some(output) = self.switch.poll_output() {
                quiet = false;
                self.carry_out(output)?;
            }
            for index in 0..self.parties.len() {
                quiet &= !self.pump_party(index);
            }
            for index in 0..self.browsers.len() {
                let session = self.browsers[index].session;
                for (after, message) in std::mem::take(&mut self.browsers[index].plans) {
                    self.later(after, What::Says(index, session, message));
                }
            }
            if quiet {
                return self.summary.trouble.take().map_or(Ok(()), Err);
            }
        }
    }

    fn pump_party(&mut self, index: usize) -> bool {
        let mut busy = false;
        let wall = self.wall();
        while let Some(output) = self.parties[index].endpoint.poll_output() {
            busy = true;
            match output {
                EndpointOutput::Transmit { target, bytes, .. } => self.party_sends(index, target, &bytes),
                EndpointOutput::Close { .. } => {}
                EndpointOutput::Event(event) => self.parties[index].on_event(event, self.now, wall),
            }
        }
        for (after, act) in std::mem::take(&mut self.parties[index].plans) {
            self.later(after, What::Act(index, act));
        }
        busy
    }

    fn carry_out(&mut self, output: Output) -> Result<(), String> {
        match output {
            Output::Sip(command) => {
                self.note(names::of_command(&command));
                self.endpoint.handle_command(command, self.now, self.wall());
            }
            Output::Browser(session, message) => self.later(WEBSOCKET, What::ToBrowser(session, message)),
            Output::CloseBrowser(session, why) => {
                self.note(match why {
                    CloseWhy::Stopping => "out:close-browser",
                    CloseWhy::TooManySessions => "out:too-many-sessions",
                });
                self.later(WEBSOCKET, What::Signal(session, SignalIn::Closed));
            }
            Output::Media(worker, command) => self.media(worker, command)?,
            Output::Record(_) => self.note("out:record"),
            Output::Cdr(cdr) => {
                self.summary.answered += usize::from(cdr.answered.is_some());
                self.summary.reasons.insert(cdr.reason.word());
                if cdr.reason == EndReason::GatewayStopping && !self.room.stopping {
                    return Err(format!("{} was ended to drain the gateway", cdr.call));
                }
                self.watch.record(&cdr, &self.plane)?;
            }
            Output::Log(_, _, text) => self.watch.log(&text, self.silence)?,
        }
        Ok(())
    }

    fn media(&mut self, worker: WorkerId, command: CallCommand) -> Result<(), String> {
        let call = command.call;
        self.note(names::of_media_command(&command.command));
        if let Some(giver) = self.plane.crosses(worker, &command.command) {
            self.note("ask:adopt-from-another-worker");
            // A leg is handed over after all that was said of it.
            let said = self.media_at.get(&giver).copied();
            let at = self.media_at.entry(worker).or_insert(self.now);
            *at = said.map_or(*at, |said| said.max(*at));
        }
        let closes = command.command == Media::Close && self.plane.leases_of(call) != 0;
        if closes && self.saboteur.keeps_lease() {
            self.plane.keep_one = true;
        }
        if matches!(command.command, Media::SetAnswer { .. } | Media::Answer { .. }) {
            self.plane.transcodes = self.saboteur.transcodes();
        }
        // Answers of one worker come in the order of its commands.
        for (after, event) in self.plane.handle(worker, command)? {
            let last = self.media_at.entry(worker).or_insert(self.now);
            let at = (*last).max(self.now + after);
            if !matches!(event, MediaEvent::Connected { .. }) {
                *last = at;
            }
            self.at(at, What::Media(CallEvent { call, event }));
        }
        Ok(())
    }

    fn gateway_sends(&mut self, target: Target, bytes: &Arc<[u8]>) -> Result<(), String> {
        let srtp = self.plane.srtp_of(parts(target).1.ip());
        let tampered = self.saboteur.tampers(bytes, srtp == Some(Srtp::Required));
        let mut all: Vec<Arc<[u8]>> = vec![bytes.clone()];
        match tampered {
            Some(Tampered::Also(more)) => all.push(more.into()),
            Some(Tampered::Instead(other)) => all = vec![other.into()],
            None => {}
        }
        for bytes in all {
            self.watch.leaves(&bytes, srtp)?;
            self.deliver(target, bytes);
        }
        Ok(())
    }

    fn deliver(&mut self, target: Target, bytes: Arc<[u8]>) {
        if let Some(fork) = traffic::fork_of(&target)
            && self.forks(&bytes)
        {
            self.hand_over(fork, bytes.clone());
        }
        self.hand_over(target, bytes);
    }

    /// Whether the proxy behind the first carrier gives this to the second as well: some INVITEs, and whatever has the
    /// branch of one (RFC 3261 §16.6, §17.1.1.3, §9.1).
    fn forks(&mut self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let glance = Glance::at(&text);
        let method = glance.start.split(' ').next().unwrap_or_default();
        if method == "INVITE" && glance.to_tag.is_empty() && self.rng.chance(60) {
            self.note("net:fork");
            self.forked.insert(glance.branch.to_owned());
        }
        self.forked.contains(glance.branch)
    }

    fn hand_over(&mut self, target: Target, bytes: Arc<[u8]>) {
        let (transport, remote, connection) = parts(target);
        let index = match connection {
            Some(id) => self.parties.iter().position(|p| p.connection == Some(id)),
            None => self.parties.iter().position(|p| p.address == remote && p.transport == transport),
        };
        match (transport, index) {
            (Transport::Udp, Some(index)) => {
                let flow = Flow { transport, local: remote, remote: gateway(), connection: None };
                for at in self.network.arrivals(self.now, remote) {
                    self.at(at, What::ToParty(index, Packet { flow, bytes: bytes.clone() }));
                }
            }
            (Transport::Udp, None) => {}
            (_, Some(index)) if self.parties[index].connection.is_some() => {
                let connection = self.parties[index].connection;
                let local = self.parties[index].address;
                let flow = Flow { transport, local, remote: gateway(), connection };
                self.later(STREAM_DELAY, What::ToParty(index, Packet { flow, bytes }));
            }
            (_, _) => {
                self.note("net:transport-error");
                self.endpoint.handle_transport_error(target, self.now);
            }
        }
    }

    fn party_sends(&mut self, index: usize, target: Target, bytes: &Arc<[u8]>) {
        let (transport, _, connection) = parts(target);
        let address = self.parties[index].address;
        // Our endpoints cannot answer a late offer; some of these phones do, also where none was made.
        let answered =
            self.rng.chance(300).then(|| with_answer(bytes, &self.parties[index].late_answer())).flatten();
        let bytes = answered.as_ref().unwrap_or(bytes);
        let flow = |connection| Flow { transport, local: gateway(), remote: address, connection };
        match transport {
            Transport::Udp => {
                for at in self.network.arrivals(self.now, gateway()) {
                    let packet = Packet { flow: flow(None), bytes: bytes.clone() };
                    self.at(at, What::ToGateway(packet));
                }
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                let party = &mut self.parties[index];
                if connection.is_some() && connection != party.connection {
                    party.endpoint.handle_transport_error(target, self.now);
                    return;
                }
                let id = *party.connection.get_or_insert_with(|| {
                    self.next_connection += 1;
                    ConnectionId(self.next_connection)
                });
                let packet = Packet { flow: flow(Some(id)), bytes: bytes.clone() };
                self.later(STREAM_DELAY, What::ToGateway(packet));
            }
        }
    }

    fn connected(&self, flow: &Flow) -> bool {
        let Some(id) = flow.connection else { return true };
        self.parties.iter().any(|p| p.connection == Some(id))
    }

    /// RFC 5626 §5.3: nobody is called over a connection that is gone.
    fn check_flows(&self) -> Result<(), String> {
        let mut callable = self.switch.registrar().iter().filter(|(_, b)| !b.suspended);
        match callable.find(|(_, b)| !self.connected(&b.flow)) {
            Some((user, b)) => Err(format!("{} is callable over {:?}, which is gone", user.as_str(), b.flow)),
            None => Ok(()),
        }
    }

    /// A stream is cut; both sides notice.
    pub fn cut(&mut self, index: usize) {
        let party = &mut self.parties[index];
        let Some(id) = party.connection.take() else { return };
        let (transport, local, remote) = (party.transport, party.address, gateway());
        let theirs = Flow { transport, local, remote, connection: Some(id) };
        let ours = Flow { transport, local: remote, remote: local, connection: Some(id) };
        party.endpoint.handle_flow_closed(theirs, self.now);
        self.endpoint.handle_flow_closed(ours, self.now);
    }
}

fn parts(target: Target) -> (Transport, SocketAddr, Option<ConnectionId>) {
    match target {
        Target::Flow(flow) => (flow.transport, flow.remote, flow.connection),
        Target::Address { .. } | Target::Tls { .. } => (target.transport(), target.remote(), None),
    }
}

/// An ACK with an answer in it; none for anything else.
fn with_answer(bytes: &[u8], answer: &str) -> Option<Arc<[u8]>> {
    let text = std::str::from_utf8(bytes).ok().filter(|t| t.starts_with("ACK "))?;
    let head = text.strip_suffix("Content-Length: 0\r\n\r\n")?;
    let length = answer.len();
    let text = format!("{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{answer}");
    Some(text.into_bytes().into())
}
