use types::Entropy;

/// The operating system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        // Without randomness neither keys nor tags are safe: there is nothing sensible left to do.
        getrandom::fill(out).expect("the operating system gives randomness");
    }
}
