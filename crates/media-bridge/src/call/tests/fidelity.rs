//! What becomes of digits between all ways of saying them: written into `docs/QUALITY.md` with WEBTRUNK_WRITE_DOCS=1,
//! else compared with what stands there.

use std::fmt::Write;
use std::path::PathBuf;

use super::digits::{made_anew, plain_offer, reported, sung, tone};
use super::*;
use crate::control::DtmfMode;

const KEYS: &[u8; 16] = b"0123456789*#ABCD";
const LENGTHS: [u64; 4] = [70, 100, 250, 1_000];
const BEGIN: &str = "<!-- digits: written by the tests of media-bridge -->";
const END: &str = "<!-- digits: end -->";

/// How a peer says and gets digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Telephone-events of this clock beside this codec.
    Events(Codec, u32),
    Info,
    Tones(Codec),
}

const MODES: [Mode; 9] = [
    Mode::Events(Codec::Opus, 48_000),
    Mode::Events(Codec::Opus, 8_000),
    Mode::Events(Codec::Pcmu, 8_000),
    Mode::Events(Codec::G722, 16_000),
    Mode::Info,
    Mode::Tones(Codec::Pcmu),
    Mode::Tones(Codec::Pcma),
    Mode::Tones(Codec::G722),
    Mode::Tones(Codec::Opus),
];

impl Mode {
    fn name(self) -> String {
        match self {
            Mode::Events(codec, clock) => format!("{} events/{}", codec.name(), clock / 1_000),
            Mode::Info => "INFO".to_owned(),
            Mode::Tones(codec) => format!("{} tones", codec.name()),
        }
    }

    fn codec(self) -> Codec {
        match self {
            Mode::Events(codec, _) | Mode::Tones(codec) => codec,
            Mode::Info => Codec::Pcmu,
        }
    }

    fn answer(self, world: &mut World, leg: LegId, from: &str) {
        let (offer, dtmf) = match self {
            Mode::Events(codec, clock) => {
                let usual = offer(from, codec);
                let at = usual.find("telephone-event/").unwrap() + "telephone-event/".len();
                let rest = usual[at..].trim_start_matches(|c: char| c.is_ascii_digit());
                (format!("{}{clock}{rest}", &usual[..at]), DtmfMode::Auto)
            }
            Mode::Info => (plain_offer(from, Codec::Pcmu), DtmfMode::Info),
            Mode::Tones(codec) => (plain_offer(from, codec), DtmfMode::Inband),
        };
        let params = LegParams { dtmf, ..params(&[self.codec()]) };
        world.command(Command::Answer { leg, params, offer: offer.into() });
        world.local_sdp(leg);
    }
}

/// A peer whose line loses packets.
struct Speaker {
    peer: Peer,
    mode: Mode,
    seed: Seed,
    lost_percent: u8,
}

impl Speaker {
    fn send(&mut self, world: &mut World, packet: &[u8]) {
        let mut draw = [0; 2];
        self.seed.fill(&mut draw);
        if u16::from_be_bytes(draw) % 100 >= u16::from(self.lost_percent) {
            world.rtp(self.peer.leg, self.peer.address, packet);
        }
    }

    fn say(&mut self, world: &mut World, pcm: &[i16]) {
        let packet = self.peer.of(160, pcm);
        self.send(world, &packet);
        world.pass(FRAME);
    }

    fn pause(&mut self, world: &mut World) {
        for _ in 0..7 {
            self.say(world, &vec![0; self.peer.rate as usize / 50]);
        }
    }

    fn press(&mut self, world: &mut World, key: u8, ms: u64) {
        match self.mode {
            Mode::Events(codec, clock) => {
                self.events(world, key, ms as u32, clock, crate::sdp::clock_rate(codec))
            }
            Mode::Info => {
                let (digit, duration) = (char::from(key), Duration::from_millis(ms));
                world.command(Command::Pressed { leg: A, digit, duration });
                (0..ms / 20).for_each(|_| self.say(world, &[0; 160]));
            }
            Mode::Tones(_) => {
                for frame in tone(char::from(key), ms, self.peer.rate) {
                    self.say(world, &frame);
                }
            }
        }
    }

    fn events(&mut self, world: &mut World, key: u8, ms: u32, clock: u32, audio: u32) {
        let (event, start) = (KEYS.iter().position(|k| *k == key).unwrap() as u8, self.peer.ts);
        for at in (20..ms).step_by(20) {
            let packet = self.peer.event(event, false, (at * clock / 1_000) as u16, start);
            self.send(world, &packet);
            world.pass(FRAME);
        }
        for _ in 0..3 {
            let packet = self.peer.event(event, true, (ms * clock / 1_000) as u16, start);
            self.send(world, &packet);
            world.pass(FRAME);
        }
        self.peer.ts = start.wrapping_add(ms * audio / 1_000 + 3 * audio / 50);
    }
}

/// Digits that come out, with their milliseconds.
fn come_out(world: &World, to: Mode) -> Vec<(char, u64)> {
    match to {
        Mode::Events(_, clock) => {
            let made = made_anew(world, B, clock).into_iter();
            made.map(|(event, ms)| (char::from(KEYS[usize::from(event)]), u64::from(ms))).collect()
        }
        Mode::Info => reported(world).into_iter().map(|(digit, ms)| (digit, ms as u64)).collect(),
        Mode::Tones(codec) => {
            let heard = sung(world, B, codec).into_iter();
            heard.map(|d| (d.digit, d.duration.as_millis() as u64)).collect()
        }
    }
}

/// Sixteen presses: how many come out, and by how many milliseconds they differ at most. `turn`: which has which length.
fn crossing(from: Mode, to: Mode, lost_percent: u8, turn: usize) -> (usize, u64) {
    let mut world = World::new();
    from.answer(&mut world, A, PEER_A);
    to.answer(&mut world, B, PEER_B);
    world.hear(A, Source::Leg(B));
    world.hear(B, Source::Leg(A));
    let seed = Seed(turn as u64 + 1);
    let mut speaker = Speaker { peer: Peer::new(A, PEER_A, from.codec()), mode: from, seed, lost_percent };
    let length = |n: usize| LENGTHS[(n + n / 4 + turn) % LENGTHS.len()];
    speaker.pause(&mut world);
    for (n, key) in KEYS.iter().enumerate() {
        speaker.press(&mut world, *key, length(n));
        speaker.pause(&mut world);
    }
    world.pass(Duration::from_secs(4));
    let mut wanted = KEYS.iter().enumerate().map(|(n, key)| (char::from(*key), length(n))).peekable();
    let (mut right, mut worst) = (0, 0);
    for (digit, ms) in come_out(&world, to) {
        let same = std::iter::from_fn(|| wanted.next()).find(|(key, _)| *key == digit);
        let Some((_, pressed)) = same else { return (99, 0) };
        right += 1;
        worst = worst.max(ms.abs_diff(pressed));
    }
    (right, worst)
}

fn table(lost_percent: u8, columns: &[Mode]) -> String {
    let mut text = format!("| {lost_percent} % lost |");
    text.extend(columns.iter().map(|to| format!(" {} |", to.name())));
    text += &format!("\n|---|{}\n", "---|".repeat(columns.len()));
    for (n, from) in MODES.into_iter().enumerate() {
        write!(text, "| {} |", from.name()).unwrap();
        for (m, to) in columns.iter().copied().enumerate() {
            let (right, worst) = crossing(from, to, lost_percent, n + m);
            let worst = worst.next_multiple_of(10);
            if lost_percent == 0 {
                assert_eq!((right, worst <= 50), (16, true), "{from:?} to {to:?}: {worst} ms");
            } else {
                assert!((13..=16).contains(&right), "{from:?} to {to:?}: {right}");
            }
            write!(text, " {right}, {worst} ms |").unwrap();
        }
        text.push('\n');
    }
    text
}

fn section() -> String {
    format!(
        "{BEGIN}\n## DTMF\n\nEach of the sixteen keys is pressed once, for 70, 100, 250 or 1,000 ms in turn, from each way of saying \
         digits (rows)\nto each way of getting them (columns): how many come out right, and by how much the length of one \
         differs at most, rounded up to\n10 ms. None ever comes out twice or as another. *events/48* are telephone-events (RFC 4733) \
         of that clock in kHz; Opus with\nevents is a browser. Tones are made and detected within ITU-T Q.23 and Q.24. INFO is \
         `application/dtmf-relay`; the body\n`application/dtmf` has no length, which counts as 160 ms. Lost are packets \
         towards the gateway, audio and events alike.\n\n{}\n{}{END}\n",
        table(0, &MODES),
        table(5, &[MODES[2], Mode::Info, MODES[5]])
    )
}

/// All there are in a text. Lengths differ a little with the processor: libopus is not the same to the last bit on all.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Field problems 16 and 17: RFC 4733 §2.5.1.
#[test]
fn digits_cross_from_every_way_to_every_way_as_the_document_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/QUALITY.md");
    let (section, page) = (section(), std::fs::read_to_string(&path).unwrap_or_default());
    let (before, after) = match (page.find(BEGIN), page.find(END)) {
        (Some(begin), Some(end)) => (&page[..begin], page[end + END.len()..].trim_start_matches('\n')),
        (_, _) => (&page[..], ""),
    };
    if std::env::var_os("WEBTRUNK_WRITE_DOCS").is_some() {
        let before = if before.is_empty() { String::new() } else { format!("{}\n\n", before.trim_end()) };
        std::fs::write(&path, format!("{before}{section}{after}")).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let kept = page.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next()).unwrap_or("");
    let (kept, now) = (numbers(kept), numbers(&section));
    let same = kept.len() == now.len() && kept.iter().zip(&now).all(|(a, b)| a.abs_diff(*b) <= 10);
    assert!(same, "docs/QUALITY.md is stale; run make docs. Now it is:\n{section}");
}
