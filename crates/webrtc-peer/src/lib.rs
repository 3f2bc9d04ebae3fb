//! The browser side: one WebRTC peer over str0m, and the browser signalling protocol. Sans-IO.

pub mod signalling;
