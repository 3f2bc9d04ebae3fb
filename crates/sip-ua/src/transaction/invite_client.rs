use std::time::Instant;

use super::{GIVE_UP, Reaction, Repeat, TIMER_D, Wire, due};

/// INVITE client transaction (RFC 3261 figure 5, RFC 6026 figure 1).
#[derive(Debug)]
pub struct InviteClient {
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Repeating the request by timer A (datagrams only) until something comes or timer B.
    Calling {
        request: Wire,
        timer_a: Option<Repeat>,
        timer_b: Instant,
    },
    /// A provisional response came.
    Proceeding,
    /// A 300-699 came; its repetitions get the ACK again until timer D.
    Completed {
        ack: Wire,
        timer_d: Instant,
    },
    /// A 2xx came; each further one goes to the user until timer M (RFC 6026 §7.2).
    Accepted {
        timer_m: Instant,
    },
    Terminated,
}

impl InviteClient {
    /// A machine whose request has just been sent. `reliable`: the transport is a stream.
    pub fn new(request: Wire, reliable: bool, now: Instant) -> InviteClient {
        let timer_a = (!reliable).then(|| Repeat::start(now));
        InviteClient { reliable, state: State::Calling { request, timer_a, timer_b: now + GIVE_UP } }
    }

    /// A response came; `make_ack` is asked once, for the first 300-699.
    pub fn on_response(&mut self, status: u16, make_ack: impl FnOnce() -> Wire, now: Instant) -> Reaction {
        match (&mut self.state, status) {
            (State::Calling { .. } | State::Proceeding, ..200) => {
                self.state = State::Proceeding;
                Reaction::Deliver
            }
            (State::Calling { .. } | State::Proceeding, 200..=299) => {
                self.state = State::Accepted { timer_m: now + GIVE_UP };
                Reaction::Deliver
            }
            (State::Calling { .. } | State::Proceeding, 300..) => {
                let ack = make_ack();
                // Timer D is zero over reliable transports: nothing will be repeated.
                self.state = if self.reliable {
                    State::Terminated
                } else {
                    State::Completed { ack: ack.clone(), timer_d: now + TIMER_D }
                };
                Reaction::SendAndDeliver(ack)
            }
            (State::Completed { ack, .. }, 300..) => Reaction::Send(ack.clone()),
            (State::Accepted { .. }, 200..=299) => Reaction::Deliver,
            (State::Completed { .. } | State::Accepted { .. } | State::Terminated, _) => Reaction::Absorb,
        }
    }

    /// Something may be due.
    pub fn on_timeout(&mut self, now: Instant) -> Reaction {
        match &mut self.state {
            State::Calling { timer_b, .. } if *timer_b <= now => {
                self.state = State::Terminated;
                Reaction::TimedOut
            }
            State::Calling { request, timer_a: Some(a), .. } if a.at <= now => {
                a.step(now, None);
                Reaction::Send(request.clone())
            }
            State::Completed { timer_d: end, .. } | State::Accepted { timer_m: end }
                if due(Some(*end), now) =>
            {
                self.state = State::Terminated;
                Reaction::Absorb
            }
            State::Calling { .. }
            | State::Proceeding
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => Reaction::Absorb,
        }
    }

    /// The transport could not carry the request or ACK (RFC 3261 §17.1.4). Told to the user where it still waits.
    pub fn on_transport_error(&mut self) -> Reaction {
        match self.state {
            State::Calling { .. } | State::Proceeding => {
                self.state = State::Terminated;
                Reaction::TimedOut
            }
            State::Completed { .. } => {
                self.state = State::Terminated;
                Reaction::Absorb
            }
            // The response path may well work: the far end repeats its 2xx.
            State::Accepted { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// The user waits for no final response any more: a cancelled INVITE that gets none (RFC 3261 §9.1).
    /// A machine that has had one goes on absorbing its repetitions.
    pub fn abandon(&mut self) {
        match self.state {
            State::Calling { .. } | State::Proceeding => self.state = State::Terminated,
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => {}
        }
    }

    /// Whether a provisional response has come and no final one: only then may CANCEL be sent (RFC 3261 §9.1).
    pub fn may_cancel(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    /// Whether the machine is over and can be forgotten.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Calling { timer_a, timer_b, .. } => Some(timer_a.map_or(*timer_b, |a| a.at.min(*timer_b))),
            State::Completed { timer_d: end, .. } | State::Accepted { timer_m: end } => Some(*end),
            State::Proceeding | State::Terminated => None,
        }
    }
}
