use std::time::Instant;

use super::{GIVE_UP, Reaction, Repeat, T2, T4, Wire};

/// Non-INVITE client transaction (RFC 3261 figure 6).
#[derive(Debug)]
pub struct OtherClient {
    reliable: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Repeating by timer E until something comes or timer F.
    Trying {
        request: Wire,
        timer_e: Option<Repeat>,
        timer_f: Instant,
    },
    /// A provisional response came: repeating every T2 until a final one or timer F.
    Proceeding {
        request: Wire,
        timer_e: Option<Repeat>,
        timer_f: Instant,
    },
    /// Absorbing repeated responses until timer K.
    Completed {
        timer_k: Instant,
    },
    Terminated,
}

impl OtherClient {
    /// A machine whose request has just been sent. `reliable`: the transport is a stream.
    pub fn new(request: Wire, reliable: bool, now: Instant) -> OtherClient {
        let timer_e = (!reliable).then(|| Repeat::start(now));
        OtherClient { reliable, state: State::Trying { request, timer_e, timer_f: now + GIVE_UP } }
    }

    /// A response came.
    pub fn on_response(&mut self, status: u16, now: Instant) -> Reaction {
        match &mut self.state {
            State::Trying { request, timer_e, timer_f } if status < 200 => {
                let (request, timer_e, timer_f) = (request.clone(), *timer_e, *timer_f);
                self.state = State::Proceeding { request, timer_e, timer_f };
                Reaction::Deliver
            }
            State::Proceeding { .. } if status < 200 => Reaction::Deliver,
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state =
                    if self.reliable { State::Terminated } else { State::Completed { timer_k: now + T4 } };
                Reaction::Deliver
            }
            State::Completed { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// Something may be due.
    pub fn on_timeout(&mut self, now: Instant) -> Reaction {
        match &mut self.state {
            State::Trying { timer_f, .. } | State::Proceeding { timer_f, .. } if *timer_f <= now => {
                self.state = State::Terminated;
                Reaction::TimedOut
            }
            State::Trying { request, timer_e: Some(e), .. } if e.at <= now => {
                e.step(now, Some(T2));
                Reaction::Send(request.clone())
            }
            State::Proceeding { request, timer_e: Some(e), .. } if e.at <= now => {
                e.step_t2(now);
                Reaction::Send(request.clone())
            }
            State::Completed { timer_k } if *timer_k <= now => {
                self.state = State::Terminated;
                Reaction::Absorb
            }
            State::Trying { .. } | State::Proceeding { .. } | State::Completed { .. } | State::Terminated => {
                Reaction::Absorb
            }
        }
    }

    /// The transport could not carry the request (RFC 3261 §17.1.4).
    pub fn on_transport_error(&mut self) -> Reaction {
        match self.state {
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state = State::Terminated;
                Reaction::TimedOut
            }
            State::Completed { .. } | State::Terminated => Reaction::Absorb,
        }
    }

    /// Whether the machine is over and can be forgotten.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { timer_e, timer_f, .. } | State::Proceeding { timer_e, timer_f, .. } => {
                Some(timer_e.map_or(*timer_f, |e| e.at.min(*timer_f)))
            }
            State::Completed { timer_k } => Some(*timer_k),
            State::Terminated => None,
        }
    }
}
