//! IPv4 and IPv6 on one leg (RFC 8866 §5.7, RFC 6157 §4).

use super::*;
use crate::call::PortNeed;
use crate::control::{Direction, Refusal};

const PEER_V6: &str = "[2001:db8::6]:6000";
const OURS_V6: &str = "[2001:db8::1]:30000";

fn in_ipv6(description: &str) -> String {
    description.replace("IN IP4 198.51.100.1", "IN IP6 2001:db8::6")
}

fn offer_v6() -> String {
    in_ipv6(&offer(PEER_A, Codec::Pcmu))
}

/// Does a command for which a pair of this address was leased, if it needs one.
fn with_pair(world: &mut World, command: Command, ours: &str) {
    let pair = world.call.needs_port(&command).map(|_| address(ours));
    world.call.handle_command(command, pair, world.now, world.wall());
    world.drain();
}

fn answer_with(world: &mut World, offer: String, ours: &str) -> String {
    let command = Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: offer.into() };
    with_pair(world, command, ours);
    world.local_sdp(A)
}

fn why(world: &mut World) -> Refusal {
    match world.events.pop() {
        Some(Event::Refused { why, .. }) => why,
        other => panic!("not refused but {other:?}"),
    }
}

/// A leg over IPv6 that hears one over IPv4.
fn mixed() -> (World, Peer, Peer, String) {
    let mut world = World::new();
    let sdp = answer_with(&mut world, offer_v6(), OURS_V6);
    world.answer(B, &[Codec::Pcmu], &offer(PEER_B, Codec::Pcmu));
    world.hear(A, Source::Leg(B));
    world.hear(B, Source::Leg(A));
    (world, Peer::new(A, PEER_V6, Codec::Pcmu), Peer::new(B, PEER_B, Codec::Pcmu), sdp)
}

#[test]
fn an_ipv6_offer_is_answered_in_ipv6_and_bridged_to_ipv4() {
    let (mut world, mut a, mut b, sdp) = mixed();
    assert!(sdp.contains("IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\n"), "{sdp}");
    assert!(sdp.contains("m=audio 30000 RTP/AVP 0 101\r\n"), "{sdp}");
    for _ in 0..10 {
        a.say(&mut world);
        b.say(&mut world);
    }
    assert!(world.sent_to(A).len() >= 10 && world.sent_to(A).iter().all(|s| s.to == address(PEER_V6)));
    assert!(world.sent_to(B).len() >= 10 && world.sent_to(B).iter().all(|s| s.to == address(PEER_B)));
}

#[test]
fn the_description_says_which_family_a_new_leg_needs_before_it_is_read() {
    let world = World::new();
    let need = |offer: String| {
        let command = Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: offer.into() };
        world.call.needs_port(&command)
    };
    let at = |ip: &str| Some(PortNeed::First { peer: Some(ip.parse().unwrap()) });
    assert_eq!(need(offer_v6()), at("2001:db8::6"));
    assert_eq!(need(offer(PEER_A, Codec::Pcmu)), at("198.51.100.1"));
    assert_eq!(need(offer_v6().replace("2001:db8::6", "::")), Some(PortNeed::First { peer: None }));
    let command = Command::Offer { leg: A, params: params(&[Codec::Pcmu]) };
    assert_eq!(world.call.needs_port(&command), Some(PortNeed::First { peer: None }));
}

#[test]
fn a_reoffer_from_the_other_family_is_answered_from_a_socket_of_that_family_and_back_again() {
    let (mut world, _, mut b, _) = mixed();
    let moved = offer(PEER_A, Codec::Pcmu);
    let command = Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: moved.clone().into() };
    let need = PortNeed::OtherFamily { leg: A, peer: address(PEER_A).ip() };
    assert_eq!(world.call.needs_port(&command), Some(need));
    let sdp = answer_with(&mut world, moved, "192.0.2.2:30002");
    assert!(sdp.contains("c=IN IP4 192.0.2.2\r\n") && sdp.contains("m=audio 30002 "), "{sdp}");
    world.sent.clear();
    b.say_frames(&mut world, 5);
    assert!(world.sent_to(A).len() >= 5 && world.sent_to(A).iter().all(|s| s.to == address(PEER_A)));
    let back = Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: offer_v6().into() };
    assert_eq!(world.call.needs_port(&back), None, "both pairs are there");
    let sdp = answer_with(&mut world, offer_v6(), "unused");
    assert!(sdp.contains("c=IN IP6 2001:db8::1\r\n") && sdp.contains("m=audio 30000 "), "{sdp}");
}

#[test]
fn an_answer_from_the_other_family_is_spoken_to_from_a_socket_of_that_family() {
    let mut world = World::new();
    with_pair(&mut world, Command::Offer { leg: A, params: params(&[Codec::Pcmu]) }, OURS_V6);
    assert!(world.local_sdp(A).contains("c=IN IP6 2001:db8::1\r\n"));
    let answer = offer(PEER_A, Codec::Pcmu);
    with_pair(&mut world, Command::SetAnswer { leg: A, answer: answer.into() }, "192.0.2.2:30002");
    assert!(matches!(world.events.pop(), Some(Event::Negotiated { .. })));
    world.hear(A, Source::Tone(crate::control::Tone::Ringback));
    world.pass(FRAME * 5);
    assert!(world.sent_to(A).len() >= 5 && world.sent_to(A).iter().all(|s| s.to == address(PEER_A)));
}

#[test]
fn a_family_that_we_have_not_is_refused_in_words_and_the_session_stays() {
    let (mut world, _, mut b, _) = mixed();
    let command =
        Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: offer(PEER_A, Codec::Pcmu).into() };
    // No pair was leased.
    world.call.handle_command(command, None, world.now, world.wall());
    world.drain();
    let Refusal::Unusable(words) = why(&mut world) else { panic!("another reason") };
    assert!(words.contains("family"), "{words}");
    world.sent.clear();
    b.say_frames(&mut world, 5);
    assert!(world.sent_to(A).len() >= 5 && world.sent_to(A).iter().all(|s| s.to == address(PEER_V6)));
}

#[test]
fn hold_by_a_null_ipv6_address_or_an_invalid_name_stops_our_media() {
    // RFC 3264 §8.4, RFC 3725: IPv6 has two ways to say c=0.0.0.0.
    let (mut world, _, mut b, _) = mixed();
    for null in ["IN IP6 ::", "IN IP6 hold.invalid", "IN IP4 0.0.0.0"] {
        let held = offer_v6().replace("c=IN IP6 2001:db8::6", &format!("c={null}"));
        let sdp = answer_with(&mut world, held, "unused");
        assert!(sdp.contains("a=recvonly\r\n") && sdp.contains("c=IN IP6 2001:db8::1\r\n"), "{sdp}");
        let told = Event::Direction { leg: A, direction: Direction::SendOnly };
        assert_eq!(world.events.pop(), Some(told));
        let before = world.sent_to(A).len();
        b.say_frames(&mut world, 20);
        assert_eq!(world.sent_to(A).len(), before, "{null}");
        answer_with(&mut world, offer_v6(), "unused");
        b.say_frames(&mut world, 5);
        assert!(world.sent_to(A).len() >= before + 5, "{null}");
    }
}

#[test]
fn an_address_that_only_its_own_wire_reaches_is_refused_in_words() {
    for (ip, words) in [("fe80::1", "link-local"), ("fe80::1%eth0", "zone")] {
        let mut world = World::new();
        let offer = offer_v6().replace("2001:db8::6", ip);
        let command = Command::Answer { leg: A, params: params(&[Codec::Pcmu]), offer: offer.into() };
        with_pair(&mut world, command, OURS_V6);
        let Refusal::Unusable(said) = why(&mut world) else { panic!("another reason") };
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn each_family_is_advertised_by_an_address_of_its_own() {
    let mut world = World::new();
    let mut params = params(&[Codec::Pcmu]);
    params.advertise =
        Advertised { v4: Some([203, 0, 113, 5].into()), v6: Some("2001:db8:5::5".parse().unwrap()) };
    let command = Command::Answer { leg: A, params: params.clone(), offer: offer_v6().into() };
    with_pair(&mut world, command, OURS_V6);
    assert!(world.local_sdp(A).contains("c=IN IP6 2001:db8:5::5\r\n"));
    let offer = offer(PEER_A, Codec::Pcmu);
    with_pair(&mut world, Command::Answer { leg: A, params, offer: offer.into() }, "192.0.2.2:30002");
    assert!(world.local_sdp(A).contains("c=IN IP4 203.0.113.5\r\n"));
}
