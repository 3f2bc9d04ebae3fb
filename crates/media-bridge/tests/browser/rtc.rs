//! A browser that str0m plays, with ICE, DTLS, SRTP and RTCP of its own: a second opinion on all of ours.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use media_bridge::call::Output;
use media_bridge::control::{Codec, Event, LegKind};
use str0m::config::{DtlsVersion, Fingerprint};
use str0m::media::{MediaKind, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, SeqNo};
use str0m::{Candidate, Event as RtcEvent, IceCreds, Input, Output as RtcOutput, Rtc, RtcConfig};
use types::LegId;
use webrtc_peer::Demux;

use crate::line::{Arrival, Line, OURS};

const OPUS: u8 = 111;
pub const THEIR_SSRC: u32 = 0x2222_2222;
const ADDRESS: ([u8; 4], u16) = ([203, 0, 113, 77], 5_000);

/// The browser on one leg of a call, and what came to both.
pub struct World {
    pub line: Line,
    pub leg: LegId,
    pub rtc: Rtc,
    /// Payloads that the browser heard, with their sequence numbers.
    pub heard: Vec<(u16, Vec<u8>)>,
    /// Payloads that went to phones.
    pub relayed: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    /// Loss of its own stream as our reports tell the browser, 0 to 1, and the round trip.
    pub told: Vec<(Option<f32>, Option<Duration>)>,
    /// What becomes of the nth SRTP packet either way: how often it arrives.
    pub copies: fn(u64) -> usize,
    /// SRTP packets both ways.
    media: u64,
    /// The newest SRTP packet of the browser's.
    pub newest: Vec<u8>,
    /// What comes to our socket before each datagram of the browser's, and from where.
    noise: Noise,
    /// Whose a datagram is, as the worker finds it out.
    pub demux: Demux<LegId>,
    to_browser: VecDeque<Vec<u8>>,
    sent: u64,
}

/// Datagrams made of one of the browser's, with their sources.
pub type Noise = Box<dyn FnMut(&[u8]) -> Vec<(SocketAddr, Vec<u8>)>>;

pub fn address() -> SocketAddr {
    SocketAddr::from(ADDRESS)
}

fn is_media(data: &[u8]) -> bool {
    data.len() > 12 && data[0] >> 6 == 2 && !(64..96).contains(&(data[1] & 0x7f))
}

impl World {
    /// With an Opus leg, connected.
    pub fn connected(line: Line, leg: LegId, version: DtlsVersion) -> World {
        World::connected_under(line, leg, version, Box::new(|_| Vec::new()))
    }

    /// The same; the noise goes on for as long as the connection does.
    pub fn connected_under(line: Line, leg: LegId, version: DtlsVersion, noise: Noise) -> World {
        let mut world = World::dialled(line, leg, version, noise);
        world.run(Duration::from_secs(2));
        assert!(world.events.contains(&Event::Connected { leg }), "{:?}", world.events);
        world
    }

    /// With an Opus leg that is described, and all of whose connecting is to come.
    pub fn dialled(mut line: Line, leg: LegId, version: DtlsVersion, noise: Noise) -> World {
        let mut demux = Demux::default();
        let rtc = dial(&mut line, leg, version, &mut demux);
        World {
            line,
            leg,
            rtc,
            heard: Vec::new(),
            relayed: Vec::new(),
            events: Vec::new(),
            told: Vec::new(),
            copies: |_| 1,
            media: 0,
            newest: Vec::new(),
            noise,
            demux,
            to_browser: VecDeque::new(),
            sent: 0,
        }
    }

    /// Lets both live for `span`.
    pub fn run(&mut self, span: Duration) {
        let end = self.line.now + span;
        while self.line.now < end {
            let at = (self.line.now + Duration::from_millis(5)).min(end);
            self.rtc.handle_input(Input::Timeout(at)).unwrap();
            self.take(|line, sink| line.pass(at, sink));
            self.exchange();
        }
    }

    /// One packet of the browser's, and 20 ms.
    pub fn speak(&mut self, payload: &[u8]) {
        self.say(payload);
        self.run(Duration::from_millis(20));
    }

    /// One packet of the browser's.
    pub fn say(&mut self, payload: &[u8]) {
        self.sent += 1;
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid("0".into(), None).unwrap();
        let (pt, seq) = (Pt::new_with_value(OPUS), SeqNo::from(self.sent));
        let timestamp = (self.sent as u32).wrapping_mul(960);
        stream.write_rtp(RtpWrite::new(pt, seq, timestamp, self.line.now, payload));
    }

    /// The browser goes on with another stream.
    pub fn change_ssrc(&mut self, ssrc: u32) {
        self.rtc.direct_api().reset_stream_tx("0".into(), None, ssrc.into(), None).unwrap();
    }

    /// A datagram from the browser's address to our socket.
    pub fn arrive(&mut self, data: Vec<u8>) {
        self.arrive_from(address(), data);
    }

    fn arrive_from(&mut self, from: SocketAddr, data: Vec<u8>) {
        let Some(leg) = self.demux.lookup(from, &data) else { return };
        let arrival = Arrival { at: self.line.now, leg, from, browser: true, data };
        self.take(|line, sink| line.arrive(&arrival, sink));
    }

    /// A phone's datagram.
    pub fn phone_arrives(&mut self, arrival: &Arrival) {
        self.take(|line, sink| line.arrive(arrival, sink));
        self.run(Duration::from_millis(20));
    }

    fn take(&mut self, work: impl FnOnce(&mut Line, &mut dyn FnMut(Output, &[u8]))) {
        let World { line, leg, relayed, events, to_browser, copies, media, .. } = self;
        work(line, &mut |output, data| match output {
            Output::Browser { leg: to, .. } if to == *leg => {
                *media += u64::from(is_media(data));
                let times = if is_media(data) { copies(*media) } else { 1 };
                to_browser.extend(std::iter::repeat_n(data.to_vec(), times));
            }
            Output::Rtp { .. } => relayed.push(data[12..].to_vec()),
            Output::Event(event) => events.push(event),
            Output::Browser { .. }
            | Output::Rtcp { .. }
            | Output::AcceptUfrag { .. }
            | Output::Recorded { .. }
            | Output::RecordingOver(_)
            | Output::ReleaseLeg { .. } => {}
        });
    }

    fn exchange(&mut self) {
        loop {
            while let Some(data) = self.to_browser.pop_front() {
                let ours: SocketAddr = OURS.parse().unwrap();
                let input = Receive::new(Protocol::Udp, ours, address(), &data).unwrap();
                self.rtc.handle_input(Input::Receive(self.line.now, input)).unwrap();
                self.drain_browser();
            }
            self.drain_browser();
            if self.to_browser.is_empty() {
                return;
            }
        }
    }

    fn drain_browser(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                RtcOutput::Timeout(_) => return,
                RtcOutput::Transmit(send) => {
                    let data = send.contents.to_vec();
                    let mut times = 1;
                    if is_media(&data) {
                        self.media += 1;
                        times = (self.copies)(self.media);
                        self.newest.clone_from(&data);
                    }
                    for (from, data) in (self.noise)(&data) {
                        self.arrive_from(from, data);
                    }
                    for _ in 0..times {
                        self.arrive(data.clone());
                    }
                }
                RtcOutput::Event(RtcEvent::RtpPacket(p)) => {
                    self.heard.push((p.header.sequence_number, p.payload.to_vec()));
                }
                RtcOutput::Event(RtcEvent::MediaEgressStats(stats)) => {
                    self.told.push((stats.loss, stats.rtt))
                }
                RtcOutput::Event(_) => {}
            }
        }
    }
}

/// Offers a session and takes the answer.
fn dial(line: &mut Line, leg: LegId, version: DtlsVersion, demux: &mut Demux<LegId>) -> Rtc {
    let mut rtc = RtcConfig::new()
        .set_rtp_mode(true)
        .set_dtls_version(version)
        .set_local_ice_credentials(IceCreds {
            ufrag: "theirufrag".to_owned(),
            pass: "their-password-of-enough-length".to_owned(),
        })
        .set_stats_interval(Some(Duration::from_secs(1)))
        .clear_codecs()
        .enable_opus(true, false)
        .clear_extension_map()
        .build(line.now);
    let print = rtc.direct_api().local_dtls_fingerprint().clone();
    let hex: Vec<String> = print.bytes.iter().map(|b| format!("{b:02X}")).collect();
    let outputs = line.answer(leg, LegKind::WebRtc, Codec::Opus, offer(&hex.join(":")));
    let answer = outputs.iter().find_map(|output| match output {
        Output::Event(Event::LocalSdp { sdp, .. }) => Some(String::from_utf8_lossy(sdp).into_owned()),
        _ => None,
    });
    let answer = answer.unwrap();
    for output in &outputs {
        if let Output::AcceptUfrag { leg, ufrag, password } = output {
            assert!(demux.insert_ufrag(ufrag, password, *leg));
        }
    }
    let value = |name: &str| {
        let start = format!("a={name}:");
        answer.lines().find_map(|l| l.strip_prefix(&start)).map(str::to_owned).unwrap()
    };
    let digest = value("fingerprint").trim_start_matches("sha-256 ").to_owned();
    let bytes = digest.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    let our_ssrc: u32 = value("ssrc").split(' ').next().unwrap().parse().unwrap();
    rtc.add_local_candidate(Candidate::host(address(), "udp").unwrap());
    rtc.add_remote_candidate(Candidate::host(OURS.parse().unwrap(), "udp").unwrap());
    let mut api = rtc.direct_api();
    api.set_ice_controlling(true);
    api.set_remote_ice_credentials(IceCreds { ufrag: value("ice-ufrag"), pass: value("ice-pwd") });
    api.set_remote_fingerprint(Fingerprint { hash_func: "sha-256".to_owned(), bytes });
    api.start_dtls(true).unwrap();
    api.declare_media("0".into(), MediaKind::Audio);
    api.expect_stream_rx(our_ssrc.into(), None, "0".into(), None);
    api.declare_stream_tx(THEIR_SSRC.into(), None, "0".into(), None);
    rtc
}

fn offer(fingerprint: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF {OPUS}\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:theirufrag\r\n\
         a=ice-pwd:their-password-of-enough-length\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n\
         a=rtcp-mux\r\na=rtpmap:{OPUS} opus/48000/2\r\na=sendrecv\r\n"
    )
}
