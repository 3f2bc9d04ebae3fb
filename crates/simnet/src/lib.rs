//! Seeded network and virtual clock: the switch under loss, reordering and faults.
//!
//! [`run`] plays one seed: real SIP endpoints as gateway, phones and carriers on a lossy network, scripted browsers
//! and a scripted media plane. After every step the invariants of [`Violation`] are checked; at the end everything is
//! drained and must be gone. The same seed always plays the same.

mod browser;
mod fault;
mod names;
mod network;
mod party;
mod plane;
mod rng;
mod room;
mod traffic;
mod watch;
mod words;
mod world;

pub use fault::Fault;
pub use names::OPERATIONS;
pub use rng::Rng;
pub use watch::Violation;
pub use world::{CALLS, STEPS, Summary, run};
