//! A SIP user agent without I/O: messages, transactions, dialogs, digest, registration (RFC 3261 and friends).

mod api;
mod dialog;
pub mod digest;
mod endpoint;
pub mod framer;
#[cfg(feature = "io")]
pub mod io;
pub mod message;
mod registration;
pub mod trace;
pub mod transaction;

pub use api::*;
pub use endpoint::{Endpoint, EndpointConfig, Listener, Output, overload};
