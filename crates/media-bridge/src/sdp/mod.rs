//! Session descriptions: what a peer's SDP says about audio (RFC 8866, 3264, 8839, 9429), and ours.

mod choose;
mod connection;
mod crypto;
mod kind;
mod local;
mod remote;
mod repair;
mod rtcp;
mod secure;
#[cfg(test)]
mod tests;

pub use choose::{Agreed, EventFormat, agree, choose_for_answer};
pub use connection::media_address;
pub use crypto::Crypto;
pub use kind::offered_kind;
pub use local::{Body, LocalAudio, LocalTransport, Origin, WebRtcLocal, offer_events, offer_pt, write};
pub use remote::{Fingerprint, Format, IceCredentials, MediaLine, Remote, Setup};
pub use rtcp::RtcpTerms;
pub use secure::{agree_crypto, choose_crypto};

use crate::control::Codec;

/// Which way media flows, seen by whoever says it (RFC 8866 §6.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the speaker only.
    SendOnly,
    /// To the speaker only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// The same seen from the other side: how an offer is answered (RFC 3264 §6.1).
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendRecv => Direction::SendRecv,
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::Inactive => Direction::Inactive,
        }
    }

    /// Whether the speaker sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the speaker receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// The name that rtpmap gives a codec.
pub(crate) fn encoding_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Pcmu => "PCMU",
        Codec::Pcma => "PCMA",
        Codec::G722 => "G722",
    }
}

/// RTP clock of a codec in Hz. Of G.722 half its sample rate, by an old mistake that stays (RFC 3551 §4.5.2).
pub fn clock_rate(codec: Codec) -> u32 {
    match codec {
        Codec::Opus => 48_000,
        Codec::Pcmu | Codec::Pcma | Codec::G722 => 8_000,
    }
}
