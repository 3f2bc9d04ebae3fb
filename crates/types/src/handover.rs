//! What threads of ordinary scheduling hand to one of real-time scheduling, which must wait for none of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A bounded queue. Its taker finds nothing while somebody is in the midst of giving, and is to be woken by the giver.
///
/// A queue without locks (std's channel, crossbeam's array) lets its taker spin meanwhile. A giver that has lost its core to
/// the taker never gets through then: the taker keeps the core until the system's limit for real-time threads, most of a second.
#[derive(Debug)]
pub struct Handover<T> {
    inside: Mutex<Inside<T>>,
    room: usize,
}

#[derive(Debug)]
struct Inside<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// What was not handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotGiven<T> {
    /// There is no room.
    Full(T),
    /// Nobody takes anything any more.
    Closed(T),
}

impl<T> Handover<T> {
    /// Room for so many, all of it taken from memory at once.
    pub fn new(room: usize) -> Handover<T> {
        Handover { inside: Mutex::new(Inside { items: VecDeque::with_capacity(room), closed: false }), room }
    }

    /// Waits for whoever else is at the queue.
    ///
    /// # Errors
    /// The item, if the queue is full or closed.
    pub fn give(&self, item: T) -> Result<(), NotGiven<T>> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(NotGiven::Closed(item));
        }
        if inside.items.len() >= self.room {
            return Err(NotGiven::Full(item));
        }
        inside.items.push_back(item);
        Ok(())
    }

    /// The oldest item, at once: none while another thread is at the queue.
    pub fn take(&self) -> Option<T> {
        match self.inside.try_lock() {
            Ok(mut inside) => inside.items.pop_front(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().items.pop_front(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes nothing any more, and drops what is there.
    pub fn close(&self) {
        let mut inside = self.lock();
        inside.closed = true;
        let left = std::mem::take(&mut inside.items);
        drop(inside);
        drop(left);
    }

    // Nothing that holds the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn items_come_in_order_and_what_has_no_room_or_no_taker_comes_back() {
        let queue = Handover::new(2);
        assert_eq!([1, 2, 3].map(|n| queue.give(n)), [Ok(()), Ok(()), Err(NotGiven::Full(3))]);
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some(1), Some(2), None]);
        let item = Arc::new(());
        let queue = Handover::new(2);
        queue.give(item.clone()).unwrap();
        queue.close();
        assert_eq!(Arc::strong_count(&item), 1, "dropped, not kept");
        assert!(matches!(queue.give(item), Err(NotGiven::Closed(_))));
        assert!(queue.take().is_none());
    }

    #[test]
    fn a_taker_does_not_wait_for_a_giver_that_was_stopped_half_way() {
        let queue = Handover::new(2);
        queue.give(1).unwrap();
        let stopped = queue.lock();
        assert_eq!(queue.take(), None);
        drop(stopped);
        assert_eq!(queue.take(), Some(1));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let queue = Handover::new(8);
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            for giver in 0..2_u32 {
                let queue = &queue;
                scope.spawn(move || {
                    for n in 0..10_000_u32 {
                        while queue.give((giver, n)).is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            while taken.len() < 20_000 {
                taken.extend(queue.take());
            }
        });
        for giver in 0..2 {
            let order: Vec<u32> = taken.iter().filter(|(by, _)| *by == giver).map(|(_, n)| *n).collect();
            assert_eq!(order, (0..10_000).collect::<Vec<_>>());
        }
    }
}
