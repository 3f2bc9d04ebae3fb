//! The four transaction machines of RFC 3261 §17 with the Accepted states of RFC 6026. They know no messages: what they
//! send again is opaque bytes, what they hear is a status or the fact of a repeated request.

mod invite_client;
mod invite_server;
mod other_client;
mod other_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use invite_client::InviteClient;
pub use invite_server::InviteServer;
pub use other_client::OtherClient;
pub use other_server::OtherServer;

/// Round-trip estimate (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest pause between repeated non-INVITE requests and INVITE responses.
pub const T2: Duration = Duration::from_secs(4);
/// Longest life of a message in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64*T1: timers B, F, H, J, L and M.
pub const GIVE_UP: Duration = Duration::from_secs(32);
/// Timer D over datagrams: at least 32 s.
const TIMER_D: Duration = Duration::from_secs(32);

/// One serialized message, shared by all its retransmissions.
pub type Wire = Arc<[u8]>;

/// What a machine wants done after an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// Nothing: the input was a repetition or too late.
    Absorb,
    /// Send this (again).
    Send(Wire),
    /// Tell the transaction user of the message.
    Deliver,
    /// Send this, and tell the transaction user.
    SendAndDeliver(Wire),
    /// No answer in time, or no acknowledgement: tell the transaction user; the machine is over.
    TimedOut,
}

/// Repetition with doubling pauses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Repeat {
    /// When to send next.
    pub at: Instant,
    pause: Duration,
}

impl Repeat {
    /// First repetition after T1.
    pub fn start(now: Instant) -> Repeat {
        Repeat { at: now + T1, pause: T1 }
    }

    /// The pause doubles without limit (timer A) or up to `cap` (timers E, G and the repeated 2xx).
    pub fn step(&mut self, now: Instant, cap: Option<Duration>) {
        self.pause = (self.pause * 2).min(cap.unwrap_or(GIVE_UP));
        self.at = now + self.pause;
    }

    /// Timer E in Proceeding: T2 from now on (RFC 3261 §17.1.2.2).
    pub fn step_t2(&mut self, now: Instant) {
        self.pause = T2;
        self.at = now + T2;
    }
}

/// Whether a deadline is due.
fn due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|t| t <= now)
}
