//! What anyone may send to the socket that all browsers share: STUN, DTLS, SRTP, anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use is::Sha1HmacProvider;
use is::stun::{StunMessage, TransId};
use media_bridge::call::{MediaCall, MediaSetup, Output};
use media_bridge::control::{Codec, Command, Event, LegKind, LegParams};
use types::{CallId, Datagram, LegId, Wall};
use webrtc_peer::{Demux, PeerFactory};

use crate::choices::Choices;
use crate::mutate::Random;

const OFFER: &[u8] = include_bytes!("../../media-bridge/src/sdp/fixtures/chromium_audio_video.sdp");
/// What Chromium 156 begins DTLS with.
const HELLO: &str = include_str!("../../webrtc-peer/tests/peer/chromium-156-hello-1.hex");
const OURS: ([u8; 4], u16) = ([192, 0, 2, 2], 4_000);
/// Outputs that one datagram may bring about: a flight of DTLS, an answer, a few events.
const OUTPUTS: usize = 32;
const DATAGRAMS: usize = 100;
const LEGS: u16 = 2;
const WALL: Wall = Wall(1_800_000_000_000_000);

/// Shared by all inputs, as by all sessions of a process.
pub(crate) static PEERS: LazyLock<PeerFactory> = LazyLock::new(|| match PeerFactory::new() {
    Ok(peers) => peers,
    Err(why) => panic!("no certificate: {why}"),
});

struct Leg {
    id: LegId,
    ufrag: String,
    password: String,
}

struct World<'a> {
    call: MediaCall,
    demux: Demux<LegId>,
    now: Instant,
    choices: Choices<'a>,
    legs: Vec<Leg>,
    /// Addresses that a check with the password of a leg came from.
    proven: BTreeSet<SocketAddr>,
    closed: usize,
}

/// Two browser sessions under any datagrams from six addresses: no panic, and an address that has not proven to know a
/// session's password gets no answer and leaves no trace.
pub fn fuzz_entrance(data: &[u8]) {
    let mut world = World::new(data);
    let mut datagrams = 0;
    while !world.choices.is_over() && datagrams < DATAGRAMS {
        datagrams += 1;
        world.datagram();
    }
    world.end();
}

impl<'a> World<'a> {
    fn new(data: &'a [u8]) -> World<'a> {
        let setup = Arc::new(MediaSetup {
            peers: PEERS.clone(),
            candidates: vec![SocketAddr::from(OURS)],
            sounds: Arc::default(),
            tcp: Vec::new(),
        });
        let mut world = World {
            call: MediaCall::new(CallId(1), setup, Box::new(Random(11))),
            demux: Demux::default(),
            now: Instant::now(),
            choices: Choices::new(data),
            legs: Vec::new(),
            proven: BTreeSet::new(),
            closed: 0,
        };
        for leg in 0..LEGS {
            let command = Command::Answer { leg: LegId(leg), params: params(), offer: OFFER.to_vec() };
            world.call.handle_command(command, None, world.now, WALL);
            world.drain();
        }
        assert_eq!((world.legs.len(), world.demux.len()), (usize::from(LEGS), usize::from(LEGS)));
        world
    }

    fn datagram(&mut self) {
        let kind = self.choices.byte() % 8;
        let who = self.choices.byte() % 6;
        let source = SocketAddr::from(([198, 51, 100, who], 5_000));
        let (data, authentic) = match kind {
            0 => return self.pass(),
            1 | 2 => {
                let length = usize::from(self.choices.byte()) * usize::from(kind);
                (self.choices.bytes(length).to_vec(), None)
            }
            3 | 4 => self.check(kind == 3),
            5 => self.with_header(&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1]),
            6 => self.with_header(&[0x80, 111, 0, 1, 0, 0, 0, 1]),
            _ => (self.hello(), None),
        };
        if data.is_empty() {
            return;
        }
        let known = self.demux.lookup(source, &data);
        match authentic {
            Some(leg) => {
                assert_eq!(known, Some(leg), "an authentic check");
                self.proven.insert(source);
            }
            // STUN has to prove itself each time; anything else is its address's.
            None if data[0] <= 3 => assert_eq!(known, None, "a check without the password"),
            None => assert_eq!(known.is_some(), self.proven.contains(&source), "from {source}"),
        }
        assert_eq!(self.demux.addresses(), self.proven.len());
        if let Some(leg) = known {
            let data = &mut Datagram::from(&data[..]);
            self.call.handle_browser(leg, (SocketAddr::from(OURS), source), data, self.now, WALL);
            self.drain();
        }
    }

    fn pass(&mut self) {
        let span = self.choices.of(&[1, 20, 500, 6_000, 40_000]);
        let until = self.now + Duration::from_millis(span);
        for _ in 0..2_000 {
            let Some(at) = self.call.poll_timeout().filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now, WALL);
            self.drain();
        }
        self.now = until;
    }

    /// A check, right or with one byte changed, and whose it proves to be.
    fn check(&mut self, right: bool) -> (Vec<u8>, Option<LegId>) {
        let how = self.choices.byte();
        let leg = &self.legs[usize::from(how & 1)];
        let username = format!("{}:{}", leg.ufrag, if how & 2 == 0 { "Vq9t" } else { "else" });
        let mut data = check(&username, &leg.password, how);
        let (id, end) = (leg.id, data.len() - 8);
        if right {
            return (data, Some(id));
        }
        // Up to the FINGERPRINT, which nobody needs.
        let at = usize::from(self.choices.byte()) % end;
        let change = self.choices.byte();
        data[at] ^= change;
        (data, (change == 0).then_some(id))
    }

    fn with_header(&mut self, header: &[u8]) -> (Vec<u8>, Option<LegId>) {
        let length = usize::from(self.choices.byte());
        let rest = self.choices.bytes(length);
        let mut data = header.to_vec();
        if header[0] == 22 {
            data.extend_from_slice(&(rest.len() as u16).to_be_bytes());
        }
        data.extend_from_slice(rest);
        (data, None)
    }

    fn hello(&mut self) -> Vec<u8> {
        let digits: Vec<u8> = HELLO.bytes().filter(u8::is_ascii_hexdigit).collect();
        let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or_default() as u8;
        let mut data: Vec<u8> =
            digits.chunks_exact(2).map(|pair| value(&pair[0]) << 4 | value(&pair[1])).collect();
        let at = usize::from(self.choices.word()) % data.len();
        data[at] ^= self.choices.byte();
        data
    }

    fn drain(&mut self) {
        let (mut buf, mut outputs) = (Datagram::default(), 0);
        while let Some(output) = self.call.poll_output(&mut buf) {
            outputs += 1;
            match output {
                Output::Browser { route, .. } => {
                    let to = route.remote;
                    assert!(self.proven.contains(&to), "{} bytes to {to}", buf.len());
                }
                Output::AcceptUfrag { leg, ufrag, password } => {
                    assert!(self.demux.insert_ufrag(&ufrag, &password, leg));
                    self.legs.push(Leg { id: leg, ufrag, password });
                }
                Output::ReleaseLeg { leg } => self.demux.remove(leg),
                Output::Event(Event::Closed) => self.closed += 1,
                Output::Event(Event::Connected { leg }) => panic!("{leg} is connected without its key"),
                Output::Event(_) => {}
                Output::Recorded { .. } | Output::RecordingOver(_) => {}
                Output::Rtp { .. } | Output::Rtcp { .. } => panic!("{output:?} of a browser's leg"),
            }
        }
        assert!(outputs <= OUTPUTS, "{outputs} outputs at once");
    }

    fn end(&mut self) {
        self.call.handle_command(Command::Close, None, self.now, WALL);
        self.drain();
        assert_eq!(self.closed, 1);
        assert!(self.demux.is_empty() && self.demux.addresses() == 0, "{:?}", self.demux);
        assert!(self.call.poll_timeout().is_none());
    }
}

/// A connectivity check (RFC 8445 §7.2.2), in one of four roles.
pub(crate) fn check(username: &str, password: &str, how: u8) -> Vec<u8> {
    let (controlling, nominates) = (how & 4 == 0, how & 8 == 0);
    let (tie_breaker, priority) = (u64::from(how), 100);
    let id = TransId::new();
    let message = StunMessage::binding_request(username, id, controlling, tie_breaker, priority, nominates);
    let mut data = vec![0; 300];
    let hmac = |key: &[u8], parts: &[&[u8]]| is::DefaultSha1HmacProvider.sha1_hmac(key, parts);
    let length = message.to_bytes(Some(password.as_bytes()), &mut data, hmac);
    data.truncate(length.unwrap_or(0));
    data
}

fn params() -> LegParams {
    LegParams::new(LegKind::WebRtc, &[Codec::Opus])
}
