//! SRTP (RFC 3711, RFC 7714): crypto suites, master keys, and the contexts that protect and open packets with them. How
//! keys are agreed on is `sdp`'s (RFC 4568).

mod aes_cm;
mod aes_gcm;
mod cipher;
mod hmac;
mod kdf;
mod keys;
mod packet;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;
mod window;

pub use keys::{Keys, Suite};
pub use receiver::Receiver;
pub use sender::Sender;

/// The most that protecting adds to a packet, an RTCP packet with GCM: tag, flag and index.
pub const OVERHEAD: usize = 20;

/// Why a received packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reject {
    /// No packet of that kind, or shorter than it says. The sender's fault.
    Malformed,
    /// Forged, damaged, or protected with other keys.
    NotAuthentic,
    /// It was there already.
    Replayed,
    /// Further behind the newest than can be told from a replayed one.
    TooOld,
    /// The peer has more streams than are listened to. The sender's fault.
    TooManySources,
    /// The key has served for as many packets as it may (RFC 3711 §9.2). The sender's fault.
    Expired,
}

/// Why a packet of ours is not protected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refused {
    /// No packet of that kind.
    Malformed,
    /// Its index was used already, or may have been: once more would give the key away (RFC 3711 §9.1).
    Repeated,
    /// More streams than one key may serve here.
    TooManySources,
    /// The key has served for as many packets as it may (RFC 3711 §9.2).
    Expired,
}
