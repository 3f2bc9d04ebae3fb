//! A call that the carrier has not answered.

use crate::browser::{RustBrowser, Voice};
use crate::gateway::Gateway;
use crate::trunk::{Call, Trunk};
use crate::ws::Ws;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The number that was called.
pub const NUMBER: &str = "+12025550100";

/// A call `c1` of alice's browser to the carrier, up to where the carrier decides.
pub struct Dialled {
    /// Alice's signalling.
    pub ws: Ws,
    /// Her browser, with the gateway's answer.
    pub browser: RustBrowser,
    /// The carrier's end.
    pub call: Call,
}

/// Signs alice in and calls [`NUMBER`].
pub fn dial(gateway: &Gateway, trunk: &mut Trunk, voice: Voice) -> Dialled {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut ws = Ws::signed_in(SocketAddr::new(loopback, gateway.http), "alice");
    let browser = RustBrowser::new(voice, loopback);
    ws.call(&browser, "c1", NUMBER);
    let call = trunk.wait_call(Duration::from_secs(30));
    Dialled { ws, browser, call }
}
