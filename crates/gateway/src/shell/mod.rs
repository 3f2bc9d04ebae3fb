//! The shell around the sans-IO cores: tokio tasks, sockets, clocks, signals.

mod addresses;
mod cdr;
mod core;
mod entropy;
mod gauges;
mod media_events;
mod resolve;
mod sip_port;
mod start;
mod trace;
pub mod trunk_test;
mod trunks;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use b2bua::TrunkTarget;
use media_bridge::sound::Sound;
use tokio::sync::{mpsc, oneshot};
use types::SessionId;
use webrtc_peer::session::CloseReason;
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

use crate::demo::CarrierPlan;

pub use cdr::CdrQueue;
pub use entropy::SystemEntropy;
pub use media_events::MediaEvents;
pub use sip_port::{SipPort, clocks};
pub use start::{rtp_ports_left, run, start_media, switch_config};

/// Messages from all HTTP and helper tasks that wait for the signalling core. Full: the sender waits, which slows
/// that one browser down.
pub const CORE_QUEUE: usize = 1_024;

/// How the options that choose ports are called, so that a sentence about a port says where to change it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortNames {
    /// The page.
    pub http: &'static str,
    /// SIP.
    pub sip: &'static str,
    /// Browser media.
    pub webrtc: &'static str,
    /// RTP.
    pub rtp: &'static str,
}

impl PortNames {
    /// Of `webtrunk run`.
    pub const KEYS: PortNames = PortNames {
        http: "[http] listen",
        sip: "[sip] listen",
        webrtc: "[media] webrtc_port",
        rtp: "[media] rtp_ports",
    };
    /// Of `webtrunk demo`.
    pub const FLAGS: PortNames =
        PortNames { http: "--http", sip: "--sip", webrtc: "--webrtc-port", rtp: "--rtp-ports" };
}

/// What the command line adds to a configuration.
pub struct Options {
    /// Names of the options for ports.
    pub names: PortNames,
    /// Lines for standard output once everything runs.
    pub greeting: Vec<String>,
    /// Print SIP messages.
    pub sip_trace: bool,
    /// Run the built-in carrier too.
    pub carrier: Option<CarrierPlan>,
    /// What calls can play.
    pub sounds: Arc<[Sound]>,
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
        targets: Vec<TrunkTarget>,
    },
    /// Bring the metrics up to date, then say so.
    Measure(oneshot::Sender<()>),
    /// Take no new calls, and stop when those that run have ended or had their time.
    Drain,
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

/// One sentence for a port that can not be bound; `option` is where it was chosen.
pub fn bind_error(option: &str, transport: &str, addr: SocketAddr, error: &io::Error) -> String {
    let (ip, port, kind) = (addr.ip(), addr.port(), error.kind());
    if kind == io::ErrorKind::AddrInUse {
        format!(
            "{option}: {transport} port {port} on {ip} is in use by another program; stop it or choose another port"
        )
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("{option}: no permission to open {transport} port {port}; choose one above 1023")
    } else if kind == io::ErrorKind::AddrNotAvailable {
        let any = if ip.is_ipv4() { "0.0.0.0" } else { "[::]" };
        format!("{option}: {ip} is no address of this machine; choose one of its own or {any}")
    } else {
        format!("{option}: {transport} {addr} cannot be opened: {error}")
    }
}
