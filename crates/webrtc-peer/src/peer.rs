//! One browser's media session: ICE-lite over `is`, DTLS over `dimpl`. What it comes to are a path and keys: RTP and RTCP
//! are whoever asked for them, and nothing here ever sees a packet of theirs.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use dimpl::{Dtls, DtlsCertificate, Output as DtlsOutput, ProtocolVersion};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, CandidateKind, IceAgent, IceAgentEvent, IceCreds, Protocol};
use types::limits;

use crate::dtls::{self, Fingerprint, SrtpKeys, SrtpProfile};
use crate::stun::{CheckKey, binding_request, is_stun};
use crate::{Connection, Far, Route, SetUp, Transport};

/// Room for a DTLS datagram of ours; a certificate of theirs may need more.
const DTLS_DATAGRAM: usize = 1_500;

/// What all browser sessions of the process share: one certificate, one DTLS configuration.
#[derive(Clone)]
pub struct PeerFactory {
    config: Arc<dimpl::Config>,
    certificate: DtlsCertificate,
    fingerprint: Arc<str>,
}

impl fmt::Debug for PeerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerFactory").field("fingerprint", &self.fingerprint).finish()
    }
}

impl PeerFactory {
    /// Makes the certificate and checks the crypto provider. Takes a millisecond; once per process.
    ///
    /// # Errors
    /// The crypto library refused.
    pub fn new() -> Result<PeerFactory, PeerError> {
        let certificate = dtls::certificate()?;
        let fingerprint = dtls::fingerprint_text(&certificate.certificate).into();
        Ok(PeerFactory { config: dtls::shared_config()?, certificate, fingerprint })
    }

    /// SHA-256 fingerprint of our certificate as SDP writes it: `AB:CD:…` (RFC 8122 §5).
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_string()
    }
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

/// What a session wants done or has to say. `Transmit` leaves its bytes in the buffer given to `poll_output`.
#[derive(Clone, PartialEq, Debug)]
pub enum PeerOutput {
    /// Send the buffer as one datagram, this way.
    Transmit(Route),
    /// ICE and DTLS are up, and the browser has the certificate that its description promised: [`Peer::path`] says where
    /// packets go, these are the keys for them. Once.
    Connected {
        /// Of both directions.
        keys: SrtpKeys,
    },
    /// Nothing authentic has come from the browser for [`limits::PATH_LOST`]: its network may have changed, and it may
    /// come back. Once until it does.
    PathLost,
    /// Something came again.
    PathRestored,
    /// The session is over; nothing follows but `Transmit`. Once.
    Disconnected {
        /// Why, in words for the log.
        why: String,
    },
}

#[derive(Debug)]
enum State {
    Connecting(Handshake),
    Connected(SrtpProfile),
    Ended,
}

/// What of a handshake has come so far; all of it is needed.
#[derive(Default, Debug)]
struct Handshake {
    /// The certificate is the promised one.
    verified: bool,
    keys: Option<SrtpKeys>,
    finished: bool,
    /// Hashes of the datagrams that came last.
    seen: VecDeque<u64>,
}

/// An ICE restart whose new path is not nominated yet.
#[derive(Debug)]
struct Restart {
    ufrag: String,
    key: CheckKey,
    former: Vec<Far>,
}

/// Signs of life: connectivity checks (an ICE-lite agent sends none, it is sent some for as long as the browser wants to
/// hear, RFC 7675) and media, authentic all of them.
#[derive(Clone, Copy, Debug)]
enum Signs {
    /// None yet: a browser may take its time.
    Awaited,
    /// The last one came then.
    Seen(Instant),
    /// The last one came too long ago, which was told.
    Missed(Instant),
    /// They came again, which is still to be told.
    Back(Instant),
}

/// One browser's media session. Feed it, then poll `poll_output` until `None` each time.
pub struct Peer {
    ice: IceAgent,
    dtls: Dtls,
    /// The same for DTLS 1.2, until a whole hello of the browser has shown what it speaks.
    older: Option<Dtls>,
    active: bool,
    fingerprint: Fingerprint,
    state: State,
    locals: Vec<(Transport, SocketAddr)>,
    /// Addresses from which the browser's checks came.
    remotes: Vec<Far>,
    restart: Option<Restart>,
    /// The nominated pair.
    path: Option<Route>,
    signs: Signs,
    /// Still to be told.
    path_lost: bool,
    /// DTLS of ours that waits for a path.
    held: VecDeque<Vec<u8>>,
    /// DTLS may have outputs.
    dtls_moved: bool,
    dtls_at: Option<Instant>,
    /// Set by an error that ends the session, told by the next `poll_output`.
    failure: Option<String>,
    wake_at: Option<Instant>,
    dropped: u64,
    begun: Instant,
    /// The newest time known.
    now: Instant,
    set_up: SetUp,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("state", &self.state).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Peer {
    /// Sets up a session that waits for the browser's first connectivity check (ICE-lite, RFC 8445 §2.5).
    ///
    /// # Errors
    /// What the description promises can not be checked.
    pub fn new(factory: &PeerFactory, params: PeerParams, now: Instant) -> Result<Peer, PeerError> {
        let (hash, digest) = params.remote_fingerprint;
        let fingerprint = Fingerprint::new(&hash, digest)?;
        let mut ice = IceAgent::new(IceCreds { ufrag: params.local_ufrag, pass: params.local_pwd });
        ice.set_ice_lite(true);
        ice.set_remote_credentials(IceCreds { ufrag: params.remote_ufrag, pass: params.remote_pwd });
        let (config, certificate) = (&factory.config, &factory.certificate);
        let older = || Dtls::new_12(config.clone(), certificate.clone(), now);
        // An engine that senses the version by itself keeps whatever comes before the hello, and soon has no room for that.
        let (dtls, older) = match params.active {
            true => (older(), None),
            false => (Dtls::new_13(config.clone(), certificate.clone(), now), Some(older())),
        };
        let mut peer = Peer {
            ice,
            dtls,
            older,
            active: params.active,
            fingerprint,
            state: State::Connecting(Handshake::default()),
            locals: Vec::new(),
            remotes: Vec::new(),
            restart: None,
            path: None,
            signs: Signs::Awaited,
            path_lost: false,
            held: VecDeque::new(),
            dtls_moved: true,
            dtls_at: None,
            failure: None,
            wake_at: Some(now),
            dropped: 0,
            begun: now,
            now,
            set_up: SetUp::default(),
        };
        for local in &params.candidates {
            peer.add_local(Transport::Udp, *local);
        }
        peer.dtls.set_active(params.active);
        peer.dtls_time(now);
        peer.ice.handle_timeout(now);
        match peer.failure.take() {
            Some(words) => Err(PeerError::Crypto(words)),
            None => Ok(peer),
        }
    }

    /// A datagram for this session that came this way: STUN or DTLS (RFC 7983). Anything else, and garbage, is dropped and
    /// counted.
    pub fn handle_datagram(&mut self, route: impl Into<Route>, data: &[u8], now: Instant) {
        self.now = now;
        match data.first() {
            Some(_) if is_stun(data) => self.on_stun(route.into(), data, now),
            Some(20..=63) if !matches!(self.state, State::Ended) => {
                self.dtls_time(now);
                // One forged or damaged datagram must not end a call.
                if !self.take_dtls(data) {
                    self.dropped += 1;
                }
            }
            Some(_) | None => self.dropped += 1,
        }
    }

    /// Media of the browser came whose authenticity somebody else has checked. True if `poll_output` has to tell of it.
    pub fn handle_sign(&mut self, now: Instant) -> bool {
        self.signs = match self.signs {
            Signs::Awaited | Signs::Seen(_) => Signs::Seen(now),
            Signs::Missed(_) | Signs::Back(_) => Signs::Back(now),
        };
        let tells = matches!(self.signs, Signs::Back(_));
        if tells {
            self.wake_at = Some(now);
        }
        tells
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.ice.handle_timeout(now);
        self.miss_signs(now);
        if self.dtls_at.is_some_and(|at| at <= now) && !matches!(self.state, State::Ended) {
            self.dtls_time(now);
        }
    }

    /// When `handle_timeout` is due; exact only once `poll_output` has given `None`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Connecting(_) | State::Connected(_) => self.wake_at,
            State::Ended => None,
        }
    }

    /// Whether `Connected` was reported and `Disconnected` was not.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// What the session runs over, while it is connected.
    pub fn connection(&self) -> Option<Connection> {
        let State::Connected(profile) = self.state else { return None };
        let dtls13 = self.dtls.protocol_version() == Some(ProtocolVersion::DTLS1_3);
        let Route { transport, remote, .. } = self.path?;
        Some(Connection { transport, ipv6: remote.is_ipv6(), dtls13, profile })
    }

    /// How long it took to come up.
    pub fn set_up(&self) -> SetUp {
        self.set_up
    }

    /// Which way packets go: the pair that the browser nominated last (RFC 8445 §8). None
    /// before it did.
    pub fn path(&self) -> Option<Route> {
        self.path
    }

    /// Datagrams that were dropped as malformed, not authentic or not of this session.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Renewed credentials (ufrag, password) after an offer with a new `a=ice-ufrag` (RFC 8839 §4.4.1.1.1). DTLS and keys
    /// stay; media goes on over the old path until the browser nominates a new one.
    pub fn restart_ice(&mut self, local: (String, String), remote: (String, String)) {
        let key = CheckKey::new(&local.1);
        self.restart =
            Some(Restart { ufrag: local.0.clone(), key, former: std::mem::take(&mut self.remotes) });
        self.ice.set_local_credentials(IceCreds { ufrag: local.0, pass: local.1 });
        self.ice.set_remote_credentials(IceCreds { ufrag: remote.0, pass: remote.1 });
    }

    /// Next thing to do, until `None`. Must be drained after every other call.
    pub fn poll_output(&mut self, buf: &mut Vec<u8>) -> Option<PeerOutput> {
        self.follow_ice();
        if let Some(output) = self.poll_signs().or_else(|| self.poll_dtls(buf)) {
            return Some(output);
        }
        if let Some(send) = self.ice.poll_transmit() {
            buf.clear();
            buf.extend_from_slice(&send.contents);
            return Some(PeerOutput::Transmit(route(send.proto, send.source, send.destination)));
        }
        self.wake_at = self.ice.poll_timeout().into_iter().chain(self.dtls_at).chain(self.signs_due()).min();
        None
    }

    fn follow_ice(&mut self) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { proto, source, destination } => {
                    self.path = Some(route(proto, source, destination));
                    self.set_up.ice.get_or_insert(self.now.saturating_duration_since(self.begun));
                }
                // What it takes for a lost connection is not for it to say: media may come without checks.
                IceAgentEvent::IceConnectionStateChange(_)
                | IceAgentEvent::IceRestart(_)
                | IceAgentEvent::DiscoveredRecv { .. } => {}
            }
        }
    }

    /// When the silence is too long.
    fn signs_due(&self) -> Option<Instant> {
        match self.signs {
            Signs::Awaited | Signs::Back(_) => None,
            Signs::Seen(at) => Some(at + limits::PATH_LOST),
            Signs::Missed(at) => Some(at + limits::PEER_GONE),
        }
    }

    fn poll_signs(&mut self) -> Option<PeerOutput> {
        if let Signs::Back(at) = self.signs {
            self.signs = Signs::Seen(at);
            return Some(PeerOutput::PathRestored);
        }
        std::mem::take(&mut self.path_lost).then_some(PeerOutput::PathLost)
    }

    fn miss_signs(&mut self, now: Instant) {
        if self.signs_due().is_none_or(|at| at > now) || matches!(self.state, State::Ended) {
            return;
        }
        match self.signs {
            Signs::Seen(at) => (self.signs, self.path_lost) = (Signs::Missed(at), true),
            Signs::Missed(_) => {
                let seconds = limits::PEER_GONE.as_secs();
                self.failure.get_or_insert_with(|| format!("nothing came from the browser for {seconds} s"));
            }
            Signs::Awaited | Signs::Back(_) => {}
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)] // dimpl's enum is non-exhaustive.
    fn poll_dtls(&mut self, buf: &mut Vec<u8>) -> Option<PeerOutput> {
        // As client we begin when there is a way: the handshake's deadline runs from its first datagram.
        if matches!(self.state, State::Ended) {
            return None;
        }
        if self.active && self.path.is_none() {
            return self.failure.take().and_then(|why| self.end(why));
        }
        if let (Some(route), Some(held)) = (self.path, self.held.front()) {
            buf.clear();
            buf.extend_from_slice(held);
            self.held.pop_front();
            return Some(PeerOutput::Transmit(route));
        }
        while self.dtls_moved {
            buf.resize(buf.len().max(DTLS_DATAGRAM), 0);
            match self.dtls.poll_output(buf) {
                DtlsOutput::Packet(packet) => {
                    let length = packet.len();
                    buf.truncate(length);
                    if let Some(route) = self.path {
                        return Some(PeerOutput::Transmit(route));
                    }
                    // Retransmission makes up for what is dropped.
                    if self.held.len() < limits::PEER_HELD {
                        self.held.push_back(buf.clone());
                    }
                }
                DtlsOutput::BufferTooSmall { needed } => buf.resize(needed, 0),
                DtlsOutput::Timeout(at) => {
                    self.dtls_at = Some(at);
                    self.dtls_moved = false;
                }
                DtlsOutput::PeerCert(certificate) => {
                    if !self.fingerprint.is_of(certificate) {
                        let words = "the browser's certificate has not the fingerprint of its description";
                        return self.end(words.to_owned());
                    }
                    if let State::Connecting(handshake) = &mut self.state {
                        handshake.verified = true;
                    }
                }
                DtlsOutput::KeyingMaterial(material, profile) => {
                    let keys = SrtpKeys::new(&material, profile, self.active);
                    if let State::Connecting(handshake) = &mut self.state {
                        handshake.keys = keys;
                    }
                }
                DtlsOutput::Connected => {
                    if let State::Connecting(handshake) = &mut self.state {
                        handshake.finished = true;
                    }
                }
                DtlsOutput::CloseNotify => {
                    // Answered in kind (RFC 5246 §7.2.1).
                    let _ = self.dtls.close();
                    self.failure.get_or_insert_with(|| "the browser closed the session".to_owned());
                }
                // There are no data channels here.
                _ => {}
            }
        }
        self.conclude()
    }

    /// What the outputs of DTLS came to.
    fn conclude(&mut self) -> Option<PeerOutput> {
        if let Some(why) = self.failure.take() {
            return self.end(why);
        }
        let State::Connecting(handshake) = &mut self.state else { return None };
        if !handshake.finished {
            return None;
        }
        match (handshake.verified, handshake.keys.take()) {
            (true, Some(keys)) => {
                self.state = State::Connected(keys.profile());
                let way_at = self.begun + self.set_up.ice.unwrap_or_default();
                self.set_up.dtls = Some(self.now.saturating_duration_since(way_at));
                Some(PeerOutput::Connected { keys })
            }
            (true, None) => self.end("no SRTP profile in common".to_owned()),
            (false, _) => self.end("the browser showed no certificate".to_owned()),
        }
    }

    fn end(&mut self, why: String) -> Option<PeerOutput> {
        if matches!(self.state, State::Ended) {
            return None;
        }
        self.state = State::Ended;
        Some(PeerOutput::Disconnected { why })
    }

    fn on_stun(&mut self, route: Route, data: &[u8], now: Instant) {
        let Ok(message) = StunMessage::parse(data) else {
            self.dropped += 1;
            return;
        };
        let Route { transport, local, remote } = route;
        self.add_local(transport, local);
        self.on_check(route.far(), data);
        let packet = StunPacket { proto: protocol(transport), source: remote, destination: local, message };
        if self.ice.handle_packet(now, packet) {
            self.handle_sign(now);
        } else {
            self.dropped += 1;
        }
        self.ice.handle_timeout(now);
        if matches!(self.state, State::Connecting(_)) {
            self.dtls_time(now);
        }
    }

    /// False if it was dropped. Who answers the hello first, the newer version before the older, goes on alone.
    fn take_dtls(&mut self, data: &[u8]) -> bool {
        if !is_whole(data) || !self.expects(data) || !self.is_new(data) {
            return false;
        }
        let taken = self.dtls.handle_packet(data).is_ok();
        let Some(mut older) = self.older.take() else { return taken };
        if answers(&mut self.dtls, &mut self.held) {
            return true;
        }
        let understood = older.handle_packet(data).is_ok();
        if answers(&mut older, &mut self.held) {
            self.dtls = older;
        } else {
            self.older = Some(older);
        }
        taken || understood
    }

    /// A browser's first word is its hello, in the clear; under DTLS 1.3 nothing else is, and one record that should not be
    /// there can spoil what comes behind it.
    fn expects(&self, data: &[u8]) -> bool {
        let newer = self.dtls.protocol_version() == Some(ProtocolVersion::DTLS1_3);
        match (&self.older, newer) {
            (Some(_), _) => is_hello(data),
            (None, true) => is_hello(data) || matches!(data.first(), Some(32..=63)),
            (None, false) => true,
        }
    }

    /// What is sent again has another record number (RFC 9147 §5.8.1): a datagram that came before is somebody's copy, and
    /// the handshake does not have to answer it.
    fn is_new(&mut self, data: &[u8]) -> bool {
        let State::Connecting(handshake) = &mut self.state else { return true };
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        let hash = hasher.finish();
        let new = !handshake.seen.contains(&hash);
        if new {
            if handshake.seen.len() >= limits::PEER_SEEN {
                handshake.seen.pop_front();
            }
            handshake.seen.push_back(hash);
        }
        new
    }

    /// DTLS knows the time by being told; a failed timer is its end.
    fn dtls_time(&mut self, now: Instant) {
        self.dtls_moved = true;
        if let Some(older) = &mut self.older {
            // One that waits for a hello has no timer that could fail.
            let _ = older.handle_timeout(now);
        }
        if let Err(e) = self.dtls.handle_timeout(now) {
            self.failure.get_or_insert_with(|| format!("DTLS: {e}"));
        }
    }

    /// Keeps track of where checks come from. The agent sends to the nominated pair of highest priority and drops a pair
    /// 15 s after its last check, so after an ICE restart it would go on sending to where the browser no longer is: the
    /// former addresses are withdrawn when the browser nominates another one with its new credentials.
    fn on_check(&mut self, remote: Far, data: &[u8]) {
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
            // What the agent made of that address by itself: a peer-reflexive candidate (RFC 8445 §7.3.1.3).
            let kind = CandidateKind::PeerReflexive;
            let (proto, address) = (protocol(former.transport), former.address);
            let gone = Candidate::from_parts(String::new(), 1, proto, 0, address, kind, None, None, None);
            self.ice.invalidate_candidate(&gone);
        }
    }

    fn add_local(&mut self, transport: Transport, local: SocketAddr) {
        if self.locals.contains(&(transport, local)) || self.locals.len() >= limits::PEER_ADDRESSES {
            return;
        }
        if let Ok(candidate) = Candidate::host(local, protocol(transport)) {
            self.locals.push((transport, local));
            self.ice.add_local_candidate(candidate);
        }
    }
}

/// Whether it begins with a ClientHello in the clear, or a part of one (RFC 9147 §5.2).
fn is_hello(data: &[u8]) -> bool {
    data.first() == Some(&22) && data.get(3..5) == Some(&[0, 0]) && data.get(13) == Some(&1)
}

/// Whether a datagram is made of whole records (RFC 9147 §4, RFC 6347 §4.1).
fn is_whole(data: &[u8]) -> bool {
    let mut rest = data;
    while let Some(first) = rest.first() {
        let length = |at: usize| Some(usize::from(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?])));
        let whole = match first {
            20..=26 => length(11).map(|length| 13 + length),
            // No connection ids: nobody has asked for any.
            32..=63 if first & 0x10 == 0 => {
                let sequence = if first & 8 == 0 { 1 } else { 2 };
                match first & 4 {
                    0 => Some(rest.len()),
                    _ => length(1 + sequence).map(|length| 3 + sequence + length),
                }
            }
            _ => None,
        };
        let Some(after) = whole.and_then(|whole| rest.get(whole..)) else { return false };
        rest = after;
    }
    true
}

/// Whether it has something to send now, which goes behind what is held.
#[allow(clippy::wildcard_enum_match_arm)] // dimpl's enum is non-exhaustive.
fn answers(dtls: &mut Dtls, held: &mut VecDeque<Vec<u8>>) -> bool {
    let (mut buf, before) = (vec![0; DTLS_DATAGRAM], held.len());
    loop {
        match dtls.poll_output(&mut buf) {
            DtlsOutput::Packet(packet) if held.len() < limits::PEER_HELD => held.push_back(packet.to_vec()),
            DtlsOutput::Packet(_) => {}
            DtlsOutput::BufferTooSmall { needed } => buf.resize(needed, 0),
            _ => return held.len() > before,
        }
    }
}

fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp => Protocol::Tcp,
    }
}

/// As the agent writes it. It knows no other protocols than it was told of.
fn route(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Route {
    let transport = match protocol {
        Protocol::Udp => Transport::Udp,
        Protocol::Tcp | Protocol::SslTcp | Protocol::Tls => Transport::Tcp,
    };
    Route { transport, local, remote }
}
