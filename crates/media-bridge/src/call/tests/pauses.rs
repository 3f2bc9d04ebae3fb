//! What a listener hears while the speaker sends nothing: a trunk gets a packet every 20 ms all the same (field problem 35).

use super::*;
use crate::call::ear::{Chunk, Ear};
use crate::codec::{Comfort, Noise};
use crate::rtp::Head;

const MS: Duration = Duration::from_millis(1);

/// RMS of a frame of noise so many dB below full scale.
fn rms(level: f64) -> f64 {
    32_768.0 * 10f64.powf(-level / 20.0)
}

/// Timestamps keep to real time, within a frame and what a jittery network is waited for.
fn assert_on_time(sent: &[Sent], clock: f64) {
    let first = &sent[0];
    for s in sent {
        let claimed = f64::from(s.ts.wrapping_sub(first.ts)) / clock;
        let real = (s.at - first.at).as_secs_f64();
        assert!((claimed - real).abs() <= 0.115, "{claimed:.3} s claimed at {real:.3} s");
    }
}

/// So many packets in so long, none further from the next than `most`.
fn assert_steady(sent: &[Sent], expected: usize, most: Duration) {
    assert!(sent.len().abs_diff(expected) <= 3, "{} packets for {expected}", sent.len());
    let gap = sent.windows(2).map(|p| p[1].at - p[0].at).max().unwrap();
    assert!(gap <= most, "{gap:?} without a packet");
    assert_continuous(sent);
}

/// A voice with pauses of 200 ms, over a background.
fn talk(world: &mut World, a: &mut Peer, frames: usize, background: Comfort) {
    let mut noise = Noise::default();
    for n in 0..frames {
        let mut pcm: Vec<i16> = (0..160).map(|_| if n % 20 < 10 { a.voice() } else { 0 }).collect();
        noise.add(background, &mut pcm);
        let packet = a.of(160, &pcm);
        world.rtp(A, a.address, &packet);
        world.pass(FRAME);
    }
}

#[test]
fn a_muted_speaker_becomes_concealment_and_then_noise_as_loud_as_the_background_was() {
    for (from, to) in [
        (Codec::Pcmu, Codec::Pcmu),
        (Codec::Pcma, Codec::Pcmu),
        (Codec::Opus, Codec::Pcma),
        (Codec::G722, Codec::Pcmu),
        (Codec::Pcmu, Codec::Opus),
        (Codec::Opus, Codec::Opus),
        (Codec::G722, Codec::G722),
    ] {
        let (mut world, mut a, _) = World::bridged(from, to);
        talk(&mut world, &mut a, 110, Comfort::white(55));
        let before = world.sent_to(B).len();
        world.pass(Duration::from_secs(4));
        let sent = world.sent_to(B);
        // What is not decoded may be waited for longer.
        let passed_on = from == to && from != Codec::Pcmu;
        assert_steady(&sent, 110 + 200, if passed_on { 100 * MS } else { 60 * MS });
        assert_on_time(&sent, if to == Codec::Opus { 48_000.0 } else { 8_000.0 });
        let made = decoded(&sent[before - 10..], to);
        let (made, rate) = (&made[made.len() - made.len() * 200 / 210..], made.len() / 210);
        let noise = loudness(&made[20 * rate..]);
        let expected = if passed_on { 70.0 } else { 55.0 };
        assert!((rms(expected + 4.0)..rms(expected - 4.0)).contains(&noise), "{from:?} to {to:?}: {noise}");
        if !passed_on {
            assert!(loudness(&made[..rate]) > 300.0, "{from:?} to {to:?}: {}", loudness(&made[..rate]));
        }
        // The voice comes back under its own timestamps, from its first packet on.
        a.ts = a.ts.wrapping_add(4 * if from == Codec::Opus { 48_000 } else { 8_000 });
        let before = world.sent_to(B).len();
        a.say_frames(&mut world, 10);
        assert_eq!(world.sent_to(B).len(), before + 10, "{from:?} to {to:?}");
        let sent = world.sent_to(B);
        assert!(sent[before].marker && sent[before + 1..].iter().all(|s| !s.marker));
        assert_on_time(&sent, if to == Codec::Opus { 48_000.0 } else { 8_000.0 });
        assert_continuous(&sent);
    }
}

#[test]
fn a_lost_packet_passed_on_is_made_up_and_its_edges_do_not_click() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    let tone = |n: usize| ((n as f64 * 0.25).sin() * 8_000.0) as i16;
    for n in 0..60 {
        let pcm: Vec<i16> = (n * 160..(n + 1) * 160).map(tone).collect();
        let packet = a.of(160, &pcm);
        // Two in a row: one alone is left to the receiver.
        if !(30..32).contains(&n) {
            world.rtp(A, a.address, &packet);
        }
        world.pass(FRAME);
    }
    let sent = world.sent_to(B);
    assert!(sent.len() >= 59, "{}", sent.len());
    let heard = decoded(&sent, Codec::Pcmu);
    let steepest = heard[..20 * 160].windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
    let worst = heard.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
    assert!(worst <= steepest * 3 / 2, "{worst} where the tone has {steepest}");
    assert!(loudness(&heard[30 * 160..31 * 160]) > 3_000.0);
}

#[test]
fn what_comes_after_its_slot_was_filled_is_dropped_and_counted_also_when_passed_on() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 50);
    let late: Vec<Vec<u8>> = (0..9).map(|_| a.packet(160)).collect();
    world.pass(180 * MS);
    let before = world.sent_to(B).len();
    late.iter().for_each(|packet| world.rtp(A, a.address, packet));
    assert_eq!(world.sent_to(B).len(), before + 1, "the newest is in time");
    a.say_frames(&mut world, 50);
    let sent = world.sent_to(B);
    assert_steady(&sent, 110, 60 * MS);
    assert_on_time(&sent, 8_000.0);
    assert_eq!(world.stats(A).late, 8);
}

/// Growing delay: a network that stalls for 200 ms every two seconds brings everything late and at once.
#[test]
fn stalls_do_not_add_up_to_delay() {
    for (from, to) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Opus, Codec::Pcmu), (Codec::Pcmu, Codec::Opus)] {
        let (mut world, mut a, _) = World::bridged(from, to);
        for _ in 0..30 {
            a.say_frames(&mut world, 90);
            let held: Vec<Vec<u8>> = (0..10).map(|_| a.packet(160)).collect();
            world.pass(FRAME * 10);
            held.iter().for_each(|packet| world.rtp(A, a.address, packet));
        }
        let sent = world.sent_to(B);
        assert_steady(&sent, 3_000, 120 * MS);
        assert_on_time(&sent, if to == Codec::Opus { 48_000.0 } else { 8_000.0 });
    }
}

#[test]
fn loss_does_not_add_up_to_delay() {
    for (from, to) in [(Codec::Pcmu, Codec::Pcma), (Codec::Opus, Codec::Pcmu), (Codec::Pcmu, Codec::Opus)] {
        let (mut world, mut a, _) = World::bridged(from, to);
        for n in 0..3_000u32 {
            let packet = a.packet(160);
            if n.wrapping_mul(2_654_435_761) >> 28 != 0 {
                world.rtp(A, a.address, &packet);
            }
            world.pass(FRAME);
        }
        let sent = world.sent_to(B);
        assert_on_time(&sent, if to == Codec::Opus { 48_000.0 } else { 8_000.0 });
    }
}

/// Some phones stop their clock while they are muted.
#[test]
fn a_speaker_whose_clock_stood_still_is_heard_again_at_once() {
    for (from, to) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Opus, Codec::Pcmu), (Codec::Pcmu, Codec::G722)] {
        for pause in [300, 1_500, 60_000] {
            let (mut world, mut a, _) = World::bridged(from, to);
            a.say_frames(&mut world, 50);
            world.pass(MS * pause);
            let before = world.sent_to(B).len();
            a.say_frames(&mut world, 50);
            let sent = world.sent_to(B);
            let spoken = decoded(&sent[before..], to);
            let lost = spoken.chunks(spoken.len() / 50).take_while(|frame| loudness(frame) < 1_000.0).count();
            assert!(lost <= 1, "{from:?} to {to:?}, {pause} ms: {lost} frames until the voice is back");
            assert_on_time(&sent, 8_000.0);
            assert_continuous(&sent);
        }
    }
}

/// RFC 3389: understood from trunks, as samples for whoever hears another codec, as noise for whoever hears the same.
#[test]
fn comfort_noise_of_a_peer_is_heard_as_noise_of_that_level_until_it_speaks_again() {
    for pt in [13, 19] {
        for to in [Codec::Pcmu, Codec::Pcma, Codec::Opus, Codec::G722] {
            let (mut world, mut a, _) = World::bridged(Codec::Pcmu, to);
            a.say_frames(&mut world, 50);
            let before = world.sent_to(B).len();
            // Once, and again when it changes: nothing between.
            for level in [50, 60] {
                let packet = a.raw(pt, false, a.ts, &[level]);
                world.rtp(A, a.address, &packet);
                let silence = MS * 1_000;
                a.ts = a.ts.wrapping_add(8_000);
                world.pass(silence);
            }
            let sent = world.sent_to(B);
            assert_steady(&sent[before..], 100, 50 * MS);
            let pcm = decoded(&sent[before..], to);
            let (first, second) = pcm.split_at(pcm.len() / 2);
            for (half, level) in [(first, 50.0), (second, 60.0)] {
                let is = loudness(&half[half.len() / 2..]);
                assert!((rms(level + 4.0)..rms(level - 4.0)).contains(&is), "{to:?}, {level}: {is}");
            }
            a.say_frames(&mut world, 20);
            let sent = world.sent_to(B);
            assert_steady(&sent, 170, 50 * MS);
            assert_on_time(&sent, if to == Codec::Opus { 48_000.0 } else { 8_000.0 });
            let stats = world.stats(A);
            assert_eq!((stats.plc_frames, stats.late, stats.lost), (0, 0, 0), "{stats:?}");
        }
    }
}

/// RFC 3389 §4: who offers comfort noise gets it, every 20 ms.
#[test]
fn a_trunk_that_knows_comfort_noise_gets_it_where_there_is_nothing_else() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcma);
    let with = offer(PEER_B, Codec::Pcma).replace("AVP 8 101", "AVP 8 13 101").replace("o=- 1 1", "o=- 1 2");
    let answer = world.answer(B, &[Codec::Pcma], &with);
    assert!(
        answer.contains("RTP/AVP 8 13 101\r\n") && answer.contains("a=rtpmap:13 CN/8000\r\n"),
        "{answer}"
    );
    talk(&mut world, &mut a, 110, Comfort::white(55));
    let before = world.sent_to(B).len();
    world.pass(Duration::from_secs(2));
    let sent = world.sent_to(B);
    assert_steady(&sent, 210, 60 * MS);
    let (concealed, noise) = sent[before..].split_at(5);
    assert!(concealed.iter().all(|s| (s.pt, s.payload.len()) == (8, 160)));
    assert!(noise.iter().all(|s| s.pt == 13 && (50..60).contains(&s.payload[0]) && s.payload.len() == 1));
    a.ts = a.ts.wrapping_add(96_000);
    a.say_frames(&mut world, 5);
    let sent = world.sent_to(B);
    assert_eq!(sent.last().unwrap().pt, 8);
    assert_continuous(&sent);
    assert_on_time(&sent, 8_000.0);
}

/// RFC 7587 §3.1.3: nothing but a sign of life every 400 ms.
#[test]
fn dtx_of_a_speaker_is_its_background_to_a_trunk_every_20_ms_and_no_loss() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    let mut encoder =
        ::opus::Encoder::new(16_000, ::opus::Channels::Mono, ::opus::Application::Voip).unwrap();
    encoder.set_dtx(true).unwrap();
    encoder.set_bitrate(::opus::Bitrate::Bits(24_000)).unwrap();
    let (mut noise, mut left_out, mut announced) = (Noise::default(), 0, false);
    for n in 0..500 {
        let mut pcm: Vec<i16> = (0..320).map(|_| if n < 100 { a.voice() } else { 0 }).collect();
        noise.add(Comfort::white(55), &mut pcm);
        let mut payload = [0; 400];
        let length = encoder.encode(&pcm, &mut payload).unwrap();
        // As browsers do it: the first packet of a pause announces it.
        let speaks = length > 2;
        if speaks || !announced {
            let packet = a.raw(111, false, a.ts, &payload[..length]);
            world.rtp(A, a.address, &packet);
        } else {
            left_out += 1;
        }
        announced = !speaks;
        a.ts = a.ts.wrapping_add(960);
        world.pass(FRAME);
    }
    assert!(left_out > 200, "the encoder paused: {left_out}");
    let sent = world.sent_to(B);
    assert_steady(&sent, 500, 60 * MS);
    assert_on_time(&sent, 8_000.0);
    let pcm = decoded(&sent, Codec::Pcmu);
    for second in pcm[200 * 160..490 * 160].chunks(8_000) {
        let is = loudness(second);
        assert!((rms(66.0)..rms(50.0)).contains(&is), "{is}");
    }
    let stats = world.stats(A);
    assert!(stats.plc_frames <= 5 && stats.late <= 3, "{stats:?}");
}

#[test]
fn a_leg_that_nobody_speaks_to_gets_silence_without_a_break() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 20);
    world.hear(B, Source::Nothing);
    world.pass(Duration::from_secs(2));
    let sent = world.sent_to(B);
    assert_steady(&sent, 120, 100 * MS);
    assert_eq!(sent.last().unwrap().payload, [Law::Mu.silence(); 160]);
}

/// Frames that an ear makes up for `lost` packets, by their timestamps in frames after the last one before them.
fn made_up(lost: u32, browsers: bool) -> Vec<u32> {
    let (mut ear, begun) = (Ear::new(Codec::Pcmu, NARROW).unwrap(), Instant::now());
    let mut made = Vec::new();
    for n in (0..20).chain(20 + lost..30 + lost) {
        let now = begun + FRAME * n;
        let mut sink = |chunk: Chunk<'_>| {
            if chunk.concealed {
                made.push(chunk.timestamp / 160 - 19);
            }
        };
        let at = n as u16;
        let head = Head { extended: u64::from(at), timestamp: n * 160, payload_type: 0, marker: false };
        ear.accept(head, &[0x20; 160], Duration::ZERO, now, &mut sink);
        ear.release(now + FRAME / 2, &mut sink);
        if n == 19 && browsers && lost > 1 {
            ear.leave_to_browsers();
        }
    }
    made
}

/// libopus conceals the rest of a long gap better than G.711 Appendix I, which is silent after 60 ms (docs/QUALITY.md).
#[test]
fn of_a_long_gap_browsers_get_the_first_frame_and_conceal_the_rest() {
    assert_eq!((made_up(1, true), made_up(2, true)), (vec![1], vec![1, 2]));
    assert_eq!((made_up(3, true), made_up(5, true)), (vec![1], vec![1]));
    assert_eq!(made_up(5, false), [1, 2, 3, 4, 5]);
    assert_eq!(made_up(6, true), [0; 0], "longer than anything is filled");
}
