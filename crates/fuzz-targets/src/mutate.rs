//! Seeded mutations: the same seed makes the same inputs on every machine.

use types::Entropy;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.draw() % end as u64) as usize }
    }
}

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Largest input that mutations make: larger ones find nothing that these do not.
const LARGEST: usize = 4096;

/// A new input out of kept ones: one of them with up to eight changes.
pub fn mutate(corpus: &[Vec<u8>], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut input = corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..=random.below(8) {
        change(&mut input, corpus, words, random);
    }
    input.truncate(LARGEST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(32)).min(input.len());
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.draw() as u8,
        2 => {
            input.drain(at..end);
        }
        3 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        4 | 5 if !words.is_empty() => {
            let word = words[random.below(words.len())];
            let replaced = if random.below(2) == 0 { at } else { end };
            input.splice(at..replaced, word.bytes());
        }
        6 => {
            // The end of another one.
            let other = corpus.get(random.below(corpus.len())).map_or(&[][..], Vec::as_slice);
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => input.insert(at, random.draw() as u8),
    }
}
