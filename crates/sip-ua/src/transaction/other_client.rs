use std::time::{Duration, Instant};

use super::{GIVE_UP, Reaction, Repeat, T2, T4, Wire};

/// Non-INVITE client transaction (RFC 3261 figure 6).
#[derive(Debug)]
pub struct OtherClient {
    reliable: bool,
    /// When it is over, be it that something provisional comes.
    timer_f: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Repeating by timer E until something comes or patience is over, at the latest timer F.
    Trying {
        request: Wire,
        timer_e: Option<Repeat>,
        give_up: Instant,
    },
    /// A provisional response came: repeating every T2 until a final one or timer F.
    Proceeding {
        request: Wire,
        timer_e: Option<Repeat>,
    },
    /// Absorbing repeated responses until timer K.
    Completed {
        timer_k: Instant,
    },
    Terminated,
}

impl OtherClient {
    /// A machine whose request has just been sent. `reliable`: the transport is a stream. `patience`: how long the peer may
    /// say nothing at all, timer F at the longest.
    pub fn new(request: Wire, reliable: bool, patience: Duration, now: Instant) -> OtherClient {
        let timer_e = (!reliable).then(|| Repeat::start(now));
        let (timer_f, give_up) = (now + GIVE_UP, now + patience.min(GIVE_UP));
        OtherClient { reliable, timer_f, state: State::Trying { request, timer_e, give_up } }
    }

    /// A response came.
    pub fn on_response(&mut self, status: u16, now: Instant) -> Reaction {
        match &mut self.state {
            State::Trying { request, timer_e, .. } if status < 200 => {
                let (request, timer_e) = (request.clone(), *timer_e);
                self.state = State::Proceeding { request, timer_e };
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
            State::Trying { give_up, .. } if *give_up <= now => {
                self.state = State::Terminated;
                Reaction::TimedOut
            }
            State::Proceeding { .. } if self.timer_f <= now => {
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
            State::Trying { timer_e, give_up, .. } => Some(timer_e.map_or(*give_up, |e| e.at.min(*give_up))),
            State::Proceeding { timer_e, .. } => {
                Some(timer_e.map_or(self.timer_f, |e| e.at.min(self.timer_f)))
            }
            State::Completed { timer_k } => Some(*timer_k),
            State::Terminated => None,
        }
    }
}
