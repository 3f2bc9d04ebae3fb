//! What a callee says before anybody can hear it (field problem 10).

use super::*;
use crate::call::drops::DropCause;
use crate::control::Srtp;
use crate::sdp::{Crypto, Remote};
use crate::srtp::{Keys, Sender, Suite};
use types::limits::{EARLY_BYTES, EARLY_KEPT, EARLY_LEAD};

const STRANGER: &str = "192.0.2.66:6000";

/// A caller A, to whom nothing is said yet, and a callee B whose answer is still to come.
fn ringing(a: Codec, b: Codec) -> (World, Peer) {
    let mut world = World::new();
    world.answer(A, &[a], &offer(PEER_A, a));
    call(&mut world, LegParams { called: true, ..params(&[b]) });
    (world, Peer::new(B, PEER_B, b))
}

fn call(world: &mut World, params: LegParams) -> String {
    world.command(Command::Offer { leg: B, params });
    world.local_sdp(B)
}

fn answered(world: &mut World, codec: Codec) {
    world.command(Command::SetAnswer { leg: B, answer: offer(PEER_B, codec).into() });
}

fn bridge(world: &mut World) {
    world.hear(A, Source::Leg(B));
    world.hear(B, Source::Leg(A));
}

/// Payloads of frames that say which they are.
fn words(sent: &[Sent]) -> Vec<u8> {
    sent.iter().filter(|s| s.payload.len() == 160 && s.payload[1] == b'w').map(|s| s.payload[0]).collect()
}

/// A frame that says which it is.
fn word(peer: &mut Peer, number: u8) -> Vec<u8> {
    let mut payload = [b'w'; 160];
    payload[0] = number;
    let packet = peer.raw(peer.pt, false, peer.ts, &payload);
    peer.ts = peer.ts.wrapping_add(160);
    packet
}

fn say(world: &mut World, peer: &mut Peer, number: u8) {
    let packet = word(peer, number);
    world.rtp(B, peer.address, &packet);
}

fn dropped(world: &mut World, cause: DropCause) -> u64 {
    world.command(Command::Remove { leg: B });
    world.call.take_drops().counts().find(|(of, _)| *of == cause).unwrap().1
}

#[test]
fn what_comes_ahead_of_the_answer_is_heard_from_its_first_frame_in_order_and_in_time() {
    let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
    for n in 0..3 {
        say(&mut world, &mut b, n);
        world.pass(FRAME);
    }
    assert!(world.sent.is_empty(), "nobody has answered");
    answered(&mut world, Codec::Pcmu);
    say(&mut world, &mut b, 3);
    world.pass(Duration::from_millis(3));
    bridge(&mut world);
    assert_eq!(words(&world.sent_to(A)), [0, 1, 2, 3]);
    for n in 4..20 {
        world.pass(FRAME);
        say(&mut world, &mut b, n);
    }
    let sent = world.sent_to(A);
    assert_eq!(words(&sent), (0..20).collect::<Vec<u8>>());
    assert_continuous(&sent);
    assert!(sent.windows(2).all(|pair| pair[1].ts.wrapping_sub(pair[0].ts) == 160));
    let stats = world.stats(B);
    assert_eq!((stats.packets_in, stats.rejected, stats.lost, stats.late), (20, 0, 0, 0));
    assert!(stats.jitter_us < 5_000, "they count as they came: {} us of jitter", stats.jitter_us);
}

#[test]
fn the_first_frame_is_heard_through_every_pair_of_codecs() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            let (mut world, mut b) = ringing(to, from);
            for _ in 0..4 {
                b.say(&mut world);
            }
            answered(&mut world, from);
            bridge(&mut world);
            b.say_frames(&mut world, 20);
            let sent = world.sent_to(A);
            assert_continuous(&sent);
            let voiced = sent.iter().filter(|s| s.payload.len() != 4).count();
            assert!((24..=26).contains(&voiced), "{voiced} frames of 24 from {from:?} to {to:?}");
            // Their codecs' own delay is below 10 ms.
            let pcm = decoded(&sent[..2], to);
            assert!(loudness(&pcm) > 1_000.0, "{} from {from:?} to {to:?}", loudness(&pcm));
        }
    }
}

#[test]
fn what_was_said_long_before_the_answer_is_dropped_and_counted() {
    let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
    for n in 0..50 {
        say(&mut world, &mut b, n);
        world.pass(FRAME);
    }
    answered(&mut world, Codec::Pcmu);
    bridge(&mut world);
    let least = 50 - (EARLY_LEAD.as_millis() / 20) as u8;
    assert_eq!(words(&world.sent_to(A)), (least..50).collect::<Vec<u8>>());
    assert_eq!(dropped(&mut world, DropCause::TooEarly), u64::from(least));
}

#[test]
fn no_more_than_its_bound_is_kept_whatever_comes() {
    let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
    let flood = [0x80; 1_400];
    for _ in 0..1_000 {
        world.rtp(B, address(STRANGER), &flood);
    }
    // A stranger can at worst undo what keeping has gained.
    say(&mut world, &mut b, 0);
    answered(&mut world, Codec::Pcmu);
    bridge(&mut world);
    assert_eq!(words(&world.sent_to(A)), [0]);
    let kept = (EARLY_BYTES - 172) / flood.len();
    assert_eq!(dropped(&mut world, DropCause::TooEarly), 1_000 - kept as u64);
}

#[test]
fn strangers_are_told_from_the_callee_as_soon_as_the_answer_says_where_it_is() {
    // Field problem 36.
    let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
    let mut stranger = Peer::new(B, STRANGER, Codec::Pcmu);
    for n in 0..3 {
        say(&mut world, &mut stranger, 100 + n);
        say(&mut world, &mut b, n);
        world.pass(FRAME);
    }
    answered(&mut world, Codec::Pcmu);
    for _ in 0..200 {
        say(&mut world, &mut stranger, 200);
    }
    say(&mut world, &mut b, 3);
    bridge(&mut world);
    say(&mut world, &mut stranger, 201);
    assert_eq!(words(&world.sent_to(A)), [0, 1, 2, 3]);
    assert!(world.sent_to(B).iter().all(|s| s.to == b.address));
    assert_eq!(dropped(&mut world, DropCause::WrongSource), 3 + 200 + 1);
}

#[test]
fn a_callee_behind_nat_is_heard_from_its_first_frame_though_it_must_prove_itself() {
    for before in 0..4 {
        let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
        b.address = address("203.0.113.9:7777");
        for n in 0..before {
            say(&mut world, &mut b, n);
            world.pass(FRAME);
        }
        answered(&mut world, Codec::Pcmu);
        bridge(&mut world);
        for n in before..8 {
            say(&mut world, &mut b, n);
            world.pass(FRAME);
        }
        assert_eq!(words(&world.sent_to(A)), (0..8).collect::<Vec<u8>>(), "{before} before the answer");
        assert_eq!(dropped(&mut world, DropCause::WrongSource), 0);
    }
}

#[test]
fn an_encrypted_prompt_is_opened_once_its_key_is_known() {
    for suite in Suite::ALL {
        let mut world = World::new();
        world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
        let sdp =
            call(&mut world, LegParams { called: true, srtp: Srtp::Required, ..params(&[Codec::Pcmu]) });
        let remote = Remote::parse(sdp.as_bytes()).unwrap();
        let offered = remote.lines[0].crypto.iter().flatten().find(|c| c.keys.suite() == suite).unwrap();
        let keys = Keys::random(suite, &mut Seed(5));
        let (mut sender, mut forger) = (Sender::new(&keys), Sender::new(&Keys::random(suite, &mut Seed(6))));
        let mut b = Peer::new(B, PEER_B, Codec::Pcmu);
        let mut same = Peer::new(B, PEER_B, Codec::Pcmu);
        for n in 0..4 {
            let mut forged = word(&mut same, 100);
            forger.protect_rtp(&mut forged).unwrap();
            world.rtp(B, b.address, &forged);
            let mut packet = word(&mut b, n);
            sender.protect_rtp(&mut packet).unwrap();
            world.rtp(B, b.address, &packet);
            world.pass(FRAME);
        }
        let line = Crypto { tag: offered.tag, keys, mki: 0 }.to_line();
        let plain = offer(PEER_B, Codec::Pcmu).replace("RTP/AVP", "RTP/SAVP");
        world.command(Command::SetAnswer { leg: B, answer: format!("{plain}{line}").into() });
        bridge(&mut world);
        assert_eq!(words(&world.sent_to(A)), [0, 1, 2, 3], "{suite:?}");
        assert_eq!(dropped(&mut world, DropCause::NotAuthentic), 4, "{suite:?}");
    }
}

#[test]
fn a_callee_that_changes_its_ssrc_with_its_answer_stays_in_order() {
    let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
    for n in 0..4 {
        if n == 2 {
            (b.ssrc, b.seq, b.ts) = (0x7777, 9, 77);
        }
        say(&mut world, &mut b, n);
        world.pass(FRAME);
    }
    answered(&mut world, Codec::Pcmu);
    bridge(&mut world);
    for n in 4..8 {
        say(&mut world, &mut b, n);
        world.pass(FRAME);
    }
    let sent = world.sent_to(A);
    assert_eq!(words(&sent), (0..8).collect::<Vec<u8>>());
    assert_continuous(&sent);
}

#[test]
fn after_an_answer_nobody_is_waited_for_for_long() {
    let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
    answered(&mut world, Codec::Pcmu);
    let frames = (EARLY_KEPT.as_millis() / 20) as u8 + 5;
    for n in 0..frames {
        say(&mut world, &mut b, n);
        world.pass(FRAME);
    }
    bridge(&mut world);
    say(&mut world, &mut b, frames);
    assert_eq!(words(&world.sent_to(A)), [frames], "it goes on with what is said now");
    let stats = world.stats(B);
    assert_eq!((stats.packets_in, stats.rejected), (u64::from(frames) + 1, 0));
}

#[test]
fn what_a_caller_says_before_the_answer_is_never_heard() {
    let (mut world, _) = ringing(Codec::Pcmu, Codec::Pcmu);
    let mut a = Peer::new(A, PEER_A, Codec::Pcmu);
    for n in 0..50 {
        let packet = word(&mut a, n);
        world.rtp(A, a.address, &packet);
        world.pass(FRAME);
    }
    answered(&mut world, Codec::Pcmu);
    bridge(&mut world);
    for n in 50..55 {
        let packet = word(&mut a, n);
        world.rtp(A, a.address, &packet);
        world.pass(FRAME);
    }
    assert_eq!(words(&world.sent_to(B)), [50, 51, 52, 53, 54], "and from then on every frame is");
}

#[test]
fn a_digit_pressed_ahead_of_the_answer_is_told_once() {
    let (mut world, mut b) = ringing(Codec::Pcmu, Codec::Pcmu);
    let begin = b.ts;
    for duration in [160, 320, 480] {
        let packet = b.event(5, duration == 480, duration, begin);
        world.rtp(B, b.address, &packet);
        world.pass(FRAME);
    }
    answered(&mut world, Codec::Pcmu);
    bridge(&mut world);
    world.pass(Duration::from_millis(300));
    let digits = world.events.iter().filter(|e| matches!(e, Event::Dtmf { leg: B, digit: '5', .. }));
    assert_eq!(digits.count(), 1);
}
