//! `MediaCall`: every leg of one call, what each hears, and the streams between them. Sans-IO.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use types::{CallId, Entropy, LegId, Wall};

use crate::control::{Command, Event};

/// What all calls of one worker share.
pub struct MediaSetup {
    /// Socket addresses of the worker's shared browser socket, as candidates offered to browsers: one per address of
    /// the host (or the advertised one), best first.
    pub candidates: Vec<SocketAddr>,
}

/// What the worker has to do for a call. Datagram bytes are left in the buffer given to [`MediaCall::poll_output`].
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send the buffer from the leg's RTP socket.
    Rtp {
        /// Whose socket.
        leg: LegId,
        /// Destination.
        to: SocketAddr,
    },
    /// Send the buffer from the leg's RTCP socket (RTP port + 1).
    Rtcp {
        /// Whose socket.
        leg: LegId,
        /// Destination.
        to: SocketAddr,
    },
    /// Send the buffer from the shared browser socket with `local` as source address.
    Browser {
        /// Which leg.
        leg: LegId,
        /// Source address.
        local: SocketAddr,
        /// Destination.
        to: SocketAddr,
    },
    /// Route STUN with this local ufrag, authenticated by this password, to the leg; replaces the leg's earlier one.
    AcceptUfrag {
        /// Which leg.
        leg: LegId,
        /// Our ICE user fragment.
        ufrag: String,
        /// Our ICE password.
        password: String,
    },
    /// The leg is gone (or was never made: its set-up was refused): drop its lease and demultiplexer entries.
    ReleaseLeg {
        /// Which leg.
        leg: LegId,
    },
    /// Tell signalling. `Event::Closed` is the call's last output.
    Event(Event),
}

/// All media of one call: legs, sources, codecs, negotiation state.
pub struct MediaCall {
    id: CallId,
    setup: Arc<MediaSetup>,
    entropy: Box<dyn Entropy>,
}

impl MediaCall {
    /// A call without legs.
    pub fn new(id: CallId, setup: Arc<MediaSetup>, entropy: Box<dyn Entropy>) -> MediaCall {
        MediaCall { id, setup, entropy }
    }

    /// Which call this is.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Whether this `Answer` or `Offer` makes a new RTP leg, so that a socket pair must be leased for it first.
    pub fn needs_port(&self, command: &Command) -> bool {
        let _ = (command, &self.setup, &self.entropy);
        false
    }

    /// Does one command. `rtp_local` is the bound RTP address (even port, RTCP on port + 1) of a leg for which
    /// [`MediaCall::needs_port`] said so; a refused set-up gives it back by [`Output::ReleaseLeg`].
    pub fn handle_command(&mut self, command: Command, rtp_local: Option<SocketAddr>, now: Instant, wall: Wall) {
        let _ = (command, rtp_local, now, wall);
    }

    /// A datagram on the leg's own RTP port (RTP, or multiplexed RTCP, RFC 5761).
    pub fn handle_rtp(&mut self, leg: LegId, source: SocketAddr, data: &[u8], now: Instant, wall: Wall) {
        let _ = (leg, source, data, now, wall);
    }

    /// A datagram on the leg's RTCP port.
    pub fn handle_rtcp(&mut self, leg: LegId, source: SocketAddr, data: &[u8], now: Instant, wall: Wall) {
        let _ = (leg, source, data, now, wall);
    }

    /// A datagram on the shared browser socket, arrived at `path.0` (ours) from `path.1` (theirs).
    pub fn handle_browser(
        &mut self,
        leg: LegId,
        path: (SocketAddr, SocketAddr),
        data: &[u8],
        now: Instant,
        wall: Wall,
    ) {
        let _ = (leg, path, data, now, wall);
    }

    /// Time has come to [`MediaCall::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant, wall: Wall) {
        let _ = (now, wall);
    }

    /// When to call [`MediaCall::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do; poll until `None` after every other call. Datagram bytes are left in `buf`.
    pub fn poll_output(&mut self, buf: &mut Vec<u8>) -> Option<Output> {
        buf.clear();
        None
    }
}
