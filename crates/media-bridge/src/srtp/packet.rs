//! What SRTP has to know of a packet.

use super::Reject;
use crate::rtp::is_rtcp;

/// Fixed part of an RTP header (RFC 3550 §5.1).
const RTP_HEADER: usize = 12;
/// What stays readable of an RTCP packet: its first header and the SSRC (RFC 3711 §3.4).
pub(super) const RTCP_HEADER: usize = 8;

/// The beginning of an RTP packet, in the clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RtpHead {
    pub ssrc: u32,
    pub sequence: u16,
    /// Bytes before what is encrypted: header, CSRCs, header extension (RFC 3711 §3.1).
    pub length: usize,
}

impl RtpHead {
    pub fn read(packet: &[u8]) -> Result<RtpHead, Reject> {
        let (fixed, rest) = packet.split_first_chunk::<RTP_HEADER>().ok_or(Reject::Malformed)?;
        if fixed[0] >> 6 != 2 || is_rtcp(packet) {
            return Err(Reject::Malformed);
        }
        let mut more = usize::from(fixed[0] & 0x0f) * 4;
        if fixed[0] & 0x10 != 0 {
            let words = rest.get(more + 2..more + 4).ok_or(Reject::Malformed)?;
            more += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
        }
        if rest.len() < more {
            return Err(Reject::Malformed);
        }
        Ok(RtpHead {
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            length: RTP_HEADER + more,
        })
    }
}

/// The sender's SSRC of a compound RTCP packet.
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, Reject> {
    let (head, _) = packet.split_first_chunk::<RTCP_HEADER>().ok_or(Reject::Malformed)?;
    if !is_rtcp(packet) {
        return Err(Reject::Malformed);
    }
    Ok(u32::from_be_bytes([head[4], head[5], head[6], head[7]]))
}
