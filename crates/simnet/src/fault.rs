//! Faults put in on purpose, at the seams between the parts: each must be caught.

use media_bridge::control::{CallEvent, Event};

use crate::room::Room;

/// One thing that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// From some moment on the switch's timers do not fire.
    LostTimer,
    /// The media plane confirms the end of a call but keeps one port.
    LeakedLease,
    /// The gateway sends a second BYE, with a number of its own, for a dialog that it has ended.
    DoubleBye,
    /// The media plane's confirmation that a call's media is gone never arrives.
    StuckClosing,
    /// The gateway's CANCEL carries a branch that its INVITE did not have (RFC 3261 §9.1).
    WrongBranch,
    /// From some moment on the switch does not hear that no worker has room.
    UnheardLoad,
    /// From some moment on the switch does not hear that there is room again.
    UnheardRoom,
    /// A 503 of the gateway does not say when to come again.
    NoRetryAfter,
    /// The switch does not hear that it is to take no more calls.
    UnheardDrain,
    /// Instead of waiting for them, the gateway ends the calls that run.
    HastyDrain,
    /// An INVITE to a trunk that wants encryption goes out without keys.
    LostKeys,
    /// From some moment on the media plane uses another codec than was agreed on where nothing is to be transcoded.
    Transcoding,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 12] = [
        Fault::LostTimer,
        Fault::LeakedLease,
        Fault::DoubleBye,
        Fault::StuckClosing,
        Fault::WrongBranch,
        Fault::UnheardLoad,
        Fault::UnheardRoom,
        Fault::NoRetryAfter,
        Fault::UnheardDrain,
        Fault::HastyDrain,
        Fault::LostKeys,
        Fault::Transcoding,
    ];
}

/// Sits at the seams and does one fault, once.
#[derive(Debug)]
pub(crate) struct Saboteur {
    fault: Option<Fault>,
    done: bool,
    seen: u32,
}

/// How many chances go by before the fault is done: the run is in full swing then. None goes by of what is rare.
fn let_pass(fault: Fault) -> u32 {
    match fault {
        Fault::LostTimer
        | Fault::UnheardLoad
        | Fault::UnheardRoom
        | Fault::NoRetryAfter
        | Fault::UnheardDrain
        | Fault::HastyDrain
        | Fault::LostKeys
        | Fault::Transcoding => 0,
        Fault::LeakedLease | Fault::DoubleBye | Fault::StuckClosing | Fault::WrongBranch => 3,
    }
}

impl Saboteur {
    pub fn new(fault: Option<Fault>) -> Self {
        Saboteur { fault, done: false, seen: 0 }
    }

    /// The fault was done.
    pub fn struck(&self) -> bool {
        self.done
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        if self.fault != Some(fault) || self.done {
            return false;
        }
        self.seen += 1;
        self.done = self.seen > let_pass(fault);
        self.done
    }

    /// It was done, and is done again each time.
    fn goes_on(&self, fault: Fault) -> bool {
        self.done && self.fault == Some(fault)
    }

    /// The switch has no timers any more.
    pub fn timers_are_lost(&self) -> bool {
        self.goes_on(Fault::LostTimer)
    }

    /// Between clock and switch: whether this firing is lost, as are all that follow.
    pub fn loses_timer(&mut self) -> bool {
        self.timers_are_lost() || self.strikes(Fault::LostTimer)
    }

    /// Between media plane and switch: whether this event never arrives.
    pub fn swallows(&mut self, event: &CallEvent) -> bool {
        event.event == Event::Closed && self.strikes(Fault::StuckClosing)
    }

    /// In the media plane: whether it keeps a port of a call that it closes.
    pub fn keeps_lease(&mut self) -> bool {
        self.strikes(Fault::LeakedLease)
    }

    /// Between media plane and switch: whether this is not heard of the workers' loads.
    pub fn mutes(&mut self, room: &Room) -> bool {
        let fault = if room.is_full() { Fault::UnheardLoad } else { Fault::UnheardRoom };
        (room.is_full() || room.is_ample()) && (self.goes_on(fault) || self.strikes(fault))
    }

    /// Between the operator and the switch: whether it goes on taking calls.
    pub fn mutes_drain(&mut self) -> bool {
        self.strikes(Fault::UnheardDrain)
    }

    /// Between the operator and the switch: whether draining is taken for stopping.
    pub fn hastens_drain(&mut self) -> bool {
        self.strikes(Fault::HastyDrain)
    }

    /// In the media plane: whether codecs are not those that were agreed on.
    pub fn transcodes(&mut self) -> bool {
        self.goes_on(Fault::Transcoding) || self.strikes(Fault::Transcoding)
    }

    /// Between endpoint and network: what else goes out, or instead. `secure`: it goes to a trunk that wants encryption.
    pub fn tampers(&mut self, bytes: &[u8], secure: bool) -> Option<Tampered> {
        if bytes.starts_with(b"BYE ") && self.strikes(Fault::DoubleBye) {
            return Some(Tampered::Also(rewrite(bytes, true)));
        }
        if bytes.starts_with(b"CANCEL ") && self.strikes(Fault::WrongBranch) {
            return Some(Tampered::Instead(rewrite(bytes, false)));
        }
        let text = String::from_utf8_lossy(bytes);
        if secure && bytes.starts_with(b"INVITE ") && self.strikes(Fault::LostKeys) {
            return Some(Tampered::Instead(text.replacen("savp:", "", 1).into()));
        }
        if bytes.starts_with(b"SIP/2.0 503 ") && self.strikes(Fault::NoRetryAfter) {
            return Some(Tampered::Instead(text.replacen("Retry-After:", "X-After:", 1).into()));
        }
        None
    }
}

/// What a fault makes of a message.
#[derive(Debug)]
pub(crate) enum Tampered {
    /// This goes out behind it.
    Also(Vec<u8>),
    /// This goes out instead of it.
    Instead(Vec<u8>),
}

/// The same request with another branch, and with the next CSeq number if wanted.
fn rewrite(bytes: &[u8], next_number: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len() + 8);
    for line in text.split_inclusive("\r\n") {
        let number = line.strip_prefix("CSeq: ").and_then(|rest| rest.split_once(' '));
        match number {
            Some((n, method)) if next_number => {
                let n = n.parse::<u32>().unwrap_or(0) + 1;
                out.push_str(&format!("CSeq: {n} {method}"));
            }
            Some(_) | None => out.push_str(&line.replacen("branch=z9hG4bK", "branch=z9hG4bKx", 1)),
        }
    }
    out.into_bytes()
}
