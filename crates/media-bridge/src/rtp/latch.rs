//! Symmetric RTP: where a leg's media really comes from, and so where ours goes (field problem 36).
//!
//! A description may name an address that NAT has changed. So the first source that is credible becomes the leg's
//! address, once: from then on only it is heard and sent to. Credible, in this order:
//! 1. exactly the address in the description: at once;
//! 2. the same IP, another port (NAT keeps the IP, or the description has the wrong port);
//! 3. the IP from which the signalling came, as with a peer behind NAT whose description names a private address.
//!
//! Kinds 2 and 3 must first send a few packets of a negotiated payload type that follow each other with one SSRC.
//! A better kind takes over from a worse one at any time, never the other way and never within a kind; a new address in a
//! description starts afresh. An outsider with guessed SSRC, sequence and payload type has none of these addresses:
//! he is never heard and never sent to, before, during or after.

use std::net::{IpAddr, SocketAddr};

use super::packet::RtpPacket;

/// Packets in sequence that a source other than the described one must show.
const PROBATION: u8 = 3;

/// What to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LatchVerdict {
    /// From the leg's peer.
    Accepted,
    /// Perhaps from the peer: not yet to be used.
    Probing,
    /// Not from the peer: count as rejected.
    Refused,
}

/// How credible a source address is; the larger the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Credit {
    Elsewhere,
    SameIp,
    Exact,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
    seen: u8,
}

/// Address state of one plain RTP leg. Never for ICE legs: there only authenticated packets count.
#[derive(Debug)]
pub struct Latch {
    expected: SocketAddr,
    signalling: Option<IpAddr>,
    latched: Option<(SocketAddr, Credit)>,
    rtcp: Option<SocketAddr>,
    /// One per kind that needs probation, so that a worse one can not disturb a better.
    probing: [Option<Candidate>; 2],
}

impl Latch {
    /// `expected`: the peer's RTP address in its description. `signalling`: the IP its signalling comes from, if known.
    pub fn new(expected: SocketAddr, signalling: Option<IpAddr>) -> Latch {
        Latch { expected: canonical(expected), signalling, latched: None, rtcp: None, probing: [None; 2] }
    }

    /// A description came. The same address changes nothing; a new one starts afresh. An unspecified address
    /// (old-style hold, RFC 3264 §8.4) is no new place and is ignored.
    pub fn expect(&mut self, expected: SocketAddr) {
        let expected = canonical(expected);
        if expected == self.expected || expected.ip().is_unspecified() {
            return;
        }
        // Whoever is already heard from exactly there stays.
        let stays = self.latched.filter(|(source, _)| *source == expected);
        *self = Latch::new(expected, self.signalling);
        self.latched = stays.map(|(source, _)| (source, Credit::Exact));
    }

    /// Judges a packet that parsed. `known_payload_type`: it is one of those negotiated.
    pub fn check(
        &mut self,
        source: SocketAddr,
        packet: &RtpPacket<'_>,
        known_payload_type: bool,
    ) -> LatchVerdict {
        let source = canonical(source);
        if let Some((latched, _)) = self.latched
            && latched == source
        {
            return LatchVerdict::Accepted;
        }
        let Some(credit) = self.credit(source).filter(|_| known_payload_type) else {
            return LatchVerdict::Refused;
        };
        if self.latched.is_some_and(|(_, held)| held >= credit) {
            return LatchVerdict::Refused;
        }
        let proven = match credit {
            Credit::Exact => true,
            Credit::SameIp => probe(&mut self.probing[0], source, packet),
            Credit::Elsewhere => probe(&mut self.probing[1], source, packet),
        };
        if !proven {
            return LatchVerdict::Probing;
        }
        self.latched = Some((source, credit));
        self.rtcp = None;
        LatchVerdict::Accepted
    }

    /// Whether an RTCP packet is from the peer: same IP as its RTP. The first such also tells where ours goes.
    pub fn check_rtcp(&mut self, source: SocketAddr) -> bool {
        let source = canonical(source);
        let known = source.ip() == self.destination().ip();
        if known && self.latched.is_some() && self.rtcp.is_none() {
            self.rtcp = Some(source);
        }
        known
    }

    /// Where our RTP goes: the latched address, before that the described one.
    pub fn destination(&self) -> SocketAddr {
        self.latched.map_or(self.expected, |(source, _)| source)
    }

    /// Where our RTCP goes; `described` is the description's (`a=rtcp` or port + 1). While the peer is heard from
    /// where it said, that is right.
    pub fn rtcp_destination(&self, described: SocketAddr) -> SocketAddr {
        match (self.latched, self.rtcp) {
            (None | Some((_, Credit::Exact)), _) => described,
            (Some(_), Some(learned)) => learned,
            (Some((source, Credit::SameIp | Credit::Elsewhere)), None) => {
                SocketAddr::new(source.ip(), source.port().saturating_add(1))
            }
        }
    }

    /// Whether the peer was heard.
    pub fn is_latched(&self) -> bool {
        self.latched.is_some()
    }

    fn credit(&self, source: SocketAddr) -> Option<Credit> {
        if source == self.expected {
            return Some(Credit::Exact);
        }
        if source.ip() == self.expected.ip() {
            return Some(Credit::SameIp);
        }
        let signalling = self.signalling.map(|ip| ip.to_canonical());
        (signalling == Some(source.ip())).then_some(Credit::Elsewhere)
    }
}

/// Whether this packet completes the probation of its source.
fn probe(slot: &mut Option<Candidate>, source: SocketAddr, packet: &RtpPacket<'_>) -> bool {
    let fresh = Candidate { source, ssrc: packet.ssrc, sequence: packet.sequence, seen: 1 };
    let Some(c) = slot.as_mut().filter(|c| c.source == source && c.ssrc == packet.ssrc) else {
        *slot = Some(fresh);
        return false;
    };
    match packet.sequence.wrapping_sub(c.sequence) {
        // A duplicate or a straggler proves nothing, nor the contrary.
        0 | 0xfff0.. => false,
        1..=16 => {
            c.sequence = packet.sequence;
            c.seen += 1;
            c.seen >= PROBATION
        }
        17..=0xffef => {
            *c = fresh;
            false
        }
    }
}

fn canonical(a: SocketAddr) -> SocketAddr {
    SocketAddr::new(a.ip().to_canonical(), a.port())
}

#[cfg(test)]
mod tests {
    use super::LatchVerdict::{Accepted, Probing, Refused};
    use super::*;

    const PUBLIC: &str = "203.0.113.5:4000";
    const PRIVATE: &str = "192.168.1.7:4000";
    const OUTSIDER: &str = "198.51.100.66:4000";

    fn at(s: &str) -> SocketAddr {
        s.parse().unwrap()
    }

    fn latch(expected: &str) -> Latch {
        Latch::new(at(expected), Some(at(PUBLIC).ip()))
    }

    fn send(latch: &mut Latch, from: &str, sequence: u16) -> LatchVerdict {
        let packet = RtpPacket {
            payload_type: 0,
            marker: false,
            sequence,
            timestamp: 0,
            ssrc: 1,
            header: 12,
            payload: b"x",
        };
        latch.check(at(from), &packet, true)
    }

    #[test]
    fn the_described_address_is_heard_from_its_first_packet() {
        let mut l = latch(PUBLIC);
        assert_eq!(l.destination(), at(PUBLIC));
        assert!(!l.is_latched());
        assert_eq!(send(&mut l, PUBLIC, 1), Accepted);
        assert!(l.is_latched());
    }

    /// Field problem 36: SSRC, sequence and payload type can be guessed, the address can not be had.
    #[test]
    fn outsider_before_latching_gets_no_audio_in_and_no_rtp_out() {
        let mut l = latch(PUBLIC);
        for n in 0..100 {
            assert_eq!(send(&mut l, OUTSIDER, n), Refused);
        }
        assert_eq!(l.destination(), at(PUBLIC));
        assert_eq!(send(&mut l, PUBLIC, 100), Accepted);
    }

    #[test]
    fn outsider_during_probation_of_the_peer_gets_nothing_and_stops_nothing() {
        let mut l = latch(PUBLIC);
        let peer = "203.0.113.5:61000";
        for n in 0..2 {
            assert_eq!(send(&mut l, peer, n), Probing);
            assert_eq!(send(&mut l, OUTSIDER, n + 1), Refused);
        }
        assert_eq!(send(&mut l, peer, 2), Accepted);
        assert_eq!(l.destination(), at(peer));
    }

    #[test]
    fn outsider_after_latching_gets_nothing() {
        for first in [PUBLIC, "203.0.113.5:61000"] {
            let mut l = latch(PUBLIC);
            for n in 0..3 {
                send(&mut l, first, n);
            }
            for n in 3..100 {
                assert_eq!(send(&mut l, OUTSIDER, n), Refused);
                assert!(!l.check_rtcp(at(OUTSIDER)));
            }
            assert_eq!(l.destination(), at(first));
            assert_eq!(send(&mut l, first, 3), Accepted);
        }
    }

    #[test]
    fn another_process_on_the_peers_host_never_takes_over_from_the_peer() {
        let mut l = latch("127.0.0.1:6000");
        assert_eq!(send(&mut l, "127.0.0.1:6000", 1), Accepted);
        for n in 2..100 {
            assert_eq!(send(&mut l, "127.0.0.1:7777", n), Refused);
            assert_eq!(send(&mut l, "127.0.0.2:6000", n), Refused);
        }
        assert_eq!(l.destination(), at("127.0.0.1:6000"));
    }

    #[test]
    fn loopback_is_no_private_address_that_nat_would_change() {
        let mut l = latch("127.0.0.1:6000");
        for n in 0..100 {
            assert_eq!(send(&mut l, "127.0.0.2:6000", n), Refused);
        }
    }

    #[test]
    fn a_better_source_takes_over_even_late_and_a_worse_one_never() {
        let mut l = latch(PRIVATE);
        for n in 0..3 {
            send(&mut l, "203.0.113.5:61000", n);
        }
        assert_eq!(l.destination(), at("203.0.113.5:61000"));
        for n in 0..2 {
            assert_eq!(send(&mut l, "192.168.1.7:9", n), Probing);
        }
        assert_eq!(send(&mut l, "192.168.1.7:9", 2), Accepted);
        assert_eq!(send(&mut l, "203.0.113.5:61000", 3), Refused);
        assert_eq!(send(&mut l, PRIVATE, 7), Accepted);
        assert_eq!(send(&mut l, "192.168.1.7:9", 3), Refused);
    }

    #[test]
    fn a_peer_behind_nat_is_found_by_its_packets_when_it_names_a_private_address() {
        for private in [PRIVATE, "10.0.0.1:2", "172.16.9.9:2", "100.64.0.1:2", "169.254.0.1:2", "[fd00::1]:2"]
        {
            let mut l = latch(private);
            let verdicts = [1, 2, 3].map(|n| send(&mut l, "203.0.113.5:61000", n));
            assert_eq!(verdicts, [Probing, Probing, Accepted], "{private}");
            assert_eq!(l.destination(), at("203.0.113.5:61000"));
        }
    }

    #[test]
    fn a_neighbour_in_the_same_private_network_is_no_peer_behind_nat() {
        let mut l = latch(PRIVATE);
        for n in 0..50 {
            assert_eq!(send(&mut l, "192.168.1.66:4000", n), Refused);
            assert_eq!(send(&mut l, "10.9.9.9:4000", n), Refused);
            assert_eq!(send(&mut l, "127.0.0.1:4000", n), Refused);
        }
        assert_eq!(l.destination(), at(PRIVATE));
        assert_eq!(send(&mut l, PRIVATE, 1), Accepted);
    }

    #[test]
    fn only_the_ip_of_the_signalling_may_stand_in_for_the_described_one() {
        let mut l = latch(PRIVATE);
        for n in 0..50 {
            assert_eq!(send(&mut l, OUTSIDER, n), Refused);
        }
        let verdicts = [1, 2, 3].map(|n| send(&mut l, "203.0.113.5:61000", n));
        assert_eq!(verdicts, [Probing, Probing, Accepted]);
    }

    /// Continuity: packets of one SSRC that follow each other, some loss allowed, duplicates proving nothing.
    #[test]
    fn probation_wants_packets_that_follow_each_other() {
        let other = "203.0.113.5:61000";
        let mut l = latch(PUBLIC);
        for n in [5, 5, 5, 900, 40_000, 12, 65_000, 65_001, 65_001] {
            assert_eq!(send(&mut l, other, n), Probing, "{n}");
        }
        assert_eq!(send(&mut l, other, 65_004), Accepted);
        let mut l = latch(PUBLIC);
        for ssrc in 0..10 {
            let packet = RtpPacket {
                payload_type: 0,
                marker: false,
                sequence: ssrc as u16,
                timestamp: 0,
                ssrc,
                header: 12,
                payload: b"x",
            };
            assert_eq!(l.check(at(other), &packet, true), Probing);
        }
    }

    #[test]
    fn probation_goes_on_over_the_wrap_of_the_sequence() {
        let mut l = latch(PUBLIC);
        let verdicts = [65_534, 65_535, 0].map(|n| send(&mut l, "203.0.113.5:61000", n));
        assert_eq!(verdicts, [Probing, Probing, Accepted]);
    }

    #[test]
    fn an_unknown_payload_type_latches_nothing() {
        let mut l = latch(PUBLIC);
        let packet = RtpPacket {
            payload_type: 99,
            marker: false,
            sequence: 1,
            timestamp: 0,
            ssrc: 1,
            header: 12,
            payload: b"x",
        };
        assert_eq!(l.check(at(PUBLIC), &packet, false), Refused);
        assert!(!l.is_latched());
    }

    #[test]
    fn a_new_description_moves_the_leg_and_shuts_the_old_address_out() {
        let mut l = Latch::new(at(PUBLIC), None);
        send(&mut l, PUBLIC, 1);
        l.expect(at(PUBLIC));
        assert!(l.is_latched(), "the same description again");
        l.expect(at("0.0.0.0:4000"));
        assert_eq!(l.destination(), at(PUBLIC), "old-style hold");
        l.expect(at(OUTSIDER));
        assert!(!l.is_latched());
        assert_eq!(l.destination(), at(OUTSIDER));
        assert_eq!(send(&mut l, PUBLIC, 2), Refused);
        assert_eq!(send(&mut l, OUTSIDER, 2), Accepted);
    }

    #[test]
    fn a_description_that_catches_up_with_the_latched_address_keeps_it() {
        let mut l = latch(PRIVATE);
        for n in 0..3 {
            send(&mut l, PUBLIC, n);
        }
        l.expect(at(PUBLIC));
        assert!(l.is_latched());
        assert_eq!(send(&mut l, PUBLIC, 3), Accepted);
    }

    #[test]
    fn rtcp_follows_the_rtp_address() {
        let described = at("192.168.1.7:4001");
        let mut l = latch(PRIVATE);
        assert_eq!(l.rtcp_destination(described), described);
        assert!(!l.check_rtcp(at("203.0.113.5:61009")), "not heard there yet");
        for n in 0..3 {
            send(&mut l, "203.0.113.5:61000", n);
        }
        assert_eq!(l.rtcp_destination(described), at("203.0.113.5:61001"));
        assert!(l.check_rtcp(at("203.0.113.5:61009")));
        assert_eq!(l.rtcp_destination(described), at("203.0.113.5:61009"));
        let mut exact = latch(PUBLIC);
        send(&mut exact, PUBLIC, 1);
        assert!(exact.check_rtcp(at("203.0.113.5:7")));
        assert_eq!(exact.rtcp_destination(at("203.0.113.5:4001")), at("203.0.113.5:4001"));
    }

    #[test]
    fn ipv4_seen_through_an_ipv6_socket_is_the_same_address() {
        let mut l = latch(PUBLIC);
        assert_eq!(send(&mut l, "[::ffff:203.0.113.5]:4000", 1), Accepted);
        assert_eq!(send(&mut l, PUBLIC, 2), Accepted);
    }
}
