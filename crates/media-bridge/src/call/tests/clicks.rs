//! Long calls in which a detector finds neither clicks nor gaps.

use super::*;
use crate::effort::Effort;
use detector::{Findings, listen};

/// Harmonics that sound on, of whole Hertz: what is said in one second fits before what is said in the next.
fn chord(n: usize, rate: u32) -> i16 {
    let t = n as f64 / f64::from(rate);
    let wave = |frequency: f64| (t * frequency * std::f64::consts::TAU).sin();
    (4_000.0 * wave(210.0) + 2_500.0 * wave(430.0) + 1_500.0 * wave(655.0)) as i16
}

/// What a receiver plays that goes by the timestamps: nothing where there is none.
fn by_timestamp(sent: &[Sent], codec: Codec) -> Vec<i16> {
    let mut decoder = Decoder::new(codec, own_rate(codec).unwrap_or(NARROW)).unwrap();
    let ticks = if codec == Codec::Opus { 6 } else { 1 };
    let mut all = Vec::new();
    for packet in sent {
        let mut pcm = [0; MAX_SAMPLES];
        let n = decoder.decode(&packet.payload, &mut pcm).unwrap();
        let at = packet.ts.wrapping_sub(sent[0].ts) as usize / ticks;
        all.resize(at.max(all.len()), 0);
        all.extend_from_slice(&pcm[..n]);
    }
    all
}

#[test]
fn the_detector_finds_what_was_planted_and_nothing_else() {
    let clean: Vec<i16> = (0..80_000).map(|n| chord(n, NARROW)).collect();
    assert_eq!(listen(&clean, NARROW), Findings::default());
    let mut said = Vec::new();
    for law in [Law::Mu, Law::A] {
        said.clear();
        law.encode(&clean, &mut said);
        let mut coded = vec![0; clean.len()];
        law.decode(&said, &mut coded);
        assert_eq!(listen(&coded, NARROW), Findings::default(), "quantised");
    }
    for at in [20_003usize, 33_333, 47_111] {
        let near = |found: &[usize]| !found.is_empty() && found.iter().all(|f| f.abs_diff(at) < 300);
        // Samples left out, a frame repeated, one wrong sample.
        let mut cut = clean.clone();
        cut.drain(at..at + 11);
        assert!(near(&listen(&cut, NARROW).clicks), "left out at {at}: {:?}", listen(&cut, NARROW));
        let mut again = clean.clone();
        again.splice(at..at, clean[at - 171..at].to_vec());
        assert!(!listen(&again, NARROW).clicks.is_empty(), "repeated at {at}");
        let mut wrong = clean.clone();
        wrong[at] = wrong[at].wrapping_add(3_000);
        assert!(near(&listen(&wrong, NARROW).clicks), "wrong at {at}");
        let mut hole = clean.clone();
        hole[at..at + 80].fill(0);
        assert!(near(&listen(&hole, NARROW).gaps), "10 ms of nothing at {at}: {:?}", listen(&hole, NARROW));
    }
}

/// Late by up to 15 ms, as a usual network has it.
fn jitter(n: u64) -> Duration {
    Duration::from_micros(n.wrapping_mul(2_654_435_761) % 15_000)
}

/// A's second of sound over and over, as packets: the second time round, so that its end fits its beginning.
fn second_of_packets(codec: Codec) -> Vec<Vec<u8>> {
    let rate = own_rate(codec).unwrap_or(NARROW);
    let mut encoder = Encoder::new(codec, rate).unwrap();
    let frame = rate as usize / 50;
    let payload = |n: usize| {
        let pcm: Vec<i16> = (n * frame..(n + 1) * frame).map(|s| chord(s, rate)).collect();
        let mut payload = Vec::new();
        encoder.encode(&pcm, &mut payload).unwrap();
        payload
    };
    (0..100).map(payload).collect::<Vec<_>>().split_off(50)
}

/// Says a second over and over by a clock that is wrong by `ppm`, over a network with jitter; every packet must leave when it
/// came, none made up, none dropped, and what a receiver plays has neither click nor gap.
fn long_call(from: Codec, to: Codec, minutes: usize, ppm: i64) {
    let (mut world, mut a, _) = World::bridged(from, to);
    world.call.set_effort(Effort { least: 0, most: 0 });
    let packets = second_of_packets(from);
    let ticks = if from == Codec::Opus { 960 } else { 160 };
    let (began, mut heard) = (world.now, 0);
    for minute in 0..minutes {
        for n in minute * 3_000..(minute + 1) * 3_000 {
            let due = Duration::from_nanos((n as u64 * 20_000_000).wrapping_add_signed(n as i64 * 20 * ppm));
            let at = began + due + jitter(n as u64);
            world.pass(at.saturating_duration_since(world.now));
            let packet = a.raw(a.pt, false, a.ts, &packets[n % 50]);
            a.ts = a.ts.wrapping_add(ticks);
            world.rtp(A, a.address, &packet);
        }
        let mut sent = std::mem::take(&mut world.sent);
        sent.retain(|packet| packet.leg == B);
        world.rtcp.clear();
        heard += sent.len();
        assert_continuous(&sent);
        let step = if to == Codec::Opus { 960 } else { 160 };
        assert!(sent.windows(2).all(|p| p[1].ts.wrapping_sub(p[0].ts) == step));
        let rate = own_rate(to).unwrap_or(NARROW);
        // A decoder that begins within sound is not ours to judge.
        let pcm = by_timestamp(&sent, to).split_off(rate as usize / 5);
        assert_eq!(listen(&pcm, rate), Findings::default(), "{from:?} to {to:?}, minute {minute}");
        assert!(loudness(&pcm) > 2_000.0);
    }
    assert_eq!(heard, minutes * 3_000, "each packet left at once, nothing was added");
    let stats = world.stats(A);
    assert_eq!((stats.plc_frames, stats.late, stats.rejected), (0, 0, 0), "{stats:?}");
}

/// The clocks of both differ by 200 ppm.
#[test]
fn half_an_hour_from_a_browser_to_a_phone_has_neither_click_nor_gap() {
    long_call(Codec::Opus, Codec::Pcmu, 30, 200);
}

/// The clocks of both differ by 200 ppm.
#[test]
fn half_an_hour_from_a_phone_to_a_browser_has_neither_click_nor_gap() {
    long_call(Codec::Pcmu, Codec::Opus, 30, -200);
}

/// Clocks differ by 200 ppm: 0.72 s in an hour; or as much in a tenth of it.
#[test]
fn an_hour_between_clocks_that_differ_by_200_ppm_neither_clicks_nor_grows_late() {
    long_call(Codec::Pcmu, Codec::Pcma, 60, 200);
    long_call(Codec::Pcma, Codec::Pcmu, 6, -2_000);
}

#[test]
fn g722_between_clocks_that_differ_neither_clicks_nor_grows_late() {
    long_call(Codec::G722, Codec::Pcmu, 5, 200);
    long_call(Codec::Pcma, Codec::G722, 5, -200);
}

/// As much as an hour has by 200 ppm, in three minutes by 4000, the other way round.
#[test]
fn transcoding_between_clocks_that_differ_neither_clicks_nor_grows_late() {
    for ppm in [4_000, -4_000] {
        long_call(Codec::Pcmu, Codec::Opus, 3, ppm);
        long_call(Codec::Opus, Codec::Pcma, 3, ppm);
    }
}
