//! A call between two phones in virtual time, driven as a worker drives it. Shared by the test of allocations and the
//! benchmark.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use media_bridge::call::{MediaCall, MediaSetup, Output};
use media_bridge::codec::Encoder;
use media_bridge::control::{Bandwidth, Codec, Command, DtmfMode, Event, LegKind, LegParams, Source, Srtp};
use media_bridge::effort::Effort;
use media_bridge::rtp::RtpHeader;
use media_bridge::sdp::Remote;
use media_bridge::sound::Sound;
use media_bridge::srtp::{Keys, Receiver, Sender, Suite};
use types::{CallId, Datagram, Entropy, LegId, Wall};
use webrtc_peer::PeerFactory;

pub const A: LegId = LegId(0);
pub const B: LegId = LegId(1);
pub const FRAME: Duration = Duration::from_millis(20);
/// The worker's browser socket.
pub const OURS: &str = "192.0.2.2:4000";

pub struct Seed(pub u64);

impl Entropy for Seed {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

/// A datagram for the call.
pub struct Arrival {
    pub at: Instant,
    pub leg: LegId,
    pub from: SocketAddr,
    /// On the browser socket, else on the leg's own.
    pub browser: bool,
    pub data: Vec<u8>,
}

/// The call and its time.
pub struct Line {
    pub now: Instant,
    call: MediaCall,
    begun: Instant,
    buf: Datagram,
    /// What a worker receives into.
    received: Datagram,
}

impl Line {
    pub fn new(peers: PeerFactory) -> Line {
        Line::with_sounds(peers, Arc::default())
    }

    pub fn with_sounds(peers: PeerFactory, sounds: Arc<[Sound]>) -> Line {
        let setup =
            Arc::new(MediaSetup { peers, candidates: vec![OURS.parse().unwrap()], tcp: Vec::new(), sounds });
        let now = Instant::now();
        let call = MediaCall::new(CallId(1), setup, Box::new(Seed(7)));
        Line { call, now, begun: now, buf: Datagram::new(), received: Datagram::new() }
    }

    fn wall(&self) -> Wall {
        Wall(1_700_000_000_000_000).plus(self.now - self.begun)
    }

    pub fn command(&mut self, command: Command, take: &mut dyn FnMut(Output, &[u8])) {
        let local = SocketAddr::from(([192, 0, 2, 2], 20_000));
        let local = self.call.needs_port(&command).map(|_| local);
        self.call.handle_command(command, local, self.now, self.wall());
        self.drain(take);
    }

    /// Takes a peer's offer; gives what came of it.
    pub fn answer(&mut self, leg: LegId, kind: LegKind, codec: Codec, offer: String) -> Vec<Output> {
        let params = LegParams {
            bandwidth: Bandwidth::Narrow,
            srtp: Srtp::IfOffered,
            // Else what is said would be decoded to look for digits in it.
            dtmf: DtmfMode::Rfc4733,
            ..LegParams::new(kind, &[codec])
        };
        let mut outputs = Vec::new();
        let command = Command::Answer { leg, params, offer: offer.into_bytes() };
        self.command(command, &mut |output, _| outputs.push(output));
        let answered = |o: &Output| matches!(o, Output::Event(Event::LocalSdp { .. }));
        assert!(outputs.iter().any(answered), "{outputs:?}");
        outputs
    }

    /// A phone on a leg of its own.
    pub fn phone(&mut self, leg: LegId, codec: Codec) -> Phone {
        let phone = Phone::new(leg, codec);
        self.answer(leg, LegKind::Rtp, codec, phone.offer());
        phone
    }

    /// A phone that is called and has not answered.
    #[allow(dead_code, reason = "the count of allocations has none")]
    pub fn called(&mut self, leg: LegId, codec: Codec) -> Phone {
        let params = LegParams { called: true, ..LegParams::new(LegKind::Rtp, &[codec]) };
        self.command(Command::Offer { leg, params }, &mut |_, _| {});
        Phone::new(leg, codec)
    }

    /// It answers.
    #[allow(dead_code, reason = "the count of allocations has none")]
    pub fn picks_up(&mut self, phone: &Phone) {
        let answer = phone.offer().into_bytes();
        self.command(Command::SetAnswer { leg: phone.leg, answer }, &mut |_, _| {});
    }

    /// A phone whose digits are tones, which are looked for in its audio.
    #[allow(dead_code, reason = "only the count of allocations has one")]
    pub fn phone_with_tones(&mut self, leg: LegId, codec: Codec) -> Phone {
        let phone = Phone::new(leg, codec);
        let offer = phone.offer().replace(" 101\r\n", "\r\n");
        self.answer(leg, LegKind::Rtp, codec, offer.replace("a=rtpmap:101 telephone-event/8000\r\n", ""));
        phone
    }

    /// A phone that encrypts, with a cipher that costs little.
    pub fn encrypted_phone(&mut self, leg: LegId, codec: Codec) -> Phone {
        let mut phone = Phone::new(leg, codec);
        let keys = Keys::random(Suite::AeadAes256Gcm, &mut Seed(u64::from(leg.0)));
        let mut offer = phone.offer().replace("RTP/AVP", "RTP/SAVP");
        let key = BASE64.encode(keys.secret());
        offer.push_str(&format!("a=crypto:1 {} inline:{key}\r\n", keys.suite().name()));
        let outputs = self.answer(leg, LegKind::Rtp, codec, offer);
        let sdp = outputs.iter().find_map(|output| {
            let Output::Event(Event::LocalSdp { sdp, .. }) = output else { return None };
            Remote::parse(sdp).ok()
        });
        let ours = sdp.unwrap().lines[0].crypto[0].clone().unwrap();
        phone.secret = Some((Sender::new(&keys), Receiver::new(&ours.keys, 0)));
        phone
    }

    #[allow(dead_code, reason = "only the count of allocations changes it")]
    pub fn set_effort(&mut self, effort: Effort) {
        self.call.set_effort(effort);
    }

    pub fn hear(&mut self, leg: LegId, from: LegId) {
        self.command(Command::SetSource { leg, source: Source::Leg(from) }, &mut |_, _| {});
    }

    /// Lets time pass, waking the call whenever it asks for it.
    pub fn pass(&mut self, until: Instant, take: &mut dyn FnMut(Output, &[u8])) {
        while let Some(at) = self.call.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now, self.wall());
            self.drain(take);
        }
        self.now = until;
    }

    pub fn arrive(&mut self, arrival: &Arrival, take: &mut dyn FnMut(Output, &[u8])) {
        let mut received = std::mem::take(&mut self.received);
        received.clear();
        received.extend_from_slice(&arrival.data);
        self.arrive_in(&mut received, arrival, take);
        self.received = received;
    }

    /// The same, received already.
    pub fn arrive_in(&mut self, data: &mut Datagram, arrival: &Arrival, take: &mut dyn FnMut(Output, &[u8])) {
        let Arrival { at, leg, from, browser, .. } = arrival;
        self.pass(*at, take);
        let wall = self.wall();
        if *browser {
            let ours = SocketAddr::from(([192, 0, 2, 2], 4_000));
            self.call.handle_browser(*leg, (ours, *from), data, *at, wall);
        } else {
            self.call.handle_rtp(*leg, *from, data, *at, wall);
        }
        while let Some(output) = self.call.poll_output(data) {
            take(output, data);
        }
    }

    pub fn drain(&mut self, take: &mut dyn FnMut(Output, &[u8])) {
        while let Some(output) = self.call.poll_output(&mut self.buf) {
            take(output, &self.buf);
        }
    }
}

/// A scripted phone.
pub struct Phone {
    pub leg: LegId,
    pub address: SocketAddr,
    codec: Codec,
    pt: u8,
    seq: u16,
    ts: u32,
    /// What it encrypts and decrypts with.
    secret: Option<(Sender, Receiver)>,
}

impl Phone {
    fn new(leg: LegId, codec: Codec) -> Phone {
        let pt = match codec {
            Codec::Opus => 111,
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
        };
        let address = SocketAddr::from(([198, 51, 100, 1 + leg.0 as u8], 6_000));
        Phone { leg, address, codec, pt, seq: 65_000, ts: u32::MAX - 40_000, secret: None }
    }

    fn offer(&self) -> String {
        let map = match self.codec {
            Codec::Opus => "opus/48000/2",
            Codec::Pcmu => "PCMU/8000",
            Codec::Pcma => "PCMA/8000",
            Codec::G722 => "G722/8000",
        };
        let (ip, port, pt) = (self.address.ip(), self.address.port(), self.pt);
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {pt} 101\r\n\
             a=rtpmap:{pt} {map}\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
        )
    }

    /// This payload as the next packet, arriving at `at`.
    pub fn say(&mut self, payload: &[u8], at: Instant) -> Arrival {
        let ticks = if self.codec == Codec::Opus { 960 } else { 160 };
        let ssrc = 0x1000 + u32::from(self.leg.0);
        let header =
            RtpHeader { payload_type: self.pt, marker: false, sequence: self.seq, timestamp: self.ts, ssrc };
        let mut data = Vec::new();
        header.write(&mut data);
        data.extend_from_slice(payload);
        if let Some((sender, _)) = &mut self.secret {
            sender.protect_rtp(&mut data).unwrap();
        }
        self.seq = self.seq.wrapping_add(1);
        self.ts = self.ts.wrapping_add(ticks);
        Arrival { at, leg: self.leg, from: self.address, browser: false, data }
    }
}

#[allow(dead_code, reason = "the benchmark listens, the count of allocations does not")]
impl Phone {
    /// The payload of a datagram that the call sent here; none if it does not open.
    pub fn hear(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let Some((_, receiver)) = &mut self.secret else { return Some(data[12..].to_vec()) };
        let mut data = data.to_vec();
        let length = receiver.unprotect_rtp(&mut data).ok()?;
        Some(data[12..length].to_vec())
    }
}

/// Something like speech, as payloads of 20 ms.
pub struct Voice {
    encoder: Encoder,
    /// Of the samples, Hz.
    rate: u32,
    frames: u32,
    phase: f64,
    noise: u32,
}

impl Voice {
    /// For the codec from samples of `rate` Hz.
    pub fn at(codec: Codec, rate: u32) -> Voice {
        Voice { encoder: Encoder::new(codec, rate).unwrap(), rate, frames: 0, phase: 0.0, noise: 1 }
    }

    pub fn next(&mut self) -> Vec<u8> {
        let pcm = self.pcm();
        let mut payload = Vec::new();
        self.encoder.encode(&pcm, &mut payload).unwrap();
        payload
    }

    /// Syllables of gliding pitch with formants, pauses between, a little noise.
    fn pcm(&mut self) -> Vec<i16> {
        use std::f64::consts::TAU;
        let mut pcm = vec![0; self.rate as usize / 50];
        let rate = f64::from(self.rate);
        for (n, sample) in pcm.iter_mut().enumerate() {
            let t = f64::from(self.frames) / 50.0 + n as f64 / rate;
            let syllable = (TAU * 3.3 * t).sin().max(0.0).sqrt();
            self.phase += (130.0 + 30.0 * (TAU * 0.7 * t).sin()) / rate;
            let formant = |k: f64| 1.0 / (1.0 + ((k * 130.0 - 600.0) / 300.0).powi(2)) + 0.3 / k;
            let voice: f64 =
                (1..=20).map(|k| (TAU * self.phase * f64::from(k)).sin() * formant(f64::from(k))).sum();
            self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let hiss = f64::from(self.noise >> 16) / 65_536.0 - 0.5;
            *sample = (voice * syllable * 3_000.0 + hiss * 60.0) as i16;
        }
        self.frames += 1;
        pcm
    }
}
