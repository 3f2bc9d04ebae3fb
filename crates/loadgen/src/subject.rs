//! Whom the calls go through.

use std::net::SocketAddrV4;

use crate::Fallible;
use crate::ours::Ours;
use crate::process::Measured;
use crate::rtpengine::Rtpengine;

/// What it says about a call.
pub enum News {
    /// The answer to the browser's offer.
    Answer {
        /// Which call.
        n: u32,
        /// The answer.
        sdp: String,
    },
    /// Where the SIP party's media goes, and with which payload type.
    Party {
        /// Which call.
        n: u32,
        /// Its address.
        peer: SocketAddrV4,
        /// Its payload type.
        pt: u8,
    },
    /// Too many calls come at once: this one may be tried again.
    Refused {
        /// Which call.
        n: u32,
    },
    /// The call is over.
    Ended {
        /// Which call.
        n: u32,
        /// Why.
        why: String,
    },
}

/// Whom the calls go through.
pub enum Subject {
    /// The built gateway.
    Ours(Box<Ours>),
    /// rtpengine.
    Rtpengine(Box<Rtpengine>),
}

impl Subject {
    /// Its process.
    pub fn process(&self) -> &Measured {
        match self {
            Subject::Ours(ours) => &ours.process,
            Subject::Rtpengine(rtpengine) => &rtpengine.process,
        }
    }

    /// Makes ready for so many calls at once.
    ///
    /// # Errors
    /// Its own.
    pub fn expect(&mut self, calls: usize) -> Fallible<()> {
        match self {
            Subject::Ours(ours) => ours.sign_in(calls),
            Subject::Rtpengine(_) => Ok(()),
        }
    }

    /// Begins a call with a browser's offer; parties have their media at `party`.
    ///
    /// # Errors
    /// Its own.
    pub fn call(&mut self, n: u32, offer: &str, party: SocketAddrV4) -> Fallible<()> {
        match self {
            Subject::Ours(ours) => ours.call(n, offer),
            Subject::Rtpengine(rtpengine) => rtpengine.call(n, offer, party),
        }
    }

    /// Ends a call.
    ///
    /// # Errors
    /// Its own.
    pub fn hang_up(&mut self, n: u32) -> Fallible<()> {
        match self {
            Subject::Ours(ours) => ours.hang_up(n),
            Subject::Rtpengine(rtpengine) => rtpengine.hang_up(n),
        }
    }

    /// What has happened; parties that are called have their media here.
    ///
    /// # Errors
    /// Its own.
    pub fn turn(&mut self, party: SocketAddrV4) -> Fallible<Vec<News>> {
        match self {
            Subject::Ours(ours) => ours.turn(party),
            Subject::Rtpengine(rtpengine) => Ok(rtpengine.turn()),
        }
    }
}
