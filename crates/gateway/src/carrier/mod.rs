//! The demo's built-in carrier: a second SIP party with an endpoint, sockets and media workers of its own. It is there
//! so that a first user can call something; it is never a test's oracle.

mod logic;
mod task;

pub use task::start;
