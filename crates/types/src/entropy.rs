/// Where cores get randomness from: the shell passes the operating system's, a simulation a seeded generator.
pub trait Entropy: Send {
    /// Fills the whole buffer.
    fn fill(&mut self, out: &mut [u8]);

    /// A uniform 32-bit number.
    fn u32(&mut self) -> u32 {
        let mut b = [0; 4];
        self.fill(&mut b);
        u32::from_le_bytes(b)
    }

    /// A uniform 64-bit number.
    fn u64(&mut self) -> u64 {
        let mut b = [0; 8];
        self.fill(&mut b);
        u64::from_le_bytes(b)
    }

    /// `len` characters of `[a-z2-7]`, five random bits each: safe in SIP tokens, SDP and URLs.
    fn token(&mut self, len: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect()
    }
}
