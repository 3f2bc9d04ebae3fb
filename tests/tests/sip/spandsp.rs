//! Our G.722 against libspandsp's, which most software phones and PBXs carry: the same bytes from the same samples, the
//! same samples from the same bytes.

use e2e::rtp::Seeded;
use e2e::speech::{read_wav, speech};
use e2e::tool::{Tool, bytes, hex};
use media_bridge::codec::g722::{Decoder, Encoder, RATE};
use std::f64::consts::TAU;

/// Two seconds each.
const SAMPLES: usize = 2 * RATE as usize;

/// Both codecs of both, each kept over all that passes.
struct Pair {
    spandsp: Tool,
    encoder: Encoder,
    decoder: Decoder,
}

impl Pair {
    fn new() -> Pair {
        Pair { spandsp: Tool::start("spandsp"), encoder: Encoder::default(), decoder: Decoder::default() }
    }

    fn encode(&mut self, what: &str, pcm: &[i16]) -> Vec<u8> {
        let raw: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let theirs = bytes(&self.spandsp.ask(&format!("encode {}", hex(&raw))));
        let mut ours = Vec::new();
        self.encoder.encode(pcm, &mut ours);
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        assert_eq!((differs, ours.len()), (None, theirs.len()), "{what}: first byte that differs");
        ours
    }

    fn decode(&mut self, what: &str, payload: &[u8]) {
        let raw = bytes(&self.spandsp.ask(&format!("decode {}", hex(payload))));
        let theirs: Vec<i16> = raw.as_chunks().0.iter().map(|two| i16::from_le_bytes(*two)).collect();
        let mut ours = vec![0; 2 * payload.len()];
        self.decoder.decode(payload, &mut ours);
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a != b && !wrapped(*a, *b));
        assert_eq!((differs, ours.len()), (None, theirs.len()), "{what}: first sample that differs");
    }
}

/// Where the filter's sum leaves 16 bits, we saturate, and Debian's libspandsp (0.0.6) keeps the low bits: a loud crack.
fn wrapped(ours: i16, theirs: i16) -> bool {
    matches!(ours, i16::MIN | i16::MAX) && (ours < 0) != (theirs < 0)
}

fn wave(of: impl Fn(f64) -> f64) -> Vec<i16> {
    (0..SAMPLES).map(|n| of(n as f64 / f64::from(RATE)) as i16).collect()
}

/// What is heard in calls, and what is at the edge of the arithmetic.
fn sounds() -> Vec<(&'static str, Vec<i16>)> {
    let mut random = Seeded(7);
    let mut noise = |bits: u32| (0..SAMPLES).map(|_| random.draw() as i16 >> (16 - bits)).collect();
    let (loud, soft, faint) = (noise(16), noise(10), noise(3));
    vec![
        ("silence", vec![0; SAMPLES]),
        ("faint noise", faint),
        ("soft noise", soft),
        ("noise at full scale", loud),
        ("a tone of 1 kHz", wave(|t| (TAU * 1_000.0 * t).sin() * 10_000.0)),
        ("a tone of 6 kHz", wave(|t| (TAU * 6_000.0 * t).sin() * 20_000.0)),
        ("a sweep to 8 kHz", wave(|t| (TAU * 2_000.0 * t * t).sin() * 32_000.0)),
        ("a square wave at full scale", wave(|t| (TAU * 333.0 * t).sin().signum() * 32_767.0)),
        ("an offset", vec![i16::MIN; 4_000]),
        ("speech", read_wav(&speech().wide)),
    ]
}

#[test]
fn g722_is_the_same_to_the_last_bit_in_libspandsp_both_ways() {
    let mut pair = Pair::new();
    for (what, pcm) in sounds() {
        // Frames of 20 ms and odd ones: what is kept between frames counts too.
        let (frames, odd) = pcm.split_at(pcm.len() / 2 / 320 * 320);
        for chunk in frames.chunks(320).chain(odd.chunks(34)) {
            let payload = pair.encode(what, &chunk[..chunk.len() / 2 * 2]);
            pair.decode(what, &payload);
        }
    }
    // No encoder makes these, but a network may.
    let mut random = Seeded(11);
    let garbage: Vec<u8> = (0..SAMPLES).map(|_| random.draw() as u8).collect();
    for chunk in garbage.chunks(160) {
        pair.decode("random bytes", chunk);
    }
}
