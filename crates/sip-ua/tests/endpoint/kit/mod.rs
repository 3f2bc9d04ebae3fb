//! Two endpoints and scripted peers on a small virtual network with a seeded generator.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "test helpers")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_ua::{
    Body, Command, Endpoint, EndpointConfig, Event, Flow, Invite, LegEnd, Listener, Output, SipLeg, Target,
    Transport,
};
use types::{Entropy, Wall};

/// Deterministic: SplitMix64.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

pub const ALICE: &str = "192.0.2.1:5060";
pub const BOB: &str = "192.0.2.2:5060";

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn flow(local: &str, remote: &str) -> Flow {
    Flow { transport: Transport::Udp, local: addr(local), remote: addr(remote), connection: None }
}

pub fn config(local: &str) -> EndpointConfig {
    let listener = Listener { transport: Transport::Udp, local: addr(local), advertise: None };
    EndpointConfig { user_agent: "test".into(), listeners: vec![listener] }
}

pub fn udp(remote: &str) -> Target {
    Target::Address { transport: Transport::Udp, remote: addr(remote), local: None }
}

pub fn sdp(text: &str) -> Body {
    Body::sdp(text.as_bytes().to_vec())
}

pub fn text(body: &Option<Body>) -> String {
    body.as_ref().map_or(String::new(), |b| String::from_utf8_lossy(&b.bytes).into_owned())
}

pub fn invite(to: &str) -> Box<Invite> {
    Box::new(Invite {
        target: udp(to),
        uri: format!("sip:bob@{to}"),
        from: format!("<sip:alice@{ALICE}>"),
        to: format!("<sip:bob@{to}>"),
        contact_user: "alice".into(),
        routes: Vec::new(),
        reliable: sip_ua::Reliable100::default(),
        timer: sip_ua::SessionTimer::default(),
        headers: Vec::new(),
        body: Some(sdp("offer")),
        credentials: None,
    })
}

/// One endpoint under test with everything it sent and said.
pub struct Party {
    pub endpoint: Endpoint,
    pub address: SocketAddr,
    pub sent: Vec<String>,
    pub events: Vec<Event>,
}

impl Party {
    pub fn new(address: &str, seed: u64) -> Party {
        Party::with(config(address), address, seed)
    }

    pub fn with(config: EndpointConfig, address: &str, seed: u64) -> Party {
        let endpoint = Endpoint::new(config, Box::new(Seeded(seed)));
        Party { endpoint, address: addr(address), sent: Vec::new(), events: Vec::new() }
    }

    /// Collects outputs; the messages are returned too.
    pub fn drain(&mut self) -> Vec<(Target, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { target, bytes, .. } => {
                    self.sent.push(String::from_utf8_lossy(&bytes).into_owned());
                    out.push((target, bytes.to_vec()));
                }
                Output::Close { target } => panic!("nothing here is to be closed: {target:?}"),
                Output::Event(event) => self.events.push(event),
            }
        }
        out
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn ends(&self) -> Vec<(SipLeg, LegEnd)> {
        let end = |e: &Event| match e {
            Event::Ended { leg, end } => Some((*leg, end.clone())),
            _ => None,
        };
        self.events.iter().filter_map(end).collect()
    }

    pub fn incoming(&mut self) -> SipLeg {
        self.drain();
        let leg = |e: &Event| match e {
            Event::Invite { leg, .. } => Some(*leg),
            _ => None,
        };
        self.events.iter().find_map(leg).expect("an incoming call")
    }

    /// How many messages with this start were sent.
    pub fn count(&self, start: &str) -> usize {
        self.sent.iter().filter(|m| m.starts_with(start)).count()
    }
}

/// A scripted peer at `BOB` against one endpoint at `ALICE`: raw text in, raw text out.
pub struct Script {
    pub party: Party,
    pub now: Instant,
    pub peer: Flow,
}

impl Script {
    pub fn new() -> Script {
        Script { party: Party::new(ALICE, 7), now: Instant::now(), peer: flow(ALICE, BOB) }
    }

    pub fn command(&mut self, command: Command) -> Vec<String> {
        self.party.endpoint.handle_command(command, self.now, Wall(0));
        self.sent()
    }

    /// One message from the peer; line ends become CRLF, a Content-Length is added where none is.
    pub fn receive(&mut self, message: &str) -> Vec<String> {
        let bytes = wire(message);
        self.party.endpoint.handle_message(self.peer, bytes, self.now, Wall(0));
        self.sent()
    }

    /// Lets time pass, timer by timer.
    pub fn wait(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.party.endpoint.poll_timeout().filter(|t| *t <= end) {
            self.now = self.now.max(at);
            self.party.endpoint.handle_timeout(self.now, Wall(0));
            all.extend(self.sent());
        }
        self.now = end;
        all
    }

    fn sent(&mut self) -> Vec<String> {
        self.party.drain().into_iter().map(|(_, b)| String::from_utf8_lossy(&b).into_owned()).collect()
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.party.take_events()
    }

    /// After every timer has run nothing is left.
    pub fn assert_drained(&mut self) {
        self.wait(Duration::from_secs(200));
        assert_eq!(self.party.endpoint.transactions(), 0);
        assert_eq!(self.party.endpoint.dialogs(), 0);
        assert_eq!(self.party.endpoint.poll_timeout(), None);
        assert!(self.party.endpoint.is_drained());
    }
}

pub fn wire(message: &str) -> Vec<u8> {
    let (head, body) = message.split_once("\n\n").unwrap_or((message, ""));
    let head = head.trim().lines().map(str::trim).collect::<Vec<_>>().join("\r\n");
    let length = if head.contains("Content-Length") {
        String::new()
    } else {
        format!("\r\nContent-Length: {}", body.len())
    };
    format!("{head}{length}\r\n\r\n{body}").into_bytes()
}

/// The value of a header field in a message of ours.
pub fn field(message: &str, name: &str) -> String {
    let prefix = format!("{name}: ");
    let line = message.lines().find(|l| l.starts_with(&prefix));
    line.unwrap_or_else(|| panic!("no {name} in {message}"))[prefix.len()..].to_owned()
}

/// A response to one of our requests, with the given extra lines.
pub fn answer(request: &str, status: &str, to_tag: &str, extra: &str) -> String {
    let to = field(request, "To");
    let to = if to_tag.is_empty() || to.contains(";tag=") { to } else { format!("{to};tag={to_tag}") };
    let (lines, body) = extra.split_once("\n\n").unwrap_or((extra, ""));
    format!(
        "SIP/2.0 {status}\nVia: {}\nFrom: {}\nTo: {to}\nCall-ID: {}\nCSeq: {}\n{lines}\n\n{body}",
        field(request, "Via"),
        field(request, "From"),
        field(request, "Call-ID"),
        field(request, "CSeq"),
    )
    .replace("\n\n\n", "\n\n")
}

/// A small network between two parties: loss, delay, reordering, duplication by seed.
pub struct Net {
    pub now: Instant,
    pub parties: [Party; 2],
    random: Seeded,
    /// Per cent.
    pub loss: u64,
    pub duplicates: u64,
    /// Per cent of the messages that get one byte changed.
    pub corrupt: u64,
    in_flight: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    serial: u64,
}

impl Net {
    pub fn new(seed: u64, loss: u64) -> Net {
        let parties = [Party::new(ALICE, seed * 2 + 1), Party::new(BOB, seed * 2 + 2)];
        let random = Seeded(seed ^ 0xabcd);
        let now = Instant::now();
        Net {
            now,
            parties,
            random,
            loss,
            duplicates: loss / 2,
            corrupt: 0,
            in_flight: BTreeMap::new(),
            serial: 0,
        }
    }

    pub fn command(&mut self, who: usize, command: Command) {
        self.parties[who].endpoint.handle_command(command, self.now, Wall(0));
        self.pump(who);
    }

    fn pump(&mut self, who: usize) {
        for (_, bytes) in self.parties[who].drain() {
            let copies = 1 + u64::from(self.random.next() % 100 < self.duplicates);
            for _ in 0..copies {
                if self.random.next() % 100 >= self.loss {
                    let at = self.now + Duration::from_millis(5 + self.random.next() % 60);
                    self.serial += 1;
                    let mut bytes = bytes.clone();
                    if self.random.next() % 100 < self.corrupt {
                        let at = (self.random.next() % bytes.len() as u64) as usize;
                        bytes[at] = self.random.next() as u8;
                    }
                    self.in_flight.insert((at, self.serial), (1 - who, bytes));
                }
            }
        }
    }

    /// Runs the world for some time.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let packet = self.in_flight.keys().next().map(|k| k.0);
            let timers = self.parties.iter().filter_map(|p| p.endpoint.poll_timeout()).min();
            let Some(next) = packet.into_iter().chain(timers).min().filter(|t| *t <= end) else { break };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let (_, (to, bytes)) = self.in_flight.pop_first().unwrap();
                let from = self.parties[1 - to].address;
                let flow = Flow {
                    transport: Transport::Udp,
                    local: self.parties[to].address,
                    remote: from,
                    connection: None,
                };
                self.parties[to].endpoint.handle_message(flow, bytes, self.now, Wall(0));
            }
            for who in 0..2 {
                self.parties[who].endpoint.handle_timeout(self.now, Wall(0));
                self.pump(who);
            }
        }
        self.now = end;
    }

    pub fn run_millis(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis));
    }

    /// After every timer has run nothing is left on either side.
    pub fn assert_drained(&mut self) {
        self.run(Duration::from_secs(200));
        for party in &self.parties {
            assert_eq!(party.endpoint.transactions(), 0);
            assert_eq!(party.endpoint.dialogs(), 0);
            assert_eq!(party.endpoint.poll_timeout(), None);
            assert!(party.endpoint.is_drained());
        }
    }
}

/// A request from `BOB` outside dialogs, or inside with a To-tag; extra lines and body follow.
pub fn request(method: &str, cseq: u32, branch: &str, to_tag: &str, extra: &str) -> String {
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let (lines, body) = extra.split_once("\n\n").unwrap_or((extra, ""));
    let lines = if lines.is_empty() { String::new() } else { format!("\n{lines}") };
    format!(
        "{method} sip:alice@{ALICE} SIP/2.0\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bK{branch};rport\n\
         From: <sip:bob@example.com>;tag=bobtag\nTo: <sip:alice@example.com>{tag}\nCall-ID: call1\n\
         CSeq: {cseq} {method}\nMax-Forwards: 70\nContact: <sip:bob@{BOB}>{lines}\n\n{body}"
    )
}

/// The tag of our To in a response.
pub fn to_tag(response: &str) -> String {
    let to = field(response, "To");
    to.rsplit_once(";tag=").unwrap_or_else(|| panic!("no tag in {to}")).1.to_owned()
}

/// The status of a response.
pub fn status(response: &str) -> u16 {
    response.strip_prefix("SIP/2.0 ").and_then(|r| r[..3].parse().ok()).unwrap_or(0)
}

/// The first messages' start lines, without the version.
pub fn starts(messages: &[String]) -> Vec<&str> {
    let start = |m: &'_ String| -> usize { m.find("\r\n").unwrap_or(m.len()) };
    messages.iter().map(|m| m[..start(m)].trim_start_matches("SIP/2.0 ")).collect()
}

/// Bob has called us and is connected; our tag.
pub fn called() -> (Script, SipLeg, String) {
    let mut script = Script::new();
    script.receive(&request("INVITE", 1, "i1", "", "Content-Type: application/sdp\n\noffer"));
    let leg = script.party.incoming();
    let sent = script.command(Command::Answer { leg, body: sdp("answer") });
    let tag = to_tag(&sent[0]);
    script.receive(&request("ACK", 1, "a1", &tag, ""));
    script.events();
    (script, leg, tag)
}
