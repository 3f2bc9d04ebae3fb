//! `MediaCall` in virtual time, its peers scripted.
#![allow(clippy::wildcard_enum_match_arm)]

mod adopt;
mod anything;
mod changes;
mod clicks;
mod detector;
mod digits;
mod early;
mod effort;
mod encrypted;
mod families;
mod fidelity;
mod in_place;
mod latching;
mod lengths;
mod music;
mod negotiation;
mod oddities;
mod pauses;
mod quality;
mod record;
mod reports;
mod streams;
mod wideband;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use types::{Advertised, CallId, Datagram, Entropy, LegId, Wall};
use webrtc_peer::PeerFactory;

use super::{MediaCall, MediaSetup, Output};
use crate::codec::{Decoder, Encoder, Law, MAX_SAMPLES, NARROW, own_rate};
use crate::control::{Codec, Command, Event, LegKind, LegParams, LegStats, Source};
use crate::rtp::{RtpHeader, RtpPacket, is_rtcp};
use crate::sound::Sound;
use detector::loudness;

const A: LegId = LegId(0);
const B: LegId = LegId(1);
const FRAME: Duration = Duration::from_millis(20);

static FACTORY: LazyLock<PeerFactory> = LazyLock::new(|| PeerFactory::new().unwrap());

/// A ramp of 2 s and a tone of 0.3 s.
fn sounds() -> Arc<[Sound]> {
    let ramp = (0..32_000).map(|n| (n / 2) as i16 - 8_000).collect();
    let tone = (0..4_800).map(|n| ((f64::from(n) * 0.4).sin() * 12_000.0) as i16).collect();
    [Sound::new(ramp), Sound::new(tone)].into()
}

struct Seed(u64);

impl Entropy for Seed {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

/// A packet that the call sent.
#[derive(Clone, PartialEq, Debug)]
struct Sent {
    at: Instant,
    leg: LegId,
    to: SocketAddr,
    pt: u8,
    marker: bool,
    seq: u16,
    ts: u32,
    ssrc: u32,
    payload: Vec<u8>,
    raw: Vec<u8>,
}

/// The call, the time, and all that came out.
struct World {
    call: MediaCall,
    now: Instant,
    begun: Instant,
    sent: Vec<Sent>,
    rtcp: Vec<(LegId, SocketAddr, Vec<u8>)>,
    /// RTCP on RTP's port.
    multiplexed: Vec<(LegId, SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
    others: Vec<Output>,
    /// Frames of the recording, by their numbers.
    recorded: Vec<(u32, Vec<u8>)>,
}

impl World {
    fn new() -> World {
        World::with_seed(7)
    }

    fn with_seed(seed: u64) -> World {
        let candidates = vec!["192.0.2.2:4000".parse().unwrap()];
        let setup =
            Arc::new(MediaSetup { peers: FACTORY.clone(), candidates, tcp: Vec::new(), sounds: sounds() });
        let call = MediaCall::new(CallId(1), setup, Box::new(Seed(seed)));
        let now = Instant::now();
        let (sent, rtcp, multiplexed, events, others, recorded) = Default::default();
        World { call, now, begun: now, sent, rtcp, multiplexed, events, others, recorded }
    }

    fn wall(&self) -> Wall {
        Wall(1_700_000_000_000_000 + (self.now - self.begun).as_micros() as u64)
    }

    fn command(&mut self, command: Command) {
        let leg = match &command {
            Command::Answer { leg, .. } | Command::Offer { leg, .. } => leg.0,
            _ => 0,
        };
        let local =
            self.call.needs_port(&command).map(|_| SocketAddr::from(([192, 0, 2, 2], 20_000 + 2 * leg)));
        self.call.handle_command(command, local, self.now, self.wall());
        self.drain();
    }

    fn drain(&mut self) {
        self.drain_with(&mut Datagram::default());
    }

    fn drain_with(&mut self, buf: &mut Datagram) {
        while let Some(output) = self.call.poll_output(buf) {
            match output {
                Output::Rtp { leg, to } if is_rtcp(buf) => self.multiplexed.push((leg, to, buf.to_vec())),
                Output::Rtp { leg, to } => {
                    let p = RtpPacket::parse(buf).unwrap();
                    self.sent.push(Sent {
                        at: self.now,
                        leg,
                        to,
                        pt: p.payload_type,
                        marker: p.marker,
                        seq: p.sequence,
                        ts: p.timestamp,
                        ssrc: p.ssrc,
                        payload: p.payload.to_vec(),
                        raw: buf.to_vec(),
                    });
                }
                Output::Rtcp { leg, to } => self.rtcp.push((leg, to, buf.to_vec())),
                Output::Recorded { number, .. } => self.recorded.push((number, buf.to_vec())),
                Output::Event(event) => self.events.push(event),
                other => self.others.push(other),
            }
        }
    }

    /// Lets time pass, waking the call whenever it asks for it.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.call.poll_timeout().filter(|at| *at <= until) {
            assert!(at + Duration::from_millis(1) > self.now, "a timer of the past was not handled");
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now, self.wall());
            self.drain();
        }
        self.now = until;
    }

    fn rtp(&mut self, leg: LegId, source: SocketAddr, data: &[u8]) {
        let mut data = Datagram::from(data);
        self.call.handle_rtp(leg, source, &mut data, self.now, self.wall());
        self.drain_with(&mut data);
    }

    fn rtcp_in(&mut self, leg: LegId, source: SocketAddr, data: &[u8]) {
        self.call.handle_rtcp(leg, source, &mut Datagram::from(data), self.now, self.wall());
    }

    /// Answers the scripted peer's offer, and returns our answer.
    fn answer(&mut self, leg: LegId, codecs: &[Codec], offer: &str) -> String {
        let params = params(codecs);
        self.command(Command::Answer { leg, params, offer: offer.into() });
        self.local_sdp(leg)
    }

    fn local_sdp(&mut self, leg: LegId) -> String {
        match self.events.pop() {
            Some(Event::LocalSdp { leg: of, sdp, .. }) if of == leg => String::from_utf8(sdp).unwrap(),
            other => panic!("no description but {other:?}"),
        }
    }

    /// Two legs that hear each other.
    fn bridged(a: Codec, b: Codec) -> (World, Peer, Peer) {
        World::bridged_with(7, a, b)
    }

    fn bridged_with(seed: u64, a: Codec, b: Codec) -> (World, Peer, Peer) {
        let mut world = World::with_seed(seed);
        world.answer(A, &[a], &offer(PEER_A, a));
        world.answer(B, &[b], &offer(PEER_B, b));
        world.hear(A, Source::Leg(B));
        world.hear(B, Source::Leg(A));
        (world, Peer::new(A, PEER_A, a), Peer::new(B, PEER_B, b))
    }

    fn hear(&mut self, leg: LegId, source: Source) {
        self.command(Command::SetSource { leg, source });
    }

    fn sent_to(&self, leg: LegId) -> Vec<Sent> {
        self.sent.iter().filter(|s| s.leg == leg).cloned().collect()
    }

    /// The leg's last counters: it is removed.
    fn stats(&mut self, leg: LegId) -> LegStats {
        self.command(Command::Remove { leg });
        let of = |e: &Event| match e {
            Event::Stats { leg: l, stats } if *l == leg => Some(*stats),
            _ => None,
        };
        self.events.iter().rev().find_map(of).unwrap()
    }
}

const PEER_A: &str = "198.51.100.1:6000";
const PEER_B: &str = "203.0.113.9:7000";

fn params(codecs: &[Codec]) -> LegParams {
    LegParams::new(LegKind::Rtp, codecs)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An offer or answer of a scripted peer with telephone-event in the codec's clock.
fn offer(from: &str, codec: Codec) -> String {
    let from = address(from);
    let (pt, map, clock) = match codec {
        Codec::Opus => (111, "opus/48000/2", 48_000),
        Codec::Pcmu => (0, "PCMU/8000", 8_000),
        Codec::Pcma => (8, "PCMA/8000", 8_000),
        Codec::G722 => (9, "G722/8000", 8_000),
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {pt} 101\r\n\
         a=rtpmap:{pt} {map}\r\na=rtpmap:101 telephone-event/{clock}\r\na=sendrecv\r\n",
        ip = from.ip(),
        port = from.port()
    )
}

/// A scripted RTP sender.
struct Peer {
    leg: LegId,
    address: SocketAddr,
    codec: Codec,
    pt: u8,
    ssrc: u32,
    seq: u16,
    ts: u32,
    encoder: Encoder,
    /// Of the encoder's samples, Hz.
    rate: u32,
    /// Samples said.
    said: u32,
    phase: f64,
}

impl Peer {
    fn new(leg: LegId, at: &str, codec: Codec) -> Peer {
        let pt = crate::sdp::offer_pt(codec);
        let ssrc = 0x1000 + u32::from(leg.0);
        let rate = own_rate(codec).unwrap_or(NARROW);
        let encoder = Encoder::new(codec, rate).unwrap();
        Peer {
            leg,
            address: address(at),
            codec,
            pt,
            ssrc,
            seq: 65_500,
            ts: u32::MAX - 4_000,
            encoder,
            rate,
            said: 0,
            phase: 0.0,
        }
    }

    /// The next packet, as long as so many 8 kHz samples.
    fn packet(&mut self, samples: usize) -> Vec<u8> {
        let pcm: Vec<i16> = (0..samples * (self.rate / NARROW) as usize).map(|_| self.voice()).collect();
        self.of(samples, &pcm)
    }

    /// The next packet, of these samples.
    fn of(&mut self, samples: usize, pcm: &[i16]) -> Vec<u8> {
        let mut payload = Vec::new();
        self.encoder.encode(pcm, &mut payload).unwrap();
        let packet = self.raw(self.pt, false, self.ts, &payload);
        let ticks = if self.codec == Codec::Opus { 6 } else { 1 };
        self.ts = self.ts.wrapping_add(samples as u32 * ticks);
        packet
    }

    /// Something like a vowel: harmonics of a gliding pitch, four syllables a second. Without speech no FEC is sent.
    fn voice(&mut self) -> i16 {
        let t = f64::from(self.said) / f64::from(self.rate);
        self.said += 1;
        self.phase += (140.0 + 30.0 * (t * 5.0).sin()) / f64::from(self.rate);
        let wave: f64 =
            (1..12).map(|n| (self.phase * f64::from(n) * std::f64::consts::TAU).sin() / f64::from(n)).sum();
        (wave * 6_000.0 * (0.6 + 0.4 * (t * 25.0).sin())) as i16
    }

    fn raw(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader { payload_type, marker, sequence: self.seq, timestamp, ssrc: self.ssrc };
        let mut out = Vec::new();
        header.write(&mut out);
        out.extend_from_slice(payload);
        self.seq = self.seq.wrapping_add(1);
        out
    }

    /// Says 20 ms and lets them pass.
    fn say(&mut self, world: &mut World) {
        let packet = self.packet(160);
        world.rtp(self.leg, self.address, &packet);
        world.pass(FRAME);
    }

    fn say_frames(&mut self, world: &mut World, frames: usize) {
        for _ in 0..frames {
            self.say(world);
        }
    }

    /// One telephone-event packet.
    fn event(&mut self, event: u8, end: bool, duration: u16, timestamp: u32) -> Vec<u8> {
        let [high, low] = duration.to_be_bytes();
        self.raw(101, false, timestamp, &[event, if end { 0x8a } else { 10 }, high, low])
    }
}

/// One SSRC, sequence without gap, timestamps of audio that only grow (those of an event are its start's).
fn assert_continuous(sent: &[Sent]) {
    for pair in sent.windows(2) {
        assert_eq!(pair[0].ssrc, pair[1].ssrc);
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1), "{} -> {}", pair[0].seq, pair[1].seq);
    }
    let audio: Vec<&Sent> = sent.iter().filter(|s| s.payload.len() != 4).collect();
    for pair in audio.windows(2) {
        let step = pair[1].ts.wrapping_sub(pair[0].ts) as i32;
        assert!(step > 0, "timestamp step {step} at sequence {}", pair[1].seq);
    }
}

fn decoded(sent: &[Sent], codec: Codec) -> Vec<i16> {
    decoded_at(sent, codec, own_rate(codec).unwrap_or(NARROW))
}

fn decoded_at(sent: &[Sent], codec: Codec, rate: u32) -> Vec<i16> {
    let mut decoder = Decoder::new(codec, rate).unwrap();
    let mut all = Vec::new();
    for packet in sent {
        let mut pcm = [0; MAX_SAMPLES];
        let n = decoder.decode(&packet.payload, &mut pcm).unwrap();
        all.extend_from_slice(&pcm[..n]);
    }
    all
}
