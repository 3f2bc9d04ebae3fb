//! The shell around the sans-IO cores: tokio tasks, sockets, clocks, signals.

mod addresses;
mod cdr;
mod core;
mod entropy;
mod sip_port;
mod start;
mod trace;
mod trunks;

use std::io;
use std::net::{IpAddr, SocketAddr};

use sip_ua::Target;
use tokio::sync::mpsc;
use types::SessionId;
use webrtc_peer::session::CloseReason;
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

use crate::demo::CarrierPlan;

pub use entropy::SystemEntropy;
pub use sip_port::{SipPort, clocks};
pub use start::{run, start_media};

/// Messages from all HTTP and helper tasks that wait for the signalling core. Full: the sender waits, which slows
/// that one browser down.
pub const CORE_QUEUE: usize = 1_024;

/// What the command line adds to a configuration.
pub struct Options {
    /// Print SIP messages.
    pub sip_trace: bool,
    /// Run the built-in carrier too.
    pub carrier: Option<CarrierPlan>,
}

/// What other tasks tell the signalling core.
pub enum CoreInput {
    /// A browser connected.
    SessionOpened {
        /// Its number.
        id: SessionId,
        /// Where it comes from.
        source: IpAddr,
        /// Takes what is for it.
        outbox: mpsc::Sender<ToSession>,
    },
    /// A browser said something.
    FromBrowser {
        /// Which.
        id: SessionId,
        /// What.
        message: FromBrowser,
    },
    /// A browser is gone.
    SessionClosed {
        /// Which.
        id: SessionId,
    },
    /// A trunk's server has these addresses now.
    TrunkTargets {
        /// The trunk's name.
        name: String,
        /// In the order to try.
        targets: Vec<Target>,
    },
    /// End all calls and stop.
    Stop,
}

/// What the core tells one browser connection.
pub enum ToSession {
    /// Send this.
    Message(ToBrowser),
    /// Close it.
    Close(CloseReason),
}

/// One sentence for a port that can not be bound.
pub fn bind_error(what: &str, transport: &str, addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{what}: {transport} port {} on {} is in use by another program; stop it or choose another port",
            addr.port(),
            addr.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{what}: no permission to open {transport} port {}; choose one above 1023", addr.port())
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{what}: {} is no address of this machine; choose one of its own or 0.0.0.0", addr.ip())
        }
        _ => format!("{what}: {transport} {addr} cannot be opened: {error}"),
    }
}

