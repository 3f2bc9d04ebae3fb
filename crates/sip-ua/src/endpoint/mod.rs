//! The endpoint: transactions, dialogs and registrations behind one door. No I/O, no clock: messages, commands and
//! time go in, `poll_output` and `poll_timeout` say what to do next.

mod auth;
mod client;
mod leg;
mod oversize;
mod path;
mod refer;
mod referring;
mod registering;
mod reliable;
mod replace;
mod request;
mod schedule;
mod server;
mod session;
mod session_timer;
mod stateless;
mod uac;
mod uas;
mod update;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use types::{Entropy, Wall};

use crate::message::Message;
use crate::registration::Registration;
use crate::transaction::Wire;
use crate::{
    Command, ConnectionId, Event, Flow, ReferId, ReferOutcome, RegistrationId, SipLeg, Target, Transport,
};
use client::ClientTxn;
use leg::Leg;
use oversize::NoTcp;
pub use path::Listener;
pub(crate) use path::Path;
use refer::Refer;
use referring::Referring;
pub(crate) use request::OutRequest;
use schedule::Schedule;
use server::ServerTxn;
use session_timer::Refresh;
pub use stateless::overload;

/// Methods we do.
pub(crate) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, REGISTER, UPDATE, REFER, NOTIFY, SUBSCRIBE";
/// Option tags we do.
const SUPPORTED: &[&str] = &[reliable::TAG, session_timer::TAG, replace::TAG, refer::TAG, "outbound"];

/// What an endpoint is told once.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Value of User-Agent and Server.
    pub user_agent: String,
    /// All sockets that take requests; the first that fits speaks for us.
    pub listeners: Vec<Listener>,
}

/// What is to be done outside.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send one message.
    Transmit {
        /// Where to. A flow whose connection is gone: report `handle_transport_error`.
        target: Target,
        /// The socket and source address to use; none: the shell's choice (outgoing connections).
        local: Option<SocketAddr>,
        /// The whole message.
        bytes: Wire,
    },
    /// Close the connection to this target: its peer is gone. Then report `handle_flow_closed`.
    Close {
        /// Which.
        target: Target,
    },
    /// Tell the application.
    Event(Event),
}

/// Numbers of transactions, client and server alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct TxnId(u64);

/// Who may have a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Owner {
    Client(TxnId),
    Server(TxnId),
    Leg(SipLeg),
    Refresh(SipLeg),
    Refer(ReferId),
    Referring(SipLeg),
    Registration(u32),
    KeepAlive(u32),
}

/// One hop's address, for finding what a transport error concerns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Hop {
    Address(Transport, SocketAddr),
    Connection(ConnectionId),
}

impl Hop {
    fn of(target: &Target) -> Hop {
        match target {
            Target::Flow(Flow { connection: Some(id), .. }) => Hop::Connection(*id),
            Target::Flow(Flow { connection: None, .. }) | Target::Address { .. } | Target::Tls { .. } => {
                Hop::Address(target.transport(), target.remote())
            }
        }
    }
}

/// A SIP user agent: client and server, any number of calls.
pub struct Endpoint {
    config: EndpointConfig,
    entropy: Box<dyn Entropy>,
    next_id: u64,
    clients: HashMap<TxnId, Box<ClientTxn>>,
    /// Branch and method of what we sent.
    client_index: HashMap<String, TxnId>,
    client_hops: HashMap<Hop, BTreeSet<TxnId>>,
    no_tcp: NoTcp,
    servers: HashMap<TxnId, Box<ServerTxn>>,
    /// Branch, sent-by and method of what came (RFC 3261 §17.2.3).
    server_index: HashMap<Arc<str>, TxnId>,
    /// From-tag, Call-ID and CSeq of requests without To-tag (RFC 3261 §8.2.2.2).
    merge_index: HashMap<Arc<str>, TxnId>,
    legs: HashMap<SipLeg, Leg>,
    refreshes: HashMap<SipLeg, Refresh>,
    /// REFERs of peers that are undecided or reported on.
    refers: BTreeMap<ReferId, Refer>,
    /// REFERs of ours.
    referring: HashMap<SipLeg, Referring>,
    /// Our tags: unique by themselves.
    tags: HashMap<String, SipLeg>,
    registrations: HashMap<RegistrationId, Registration>,
    schedule: Schedule<Owner>,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({} transactions, {} dialogs)", self.transactions(), self.dialogs())
    }
}

impl Endpoint {
    /// An endpoint that has done nothing yet.
    pub fn new(config: EndpointConfig, entropy: Box<dyn Entropy>) -> Endpoint {
        Endpoint {
            config,
            entropy,
            next_id: 1,
            clients: HashMap::new(),
            client_index: HashMap::new(),
            client_hops: HashMap::new(),
            no_tcp: NoTcp::default(),
            servers: HashMap::new(),
            server_index: HashMap::new(),
            merge_index: HashMap::new(),
            legs: HashMap::new(),
            refreshes: HashMap::new(),
            refers: BTreeMap::new(),
            referring: HashMap::new(),
            tags: HashMap::new(),
            registrations: HashMap::new(),
            schedule: Schedule::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Client and server transactions alive.
    pub fn transactions(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// Legs alive, from the INVITE to `Event::Ended`.
    pub fn dialogs(&self) -> usize {
        self.legs.len()
    }

    /// Whether nothing at all is left: no transaction, leg, registration, timer, index entry or output. For simulations.
    pub fn is_drained(&self) -> bool {
        self.transactions() + self.dialogs() + self.registrations() == 0
            && self.client_index.is_empty()
            && self.client_hops.is_empty()
            && self.server_index.is_empty()
            && self.merge_index.is_empty()
            && self.tags.is_empty()
            && self.refreshes.is_empty()
            && self.refers.is_empty()
            && self.referring.is_empty()
            && self.schedule.next().is_none()
            && self.outputs.is_empty()
    }

    /// One whole message: a datagram or what the framer cut out of a stream.
    pub fn handle_message(&mut self, flow: Flow, bytes: Vec<u8>, now: Instant, _wall: Wall) {
        self.handle_parsed(flow, Message::parse(bytes), now);
    }

    /// A message to this target could not be sent: what waits for an answer from there fails now (RFC 3261 §17.1.4).
    pub fn handle_transport_error(&mut self, target: Target, now: Instant) {
        self.handle_unreachable(target, "it can not be sent to", now);
    }

    /// The same, with the words for people: why there is no connection.
    pub fn handle_unreachable(&mut self, target: Target, why: &str, now: Instant) {
        for id in self.waiting_at(Hop::of(&target)) {
            if !self.fall_back_on_datagrams(id, now) {
                self.client_transport_error(id, why, now);
            }
        }
    }

    /// A stream connection is gone.
    pub fn handle_flow_closed(&mut self, flow: Flow, now: Instant) {
        self.handle_closed(flow, "the connection was closed", now);
    }

    /// The same, with the words for people: why it is gone.
    pub fn handle_closed(&mut self, flow: Flow, why: &str, now: Instant) {
        self.fail_hop(Hop::of(&Target::Flow(flow)), why, now);
        // Requests that had the connection opened; it was the newest to that address.
        self.fail_hop(Hop::Address(flow.transport, flow.remote), why, now);
        self.registrations_lost(&flow, now);
        self.tell(Event::FlowClosed { flow });
    }

    fn fail_hop(&mut self, hop: Hop, why: &str, now: Instant) {
        for id in self.waiting_at(hop) {
            self.client_transport_error(id, why, now);
        }
    }

    fn waiting_at(&self, hop: Hop) -> Vec<TxnId> {
        self.client_hops.get(&hop).into_iter().flatten().copied().collect()
    }

    fn forget_hop(&mut self, hop: Hop, id: TxnId) {
        if let Some(ids) = self.client_hops.get_mut(&hop) {
            ids.remove(&id);
            if ids.is_empty() {
                self.client_hops.remove(&hop);
            }
        }
    }

    /// The application wants something. Commands to legs that are over are ignored: ends cross.
    pub fn handle_command(&mut self, command: Command, now: Instant, wall: Wall) {
        match command {
            Command::Invite(leg, invite) => self.start_invite(leg, *invite, now),
            Command::SetTimer { leg, timer } => {
                if self.legs.contains_key(&leg) {
                    self.set_timer(leg, timer);
                }
            }
            Command::Provisional { leg, status, body } => self.send_provisional(leg, status, body, now),
            Command::Answer { leg, body } => self.answer(leg, body, now),
            Command::Reject { leg, status, reason, headers } => {
                self.reject(leg, (status, &reason), &headers, now);
            }
            Command::HangUp { leg, reason } => self.hang_up(leg, reason, now),
            Command::Reinvite { leg, body } => self.send_reinvite(leg, body, now),
            Command::AcceptReinvite { leg, body } => self.accept_reinvite(leg, body, now),
            Command::RejectReinvite { leg, status, headers } => {
                self.reject_reinvite(leg, status, &headers, now);
            }
            Command::Info { leg, body } => self.send_info(leg, body, now),
            Command::Probe { leg } => self.send_probe(leg, now),
            Command::AcceptRefer { refer } => self.accept_refer(refer, now),
            Command::RejectRefer { refer, status, reason } => {
                self.reject_refer(refer, (status, &reason), now)
            }
            Command::ReferStatus { refer, status } => self.refer_status(refer, status, now),
            Command::Refer { leg, to, referred_by } => self.send_refer(leg, &to, &referred_by, now),
            Command::Respond { token, status, reason, headers } => {
                self.respond_to(token, (status, &reason), headers, now, wall);
            }
            Command::Register(id, config) => self.start_registration(id, *config, now),
            Command::Unregister(id) => self.unregister(id, now),
            Command::Ping { ping, target, uri } => self.send_ping(ping, target, uri, now),
        }
    }

    /// Time has come to what `poll_timeout` said.
    pub fn handle_timeout(&mut self, now: Instant, _wall: Wall) {
        while let Some(owner) = self.schedule.pop_due(now) {
            match owner {
                Owner::Client(id) => self.client_timeout(id, now),
                Owner::Server(id) => self.server_timeout(id, now),
                Owner::Leg(leg) => self.leg_timeout(leg, now),
                Owner::Refresh(leg) => self.refresh_timeout(leg, now),
                Owner::Refer(id) => self.refer_timeout(id, now),
                Owner::Referring(leg) => self.referring_over(leg, ReferOutcome::Done(None)),
                Owner::Registration(id) => self.registration_timeout(RegistrationId(id), now),
                Owner::KeepAlive(id) => self.keep_alive_timeout(RegistrationId(id), now),
            }
        }
    }

    /// When `handle_timeout` is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// What to do next. Poll until it is `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn transmit(&mut self, path: &Path, bytes: Wire) {
        self.outputs.push_back(Output::Transmit { target: path.target, local: path.local, bytes });
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn next_txn(&mut self) -> TxnId {
        let id = TxnId(self.next_id);
        self.next_id += 1;
        id
    }
}
