//! The media of all calls: sends each packet when it is due, and counts what comes back.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use media_bridge::srtp::{OVERHEAD, Receiver, Sender};

use crate::Fallible;
use crate::dtls::SessionKeys;
use crate::line::{Fate, Line, Transit};
use crate::pairing::Pairing;
use crate::reception::Reception;
use crate::sdp::Codec;
use crate::stats::Counts;
use crate::stun::{self, Ice};
use crate::wire::{Arrival, Wire, now_ns};

/// A frame of 20 ms, in nanoseconds.
const FRAME: u64 = 20_000_000;
/// Sending is spread over the frame in steps of 100 microseconds.
const STEPS: u64 = 200;
/// Send times that are remembered: a packet that is later than 64 frames counts as lost.
const REMEMBERED: u16 = 64;
/// A browser checks connectivity every 125 packets, 2.5 seconds.
const CHECK_EVERY: u64 = 125;
/// It reports on what it gets every 250, five seconds as Chromium does; every 50 where its speech has a line of its own, so
/// that short speech is said under reports.
const REPORT_EVERY: u64 = 250;
const REPORT_EVERY_ON_A_LINE: u64 = 50;
/// The browsers' addresses count up from here.
const BROWSERS: u32 = 0x7f40_0000;

/// One of the two directions of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The browser speaks.
    ToParty,
    /// The SIP party speaks.
    ToBrowser,
}

/// Speech of one codec, as frames of 20 ms that repeat.
#[derive(Clone)]
pub struct Speech {
    /// The codec.
    pub codec: Codec,
    /// The payloads.
    pub frames: Rc<Vec<Vec<u8>>>,
    /// The line that they are said over from the first one on, everything that comes out being kept; none: a good one,
    /// from any frame on.
    pub line: Option<Rc<Line>>,
}

/// A packet that came out of a call whose speech has a line of its own.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The newest packet that had been sent into the same direction.
    pub newest: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What a new call brings.
pub struct NewCall {
    /// Where the browser's media goes.
    pub peer: SocketAddrV4,
    /// Where the party's media goes.
    pub party_peer: SocketAddrV4,
    /// SRTP keys.
    pub keys: SessionKeys,
    /// Its ICE, for further checks.
    pub ice: Ice,
    /// What the browser and what the party says, with the agreed payload types.
    pub says: [(Speech, u8); 2],
    /// Whether received packets are kept, to find the delay of the audio.
    pub taped: bool,
}

/// A packet that was kept: number of the one it came of, and its payload.
pub type Taped = (u16, Vec<u8>);

struct Flow {
    says: Speech,
    pt: u8,
    ssrc: u32,
    sent: u64,
    first_frame: usize,
    times: [u64; REMEMBERED as usize],
    pairing: Pairing,
    counted: bool,
    tape: Vec<Taped>,
    heard: Vec<Heard>,
}

impl Flow {
    fn new((says, pt): (Speech, u8), n: u32, way: Way) -> Flow {
        let first_frame = if says.line.is_some() { 0 } else { n as usize * 37 % says.frames.len() };
        let ssrc = ssrc(n, way);
        Flow {
            says,
            pt,
            ssrc,
            sent: 0,
            first_frame,
            times: [0; REMEMBERED as usize],
            pairing: Pairing::default(),
            counted: false,
            tape: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// What becomes of the packet that was written last.
    fn fate(&self) -> Fate {
        self.says.line.as_ref().map_or(Fate::Prompt, |line| line.fate(self.sent - 1))
    }

    /// The next packet, and its sending noted.
    fn write(&mut self, packet: &mut Vec<u8>, now: u64) {
        let frames = &self.says.frames;
        let payload = &frames[(self.first_frame + self.sent as usize) % frames.len()];
        let (sequence, timestamp) =
            (self.sent as u16, (self.sent as u32).wrapping_mul(self.says.codec.frame()));
        let marker = if self.sent == 0 { 0x80 } else { 0 };
        packet.clear();
        packet.extend([0x80, self.pt | marker]);
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        self.times[(sequence % REMEMBERED) as usize] = now;
        self.sent += 1;
    }

    /// The newest packet that had been sent at `at`.
    fn newest(&self, at: u64) -> u16 {
        let last = (self.sent as u16).wrapping_sub(1);
        let before = |back: &u16| self.times[(last.wrapping_sub(*back) % REMEMBERED) as usize] <= at;
        last.wrapping_sub((0..REMEMBERED).find(before).unwrap_or(0))
    }

    /// The number and the send time of the packet that this one came of.
    fn origin(&self, sequence: u16) -> Option<(u16, u64)> {
        let partner = self.pairing.partner(sequence)?;
        let lag = (self.sent as u16).wrapping_sub(1).wrapping_sub(partner);
        (lag < REMEMBERED).then(|| (partner, self.times[(partner % REMEMBERED) as usize]))
    }
}

struct Call {
    source: Ipv4Addr,
    peer: SocketAddrV4,
    party_peer: SocketAddrV4,
    ice: Ice,
    protect: Sender,
    open: Option<Receiver>,
    flows: [Flow; 2],
    taped: bool,
    reception: Reception,
    reports: Vec<Report>,
}

/// What a browser whose speech has a line of its own reported of what it gets over the same line.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How many packets the party had sent by then.
    pub sent: u64,
    /// The fraction lost since the report before, in 256ths.
    pub fraction_lost: u8,
}

impl Call {
    /// What the browser says now and then beside its speech: checks of connectivity, reports.
    fn upkeep(&mut self, n: u32, wires: (&Wire, &Wire)) {
        let (sent, lined) = (self.flows[0].sent, self.flows[0].says.line.is_some());
        if sent % CHECK_EVERY == u64::from(n) % CHECK_EVERY
            && let Ok(check) = self.ice.check()
        {
            self.send(Way::ToParty, &check, wires);
        }
        let every = if lined { REPORT_EVERY_ON_A_LINE } else { REPORT_EVERY };
        if sent % every == u64::from(n) % every
            && let Some((mut report, fraction_lost)) = self.reception.report(ssrc(n, Way::ToParty))
            && self.protect.protect_rtcp(&mut report).is_ok()
        {
            self.send(Way::ToParty, &report, wires);
            if lined {
                self.reports.push(Report { sent: self.flows[1].sent, fraction_lost });
            }
        }
    }

    fn send(&self, way: Way, packet: &[u8], (browsers, parties): (&Wire, &Wire)) {
        match way {
            Way::ToParty => browsers.send(self.source, self.peer, packet),
            Way::ToBrowser => parties.send(Ipv4Addr::LOCALHOST, self.party_peer, packet),
        };
    }
}

/// What a span of time held.
#[derive(Clone, Default)]
pub struct Seen {
    /// To the party, to the browser.
    pub ways: [Counts; 2],
    /// SRTP packets that were verified.
    pub verified: u64,
    /// SRTP packets that were not authentic.
    pub forged: u64,
    /// Directions of calls in which nothing had come out before; they are not counted.
    pub silent: u64,
}

enum Phase {
    Learning,
    Counting { from: u64, to: u64 },
}

/// All calls.
pub struct Engine {
    browsers: Wire,
    parties: Wire,
    party_port: u16,
    browser_port: u16,
    party_rtcp: UdpSocket,
    calls: Vec<Option<Box<Call>>>,
    by_port: Vec<u32>,
    steps: Vec<Vec<(u32, Way)>>,
    step: u64,
    phase: Phase,
    seen: Seen,
    packet: Vec<u8>,
    late: Transit<(u32, Way, Vec<u8>)>,
    /// STUN and DTLS for calls that are being set up: which, from where, what.
    pub letters: VecDeque<(u32, SocketAddr, Vec<u8>)>,
}

impl Engine {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open() -> Fallible<Engine> {
        let (browsers, (parties, rtcp)) = (Wire::open()?, parties()?);
        let (browser_port, party_port) = (browsers.port()?, parties.port()?);
        Ok(Engine {
            browsers,
            parties,
            party_port,
            browser_port,
            party_rtcp: rtcp,
            calls: Vec::new(),
            by_port: vec![u32::MAX; 1 << 16],
            steps: vec![Vec::new(); STEPS as usize],
            step: now_ns() / (FRAME / STEPS),
            phase: Phase::Learning,
            seen: Seen::default(),
            packet: Vec::with_capacity(1500 + OVERHEAD),
            late: Transit::new(),
            letters: VecDeque::new(),
        })
    }

    /// The address of a call's browser.
    pub fn browser(&self, n: u32) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(BROWSERS + 1 + n), self.browser_port)
    }

    /// The SSRC of a call's browser.
    pub fn browser_ssrc(n: u32) -> u32 {
        ssrc(n, Way::ToParty)
    }

    /// The address of every SIP party.
    pub fn party(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.party_port)
    }

    /// Sends for a browser that is being set up.
    pub fn send(&self, n: u32, to: SocketAddrV4, bytes: &[u8]) {
        self.browsers.send(*self.browser(n).ip(), to, bytes);
    }

    /// From now on both ends of this call speak.
    pub fn add(&mut self, n: u32, call: NewCall) {
        let [browser, party] = call.says;
        let sampled = n.is_multiple_of(8);
        let taped = call.taped || browser.0.line.is_some() || party.0.line.is_some();
        let call = Call {
            source: *self.browser(n).ip(),
            peer: call.peer,
            party_peer: call.party_peer,
            ice: call.ice,
            protect: Sender::new(&call.keys.ours),
            open: (sampled || taped).then(|| Receiver::new(&call.keys.theirs, 0)),
            flows: [Flow::new(browser, n, Way::ToParty), Flow::new(party, n, Way::ToBrowser)],
            taped,
            reception: Reception::default(),
            reports: Vec::new(),
        };
        self.by_port[call.party_peer.port() as usize] = n;
        let slot = n as usize;
        if self.calls.len() <= slot {
            self.calls.resize_with(slot + 1, || None);
        }
        self.calls[slot] = Some(Box::new(call));
        // The golden ratio spreads any number of calls evenly over the frame.
        let place = |k: f64| ((k * 0.618_033_988_75).fract() * STEPS as f64) as usize;
        let (first, second) = (f64::from(n * 2), f64::from(n * 2 + 1));
        self.steps[place(first)].push((n, Way::ToParty));
        self.steps[place(second)].push((n, Way::ToBrowser));
    }

    /// Both ends fall silent.
    pub fn remove(&mut self, n: u32) {
        if let Some(call) = self.calls.get_mut(n as usize).and_then(Option::take) {
            let owner = &mut self.by_port[call.party_peer.port() as usize];
            // Another call may have the port already.
            if *owner == n {
                *owner = u32::MAX;
            }
            self.steps.iter_mut().for_each(|step| step.retain(|(of, _)| *of != n));
        }
    }

    /// Does what is due: sends, receives.
    pub fn turn(&mut self) {
        let now = now_ns() / (FRAME / STEPS);
        // What was missed is made up for: whoever fills gaps counts by time, and pairs would no longer fit.
        while self.step < now {
            self.step += 1;
            let slot = (self.step % STEPS) as usize;
            let due = std::mem::take(&mut self.steps[slot]);
            due.iter().for_each(|(n, way)| self.speak(*n, *way));
            self.steps[slot] = due;
        }
        let now = now_ns();
        while let Some((n, way, packet)) = self.late.take(now) {
            if let Some(Some(call)) = self.calls.get(n as usize) {
                call.send(way, &packet, (&self.browsers, &self.parties));
            }
        }
        // Nobody reads the reports, but a full socket would look like a loss.
        while self.party_rtcp.recv(&mut [0]).is_ok() {}
        self.listen();
    }

    fn speak(&mut self, n: u32, way: Way) {
        let Some(Some(call)) = self.calls.get_mut(n as usize) else { return };
        let packet = &mut self.packet;
        let now = now_ns();
        call.flows[way as usize].write(packet, now);
        if let Phase::Counting { from, to } = self.phase
            && call.flows[way as usize].counted
            && (from..to).contains(&now)
        {
            self.seen.ways[way as usize].sent += 1;
        }
        let fate = call.flows[way as usize].fate();
        let said = way == Way::ToBrowser || call.protect.protect_rtp(packet).is_ok();
        match fate {
            Fate::Prompt if said => call.send(way, packet, (&self.browsers, &self.parties)),
            Fate::Late(time) if said => {
                self.late.put(now + time.as_nanos() as u64, (n, way, packet.clone()));
            }
            Fate::Prompt | Fate::Late(_) | Fate::Lost => {}
        }
        if way == Way::ToParty {
            call.upkeep(n, (&self.browsers, &self.parties));
        }
    }

    fn listen(&mut self) {
        let Engine { browsers, parties, calls, by_port, phase, seen, packet, letters, .. } = self;
        let mut answers = Vec::new();
        browsers.receive(|arrival| {
            let n = u32::from(arrival.to).wrapping_sub(BROWSERS + 1);
            let Some(Some(call)) = calls.get_mut(n as usize) else {
                letters.push_back((n, arrival.from.into(), arrival.bytes.to_vec()));
                return;
            };
            match arrival.bytes.first() {
                Some(0..=3) => {
                    if let stun::Heard::Check(answer) = call.ice.hear(arrival.bytes, arrival.from.into()) {
                        answers.push((call.source, arrival.from, answer));
                    }
                }
                Some(128..=191) if is_rtp(arrival.bytes) => {
                    if let Some(header) = arrival.bytes.first_chunk() {
                        call.reception.hear(header, arrival.at, call.flows[0].says.line.as_deref());
                    }
                    let clear = open(call.open.as_mut(), arrival.bytes, packet, seen);
                    note(
                        &mut call.flows[1],
                        &arrival,
                        clear.filter(|_| call.taped),
                        phase,
                        &mut seen.ways[1],
                    );
                }
                Some(_) | None => {}
            }
        });
        answers.iter().for_each(|(source, to, answer)| {
            browsers.send(*source, *to, answer);
        });
        parties.receive(|arrival| {
            let n = by_port[arrival.from.port() as usize];
            let Some(Some(call)) = calls.get_mut(n as usize) else { return };
            if is_rtp(arrival.bytes) {
                let clear = call.taped.then(|| arrival.bytes.get(12..)).flatten();
                note(&mut call.flows[0], &arrival, clear, phase, &mut seen.ways[0]);
            }
        });
    }

    /// Goes on for so long, with `meanwhile` done at every turn.
    ///
    /// # Errors
    /// Those of `meanwhile`.
    pub fn run(
        &mut self,
        span: Duration,
        mut meanwhile: impl FnMut(&mut Engine) -> Fallible<()>,
    ) -> Fallible<()> {
        let until = now_ns() + span.as_nanos() as u64;
        while now_ns() < until {
            self.turn();
            meanwhile(self)?;
            let next = (self.step + 1) * (FRAME / STEPS);
            std::thread::sleep(Duration::from_nanos(next.saturating_sub(now_ns())));
        }
        Ok(())
    }

    /// From now on packets are counted that are sent within `span`.
    pub fn count(&mut self, span: Duration) {
        let from = now_ns();
        self.seen = Seen::default();
        self.phase = Phase::Counting { from, to: from + span.as_nanos() as u64 };
        for flow in self.calls.iter_mut().flatten().flat_map(|call| &mut call.flows) {
            flow.tape.clear();
            // A call whose pairs are not known yet would count as lost.
            flow.counted = flow.pairing.partner(0).is_some();
            self.seen.silent += u64::from(!flow.counted);
        }
    }

    /// What was counted.
    pub fn take_seen(&mut self) -> Seen {
        self.phase = Phase::Learning;
        std::mem::take(&mut self.seen)
    }

    /// What was kept of a call's direction, and with which frame the speech began.
    pub fn tape(&mut self, n: u32, way: Way) -> Option<(Vec<Taped>, usize)> {
        let call = self.calls.get_mut(n as usize)?.as_mut()?;
        let flow = &mut call.flows[way as usize];
        Some((std::mem::take(&mut flow.tape), flow.first_frame))
    }

    /// How many packets a call's direction has sent; none where there is no such call.
    pub fn sent(&self, n: u32, way: Way) -> Option<u64> {
        self.calls.get(n as usize)?.as_ref().map(|call| call.flows[way as usize].sent)
    }

    /// What came out of a call's direction whose speech has a line of its own.
    pub fn heard(&mut self, n: u32, way: Way) -> Vec<Heard> {
        let call = self.calls.get_mut(n as usize).and_then(Option::as_mut);
        call.map(|call| std::mem::take(&mut call.flows[way as usize].heard)).unwrap_or_default()
    }

    /// What a call's browser reported, if its speech has a line of its own.
    pub fn reports(&mut self, n: u32) -> Vec<Report> {
        let call = self.calls.get_mut(n as usize).and_then(Option::as_mut);
        call.map(|call| std::mem::take(&mut call.reports)).unwrap_or_default()
    }
}

/// The parties' RTP socket, and one for the RTCP that peers send to the next port; nobody reads that.
fn parties() -> Fallible<(Wire, UdpSocket)> {
    for _ in 0..100 {
        let wire = Wire::open()?;
        let port = wire.port()?;
        if port.is_multiple_of(2)
            && let Ok(rtcp) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port + 1))
        {
            rtcp.set_nonblocking(true)?;
            return Ok((wire, rtcp));
        }
    }
    Err("no two ports side by side are free".into())
}

fn ssrc(n: u32, way: Way) -> u32 {
    0x1000_0000 + n * 2 + way as u32
}

fn is_rtp(bytes: &[u8]) -> bool {
    bytes.len() > 12 && !(64..96).contains(&(bytes[1] & 0x7f))
}

/// Verifies a packet where the call is one of those that are; its payload.
fn open<'a>(
    receiver: Option<&mut Receiver>,
    bytes: &[u8],
    room: &'a mut Vec<u8>,
    seen: &mut Seen,
) -> Option<&'a [u8]> {
    let receiver = receiver?;
    room.clear();
    room.extend_from_slice(bytes);
    let Ok(length) = receiver.unprotect_rtp(room) else {
        seen.forged += 1;
        return None;
    };
    seen.verified += 1;
    // Contributing sources and an extension may stand before the payload (RFC 3550 §5.3.1).
    let mut start = 12 + 4 * usize::from(room[0] & 0x0f);
    if room[0] & 0x10 != 0 {
        let words = room.get(start + 2..start + 4)?;
        start += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    room.get(start..length)
}

fn note(flow: &mut Flow, arrival: &Arrival<'_>, payload: Option<&[u8]>, phase: &Phase, counts: &mut Counts) {
    if let (Some(payload), true) = (payload, flow.says.line.is_some()) {
        let timestamp = u32::from_be_bytes([4, 5, 6, 7].map(|at| arrival.bytes[at]));
        flow.heard.push(Heard { newest: flow.newest(arrival.at), timestamp, payload: payload.to_vec() });
    }
    let sequence = u16::from_be_bytes([arrival.bytes[2], arrival.bytes[3]]);
    // While packets are counted as well: whoever fills a gap counts on, and what follows has another number.
    flow.pairing.learn(sequence, flow.newest(arrival.at));
    let Phase::Counting { from, to } = phase else { return };
    let Some((number, sent)) = flow.origin(sequence) else { return };
    if !flow.counted || !(*from..*to).contains(&sent) {
        return;
    }
    counts.received += 1;
    counts.latencies.push(arrival.at.saturating_sub(sent).min(u64::from(u32::MAX)) as u32);
    if let Some(payload) = payload {
        flow.tape.push((number, payload.to_vec()));
    }
}
