//! Recorded sounds: music on hold in what each listener's codec can carry, and what is played once over everything.

use std::time::Duration;

use super::*;
use crate::codec::WIDE;
use crate::sound::SoundId;

const RAMP: Source = Source::Music(SoundId(0));
const TONE: SoundId = SoundId(1);

fn played(world: &mut World) -> usize {
    let before = world.events.len();
    world.events.retain(|e| !matches!(e, Event::Played { .. }));
    before - world.events.len()
}

#[test]
fn music_comes_every_20_ms_and_goes_on_where_it_was() {
    // Field problem 21: the one who holds keeps sending, whoever is held hears music and nothing of that.
    let (mut world, mut a, _) = World::bridged(Codec::Pcma, Codec::Pcma);
    world.hear(B, RAMP);
    a.say_frames(&mut world, 25);
    let first = decoded(&world.sent_to(B), Codec::Pcma);
    assert_eq!(first.len(), 26 * 160);
    // The ramp rises by a sample's worth each; A-law keeps it within a 30th.
    let expected = |n: usize| n as f64 - 8_000.0;
    for (n, sample) in first.iter().enumerate().skip(20) {
        assert!((f64::from(*sample) - expected(n)).abs() < 300.0, "{n}: {sample}");
    }
    world.hear(B, Source::Leg(A));
    a.say_frames(&mut world, 25);
    world.sent.clear();
    world.hear(B, RAMP);
    world.pass(Duration::from_millis(490));
    let again = decoded(&world.sent_to(B), Codec::Pcma);
    assert_eq!(again.len(), 25 * 160);
    for (n, sample) in again.iter().enumerate() {
        assert!((f64::from(*sample) - expected(26 * 160 + n)).abs() < 300.0, "{n}: {sample}");
    }
}

#[test]
fn wideband_listeners_hear_it_in_wideband_and_streams_go_on() {
    for codec in [Codec::G722, Codec::Opus, Codec::Pcmu] {
        let (mut world, mut a, _) = World::bridged(codec, codec);
        a.say_frames(&mut world, 10);
        world.hear(B, RAMP);
        world.pass(Duration::from_millis(990));
        world.hear(B, Source::Leg(A));
        a.say_frames(&mut world, 10);
        let sent = world.sent_to(B);
        assert_continuous(&sent);
        assert_eq!(sent.len(), 10 + 50 + 10, "{codec:?}");
        let rate = own_rate(codec).unwrap_or(WIDE);
        let heard = decoded_at(&sent[10..60], codec, rate);
        assert_eq!(heard.len(), rate as usize);
        // At its end the ramp stands at 0 at either rate; Opus leaves out what is as low as that.
        if codec != Codec::Opus {
            assert!(heard[rate as usize - 1].abs() < 300, "{codec:?}: {}", heard[rate as usize - 1]);
        }
    }
}

#[test]
fn a_sound_played_once_goes_over_everything_and_then_says_so() {
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    a.say_frames(&mut world, 5);
    world.sent.clear();
    world.command(Command::Play { leg: B, sound: TONE });
    for _ in 0..20 {
        b.say(&mut world);
        a.say(&mut world);
    }
    assert_eq!(played(&mut world), 1);
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    let heard = decoded(&sent, Codec::Pcmu);
    let loud = loudness(&heard[..15 * 160]);
    assert!((8_000.0..9_000.0).contains(&loud), "the tone and nothing else: {loud}");
    let voice: Vec<Vec<u8>> = sent[sent.len() - 20..].iter().map(|s| s.payload.clone()).collect();
    assert!(voice.iter().all(|frame| frame.len() == 160));
    assert_eq!(world.sent_to(A).len(), 20, "the other side hears nothing of it");
}

#[test]
fn what_is_not_there_is_played_at_once_and_unknown_music_is_silence() {
    let (mut world, ..) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    world.command(Command::Play { leg: B, sound: SoundId(9) });
    world.command(Command::Play { leg: LegId(7), sound: TONE });
    assert_eq!(played(&mut world), 2);
    world.sent.clear();
    world.hear(B, Source::Music(SoundId(9)));
    world.pass(Duration::from_secs(1));
    assert_eq!(loudness(&decoded(&world.sent_to(B), Codec::Pcmu)), 0.0);
}

#[test]
fn it_plays_over_music_which_goes_on_behind_it_and_goes_along_with_no_leg() {
    let (mut world, ..) = World::bridged(Codec::Pcma, Codec::Pcma);
    world.hear(B, RAMP);
    world.sent.clear();
    world.pass(Duration::from_millis(90));
    world.command(Command::Play { leg: B, sound: TONE });
    world.pass(Duration::from_millis(900));
    let sent = world.sent_to(B);
    assert_continuous(&sent);
    let heard = decoded(&sent, Codec::Pcma);
    let last = heard[heard.len() - 1];
    assert!(
        (i32::from(last) + 8_000 - 8_000).abs() < 700,
        "after a second the ramp is at its middle: {last}"
    );
    assert_eq!(played(&mut world), 1);
}
