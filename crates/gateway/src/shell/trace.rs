//! `--sip-trace`: every SIP message of both legs on standard error, secrets masked.

use std::io::{self, Write};
use std::net::SocketAddr;

use sip_ua::Transport;
use types::Wall;

/// Which way a message went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    In,
    Out,
}

/// Prints one message.
pub fn print(direction: Direction, transport: Transport, remote: SocketAddr, bytes: &[u8], wall: Wall) {
    let arrow = match direction {
        Direction::In => "<--",
        Direction::Out => "-->",
    };
    let text = sip_ua::trace::mask(bytes);
    let (time, transport) = (wall.rfc3339(), transport.name());
    // Nobody may be reading any more.
    let _ = writeln!(io::stderr(), "{time} {arrow} {transport} {remote}\n{}\n", text.trim_end());
}
