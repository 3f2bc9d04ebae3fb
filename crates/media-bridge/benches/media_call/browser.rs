//! Browsers in process: a `Peer` of ours whose connectivity checks are written here, so that both sides may be ICE-lite.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::Sha1HmacProvider;
use is::stun::{StunMessage, TransId};
use media_bridge::call::Output;
use media_bridge::control::{Codec, Event, LegKind};
use types::LegId;
use webrtc_peer::{AudioCodec, AudioFormat, Peer, PeerFactory, PeerOutput, PeerParams, RtpOut};

use crate::line::{Arrival, FRAME, Line, OURS};

type Credentials = (String, String);

/// Datagrams in, time, datagrams out: the gateway's side while a connection is made.
type Gateway<'a> = &'a mut dyn FnMut(&[Vec<u8>], Instant) -> Vec<Vec<u8>>;

/// A browser in a session with a gateway.
pub struct Browser {
    peer: Peer,
    leg: LegId,
    address: SocketAddr,
    codec: Codec,
    pt: u8,
    ours: Credentials,
    theirs: Credentials,
    sent: u64,
    buf: Vec<u8>,
}

impl Browser {
    /// In a call, connected.
    pub fn dial(line: &mut Line, leg: LegId, codec: Codec) -> Browser {
        let factory = PeerFactory::new().unwrap();
        let outputs = line.answer(leg, LegKind::WebRtc, codec, offer(&factory, codec));
        let accepted = outputs.iter().find_map(|output| match output {
            Output::AcceptUfrag { ufrag, password, .. } => Some((ufrag.clone(), password.clone())),
            _ => None,
        });
        let answer = outputs.iter().find_map(|output| match output {
            Output::Event(Event::LocalSdp { sdp, .. }) => Some(String::from_utf8_lossy(sdp)),
            _ => None,
        });
        let answer = answer.unwrap();
        let print = answer.lines().find_map(|line| line.strip_prefix("a=fingerprint:sha-256 ")).unwrap();
        let mut browser = Browser::new(&factory, leg, codec, accepted.unwrap(), print, line.now);
        let from = browser.address;
        let end = browser.connect(line.now, &mut |datagrams, at| {
            let mut sent = Vec::new();
            let mut take = |output: Output, data: &[u8]| {
                if matches!(output, Output::Browser { .. }) {
                    sent.push(data.to_vec());
                }
            };
            for data in datagrams {
                let arrival = Arrival { at, leg, from, browser: true, data: data.clone() };
                line.arrive(&arrival, &mut take);
            }
            line.pass(at, &mut take);
            sent
        });
        line.now = end;
        browser
    }

    fn new(
        factory: &PeerFactory,
        leg: LegId,
        codec: Codec,
        theirs: Credentials,
        fingerprint: &str,
        now: Instant,
    ) -> Browser {
        let address = SocketAddr::from(([203, 0, 113, 1 + leg.0 as u8], 5_000));
        let ours = credentials("browser");
        let params = params(codec, (address, 0x7000 + u32::from(leg.0)), &ours, &theirs, (fingerprint, true));
        let peer = Peer::new(factory, params, now).unwrap();
        let pt = payload_type(codec);
        Browser { peer, leg, address, codec, pt, ours, theirs, sent: 0, buf: Vec::new() }
    }

    /// Checks both ways, then DTLS. Gives the time at which both sides are up.
    fn connect(&mut self, mut now: Instant, gateway: Gateway<'_>) -> Instant {
        let gateway_address: SocketAddr = OURS.parse().unwrap();
        let data = check(&self.ours, &self.theirs.0);
        self.peer.handle_datagram(self.address, gateway_address, &data, now);
        let mut to_gateway = vec![self.check()];
        for _ in 0..400 {
            to_gateway.extend(self.drain().0);
            now += Duration::from_millis(5);
            let from_gateway = gateway(&to_gateway, now);
            to_gateway.clear();
            for data in from_gateway.iter().filter(|data| data[0] > 3) {
                self.peer.handle_datagram(self.address, gateway_address, data, now);
                to_gateway.extend(self.drain().0);
            }
            self.peer.handle_timeout(now);
            to_gateway.extend(self.drain().0);
            if self.peer.is_connected() && to_gateway.is_empty() {
                return now;
            }
        }
        panic!("the browser never connected");
    }

    /// A check of ours for the gateway.
    pub fn check(&self) -> Vec<u8> {
        check(&self.theirs, &self.ours.0)
    }

    /// The same as something that arrives.
    pub fn check_arrival(&self, at: Instant) -> Arrival {
        Arrival { at, leg: self.leg, from: self.address, browser: true, data: self.check() }
    }

    /// The gateway checks us: without that str0m gives the pair up after 15 s.
    pub fn checked(&mut self, now: Instant) {
        let data = check(&self.ours, &self.theirs.0);
        self.peer.handle_datagram(self.address, OURS.parse().unwrap(), &data, now);
        self.drain();
    }

    /// Sends this payload as the next packet: what leaves the browser.
    pub fn say(&mut self, payload: &[u8], at: Instant) -> Arrival {
        self.sent += 1;
        let ticks = if self.codec == Codec::Opus { 960 } else { 160 };
        let packet = RtpOut {
            pt: self.pt,
            seq: self.sent,
            timestamp: (self.sent as u32).wrapping_mul(ticks),
            marker: false,
        };
        self.peer.handle_timeout(at);
        self.drain();
        assert!(self.peer.send_rtp(packet, payload, at));
        let data = self.drain().0.into_iter().find(|data| data[1] & 0x7f == self.pt).unwrap();
        Arrival { at, leg: self.leg, from: self.address, browser: true, data }
    }

    /// Hears a datagram: the payload, if it was audio.
    pub fn hear(&mut self, data: &[u8], at: Instant) -> Option<Vec<u8>> {
        self.peer.handle_datagram(self.address, OURS.parse().unwrap(), data, at);
        self.drain().1.pop()
    }

    /// What it sends, and the payloads that it hears.
    fn drain(&mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut datagrams, mut payloads) = (Vec::new(), Vec::new());
        while let Some(output) = self.peer.poll_output(&mut self.buf) {
            match output {
                PeerOutput::Transmit { .. } => datagrams.push(self.buf.clone()),
                PeerOutput::Rtp { .. } => payloads.push(self.buf.clone()),
                PeerOutput::Connected | PeerOutput::Feedback { .. } => {}
                PeerOutput::Disconnected { why } => panic!("the browser lost the gateway: {why}"),
            }
        }
        (datagrams, payloads)
    }
}

/// The gateway's `Peer` with nothing around it: what str0m costs alone.
pub struct Alone {
    peer: Peer,
    browser: Browser,
    pt: u8,
    sent: u64,
    now: Instant,
    buf: Vec<u8>,
}

impl Alone {
    pub fn new(codec: Codec) -> Alone {
        let (ours, theirs) = (PeerFactory::new().unwrap(), PeerFactory::new().unwrap());
        let now = Instant::now();
        let gateway = credentials("gateway");
        let address: SocketAddr = OURS.parse().unwrap();
        let browser = Browser::new(&theirs, LegId(0), codec, gateway.clone(), &ours.fingerprint(), now);
        let print = theirs.fingerprint();
        let params = params(codec, (address, 0x9000), &gateway, &browser.ours, (&print, false));
        let peer = Peer::new(&ours, params, now).unwrap();
        let buf = Vec::with_capacity(1_500);
        let mut alone = Alone { peer, browser, pt: payload_type(codec), sent: 0, now, buf };
        alone.connect();
        alone
    }

    fn connect(&mut self) {
        let Alone { peer, browser, now, buf, .. } = self;
        let from = browser.address;
        *now = browser.connect(*now, &mut |datagrams, at| {
            let mut sent = Vec::new();
            let mut drain = |peer: &mut Peer| {
                while let Some(output) = peer.poll_output(buf) {
                    if matches!(output, PeerOutput::Transmit { .. }) {
                        sent.push(buf.clone());
                    }
                }
            };
            for data in datagrams {
                peer.handle_datagram(OURS.parse().unwrap(), from, data, at);
                drain(peer);
            }
            peer.handle_timeout(at);
            drain(peer);
            sent
        });
    }

    /// A check each way.
    pub fn keep_alive(&mut self) {
        let check = self.browser.check_arrival(self.now);
        self.browser.checked(self.now);
        self.receive(&[check]);
    }

    /// The payloads as they arrive here.
    pub fn packets(&mut self, payloads: &[Vec<u8>]) -> Vec<Arrival> {
        let begin = self.now + FRAME;
        let browser = &mut self.browser;
        payloads.iter().enumerate().map(|(n, p)| browser.say(p, begin + FRAME * n as u32)).collect()
    }

    /// Receives all of these; gives how many payloads came out.
    pub fn receive(&mut self, arrivals: &[Arrival]) -> usize {
        let ours = SocketAddr::from(([192, 0, 2, 2], 4_000));
        let mut heard = 0;
        for arrival in arrivals {
            self.pass(arrival.at);
            self.peer.handle_datagram(ours, arrival.from, &arrival.data, arrival.at);
            heard += self.drain().1;
        }
        heard
    }

    /// Sends all of these, 20 ms apart; gives how many datagrams came out.
    pub fn send(&mut self, payloads: &[Vec<u8>]) -> usize {
        let begin = self.now + FRAME;
        let mut sent = 0;
        for (n, payload) in payloads.iter().enumerate() {
            self.pass(begin + FRAME * n as u32);
            self.sent += 1;
            let timestamp = (self.sent as u32).wrapping_mul(960);
            let packet = RtpOut { pt: self.pt, seq: self.sent, timestamp, marker: false };
            assert!(self.peer.send_rtp(packet, payload, self.now));
            sent += self.drain().0;
        }
        sent
    }

    fn pass(&mut self, until: Instant) {
        while let Some(at) = self.peer.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.peer.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) -> (usize, usize) {
        let (mut datagrams, mut payloads) = (0, 0);
        while let Some(output) = self.peer.poll_output(&mut self.buf) {
            datagrams += usize::from(matches!(output, PeerOutput::Transmit { .. }));
            payloads += usize::from(matches!(output, PeerOutput::Rtp { .. }));
        }
        (datagrams, payloads)
    }
}

fn credentials(who: &str) -> Credentials {
    (format!("{who}ufrag"), format!("{who}-password-of-enough-length"))
}

/// A nominating check (RFC 8445 §7.2.2) for the holder of `to`.
fn check(to: &Credentials, from: &str) -> Vec<u8> {
    let username = format!("{}:{from}", to.0);
    let message = StunMessage::binding_request(&username, TransId::new(), true, 1, 100, true);
    let mut buf = vec![0; 1_500];
    let hmac = |key: &[u8], parts: &[&[u8]]| is::DefaultSha1HmacProvider.sha1_hmac(key, parts);
    let len = message.to_bytes(Some(to.1.as_bytes()), &mut buf, hmac).unwrap();
    buf.truncate(len);
    buf
}

fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Opus => 111,
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
    }
}

fn params(
    codec: Codec,
    (address, local_ssrc): (SocketAddr, u32),
    ours: &Credentials,
    theirs: &Credentials,
    (fingerprint, active): (&str, bool),
) -> PeerParams {
    let digest = fingerprint.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    let audio = match codec {
        Codec::Opus => AudioCodec::Opus,
        Codec::Pcmu => AudioCodec::Pcmu,
        Codec::Pcma => AudioCodec::Pcma,
    };
    PeerParams {
        candidates: vec![address],
        local_ufrag: ours.0.clone(),
        local_pwd: ours.1.clone(),
        remote_ufrag: theirs.0.clone(),
        remote_pwd: theirs.1.clone(),
        remote_fingerprint: ("sha-256".to_owned(), digest),
        active,
        mid: "0".to_owned(),
        mid_extension: None,
        level_extension: None,
        audio: AudioFormat { pt: payload_type(codec), codec: audio },
        events: None,
        local_ssrc,
        remote_ssrcs: Vec::new(),
    }
}

fn offer(factory: &PeerFactory, codec: Codec) -> String {
    let (ufrag, pwd) = credentials("browser");
    let map = match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Pcmu => "PCMU/8000",
        Codec::Pcma => "PCMA/8000",
    };
    let (pt, print) = (payload_type(codec), factory.fingerprint());
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF {pt}\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n\
         a=fingerprint:sha-256 {print}\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtpmap:{pt} {map}\r\na=sendrecv\r\n"
    )
}
