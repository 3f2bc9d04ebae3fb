//! Digest authentication, both sides (RFC 3261 §22, RFC 7616, RFC 8760).

mod client;
mod fields;
mod hash;
mod server;

#[cfg(test)]
mod tests;

pub(crate) use client::why_refused;
pub use client::{AnswerError, DigestClient};
pub use hash::{Algorithm, Hash, ha1};
pub use server::{Asks, Challenger, Check, Secret, offered_for};
