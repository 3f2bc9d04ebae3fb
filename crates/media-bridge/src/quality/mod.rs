//! How a call sounds, as far as packets tell: losses, the E-model, and a score for every five seconds of a leg.

pub mod emodel;
mod losses;
mod monitor;
mod voip;

pub use losses::{Bursts, Counts, GMIN, Losses};
pub use monitor::{Cause, Moment, Monitor, Observed, Quality, Worst};
