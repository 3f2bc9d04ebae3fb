use std::time::Instant;

use super::{GIVE_UP, Reaction, Wire};

/// Non-INVITE server transaction (RFC 3261 figure 8). It sends no provisional response (RFC 4320 §4.1), so the
/// Proceeding state has nothing to repeat and is not needed; and it never makes a 408 of its own (§4.2).
#[derive(Debug)]
pub struct OtherServer {
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waiting for the user's answer until `give_up`: past it nobody listens any more (timer F of the client).
    Trying {
        give_up: Instant,
    },
    /// Repeated requests get the answer again until timer J.
    Completed {
        last: Wire,
        timer_j: Instant,
    },
    Terminated,
}

impl OtherServer {
    /// A machine for a request that has just come. `reliable`: the transport is a stream.
    pub fn new(reliable: bool, now: Instant) -> OtherServer {
        OtherServer { reliable, state: State::Trying { give_up: now + GIVE_UP } }
    }

    /// The request came again.
    pub fn on_request(&self) -> Reaction {
        match &self.state {
            State::Completed { last, .. } => Reaction::Send(last.clone()),
            State::Trying { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// The user answers with a final response.
    pub fn respond(&mut self, response: Wire, now: Instant) -> Reaction {
        match &self.state {
            State::Trying { .. } => {
                self.state = if self.reliable {
                    State::Terminated
                } else {
                    State::Completed { last: response.clone(), timer_j: now + GIVE_UP }
                };
                Reaction::Send(response)
            }
            State::Completed { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// Something may be due.
    pub fn on_timeout(&mut self, now: Instant) -> Reaction {
        match &self.state {
            // A late answer is useless: the client's timer F has fired. Silence, not 408 (RFC 4320 §4.2).
            State::Trying { give_up: end } | State::Completed { timer_j: end, .. } if *end <= now => {
                self.state = State::Terminated;
                Reaction::Absorb
            }
            State::Trying { .. } | State::Completed { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// Whether the machine is over and can be forgotten.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { give_up: end } | State::Completed { timer_j: end, .. } => Some(*end),
            State::Terminated => None,
        }
    }
}
