//! Vocabulary that every webtrunk crate shares. Imports nothing of ours, does no I/O.

mod advertised;
mod datagram;
mod end_reason;
mod entropy;
mod handover;
mod ids;
pub mod limits;
mod places;
mod timer_table;
mod wall;

pub use advertised::Advertised;
pub use datagram::Datagram;
pub use end_reason::{EndReason, EndedBy};
pub use entropy::Entropy;
pub use handover::{Handover, NotGiven};
pub use ids::{CallId, LegId, RecordingId, SessionId, UserName, WorkerId};
pub use places::{Places, customer};
pub use timer_table::TimerTable;
pub use wall::Wall;
