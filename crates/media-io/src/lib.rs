//! The media plane: worker threads with their sockets, timers and port leases. Each worker owns its calls outright; the
//! only ways in are bounded command queues, the only way out is the event sender given at the start.

mod addresses;
mod browser;
mod calls;
mod counters;
mod load;
mod outgoing;
mod pace;
mod plane;
mod poll;
mod ports;
mod post;
mod tcp;
mod timers;
mod udp;
mod urgency;
mod worker;

pub use addresses::host_addresses;
pub use counters::{Counters, WorkerStatus};
pub use plane::{
    EntropyFactory, EventSender, MediaConfig, MediaPlane, NotTaken, Piece, Recordings, StartError,
};
