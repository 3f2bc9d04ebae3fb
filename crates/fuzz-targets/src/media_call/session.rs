//! The same call with a browser whose session is up: what only one who has finished a handshake can send.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use media_bridge::control::{Codec, Command, LegKind, LegParams, Source};
use media_bridge::rtp::is_rtcp;
use media_bridge::srtp::Keys;
use types::{Datagram, LegId};

use super::browser::{self, Browser, OURS};
use super::phone::{OUTSIDER, Phone, description};
use super::{Asked, OPERATIONS, Output, PEERS, World};
use crate::choices::Choices;

const BROWSER: LegId = LegId(0);
const PHONE: LegId = LegId(1);
/// Packets that are kept to come again.
const KEPT: usize = 16;

/// What the kept inputs bring up, by name.
pub const SESSION_OPERATIONS: &[&str] = &[
    "browser heard",
    "browser refused",
    "media to a browser",
    "report to a browser",
    "forged",
    "replayed",
    "checked again",
    "session goes on",
    "session replaced",
    "session lost",
    "given and adopted",
];

/// A browser that has finished its handshake and a phone that hear each other, under the operations of `fuzz_media_call`
/// and under authentic, forged and repeated SRTP and SRTCP, checks and DTLS: the same holds, nothing but what is
/// authentic and new has any effect, and all that the browser gets opens with its keys.
pub fn fuzz_session(data: &[u8]) {
    let _ = session_operations(data);
}

/// The same; which of `SESSION_OPERATIONS` came up, beside others.
pub fn session_operations(data: &[u8]) -> BTreeSet<&'static str> {
    let mut world = World::new(data);
    world.begin();
    let mut operations = 0;
    while !world.choices.is_over() && operations < OPERATIONS {
        operations += 1;
        world.operate_session();
    }
    world.end()
}

impl World<'_> {
    fn begin(&mut self) {
        let transcoded = self.choices.byte() & 3 == 3;
        let codecs = if transcoded { Codec::ALL.to_vec() } else { vec![Codec::Pcmu] };
        let params = LegParams { kind: LegKind::WebRtc, codecs, ..self.params.clone() };
        let offer = browser::description(0, "sendrecv", "actpass");
        let answer = Command::Answer { leg: BROWSER, params, offer: offer.clone() };
        self.command(answer, Asked::Answer(BROWSER, offer));
        let accepted = self.accepted[&BROWSER].clone();
        let (now, wall) = (self.now, self.wall());
        let mut events = Vec::new();
        let browser = Browser::connect(&accepted, now, &mut |from, data| {
            let (mut buf, mut sent) = (Datagram::from(data), Vec::new());
            self.call.handle_browser(BROWSER, (SocketAddr::from(OURS), from), &mut buf, now, wall);
            while let Some(output) = self.call.poll_output(&mut buf) {
                if let Output::Browser { .. } = output {
                    sent.push(buf.to_vec());
                } else {
                    events.push(output);
                }
            }
            sent
        });
        let keys = &browser.association;
        self.phones.entry(BROWSER).or_insert_with(|| Phone::new(BROWSER)).use_keys(Some(&keys.theirs));
        let ours = keys.ours.clone();
        self.watch(BROWSER).use_keys(&ours);
        self.browsers.insert(BROWSER, browser);
        for event in events {
            self.check(event, &[]);
        }
        assert!(self.seen.contains("connected"));
        let offer = description(&mut Choices::new(&[]), PHONE);
        let params = self.params.clone();
        self.command(
            Command::Answer { leg: PHONE, params, offer: offer.clone() },
            Asked::Answer(PHONE, offer),
        );
        for (leg, other) in [(BROWSER, PHONE), (PHONE, BROWSER)] {
            self.command(Command::SetSource { leg, source: Source::Leg(other) }, Asked::Nothing);
        }
    }

    fn operate_session(&mut self) {
        let kind = self.choices.byte() % 12;
        let Some(leg) = self.browsers.keys().next().copied() else { return self.operate() };
        match kind {
            0..=2 => self.speak_oddly(leg, false),
            3 => self.speak_oddly(leg, true),
            4 => self.forge(leg),
            5 => self.repeat(leg),
            6 => self.check_again(leg),
            7 => self.record(leg),
            _ => self.operate(),
        }
    }

    /// A datagram from the browser's address.
    fn browser_sends(&mut self, leg: LegId, from: SocketAddr, data: &[u8]) {
        let (wall, data) = (self.wall(), &mut Datagram::from(data));
        self.call.handle_browser(leg, (SocketAddr::from(OURS), from), data, self.now, wall);
    }

    /// Authentic, and otherwise anything.
    fn speak_oddly(&mut self, leg: LegId, rtcp: bool) {
        let phone = self.phones.entry(leg).or_insert_with(|| Phone::new(leg));
        let packet = if rtcp { phone.odd_rtcp(&mut self.choices) } else { phone.odd_rtp(&mut self.choices) };
        let (Some(packet), Some(browser)) = (packet, self.browsers.get_mut(&leg)) else { return };
        let from = browser.address;
        if browser.came.len() >= KEPT {
            browser.came.remove(0);
        }
        browser.came.push(packet.clone());
        let before = self.relayed;
        self.browser_sends(leg, from, &packet);
        self.drain(Asked::Nothing);
        self.seen.insert(if self.relayed > before { "browser heard" } else { "browser refused" });
    }

    /// A packet that came already, from its own address or another.
    fn repeat(&mut self, leg: LegId) {
        let (which, place) = (self.choices.byte(), self.choices.byte());
        let Some(browser) = self.browsers.get(&leg) else { return };
        if browser.came.is_empty() {
            return;
        }
        let packet = browser.came[usize::from(which) % browser.came.len()].clone();
        let from = if place & 1 == 0 { browser.address } else { SocketAddr::new(OUTSIDER, 5_000) };
        self.browser_sends(leg, from, &packet);
        self.nothing_comes_of_it("replayed");
    }

    /// The same, changed, cut or with more behind; or nothing but a header.
    fn forge(&mut self, leg: LegId) {
        let (which, how, at) = (self.choices.byte(), self.choices.byte(), self.choices.word());
        let Some(browser) = self.browsers.get(&leg) else { return };
        let from = browser.address;
        let mut packet = match browser.came.len() {
            0 => vec![0x80, how, 0, 1, 0, 0, 0, 1, 0, 0, 0x10, 0],
            count => browser.came[usize::from(which) % count].clone(),
        };
        let at = usize::from(at) % packet.len();
        match how & 3 {
            0 => packet[at] ^= how | 1,
            1 => packet.truncate(at),
            2 => packet.extend_from_slice(&[how; 5]),
            _ => packet.insert(at, how),
        }
        if matches!(packet.first(), Some(128..=191)) {
            self.browser_sends(leg, from, &packet);
            self.nothing_comes_of_it("forged");
        }
    }

    fn nothing_comes_of_it(&mut self, what: &'static str) {
        let mut buf = Datagram::default();
        let output = self.call.poll_output(&mut buf);
        assert_eq!(output, None, "of what is {what}");
        self.seen.insert(what);
    }

    fn check_again(&mut self, leg: LegId) {
        let (Some(browser), Some(accepted)) = (self.browsers.get_mut(&leg), self.accepted.get(&leg)) else {
            return;
        };
        let (from, data) = browser.checks(accepted, &mut self.choices, self.now);
        let proven = browser.proven.contains(&from);
        self.browser_sends(leg, from, &data);
        if proven {
            self.drain(Asked::Nothing);
            self.seen.insert("checked again");
        } else {
            self.nothing_comes_of_it("forged");
        }
    }

    /// A DTLS record of any kind, of either epoch.
    fn record(&mut self, leg: LegId) {
        let (kind, epoch, length) = (self.choices.byte(), self.choices.byte(), self.choices.byte());
        let body = self.choices.bytes(usize::from(length));
        let mut data = vec![20 + kind % 44, 254, 253, 0, epoch & 1, 0, 0, 0, 0, 0, epoch];
        data.extend_from_slice(&(body.len() as u16).to_be_bytes());
        data.extend_from_slice(body);
        let Some(browser) = self.browsers.get(&leg) else { return };
        let from = browser.address;
        self.browser_sends(leg, from, &data);
        self.drain(Asked::Nothing);
    }

    /// Whose keys hold on a leg after a description was taken: a browser's stay with its fingerprint (RFC 8842 §4).
    pub(super) fn association(&mut self, leg: LegId, asked: &Asked) -> Option<Keys> {
        let (Asked::Answer(_, theirs) | Asked::SetAnswer(_, theirs)) = asked else { return None };
        let print = PEERS.fingerprint();
        if !theirs.windows(print.len()).any(|part| part == print.as_bytes()) {
            if self.browsers.remove(&leg).is_some() {
                self.seen.insert("session replaced");
            }
            return None;
        }
        let association = &self.browsers.get(&leg)?.association;
        let (ours, theirs) = (association.ours.clone(), association.theirs.clone());
        self.watch(leg).use_keys(&ours);
        self.seen.insert("session goes on");
        Some(theirs)
    }

    /// What the shared socket sends.
    pub(super) fn browser_gets(&mut self, leg: LegId, to: SocketAddr, data: &[u8]) {
        let known = self.browsers.get(&leg).is_some_and(|browser| browser.proven.contains(&to));
        assert!(known, "{} bytes to {to}, which proved nothing", data.len());
        if !matches!(data.first(), Some(128..=191)) {
            return;
        }
        let now = self.now;
        if is_rtcp(data) {
            self.watch(leg).rtcp(to, data);
            self.seen.insert("report to a browser");
        } else {
            let encrypted = self.watch(leg).rtp(to, data, now);
            assert!(encrypted, "in the clear to a browser");
            self.seen.insert("media to a browser");
        }
    }
}
