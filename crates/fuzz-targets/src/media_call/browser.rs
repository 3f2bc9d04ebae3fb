//! A browser with a session: its descriptions, its checks, and the keys of its handshake.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use media_bridge::srtp::{Keys, Suite};
use webrtc_peer::{Peer, PeerOutput, PeerParams, SrtpKeys, SrtpProfile};

use crate::choices::Choices;
use crate::entrance::{PEERS, check};

/// The worker's browser socket.
pub(super) const OURS: ([u8; 4], u16) = ([192, 0, 2, 2], 4_000);
const HOME: ([u8; 4], u16) = ([203, 0, 113, 77], 5_000);
const PASSWORD: &str = "their-password-of-enough-length";
/// Turns that a handshake takes at the most.
const TURNS: usize = 20;

/// Takes a datagram from this address and gives what comes back.
type Gateway<'a> = &'a mut dyn FnMut(SocketAddr, &[u8]) -> Vec<Vec<u8>>;

/// Keys of one association.
pub(super) struct Association {
    /// What the browser protects with.
    pub theirs: Keys,
    /// What it opens ours with.
    pub ours: Keys,
}

pub(super) struct Browser {
    pub address: SocketAddr,
    /// Where its checks came from.
    pub proven: BTreeSet<SocketAddr>,
    /// When the newest authentic one that nominates came.
    pub checked_at: Instant,
    pub association: Association,
    /// ICE restarts.
    restarts: u8,
    /// Packets of its own that came already.
    pub came: Vec<Vec<u8>>,
}

impl Browser {
    /// Connects with whoever has these credentials.
    pub(super) fn connect(accepted: &(String, String), now: Instant, gateway: Gateway<'_>) -> Browser {
        let (address, ours) = (SocketAddr::from(HOME), SocketAddr::from(OURS));
        let mut peer = match Peer::new(&PEERS, params(address, accepted), now) {
            Ok(peer) => peer,
            Err(why) => panic!("{why}"),
        };
        // `Peer` answers checks and makes none: this one stands for the gateway's half of the exchange.
        peer.handle_datagram(
            (address, ours),
            &check(&format!("{}:{}", ufrag(0), accepted.0), PASSWORD, 0),
            now,
        );
        let mut to_gateway = vec![check(&format!("{}:{}", accepted.0, ufrag(0)), &accepted.1, 0)];
        let (mut buf, mut keys) = (Vec::new(), None);
        for _ in 0..TURNS {
            while let Some(output) = peer.poll_output(&mut buf) {
                match output {
                    PeerOutput::Transmit(_) if buf[0] <= 3 => {}
                    PeerOutput::Transmit(_) => to_gateway.push(buf.clone()),
                    PeerOutput::Connected { keys: found } => keys = association(&found),
                    PeerOutput::PathLost | PeerOutput::PathRestored => panic!("{output:?}"),
                    PeerOutput::Disconnected { why } => panic!("{why}"),
                }
            }
            if to_gateway.is_empty() {
                break;
            }
            for data in std::mem::take(&mut to_gateway) {
                for answer in gateway(address, &data).iter().filter(|answer| answer[0] > 3) {
                    peer.handle_datagram((address, ours), answer, now);
                }
            }
        }
        let Some(association) = keys else { panic!("no handshake in {TURNS} turns") };
        let (proven, came) = (BTreeSet::from([address]), Vec::new());
        Browser { address, proven, checked_at: now, association, restarts: 0, came }
    }

    /// An offer or answer that goes on with its session, now and then with an ICE restart.
    pub(super) fn describes(&mut self, choices: &mut Choices<'_>) -> Vec<u8> {
        let how = choices.byte();
        if how & 0x30 == 0x30 {
            self.restarts = self.restarts.wrapping_add(1);
        }
        let direction =
            ["sendrecv", "sendrecv", "recvonly", "sendonly", "inactive"][usize::from(how & 7) % 5];
        description(self.restarts, direction, if how & 8 == 0 { "actpass" } else { "active" })
    }

    /// A check for whoever has these credentials, from one of two addresses: authentic, or with one byte changed.
    pub(super) fn checks(
        &mut self,
        accepted: &(String, String),
        choices: &mut Choices<'_>,
        now: Instant,
    ) -> (SocketAddr, Vec<u8>) {
        let (how, at, change) = (choices.byte(), choices.byte(), choices.byte());
        let from = SocketAddr::from((HOME.0, HOME.1 + u16::from(how & 1)));
        let username = format!("{}:{}", accepted.0, ufrag(self.restarts));
        let mut data = check(&username, &accepted.1, how);
        if how & 2 == 0 || change == 0 {
            self.proven.insert(from);
            // Neither a conflict of roles nor a check that nominates nothing keeps a session.
            if how & 0x0c == 0 {
                self.checked_at = now;
            }
            return (from, data);
        }
        let end = data.len() - 8;
        data[usize::from(at) % end] ^= change;
        (from, data)
    }
}

fn ufrag(restarts: u8) -> String {
    format!("browser{restarts}")
}

/// Audio in the codecs that there are.
pub(super) fn description(restarts: u8, direction: &str, setup: &str) -> Vec<u8> {
    let (ufrag, print) = (ufrag(restarts), PEERS.fingerprint());
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 110 101\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:{PASSWORD}\r\na=fingerprint:sha-256 {print}\r\na=setup:{setup}\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
    .into_bytes()
}

fn params(address: SocketAddr, accepted: &(String, String)) -> PeerParams {
    let print = PEERS.fingerprint();
    let digest = print.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap_or_default()).collect();
    PeerParams {
        candidates: vec![address],
        local_ufrag: ufrag(0),
        local_pwd: PASSWORD.to_owned(),
        remote_ufrag: accepted.0.clone(),
        remote_pwd: accepted.1.clone(),
        remote_fingerprint: ("sha-256".to_owned(), digest),
        active: true,
    }
}

fn association(keys: &SrtpKeys) -> Option<Association> {
    let suite = match keys.profile() {
        SrtpProfile::AeadAes256Gcm => Suite::AeadAes256Gcm,
        SrtpProfile::AeadAes128Gcm => Suite::AeadAes128Gcm,
        SrtpProfile::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
    };
    Some(Association { theirs: Keys::new(suite, keys.ours())?, ours: Keys::new(suite, keys.theirs())? })
}
