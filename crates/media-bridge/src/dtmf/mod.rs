//! DTMF digits as telephone-events (RFC 4733): heard, and made anew for the other leg with its own clock, or as tones.

mod detector;
mod presses;
mod receiver;
mod sender;
mod tones;

pub use detector::Detector;
pub use presses::{Presses, Way};
pub use receiver::{Digit, Receiver};
pub use sender::{DtmfError, EventPacket, Sender};
pub use tones::Tones;

/// The digits in the order of their event codes (RFC 4733 §3.2, table 3).
const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// The digit of an event code 0-15.
fn digit(event: u8) -> Option<char> {
    DIGITS.get(usize::from(event)).map(|&d| char::from(d))
}

/// The event code of a digit; letters of either case.
fn event(digit: char) -> Option<u8> {
    let digit = u8::try_from(digit.to_ascii_uppercase()).ok()?;
    DIGITS.iter().position(|&d| d == digit).map(|n| n as u8)
}
