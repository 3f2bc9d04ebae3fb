//! Browsers in process: a `Peer` of ours whose connectivity checks are written here, so that both sides may be ICE-lite,
//! and SRTP contexts on the keys of its own DTLS. Shared by the test of allocations and the benchmark.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::Sha1HmacProvider;
use is::stun::{StunMessage, TransId};
use media_bridge::call::Output;
use media_bridge::control::{Codec, Event, LegKind};
use media_bridge::rtp::RtpHeader;
use media_bridge::srtp::{Keys, Receiver, Sender, Suite};
use types::LegId;
use webrtc_peer::{Peer, PeerFactory, PeerOutput, PeerParams, SrtpKeys, SrtpProfile};

use crate::line::{Arrival, Line, OURS};

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
    /// Another one for each browser.
    ssrc: u32,
    fingerprint: String,
    secret: Option<(Sender, Receiver)>,
    /// SSRC and name of the gateway's stream.
    described: (u32, String),
    sent: u32,
    buf: Vec<u8>,
}

impl Browser {
    /// In a call, connected.
    pub fn dial(line: &mut Line, leg: LegId, codec: Codec) -> Browser {
        Browser::dial_after(line, leg, codec, &mut |_, _| {})
    }

    /// The same; `before` is done when all is described and nothing connected, by whoever has the browser's address.
    pub fn dial_after(
        line: &mut Line,
        leg: LegId,
        codec: Codec,
        before: &mut dyn FnMut(&mut Line, SocketAddr),
    ) -> Browser {
        let factory = PeerFactory::new().unwrap();
        let outputs = line.answer(leg, LegKind::WebRtc, codec, offer(&factory.fingerprint(), codec));
        let accepted = outputs.iter().find_map(|output| {
            let Output::AcceptUfrag { ufrag, password, .. } = output else { return None };
            Some((ufrag.clone(), password.clone()))
        });
        let answer = outputs.iter().find_map(|output| {
            let Output::Event(Event::LocalSdp { sdp, .. }) = output else { return None };
            Some(String::from_utf8_lossy(sdp))
        });
        let answer = answer.unwrap();
        let print = answer.lines().find_map(|line| line.strip_prefix("a=fingerprint:sha-256 ")).unwrap();
        let mut browser = Browser::new(&factory, leg, codec, accepted.unwrap(), print, line.now);
        let stream = answer.lines().find_map(|line| line.strip_prefix("a=ssrc:")).unwrap();
        let (ssrc, cname) = stream.split_once(" cname:").unwrap();
        browser.described = (ssrc.parse().unwrap(), cname.to_owned());
        let from = browser.address;
        before(line, from);
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
        let params = params(address, &ours, &theirs, fingerprint);
        let peer = Peer::new(factory, params, now).unwrap();
        let pt = payload_type(codec);
        let ssrc = u32::from_str_radix(&factory.fingerprint().replace(':', "")[..8], 16).unwrap();
        Browser {
            peer,
            leg,
            address,
            codec,
            pt,
            ours,
            theirs,
            ssrc,
            fingerprint: factory.fingerprint(),
            secret: None,
            described: (0, String::new()),
            sent: 0,
            buf: Vec::new(),
        }
    }

    /// Checks both ways, then DTLS. Gives the time at which both sides are up.
    fn connect(&mut self, mut now: Instant, gateway: Gateway<'_>) -> Instant {
        let gateway_address: SocketAddr = OURS.parse().unwrap();
        let data = check(&self.ours, &self.theirs.0);
        self.peer.handle_datagram((self.address, gateway_address), &data, now);
        let mut to_gateway = vec![self.check()];
        for _ in 0..400 {
            to_gateway.extend(self.drain());
            now += Duration::from_millis(5);
            let from_gateway = gateway(&to_gateway, now);
            to_gateway.clear();
            for data in from_gateway.iter().filter(|data| data[0] > 3) {
                self.peer.handle_datagram((self.address, gateway_address), data, now);
                to_gateway.extend(self.drain());
            }
            self.peer.handle_timeout(now);
            to_gateway.extend(self.drain());
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

    /// Sends this payload as the next packet: what leaves the browser.
    pub fn say(&mut self, payload: &[u8], at: Instant) -> Arrival {
        self.sent += 1;
        let ticks = if self.codec == Codec::Opus { 960 } else { 160 };
        let header = RtpHeader {
            payload_type: self.pt,
            marker: false,
            sequence: self.sent as u16,
            timestamp: self.sent.wrapping_mul(ticks),
            ssrc: self.ssrc,
        };
        let mut data = Vec::new();
        header.write(&mut data);
        data.extend_from_slice(payload);
        let (sender, _) = self.secret.as_mut().unwrap();
        sender.protect_rtp(&mut data).unwrap();
        Arrival { at, leg: self.leg, from: self.address, browser: true, data }
    }

    /// What it sends now of DTLS. Its answer to a check would answer nothing: the gateway made none.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while let Some(output) = self.peer.poll_output(&mut self.buf) {
            match output {
                PeerOutput::Transmit(_) if self.buf[0] <= 3 => {}
                PeerOutput::Transmit(_) => datagrams.push(self.buf.clone()),
                PeerOutput::Connected { keys } => self.secret = Some(contexts(&keys)),
                PeerOutput::PathLost | PeerOutput::PathRestored => {}
                PeerOutput::Disconnected { why } => panic!("the browser lost the gateway: {why}"),
            }
        }
        datagrams
    }
}

#[allow(dead_code, reason = "others listen, the count of allocations does not")]
impl Browser {
    /// SSRC and CNAME of the gateway's stream, as its description has them.
    pub fn described(&self) -> (u32, &str) {
        (self.described.0, &self.described.1)
    }

    /// Offers another codec within the session.
    pub fn change_codec(&mut self, line: &mut Line, codec: Codec) {
        line.answer(self.leg, LegKind::WebRtc, codec, offer(&self.fingerprint, codec));
        (self.codec, self.pt) = (codec, payload_type(codec));
    }

    /// Hears a datagram: the compound packet, if it was RTCP.
    pub fn hear_rtcp(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let mut data = data.to_vec();
        let length = self.secret.as_mut()?.1.unprotect_rtcp(&mut data).ok()?;
        data.truncate(length);
        Some(data)
    }

    /// Hears a datagram: the payload, if it was audio.
    pub fn hear(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let mut data = data.to_vec();
        let length = self.secret.as_mut()?.1.unprotect_rtp(&mut data).ok()?;
        Some(data[12..length].to_vec())
    }
}

fn contexts(keys: &SrtpKeys) -> (Sender, Receiver) {
    let suite = match keys.profile() {
        SrtpProfile::AeadAes256Gcm => Suite::AeadAes256Gcm,
        SrtpProfile::AeadAes128Gcm => Suite::AeadAes128Gcm,
        SrtpProfile::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
    };
    let of = |secret| Keys::new(suite, secret).unwrap();
    (Sender::new(&of(keys.ours())), Receiver::new(&of(keys.theirs()), 0))
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
        Codec::G722 => 9,
    }
}

fn params(address: SocketAddr, ours: &Credentials, theirs: &Credentials, fingerprint: &str) -> PeerParams {
    let digest = fingerprint.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    PeerParams {
        candidates: vec![address],
        local_ufrag: ours.0.clone(),
        local_pwd: ours.1.clone(),
        remote_ufrag: theirs.0.clone(),
        remote_pwd: theirs.1.clone(),
        remote_fingerprint: ("sha-256".to_owned(), digest),
        active: true,
    }
}

fn offer(print: &str, codec: Codec) -> String {
    let (ufrag, pwd) = credentials("browser");
    let map = match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Pcmu => "PCMU/8000",
        Codec::Pcma => "PCMA/8000",
        Codec::G722 => "G722/8000",
    };
    let pt = payload_type(codec);
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF {pt} 126\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n\
         a=fingerprint:sha-256 {print}\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtpmap:{pt} {map}\r\n\
         a=rtpmap:126 telephone-event/8000\r\na=sendrecv\r\n"
    )
}
