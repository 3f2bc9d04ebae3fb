//! A SIP user agent without I/O: messages, transactions, dialogs, digest, registration (RFC 3261 and friends).

mod api;
pub mod digest;
pub mod framer;
pub mod message;

pub use api::*;
