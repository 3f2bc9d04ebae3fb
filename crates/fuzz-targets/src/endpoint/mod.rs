//! Sequences of operations on a whole endpoint, read from bytes.

mod peer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_ua::{
    Body, Command, ConnectionId, Credentials, Endpoint, EndpointConfig, Event, Flow, Invite, LegEnd,
    Listener, Output, PingId, ReferId, ReferOutcome, Register, RegistrationId, Reliable100, RequestToken,
    SessionTimer, SipLeg, Target, Transport,
};
use types::Wall;

use crate::choices::Choices;
use crate::mutate::Random;
use peer::Heard;

const OPERATIONS: usize = 200;
/// Messages of the endpoint that a peer may refer to.
const MEMORY: usize = 24;
/// What one operation may bring about at most.
const OUTPUTS: usize = 200;
const TIMER: SessionTimer = SessionTimer::On { interval: 120, min_se: 90, refresher: None };
const WALL: Wall = Wall(1_800_000_000_000_000);

/// What the kept inputs bring up, by name.
pub const ENDPOINT_OPERATIONS: &[&str] = &[
    "called with an offer",
    "called without an offer",
    "answer to a late offer",
    "answered",
    "reliable provisional of the peer",
    "PRACK of the peer",
    "re-INVITE of the peer",
    "re-INVITE of the peer without an offer",
    "re-INVITE of ours done",
    "re-INVITE of ours refused",
    "UPDATE of the peer",
    "UPDATE of ours",
    "REFER of the peer",
    "REFER taken",
    "REFER refused",
    "NOTIFY of ours",
    "REFER of ours",
    "REFER of ours refused",
    "REFER of ours done",
    "Replaces that fits",
    "flow of a leg closed",
    "leg unreachable",
    "leg never acknowledged",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Alive,
    Ended,
}

struct World<'a> {
    endpoint: Endpoint,
    now: Instant,
    choices: Choices<'a>,
    heard: VecDeque<Heard>,
    legs: BTreeMap<SipLeg, Life>,
    tokens: Vec<RequestToken>,
    /// REFERs that wait for a decision or for news.
    refers: Vec<ReferId>,
    seen: BTreeSet<&'static str>,
    targets: Vec<Target>,
    numbers: u32,
}

/// An endpoint under any sequence of messages, commands, errors and time: no panic, a bounded answer to each, every leg
/// ends exactly once and says nothing afterwards, and when all is hung up nothing is left.
pub fn fuzz_endpoint(data: &[u8]) {
    let _ = endpoint_operations(data);
}

/// The same; which of `ENDPOINT_OPERATIONS` came up.
pub fn endpoint_operations(data: &[u8]) -> BTreeSet<&'static str> {
    let mut world = World::new(data);
    let mut operations = 0;
    while !world.choices.is_over() && operations < OPERATIONS {
        operations += 1;
        world.operate();
        world.drain();
        let alive = world.legs.values().filter(|life| **life == Life::Alive).count();
        assert_eq!(world.endpoint.dialogs(), alive, "legs alive");
        assert!(world.endpoint.transactions() <= 16 + 8 * operations, "transactions after {operations}");
    }
    world.end()
}

impl<'a> World<'a> {
    fn new(data: &'a [u8]) -> World<'a> {
        let listener = |transport| Listener { transport, local: address(1), advertise: None };
        let listeners = vec![listener(Transport::Udp), listener(Transport::Tcp)];
        let config = EndpointConfig { user_agent: "fuzz".into(), listeners };
        World {
            endpoint: Endpoint::new(config, Box::new(Random(7))),
            now: Instant::now(),
            choices: Choices::new(data),
            heard: VecDeque::new(),
            legs: BTreeMap::new(),
            tokens: Vec::new(),
            refers: Vec::new(),
            seen: BTreeSet::new(),
            targets: Vec::new(),
            numbers: 0,
        }
    }

    fn operate(&mut self) {
        match self.choices.byte() % 12 {
            0 => {
                let span = self.choices.of(&[10, 500, 4_000, 33_000, 70_000, 1_800_000]);
                self.pass(Duration::from_millis(span));
            }
            1 | 2 => {
                let text = peer::request(&mut self.choices, &self.heard);
                self.receive(text.into_bytes());
            }
            3 => {
                let text = peer::response(&mut self.choices, &self.heard);
                self.receive(text.into_bytes());
            }
            4 => self.invite(),
            5..=9 => self.leg_command(),
            10 => self.other_command(),
            _ => self.trouble(),
        }
    }

    fn receive(&mut self, bytes: Vec<u8>) {
        let flow = flow(&mut self.choices);
        self.endpoint.handle_message(flow, bytes, self.now, WALL);
    }

    fn command(&mut self, command: Command) {
        self.endpoint.handle_command(command, self.now, WALL);
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    fn target(&mut self) -> Target {
        let transport = self.choices.of(&[Transport::Udp, Transport::Udp, Transport::Tcp]);
        Target::Address { transport, remote: address(9), local: None }
    }

    fn invite(&mut self) {
        let leg = SipLeg::outgoing(self.number().into());
        let target = self.target();
        let credentials = Credentials { username: "u".into(), password: "p".into(), realm: None };
        let invite = Invite {
            target,
            uri: "sip:9@198.51.100.9".into(),
            from: "<sip:us@192.0.2.1>".into(),
            to: "<sip:9@198.51.100.9>".into(),
            contact_user: "us".into(),
            routes: Vec::new(),
            reliable: self.choices.of(&[Reliable100::Off, Reliable100::Supported, Reliable100::Required]),
            timer: self.choices.of(&[SessionTimer::Off, TIMER]),
            headers: Vec::new(),
            body: self.choices.of(&[true, false]).then(sdp),
            credentials: self.choices.of(&[None, Some(())]).map(|()| credentials),
        };
        self.legs.insert(leg, Life::Alive);
        self.command(Command::Invite(leg, Box::new(invite)));
    }

    fn leg_command(&mut self) {
        let which = usize::from(self.choices.byte());
        let Some(leg) = self.legs.keys().copied().cycle().nth(which % self.legs.len().max(1)) else { return };
        let headers = Vec::new();
        let command = match self.choices.byte() % 11 {
            0 => Command::Provisional { leg, status: 180, body: None },
            1 => Command::Provisional { leg, status: 183, body: Some(sdp()) },
            2 | 3 => Command::Answer { leg, body: sdp() },
            4 => Command::Reject {
                leg,
                status: self.choices.of(&[486, 302, 603, 100]),
                reason: String::new(),
                headers,
            },
            5 => Command::HangUp {
                leg,
                reason: self.choices.of(&[None, Some(())]).map(|()| "SIP;cause=200".into()),
            },
            6 => Command::Reinvite { leg, body: sdp() },
            7 => Command::AcceptReinvite { leg, body: sdp() },
            10 => Command::SetTimer { leg, timer: self.choices.of(&[SessionTimer::Off, TIMER]) },
            8 => Command::RejectReinvite { leg, status: 488, headers },
            _ => match self.choices.byte() % 4 {
                0 => Command::Info { leg, body: sdp() },
                1 => Command::Refer { leg, to: "sip:x@198.51.100.9".into(), referred_by: String::new() },
                _ => return self.refer_command(),
            },
        };
        self.command(command);
    }

    /// What the application decides about a REFER of the peer, and tells it afterwards.
    fn refer_command(&mut self) {
        let which = usize::from(self.choices.byte());
        let Some(refer) = self.refers.get(which % self.refers.len().max(1)).copied() else { return };
        let (command, seen) = match self.choices.byte() % 4 {
            0 => {
                let refused = Command::RejectRefer { refer, status: 405, reason: String::new() };
                (refused, Some("REFER refused"))
            }
            1 => {
                let status = self.choices.of(&[100, 180, 200, 486]);
                (Command::ReferStatus { refer, status }, None)
            }
            _ => (Command::AcceptRefer { refer }, Some("REFER taken")),
        };
        self.seen.extend(seen);
        self.command(command);
    }

    fn other_command(&mut self) {
        let (number, target) = (self.number(), self.target());
        let command = match self.choices.byte() % 4 {
            0 => {
                let Some(token) = self.tokens.pop() else { return };
                let status = self.choices.of(&[200, 401, 403, 423]);
                Command::Respond { token, status, reason: String::new(), headers: Vec::new() }
            }
            1 => {
                let register = Register {
                    target,
                    registrar: "sip:198.51.100.9".into(),
                    aor: "sip:us@198.51.100.9".into(),
                    contact_user: "us".into(),
                    routes: vec!["<sip:198.51.100.1;lr>".into()],
                    credentials: Some(Credentials {
                        username: "u".into(),
                        password: "p".into(),
                        realm: None,
                    }),
                    expires: self.choices.of(&[60, 600, 0]),
                    patience: Duration::from_secs(self.choices.of(&[4, 32])),
                    keep_alive: self.choices.of(&[None, Some(Duration::from_secs(25))]),
                    instance: self.choices.of(&[None, Some("urn:uuid:1")]).map(str::to_owned),
                };
                Command::Register(RegistrationId(number), Box::new(register))
            }
            2 => Command::Unregister(RegistrationId(u32::from(self.choices.byte()))),
            _ => Command::Ping { ping: PingId(number), target, uri: "sip:198.51.100.9".into() },
        };
        self.command(command);
    }

    /// The network fails, or brings what is no message of anybody.
    fn trouble(&mut self) {
        match self.choices.byte() % 3 {
            0 => {
                let Some(target) = self.targets.last().copied() else { return };
                self.endpoint.handle_transport_error(target, self.now);
            }
            1 => {
                let flow = flow(&mut self.choices);
                if flow.connection.is_some() && self.legs.values().any(|life| *life == Life::Alive) {
                    self.seen.insert("flow of a leg closed");
                }
                self.endpoint.handle_keep_alive(flow, b"\r\n", self.now);
                self.endpoint.handle_flow_closed(flow, self.now);
            }
            _ => {
                // Something of our own, a little changed.
                let which = usize::from(self.choices.byte());
                let Some(heard) = self.heard.get(which % self.heard.len().max(1)) else { return };
                let mut bytes = heard.text.clone().into_bytes();
                let at = usize::from(self.choices.byte()) * bytes.len() / 256;
                bytes[at] = self.choices.byte();
                self.receive(bytes);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let mut timers = 0;
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            timers += 1;
            assert!(timers < 50_000, "timers that do not come to an end");
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now, WALL);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.endpoint.poll_output() {
            outputs += 1;
            assert!(outputs <= OUTPUTS, "{outputs} outputs of one operation");
            match output {
                Output::Transmit { target, bytes, .. } => {
                    assert!(bytes.len() <= 32 * 1024, "a message of {} bytes", bytes.len());
                    if let Some(heard) = Heard::read(&bytes) {
                        self.seen.extend(heard.operation());
                        self.heard.push_front(heard);
                        self.heard.truncate(MEMORY);
                    }
                    self.targets = vec![target];
                }
                // As if the network told nothing of it.
                Output::Close { .. } => {}
                Output::Event(event) => self.hears(&event),
            }
        }
    }

    fn hears(&mut self, event: &Event) {
        self.seen.extend(operation(event));
        match event {
            Event::Register { token, .. } => self.tokens.push(*token),
            Event::Invite { leg, .. } => {
                assert_eq!(self.legs.insert(*leg, Life::Alive), None, "{leg:?} begins twice");
            }
            Event::Ended { leg, .. } => {
                let before = self.legs.insert(*leg, Life::Ended);
                assert_eq!(before, Some(Life::Alive), "{leg:?} ends");
            }
            Event::Refer { leg, refer, .. } => {
                assert_eq!(self.legs.get(leg), Some(&Life::Alive), "{event:?} of a leg that is over");
                self.refers.push(*refer);
            }
            Event::Referred { leg, .. }
            | Event::Trying { leg }
            | Event::Provisional { leg, .. }
            | Event::Answered { leg, .. }
            | Event::Acked { leg, .. }
            | Event::Reinvite { leg, .. }
            | Event::ReinviteDone { leg, .. }
            | Event::Info { leg, .. } => {
                assert_eq!(self.legs.get(leg), Some(&Life::Alive), "{event:?} of a leg that is over");
            }
            Event::Registration { .. } | Event::Pong { .. } | Event::FlowClosed { .. } => {}
        }
    }

    /// The application lets go of everything; then time does the rest.
    fn end(mut self) -> BTreeSet<&'static str> {
        for _ in 0..3 {
            for token in std::mem::take(&mut self.tokens) {
                let (reason, headers) = (String::new(), Vec::new());
                self.command(Command::Respond { token, status: 200, reason, headers });
            }
            for refer in std::mem::take(&mut self.refers) {
                self.command(Command::AcceptRefer { refer });
                self.command(Command::ReferStatus { refer, status: 200 });
            }
            for leg in self.legs.keys().copied().collect::<Vec<_>>() {
                self.command(Command::HangUp { leg, reason: None });
            }
            for number in 0..=self.numbers.max(255) {
                self.command(Command::Unregister(RegistrationId(number)));
            }
            self.drain();
            self.pass(Duration::from_secs(400));
        }
        let alive: Vec<_> = self.legs.iter().filter(|(_, life)| **life == Life::Alive).collect();
        assert!(alive.is_empty(), "never ended: {alive:?}");
        assert!(
            self.endpoint.is_drained(),
            "left: {:?}, next timer {:?}",
            self.endpoint,
            self.endpoint.poll_timeout()
        );
        self.seen
    }
}

/// The name of what an event says.
fn operation(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Invite { replaces: Some(_), .. } => "Replaces that fits",
        Event::Invite { request, .. } if request.body().is_empty() => "called without an offer",
        Event::Invite { .. } => "called with an offer",
        Event::Acked { body: Some(_), .. } => "answer to a late offer",
        Event::Answered { .. } => "answered",
        Event::Reinvite { body: Some(_), .. } => "re-INVITE of the peer",
        Event::Reinvite { body: None, .. } => "re-INVITE of the peer without an offer",
        Event::ReinviteDone { result: Ok(_), .. } => "re-INVITE of ours done",
        Event::ReinviteDone { result: Err(_), .. } => "re-INVITE of ours refused",
        Event::Refer { .. } => "REFER of the peer",
        Event::Referred { outcome: ReferOutcome::Done(_), .. } => "REFER of ours done",
        Event::Referred { outcome: ReferOutcome::Refused(_), .. } => "REFER of ours refused",
        Event::Ended { end: LegEnd::Unreachable { .. }, .. } => "leg unreachable",
        Event::Ended { end: LegEnd::NoAck, .. } => "leg never acknowledged",
        Event::Acked { body: None, .. }
        | Event::Trying { .. }
        | Event::Provisional { .. }
        | Event::Info { .. }
        | Event::Referred { .. }
        | Event::Ended { .. }
        | Event::Register { .. }
        | Event::Registration { .. }
        | Event::Pong { .. }
        | Event::FlowClosed { .. } => return None,
    })
}

fn sdp() -> Body {
    Body::sdp(b"v=0".to_vec())
}

/// Ours is 192.0.2.1, theirs 198.51.100.9.
fn address(host: u8) -> SocketAddr {
    match host {
        1 => SocketAddr::from(([192, 0, 2, 1], 5060)),
        other => SocketAddr::from(([198, 51, 100, other], 5060)),
    }
}

fn flow(choices: &mut Choices<'_>) -> Flow {
    let kind = choices.byte() % 4;
    let transport = if kind == 3 { Transport::Tcp } else { Transport::Udp };
    let connection = (kind == 3).then_some(ConnectionId(1));
    Flow { transport, local: address(1), remote: address(if kind == 2 { 8 } else { 9 }), connection }
}
