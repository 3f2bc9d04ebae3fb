//! SRTP by keys in the descriptions: RFC 4568, RFC 3711, RFC 7714, RFC 8643.

use super::*;
use crate::control::{Refusal, Srtp};
use crate::sdp::{Crypto, Remote};
use crate::srtp::{Keys, Receiver, Sender, Suite};

/// A scripted peer with a key.
struct Phone {
    peer: Peer,
    keys: Keys,
    sender: Sender,
}

impl Phone {
    fn new(leg: LegId, at: &str, suite: Suite, seed: u64) -> Phone {
        let keys = Keys::random(suite, &mut Seed(seed));
        Phone { peer: Peer::new(leg, at, Codec::Pcmu), sender: Sender::new(&keys), keys }
    }

    fn change_key(&mut self, seed: u64) {
        self.keys = Keys::random(self.keys.suite(), &mut Seed(seed));
        self.sender = Sender::new(&self.keys);
    }

    fn packet(&mut self) -> Vec<u8> {
        let mut packet = self.peer.packet(160);
        self.sender.protect_rtp(&mut packet).unwrap();
        packet
    }

    fn say(&mut self, world: &mut World) {
        let packet = self.packet();
        world.rtp(self.peer.leg, self.peer.address, &packet);
        world.pass(FRAME);
    }

    /// Its description, as RTP/SAVP.
    fn sdp(&self, tag: u32) -> String {
        let plain = offer(&self.peer.address.to_string(), Codec::Pcmu).replace("RTP/AVP", "RTP/SAVP");
        format!("{plain}{}", line(tag, &self.keys))
    }
}

fn line(tag: u32, keys: &Keys) -> String {
    Crypto { tag, keys: keys.clone(), mki: 0 }.to_line()
}

fn with(srtp: Srtp) -> LegParams {
    LegParams { srtp, ..params(&[Codec::Pcmu]) }
}

fn crypto(sdp: &str) -> Vec<Crypto> {
    let remote = Remote::parse(sdp.as_bytes()).unwrap();
    remote.lines[0].crypto.iter().map(|c| c.clone().unwrap()).collect()
}

fn version(sdp: &str) -> u64 {
    sdp.lines().find(|l| l.starts_with("o=")).unwrap().split(' ').nth(2).unwrap().parse().unwrap()
}

fn words(world: &mut World) -> String {
    match world.events.pop() {
        Some(Event::Refused { why: Refusal::Srtp(words), .. }) => words,
        other => panic!("not refused for its encryption but {other:?}"),
    }
}

fn answered(world: &mut World, srtp: Srtp, offer: &str) -> String {
    world.command(Command::Answer { leg: A, params: with(srtp), offer: offer.into() });
    world.local_sdp(A)
}

/// What the peer of a leg hears with this key, from the packet after `skip` on; every packet must open.
fn heard(world: &World, leg: LegId, keys: &Keys, skip: usize) -> Vec<Sent> {
    let mut receiver = Receiver::new(keys, 0);
    let open = |sent: Sent| {
        let mut raw = sent.raw.clone();
        let length = receiver.unprotect_rtp(&mut raw).unwrap_or_else(|e| panic!("{e:?} at {}", sent.seq));
        let packet = RtpPacket::parse(&raw[..length]).unwrap();
        Sent { payload: packet.payload.to_vec(), ..sent }
    };
    world.sent_to(leg).into_iter().skip(skip).map(open).collect()
}

/// An encrypted leg A bridged with a plain leg B.
fn bridged(suite: Suite) -> (World, Phone, Peer, String) {
    let mut world = World::new();
    let phone = Phone::new(A, PEER_A, suite, 1);
    let sdp = answered(&mut world, Srtp::Optional, &phone.sdp(7));
    world.answer(B, &[Codec::Pcmu], &offer(PEER_B, Codec::Pcmu));
    world.hear(A, Source::Leg(B));
    world.hear(B, Source::Leg(A));
    (world, phone, Peer::new(B, PEER_B, Codec::Pcmu), sdp)
}

#[test]
fn an_encrypted_offer_is_answered_with_its_tag_and_a_key_of_ours_and_speech_passes_both_ways() {
    // RFC 4568 §5.1.2; RFC 7714 §14.2.
    for suite in Suite::ALL {
        let (mut world, mut phone, mut b, sdp) = bridged(suite);
        let ours = crypto(&sdp);
        assert!(sdp.contains("m=audio 20000 RTP/SAVP 0 101\r\n"), "{sdp}");
        assert_eq!((ours.len(), ours[0].tag, ours[0].keys.suite()), (1, 7, suite));
        assert_ne!(ours[0].keys, phone.keys);
        for _ in 0..50 {
            phone.say(&mut world);
            b.say(&mut world);
        }
        let (at_a, at_b) = (heard(&world, A, &ours[0].keys, 0), world.sent_to(B));
        assert_continuous(&at_a);
        assert_continuous(&at_b);
        for (sent, least) in [(at_a, 48), (at_b, 48)] {
            assert!(sent.len() >= least, "{} packets", sent.len());
            assert!(loudness(&decoded(&sent, Codec::Pcmu)) > 1_000.0);
        }
        assert_eq!(world.stats(A).rejected, 0);
    }
}

#[test]
fn the_best_suite_is_taken_whatever_the_order_of_the_offer() {
    let mut world = World::new();
    let phone = Phone::new(A, PEER_A, Suite::AesCm128HmacSha1_32, 1);
    let key = |suite| Keys::random(suite, &mut Seed(9));
    let more = format!(
        "{}a=crypto:3 AES_192_CM_HMAC_SHA1_80 inline:x\r\n{}{}",
        phone.sdp(1),
        line(4, &key(Suite::AesCm128HmacSha1_80)),
        line(5, &key(Suite::AeadAes128Gcm)),
    );
    let ours = crypto(&answered(&mut world, Srtp::Required, &more));
    assert_eq!((ours.len(), ours[0].tag, ours[0].keys.suite()), (1, 5, Suite::AeadAes128Gcm));
}

#[test]
fn what_is_not_encrypted_with_the_key_is_not_heard_and_moves_nothing() {
    let (mut world, mut phone, _, _) = bridged(Suite::AesCm128HmacSha1_80);
    let mut stranger = Phone::new(A, PEER_A, Suite::AesCm128HmacSha1_80, 99);
    for _ in 0..5 {
        let plain = stranger.peer.packet(160);
        world.rtp(A, address(PEER_A), &plain);
        stranger.say(&mut world);
    }
    assert!(
        world.sent_to(B).iter().all(|s| loudness(&decoded(std::slice::from_ref(s), Codec::Pcmu)) < 100.0),
        "silence only"
    );
    let again = phone.packet();
    world.rtp(A, address(PEER_A), &again);
    let before = world.sent_to(B).len();
    world.rtp(A, address(PEER_A), &again);
    assert_eq!(world.sent_to(B).len(), before, "a replayed packet (RFC 3711 §3.3.2)");
    assert_eq!(world.stats(A).rejected, 11);
}

#[test]
fn the_same_key_again_keeps_ours_and_a_new_one_changes_it() {
    // RFC 4568 §7.1.4: hold and resume within one key; RFC 3264 §8: the version.
    let (mut world, mut phone, mut b, first) = bridged(Suite::AesCm128HmacSha1_80);
    phone.say(&mut world);
    assert_eq!(answered(&mut world, Srtp::Optional, &phone.sdp(7)), first);
    let held = answered(&mut world, Srtp::Optional, &phone.sdp(7).replace("sendrecv", "sendonly"));
    assert_eq!(version(&held), version(&first) + 1);
    assert_eq!(crypto(&held), crypto(&first));
    let resumed = answered(&mut world, Srtp::Optional, &phone.sdp(8));
    assert_eq!((crypto(&resumed)[0].tag, &crypto(&resumed)[0].keys), (8, &crypto(&first)[0].keys));
    b.say(&mut world);
    heard(&world, A, &crypto(&first)[0].keys, 0);
    phone.say(&mut world);
    let (spoken, late) = (world.sent_to(A).len(), phone.packet());
    phone.change_key(2);
    let renewed = answered(&mut world, Srtp::Optional, &phone.sdp(1));
    assert_ne!(crypto(&renewed)[0].keys, crypto(&first)[0].keys);
    b.say(&mut world);
    assert!(!heard(&world, A, &crypto(&renewed)[0].keys, spoken).is_empty());
    let before = world.sent_to(B).len();
    world.rtp(A, address(PEER_A), &late);
    assert_eq!(world.sent_to(B).len(), before + 1, "a packet that was under way when the key changed");
    phone.say(&mut world);
    assert!(world.sent_to(B).len() > before + 1);
    assert_eq!(world.stats(A).rejected, 0);
}

#[test]
fn keys_that_are_offered_late_are_those_in_use() {
    // A re-INVITE without offer: RFC 4568 §7.1.4, RFC 3261 §14.2.
    let (mut world, mut phone, mut b, first) = bridged(Suite::AeadAes256Gcm);
    phone.say(&mut world);
    b.say(&mut world);
    world.command(Command::Offer { leg: A, params: with(Srtp::Optional) });
    let offered = world.local_sdp(A);
    assert!(offered.contains("RTP/SAVP"), "{offered}");
    assert_eq!(crypto(&offered), crypto(&first));
    world.command(Command::SetAnswer { leg: A, answer: phone.sdp(7).into() });
    assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: A, codec: Codec::Pcmu }));
    phone.say(&mut world);
    b.say(&mut world);
    heard(&world, A, &crypto(&first)[0].keys, 0);
    assert_eq!(world.stats(A).rejected, 0);
}

/// Our offer on leg B, which hears leg A.
fn offered(srtp: Srtp) -> (World, String) {
    let mut world = World::new();
    world.answer(A, &[Codec::Pcmu], &offer(PEER_A, Codec::Pcmu));
    world.command(Command::Offer { leg: B, params: with(srtp) });
    let sdp = world.local_sdp(B);
    world.hear(B, Source::Leg(A));
    (world, sdp)
}

fn take(world: &mut World, answer: &str) {
    world.command(Command::SetAnswer { leg: B, answer: answer.into() });
}

#[test]
fn a_required_offer_is_savp_with_every_suite_and_the_answer_has_to_take_one() {
    let (mut world, sdp) = offered(Srtp::Required);
    let ours = crypto(&sdp);
    assert!(sdp.contains("m=audio 20002 RTP/SAVP 0 101\r\n"), "{sdp}");
    assert_eq!(ours.iter().map(|c| c.keys.suite()).collect::<Vec<_>>(), Suite::ALL);
    let phone = Phone::new(B, PEER_B, Suite::AesCm128HmacSha1_80, 5);
    take(&mut world, &offer(PEER_B, Codec::Pcmu));
    let said = words(&mut world);
    assert!(said.contains("srtp is \"required\" here: use RTP/SAVP with a=crypto there"), "{said}");
    // A tag of another line's suite.
    take(&mut world, &phone.sdp(1));
    assert!(words(&mut world).contains("takes up none that was offered"));
    take(&mut world, &phone.sdp(3));
    assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: B, codec: Codec::Pcmu }));
    let mut a = Peer::new(A, PEER_A, Codec::Pcmu);
    a.say_frames(&mut world, 5);
    assert!(heard(&world, B, &ours[2].keys, 0).len() >= 5);
}

#[test]
fn an_optional_offer_goes_on_plain_or_encrypted_as_the_answer_says() {
    // RFC 8643 §3.
    let phone = Phone::new(B, PEER_B, Suite::AesCm128HmacSha1_32, 5);
    let plain = offer(PEER_B, Codec::Pcmu);
    // Some answer RTP/AVP with RTP/SAVP, which the specification of Microsoft's phones says.
    for answer in [phone.sdp(4).replace("RTP/SAVP", "RTP/AVP"), phone.sdp(4), plain.clone()] {
        let (mut world, sdp) = offered(Srtp::Optional);
        assert!(sdp.contains("m=audio 20002 RTP/AVP 0 101\r\n") && crypto(&sdp).len() == 4, "{sdp}");
        take(&mut world, &answer);
        assert_eq!(world.events.pop(), Some(Event::Negotiated { leg: B, codec: Codec::Pcmu }));
        let mut a = Peer::new(A, PEER_A, Codec::Pcmu);
        a.say_frames(&mut world, 5);
        if answer == plain {
            assert!(world.sent_to(B).iter().all(|s| s.payload.len() == 160));
            world.command(Command::Offer { leg: B, params: with(Srtp::Optional) });
            assert!(crypto(&world.local_sdp(B)).is_empty(), "what runs plain goes on plain");
        } else {
            assert!(heard(&world, B, &crypto(&sdp)[3].keys, 0).len() >= 5);
        }
    }
}

#[test]
fn whoever_must_not_or_must_encrypt_is_told_what_to_change() {
    let mut world = World::new();
    let encrypted = Phone::new(A, PEER_A, Suite::AesCm128HmacSha1_80, 1).sdp(1);
    let plain = offer(PEER_A, Codec::Pcmu);
    let strange = plain.replace("RTP/AVP", "RTP/SAVP") + "a=crypto:1 F8_128_HMAC_SHA1_80 inline:abcd\r\n";
    for (srtp, text, said) in [
        (
            Srtp::Off,
            &encrypted,
            "srtp is \"off\" here: use RTP/AVP there, or srtp = \"optional\" in the gateway",
        ),
        (
            Srtp::Required,
            &plain,
            "srtp is \"required\" here: use RTP/SAVP with a=crypto there, or srtp = \"optional\"",
        ),
        (
            Srtp::Required,
            &strange,
            "no SRTP suite in common: F8_128_HMAC_SHA1_80 is not spoken here; here are AEAD",
        ),
        (
            Srtp::IfOffered,
            &plain.replace("RTP/AVP", "RTP/SAVPF"),
            "(RTP/SAVPF) and it has no a=crypto with the key",
        ),
    ] {
        world.command(Command::Answer { leg: A, params: with(srtp), offer: text.as_str().into() });
        let words = words(&mut world);
        assert!(words.contains(said), "{words}");
    }
    for srtp in [Srtp::Off, Srtp::IfOffered, Srtp::Optional] {
        let mut world = World::new();
        assert!(crypto(&answered(&mut world, srtp, &plain)).is_empty());
        let opportunistic = encrypted.replace("RTP/SAVP", "RTP/AVP");
        let answer = answered(&mut World::new(), srtp, &opportunistic);
        assert_eq!(
            (answer.contains("RTP/AVP"), crypto(&answer).len()),
            (true, usize::from(srtp != Srtp::Off))
        );
        // janus#214: alternatives of one stream; the one that encrypts where both may be.
        let both = plain.clone()
            + "m=audio 6002 RTP/SAVP 0\r\n"
            + &line(1, &Keys::random(Suite::AeadAes128Gcm, &mut Seed(3)));
        let answer = answered(&mut World::new(), srtp, &both);
        let taken = if srtp == Srtp::Off { "m=audio 20000 RTP/AVP" } else { "m=audio 20000 RTP/SAVP" };
        assert!(answer.contains(taken), "{answer}");
    }
}

#[test]
fn packets_with_a_master_key_identifier_are_read() {
    // RFC 3711 §3.1, RFC 7714 §8.2.
    for (suite, tag) in
        [(Suite::AesCm128HmacSha1_80, 10), (Suite::AesCm128HmacSha1_32, 4), (Suite::AeadAes128Gcm, 0)]
    {
        let (mut world, mut phone, _, _) = bridged(suite);
        let text = phone.sdp(1);
        let text = text.trim_end().to_owned() + "|2^31|1:4\r\n";
        answered(&mut world, Srtp::Optional, &text);
        for _ in 0..5 {
            let mut packet = phone.packet();
            let at = packet.len() - tag;
            packet.splice(at..at, [0, 0, 0, 1]);
            world.rtp(A, address(PEER_A), &packet);
            world.pass(FRAME);
        }
        world.rtp(A, address(PEER_A), &[0x80, 0]);
        assert!(loudness(&decoded(&world.sent_to(B), Codec::Pcmu)) > 1_000.0, "{suite:?}");
        assert_eq!(world.stats(A).rejected, 1);
    }
}

#[test]
fn reports_are_encrypted_both_ways() {
    // RFC 3711 §3.4: every RTCP packet of an encrypted session.
    let (mut world, mut phone, mut b, sdp) = bridged(Suite::AesCm128HmacSha1_32);
    for _ in 0..300 {
        phone.say(&mut world);
        b.say(&mut world);
    }
    let mut receiver = Receiver::new(&crypto(&sdp)[0].keys, 0);
    let reports: Vec<Vec<u8>> =
        world.rtcp.iter().filter(|(leg, ..)| *leg == A).map(|(.., raw)| raw.clone()).collect();
    assert!(!reports.is_empty());
    let ours = world.sent_to(A)[0].ssrc;
    for mut raw in reports {
        let length = receiver.unprotect_rtcp(&mut raw).unwrap();
        assert_eq!(raw[..length][4..8], ours.to_be_bytes());
    }
    // A receiver report with a quarter lost.
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0x10, 0];
    report.extend_from_slice(&ours.to_be_bytes());
    report.extend_from_slice(&[64, 0, 0, 1]);
    report.extend_from_slice(&[0; 16]);
    world.rtcp_in(A, address("198.51.100.1:6001"), &report);
    phone.sender.protect_rtcp(&mut report).unwrap();
    world.rtcp_in(A, address("198.51.100.1:6001"), &report);
    let stats = world.stats(A);
    assert_eq!((stats.remote_fraction_lost, stats.rejected), (64, 1), "the plain one counts for nothing");
}

#[test]
fn a_call_longer_than_a_round_of_sequence_numbers_goes_on_both_ways() {
    // RFC 3711 §3.3.1: 65,536 packets, 22 minutes; the counter of rounds is never sent.
    let (mut world, mut phone, b, sdp) = bridged(Suite::AesCm128HmacSha1_80);
    let packet = |ssrc: u32, n: u32| {
        let (sequence, timestamp) = ((n + 60_000) as u16, n * 160);
        let header = RtpHeader { payload_type: 0, marker: false, sequence, timestamp, ssrc };
        let mut packet = Vec::with_capacity(200);
        header.write(&mut packet);
        packet.resize(172, 0x7e);
        packet
    };
    let ours = crypto(&sdp)[0].keys.clone();
    let mut receiver = Receiver::new(&ours, 0);
    let (mut highest, mut heard_by_b) = (0, 0);
    for n in 0..66_000 {
        let mut sealed = packet(1, n);
        phone.sender.protect_rtp(&mut sealed).unwrap();
        world.rtp(A, phone.peer.address, &sealed);
        world.rtp(B, b.address, &packet(2, n));
        world.pass(FRAME);
        for mut sent in world.sent_to(A) {
            assert!(receiver.unprotect_rtp(&mut sent.raw).is_ok(), "packet {}", sent.seq);
            highest = highest.max(sent.seq);
        }
        heard_by_b += world.sent_to(B).len();
        world.sent.clear();
    }
    assert_eq!(highest, u16::MAX, "our numbers passed their end");
    assert!(heard_by_b >= 65_990, "{heard_by_b} of 66,000");
    assert_eq!(world.stats(A).rejected, 0);
}

/// RFC 3711 §9.1, RFC 7714 §8: an index may serve once. Forked early answers choose one key, another or none, and the
/// first again.
#[test]
fn a_key_that_is_chosen_again_goes_on_with_its_indices() {
    let forks = [Suite::AeadAes256Gcm, Suite::AeadAes128Gcm].map(|suite| Phone::new(B, PEER_B, suite, 5));
    let plain = offer(PEER_B, Codec::Pcmu);
    for between in [forks[1].sdp(2), plain] {
        let (mut world, sdp) = offered(Srtp::Optional);
        let ours = crypto(&sdp);
        let mut a = Peer::new(A, PEER_A, Codec::Pcmu);
        let mut receiver = Receiver::new(&ours[0].keys, 0);
        for (answer, chosen) in [(forks[0].sdp(1), true), (between, false), (forks[0].sdp(1), true)] {
            take(&mut world, &answer);
            world.rtcp.clear();
            a.say_frames(&mut world, 300);
            for (_, _, report) in world.rtcp.iter().filter(|(leg, ..)| *leg == B) {
                let opened = receiver.unprotect_rtcp(&mut report.clone());
                assert_eq!(opened.is_ok(), chosen, "{opened:?}");
            }
        }
    }
}

/// RFC 3711 §3.3.1: over several rollovers of the numbers and changes of source between, the receiver's count stays right.
#[test]
fn the_rollover_counter_stays_right_over_changes_of_source() {
    let (mut world, _, mut b, sdp) = bridged(Suite::AeadAes128Gcm);
    let mut receiver = Receiver::new(&crypto(&sdp)[0].keys, 0);
    let mut opened = 0;
    for change in 0..15u32 {
        // Long holds and the other side's new numbers; rollovers fall where they fall.
        b.ssrc = 100 + change;
        b.seq = (change * 7_919) as u16;
        b.ts = change.wrapping_mul(999_999_937);
        for n in 0..5_000u32 {
            let packet = b.raw(0, false, b.ts, &[n as u8; 160]);
            b.ts = b.ts.wrapping_add(160);
            world.rtp(B, b.address, &packet);
            world.pass(FRAME);
        }
        world.hear(A, Source::Nothing);
        world.pass(Duration::from_secs(3));
        world.hear(A, Source::Leg(B));
        for mut sent in std::mem::take(&mut world.sent) {
            if sent.leg == A {
                receiver.unprotect_rtp(&mut sent.raw).unwrap_or_else(|e| panic!("{e:?} at {}", sent.seq));
                opened += 1;
            }
        }
        world.rtcp.clear();
    }
    assert!(opened > 65_536, "{opened}");
}
