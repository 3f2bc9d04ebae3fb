use smallvec::SmallVec;
use types::limits::SRTP_SOURCES;

use super::cipher::Ciphers;
use super::packet::{RtpHead, rtcp_ssrc};
use super::window::{Window, guess};
use super::{Keys, Reject};

/// The longest packet that is tried with a second rollover counter.
const TRIED_TWICE: usize = 2_048;

/// Opens what a peer protected with one master key: the cryptographic contexts of RFC 3711 §3.2.3. Nothing here changes
/// before a packet has proven to be authentic.
pub struct Receiver {
    ciphers: Ciphers,
    /// Bytes of master key identifier in each packet.
    mki: usize,
    /// Hardly ever more than one.
    sources: SmallVec<[Source; 1]>,
}

/// One stream of the peer.
struct Source {
    ssrc: u32,
    rtp: Rtp,
    rtcp: Option<Window>,
}

/// What is known of a stream's rollover counter.
enum Rtp {
    /// It has sent nothing.
    Fresh,
    /// The newest index under the keys before these.
    Rekeyed(u64),
    Running(Window),
}

impl Receiver {
    /// `mki`: bytes of master key identifier that were agreed on (RFC 4568 §6.1), 0 for none. With one key there is nothing
    /// to identify: they are passed over.
    pub fn new(keys: &Keys, mki: usize) -> Receiver {
        Receiver { ciphers: Ciphers::new(keys), mki, sources: SmallVec::new() }
    }

    /// For new keys of the same peer; this one goes on opening what is still under way. RFC 3711 §3.3.1 lets rollover
    /// counters go on, RFC 4568 §7.1.4 begin anew, and both are met with: the peer's next packet shows which.
    pub fn successor(&self, keys: &Keys, mki: usize) -> Receiver {
        let source = |source: &Source| {
            let rtp = match &source.rtp {
                Rtp::Fresh => Rtp::Fresh,
                Rtp::Rekeyed(newest) => Rtp::Rekeyed(*newest),
                Rtp::Running(window) => Rtp::Rekeyed(window.newest()),
            };
            Source { ssrc: source.ssrc, rtp, rtcp: None }
        };
        let sources = self.sources.iter().map(source).collect();
        Receiver { ciphers: Ciphers::new(keys), mki, sources }
    }

    /// Opens an SRTP packet where it lies: returns the length of the RTP packet, which begins where it began.
    ///
    /// # Errors
    /// The packet is to be dropped; what it holds then is undefined.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, Reject> {
        let head = RtpHead::read(packet)?;
        let place = self.place(head.ssrc)?;
        let Some(Source { rtp: Rtp::Running(window), .. }) =
            place.and_then(|place| self.sources.get_mut(place))
        else {
            return self.first_rtp(packet, head, place);
        };
        let index = guess(window.newest(), head.sequence)?;
        window.check(index)?;
        let opened = self.ciphers.rtp.open_rtp(packet, self.mki, head.length, (head.ssrc, index));
        let length = opened.ok_or(Reject::NotAuthentic)?;
        window.accept(index);
        Ok(length)
    }

    /// Opens an SRTCP packet where it lies: returns the length of the RTCP packet, which begins where it began.
    ///
    /// # Errors
    /// The packet is to be dropped; what it holds then is undefined.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Reject> {
        let ssrc = rtcp_ssrc(packet)?;
        let index = self.ciphers.rtcp.rtcp_index(packet, self.mki).ok_or(Reject::Malformed)?;
        let place = self.place(ssrc)?;
        if let Some(window) = place.and_then(|place| self.sources[place].rtcp.as_ref()) {
            window.check(index)?;
        }
        let opened = self.ciphers.rtcp.open_rtcp(packet, self.mki, ssrc);
        let length = opened.ok_or(Reject::NotAuthentic)?;
        match &mut self.source(place, ssrc).rtcp {
            Some(window) => window.accept(index),
            none => *none = Some(Window::new(index)),
        }
        Ok(length)
    }

    /// The first packet of a stream under these keys. RFC 3711 §3.3.1 begins with a counter of 0; packets around the first
    /// rollover may have been lost before the keys were here.
    fn first_rtp(&mut self, packet: &mut [u8], head: RtpHead, place: Option<usize>) -> Result<usize, Reject> {
        let sequence = u64::from(head.sequence);
        let went_on = match place.map(|place| &self.sources[place].rtp) {
            Some(Rtp::Rekeyed(newest)) => {
                guess(*newest, head.sequence).ok().filter(|index| *index != sequence)
            }
            Some(Rtp::Fresh | Rtp::Running(_)) | None => None,
        };
        let rolled_over =
            (sequence < 1 << 15).then_some(sequence + (1 << 16)).filter(|i| Some(*i) != went_on);
        let candidates = [went_on, Some(sequence), rolled_over];
        let mut kept = [0; TRIED_TWICE];
        let spare = self.ciphers.rtp.destroys().then(|| kept.get_mut(..packet.len())).flatten();
        let again = spare.map(|spare| {
            spare.copy_from_slice(packet);
            &*spare
        });
        for (tried, index) in candidates.into_iter().flatten().enumerate() {
            match again {
                Some(again) if tried > 0 => packet.copy_from_slice(again),
                None if tried > 0 && self.ciphers.rtp.destroys() => break,
                Some(_) | None => {}
            }
            let opened = self.ciphers.rtp.open_rtp(packet, self.mki, head.length, (head.ssrc, index));
            if let Some(length) = opened {
                self.source(place, head.ssrc).rtp = Rtp::Running(Window::new(index));
                return Ok(length);
            }
        }
        Err(Reject::NotAuthentic)
    }

    /// Where a stream's state is, if there is any.
    fn place(&self, ssrc: u32) -> Result<Option<usize>, Reject> {
        let place = self.sources.iter().position(|source| source.ssrc == ssrc);
        if place.is_none() && self.sources.len() >= SRTP_SOURCES {
            return Err(Reject::TooManySources);
        }
        Ok(place)
    }

    /// The state of a stream that has proven to be authentic.
    fn source(&mut self, place: Option<usize>, ssrc: u32) -> &mut Source {
        let place = place.unwrap_or_else(|| {
            self.sources.push(Source { ssrc, rtp: Rtp::Fresh, rtcp: None });
            self.sources.len() - 1
        });
        &mut self.sources[place]
    }

    #[cfg(test)]
    pub(super) fn with_ciphers(ciphers: Ciphers) -> Receiver {
        Receiver { ciphers, mki: 0, sources: SmallVec::new() }
    }
}
