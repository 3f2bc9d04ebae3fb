//! Symmetric RTP: where a leg's media really comes from, and so where ours goes (field problem 36).
//!
//! A description may name an address that NAT has changed. So the first source that is credible becomes the leg's
//! address, once: from then on only it is heard and sent to. Credible, in this order:
//! 1. exactly the address in the description: at once;
//! 2. the same IP, another port (NAT keeps the IP, or the description has the wrong port);
//! 3. the IP from which the signalling came, or, if that is unknown, any IP when the description names a private
//!    address that can not be right for a peer behind NAT.
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
        let elsewhere = match self.signalling {
            Some(ip) => ip.to_canonical() == source.ip(),
            None => behind_nat(self.expected.ip()),
        };
        elsewhere.then_some(Credit::Elsewhere)
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

/// Addresses that a peer behind NAT writes and nobody outside can reach. Loopback is not among them.
fn behind_nat(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn canonical(a: SocketAddr) -> SocketAddr {
    SocketAddr::new(a.ip().to_canonical(), a.port())
}
