//! What a `MediaCall` costs per packet, beside the cipher and codec work that it can not save. In process, in virtual
//! time; each route's call and its floors take turns, so that a busy machine disturbs all of them alike.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::wildcard_enum_match_arm, missing_docs)]

#[path = "../../tests/allocations/browser.rs"]
mod browser;
mod floor;
#[path = "../../tests/allocations/line.rs"]
mod line;

use std::ops::Range;
use std::time::Instant;

use browser::Browser;
use floor::{Cipher, Codecs};
use line::{A, Arrival, B, FRAME, Line, Phone, Voice};
use media_bridge::call::Output;
use media_bridge::codec::{NARROW, own_rate};
use media_bridge::control::Codec;
use types::{Datagram, LegId};
use webrtc_peer::PeerFactory;

/// Packets of one turn, 1 s of a call: short, so that most turns run undisturbed on a busy machine.
const PACKETS: usize = 50;
/// The first of them are not timed: whatever ran before has had the caches.
const COLD: usize = 10;
const TURNS: usize = 300;
/// Turns before anything counts: signalling is told after 3 s that the listener itself says nothing, once.
const WARM: usize = 5;

/// Who is at one end.
#[derive(Clone, Copy)]
enum Kind {
    Phone,
    /// With AES-256-GCM, as a browser.
    Encrypted,
    Browser,
}

struct Route {
    name: &'static str,
    from: (Kind, Codec),
    to: (Kind, Codec),
}

const fn route(name: &'static str, from: (Kind, Codec), to: (Kind, Codec)) -> Route {
    Route { name, from, to }
}

const ROUTES: [Route; 17] = [
    route("relay  phone PCMU   -> phone PCMU", (Kind::Phone, Codec::Pcmu), (Kind::Phone, Codec::Pcmu)),
    route("relay  SRTP phone PCMU -> phone PCMU", (Kind::Encrypted, Codec::Pcmu), (Kind::Phone, Codec::Pcmu)),
    route("relay  phone PCMU -> SRTP phone PCMU", (Kind::Phone, Codec::Pcmu), (Kind::Encrypted, Codec::Pcmu)),
    route("relay  browser PCMU -> phone PCMU", (Kind::Browser, Codec::Pcmu), (Kind::Phone, Codec::Pcmu)),
    route("relay  phone PCMU -> browser PCMU", (Kind::Phone, Codec::Pcmu), (Kind::Browser, Codec::Pcmu)),
    route("relay  browser Opus -> phone Opus", (Kind::Browser, Codec::Opus), (Kind::Phone, Codec::Opus)),
    route("relay  phone Opus -> browser Opus", (Kind::Phone, Codec::Opus), (Kind::Browser, Codec::Opus)),
    route("transcode  phone Opus -> phone PCMU", (Kind::Phone, Codec::Opus), (Kind::Phone, Codec::Pcmu)),
    route("transcode  phone PCMU -> phone Opus", (Kind::Phone, Codec::Pcmu), (Kind::Phone, Codec::Opus)),
    route("transcode  browser Opus -> phone PCMU", (Kind::Browser, Codec::Opus), (Kind::Phone, Codec::Pcmu)),
    route("transcode  phone PCMU -> browser Opus", (Kind::Phone, Codec::Pcmu), (Kind::Browser, Codec::Opus)),
    route("transcode  browser Opus -> phone G.722", (Kind::Browser, Codec::Opus), (Kind::Phone, Codec::G722)),
    route("transcode  phone G.722 -> browser Opus", (Kind::Phone, Codec::G722), (Kind::Browser, Codec::Opus)),
    route("transcode  phone G.722 -> phone PCMU", (Kind::Phone, Codec::G722), (Kind::Phone, Codec::Pcmu)),
    route("transcode  phone PCMU -> phone G.722", (Kind::Phone, Codec::Pcmu), (Kind::Phone, Codec::G722)),
    route("transcode  phone PCMU -> phone PCMA", (Kind::Phone, Codec::Pcmu), (Kind::Phone, Codec::Pcma)),
    route("relay  phone G.722 -> phone G.722", (Kind::Phone, Codec::G722), (Kind::Phone, Codec::G722)),
];

enum End {
    Phone(Box<Phone>),
    Browser(Box<Browser>),
}

impl End {
    fn new(line: &mut Line, leg: LegId, (kind, codec): (Kind, Codec)) -> End {
        match kind {
            Kind::Phone => End::Phone(Box::new(line.phone(leg, codec))),
            Kind::Encrypted => End::Phone(Box::new(line.encrypted_phone(leg, codec))),
            Kind::Browser => End::Browser(Box::new(Browser::dial(line, leg, codec))),
        }
    }

    fn say(&mut self, payload: &[u8], at: Instant) -> Arrival {
        match self {
            End::Phone(phone) => phone.say(payload, at),
            End::Browser(browser) => browser.say(payload, at),
        }
    }

    /// As browsers check: every few seconds.
    fn check(&mut self, line: &mut Line) {
        if let End::Browser(browser) = self {
            let arrival = browser.check_arrival(line.now);
            line.arrive(&arrival, &mut |_, _| {});
        }
    }

    /// The payload of a datagram that the call sent here.
    fn hear(&mut self, output: &Output, data: &[u8]) -> Option<Vec<u8>> {
        match (self, output) {
            (End::Phone(phone), Output::Rtp { leg: B, .. }) => phone.hear(data),
            (End::Browser(browser), Output::Browser { leg: B, .. }) => browser.hear(data),
            _ => None,
        }
    }
}

/// Nanoseconds per packet of one turn.
#[derive(Clone, Copy)]
struct Turn {
    ours: f64,
    cipher: f64,
    codecs: f64,
}

/// One direction of one call with its floors.
struct Running {
    line: Line,
    speaker: End,
    listener: End,
    voice: Voice,
    proven: bool,
    cipher: Cipher,
    opens: bool,
    seals: bool,
    codecs: Option<Codecs>,
    turns: Vec<Turn>,
    allocations: u64,
}

impl Running {
    fn new(route: &Route) -> Running {
        let mut line = Line::new(PeerFactory::new().unwrap());
        let speaker = End::new(&mut line, A, route.from);
        let listener = End::new(&mut line, B, route.to);
        line.hear(B, A);
        let rate = own_rate(route.from.1).or(own_rate(route.to.1)).unwrap_or(NARROW);
        let opens = !matches!(route.from.0, Kind::Phone);
        let seals = !matches!(route.to.0, Kind::Phone);
        Running {
            line,
            speaker,
            listener,
            voice: Voice::at(route.from.1, rate),
            proven: false,
            cipher: Cipher::new(),
            opens,
            seals,
            codecs: Codecs::new(route.from.1, route.to.1),
            turns: Vec::new(),
            allocations: 0,
        }
    }

    /// The next packets: as the speaker's datagrams, and their payloads. The very first comes at once.
    fn packets(&mut self) -> (Vec<Arrival>, Vec<Vec<u8>>) {
        let begin = if self.proven { self.line.now + FRAME } else { self.line.now };
        let payloads: Vec<Vec<u8>> = (0..PACKETS).map(|_| self.voice.next()).collect();
        let at = |n: usize| begin + FRAME * n as u32;
        let arrivals = payloads.iter().enumerate().map(|(n, p)| self.speaker.say(p, at(n))).collect();
        (arrivals, payloads)
    }

    /// The first turn is not measured: it shows that the call does what the floors do.
    fn prove(&mut self, name: &str) {
        let (arrivals, payloads) = self.packets();
        let mut heard = Vec::new();
        for arrival in &arrivals {
            let listener = &mut self.listener;
            self.line.arrive(arrival, &mut |output, data| heard.extend(listener.hear(&output, data)));
        }
        self.proven = true;
        let mut expected = payloads;
        if let Some(codecs) = &mut self.codecs {
            let source = expected.clone();
            codecs.run(&source, &mut expected);
        }
        assert_eq!(heard.len(), PACKETS, "{name}");
        assert!(heard == expected, "{name}: the call sent something else than the codecs make");
    }

    /// ICE pairs are given up after 15 s without a check.
    fn keep_alive(&mut self) {
        self.speaker.check(&mut self.line);
        self.listener.check(&mut self.line);
    }

    fn turn(&mut self) {
        let (arrivals, payloads) = self.packets();
        let mut sent = 0;
        let mut received: Vec<Datagram> = arrivals.iter().map(|a| Datagram::from(&a.data[..])).collect();
        let (ours, allocations) = measured(|packets| {
            for (arrival, data) in arrivals[packets.clone()].iter().zip(&mut received[packets]) {
                self.line.arrive_in(data, arrival, &mut |output, _| {
                    sent += usize::from(matches!(
                        output,
                        Output::Rtp { leg: B, .. } | Output::Browser { leg: B, .. }
                    ));
                });
            }
        });
        assert!(sent >= PACKETS, "{sent} of {PACKETS} packets were sent");
        self.allocations += allocations;
        let mut coded = payloads.clone();
        coded.iter_mut().for_each(|payload| payload.reserve(1_500));
        let codecs = self.codecs.as_mut().map_or(0.0, |codecs| {
            measured(|packets| codecs.run(&payloads[packets.clone()], &mut coded[packets])).0
        });
        let sealed = self.cipher.sealed(&payloads);
        let mut cipher = 0.0;
        if self.opens {
            cipher += measured(|packets| self.cipher.open_all(&sealed[packets])).0;
        }
        if self.seals {
            cipher += measured(|packets| self.cipher.seal_all(&coded[packets])).0;
        }
        self.turns.push(Turn { ours, cipher, codecs });
    }

    fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        let mut all: Vec<f64> = self.turns.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }
}

/// Nanoseconds per packet of a turn's later part, and allocations of all of it.
fn measured(mut work: impl FnMut(Range<usize>)) -> (f64, u64) {
    let mut time = 0.0;
    let counted = allocation_counter::measure(|| {
        work(0..COLD);
        let begin = Instant::now();
        work(COLD..PACKETS);
        time = begin.elapsed().as_nanos() as f64 / (PACKETS - COLD) as f64;
    });
    (time, counted.count_total)
}

fn main() {
    let mut running: Vec<Running> = ROUTES.iter().map(Running::new).collect();
    for (route, running) in ROUTES.iter().zip(&mut running) {
        running.prove(route.name);
        (0..WARM).for_each(|_| running.turn());
        running.turns.clear();
        running.allocations = 0;
    }
    for turn in 0..TURNS {
        if turn % 5 == 0 {
            running.iter_mut().for_each(Running::keep_alive);
        }
        running.iter_mut().for_each(Running::turn);
    }
    print_ratios(&running);
    print_times(&running);
    std::process::exit(print_allocations(&running));
}

fn print_ratios(running: &[Running]) {
    println!(
        "\ncost of a packet as a multiple of the work in it (median of {TURNS} turns of {PACKETS} packets)\n"
    );
    println!("| route | / cipher + codecs |");
    println!("|---|---:|");
    for (route, r) in ROUTES.iter().zip(running) {
        let floor = |t: &Turn| t.cipher + t.codecs;
        let bare = if r.median(floor) > 0.0 {
            format!("{:.2}", r.median(|t| t.ours / floor(t)))
        } else {
            "nothing to compare with".to_owned()
        };
        println!("| {} | {bare} |", route.name);
    }
}

fn print_times(running: &[Running]) {
    println!("\nmicroseconds per packet\n");
    println!("| route | MediaCall | cipher alone | codecs alone |");
    println!("|---|---:|---:|---:|");
    for (route, r) in ROUTES.iter().zip(running) {
        let us = |of: fn(&Turn) -> f64| match r.median(of) / 1_000.0 {
            us if us > 0.0 => format!("{us:.3}"),
            _ => String::new(),
        };
        let (ours, cipher) = (us(|t| t.ours), us(|t| t.cipher));
        println!("| {} | {ours} | {cipher} | {} |", route.name, us(|t| t.codecs));
    }
}

/// Exit code: nothing may be allocated. A browser's connectivity checks, answered by `is`, are not among the packets.
fn print_allocations(running: &[Running]) -> i32 {
    println!("\nallocations per packet after warm-up\n");
    println!("| route | allocations |");
    println!("|---|---:|");
    let mut bad = 0;
    for (route, r) in ROUTES.iter().zip(running) {
        println!("| {} | {:.3} |", route.name, r.allocations as f64 / (TURNS * PACKETS) as f64);
        bad |= i32::from(r.allocations > 0);
    }
    bad
}
