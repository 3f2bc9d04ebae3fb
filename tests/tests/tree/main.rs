//! What holds for the tree itself: its architecture, its set-up, the RFCs its tests show.

mod order;
mod rfc;
mod setup;
mod tidy;
