use std::fmt;
use std::ops::{Deref, DerefMut};

/// A datagram in memory that goes from hand to hand: received, opened, rewritten, protected and sent where it lies. Memory
/// is taken by [`std::mem::take`] and exchanged by [`std::mem::swap`]; what is taken from has none until it needs some.
#[derive(Default)]
pub struct Datagram {
    /// [`Datagram::ROOM`] bytes, once there are any.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Datagram {
    /// Bytes of memory: any datagram of an Ethernet, with room for what encryption adds. A longer one gets more.
    pub const ROOM: usize = 2_048;

    /// An empty one with memory.
    pub fn new() -> Datagram {
        Datagram { memory: vec![0; Datagram::ROOM], start: 0, end: 0 }
    }

    /// Whether its memory was not taken.
    pub fn has_memory(&self) -> bool {
        !self.memory.is_empty()
    }

    /// Forgets what it held.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Where one is to be received into; [`Datagram::received`] says how much of it there is then.
    pub fn room(&mut self) -> &mut [u8] {
        self.clear();
        self.grow(Datagram::ROOM);
        &mut self.memory
    }

    /// Holds the first `length` bytes of its room, or all of it.
    pub fn received(&mut self, length: usize) {
        (self.start, self.end) = (0, length.min(self.memory.len()));
    }

    /// Adds to the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        self.grow(end);
        self.memory[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }

    /// Adds so many bytes to the end, whatever they are.
    pub fn lengthen(&mut self, by: usize) {
        self.grow(self.end + by);
        self.end += by;
    }

    /// Keeps no more than the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }

    /// Leaves out the first `length` bytes, or all. What follows stays where it is.
    pub fn skip(&mut self, length: usize) {
        self.start = self.end.min(self.start + length);
    }

    fn grow(&mut self, length: usize) {
        if self.memory.len() < length {
            self.memory.resize(length.max(Datagram::ROOM), 0);
        }
    }
}

impl Deref for Datagram {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }
}

impl DerefMut for Datagram {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }
}

impl From<&[u8]> for Datagram {
    fn from(bytes: &[u8]) -> Datagram {
        let mut datagram = Datagram::new();
        datagram.extend_from_slice(bytes);
        datagram
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagram({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_and_added_leaves_the_rest_where_it_was() {
        let mut datagram = Datagram::default();
        assert!(!datagram.has_memory() && datagram.is_empty());
        datagram.room()[..8].copy_from_slice(b"headbody");
        datagram.received(8);
        let place = datagram[4..].as_ptr();
        datagram.skip(4);
        datagram.truncate(3);
        datagram.extend_from_slice(b"ies");
        assert_eq!((&datagram[..], datagram.as_ptr()), (&b"bodies"[..], place));
        datagram.lengthen(2);
        assert_eq!((datagram.len(), &datagram[..6]), (8, &b"bodies"[..]));
        datagram.truncate(6);
        let taken = std::mem::take(&mut datagram);
        assert_eq!((&taken[..], datagram.has_memory()), (&b"bodies"[..], false));
        datagram.extend_from_slice(b"next");
        assert_eq!(&datagram[..], b"next");
    }

    #[test]
    fn a_longer_one_than_usual_gets_more_memory() {
        let mut datagram = Datagram::from(&[7; Datagram::ROOM][..]);
        datagram.extend_from_slice(&[8]);
        assert_eq!((datagram.len(), datagram[0], datagram[Datagram::ROOM]), (Datagram::ROOM + 1, 7, 8));
        datagram.skip(9_999);
        datagram.truncate(9_999);
        assert!(datagram.is_empty());
    }
}
