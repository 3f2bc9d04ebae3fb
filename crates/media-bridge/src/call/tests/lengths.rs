//! Packets of 10 to 60 ms, both ways.

use super::*;

fn asking(from: &str, codec: Codec, lines: &str) -> String {
    format!("{}{lines}", offer(from, codec))
}

/// A speaks in packets of `spoken` ms, B asked for others; what B gets.
fn cut(from: Codec, to: Codec, spoken: usize, lines: &str) -> (World, Vec<Sent>) {
    let mut world = World::new();
    world.answer(A, &[from], &offer(PEER_A, from));
    world.answer(B, &[to], &asking(PEER_B, to, lines));
    world.hear(B, Source::Leg(A));
    let mut a = Peer::new(A, PEER_A, from);
    for _ in 0..2_400 / spoken {
        let packet = a.packet(spoken * 8);
        world.rtp(A, a.address, &packet);
        world.pass(Duration::from_millis(spoken as u64));
    }
    let sent = world.sent_to(B);
    (world, sent)
}

/// RFC 8866 §6.4: what the peer wants, in multiples of 10 ms that the codec has.
#[test]
fn a_peer_gets_packets_of_the_length_that_it_asks_for_whatever_the_other_sends() {
    for to in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
        for (lines, wanted) in [
            ("a=ptime:10\r\n", 10),
            ("a=ptime:20\r\n", 20),
            ("a=ptime:30\r\n", if to == Codec::Opus { 20 } else { 30 }),
            ("a=ptime:40\r\n", 40),
            ("a=ptime:60\r\na=maxptime:150\r\n", 60),
            ("a=ptime:60\r\na=maxptime:20\r\n", 20),
            ("a=maxptime:10\r\n", 10),
            ("a=ptime:200\r\n", 60),
        ] {
            for (from, spoken) in [(Codec::Pcmu, 20), (Codec::Pcmu, 30), (Codec::Opus, 60), (Codec::G722, 10)]
            {
                if from == Codec::Opus && to == Codec::Opus {
                    continue;
                }
                let (mut world, sent) = cut(from, to, spoken, lines);
                let words = format!("{from:?} of {spoken} ms to {to:?} with {lines}");
                let expected = 2_400 / wanted;
                assert!(sent.len().abs_diff(expected) <= 60 / wanted + 1, "{words}: {} packets", sent.len());
                assert_continuous(&sent);
                let ticks = crate::sdp::clock_rate(to) / 1_000 * wanted as u32;
                assert!(sent.windows(2).all(|p| p[1].ts.wrapping_sub(p[0].ts) == ticks), "{words}");
                if to != Codec::Opus {
                    assert!(sent.iter().all(|s| s.payload.len() == wanted * 8), "{words}");
                }
                let pcm = decoded(&sent, to);
                assert!(loudness(&pcm[1_600..]) > 2_000.0, "{words}: {}", loudness(&pcm));
                assert_eq!(world.stats(A).late, 0, "{words}");
            }
        }
    }
}

#[test]
fn who_asks_for_nothing_gets_what_the_other_sends_and_no_filling_between() {
    for (codec, spoken) in [(Codec::Pcmu, 60), (Codec::Opus, 60), (Codec::G722, 30), (Codec::Pcmu, 10)] {
        let (_, sent) = cut(codec, codec, spoken, "");
        assert_eq!(sent.len(), 2_400 / spoken, "{codec:?} of {spoken} ms");
        let ticks = crate::sdp::clock_rate(codec) / 1_000 * spoken as u32;
        assert!(sent.windows(2).all(|p| p[1].ts.wrapping_sub(p[0].ts) == ticks));
    }
}

#[test]
fn filling_and_tones_have_the_length_that_was_asked_for_too() {
    use crate::control::Tone;
    for (ms, bytes) in [(10, 80), (30, 240), (60, 480)] {
        let (mut world, _) = cut(Codec::Pcmu, Codec::Pcma, 20, &format!("a=ptime:{ms}\r\n"));
        world.sent.clear();
        world.pass(Duration::from_secs(3));
        world.hear(B, Source::Tone(Tone::Ringback));
        world.pass(Duration::from_secs(3));
        let sent = world.sent_to(B);
        assert!(sent.iter().all(|s| s.payload.len() == bytes), "{ms} ms");
        assert!(sent.len().abs_diff(6_000 / ms) <= 120 / ms + 2, "{} packets of {ms} ms", sent.len());
        assert_continuous(&sent);
    }
}
