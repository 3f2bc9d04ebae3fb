use std::collections::VecDeque;
use std::net::SocketAddr;

use types::limits::CALL_OUTPUTS;
use types::{Datagram, LegId, RecordingId};
use webrtc_peer::Route;

use super::Output;
use crate::control::Event;

/// What waits for `poll_output`, and memory for what is not relayed, which brings its own. Both go round, so nothing is
/// allocated once there is enough.
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// In order, a [`Waiting::Other`] each.
    others: VecDeque<Output>,
    spare: Vec<Datagram>,
    /// Where what is neither relayed nor audio is written first.
    scratch: Vec<u8>,
}

/// A packet, or another thing: those are much larger, and rare.
enum Waiting {
    Rtp(LegId, SocketAddr, Datagram),
    Rtcp(LegId, SocketAddr, Datagram),
    Browser(LegId, Route, Datagram),
    Recorded(RecordingId, u32, Datagram),
    Other,
}

/// What a bridge of two legs needs at once, a report of each included: more is made when it is needed.
const USUALLY: usize = 3;
/// A report of ours.
const REPORT: usize = 256;

impl Default for Outbox {
    fn default() -> Outbox {
        let mut spare = Vec::with_capacity(4 * USUALLY);
        spare.resize_with(USUALLY, Datagram::new);
        let waiting = VecDeque::with_capacity(4 * USUALLY);
        Outbox {
            waiting,
            others: VecDeque::with_capacity(USUALLY),
            spare,
            scratch: Vec::with_capacity(REPORT),
        }
    }
}

impl Outbox {
    /// An empty buffer.
    pub fn buffer(&mut self) -> Datagram {
        self.spare.pop().unwrap_or_default()
    }

    /// What is written so.
    pub fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Datagram {
        self.scratch.clear();
        write(&mut self.scratch);
        let mut buffer = self.buffer();
        buffer.extend_from_slice(&self.scratch);
        buffer
    }

    /// A buffer that was not needed.
    pub fn give_back(&mut self, mut buffer: Datagram) {
        if self.spare.len() < CALL_OUTPUTS && buffer.has_memory() {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// A datagram; dropped when too many wait, as a full socket would.
    pub fn datagram(&mut self, output: Output, data: Datagram) {
        if self.waiting.len() >= CALL_OUTPUTS {
            return self.give_back(data);
        }
        self.waiting.push_back(match output {
            Output::Rtp { leg, to } => Waiting::Rtp(leg, to, data),
            Output::Rtcp { leg, to } => Waiting::Rtcp(leg, to, data),
            Output::Browser { leg, route } => Waiting::Browser(leg, route, data),
            Output::Recorded { recording, number } => Waiting::Recorded(recording, number, data),
            other @ (Output::AcceptUfrag { .. }
            | Output::ReleaseLeg { .. }
            | Output::RecordingOver(_)
            | Output::Event(_)) => {
                self.give_back(data);
                return self.push(other);
            }
        });
    }

    /// Something other than a datagram; never dropped.
    pub fn push(&mut self, output: Output) {
        self.others.push_back(output);
        self.waiting.push_back(Waiting::Other);
    }

    /// An event for signalling.
    pub fn tell(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// The oldest; its bytes come into `buf`, in their own memory. When nothing is left, `buf` has memory.
    pub fn pop(&mut self, buf: &mut Datagram) -> Option<Output> {
        buf.clear();
        let Some(waiting) = self.waiting.pop_front() else {
            // Begins anew where memory is known already.
            self.waiting.clear();
            if !buf.has_memory() {
                *buf = self.spare.pop().unwrap_or_default();
            }
            return None;
        };
        let (output, data) = match waiting {
            Waiting::Rtp(leg, to, data) => (Output::Rtp { leg, to }, data),
            Waiting::Rtcp(leg, to, data) => (Output::Rtcp { leg, to }, data),
            Waiting::Browser(leg, route, data) => (Output::Browser { leg, route }, data),
            Waiting::Recorded(recording, number, data) => (Output::Recorded { recording, number }, data),
            Waiting::Other => return self.others.pop_front(),
        };
        self.give_back(std::mem::replace(buf, data));
        Some(output)
    }
}
