use std::cell::RefCell;

use types::Entropy;

/// Bytes fetched from the system at once.
const POOL: usize = 1024;
/// Larger requests (keys) go to the system directly.
const SMALL: usize = 64;

/// The operating system's randomness. Tags and branches need a few bytes several times a call, and asking is a system call:
/// small amounts come out of a pool of each thread, used once and wiped.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

struct Pool {
    bytes: [u8; POOL],
    used: usize,
}

thread_local! {
    static BYTES: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], used: POOL }) };
}

impl Pool {
    fn take(&mut self, out: &mut [u8]) {
        if self.bytes.len() - self.used < out.len() {
            fetch(&mut self.bytes);
            self.used = 0;
        }
        let taken = &mut self.bytes[self.used..self.used + out.len()];
        out.copy_from_slice(taken);
        taken.fill(0);
        self.used += out.len();
    }
}

fn fetch(out: &mut [u8]) {
    // Without randomness neither keys nor tags are safe: there is nothing sensible left to do.
    getrandom::fill(out).expect("the operating system gives randomness");
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        if out.len() > SMALL {
            return fetch(out);
        }
        BYTES.with_borrow_mut(|pool| pool.take(out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_bytes_are_given_twice_and_none_stay_in_the_pool() {
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let mut token = [0; 16];
            SystemEntropy.fill(&mut token);
            assert!(seen.insert(token), "given twice");
        }
        BYTES.with_borrow(|pool| assert!(pool.bytes[..pool.used].iter().all(|b| *b == 0)));
    }
}
