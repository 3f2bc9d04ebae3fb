//! Legs of 8 and 16 kHz in one call.

use super::*;
use crate::codec::WIDE;
use crate::control::Tone;

/// 20 ms of tones at 16 kHz, going on from frame `n`.
fn tones(n: usize, frequencies: &[f64]) -> Vec<i16> {
    let at = |k: usize| (n * 320 + k) as f64 / f64::from(WIDE) * std::f64::consts::TAU;
    (0..320).map(|k| frequencies.iter().map(|f| (f * at(k)).sin() * 6_000.0).sum::<f64>() as i16).collect()
}

/// Amplitude of one frequency in the last half second.
fn amplitude(pcm: &[i16], frequency: f64, rate: u32) -> f64 {
    let pcm = &pcm[pcm.len() - rate as usize / 2..];
    let (mut re, mut im) = (0.0, 0.0);
    for (n, &sample) in pcm.iter().enumerate() {
        let turn = std::f64::consts::TAU * frequency * n as f64 / f64::from(rate);
        re += f64::from(sample) * turn.cos();
        im += f64::from(sample) * turn.sin();
    }
    2.0 * f64::hypot(re, im) / pcm.len() as f64
}

/// A second and a half of tones from leg A, whose peer speaks at 16 kHz.
fn speak(world: &mut World, a: &mut Peer, frequencies: &[f64]) {
    a.rate = WIDE;
    a.encoder = Encoder::new(a.codec, WIDE).unwrap();
    for n in 0..75 {
        let packet = a.of(160, &tones(n, frequencies));
        world.rtp(A, a.address, &packet);
        world.pass(FRAME);
    }
}

#[test]
fn what_is_above_four_kilohertz_is_heard_between_opus_and_g722() {
    for (from, to) in [(Codec::Opus, Codec::G722), (Codec::G722, Codec::Opus), (Codec::G722, Codec::G722)] {
        let (mut world, mut a, _) = World::bridged(from, to);
        speak(&mut world, &mut a, &[600.0, 5_500.0]);
        let heard = decoded_at(&world.sent_to(B), to, WIDE);
        for frequency in [600.0, 5_500.0] {
            let level = amplitude(&heard, frequency, WIDE);
            assert!((3_000.0..9_000.0).contains(&level), "{from:?} to {to:?}, {frequency} Hz: {level:.0}");
        }
    }
}

/// 6.5 kHz would come out at 1.5 kHz if nothing kept it away.
#[test]
fn towards_g711_what_is_above_four_kilohertz_is_left_out_not_folded_back() {
    for from in [Codec::Opus, Codec::G722] {
        let (mut world, mut a, _) = World::bridged(from, Codec::Pcmu);
        speak(&mut world, &mut a, &[600.0, 6_500.0]);
        let heard = decoded(&world.sent_to(B), Codec::Pcmu);
        let (kept, folded) = (amplitude(&heard, 600.0, NARROW), amplitude(&heard, 1_500.0, NARROW));
        assert!((4_500.0..7_500.0).contains(&kept), "{from:?}: {kept:.0}");
        assert!(folded < 150.0, "{from:?}: {folded:.0}");
    }
}

#[test]
fn g711_is_heard_at_its_pitch_on_a_g722_leg() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcma, Codec::G722);
    for n in 0..75 {
        let pcm: Vec<i16> = tones(n, &[600.0]).chunks(2).map(|pair| pair[0]).collect();
        let packet = a.of(160, &pcm);
        world.rtp(A, a.address, &packet);
        world.pass(FRAME);
    }
    let sent = world.sent_to(B);
    assert!(sent.iter().all(|s| s.payload.len() == 160), "20 ms of G.722");
    let heard = decoded(&sent, Codec::G722);
    let (kept, image) = (amplitude(&heard, 600.0, WIDE), amplitude(&heard, 7_400.0, WIDE));
    assert!((5_000.0..7_000.0).contains(&kept) && image < 100.0, "{kept:.0} {image:.0}");
}

#[test]
fn listeners_of_both_rates_hear_one_speaker_each_at_its_own() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::G722);
    let c = LegId(2);
    world.answer(c, &[Codec::Pcmu], &offer("203.0.113.10:7000", Codec::Pcmu));
    world.command(Command::SetSource { leg: c, source: Source::Leg(A) });
    speak(&mut world, &mut a, &[600.0, 5_500.0]);
    let (wide, narrow) = (world.sent_to(B), world.sent_to(c));
    assert_eq!((wide.len(), narrow.len()), (75, 75));
    assert_continuous(&wide);
    assert_continuous(&narrow);
    assert!(amplitude(&decoded(&wide, Codec::G722), 5_500.0, WIDE) > 3_000.0);
    let heard = decoded(&narrow, Codec::Pcmu);
    assert!(amplitude(&heard, 600.0, NARROW) > 4_500.0);
    assert!(amplitude(&heard, 2_500.0, NARROW) < 150.0);
}

/// Tones, digits and silence are made at 8 kHz, whatever the leg carries.
#[test]
fn sounds_of_ours_have_their_pitch_and_pace_on_a_g722_leg() {
    let (mut world, _, _) = World::bridged(Codec::Pcmu, Codec::G722);
    world.command(Command::SetSource { leg: B, source: Source::Tone(Tone::Ringback) });
    world.pass(Duration::from_secs(1));
    let sent = world.sent_to(B);
    assert!((50..=51).contains(&sent.len()), "{}", sent.len());
    assert_continuous(&sent);
    assert!(sent.windows(2).all(|p| p[1].ts.wrapping_sub(p[0].ts) == 160));
    let heard = decoded(&sent, Codec::G722);
    assert!(amplitude(&heard, 425.0, WIDE) > 3_000.0, "{}", amplitude(&heard, 425.0, WIDE));
}

#[test]
fn a_browser_hears_ringback_and_then_the_wideband_voice_on_one_stream() {
    let (mut world, mut a, _) = World::bridged(Codec::G722, Codec::Opus);
    world.command(Command::SetSource { leg: B, source: Source::Tone(Tone::Ringback) });
    world.pass(Duration::from_millis(500));
    world.command(Command::SetSource { leg: B, source: Source::Leg(A) });
    speak(&mut world, &mut a, &[600.0, 5_500.0]);
    world.command(Command::SetSource { leg: B, source: Source::Tone(Tone::Busy) });
    world.pass(Duration::from_millis(480));
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    let busy = sent.len() - 23;
    let heard = decoded_at(&sent[..busy], Codec::Opus, WIDE);
    assert!(amplitude(&heard, 5_500.0, WIDE) > 3_000.0, "{}", amplitude(&heard, 5_500.0, WIDE));
    let after = decoded_at(&sent, Codec::Opus, WIDE);
    assert!(amplitude(&after, 425.0, WIDE) > 2_500.0, "{}", amplitude(&after, 425.0, WIDE));
}

#[test]
fn a_lost_g722_frame_is_concealed_and_counted() {
    let (mut world, mut a, _) = World::bridged(Codec::G722, Codec::Pcmu);
    a.say_frames(&mut world, 40);
    for n in 0..40 {
        let packet = a.packet(160);
        if n % 10 != 5 {
            world.rtp(A, a.address, &packet);
        }
        world.pass(FRAME);
    }
    let sent = world.sent_to(B);
    assert_eq!(sent.len(), 80);
    assert_continuous(&sent);
    let heard = decoded(&sent, Codec::Pcmu);
    assert!(heard.chunks(160).skip(5).all(|frame| loudness(frame) > 300.0), "no frame is silent");
    assert_eq!(world.stats(A).plc_frames, 4);
}
