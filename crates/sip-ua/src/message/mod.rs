//! SIP messages.

/// A parsed message.
#[derive(Clone, Debug)]
pub struct Message {}
