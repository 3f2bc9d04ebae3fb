//! Events of the media workers on their way to the one task that waits for them: a whole turn's at a time, for one wake-up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use media_bridge::control::CallEvent;
use media_io::EventSender;
use tokio::sync::Notify;
use types::limits::WORKER_EVENTS;

/// The receiving end.
pub struct MediaEvents(Arc<Queue>);

#[derive(Default)]
struct Queue {
    events: Mutex<VecDeque<CallEvent>>,
    filled: Notify,
}

impl Queue {
    // Nothing that holds the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, VecDeque<CallEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_from(&self, ready: &mut VecDeque<CallEvent>) {
        let mut events = self.lock();
        let room = WORKER_EVENTS.saturating_sub(events.len()).min(ready.len());
        events.extend(ready.drain(..room));
        drop(events);
        self.filled.notify_one();
    }
}

impl MediaEvents {
    /// Both ends of a queue of `WORKER_EVENTS` events.
    pub fn new() -> (EventSender, MediaEvents) {
        let queue = Arc::new(Queue::default());
        let sender = queue.clone();
        (Arc::new(move |ready: &mut VecDeque<CallEvent>| sender.take_from(ready)), MediaEvents(queue))
    }

    /// Waits until there are events; may be given up at any time.
    pub async fn ready(&self) {
        while self.0.lock().is_empty() {
            self.0.filled.notified().await;
        }
    }

    /// All events that there are, in order, into an empty buffer.
    pub fn take(&self, into: &mut VecDeque<CallEvent>) {
        std::mem::swap(&mut *self.0.lock(), into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media_bridge::control::Event;
    use types::CallId;

    #[test]
    fn events_come_in_order_and_what_has_no_room_stays_behind() {
        let (sender, events) = MediaEvents::new();
        let all = 0..WORKER_EVENTS as u64 + 3;
        let mut ready: VecDeque<_> =
            all.map(|n| CallEvent { call: CallId(n), event: Event::Closed }).collect();
        sender(&mut ready);
        assert_eq!(ready.len(), 3);
        let mut taken = VecDeque::new();
        events.take(&mut taken);
        sender(&mut ready);
        assert!(ready.is_empty());
        let mut rest = VecDeque::new();
        events.take(&mut rest);
        taken.append(&mut rest);
        let numbers: Vec<u64> = taken.iter().map(|e| e.call.0).collect();
        assert_eq!(numbers, (0..WORKER_EVENTS as u64 + 3).collect::<Vec<_>>());
    }
}
