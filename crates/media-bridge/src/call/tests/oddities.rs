//! Streams that are not as agreed: played all the same, and named.

use super::*;
use crate::codec::{Comfort, Noise};
use crate::control::Oddities;

fn oddities(world: &mut World) -> Oddities {
    world.stats(A).oddities
}

#[test]
fn a_stream_as_agreed_has_no_oddities() {
    for codec in [Codec::Opus, Codec::Pcmu, Codec::G722] {
        let (mut world, mut a, _) = World::bridged(codec, Codec::Pcma);
        a.say_frames(&mut world, 600);
        // A pause, in which the clock goes on, and one in which it stands.
        world.pass(FRAME * 100);
        a.ts = a.ts.wrapping_add(100 * crate::sdp::clock_rate(codec) / 50);
        a.say_frames(&mut world, 50);
        world.pass(FRAME * 100);
        a.say_frames(&mut world, 50);
        assert_eq!(oddities(&mut world), Oddities::default(), "{codec:?}");
    }
}

/// RFC 3551 §6: static payload types.
#[test]
fn a_codec_that_was_not_agreed_is_played_and_named() {
    for to in [Codec::Pcmu, Codec::Opus] {
        let (mut world, mut a, _) = World::bridged(Codec::Pcmu, to);
        a.say_frames(&mut world, 50);
        let mut changed = Peer::new(A, PEER_A, Codec::Pcma);
        (changed.seq, changed.ts, changed.ssrc) = (a.seq, a.ts, a.ssrc);
        changed.say_frames(&mut world, 50);
        let sent = world.sent_to(B);
        assert_eq!(sent.len(), 100);
        assert_continuous(&sent);
        assert!(loudness(&decoded(&sent[60..], to)) > 1_500.0);
        let found = Oddities { unagreed: Some(Codec::Pcma), ..Oddities::default() };
        assert_eq!(oddities(&mut world), found);
    }
}

#[test]
fn packets_of_another_length_are_named() {
    for ms in [10u8, 30, 60] {
        let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Opus);
        for _ in 0..50 {
            let packet = a.packet(usize::from(ms) * 8);
            world.rtp(A, a.address, &packet);
            world.pass(Duration::from_millis(ms.into()));
        }
        assert_eq!(oddities(&mut world), Oddities { packet_ms: Some(ms), ..Oddities::default() });
    }
}

/// G.722 by 16 kHz, Opus by 8 or 16, a clock that stands: what the payload says counts.
#[test]
fn timestamps_of_a_wrong_clock_are_put_right_and_named() {
    for (from, step) in
        [(Codec::G722, 320), (Codec::Opus, 160), (Codec::Opus, 320), (Codec::Pcmu, 0), (Codec::Pcmu, 960)]
    {
        for to in [from, Codec::Pcma] {
            let (mut world, mut a, _) = World::bridged(from, to);
            let frame = crate::sdp::clock_rate(from) / 50;
            for _ in 0..300 {
                let packet = a.packet(160);
                world.rtp(A, a.address, &packet);
                a.ts = a.ts.wrapping_sub(frame).wrapping_add(step);
                world.pass(FRAME);
            }
            let sent = world.sent_to(B);
            let right = &sent[sent.len() - 250..];
            let ticks = crate::sdp::clock_rate(to) / 50;
            let steps = right.windows(2).map(|p| p[1].ts.wrapping_sub(p[0].ts));
            assert!(steps.into_iter().all(|s| s == ticks), "{from:?} by {step} to {to:?}");
            assert!(right.windows(2).all(|p| p[1].at - p[0].at == FRAME), "{from:?} by {step} to {to:?}");
            assert!(loudness(&decoded(right, to)) > 1_500.0);
            assert!(oddities(&mut world).wrong_clock, "{from:?} by {step} to {to:?}");
        }
    }
}

/// Also where nobody needs to decode it.
#[test]
fn a_silent_microphone_is_named_once_it_has_been_silent_long_enough() {
    for from in [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma] {
        for (frames, word, silent) in [(600, false, true), (300, false, false), (600, true, false)] {
            for to in [Codec::Pcma, from] {
                let (mut world, mut a, _) = World::bridged(from, to);
                let mut hiss = Noise::default();
                for n in 0..frames {
                    if word && n == 100 {
                        a.say_frames(&mut world, 10);
                    }
                    let mut pcm = vec![0; a.rate as usize / 50];
                    hiss.add(Comfort::white(80), &mut pcm);
                    let packet = a.of(160, &pcm);
                    world.rtp(A, a.address, &packet);
                    world.pass(FRAME);
                }
                let found = oddities(&mut world).silent;
                assert_eq!(found, silent, "{from:?} to {to:?}, {frames} frames, a word: {word}");
            }
        }
    }
}

#[test]
fn a_microphone_that_was_silent_for_a_minute_is_heard_again_where_it_is_passed_on() {
    for codec in [Codec::Opus, Codec::G722] {
        let (mut world, mut a, _) = World::bridged(codec, codec);
        for _ in 0..3_000 {
            let packet = a.of(160, &vec![0; a.rate as usize / 50]);
            world.rtp(A, a.address, &packet);
            world.pass(FRAME);
        }
        a.say_frames(&mut world, 100);
        assert!(!oddities(&mut world).silent, "{codec:?}");
    }
}

#[test]
fn packets_of_a_type_that_nobody_agreed_to_are_dropped_counted_and_named() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcma);
    a.say_frames(&mut world, 20);
    let before = world.sent_to(B).len();
    for _ in 0..20 {
        let packet = a.raw(96, false, a.ts, &[0x55; 160]);
        world.rtp(A, a.address, &packet);
    }
    assert_eq!(world.sent_to(B).len(), before);
    let stats = world.stats(A);
    assert_eq!((stats.rejected, stats.oddities.stray), (20, Some((96, 20))));
}

#[test]
fn packets_that_come_twice_and_those_that_come_late_are_counted_apart() {
    for (from, to) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Opus, Codec::Pcmu), (Codec::Opus, Codec::Opus)] {
        let (mut world, mut a, _) = World::bridged(from, to);
        for _ in 0..50 {
            let packet = a.packet(160);
            world.rtp(A, a.address, &packet);
            world.rtp(A, a.address, &packet);
            world.pass(FRAME);
        }
        assert_eq!(world.sent_to(B).len(), 50);
        let [late, ..] = [(); 3].map(|()| a.packet(160));
        world.pass(3 * FRAME);
        a.say_frames(&mut world, 1);
        world.rtp(A, a.address, &late);
        let stats = world.stats(A);
        assert_eq!(stats.duplicates, 50, "{from:?} to {to:?}");
        let filled = to == Codec::Pcmu;
        assert_eq!(stats.late, u64::from(filled), "{from:?} to {to:?}: late if its place was filled");
    }
}
