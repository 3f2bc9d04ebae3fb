//! Keeping the flow to a registrar open, and noticing that it is dead: line ends and STUN (RFC 5626 §3.5 and §4.4, RFC 6223).
//! The registration says when a flow begins and ends; the endpoint sends and receives.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use types::Entropy;

use crate::message::Message;
use crate::stun;
use crate::transaction::{Repeat, Wire};

/// Asks the other end of a stream whether it is there (RFC 5626 §3.5.1).
pub(crate) const PING: &[u8] = b"\r\n\r\n";
/// Keeps a way open and asks for nothing; in front of a message it means nothing (RFC 3261 §7.5).
const LINE_END: &[u8] = b"\r\n";
/// How long an answer may take (RFC 5626 §4.4.1).
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds between two questions where the registrar names no time: streams, then datagrams (RFC 5626 §4.4.1, §4.4.2).
const BETWEEN: [std::ops::RangeInclusive<u32>; 2] = [95..=120, 24..=29];
/// Times that a registrar may ask for, in seconds.
const ASKED_FOR: std::ops::RangeInclusive<u32> = 2..=3_600;

/// What the registrar said about keep-alives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Agreed {
    /// Nothing: it need not answer what we send.
    Silence,
    /// It answers, and wants to hear us so often, in seconds, if it said so.
    Answers(Option<u32>),
}

impl Agreed {
    /// By its answer to our REGISTER: `outbound` was asked for and is in use (RFC 5626 §4.2.1, §10), or the Via parameter `keep`
    /// came back with a value (RFC 6223 §4). Copied back without one it means nothing.
    pub fn of(response: &Message, outbound: bool) -> Agreed {
        let in_use = || response.list("Require").any(|tag| tag.eq_ignore_ascii_case("outbound"));
        if outbound && in_use() {
            return Agreed::Answers(response.header("Flow-Timer").and_then(|v| v.trim().parse().ok()));
        }
        match response.top_via().and_then(|via| via.params.get("keep")?.parse().ok()) {
            Some(seconds) => Agreed::Answers(Some(seconds).filter(|s| *s > 0)),
            None => Agreed::Silence,
        }
    }
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Nothing,
    Send(Wire),
    /// The flow is dead, or leads elsewhere than it did: register anew.
    Lost,
}

/// The keep-alives of one flow.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    datagrams: bool,
    /// Between two that ask for nothing.
    pause: Duration,
    agreed: Agreed,
    state: State,
    /// Where the registrar saw us first by STUN.
    seen_at: Option<SocketAddr>,
}

#[derive(Debug)]
enum State {
    Waiting { until: Instant },
    Pinged { until: Instant },
    Bound { id: stun::Id, again: Repeat, until: Instant },
}

impl KeepAlive {
    /// A flow over which the registrar has just answered.
    pub fn new(
        datagrams: bool,
        pause: Duration,
        agreed: Agreed,
        entropy: &mut dyn Entropy,
        now: Instant,
    ) -> KeepAlive {
        let state = State::Waiting { until: now };
        let mut new = KeepAlive { datagrams, pause, agreed, state, seen_at: None };
        new.wait(entropy, now);
        new
    }

    /// A refresh was answered: perhaps otherwise than before.
    pub fn agree(&mut self, agreed: Agreed, entropy: &mut dyn Entropy, now: Instant) {
        if self.agreed != agreed {
            self.agreed = agreed;
            self.wait(entropy, now);
        }
    }

    fn wait(&mut self, entropy: &mut dyn Entropy, now: Instant) {
        let mut between = |least: u64, most: u64| least + u64::from(entropy.u32()) % (most - least + 1);
        let pause = match self.agreed {
            Agreed::Silence => self.pause,
            // Between 80 and 100 % (RFC 5626 §4.4, RFC 6223 §4).
            Agreed::Answers(Some(seconds)) => {
                let most = u64::from(seconds.clamp(*ASKED_FOR.start(), *ASKED_FOR.end())) * 1000;
                Duration::from_millis(between(most * 8 / 10, most))
            }
            Agreed::Answers(None) => {
                let range = &BETWEEN[usize::from(self.datagrams)];
                Duration::from_secs(between((*range.start()).into(), (*range.end()).into()))
            }
        };
        self.state = State::Waiting { until: now + pause };
    }

    /// Something is due.
    pub fn on_timeout(&mut self, entropy: &mut dyn Entropy, now: Instant) -> Act {
        match &mut self.state {
            State::Waiting { until } if *until <= now => self.say(entropy, now),
            State::Pinged { until } if *until <= now => Act::Lost,
            State::Bound { until, .. } if *until <= now => self.unanswered(entropy, now),
            State::Bound { id, again, .. } if again.at <= now => {
                again.step(now, None);
                Act::Send(stun::request(*id)[..].into())
            }
            State::Waiting { .. } | State::Pinged { .. } | State::Bound { .. } => Act::Nothing,
        }
    }

    fn say(&mut self, entropy: &mut dyn Entropy, now: Instant) -> Act {
        match (self.agreed, self.datagrams) {
            (Agreed::Silence, _) => {
                self.wait(entropy, now);
                Act::Send(LINE_END.into())
            }
            (Agreed::Answers(_), false) => {
                self.state = State::Pinged { until: now + PATIENCE };
                Act::Send(PING.into())
            }
            (Agreed::Answers(_), true) => {
                let mut id = stun::Id::default();
                entropy.fill(&mut id);
                self.state = State::Bound { id, again: Repeat::start(now), until: now + PATIENCE };
                Act::Send(stun::request(id)[..].into())
            }
        }
    }

    /// No answer by STUN. Who never gave one cannot: line ends must do.
    fn unanswered(&mut self, entropy: &mut dyn Entropy, now: Instant) -> Act {
        if self.seen_at.is_some() {
            return Act::Lost;
        }
        self.agreed = Agreed::Silence;
        self.wait(entropy, now);
        Act::Nothing
    }

    /// What came that is no SIP message: a line end, or a datagram of STUN.
    pub fn on_answer(&mut self, bytes: &[u8], entropy: &mut dyn Entropy, now: Instant) -> Act {
        match &self.state {
            State::Pinged { .. } if bytes == LINE_END => self.wait(entropy, now),
            State::Bound { id, .. } => {
                let Some(seen_at) = stun::mapped(bytes, *id) else { return Act::Nothing };
                // Another address: a NAT forgot the flow, and the contact leads nowhere (RFC 5626 §4.4.2).
                if self.seen_at.replace(seen_at).is_some_and(|before| before != seen_at) {
                    return Act::Lost;
                }
                self.wait(entropy, now);
            }
            State::Waiting { .. } | State::Pinged { .. } => {}
        }
        Act::Nothing
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Instant {
        match &self.state {
            State::Waiting { until } | State::Pinged { until } => *until,
            State::Bound { again, until, .. } => again.at.min(*until),
        }
    }
}
