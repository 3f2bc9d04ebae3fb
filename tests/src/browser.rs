//! A browser without a window: the `webrtc` crate, an implementation independent of the one in the gateway. Fast enough
//! for many calls in one test; what real browsers do beyond it is tested with real browsers.

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_OPUS, MIME_TYPE_PCMA, MIME_TYPE_PCMU, MIME_TYPE_TELEPHONE_EVENT, MediaEngine,
};
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::runtime::Runtime;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngineBuilder,
    register_default_interceptors,
};
use webrtc::runtime::TokioRuntime;

/// A codec with the payload types that Chromium offers it and its telephone-event with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voice {
    /// Opus, 111, telephone-event/48000 110.
    Opus,
    /// G.711 mu-law, 0, telephone-event/8000 126.
    Pcmu,
    /// G.711 A-law, 8, telephone-event/8000 126.
    Pcma,
}

impl Voice {
    /// Payload type of its audio.
    pub fn pt(self) -> u8 {
        match self {
            Voice::Opus => 111,
            Voice::Pcmu => 0,
            Voice::Pcma => 8,
        }
    }

    /// Payload type of its telephone-event.
    pub fn events_pt(self) -> u8 {
        match self {
            Voice::Opus => 110,
            Voice::Pcmu | Voice::Pcma => 126,
        }
    }

    fn clock(self) -> u32 {
        match self {
            Voice::Opus => 48_000,
            Voice::Pcmu | Voice::Pcma => 8_000,
        }
    }

    /// Timestamp units of 20 ms.
    pub fn frame(self) -> u32 {
        self.clock() / 50
    }

    fn audio(self) -> RTCRtpCodec {
        let (mime, channels, fmtp) = match self {
            Voice::Opus => (MIME_TYPE_OPUS, 2, "minptime=10;useinbandfec=1"),
            Voice::Pcmu => (MIME_TYPE_PCMU, 0, ""),
            Voice::Pcma => (MIME_TYPE_PCMA, 0, ""),
        };
        codec(mime, self.clock(), channels, fmtp)
    }
}

fn codec(mime: &str, clock_rate: u32, channels: u16, fmtp: &str) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![],
    }
}

/// One RTP packet that the browser received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// Payload type.
    pub pt: u8,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Whose.
    pub ssrc: u32,
    /// Bytes.
    pub payload: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    gathered: bool,
    connected: bool,
    ended: bool,
    heard: Vec<Heard>,
}

/// State that the library's callbacks write and the test waits for.
#[derive(Default)]
struct Board {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Board {
    fn write(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `holds`, at most `limit`; whether it does.
    fn wait(&self, limit: Duration, holds: impl Fn(&Seen) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |seen| !holds(seen));
        let (seen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        holds(&seen)
    }
}

struct Callbacks(Arc<Board>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Callbacks {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.0.write(|seen| seen.gathered = true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.0.write(|seen| {
            seen.connected = state == RTCPeerConnectionState::Connected;
            seen.ended |= matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed);
        });
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let board = self.0.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
                let header = &packet.header;
                let heard = Heard {
                    at: Instant::now(),
                    pt: header.payload_type,
                    seq: header.sequence_number,
                    timestamp: header.timestamp,
                    marker: header.marker,
                    ssrc: header.ssrc,
                    payload: packet.payload.to_vec(),
                };
                board.write(|seen| seen.heard.push(heard));
            }
        });
    }
}

/// The browser: one peer connection with one audio track.
pub struct RustBrowser {
    runtime: Runtime,
    connection: Arc<dyn PeerConnection>,
    track: Arc<TrackLocalStaticRTP>,
    board: Arc<Board>,
    voice: Voice,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
}

impl RustBrowser {
    /// A browser that speaks `voice`, with its socket on `address`.
    pub fn new(voice: Voice, address: IpAddr) -> RustBrowser {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a tokio runtime");
        let board = Arc::new(Board::default());
        let ssrc = 0x5eed_0001;
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "stream".to_owned(),
            "microphone".to_owned(),
            "microphone".to_owned(),
            RtpCodecKind::Audio,
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
                codec: voice.audio(),
                ..Default::default()
            }],
        )));
        let connection = runtime.block_on(connect(voice, address, board.clone(), track.clone()));
        RustBrowser { runtime, connection, track, board, voice, ssrc, seq: 1000, timestamp: 77_000 }
    }

    /// An offer with all of its candidates.
    pub fn offer(&self) -> String {
        self.offer_with(None)
    }

    /// A further offer, with new ICE credentials (what a page does when its network changed).
    pub fn offer_ice_restart(&self) -> String {
        self.board.write(|seen| seen.gathered = false);
        self.offer_with(Some(RTCOfferOptions { ice_restart: true }))
    }

    fn offer_with(&self, options: Option<RTCOfferOptions>) -> String {
        let limit = Duration::from_secs(30);
        self.runtime.block_on(async {
            let offer = self.connection.create_offer(options).await.expect("an offer");
            self.connection.set_local_description(offer).await.expect("its own offer");
        });
        assert!(self.board.wait(limit, |seen| seen.gathered), "no candidates within {limit:?}");
        self.runtime.block_on(self.connection.local_description()).expect("an offer").sdp
    }

    /// Takes the gateway's answer.
    pub fn set_answer(&self, sdp: &str) {
        let answer = RTCSessionDescription::answer(sdp.to_owned()).expect("an answer that parses");
        self.runtime.block_on(self.connection.set_remote_description(answer)).expect("an answer that fits");
    }

    /// Waits for ICE and DTLS.
    pub fn wait_connected(&self) {
        let limit = Duration::from_secs(30);
        assert!(
            self.board.wait(limit, |seen| seen.connected),
            "the browser did not connect within {limit:?}"
        );
    }

    /// Whether the connection failed or was closed by the gateway, waiting at most `limit`.
    pub fn wait_ended(&self, limit: Duration) -> bool {
        self.board.wait(limit, |seen| seen.ended || !seen.connected)
    }

    /// Sends one frame of 20 ms; the caller keeps the pace.
    pub fn speak(&mut self, frame: &[u8]) {
        self.write(self.voice.pt(), false, self.timestamp, frame);
        self.timestamp = self.timestamp.wrapping_add(self.voice.frame());
    }

    /// Sends frames of 20 ms in real time; how late the latest was, for this machine had something else to do.
    pub fn speak_for(&mut self, span: Duration, frame: &[u8]) -> Duration {
        let start = Instant::now();
        let mut late = Duration::ZERO;
        for n in 0..(span.as_millis() / 20) as u32 {
            late = late.max(start.elapsed().saturating_sub(Duration::from_millis(20) * n));
            self.speak(frame);
            let next = start + Duration::from_millis(20) * (n + 1);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        late
    }

    /// Presses a digit for `length` (RFC 4733: an update each 20 ms, three end packets), in real time.
    pub fn press(&mut self, digit: char, length: Duration) {
        let event = "0123456789*#ABCD".find(digit).expect("one of 0-9 * # A-D") as u8;
        let steps = (length.as_millis() / 20).max(2) as u32;
        let start = Instant::now();
        let timestamp = self.timestamp;
        for step in 1..=steps + 2 {
            let end = step >= steps;
            let duration = (step.min(steps) * self.voice.frame()) as u16;
            let [high, low] = duration.to_be_bytes();
            let payload = [event, if end { 0x8a } else { 0x0a }, high, low];
            self.write(self.voice.events_pt(), step == 1, timestamp, &payload);
            let next = start + Duration::from_millis(20) * step;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        self.timestamp = timestamp.wrapping_add(self.voice.frame() * (steps + 2));
    }

    /// Everything heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.board.lock().heard.clone()
    }

    /// Waits until `count` packets of `pt` were heard, at most `limit`; whether they were.
    pub fn wait_heard(&self, pt: u8, count: usize, limit: Duration) -> bool {
        self.board.wait(limit, |seen| seen.heard.iter().filter(|h| h.pt == pt).count() >= count)
    }

    /// Digits heard: an event and its longest duration in timestamp units, each (SSRC, timestamp) once.
    pub fn digits(&self) -> Vec<(char, u16)> {
        let mut digits: Vec<(u32, char, u16)> = Vec::new();
        for heard in self.heard().iter().filter(|h| h.pt == self.voice.events_pt() && h.payload.len() >= 4) {
            let digit = "0123456789*#ABCD".chars().nth(usize::from(heard.payload[0])).unwrap_or('?');
            let duration = u16::from_be_bytes([heard.payload[2], heard.payload[3]]);
            match digits.iter_mut().find(|(timestamp, _, _)| *timestamp == heard.timestamp) {
                Some((_, _, longest)) => *longest = duration.max(*longest),
                None => digits.push((heard.timestamp, digit, duration)),
            }
        }
        digits.into_iter().map(|(_, digit, duration)| (digit, duration)).collect()
    }

    /// Hangs up as a page does that is left: the connection is closed without a word to the gateway's signalling.
    pub fn close(&self) {
        self.runtime.block_on(self.connection.close()).expect("a connection that closes");
    }

    fn write(&mut self, pt: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let header = rtp::Header {
            version: 2,
            marker,
            payload_type: pt,
            sequence_number: self.seq,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.seq = self.seq.wrapping_add(1);
        let packet = rtp::Packet { header, payload: Bytes::copy_from_slice(payload) };
        self.runtime.block_on(self.track.write_rtp(packet)).expect("a track that takes packets");
    }
}

async fn connect(
    voice: Voice,
    address: IpAddr,
    board: Arc<Board>,
    track: Arc<TrackLocalStaticRTP>,
) -> Arc<dyn PeerConnection> {
    let mut media = MediaEngine::default();
    let events = codec(MIME_TYPE_TELEPHONE_EVENT, voice.clock(), 0, "0-15");
    let codecs = [(voice.audio(), voice.pt()), (events, voice.events_pt())]
        .map(|(rtp_codec, payload_type)| RTCRtpCodecParameters { rtp_codec, payload_type });
    for parameters in &codecs {
        media.register_codec(parameters.clone(), RtpCodecKind::Audio).expect("a codec");
    }
    let registry = register_default_interceptors(Registry::new(), &mut media).expect("interceptors");
    let settings = SettingEngineBuilder::new().with_include_loopback_candidate(true).build();
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(media)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(Callbacks(board)))
        .with_runtime(Arc::new(TokioRuntime))
        .with_udp_addrs(vec![format!("{address}:0")])
        .build()
        .await
        .expect("a peer connection");
    connection.add_track(track as Arc<dyn TrackLocal>).await.expect("a track");
    // The track names one codec; without this the offer has no telephone-event.
    for transceiver in connection.get_transceivers().await {
        transceiver.set_codec_preferences(codecs.to_vec()).await.expect("codecs that it knows");
    }
    Arc::new(connection)
}
