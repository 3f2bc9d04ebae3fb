//! What the counters say of how it sounds.

use super::*;
use crate::quality::{Cause, Moment};
use crate::rtp::rtcp::{ReportBlock, write_report};

/// The moments of a leg, in order.
fn moments(world: &World, leg: LegId) -> Vec<Moment> {
    let of = |e: &Event| match e {
        Event::Stats { leg: l, stats } if *l == leg => stats.moment,
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

/// `peer` speaks for five seconds; every `nth` packet is lost on the way.
fn speak(world: &mut World, peer: &mut Peer, nth: usize) {
    for n in 1..=250 {
        let packet = peer.packet(160);
        if nth == 0 || n % nth != 0 {
            world.rtp(peer.leg, peer.address, &packet);
        }
        world.pass(FRAME);
    }
}

#[test]
fn every_five_seconds_have_a_score_and_the_worst_is_kept_with_its_reason() {
    let (mut world, mut a, _) = World::bridged(Codec::Opus, Codec::Pcmu);
    for nth in [0, 10, 0] {
        speak(&mut world, &mut a, nth);
    }
    let of_a = moments(&world, A);
    assert_eq!((of_a.len(), of_a[0].cause, of_a[2].cause), (3, None, None));
    assert!(of_a[0].mos > 4.3 && of_a[1].mos < 4.1 && of_a[2].mos > 4.25, "{of_a:?}");
    let Some(Cause::LostFrom(share)) = of_a[1].cause else { panic!("{of_a:?}") };
    assert!((0.08..0.12).contains(&share), "{share}");
    assert!(moments(&world, B).is_empty(), "nothing came from there and nothing was reported");
    let quality = world.stats(A).quality.unwrap();
    assert_eq!((quality.moments, quality.worst.mos, quality.worst.cause), (3, of_a[1].mos, of_a[1].cause));
    let at = quality.worst.at.0 - 1_700_000_000_000_000;
    assert!((9_500_000..10_500_000).contains(&at), "{at}");
}

#[test]
fn what_the_listener_reports_counts_on_its_leg() {
    let (mut world, mut a, b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    for (second, fraction_lost) in [(0, 0), (1, 26)] {
        speak(&mut world, &mut a, 0);
        let ours = world.sent_to(B).last().unwrap().ssrc;
        let highest = 1_000 + 250 * second;
        let block = ReportBlock { ssrc: ours, fraction_lost, highest, ..Default::default() };
        let mut data = Vec::new();
        write_report(&mut data, b.ssrc, None, Some(block), "b");
        world.rtcp_in(B, address("203.0.113.9:7001"), &data);
    }
    speak(&mut world, &mut a, 0);
    let of_b = moments(&world, B);
    let [Moment { cause: Some(Cause::LostTo(share)), loss_in: None, .. }] = of_b[..] else {
        panic!("{of_b:?}")
    };
    assert!((0.09..0.11).contains(&share), "{share}");
    assert!(moments(&world, A).iter().all(|m| m.cause.is_none()));
}

/// RFC 6716 §2.1.7: redundancy is worth its bits by the loss that is expected; never less than 10 %.
#[test]
fn opus_counts_on_the_loss_that_its_listener_reports() {
    for (reported, expected) in [([0, 10, 0], 10), ([0, 64, 0], 25)] {
        let (mut world, mut a, b) = World::bridged(Codec::Pcmu, Codec::Opus);
        for fraction_lost in reported {
            speak(&mut world, &mut a, 0);
            let ours = world.sent_to(B).last().unwrap().ssrc;
            let block = ReportBlock { ssrc: ours, fraction_lost, ..Default::default() };
            let mut data = Vec::new();
            write_report(&mut data, b.ssrc, None, Some(block), "b");
            world.rtcp_in(B, address("203.0.113.9:7001"), &data);
        }
        assert_eq!(world.stats(B).expected_loss, Some(expected), "the most so far");
        assert_eq!(world.stats(A).expected_loss, None, "PCMU counts on nothing");
    }
}

/// A G.722 phone that talks to a G.711 phone is judged by what both have: 3.4 kHz.
#[test]
fn the_narrower_side_decides_on_the_scale() {
    let score = |other: Codec| {
        let (mut world, mut a, _) = World::bridged(Codec::G722, other);
        speak(&mut world, &mut a, 0);
        world.stats(A).quality.unwrap().mean
    };
    let (narrow, wide) = (score(Codec::Pcma), score(Codec::G722));
    assert!(narrow > 4.35 && (4.25..4.35).contains(&wide), "{narrow} {wide}");
}
