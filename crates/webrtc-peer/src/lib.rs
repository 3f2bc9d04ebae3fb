//! The browser side: one WebRTC peer over str0m, and the browser signalling protocol. Sans-IO.

mod demux;
mod dtls;
mod peer;
pub mod session;
pub mod signalling;
mod stun;

pub use demux::Demux;
pub use peer::{AudioCodec, AudioFormat, Peer, PeerError, PeerFactory, PeerOutput, PeerParams, RtpOut};
