//! The browser side: one WebRTC peer over `is` and `dimpl`, and the browser signalling protocol. Sans-IO.

mod demux;
mod dtls;
mod peer;
mod route;
pub mod session;
pub mod signalling;
mod stun;
pub mod turn;

pub use demux::Demux;
pub use dtls::{SrtpKeys, SrtpProfile};
pub use peer::{Peer, PeerError, PeerFactory, PeerOutput, PeerParams};
pub use route::{Connection, Far, Route, SetUp, Transport};
