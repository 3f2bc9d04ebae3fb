//! Another source, SSRC, codec or payload type in mid-call: one stream at the far end (field problems 2 and 3).

use super::*;
use crate::control::Tone;

fn clock(codec: Codec) -> u32 {
    crate::sdp::clock_rate(codec)
}

/// One SSRC, no number left out; where the source changes whole frames and a marker, in time.
fn assert_one_stream(sent: &[Sent], codec: Codec) {
    assert_continuous(sent);
    let frame = clock(codec) / 50;
    let first = &sent[0];
    for s in sent {
        let passed = s.ts.wrapping_sub(first.ts);
        assert_eq!(passed % frame, 0, "whole frames");
        let late = f64::from(passed) / f64::from(clock(codec)) - (s.at - first.at).as_secs_f64();
        // Filling may be as late as packets may.
        assert!(late.abs() <= 0.115, "{late:.3} s off at {}", s.seq);
    }
}

fn another_stream(peer: &mut Peer) {
    peer.ssrc = peer.ssrc.wrapping_mul(77);
    peer.seq = peer.seq.wrapping_mul(33).wrapping_add(40_000);
    peer.ts = peer.ts.wrapping_mul(55).wrapping_add(3_000_000_000);
}

#[test]
fn a_new_ssrc_of_the_speaker_is_one_stream_at_the_far_end() {
    for (from, to) in [
        (Codec::Pcmu, Codec::Pcmu),
        (Codec::Pcmu, Codec::Pcma),
        (Codec::Opus, Codec::Opus),
        (Codec::Opus, Codec::Pcmu),
        (Codec::G722, Codec::Opus),
    ] {
        let (mut world, mut a, _) = World::bridged(from, to);
        for pause in [0, 7, 133, 2_000] {
            a.say_frames(&mut world, 30);
            world.pass(Duration::from_millis(pause));
            let before = world.sent_to(B).len();
            another_stream(&mut a);
            a.say_frames(&mut world, 30);
            let sent = world.sent_to(B);
            assert!(sent[before].marker, "{from:?} to {to:?} after {pause} ms");
            assert_eq!(sent[before].at + FRAME * 30, world.now, "heard from its first packet on");
        }
        assert_one_stream(&world.sent_to(B), to);
        assert_eq!(world.stats(A).late, 0);
    }
}

/// A stream that changes codec without warning, between those agreed.
#[test]
fn a_new_codec_of_the_speaker_is_one_stream_at_the_far_end() {
    let both = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
                m=audio 6000 RTP/AVP 0 8 9 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    for to in [Codec::Pcmu, Codec::Opus, Codec::G722] {
        let mut world = World::new();
        let codecs = [Codec::Pcmu, Codec::Pcma, Codec::G722];
        world.command(Command::Offer { leg: A, params: params(&codecs) });
        world.command(Command::SetAnswer { leg: A, answer: both.into() });
        world.answer(B, &[to], &offer(PEER_B, to));
        world.hear(B, Source::Leg(A));
        let mut a = Peer::new(A, PEER_A, Codec::Pcmu);
        a.say_frames(&mut world, 30);
        for next in [Codec::Pcma, Codec::G722, Codec::Pcmu, Codec::G722, Codec::Pcma] {
            let mut changed = Peer::new(A, PEER_A, next);
            (changed.seq, changed.ts, changed.said) = (a.seq, a.ts, a.said);
            a = changed;
            let before = world.sent_to(B).len();
            a.say_frames(&mut world, 30);
            let sent = world.sent_to(B);
            assert_eq!(sent.len(), before + 30, "{next:?} to {to:?}");
            assert!(loudness(&decoded(&sent[before + 2..], to)) > 1_500.0, "{next:?} to {to:?}");
        }
        assert_one_stream(&world.sent_to(B), to);
    }
}

/// Early media of one machine, then the answer of another, with another address and codec order.
#[test]
fn early_media_and_the_answer_after_it_are_one_stream_to_the_caller() {
    for to in [Codec::Opus, Codec::Pcmu, Codec::Pcma] {
        let mut world = World::new();
        world.answer(B, &[to], &offer(PEER_B, to));
        world.hear(B, Source::Tone(Tone::Ringback));
        world.command(Command::Offer { leg: A, params: params(&[Codec::Pcmu, Codec::Pcma]) });
        world.pass(Duration::from_millis(1_510));
        world.command(Command::SetAnswer { leg: A, answer: offer(PEER_A, Codec::Pcmu).into() });
        world.hear(B, Source::Leg(A));
        let mut early = Peer::new(A, PEER_A, Codec::Pcmu);
        early.say_frames(&mut world, 50);
        let elsewhere = "198.51.100.77:9000";
        world.command(Command::SetAnswer { leg: A, answer: offer(elsewhere, Codec::Pcma).into() });
        let mut callee = Peer::new(A, elsewhere, Codec::Pcma);
        another_stream(&mut callee);
        let before = world.sent_to(B).len();
        callee.say_frames(&mut world, 50);
        let sent = world.sent_to(B);
        assert_eq!(sent.len(), before + 50, "heard from its first packet on");
        assert_one_stream(&sent, to);
        assert!(loudness(&decoded(&sent[before..], to)) > 1_500.0);
    }
}
