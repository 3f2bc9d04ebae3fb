//! Effort of encoders by load: seen from outside in the bitrate, which keeps FEC alive at complexity 0.

use super::*;
use crate::codec::opus_packet;
use crate::effort::Effort;

const HASTE: Effort = Effort { least: 0, most: 0 };

/// Mean bytes of a payload, of a second that leg A is spoken to.
fn size(world: &mut World, from: &mut Peer) -> usize {
    from.say_frames(world, 10);
    let before = world.sent_to(A).len();
    from.say_frames(world, 50);
    let sent = &world.sent_to(A)[before..];
    assert!(sent.iter().filter(|s| opus_packet::has_fec(&s.payload)).count() > 25, "redundancy goes on");
    sent.iter().map(|s| s.payload.len()).sum::<usize>() / sent.len()
}

#[test]
fn a_running_stream_gives_way_and_comes_back_without_a_gap() {
    let (mut world, _, mut phone) = World::bridged(Codec::Opus, Codec::Pcmu);
    let usual = size(&mut world, &mut phone);
    world.call.set_effort(HASTE);
    let hasty = size(&mut world, &mut phone);
    assert!(hasty > usual + 3, "{usual} {hasty}");
    world.call.set_effort(Effort { least: 0, most: 5 });
    assert_eq!(
        size(&mut world, &mut phone).abs_diff(hasty),
        0,
        "who has given way stays so until least rises"
    );
    world.call.set_effort(Effort::default());
    assert!(size(&mut world, &mut phone).abs_diff(usual) <= 1);
    assert_continuous(&world.sent_to(A));
}

#[test]
fn a_new_encoder_begins_with_the_effort_of_its_call() {
    let (mut world, _, mut phone) = World::bridged(Codec::Opus, Codec::Pcmu);
    let usual = size(&mut world, &mut phone);
    let (mut world, _, mut phone) = World::bridged(Codec::Opus, Codec::Pcmu);
    world.call.set_effort(Effort { least: 0, most: 5 });
    let hasty = size(&mut world, &mut phone);
    assert!(hasty > usual + 3, "{usual} {hasty}");
}

#[test]
fn a_leg_that_changes_calls_takes_over_the_effort_of_its_new_one() {
    let (mut old, _, mut phone) = World::bridged(Codec::Opus, Codec::Pcmu);
    let usual = size(&mut old, &mut phone);
    let (mut new, _, mut other) = World::bridged_with(8, Codec::Pcmu, Codec::Pcmu);
    let later = old.now - new.now;
    new.pass(later);
    new.call.set_effort(HASTE);
    new.command(Command::Remove { leg: A });
    let given = old.call.give(A, old.now).unwrap();
    new.call.adopt(given, A, new.now);
    new.hear(A, Source::Leg(B));
    let hasty = size(&mut new, &mut other);
    assert!(hasty > usual + 3, "{usual} {hasty}");
}
