//! A relayed packet is opened, rewritten, protected and handed out in the memory that it came in.

use super::*;
use crate::control::Srtp;
use crate::sdp::{Crypto, Remote};
use crate::srtp::{Keys, Receiver, Sender, Suite};

/// Two CSRCs, an extension of one word (RFC 3550 §5.1, §5.3.1): 16 bytes more than our header.
const MORE: [u8; 16] = [1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0];

/// A scripted peer, who may encrypt.
struct Phone {
    peer: Peer,
    secret: Option<(Sender, Receiver)>,
}

impl Phone {
    fn new(world: &mut World, leg: LegId, (codec, suite): (Codec, Option<Suite>)) -> Phone {
        let at = [PEER_A, PEER_B, "198.51.100.9:9000"][usize::from(leg.0)];
        let mut sdp = offer(at, codec);
        let keys = suite.map(|suite| Keys::random(suite, &mut Seed(u64::from(leg.0))));
        if let Some(keys) = &keys {
            let line = Crypto { tag: 1, keys: keys.clone(), mki: 0 }.to_line();
            sdp = format!("{}{line}", sdp.replace("RTP/AVP", "RTP/SAVP"));
        }
        let params = LegParams { srtp: Srtp::IfOffered, ..params(&[codec]) };
        world.command(Command::Answer { leg, params, offer: sdp.into() });
        let ours = Remote::parse(world.local_sdp(leg).as_bytes()).unwrap();
        let secret = keys.map(|theirs| {
            let ours = ours.lines[0].crypto[0].clone().unwrap();
            (Sender::new(&theirs), Receiver::new(&ours.keys, 0))
        });
        Phone { peer: Peer::new(leg, at, codec), secret }
    }

    /// The next packet, its header longer by `more`, padded to a word with `padding`, in the memory of a receive.
    fn say(&mut self, data: &mut Datagram, more: &[u8], padding: &[u8]) -> Vec<u8> {
        let mut packet = self.peer.packet(160);
        let payload = packet[12..].to_vec();
        packet.splice(12..12, more.iter().copied());
        packet.extend_from_slice(padding);
        packet[0] |= if more.is_empty() { 0 } else { 0x12 } | if padding.is_empty() { 0 } else { 0x20 };
        if let Some((sender, _)) = &mut self.secret {
            sender.protect_rtp(&mut packet).unwrap();
        }
        data.room()[..packet.len()].copy_from_slice(&packet);
        data.received(packet.len());
        payload
    }

    /// What was sent here, in the clear.
    fn hear(&mut self, data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        if let Some((_, receiver)) = &mut self.secret {
            let length = receiver.unprotect_rtp(&mut data).unwrap();
            data.truncate(length);
        }
        data
    }
}

impl World {
    /// What leaves for a datagram, with where it lies.
    fn relayed(&mut self, from: &Phone, data: &mut Datagram) -> Vec<(LegId, Vec<u8>, *const u8)> {
        let mut out = Vec::new();
        self.call.handle_rtp(from.peer.leg, from.peer.address, data, self.now, self.wall());
        while let Some(output) = self.call.poll_output(data) {
            if let Output::Rtp { leg, .. } = output {
                out.push((leg, data.to_vec(), data.as_ptr()));
            }
        }
        self.now += FRAME;
        assert!(data.has_memory());
        out
    }
}

fn hear_each_other(from: (Codec, Option<Suite>), to: (Codec, Option<Suite>)) -> (World, Phone, Phone) {
    let mut world = World::new();
    let (a, b) = (Phone::new(&mut world, A, from), Phone::new(&mut world, B, to));
    world.hear(B, Source::Leg(A));
    (world, a, b)
}

/// The routes of a packet, by what its ends encrypt with.
fn routes() -> Vec<(Option<Suite>, Option<Suite>)> {
    let suites = || Suite::ALL.into_iter().map(Some).chain([None]);
    suites().flat_map(|from| suites().map(move |to| (from, to))).collect()
}

#[test]
fn a_relayed_packet_leaves_in_the_memory_in_which_it_came() {
    for (from, to) in routes() {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::Opus] {
            let heard = if codec == Codec::Pcma { Codec::Pcmu } else { codec };
            let (mut world, mut a, mut b) = hear_each_other((codec, from), (heard, to));
            let mut data = Datagram::new();
            let place = data.room().as_ptr();
            for n in 0..20 {
                let mut payload = a.say(&mut data, &[], &[]);
                if codec != heard {
                    Law::A.recode(&mut payload);
                }
                let sent = world.relayed(&a, &mut data);
                assert_eq!(sent.len(), 1, "{from:?} to {to:?}, packet {n}");
                assert_eq!((sent[0].0, sent[0].2), (B, place), "{from:?} to {to:?}, packet {n}");
                assert_eq!(b.hear(&sent[0].1)[12..], payload);
            }
        }
    }
}

/// RFC 3550 §5.1: contributors, extension and padding are the received stream's; ours has none.
#[test]
fn a_longer_header_and_padding_stay_behind_and_the_payload_where_it_is() {
    for (from, to) in routes() {
        let (mut world, mut a, mut b) = hear_each_other((Codec::Opus, from), (Codec::Opus, to));
        let mut data = Datagram::new();
        let place = data.room().as_ptr();
        let mut before = None;
        for n in 0..20 {
            let more = if n % 2 == 0 { &MORE[..] } else { &[] };
            let padding = if n % 3 == 0 { &[0, 0, 3][..] } else { &[] };
            let payload = a.say(&mut data, more, padding);
            let sent = world.relayed(&a, &mut data);
            assert_eq!(sent[0].2, place.wrapping_add(more.len()), "{from:?} to {to:?}, packet {n}");
            let heard = b.hear(&sent[0].1);
            let packet = RtpPacket::parse(&heard).unwrap();
            assert_eq!((heard[0], packet.header, packet.payload), (0x80, 12, &payload[..]));
            let number = before.replace(packet.sequence).map(|before| packet.sequence.wrapping_sub(before));
            assert_eq!(number.unwrap_or(1), 1);
        }
        assert_eq!(world.stats(A).rejected, 0);
    }
}

/// What is not authentic is destroyed where it lies, and with it nothing else.
#[test]
fn a_forged_packet_changes_nothing_and_its_memory_serves_the_next_one() {
    for suite in Suite::ALL {
        let (mut world, mut a, mut b) = hear_each_other((Codec::Pcmu, Some(suite)), (Codec::Pcmu, None));
        let (mut data, mut sequence) = (Datagram::new(), None);
        for n in 0..20 {
            let payload = a.say(&mut data, &[], &[]);
            let genuine = data.to_vec();
            data[12 + n] ^= 1;
            assert_eq!(world.relayed(&a, &mut data), [], "{suite:?}, packet {n}");
            data.clear();
            data.extend_from_slice(&genuine);
            let sent = world.relayed(&a, &mut data);
            let heard = b.hear(&sent[0].1);
            let ours = RtpPacket::parse(&heard).unwrap();
            assert_eq!((sent[0].0, ours.payload), (B, &payload[..]), "{suite:?}, packet {n}");
            let before = sequence.replace(ours.sequence);
            assert_eq!(before.map_or(1, |before: u16| ours.sequence.wrapping_sub(before)), 1);
        }
        let stats = world.stats(A);
        assert_eq!((stats.packets_in, stats.rejected), (20, 20));
    }
}

#[test]
fn of_several_listeners_each_hears_the_packet_and_one_gets_its_memory() {
    let gcm = Some(Suite::AeadAes256Gcm);
    let (mut world, mut a, b) = hear_each_other((Codec::Pcmu, gcm), (Codec::Pcmu, None));
    let c = Phone::new(&mut world, LegId(2), (Codec::Pcma, gcm));
    world.hear(A, Source::Echo);
    world.hear(LegId(2), Source::Leg(A));
    let (mut data, mut phones) = (Datagram::new(), [None, Some(b), Some(c)]);
    for _ in 0..20 {
        let place = data.room().as_ptr();
        let payload = a.say(&mut data, &MORE, &[]);
        let sent = world.relayed(&a, &mut data);
        let legs: Vec<u16> = sent.iter().map(|(leg, ..)| leg.0).collect();
        assert_eq!(legs, [0, 1, 2]);
        assert_eq!(sent.iter().filter(|(_, _, at)| *at == place.wrapping_add(MORE.len())).count(), 1);
        for (leg, raw, _) in sent {
            let phone = phones[usize::from(leg.0)].as_mut().unwrap_or(&mut a);
            let mut expected = payload.clone();
            if leg.0 == 2 {
                Law::Mu.recode(&mut expected);
            }
            assert_eq!(phone.hear(&raw)[12..], expected);
        }
    }
}
