//! One browser's media session: ICE-lite over `is`, DTLS over `dimpl`. What it comes to are a path and keys: RTP and RTCP
//! are whoever asked for them, and nothing here ever sees a packet of theirs.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use dimpl::{Dtls, DtlsCertificate, Output as DtlsOutput};
use is::stun::{StunMessage, StunPacket};
use is::{Candidate, CandidateKind, IceAgent, IceAgentEvent, IceConnectionState, IceCreds, Protocol};
use types::limits;

use crate::dtls::{self, Fingerprint, SrtpKeys};
use crate::stun::{CheckKey, binding_request, is_stun};

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
    /// Send the buffer as one datagram.
    Transmit {
        /// From this address of ours.
        local: SocketAddr,
        /// To the browser.
        remote: SocketAddr,
    },
    /// ICE and DTLS are up, and the browser has the certificate that its description promised: [`Peer::path`] says where
    /// packets go, these are the keys for them. Once.
    Connected {
        /// Of both directions.
        keys: SrtpKeys,
    },
    /// The session is over; nothing follows but `Transmit`. Once.
    Disconnected {
        /// Why, in words for the log.
        why: String,
    },
}

#[derive(Debug)]
enum State {
    Connecting(Handshake),
    Connected,
    Ended,
}

/// What of a handshake has come so far; all of it is needed.
#[derive(Default, Debug)]
struct Handshake {
    /// The certificate is the promised one.
    verified: bool,
    keys: Option<SrtpKeys>,
    finished: bool,
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
    ice: IceAgent,
    dtls: Dtls,
    active: bool,
    fingerprint: Fingerprint,
    state: State,
    locals: Vec<SocketAddr>,
    /// Addresses from which the browser's checks came.
    remotes: Vec<SocketAddr>,
    restart: Option<Restart>,
    /// Ours and theirs of the nominated pair.
    path: Option<(SocketAddr, SocketAddr)>,
    /// DTLS of ours that waits for a path.
    held: VecDeque<Vec<u8>>,
    /// DTLS may have outputs.
    dtls_moved: bool,
    dtls_at: Option<Instant>,
    /// Set by an error that ends the session, told by the next `poll_output`.
    failure: Option<String>,
    wake_at: Option<Instant>,
    dropped: u64,
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
        let mut peer = Peer {
            ice,
            dtls: Dtls::new_12(factory.config.clone(), factory.certificate.clone(), now),
            active: params.active,
            fingerprint,
            state: State::Connecting(Handshake::default()),
            locals: Vec::new(),
            remotes: Vec::new(),
            restart: None,
            path: None,
            held: VecDeque::new(),
            dtls_moved: true,
            dtls_at: None,
            failure: None,
            wake_at: Some(now),
            dropped: 0,
        };
        for local in &params.candidates {
            peer.add_local(*local);
        }
        peer.dtls.set_active(params.active);
        peer.dtls_time(now);
        peer.ice.handle_timeout(now);
        match peer.failure.take() {
            Some(words) => Err(PeerError::Crypto(words)),
            None => Ok(peer),
        }
    }

    /// A datagram for this session, received on our address `local`: STUN or DTLS (RFC 7983). Anything else, and garbage, is
    /// dropped and counted.
    pub fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8], now: Instant) {
        match data.first() {
            Some(_) if is_stun(data) => self.on_stun(local, remote, data, now),
            Some(20..=63) if !matches!(self.state, State::Ended) => {
                self.dtls_time(now);
                // One forged or damaged datagram must not end a call.
                if self.dtls.handle_packet(data).is_err() {
                    self.dropped += 1;
                }
            }
            Some(_) | None => self.dropped += 1,
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        if self.dtls_at.is_some_and(|at| at <= now) && !matches!(self.state, State::Ended) {
            self.dtls_time(now);
        }
    }

    /// When `handle_timeout` is due; exact only once `poll_output` has given `None`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Connecting(_) | State::Connected => self.wake_at,
            State::Ended => None,
        }
    }

    /// Whether `Connected` was reported and `Disconnected` was not.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected)
    }

    /// Where packets go, from our address to the browser's: the pair that the browser nominated last (RFC 8445 §8). None
    /// before it did.
    pub fn path(&self) -> Option<(SocketAddr, SocketAddr)> {
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
        if let Some(output) = self.poll_ice().or_else(|| self.poll_dtls(buf)) {
            return Some(output);
        }
        if let Some(send) = self.ice.poll_transmit() {
            buf.clear();
            buf.extend_from_slice(&send.contents);
            return Some(PeerOutput::Transmit { local: send.source, remote: send.destination });
        }
        self.wake_at = self.ice.poll_timeout().into_iter().chain(self.dtls_at).min();
        None
    }

    fn poll_ice(&mut self) -> Option<PeerOutput> {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { source, destination, .. } => {
                    self.path = Some((source, destination));
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                    let over = self.end("no connectivity check from the browser for 15 s".to_owned());
                    if over.is_some() {
                        return over;
                    }
                }
                IceAgentEvent::IceConnectionStateChange(_)
                | IceAgentEvent::IceRestart(_)
                | IceAgentEvent::DiscoveredRecv { .. } => {}
            }
        }
        None
    }

    #[allow(clippy::wildcard_enum_match_arm)] // dimpl's enum is non-exhaustive.
    fn poll_dtls(&mut self, buf: &mut Vec<u8>) -> Option<PeerOutput> {
        // As client we begin when there is a way: the handshake's deadline runs from its first datagram.
        if matches!(self.state, State::Ended) || (self.active && self.path.is_none()) {
            return None;
        }
        if let (Some((local, remote)), Some(held)) = (self.path, self.held.front()) {
            buf.clear();
            buf.extend_from_slice(held);
            self.held.pop_front();
            return Some(PeerOutput::Transmit { local, remote });
        }
        while self.dtls_moved {
            buf.resize(buf.len().max(DTLS_DATAGRAM), 0);
            match self.dtls.poll_output(buf) {
                DtlsOutput::Packet(packet) => {
                    let length = packet.len();
                    buf.truncate(length);
                    if let Some((local, remote)) = self.path {
                        return Some(PeerOutput::Transmit { local, remote });
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
                self.state = State::Connected;
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

    fn on_stun(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8], now: Instant) {
        let Ok(message) = StunMessage::parse(data) else {
            self.dropped += 1;
            return;
        };
        self.add_local(local);
        self.on_check(remote, data);
        let packet = StunPacket { proto: Protocol::Udp, source: remote, destination: local, message };
        if !self.ice.handle_packet(now, packet) {
            self.dropped += 1;
        }
        self.ice.handle_timeout(now);
        if matches!(self.state, State::Connecting(_)) {
            self.dtls_time(now);
        }
    }

    /// DTLS knows the time by being told; a failed timer is its end.
    fn dtls_time(&mut self, now: Instant) {
        self.dtls_moved = true;
        if let Err(e) = self.dtls.handle_timeout(now) {
            self.failure.get_or_insert_with(|| format!("DTLS: {e}"));
        }
    }

    /// Keeps track of where checks come from. The agent sends to the nominated pair of highest priority and drops a pair
    /// 15 s after its last check, so after an ICE restart it would go on sending to where the browser no longer is: the
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
            // What the agent made of that address by itself: a peer-reflexive candidate (RFC 8445 §7.3.1.3).
            let kind = CandidateKind::PeerReflexive;
            let proto = Protocol::Udp;
            let gone = Candidate::from_parts(String::new(), 1, proto, 0, former, kind, None, None, None);
            self.ice.invalidate_candidate(&gone);
        }
    }

    fn add_local(&mut self, local: SocketAddr) {
        if self.locals.contains(&local) || self.locals.len() >= limits::PEER_ADDRESSES {
            return;
        }
        if let Ok(candidate) = Candidate::host(local, Protocol::Udp) {
            self.locals.push(local);
            self.ice.add_local_candidate(candidate);
        }
    }
}
