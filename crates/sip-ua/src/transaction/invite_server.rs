use std::time::Instant;

use super::{GIVE_UP, Reaction, Repeat, T2, T4, Wire};

/// INVITE server transaction (RFC 3261 figure 7, RFC 6026 figure 2).
#[derive(Debug)]
pub struct InviteServer {
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Repeated requests get the last provisional response again.
    Proceeding {
        last: Wire,
    },
    /// A 300-699 is repeated by timer G (datagrams only) until ACK or timer H.
    Completed {
        last: Wire,
        timer_g: Option<Repeat>,
        timer_h: Instant,
    },
    /// ACK came; further ones are absorbed until timer I.
    Confirmed {
        timer_i: Instant,
    },
    /// A 2xx went out: repeated requests are absorbed, the user repeats the 2xx, until timer L (RFC 6026 §7.1).
    Accepted {
        timer_l: Instant,
    },
    Terminated,
}

impl InviteServer {
    /// A machine whose 100 Trying has just been sent. `reliable`: the transport is a stream.
    pub fn new(trying: Wire, reliable: bool) -> InviteServer {
        InviteServer { reliable, state: State::Proceeding { last: trying } }
    }

    /// The request came again.
    pub fn on_request(&mut self) -> Reaction {
        match &self.state {
            State::Proceeding { last } | State::Completed { last, .. } => Reaction::Send(last.clone()),
            State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// The user answers. Returns what to send: nothing once a final answer was given.
    pub fn respond(&mut self, status: u16, response: Wire, now: Instant) -> Reaction {
        match &self.state {
            State::Proceeding { .. } => {
                self.state = match status {
                    ..200 => State::Proceeding { last: response.clone() },
                    200..=299 => State::Accepted { timer_l: now + GIVE_UP },
                    300.. => State::Completed {
                        last: response.clone(),
                        timer_g: (!self.reliable).then(|| Repeat::start(now)),
                        timer_h: now + GIVE_UP,
                    },
                };
                Reaction::Send(response)
            }
            State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => Reaction::Absorb,
        }
    }

    /// An ACK matched this transaction.
    pub fn on_ack(&mut self, now: Instant) -> Reaction {
        match &self.state {
            State::Completed { .. } => {
                self.state =
                    if self.reliable { State::Terminated } else { State::Confirmed { timer_i: now + T4 } };
                Reaction::Absorb
            }
            // An ACK to the 2xx with the INVITE's branch: wrong of the peer, but meant for the user (RFC 6026 §7.1).
            State::Accepted { .. } => Reaction::Deliver,
            State::Proceeding { .. } | State::Confirmed { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// Something may be due.
    pub fn on_timeout(&mut self, now: Instant) -> Reaction {
        match &mut self.state {
            State::Completed { timer_h, .. } if *timer_h <= now => {
                self.state = State::Terminated;
                Reaction::TimedOut
            }
            State::Completed { last, timer_g: Some(g), .. } if g.at <= now => {
                g.step(now, Some(T2));
                Reaction::Send(last.clone())
            }
            State::Confirmed { timer_i: end } | State::Accepted { timer_l: end } if *end <= now => {
                self.state = State::Terminated;
                Reaction::Absorb
            }
            State::Proceeding { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => Reaction::Absorb,
        }
    }

    /// Whether no final answer was given yet: only then does CANCEL change anything (RFC 3261 §9.2).
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Whether the machine is over and can be forgotten.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Completed { timer_g, timer_h, .. } => {
                Some(timer_g.map_or(*timer_h, |g| g.at.min(*timer_h)))
            }
            State::Confirmed { timer_i: end } | State::Accepted { timer_l: end } => Some(*end),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }
}
