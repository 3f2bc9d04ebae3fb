//! Faults put in on purpose, at the seams between the parts: each must be caught.

use media_bridge::control::{CallEvent, Event};

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
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 5] =
        [Fault::LostTimer, Fault::LeakedLease, Fault::DoubleBye, Fault::StuckClosing, Fault::WrongBranch];
}

/// Sits at the seams and does one fault, once.
#[derive(Debug)]
pub(crate) struct Saboteur {
    fault: Option<Fault>,
    done: bool,
    seen: u32,
}

/// How many chances go by before the fault is done: the run is in full swing then. Timers of the switch fire so rarely that
/// none goes by.
fn let_pass(fault: Fault) -> u32 {
    match fault {
        Fault::LostTimer => 0,
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

    /// The switch has no timers any more.
    pub fn timers_are_lost(&self) -> bool {
        self.done && self.fault == Some(Fault::LostTimer)
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

    /// Between endpoint and network: what else goes out, or instead.
    pub fn tampers(&mut self, bytes: &[u8]) -> Option<Tampered> {
        if bytes.starts_with(b"BYE ") && self.strikes(Fault::DoubleBye) {
            return Some(Tampered::Also(rewrite(bytes, true)));
        }
        if bytes.starts_with(b"CANCEL ") && self.strikes(Fault::WrongBranch) {
            return Some(Tampered::Instead(rewrite(bytes, false)));
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
