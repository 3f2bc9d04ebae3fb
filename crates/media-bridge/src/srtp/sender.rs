use smallvec::SmallVec;
use types::limits::SRTP_SOURCES;

use super::cipher::Ciphers;
use super::packet::{RtpHead, rtcp_ssrc};
use super::window::{Window, guess};
use super::{Keys, OVERHEAD, Refused, Reject};

/// Encryption flag of an SRTCP packet (RFC 3711 §3.4): ours are always encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// SRTCP packets that one key may serve (RFC 3711 §9.2).
const RTCP_INDICES: u32 = 1 << 31;

/// Protects what we send with one master key: the cryptographic contexts of RFC 3711 §3.2.3.
pub struct Sender {
    ciphers: Ciphers,
    /// Hardly ever more than one.
    sources: SmallVec<[Source; 1]>,
}

/// One of our streams.
struct Source {
    ssrc: u32,
    rtp: Option<Window>,
    /// Index of the next SRTCP packet.
    rtcp: u32,
}

impl Sender {
    /// With keys that nothing was protected with before.
    pub fn new(keys: &Keys) -> Sender {
        Sender { ciphers: Ciphers::new(keys), sources: SmallVec::new() }
    }

    /// New keys; the rollover counters go on, as RFC 3711 §3.3.1 lets peers do. We begin anew (RFC 4568 §7.1.4).
    #[cfg(test)]
    pub(super) fn rekey(&mut self, keys: &Keys) {
        self.ciphers = Ciphers::new(keys);
    }

    /// Protects an RTP packet where it lies. It grows by [`OVERHEAD`](super::OVERHEAD) at most; with that much capacity to
    /// spare nothing is allocated.
    ///
    /// # Errors
    /// The packet must not be sent, and is as it was: it is none, was protected already, or the key is used up.
    pub fn protect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), Refused> {
        let length = packet.len();
        packet.resize(length + OVERHEAD, 0);
        let sealed = self.seal_rtp(packet, length);
        packet.truncate(sealed.unwrap_or(length));
        sealed.map(drop)
    }

    /// Protects a compound RTCP packet where it lies. It grows by [`OVERHEAD`](super::OVERHEAD) at most.
    ///
    /// # Errors
    /// The packet must not be sent, and is as it was: it is none, or the key is used up.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), Refused> {
        let length = packet.len();
        packet.resize(length + OVERHEAD, 0);
        let sealed = self.seal_rtcp(packet, length);
        packet.truncate(sealed.unwrap_or(length));
        sealed.map(drop)
    }

    /// As [`Sender::protect_rtp`], wherever the packet lies: the first `length` bytes, with room for
    /// [`OVERHEAD`](super::OVERHEAD) more behind it. Returns its new length.
    ///
    /// # Errors
    /// The same.
    pub fn seal_rtp(&mut self, packet: &mut [u8], length: usize) -> Result<usize, Refused> {
        let head = RtpHead::read(&packet[..length]).map_err(|_| Refused::Malformed)?;
        let source = source(&mut self.sources, head.ssrc)?;
        let index = match &source.rtp {
            Some(window) => {
                let index = guess(window.newest(), head.sequence).map_err(refused)?;
                window.check(index).map_err(refused)?;
                index
            }
            None => u64::from(head.sequence),
        };
        let sealed = self.ciphers.rtp.seal_rtp(packet, length, head.length, (head.ssrc, index));
        let sealed = sealed.ok_or(Refused::Malformed)?;
        match &mut source.rtp {
            Some(window) => window.accept(index),
            none => *none = Some(Window::new(index)),
        }
        Ok(sealed)
    }

    /// As [`Sender::protect_rtcp`], wherever the packet lies; room and length as of [`Sender::seal_rtp`].
    ///
    /// # Errors
    /// The same.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], length: usize) -> Result<usize, Refused> {
        let ssrc = rtcp_ssrc(&packet[..length]).map_err(|_| Refused::Malformed)?;
        let source = source(&mut self.sources, ssrc)?;
        if source.rtcp >= RTCP_INDICES {
            return Err(Refused::Expired);
        }
        let sealed = self.ciphers.rtcp.seal_rtcp(packet, length, ssrc, ENCRYPTED | source.rtcp);
        let sealed = sealed.ok_or(Refused::Malformed)?;
        source.rtcp += 1;
        Ok(sealed)
    }

    #[cfg(test)]
    pub(super) fn set_next_rtcp(&mut self, ssrc: u32, index: u32) {
        self.sources.push(Source { ssrc, rtp: None, rtcp: index });
    }

    #[cfg(test)]
    pub(super) fn with_ciphers(ciphers: Ciphers) -> Sender {
        Sender { ciphers, sources: SmallVec::new() }
    }
}

fn source(sources: &mut SmallVec<[Source; 1]>, ssrc: u32) -> Result<&mut Source, Refused> {
    let place = match sources.iter().position(|source| source.ssrc == ssrc) {
        Some(place) => place,
        None if sources.len() < SRTP_SOURCES => {
            sources.push(Source { ssrc, rtp: None, rtcp: 0 });
            sources.len() - 1
        }
        None => return Err(Refused::TooManySources),
    };
    Ok(&mut sources[place])
}

fn refused(reject: Reject) -> Refused {
    match reject {
        Reject::Expired => Refused::Expired,
        Reject::Replayed | Reject::TooOld => Refused::Repeated,
        Reject::Malformed | Reject::NotAuthentic => Refused::Malformed,
        Reject::TooManySources => Refused::TooManySources,
    }
}
