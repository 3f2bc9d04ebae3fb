use super::*;

const ATTACKER: &str = "192.0.2.66:6000";

/// An off-path sender with guessed SSRC, sequence and payload type: the peer's very next packets from elsewhere.
fn attack(world: &mut World, peer: &mut Peer) {
    let (seq, ts) = (peer.seq, peer.ts);
    for _ in 0..20 {
        let forged = peer.packet(160);
        world.rtp(A, address(ATTACKER), &forged);
    }
    let mut rtcp = Vec::new();
    crate::rtp::rtcp::write_report(&mut rtcp, peer.ssrc, None, None, "x");
    world.rtcp_in(A, address("192.0.2.66:6001"), &rtcp);
    world.drain();
    (peer.seq, peer.ts) = (seq, ts);
}

#[test]
fn an_attacker_gets_neither_audio_in_nor_rtp_out_before_during_and_after_latching() {
    // Field problem 36.
    let (mut world, mut a, mut b) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    attack(&mut world, &mut a);
    assert!(world.sent_to(B).is_empty(), "before");
    b.say_frames(&mut world, 3);
    assert!(world.sent_to(A).iter().all(|s| s.to == a.address));
    // The peer itself is behind a NAT that changed its port: three packets in sequence are needed.
    a.address = address("198.51.100.1:6001");
    for _ in 0..3 {
        attack(&mut world, &mut a);
        let heard = world.sent_to(B).len();
        let packet = a.packet(160);
        world.rtp(A, a.address, &packet);
        assert!(world.sent_to(B).len() <= heard + 1, "during");
    }
    // What fills the gap after it resembles it, but is not it.
    let came = world.sent_to(B);
    let first = came.iter().position(|s| loudness(&decoded(std::slice::from_ref(s), Codec::Pcmu)) > 1_000.0);
    assert_eq!(came.len() - first.unwrap(), 1);
    world.sent.clear();
    attack(&mut world, &mut a);
    assert!(world.sent_to(B).is_empty(), "after");
    a.say(&mut world);
    b.say(&mut world);
    assert!(world.sent_to(A).iter().all(|s| s.to == a.address), "ours goes where the peer is");
    assert!(world.rtcp.iter().all(|(_, to, _)| to.ip() != address(ATTACKER).ip()));
    assert!(world.stats(A).rejected >= 20 * 5);
}

#[test]
fn the_first_packet_is_told_once() {
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    attack(&mut world, &mut a);
    let connected = |w: &World| w.events.iter().filter(|e| **e == Event::Connected { leg: A }).count();
    assert_eq!(connected(&world), 0);
    a.say_frames(&mut world, 3);
    assert_eq!(connected(&world), 1);
}

#[test]
fn a_peer_that_promised_media_and_stays_silent_is_named_once_per_silence() {
    // Field problem 1.
    let (mut world, mut a, _) = World::bridged(Codec::Pcmu, Codec::Pcmu);
    let silent = |w: &World| -> Vec<String> {
        let of = |e: &Event| match e {
            Event::Silent { leg: A, expected } => Some(expected.clone()),
            _ => None,
        };
        w.events.iter().filter_map(of).collect()
    };
    world.pass(Duration::from_millis(2_900));
    assert!(silent(&world).is_empty());
    world.pass(Duration::from_secs(10));
    assert_eq!(silent(&world), [PEER_A]);
    a.say_frames(&mut world, 10);
    world.pass(Duration::from_secs(10));
    assert_eq!(silent(&world).len(), 2);
}

#[test]
fn a_held_peer_is_not_called_silent() {
    // Field problem 18.
    let mut world = World::new();
    world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu).replace("sendrecv", "recvonly"));
    world.pass(Duration::from_secs(60));
    assert!(!world.events.iter().any(|e| matches!(e, Event::Silent { .. })));
}
