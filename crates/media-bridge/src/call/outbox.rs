use std::collections::VecDeque;

use types::Datagram;
use types::limits::CALL_OUTPUTS;

use super::Output;
use crate::control::Event;

/// What waits for `poll_output`, and memory for what is not relayed, which brings its own. Both go round, so nothing is
/// allocated once there is enough.
pub(super) struct Outbox {
    waiting: VecDeque<(Output, Option<Datagram>)>,
    spare: Vec<Datagram>,
    /// Where what is neither relayed nor audio is written first.
    scratch: Vec<u8>,
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
        Outbox { waiting, spare, scratch: Vec::with_capacity(REPORT) }
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
        if self.waiting.len() < CALL_OUTPUTS {
            self.waiting.push_back((output, Some(data)));
        } else {
            self.give_back(data);
        }
    }

    /// Something other than a datagram; never dropped.
    pub fn push(&mut self, output: Output) {
        self.waiting.push_back((output, None));
    }

    /// An event for signalling.
    pub fn tell(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// The oldest; its bytes come into `buf`, in their own memory. When nothing is left, `buf` has memory.
    pub fn pop(&mut self, buf: &mut Datagram) -> Option<Output> {
        buf.clear();
        let Some((output, data)) = self.waiting.pop_front() else {
            if !buf.has_memory() {
                *buf = self.spare.pop().unwrap_or_default();
            }
            return None;
        };
        if let Some(data) = data {
            self.give_back(std::mem::replace(buf, data));
        }
        Some(output)
    }
}
