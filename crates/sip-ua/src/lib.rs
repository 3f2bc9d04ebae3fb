//! A SIP user agent without I/O: messages, transactions, dialogs, digest, registration (RFC 3261 and friends).

mod api;
mod dialog;
pub mod digest;
mod endpoint;
pub mod framer;
#[cfg(feature = "io")]
pub mod io;
mod keep_alive;
pub mod message;
mod registration;
mod stun;
pub mod trace;
pub mod transaction;

pub use api::*;
pub use endpoint::{Endpoint, EndpointConfig, Listener, Output, overload};
