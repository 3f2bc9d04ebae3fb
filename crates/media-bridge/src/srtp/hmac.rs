//! HMAC-SHA1 (RFC 2104) with the key hashed beforehand: four compressions for a packet of 20 ms, and nothing copied.

use sha1::block_api::compress;

const BLOCK: usize = 64;
const DIGEST: usize = 20;
/// SHA-1's state at the beginning (FIPS 180-4 §5.3.1).
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

pub(super) struct HmacSha1 {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl HmacSha1 {
    pub fn new(key: &[u8; DIGEST]) -> HmacSha1 {
        let keyed = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            compress(&mut state, &[block]);
            state
        };
        HmacSha1 { inner: keyed(0x36), outer: keyed(0x5c) }
    }

    /// The tag of `data` with four bytes behind it, or none.
    pub fn tag(&self, data: &[u8], tail: Option<[u8; 4]>) -> [u8; DIGEST] {
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        let mut state = self.inner;
        compress(&mut state, blocks);
        let mut end = [[0; BLOCK]; 2];
        let bytes = end.as_flattened_mut();
        let mut used = rest.len();
        bytes[..used].copy_from_slice(rest);
        if let Some(tail) = tail {
            bytes[used..used + 4].copy_from_slice(&tail);
            used += 4;
        }
        let total = data.len() + used - rest.len();
        finish(&mut state, &mut end, used, total);
        let mut last = [[0; BLOCK]; 2];
        write(&state, &mut last[0]);
        let mut state = self.outer;
        finish(&mut state, &mut last, DIGEST, DIGEST);
        let mut out = [0; DIGEST];
        write(&state, &mut out);
        out
    }
}

/// Pads and compresses the last `used` bytes of `total`, behind one block that was compressed before (FIPS 180-4 §5.1.1).
fn finish(state: &mut [u32; 5], end: &mut [[u8; BLOCK]; 2], used: usize, total: usize) {
    let bytes = end.as_flattened_mut();
    bytes[used] = 0x80;
    let blocks = if used < BLOCK - 8 { 1 } else { 2 };
    let bits = (BLOCK + total) as u64 * 8;
    bytes[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
    compress(state, &end[..blocks]);
}

fn write(state: &[u32; 5], out: &mut [u8]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_another_implementation_for_every_length() {
        let key: [u8; DIGEST] = std::array::from_fn(|n| n as u8 ^ 0xa5);
        let other = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        let ours = HmacSha1::new(&key);
        let data: Vec<u8> = (0..400).map(|n| n as u8).collect();
        for length in 0..data.len() - 4 {
            let (data, tail) = (&data[..length], &data[length..length + 4]);
            let long = [data, tail].concat();
            assert_eq!(ours.tag(data, None), aws_lc_rs::hmac::sign(&other, data).as_ref(), "{length}");
            let with_tail = ours.tag(data, tail.try_into().ok());
            assert_eq!(with_tail, aws_lc_rs::hmac::sign(&other, &long).as_ref(), "{length} + 4");
        }
    }
}
