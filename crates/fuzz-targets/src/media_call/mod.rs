//! Sequences of operations on a whole call, read from bytes.

mod browser;
mod phone;
mod session;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media_bridge::call::record::FRAME_BYTES;
use media_bridge::call::{MediaCall, MediaSetup, Output, PortNeed};
use media_bridge::control::{
    Bandwidth, Codec, Command, DtmfMode, Event, LegKind, LegParams, Source, Srtp, Tone,
};
use media_bridge::sound::{Sound, SoundId};
use types::{CallId, Datagram, LegId, RecordingId, Wall, WorkerId, limits};

use crate::choices::Choices;
use crate::entrance::PEERS;
use crate::mutate::Random;
use browser::{Browser, OURS};
use phone::{Phone, description};
pub use session::{SESSION_OPERATIONS, fuzz_session, session_operations};
use watch::Watch;

const OPERATIONS: usize = 60;
/// Descriptions of one input: each costs as much as a hundred packets, and their text has a target of its own.
const DESCRIPTIONS: usize = 10;
const LEGS: u8 = 4;
/// No session ends sooner after a check.
const CHECKED: Duration = Duration::from_secs(13);

/// What the kept inputs bring up, by name.
pub const MEDIA_CALL_OPERATIONS: &[&str] = &[
    "offer answered",
    "offer of a browser answered",
    "offer answered again",
    "offer of ours",
    "offer of ours answered",
    "offer of ours answered again",
    "encrypted by their offer",
    "encrypted by their answer",
    "refused",
    "refused on a leg that lives",
    "connected",
    "silent",
    "direction",
    "digit heard",
    "media sent",
    "media sent encrypted",
    "report sent",
    "other address family",
    "given and adopted",
    "removed",
    "closed in the middle",
];

/// What signalling asked for last.
enum Asked {
    Nothing,
    Offer(LegId),
    Answer(LegId, Vec<u8>),
    SetAnswer(LegId, Vec<u8>),
}

struct World<'a> {
    call: MediaCall,
    start: Instant,
    now: Instant,
    choices: Choices<'a>,
    legs: BTreeMap<LegId, Watch>,
    phones: BTreeMap<LegId, Phone>,
    /// Those with a session that is up.
    browsers: BTreeMap<LegId, Browser>,
    /// Credentials that checks need, as the demultiplexer has them.
    accepted: BTreeMap<LegId, (String, String)>,
    params: LegParams,
    descriptions: usize,
    /// Packets of RTP that went to phones.
    relayed: u64,
    closed: bool,
    seen: BTreeSet<&'static str>,
}

/// A call under any sequence of commands, descriptions, packets and time: no panic, a bounded answer to each, one event for
/// each command that wants one, nothing sent before something is agreed on, one stream on each leg whose numbers only
/// grow, each SRTP index once, every leg released, one `Closed` and nothing after it.
pub fn fuzz_media_call(data: &[u8]) {
    let _ = media_call_operations(data);
}

/// The same; which of `MEDIA_CALL_OPERATIONS` came up.
pub fn media_call_operations(data: &[u8]) -> BTreeSet<&'static str> {
    let mut world = World::new(data);
    let mut operations = 0;
    while !world.choices.is_over() && operations < OPERATIONS {
        operations += 1;
        world.operate();
    }
    world.end()
}

impl<'a> World<'a> {
    fn new(data: &'a [u8]) -> World<'a> {
        let candidates = vec![SocketAddr::from(OURS)];
        let setup = Arc::new(MediaSetup {
            peers: PEERS.clone(),
            candidates,
            tcp: Vec::new(),
            sounds: Arc::new([Sound::new(vec![1_000; 16_000])]),
        });
        let now = Instant::now();
        World {
            call: MediaCall::new(CallId(1), setup, Box::new(Random(5))),
            start: now,
            now,
            choices: Choices::new(data),
            legs: BTreeMap::new(),
            phones: BTreeMap::new(),
            browsers: BTreeMap::new(),
            accepted: BTreeMap::new(),
            params: params(),
            descriptions: 0,
            relayed: 0,
            closed: false,
            seen: BTreeSet::new(),
        }
    }

    fn wall(&self) -> Wall {
        Wall(1_800_000_000_000_000 + (self.now - self.start).as_micros() as u64)
    }

    fn operate(&mut self) {
        let operation = self.choices.byte() % 20;
        self.descriptions += usize::from(operation <= 3);
        match operation {
            0..=3 if self.descriptions > DESCRIPTIONS => {}
            0 | 1 => self.answer(),
            2 => self.offer(),
            3 => self.set_answer(),
            4 | 5 => self.hear(),
            6..=10 => self.speak(),
            11 => self.report(),
            12 => self.garbage(),
            13 | 14 => self.pass(),
            15 => self.sleep(),
            16 => self.digit(),
            17 => self.give(),
            18 => {
                let leg = self.leg();
                self.command(Command::Remove { leg }, Asked::Nothing);
            }
            _ => self.rarely(),
        }
    }

    fn leg(&mut self) -> LegId {
        LegId(u16::from(self.choices.byte() % LEGS))
    }

    fn answer(&mut self) {
        let leg = self.leg();
        let offer = self.describe(leg);
        let params = self.params_for(&offer);
        self.command(Command::Answer { leg, params, offer: offer.clone() }, Asked::Answer(leg, offer));
    }

    fn offer(&mut self) {
        let leg = self.leg();
        let params = self.params_for(&[]);
        self.command(Command::Offer { leg, params }, Asked::Offer(leg));
    }

    fn set_answer(&mut self) {
        let leg = self.leg();
        let answer = self.describe(leg);
        self.command(Command::SetAnswer { leg, answer: answer.clone() }, Asked::SetAnswer(leg, answer));
    }

    /// Mostly a browser goes on with its session.
    fn describe(&mut self, leg: LegId) -> Vec<u8> {
        match self.browsers.get_mut(&leg) {
            Some(browser) if self.choices.byte() & 7 != 7 => browser.describes(&mut self.choices),
            Some(_) | None => description(&mut self.choices, leg),
        }
    }

    fn params_for(&mut self, offer: &[u8]) -> LegParams {
        let how = self.choices.byte();
        let srtp = [Srtp::Optional, Srtp::Off, Srtp::IfOffered, Srtp::Required][usize::from(how & 3)];
        let codecs: &[Codec] = match how >> 2 & 3 {
            0 | 1 => &Codec::ALL,
            2 => &[Codec::Pcma, Codec::Pcmu],
            _ => &[Codec::Pcmu],
        };
        let dtmf = [DtmfMode::Auto, DtmfMode::Rfc4733, DtmfMode::Info, DtmfMode::Inband];
        let kind = if offer.is_empty() && how & 0x80 != 0 {
            LegKind::WebRtc
        } else {
            media_bridge::sdp::offered_kind(offer)
        };
        let dtmf = dtmf[usize::from(how >> 4 & 3)];
        let called = how & 0x40 != 0;
        LegParams { kind, srtp, dtmf, called, codecs: codecs.to_vec(), ..self.params.clone() }
    }

    fn hear(&mut self) {
        let leg = self.leg();
        let from = self.leg();
        let hear = |source| Command::SetSource { leg, source };
        let all = [
            hear(Source::Leg(from)),
            hear(Source::Leg(from)),
            hear(Source::Echo),
            hear(Source::Nothing),
            hear(Source::Tone(Tone::Ringback)),
            hear(Source::Music(SoundId(0))),
            Command::Play { leg, sound: SoundId(leg.0 % 2) },
            Command::Record { recording: RecordingId(1 + leg.0 % 2), left: leg, right: from },
        ];
        let chosen = usize::from(self.choices.byte()) % all.len();
        self.command(all[chosen].clone(), Asked::Nothing);
    }

    fn speak(&mut self) {
        let leg = self.leg();
        let phone = self.phones.entry(leg).or_insert_with(|| Phone::new(leg));
        let count = 1 + self.choices.byte() % 4;
        for _ in 0..count {
            let (source, packet) = (phone.source(&mut self.choices), phone.rtp(&mut self.choices));
            let wall = Wall(1_800_000_000_000_000);
            let data = &mut Datagram::from(&packet[..]);
            match self.browsers.get(&leg) {
                Some(browser) => {
                    let path = (SocketAddr::from(OURS), browser.address);
                    self.call.handle_browser(leg, path, data, self.now, wall);
                }
                None => self.call.handle_rtp(leg, source, data, self.now, wall),
            }
            self.now += Duration::from_millis(20);
        }
        self.drain(Asked::Nothing);
    }

    fn report(&mut self) {
        let leg = self.leg();
        let phone = self.phones.entry(leg).or_insert_with(|| Phone::new(leg));
        let ours = self.legs.get(&leg).and_then(|watch| watch.ssrc).unwrap_or(9);
        let (source, packet) = (phone.source(&mut self.choices), phone.rtcp(ours, &mut self.choices));
        let (wall, mut packet) = (self.wall(), Datagram::from(&packet[..]));
        if self.choices.byte() & 1 == 0 {
            self.call.handle_rtcp(leg, source, &mut packet, self.now, wall);
        } else {
            self.call.handle_rtp(leg, source, &mut packet, self.now, wall);
        }
        self.drain(Asked::Nothing);
    }

    fn garbage(&mut self) {
        let (leg, way, length) = (self.leg(), self.choices.byte(), self.choices.byte());
        let source = Phone::new(leg).source(&mut self.choices);
        let (data, wall) = (self.choices.bytes(usize::from(length)), self.wall());
        let (ours, data) = (SocketAddr::from(OURS), &mut Datagram::from(data));
        match way % 3 {
            0 => self.call.handle_rtp(leg, source, data, self.now, wall),
            1 => self.call.handle_rtcp(leg, source, data, self.now, wall),
            _ => self.call.handle_browser(leg, (ours, source), data, self.now, wall),
        }
        self.drain(Asked::Nothing);
    }

    fn pass(&mut self) {
        let span = self.choices.of(&[20, 40, 100, 300, 1_000, 3_500]);
        let until = self.now + Duration::from_millis(span);
        let mut at_once = 0;
        while let Some(at) = self.call.poll_timeout().filter(|at| *at <= until) {
            // One leg's timer may make another's due.
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 4, "a timer that is not done with");
            self.now = self.now.max(at);
            let wall = self.wall();
            self.call.handle_timeout(self.now, wall);
            self.drain(Asked::Nothing);
        }
        self.now = until;
    }

    /// Nobody looks at the timers meanwhile.
    fn sleep(&mut self) {
        let span = self.choices.of(&[100, 3_000, 60_000, 86_400_000]);
        self.now += Duration::from_millis(span);
        let wall = self.wall();
        self.call.handle_timeout(self.now, wall);
        self.drain(Asked::Nothing);
    }

    fn digit(&mut self) {
        let (leg, digit) = (self.leg(), self.choices.of(&['1', '#', 'D', 'x', '\u{1f600}']));
        let duration = Duration::from_millis(self.choices.of(&[100, 0, 5_000, u64::MAX]));
        let command = match self.choices.byte() & 1 {
            0 => Command::SendDtmf { leg, digit, duration },
            _ => Command::Pressed { leg, digit, duration },
        };
        self.command(command, Asked::Nothing);
    }

    /// To itself, under another name.
    fn give(&mut self) {
        let (leg, to) = (self.leg(), self.leg());
        if self.closed || (leg != to && self.legs.contains_key(&to)) {
            return;
        }
        let Some(given) = self.call.give(leg, self.now) else { return };
        self.drain(Asked::Nothing);
        self.call.adopt(given, to, self.now);
        let watch = self.legs.remove(&leg);
        self.legs.extend(watch.map(|watch| (to, watch)));
        let (browser, accepted) = (self.browsers.remove(&leg), self.accepted.remove(&leg));
        self.browsers.extend(browser.map(|browser| (to, browser)));
        self.accepted.extend(accepted.map(|accepted| (to, accepted)));
        self.seen.insert("given and adopted");
        self.drain(Asked::Nothing);
    }

    fn rarely(&mut self) {
        let leg = self.leg();
        match self.choices.byte() {
            0..=15 => {
                self.command(Command::Close, Asked::Nothing);
                self.seen.insert("closed in the middle");
            }
            16..=31 if !self.browsers.contains_key(&leg) => {
                let adopt = Command::Adopt { leg, from: CallId(9), worker: WorkerId(0), their: leg };
                self.command(adopt, Asked::Nothing);
            }
            // Several devices ring: more legs than the others reach.
            32..=63 => {
                for leg in 0..=limits::LEGS_PER_CALL as u16 {
                    let params = self.params.clone();
                    self.command(Command::Offer { leg: LegId(leg), params }, Asked::Offer(LegId(leg)));
                }
                for leg in u16::from(LEGS)..=limits::LEGS_PER_CALL as u16 {
                    self.command(Command::Remove { leg: LegId(leg) }, Asked::Nothing);
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, command: Command, asked: Asked) {
        let (v4, v6) = (SocketAddr::from(([192, 0, 2, 2], 20_000)), "[2001:db8::2]:20000");
        let v6 = v6.parse().unwrap_or(v4);
        let local = self.call.needs_port(&command).map(|need| match need {
            PortNeed::First { peer } => peer.filter(|ip| ip.is_ipv6()).map_or(v4, |_| v6),
            PortNeed::OtherFamily { peer, .. } => {
                self.seen.insert("other address family");
                if peer.is_ipv6() { v6 } else { v4 }
            }
        });
        if let Command::Answer { leg, params, .. } | Command::Offer { leg, params } = &command
            && !self.closed
        {
            self.legs.entry(*leg).or_insert_with(|| Watch::new(params.kind, params.srtp));
        }
        let wall = self.wall();
        self.call.handle_command(command, local, self.now, wall);
        self.drain(asked);
    }

    fn drain(&mut self, asked: Asked) {
        let (mut buf, mut outputs) = (Datagram::default(), Vec::new());
        while let Some(output) = self.call.poll_output(&mut buf) {
            outputs.push((output, buf.to_vec()));
        }
        assert!(outputs.is_empty() || !self.closed, "{outputs:?} after the end");
        assert!(outputs.len() <= limits::CALL_OUTPUTS + 16, "{} outputs at once", outputs.len());
        self.agree(&asked, &outputs);
        for (output, data) in outputs {
            self.check(output, &data);
        }
    }

    /// What was agreed holds for all that was sent in the same turn.
    fn agree(&mut self, asked: &Asked, outputs: &[(Output, Vec<u8>)]) {
        let (Asked::Offer(leg) | Asked::Answer(leg, _) | Asked::SetAnswer(leg, _)) = asked else { return };
        let events = outputs.iter().filter_map(|(output, _)| {
            let Output::Event(event) = output else { return None };
            Some(event)
        });
        let mut said = events.filter(|event| {
            matches!(event, Event::LocalSdp { .. } | Event::Negotiated { .. } | Event::Refused { .. })
        });
        let (first, second) = (said.next(), said.next());
        assert!(self.closed || (first.is_some() && second.is_none()), "{first:?} {second:?}");
        let watch = self.legs.get_mut(leg);
        let (seen, keys) = match (asked, first, watch) {
            (Asked::Answer(_, theirs), Some(Event::LocalSdp { sdp, .. }), Some(watch)) => {
                let keys = watch.answered(theirs, sdp);
                let browser = watch.kind == LegKind::WebRtc;
                (if browser { "offer of a browser answered" } else { "offer answered" }, keys)
            }
            (Asked::Offer(_), Some(Event::LocalSdp { sdp, .. }), Some(watch)) => {
                watch.offered = watch::keys(sdp);
                self.seen.insert("offer of ours");
                return;
            }
            (Asked::SetAnswer(_, theirs), Some(Event::Negotiated { .. }), Some(watch)) => {
                ("offer of ours answered", watch.negotiated(theirs))
            }
            (_, Some(Event::Refused { .. }), _) | (_, None, _) => return,
            (_, Some(event), _) => panic!("{event:?}"),
        };
        self.name(seen, keys.is_some());
        let keys = self.association(*leg, asked).or(keys);
        let phone = self.phones.entry(*leg).or_insert_with(|| Phone::new(*leg));
        phone.use_keys(keys.as_ref());
    }

    fn name(&mut self, seen: &'static str, encrypted: bool) {
        let again = [
            ("offer answered", "offer answered again"),
            ("offer of ours answered", "offer of ours answered again"),
        ];
        if !self.seen.insert(seen) {
            self.seen.extend(again.iter().filter(|(first, _)| *first == seen).map(|(_, again)| *again));
        }
        if encrypted {
            let theirs = seen == "offer answered";
            self.seen.insert(if theirs { "encrypted by their offer" } else { "encrypted by their answer" });
        }
    }

    fn check(&mut self, output: Output, data: &[u8]) {
        match output {
            Output::Rtp { leg, to } => {
                let now = self.now;
                let encrypted = self.watch(leg).rtp(to, data, now);
                self.relayed += 1;
                self.seen.insert(if encrypted { "media sent encrypted" } else { "media sent" });
            }
            Output::Rtcp { leg, to } => {
                self.watch(leg).rtcp(to, data);
                self.seen.insert("report sent");
            }
            Output::Browser { leg, route } => self.browser_gets(leg, route.remote, data),
            Output::AcceptUfrag { leg, ufrag, password } => {
                assert_eq!(self.watch(leg).kind, LegKind::WebRtc);
                self.accepted.insert(leg, (ufrag, password));
            }
            Output::ReleaseLeg { leg } => {
                self.browsers.remove(&leg);
                assert!(self.legs.remove(&leg).is_some(), "{leg} is released twice");
                self.seen.insert("removed");
            }
            Output::Recorded { .. } => {
                assert_eq!(data.len(), FRAME_BYTES);
                self.seen.insert("recorded");
            }
            Output::RecordingOver(_) => {}
            Output::Event(event) => self.event(event),
        }
    }

    fn watch(&mut self, leg: LegId) -> &mut Watch {
        match self.legs.get_mut(&leg) {
            Some(watch) => watch,
            None => panic!("{leg} is not there"),
        }
    }

    fn event(&mut self, mut event: Event) {
        let about = event.leg_mut().map(|leg| *leg);
        let alive = about.is_none_or(|leg| self.legs.contains_key(&leg));
        let seen = match event {
            Event::Refused { .. } => {
                let lives = about.and_then(|leg| self.legs.get(&leg)).is_some_and(Watch::is_agreed);
                if lives { "refused on a leg that lives" } else { "refused" }
            }
            Event::PathLost { .. } => "path lost",
            Event::PathRestored { .. } => "path restored",
            // `Adopt` that found nobody, or a session that nobody checked for too long.
            Event::Lost { leg, .. } => match self.browsers.get(&leg) {
                Some(browser) => {
                    assert!(self.now >= browser.checked_at + CHECKED, "{leg} is lost by a datagram");
                    "session lost"
                }
                None => return,
            },
            Event::Closed => {
                assert!(self.legs.is_empty(), "not released: {:?}", self.legs.keys());
                self.closed = true;
                return;
            }
            Event::Connected { .. } => "connected",
            Event::Silent { .. } => "silent",
            Event::Direction { .. } => "direction",
            Event::Dtmf { .. } => "digit heard",
            // Of a leg that is not there: at once.
            Event::Played { .. } => return,
            Event::LocalSdp { .. } | Event::Negotiated { .. } | Event::Stats { .. } => "told",
            Event::Crashed => panic!("made by the worker only"),
        };
        assert!(alive || seen == "refused", "{event:?} of a leg that is gone");
        self.seen.insert(seen);
    }

    fn end(mut self) -> BTreeSet<&'static str> {
        if !self.closed {
            self.command(Command::Close, Asked::Nothing);
        }
        assert!(self.closed && self.legs.is_empty(), "closed: {}", self.closed);
        assert_eq!(self.call.poll_timeout(), None, "a timer of nothing");
        self.seen
    }
}

fn params() -> LegParams {
    LegParams { bandwidth: Bandwidth::Narrow, ..LegParams::new(LegKind::Rtp, &[Codec::Pcmu]) }
}
