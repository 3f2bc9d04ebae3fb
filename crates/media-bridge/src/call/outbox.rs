use std::collections::VecDeque;

use types::limits::CALL_OUTPUTS;

use super::Output;
use crate::control::Event;

/// What waits for `poll_output`, and the buffers that datagrams travel in: they go round, so nothing is allocated once
/// there are enough.
pub(super) struct Outbox {
    waiting: VecDeque<(Output, Option<Vec<u8>>)>,
    spare: Vec<Vec<u8>>,
}

/// Room for any datagram.
const DATAGRAM: usize = 1_500;
/// What a bridge of two legs needs at once, a report of each included: more is made when it is needed.
const USUALLY: usize = 4;

impl Default for Outbox {
    fn default() -> Outbox {
        let mut spare = Vec::with_capacity(4 * USUALLY);
        spare.resize_with(USUALLY, || Vec::with_capacity(DATAGRAM));
        Outbox { waiting: VecDeque::with_capacity(4 * USUALLY), spare }
    }
}

impl Outbox {
    /// An empty buffer.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(DATAGRAM))
    }

    /// A buffer that was not needed.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < CALL_OUTPUTS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// A datagram; dropped when too many wait, as a full socket would.
    pub fn datagram(&mut self, output: Output, data: Vec<u8>) {
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

    /// The oldest; its bytes come into `buf`, whose own memory takes their place.
    pub fn pop(&mut self, buf: &mut Vec<u8>) -> Option<Output> {
        buf.clear();
        let (output, data) = self.waiting.pop_front()?;
        if let Some(mut data) = data {
            std::mem::swap(buf, &mut data);
            self.give_back(data);
        }
        Some(output)
    }
}
