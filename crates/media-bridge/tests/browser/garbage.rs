//! A handshake while others send whatever they like to the same socket, some of it under the browser's own address.

use std::net::SocketAddr;

use media_bridge::control::{Codec, Event};
use str0m::config::DtlsVersion;
use types::Entropy;
use webrtc_peer::PeerFactory;

use crate::line::{A, B, Line, Seed};
use crate::rtc::{World, address};

/// Datagrams of the browser's that garbage is made of.
const REMEMBERED: usize = 20;

/// Who has heard all that the browser sent, and guesses the rest.
struct Stranger {
    seed: Seed,
    /// Datagrams of the browser's, but those that are STUN.
    heard: Vec<Vec<u8>>,
}

impl Stranger {
    fn random(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.seed.fill(&mut bytes);
        bytes
    }

    fn below(&mut self, end: usize) -> usize {
        let bytes = self.random(2);
        usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % end.max(1)
    }

    /// Before one of the browser's: from its own address and from others, what carries no authentic secret.
    fn sends(&mut self, next: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent: Vec<Vec<u8>> = [1, 12, 60, 200].map(|length| self.random(length)).into();
        for content in [20, 21, 22, 23, 25, 63] {
            for epoch in 0..2 {
                sent.push(self.record(content, epoch));
            }
        }
        let dtls = |data: &[u8]| (20..64).contains(&data[0]);
        if next[0] <= 3 {
            sent.push(self.forged_check(next));
        }
        if dtls(next) {
            // The one that has not come yet, as far as it can not be taken for whole.
            let cut = self.below(next.len() - 1).max(1);
            sent.push(next[..cut].to_vec());
        }
        let again = self.heard.clone();
        for data in &again {
            sent.push(data.clone());
            let cut = self.below(data.len()).max(1);
            sent.push(data[..cut].to_vec());
        }
        if dtls(next) && self.heard.len() < REMEMBERED {
            self.heard.push(next.to_vec());
        }
        let others = (0..3).map(|n| SocketAddr::from(([198, 51, 100, 66 + n], 5_000)));
        let sources: Vec<SocketAddr> = std::iter::once(address()).chain(others).collect();
        sources.iter().flat_map(|from| sent.iter().map(|data| (*from, data.clone()))).collect()
    }

    /// A DTLS 1.2 record of random content (RFC 6347 §4.1).
    fn record(&mut self, content: u8, epoch: u8) -> Vec<u8> {
        let length = 1 + self.below(80);
        let mut data = vec![content, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 200];
        data.extend_from_slice(&(length as u16).to_be_bytes());
        data.extend(self.random(length));
        data
    }

    /// The browser's check with one byte changed, up to the fingerprint: nobody knows the password (RFC 8489 §9.1).
    fn forged_check(&mut self, check: &[u8]) -> Vec<u8> {
        let mut data = check.to_vec();
        let at = self.below(check.len() - 8);
        data[at] ^= 1 << self.below(8);
        data
    }
}

#[test]
fn a_session_connects_and_is_heard_whatever_others_send_meanwhile() {
    for (seed, version) in (1..=20).zip([DtlsVersion::Dtls12, DtlsVersion::Auto].into_iter().cycle()) {
        let mut line = Line::new(PeerFactory::new().unwrap());
        let mut phone = line.phone(B, Codec::Opus);
        let mut stranger = Stranger { seed: Seed(seed), heard: Vec::new() };
        let noise = Box::new(move |next: &[u8]| stranger.sends(next));
        let mut world = World::connected_under(line, A, version, noise);
        world.line.hear(A, B);
        world.line.hear(B, A);
        for n in 1..=20 {
            world.say(&[n; 40]);
            let arrival = phone.say(&[0x80 | n; 30], world.line.now);
            world.phone_arrives(&arrival);
        }
        let relayed: Vec<u8> = world.relayed.iter().filter(|p| p.len() == 40).map(|p| p[0]).collect();
        assert_eq!(relayed, (1..=20).collect::<Vec<u8>>(), "seed {seed}");
        let heard: Vec<u8> = world.heard.iter().map(|(_, p)| p[0]).collect();
        assert_eq!(heard, (1..=20).map(|n| 0x80 | n).collect::<Vec<u8>>(), "seed {seed}");
        let connected = world.events.iter().filter(|event| **event == Event::Connected { leg: A }).count();
        assert_eq!((connected, world.demux.addresses()), (1, 1), "nobody else is known");
        assert!(world.demux.unknown() > 1_000, "{} datagrams of strangers", world.demux.unknown());
    }
}
