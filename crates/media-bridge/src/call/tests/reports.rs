//! RTCP as descriptions ask for it: on RTP's port, in short, extended.

use super::*;
use crate::rtp::rtcp::{RtcpPacket, parse, write_report};
use crate::rtp::xr::{Dlrr, Extended, VoipMetrics, XrBlock, write_extended};

/// A trunk's offer with more lines.
fn asking(lines: &str) -> String {
    offer(PEER_B, Codec::Pcmu) + lines
}

/// A call between a PCMU phone and the trunk; our answer to the trunk.
fn with_trunk(offered: &str) -> (World, Peer, Peer, String) {
    let mut world = World::new();
    world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
    let answer = world.answer(B, &[Codec::Pcmu], offered);
    world.hear(A, Source::Leg(B));
    world.hear(B, Source::Leg(A));
    (world, Peer::new(A, PEER_A, Codec::Pcmu), Peer::new(B, PEER_B, Codec::Pcmu), answer)
}

/// Both speak for a while.
fn talk(world: &mut World, a: &mut Peer, b: &mut Peer, seconds: usize) {
    for _ in 0..50 * seconds {
        let packet = b.packet(160);
        world.rtp(b.leg, b.address, &packet);
        a.say(world);
    }
}

/// RFC 5761 §5.1.1: agreed in the answer; then reports go to RTP's port and none to the next one.
#[test]
fn an_offer_of_one_port_for_both_is_taken() {
    let (mut world, mut a, mut b, answer) = with_trunk(&asking("a=rtcp-mux\r\n"));
    assert!(answer.contains("a=rtcp-mux\r\n"), "{answer}");
    talk(&mut world, &mut a, &mut b, 6);
    let to_b: Vec<_> = world.multiplexed.iter().filter(|(leg, ..)| *leg == B).collect();
    assert!(to_b.iter().all(|(_, to, _)| *to == b.address) && !to_b.is_empty());
    assert!(world.rtcp.iter().all(|(leg, ..)| *leg == A), "the other leg's as ever");
}

/// RFC 5761 §4: a payload type that looks like RTCP stands against it.
#[test]
fn one_port_for_both_is_not_taken_with_payload_types_that_look_like_rtcp() {
    let offered = asking("a=rtcp-mux\r\n").replace("101", "72");
    let (_, _, _, answer) = with_trunk(&offered);
    assert!(!answer.contains("rtcp-mux"), "{answer}");
}

/// RFC 5506 §5: only under a profile with feedback.
#[test]
fn reports_in_short_are_agreed_under_avpf_alone() {
    let plain = asking("a=rtcp-rsize\r\n");
    assert!(!with_trunk(&plain).3.contains("rtcp-rsize"));
    assert!(with_trunk(&plain.replace("RTP/AVP", "RTP/AVPF")).3.contains("a=rtcp-rsize\r\n"));
}

#[test]
fn a_trunk_that_asks_gets_extended_reports_and_is_heard() {
    let (mut world, mut a, mut b, answer) =
        with_trunk(&asking("a=rtcp-xr:pkt-loss-rle rcvr-rtt=all:10000 stat-summary=loss voip-metrics\r\n"));
    assert!(answer.contains("a=rtcp-xr:rcvr-rtt=all voip-metrics\r\n"), "{answer}");
    talk(&mut world, &mut a, &mut b, 3);
    let ours = world.sent_to(B).last().unwrap().ssrc;
    // 50 ms before now we sent something that it answers; its own time is to be answered by us.
    let sent = (world.wall().ntp() >> 16) as u32 - 65_536 / 20;
    let voip = VoipMetrics { ssrc: ours, mos_lq: 40, mos_cq: 38, ..Default::default() };
    let dlrr = Some(Dlrr { ssrc: ours, lrr: sent, dlrr: 0 });
    let extended = Extended { reference_time: Some(0x1122_3344_5566_7788), dlrr, voip: Some(voip) };
    let mut data = Vec::new();
    write_report(&mut data, b.ssrc, None, None, "b");
    write_extended(&mut data, b.ssrc, &extended);
    world.rtcp_in(B, address("203.0.113.9:7001"), &data);
    world.rtcp.clear();
    talk(&mut world, &mut a, &mut b, 4);
    let (_, _, report) = world.rtcp.iter().find(|(leg, ..)| *leg == B).unwrap();
    let blocks = parse(report).filter_map(|packet| match packet {
        RtcpPacket::Extended { ssrc, block } => Some((ssrc, block)),
        _ => None,
    });
    let blocks: Vec<_> = blocks.collect();
    let [(by, XrBlock::ReferenceTime(_)), (_, XrBlock::Dlrr(mut answers)), (_, XrBlock::Voip(metrics))] =
        blocks[..]
    else {
        panic!("{blocks:?}")
    };
    assert_eq!(by, ours);
    let answered = answers.next().unwrap();
    assert_eq!((answered.ssrc, answered.lrr), (b.ssrc, 0x3344_5566));
    assert!((1 << 16..5 << 16).contains(&answered.dlrr), "{answered:?}");
    assert_eq!((metrics.ssrc, metrics.loss_rate), (b.ssrc, 0));
    assert!((49..=50).contains(&metrics.round_trip), "{metrics:?}");
    assert!(metrics.r_factor > 85 && metrics.mos_cq >= 43, "{metrics:?}");
    assert!(world.rtcp.iter().filter(|(leg, ..)| *leg == A).all(|(_, _, report)| parse(report).count() == 2));
    let stats = world.stats(B);
    assert_eq!(stats.mos_by_peer, Some(3.8));
    assert!((49_000..51_500).contains(&stats.rtt_us.unwrap()), "{stats:?}");
}

/// RFC 3611 §5.2: an answer may ask for metrics that we did not offer; a round trip both must agree to.
#[test]
fn an_answer_may_ask_for_metrics() {
    let mut world = World::new();
    world.command(Command::Offer { leg: B, params: params(&[Codec::Pcmu]) });
    let ours = world.local_sdp(B);
    assert!(!ours.contains("rtcp-xr") && !ours.contains("rtcp-mux"), "{ours}");
    let answer = asking("a=rtcp-mux\r\na=rtcp-xr:rcvr-rtt=all voip-metrics\r\n");
    world.command(Command::SetAnswer { leg: B, answer: answer.into() });
    world.hear(B, Source::Echo);
    let mut b = Peer::new(B, PEER_B, Codec::Pcmu);
    b.say_frames(&mut world, 300);
    let (_, to, report) = world.rtcp.first().unwrap();
    assert_eq!(*to, address("203.0.113.9:7001"));
    let extended = parse(report).filter(|p| matches!(p, RtcpPacket::Extended { .. })).count();
    assert_eq!(extended, 1, "the metrics alone");
}
