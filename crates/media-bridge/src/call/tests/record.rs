//! What a recording holds: who on which channel, when, and what where something is missing.

use std::time::Duration;

use types::RecordingId;

use super::*;
use crate::call::record::{FRAME_BYTES, RATE, SAMPLES};

const FIRST: RecordingId = RecordingId(1);
const RECORD: Command = Command::Record { recording: FIRST, left: A, right: B };
/// How much later than it was said a sample stands in the recording: the jitter buffer, in whole frames (samples).
const DELAY: usize = 200 * RATE as usize / 1_000;

/// Left and right from the beginning, every frame in its place.
fn channels(world: &World) -> [Vec<i16>; 2] {
    let mut channels = [Vec::new(), Vec::new()];
    for (at, (number, bytes)) in world.recorded.iter().enumerate() {
        assert_eq!((*number as usize, bytes.len()), (at, FRAME_BYTES));
        for pair in bytes.as_chunks::<4>().0 {
            channels[0].push(i16::from_le_bytes([pair[0], pair[1]]));
            channels[1].push(i16::from_le_bytes([pair[2], pair[3]]));
        }
    }
    channels
}

/// A packet of silence with a click of 1 ms in its middle.
fn click(peer: &mut Peer) -> Vec<u8> {
    let length = peer.rate as usize / 50;
    let mut pcm = vec![0; length];
    pcm[length / 2..length / 2 + peer.rate as usize / 1_000].fill(16_000);
    peer.of(160, &pcm)
}

fn silence(peer: &mut Peer) -> Vec<u8> {
    peer.of(160, &vec![0; peer.rate as usize / 50])
}

fn loudest(pcm: &[i16]) -> usize {
    (0..pcm.len()).max_by_key(|n| pcm[*n].unsigned_abs()).unwrap()
}

/// Each codec on the left against PCMU on the right; the right one's packets come 35 ms later than they should.
#[test]
fn both_sides_stand_on_their_own_channel_within_a_frame_of_when_they_spoke() {
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
        let (mut world, mut a, mut b) = World::bridged(codec, Codec::Pcmu);
        world.command(RECORD);
        for n in 0..100 {
            let (left, right) = match n {
                30 => (click(&mut a), silence(&mut b)),
                60 => (silence(&mut a), click(&mut b)),
                _ => (silence(&mut a), silence(&mut b)),
            };
            world.rtp(A, a.address, &left);
            world.rtp(B, b.address, &right);
            world.pass(FRAME);
        }
        let [left, right] = channels(&world);
        for (channel, pcm, said) in [("left", &left, 30), ("right", &right, 60)] {
            let at = loudest(pcm);
            // In the middle of its packet, which is recorded when its first sample could be played.
            let expected = said * SAMPLES + SAMPLES / 2 + DELAY;
            assert!(
                at.abs_diff(expected) <= SAMPLES + 130,
                "{codec:?}, {channel}: {at}, expected {expected}"
            );
            assert!(pcm[at].unsigned_abs() > 3_000, "{codec:?}, {channel}: {}", pcm[at]);
        }
        let apart = loudest(&right) - loudest(&left);
        assert!(apart.abs_diff(30 * SAMPLES) <= SAMPLES, "{codec:?}: {apart}");
        // Nothing of the one is on the other's channel.
        assert!(right[..loudest(&left) + 800].iter().all(|s| s.unsigned_abs() < 200), "{codec:?}");
    }
}

#[test]
fn every_sample_of_a_g711_stream_is_there_in_order_and_once() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcma, Codec::Pcma);
    world.command(RECORD);
    let ramp = |n: usize| (n * 4) as i16 - 16_000;
    for n in 0..50 {
        let pcm: Vec<i16> = (0..160).map(|i| ramp(n * 160 + i)).collect();
        let packet = a.of(160, &pcm);
        world.rtp(A, a.address, &packet);
        b.say(&mut world);
    }
    world.pass(Duration::from_millis(400));
    let [left, _] = channels(&world);
    let first = left.iter().position(|s| *s < -10_000).unwrap();
    // From 8 to 16 kHz each sample comes with one between; the filter's delay is in `first` already.
    for n in (200..7_500).step_by(13) {
        let (heard, said) = (i32::from(left[first + 2 * n]), i32::from(ramp(n)));
        assert!((heard - said).abs() < 600, "{n}: {heard} for {said}");
    }
}

#[test]
fn lost_packets_leave_their_length_and_jitter_leaves_nothing() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    world.command(RECORD);
    let mut late = Vec::new();
    for n in 0..100usize {
        let packet = if n == 80 { click(&mut a) } else { silence(&mut a) };
        // Three are lost, every fifth comes 60 ms late.
        match n {
            40..43 => {}
            n if n.is_multiple_of(5) => late.push((n + 3, packet)),
            _ => world.rtp(A, a.address, &packet),
        }
        if let Some(at) = late.iter().position(|(at, _)| *at == n) {
            let (_, packet) = late.remove(at);
            world.rtp(A, a.address, &packet);
        }
        b.say(&mut world);
    }
    world.pass(Duration::from_millis(400));
    let [left, _] = channels(&world);
    let expected = 80 * SAMPLES + SAMPLES / 2 + DELAY;
    assert!(loudest(&left).abs_diff(expected) <= SAMPLES + 130, "{} {expected}", loudest(&left));
}

#[test]
fn what_the_other_does_not_hear_is_not_recorded_and_the_clock_goes_on() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    world.command(RECORD);
    a.say_frames(&mut world, 25);
    // A holds: B hears music, A nothing.
    world.hear(A, Source::Nothing);
    world.hear(B, Source::Tone(crate::control::Tone::Music));
    for _ in 0..50 {
        let said = b.packet(160);
        world.rtp(B, b.address, &said);
        a.say(&mut world);
    }
    world.pass(Duration::from_millis(300));
    let [left, right] = channels(&world);
    assert_eq!(left.len(), (25 + 50 + 15) * SAMPLES);
    assert!(loudness(&left[DELAY + 10 * SAMPLES..25 * SAMPLES]) > 500.0);
    assert_eq!(loudness(&right), 0.0);
    assert!(loudness(&left[45 * SAMPLES..]) < 1.0, "{}", loudness(&left[45 * SAMPLES..]));
}

#[test]
fn it_goes_on_with_another_party_and_ends_when_it_is_told_or_the_call_ends() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    world.command(RECORD);
    b.say_frames(&mut world, 25);
    let c = LegId(2);
    world.answer(c, &[Codec::Pcma], &offer("203.0.113.77:7000", Codec::Pcma));
    let mut third = Peer::new(c, "203.0.113.77:7000", Codec::Pcma);
    world.hear(A, Source::Leg(c));
    world.hear(c, Source::Leg(A));
    world.command(Command::Record { recording: FIRST, left: A, right: c });
    world.command(Command::Remove { leg: B });
    third.say_frames(&mut world, 50);
    a.say(&mut world);
    let [_, right] = channels(&world);
    assert_eq!(right.len(), 76 * SAMPLES);
    assert!(loudness(&right[DELAY..25 * SAMPLES]) > 500.0 && loudness(&right[50 * SAMPLES..]) > 500.0);
    world.command(Command::EndRecording);
    assert_eq!(world.others.pop(), Some(Output::RecordingOver(FIRST)));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.recorded.len(), 76);
    let second = RecordingId(2);
    world.recorded.clear();
    world.command(Command::Record { recording: second, left: A, right: c });
    third.say_frames(&mut world, 5);
    assert_eq!(world.recorded.first().map(|(number, _)| *number), Some(0), "another begins anew");
    world.command(Command::Close);
    assert!(world.others.contains(&Output::RecordingOver(second)));
}

#[test]
fn a_worker_that_slept_leaves_numbers_out_and_stays_on_the_clock() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    world.command(RECORD);
    a.say_frames(&mut world, 10);
    world.now += Duration::from_secs(60);
    world.call.handle_timeout(world.now, world.wall());
    world.drain();
    a.say_frames(&mut world, 10);
    let numbers: Vec<u32> = world.recorded.iter().map(|(number, _)| *number).collect();
    assert!(numbers.len() < 80, "{}", numbers.len());
    assert!(numbers.windows(2).all(|w| w[1] > w[0]));
    assert_eq!(numbers.last(), Some(&(10 + 3_000 + 9)));
}
