//! One browser's media session over str0m: ICE-lite, DTLS-SRTP, RTP in and out. The only file that names str0m's types
//! (with `dtls.rs`, which plugs our DTLS configuration into it).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::DirectApi;
use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion, Fingerprint};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpPacket, RtpWrite, SeqNo, Ssrc};
use str0m::{Candidate, CandidateKind, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};
use types::limits;

use crate::dtls;
use crate::stun::{CheckKey, binding_request, is_stun};

/// How often we send receiver and sender reports. Browsers add FEC by our loss reports, so they must not be stale.
const RTCP_INTERVAL: Duration = Duration::from_secs(1);
/// How often the peer's reports about us are turned into `PeerOutput::Feedback`.
const FEEDBACK_INTERVAL: Duration = Duration::from_secs(2);

/// What all browser sessions of the process share: one certificate, one DTLS configuration, one crypto provider.
#[derive(Clone)]
pub struct PeerFactory {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
    fingerprint: Arc<str>,
}

impl fmt::Debug for PeerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerFactory").field("fingerprint", &self.fingerprint).finish()
    }
}

impl PeerFactory {
    /// Makes the certificate and checks the crypto provider. Takes a millisecond; once per process.
    pub fn new() -> Result<PeerFactory, PeerError> {
        let crypto = dtls::crypto_provider()?;
        let certificate = dtls::certificate()?;
        let digest = crypto.sha256_provider.sha256(&certificate.certificate);
        let hex: Vec<String> = digest.iter().map(|b| format!("{b:02X}")).collect();
        Ok(PeerFactory { crypto: Arc::new(crypto), certificate, fingerprint: hex.join(":").into() })
    }

    /// SHA-256 fingerprint of our certificate as SDP writes it: `AB:CD:…` (RFC 8122 §5).
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_string()
    }
}

/// Codec of a browser leg's audio. The media bridge has its own, richer type; this crate knows only what RTP needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AudioCodec {
    /// Opus, 48 kHz, two channels in the rtpmap (RFC 7587).
    Opus,
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

/// The one audio format agreed with the browser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioFormat {
    /// Payload type, as the offer numbers it.
    pub pt: u8,
    /// What it means.
    pub codec: AudioCodec,
}

/// What the SDP exchange agreed, from our side's view.
#[derive(Clone, Debug)]
pub struct PeerParams {
    /// Addresses of our socket. An address on which the browser reaches us without being listed is added on arrival.
    pub candidates: Vec<SocketAddr>,
    /// Our ICE user fragment, at least 4 characters (RFC 8839 §5.4).
    pub local_ufrag: String,
    /// Our ICE password, at least 22 characters.
    pub local_pwd: String,
    /// The browser's.
    pub remote_ufrag: String,
    /// The browser's.
    pub remote_pwd: String,
    /// Hash name (`sha-256`) and digest of the browser's certificate.
    pub remote_fingerprint: (String, Vec<u8>),
    /// We are the DTLS client (`a=setup:active`); else the browser is.
    pub active: bool,
    /// `a=mid` of the audio section.
    pub mid: String,
    /// Id of `urn:ietf:params:rtp-hdrext:sdes:mid`, if agreed.
    pub mid_extension: Option<u8>,
    /// Id of `urn:ietf:params:rtp-hdrext:ssrc-audio-level`, if agreed.
    pub level_extension: Option<u8>,
    /// Audio.
    pub audio: AudioFormat,
    /// Telephone-event payload type and clock, if agreed.
    pub events: Option<(u8, u32)>,
    /// SSRC of what we send, for the whole call.
    pub local_ssrc: u32,
    /// SSRCs that the browser announced for its audio, if any.
    pub remote_ssrcs: Vec<u32>,
}

/// Why a session could not be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerError {
    /// The crypto library refused; ours to fix.
    Crypto(String),
    /// The description agreed on can not be used; theirs.
    Params(String),
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerError::Crypto(words) => write!(f, "crypto: {words}"),
            PeerError::Params(words) => write!(f, "session description: {words}"),
        }
    }
}

impl std::error::Error for PeerError {}

/// What a session wants done or has to say. `Transmit` and `Rtp` leave their bytes in the buffer given to `poll_output`.
#[derive(Clone, PartialEq, Debug)]
pub enum PeerOutput {
    /// Send the buffer as one datagram.
    Transmit {
        /// From this address of ours.
        local: SocketAddr,
        /// To the browser.
        remote: SocketAddr,
    },
    /// One RTP packet came, authenticated, never empty, possibly out of order. The buffer is its payload.
    Rtp {
        /// Payload type: the audio's or the events'.
        pt: u8,
        /// Sequence number, extended by the rollovers seen (RFC 3711 §3.3.1).
        seq: u64,
        /// Timestamp.
        timestamp: u32,
        /// Marker bit.
        marker: bool,
        /// The browser's SSRC.
        ssrc: u32,
    },
    /// ICE and DTLS are up: `send_rtp` works from now on. Once.
    Connected,
    /// The session is over; nothing follows but `Transmit`. Once.
    Disconnected {
        /// Why, in words for the log.
        why: String,
    },
    /// What the browser reports about our stream.
    Feedback {
        /// Fraction of our packets lost, of 255 (RFC 3550 §6.4.1).
        fraction_lost: Option<u8>,
        /// Round trip time.
        rtt: Option<Duration>,
    },
}

/// Header fields of a packet to send; the SSRC is the session's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpOut {
    /// Payload type: the audio's or the events'; another one is not sent.
    pub pt: u8,
    /// Continuous, extended sequence number. The first must be below 65,536, because the browser takes its rollover
    /// counter as zero (RFC 3711 §3.3.1).
    pub seq: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Connecting,
    Connected,
    Ended,
}

/// An ICE restart whose new path is not nominated yet.
#[derive(Debug)]
struct Restart {
    ufrag: String,
    key: CheckKey,
    former: Vec<SocketAddr>,
}

/// One browser's media session. Feed it, then poll `poll_output` until `None` each time.
pub struct Peer {
    rtc: Rtc,
    state: State,
    mid: Mid,
    ssrc: Ssrc,
    locals: Vec<SocketAddr>,
    /// Addresses from which the browser's checks came.
    remotes: Vec<SocketAddr>,
    restart: Option<Restart>,
    sources: Sources,
    /// Set by an error that ends the session, told by the next `poll_output`.
    failure: Option<String>,
    wake_at: Option<Instant>,
    dropped: u64,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("state", &self.state).field("ssrc", &self.ssrc).finish_non_exhaustive()
    }
}

impl Peer {
    /// Sets up a session that waits for the browser's first connectivity check (ICE-lite, RFC 8445 §2.5).
    pub fn new(factory: &PeerFactory, params: PeerParams, now: Instant) -> Result<Peer, PeerError> {
        let rtc = rtc_config(factory, &params)?.build(now);
        let mut peer = Peer {
            rtc,
            state: State::Connecting,
            mid: Mid::from(params.mid.as_str()),
            ssrc: params.local_ssrc.into(),
            locals: Vec::new(),
            remotes: Vec::new(),
            restart: None,
            sources: Sources::default(),
            failure: None,
            wake_at: Some(now),
            dropped: 0,
        };
        for local in &params.candidates {
            peer.add_local(*local);
        }
        let (algorithm, digest) = params.remote_fingerprint;
        let mut api = peer.rtc.direct_api();
        api.set_remote_ice_credentials(IceCreds { ufrag: params.remote_ufrag, pass: params.remote_pwd });
        api.set_remote_fingerprint(Fingerprint { hash_func: algorithm.to_ascii_lowercase(), bytes: digest });
        api.start_dtls(params.active).map_err(|e| PeerError::Crypto(e.to_string()))?;
        api.declare_media(peer.mid, MediaKind::Audio);
        api.declare_stream_tx(peer.ssrc, None, peer.mid, None);
        for ssrc in params.remote_ssrcs.into_iter().take(Sources::PROVEN) {
            peer.sources.announce(ssrc, &mut api, peer.mid);
        }
        Ok(peer)
    }

    /// A datagram for this session, received on our address `local`. Garbage is dropped and counted.
    pub fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8], now: Instant) {
        self.add_local(local);
        if is_stun(data) {
            self.on_check(remote, data);
        } else if let Some(ssrc) = rtp_ssrc(data) {
            self.sources.seen(ssrc, &mut self.rtc.direct_api(), self.mid);
        }
        let handled = Receive::new(Protocol::Udp, remote, local, data)
            .map_err(|e| e.to_string())
            .and_then(|input| self.rtc.handle_input(Input::Receive(now, input)).map_err(|e| e.to_string()));
        if let Err(words) = handled {
            self.note_error(words);
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Err(e) = self.rtc.handle_input(Input::Timeout(now)) {
            self.note_error(e.to_string());
        }
    }

    /// When `handle_timeout` is due; exact only once `poll_output` has given `None`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Connecting | State::Connected => self.wake_at,
            State::Ended => None,
        }
    }

    /// Whether `Connected` was reported and `Disconnected` was not.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Datagrams that were dropped as malformed, not authentic or not of this session.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sends one RTP packet; false (and nothing sent) unless connected and the payload is not empty.
    pub fn send_rtp(&mut self, packet: RtpOut, payload: &[u8], now: Instant) -> bool {
        if self.state != State::Connected || payload.is_empty() {
            return false;
        }
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx(&self.ssrc) else { return false };
        let pt = Pt::new_with_value(packet.pt);
        let write = RtpWrite::new(pt, SeqNo::from(packet.seq), packet.timestamp, now, payload);
        stream.write_rtp(write.marker(packet.marker));
        // str0m moves a written packet to its output only when time is handed in.
        self.handle_timeout(now);
        true
    }

    /// Renewed credentials (ufrag, password) after an offer with a new `a=ice-ufrag` (RFC 8839 §4.4.1.1.1). DTLS, keys and
    /// streams stay; media goes on over the old path until the browser nominates a new one.
    pub fn restart_ice(&mut self, local: (String, String), remote: (String, String)) {
        let key = CheckKey::new(&local.1);
        self.restart =
            Some(Restart { ufrag: local.0.clone(), key, former: std::mem::take(&mut self.remotes) });
        let mut api = self.rtc.direct_api();
        api.set_local_ice_credentials(IceCreds { ufrag: local.0, pass: local.1 });
        api.set_remote_ice_credentials(IceCreds { ufrag: remote.0, pass: remote.1 });
    }

    /// Next thing to do, until `None`. Must be drained after every other call: str0m holds one received packet only.
    pub fn poll_output(&mut self, buf: &mut Vec<u8>) -> Option<PeerOutput> {
        loop {
            if let Some(ended) = self.failure.take().and_then(|why| self.end(why)) {
                return Some(ended);
            }
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.wake_at = Some(at);
                    return None;
                }
                Ok(Output::Transmit(send)) => {
                    buf.clear();
                    buf.extend_from_slice(&send.contents);
                    return Some(PeerOutput::Transmit { local: send.source, remote: send.destination });
                }
                Ok(Output::Event(event)) => {
                    if let Some(output) = self.on_event(event, buf) {
                        return Some(output);
                    }
                }
                Err(e) => {
                    self.note_error(e.to_string());
                    self.failure.as_ref()?;
                }
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)] // str0m's enum is non-exhaustive; the rest is video, data and statistics.
    fn on_event(&mut self, event: Event, buf: &mut Vec<u8>) -> Option<PeerOutput> {
        match event {
            Event::RtpPacket(packet) => self.on_rtp(&packet, buf),
            Event::Connected => (self.state == State::Connecting).then(|| {
                self.state = State::Connected;
                PeerOutput::Connected
            }),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.end("no connectivity check from the browser for 15 s".to_owned())
            }
            Event::Closed => self.end("the browser closed the session".to_owned()),
            Event::MediaEgressStats(stats) => {
                // A fraction of 0..=1 of the reports since the last event.
                let fraction_lost = stats.loss.map(|f| (f * 255.0).round().clamp(0.0, 255.0) as u8);
                (fraction_lost.is_some() || stats.rtt.is_some())
                    .then_some(PeerOutput::Feedback { fraction_lost, rtt: stats.rtt })
            }
            _ => None,
        }
    }

    fn on_rtp(&mut self, packet: &RtpPacket, buf: &mut Vec<u8>) -> Option<PeerOutput> {
        let header = &packet.header;
        self.sources.proven(*header.ssrc, &mut self.rtc.direct_api());
        if packet.payload.is_empty() || self.state == State::Ended {
            return None;
        }
        buf.clear();
        buf.extend_from_slice(&packet.payload);
        Some(PeerOutput::Rtp {
            pt: *header.payload_type,
            seq: *packet.seq_no,
            timestamp: header.timestamp,
            marker: header.marker,
            ssrc: *header.ssrc,
        })
    }

    fn end(&mut self, why: String) -> Option<PeerOutput> {
        if self.state == State::Ended {
            return None;
        }
        self.state = State::Ended;
        Some(PeerOutput::Disconnected { why })
    }

    /// An error is the session's end only if str0m gave up: one forged or damaged datagram must not end a call.
    fn note_error(&mut self, words: String) {
        if self.rtc.is_alive() {
            self.dropped += 1;
        } else {
            self.failure = Some(words);
        }
    }

    /// Keeps track of where checks come from. str0m sends to the nominated pair of highest priority and drops a pair 15 s
    /// after its last check, so after an ICE restart it would go on sending to where the browser no longer is: the
    /// former addresses are withdrawn when the browser nominates another one with its new credentials.
    fn on_check(&mut self, remote: SocketAddr, data: &[u8]) {
        if !self.remotes.contains(&remote) && self.remotes.len() < limits::PEER_ADDRESSES {
            self.remotes.push(remote);
        }
        let Some(restart) = &self.restart else { return };
        let nominates = binding_request(data).is_some_and(|check| {
            let ours = check.split_username().is_some_and(|(local, _)| local == restart.ufrag);
            ours && check.use_candidate() && restart.key.verifies(&check)
        });
        let Some(restart) = self.restart.take_if(|_| nominates) else { return };
        for former in restart.former.into_iter().filter(|former| *former != remote) {
            // What str0m made of that address by itself: a peer-reflexive candidate (RFC 8445 §7.3.1.3).
            let kind = CandidateKind::PeerReflexive;
            let proto = Protocol::Udp;
            let gone = Candidate::from_parts(String::new(), 1, proto, 0, former, kind, None, None, None);
            self.rtc.direct_api().invalidate_candidate(&gone);
        }
    }

    fn add_local(&mut self, local: SocketAddr) {
        if self.locals.contains(&local) || self.locals.len() >= limits::PEER_ADDRESSES {
            return;
        }
        if let Ok(candidate) = Candidate::host(local, Protocol::Udp) {
            self.locals.push(local);
            self.rtc.add_local_candidate(candidate);
        }
    }
}

fn rtc_config(factory: &PeerFactory, params: &PeerParams) -> Result<RtcConfig, PeerError> {
    for (what, id) in [("mid", params.mid_extension), ("ssrc-audio-level", params.level_extension)] {
        if id.is_some_and(|id| !(1..=14).contains(&id)) {
            return Err(PeerError::Params(format!("the header extension {what} has an id outside 1-14")));
        }
    }
    let mut extensions = ExtensionMap::empty();
    if let Some(id) = params.mid_extension {
        extensions.set(id, Extension::RtpMid);
    }
    if let Some(id) = params.level_extension {
        extensions.set(id, Extension::AudioLevel);
    }
    let creds = IceCreds { ufrag: params.local_ufrag.clone(), pass: params.local_pwd.clone() };
    let mut config = RtcConfig::new()
        .set_crypto_provider(factory.crypto.clone())
        .set_dtls_cert(factory.certificate.clone())
        .set_dtls_version(DtlsVersion::Dtls12)
        .set_ice_lite(true)
        .set_local_ice_credentials(creds)
        .set_rtp_mode(true)
        .set_rtcp_report_interval_audio(RTCP_INTERVAL)
        .set_stats_interval(Some(FEEDBACK_INTERVAL))
        .clear_codecs()
        .set_extension_map(extensions);
    let (codec, clock, channels) = match params.audio.codec {
        AudioCodec::Opus => (Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2)),
        AudioCodec::Pcmu => (Codec::PCMU, Frequency::EIGHT_KHZ, Some(1)),
        AudioCodec::Pcma => (Codec::PCMA, Frequency::EIGHT_KHZ, Some(1)),
    };
    let codecs = config.codec_config();
    codecs.add_config(payload_type(params.audio.pt)?, None, codec, clock, channels, FormatParams::default());
    if let Some((pt, clock)) = params.events {
        let clock = Frequency::new(clock)
            .ok_or_else(|| PeerError::Params("telephone-event has a clock of 0 Hz".to_owned()))?;
        codecs.add_config(payload_type(pt)?, None, Codec::Tele, clock, None, FormatParams::default());
    }
    Ok(config)
}

fn payload_type(pt: u8) -> Result<Pt, PeerError> {
    // 64-95 would be taken for RTCP on a multiplexed port (RFC 5761 §4).
    match pt {
        0..=63 | 96..=127 => Ok(Pt::new_with_value(pt)),
        64..=95 | 128..=255 => {
            Err(PeerError::Params(format!("payload type {pt} can not be used with rtcp-mux")))
        }
    }
}

/// The SSRC of an RTP packet; none for STUN, DTLS and RTCP (RFC 7983, RFC 5761 §4).
fn rtp_ssrc(data: &[u8]) -> Option<u32> {
    let (&[first, second], rest) = data.split_first_chunk::<2>()?;
    let is_rtp = (128..192).contains(&first) && !(64..96).contains(&(second & 0x7f));
    let ssrc = rest.get(6..10)?;
    is_rtp.then(|| u32::from_be_bytes([ssrc[0], ssrc[1], ssrc[2], ssrc[3]]))
}

/// Which of the browser's SSRCs str0m listens to. The session has one audio section, so an SSRC that was not announced is
/// audio too; until a packet of it proved authentic it holds the one place for candidates, so forgeries cost nothing.
#[derive(Default, Debug)]
struct Sources {
    proven: Vec<u32>,
    candidate: Option<u32>,
}

impl Sources {
    /// Streams kept; with one more the oldest goes.
    const PROVEN: usize = limits::PEER_SOURCES;

    fn announce(&mut self, ssrc: u32, api: &mut DirectApi<'_>, mid: Mid) {
        if !self.proven.contains(&ssrc) {
            api.expect_stream_rx(ssrc.into(), None, mid, None).suppress_nack(true);
            self.proven.push(ssrc);
        }
    }

    fn seen(&mut self, ssrc: u32, api: &mut DirectApi<'_>, mid: Mid) {
        if ssrc == 0 || self.candidate == Some(ssrc) || self.proven.contains(&ssrc) {
            return;
        }
        if let Some(old) = self.candidate.replace(ssrc) {
            api.remove_stream_rx(old.into());
        }
        api.expect_stream_rx(ssrc.into(), None, mid, None).suppress_nack(true);
    }

    fn proven(&mut self, ssrc: u32, api: &mut DirectApi<'_>) {
        if self.candidate != Some(ssrc) {
            return;
        }
        self.candidate = None;
        if self.proven.len() >= Self::PROVEN {
            let oldest = self.proven.remove(0);
            api.remove_stream_rx(oldest.into());
        }
        self.proven.push(ssrc);
    }
}
