//! RTP and RTCP (RFC 3550): packets, our outgoing streams, reception statistics, address latching, reordering.

mod in_stats;
mod latch;
mod late;
mod out_stream;
mod packet;
mod playout;
mod reorder;
pub mod rtcp;
pub mod xr;

pub use in_stats::{Arrival, InStats};
pub use latch::{Latch, LatchVerdict};
pub use late::Lateness;
pub use out_stream::{Incoming, OutStream, SourceId, Stamp};
pub use packet::{RtpError, RtpHeader, RtpPacket, is_rtcp};
pub use playout::{Playout, PlayoutTally, Step};
pub use reorder::{Admit, Head, Next, Reorder};
