//! RTP data packets (RFC 3550 §5.1) as a view on received bytes, and the header that we write.

use std::fmt;

/// Length of the header we write: no CSRC, no extension.
const HEADER: usize = 12;

/// Why received bytes are no RTP packet. Always the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtpError {
    /// Shorter than its own header, CSRC list, extension or padding says.
    Truncated,
    /// Not version 2.
    Version,
    /// The payload type is one of RTCP's (RFC 5761 §4).
    Rtcp,
    /// The padding count is zero or larger than the payload.
    Padding,
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RtpError::Truncated => "RTP packet shorter than its header says",
            RtpError::Version => "not RTP version 2",
            RtpError::Rtcp => "an RTCP packet where RTP was expected",
            RtpError::Padding => "impossible RTP padding",
        })
    }
}

impl std::error::Error for RtpError {}

/// A received RTP packet; CSRC list and header extension are validated and skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpPacket<'a> {
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Marker bit; never to be trusted, only forwarded.
    pub marker: bool,
    /// Sequence number as sent, 16 bits.
    pub sequence: u16,
    /// Timestamp in the payload type's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Bytes before the payload: header, CSRC list, header extension.
    pub header: usize,
    /// Payload without padding; may be empty (drop those, design §1).
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads a datagram with the checks of RFC 3550 A.1.
    ///
    /// # Errors
    /// Says what is wrong; the packet is then to be counted as rejected and dropped.
    pub fn parse(data: &'a [u8]) -> Result<RtpPacket<'a>, RtpError> {
        let [first, second, ..] = *data else { return Err(RtpError::Truncated) };
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        if is_rtcp(data) {
            return Err(RtpError::Rtcp);
        }
        let (fixed, mut rest) = data.split_at_checked(HEADER).ok_or(RtpError::Truncated)?;
        let csrcs = usize::from(first & 0x0f) * 4;
        rest = rest.get(csrcs..).ok_or(RtpError::Truncated)?;
        if first & 0x10 != 0 {
            let words = rest.get(2..4).map(|w| usize::from(be16(w))).ok_or(RtpError::Truncated)?;
            rest = rest.get(4 + words * 4..).ok_or(RtpError::Truncated)?;
        }
        let header = data.len() - rest.len();
        if first & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(RtpError::Padding)?);
            let kept = rest.len().checked_sub(padding).ok_or(RtpError::Padding)?;
            if padding == 0 {
                return Err(RtpError::Padding);
            }
            rest = &rest[..kept];
        }
        Ok(RtpPacket {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: be16(&fixed[2..4]),
            timestamp: be32(&fixed[4..8]),
            ssrc: be32(&fixed[8..12]),
            header,
            payload: rest,
        })
    }
}

/// The twelve bytes in front of every payload we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpHeader {
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in the payload type's clock.
    pub timestamp: u32,
    /// Our synchronisation source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// Its length; a received packet's is no shorter.
    pub const LENGTH: usize = HEADER;

    /// As it stands before the payload.
    pub fn to_bytes(&self) -> [u8; RtpHeader::LENGTH] {
        let second = (self.payload_type & 0x7f) | if self.marker { 0x80 } else { 0 };
        let mut bytes = [0; RtpHeader::LENGTH];
        bytes[..2].copy_from_slice(&[0x80, second]);
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }

    /// Appends the header; the payload follows it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }
}

/// Whether a datagram on a shared port is RTCP: its packet type is 192-223 (RFC 5761 §4).
pub fn is_rtcp(data: &[u8]) -> bool {
    matches!(*data, [first, 192..=223, ..] if first >> 6 == 2)
}

pub(super) fn be16(b: &[u8]) -> u16 {
    u16::from_be_bytes([b[0], b[1]])
}

pub(super) fn be32(b: &[u8]) -> u32 {
    u32::from_be_bytes([b[0], b[1], b[2], b[3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 12 bytes of header with the given first byte, then what follows.
    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut p = vec![first, 0x80 | 96, 0x12, 0x34, 0, 0, 0, 9, 0xaa, 0xbb, 0xcc, 0xdd];
        p.extend_from_slice(rest);
        p
    }

    #[test]
    fn header_written_is_header_read() {
        let mut bytes = Vec::new();
        RtpHeader { payload_type: 111, marker: true, sequence: 65535, timestamp: u32::MAX, ssrc: 7 }
            .write(&mut bytes);
        bytes.extend_from_slice(b"audio");
        let p = RtpPacket::parse(&bytes).unwrap();
        assert_eq!(
            (p.payload_type, p.marker, p.sequence, p.timestamp, p.ssrc),
            (111, true, 65535, u32::MAX, 7)
        );
        assert_eq!(p.payload, b"audio");
    }

    /// RFC 3550 §5.1: CSRC list; §5.3.1: extension of a counted number of words; padding counted by its last byte.
    #[test]
    fn csrc_list_extension_and_padding_are_taken_off() {
        let mut rest = vec![1; 8];
        rest.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        rest.extend_from_slice(b"hello");
        rest.extend_from_slice(&[0, 0, 3]);
        let bytes = packet(0x80 | 0x20 | 0x10 | 2, &rest);
        let p = RtpPacket::parse(&bytes).unwrap();
        assert_eq!((p.payload, p.header), (&b"hello"[..], 28));
        assert_eq!((p.sequence, p.timestamp, p.ssrc, p.payload_type), (0x1234, 9, 0xaabb_ccdd, 96));
    }

    #[test]
    fn a_packet_of_padding_only_has_an_empty_payload() {
        assert_eq!(RtpPacket::parse(&packet(0xa0, &[0, 2])).unwrap().payload, b"");
    }

    /// RFC 3550 A.1: version, and lengths consistent with what the header announces.
    #[test]
    fn impossible_headers_are_refused_with_their_reason() {
        let refused = |bytes: &[u8]| RtpPacket::parse(bytes).unwrap_err();
        assert_eq!(refused(&[]), RtpError::Truncated);
        assert_eq!(refused(&packet(0x80, &[])[..11]), RtpError::Truncated);
        assert_eq!(refused(&packet(0x40, b"x")), RtpError::Version);
        assert_eq!(refused(&packet(0x83, &[0; 11])), RtpError::Truncated);
        assert_eq!(refused(&packet(0x90, &[0, 0, 0])), RtpError::Truncated);
        assert_eq!(refused(&packet(0x90, &[0, 0, 0, 2, 1, 2, 3, 4])), RtpError::Truncated);
        assert_eq!(refused(&packet(0xa0, &[])), RtpError::Padding);
        assert_eq!(refused(&packet(0xa0, &[1, 0])), RtpError::Padding);
        assert_eq!(refused(&packet(0xa0, &[1, 3])), RtpError::Padding);
    }

    /// RFC 5761 §4: packet types 192-223 are RTCP; with the marker bit these are RTP payload types 64-95, not used for RTP.
    #[test]
    fn rtcp_on_a_shared_port_is_told_from_rtp() {
        for kind in 0..=255 {
            let bytes = [0x80, kind, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
            assert_eq!(is_rtcp(&bytes), (192..=223).contains(&kind));
            assert_eq!(RtpPacket::parse(&bytes) == Err(RtpError::Rtcp), is_rtcp(&bytes));
        }
        assert!(!is_rtcp(&[0x16, 200]), "DTLS");
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), version in any::<bool>()) {
            if let (true, Some(first)) = (version, bytes.first_mut()) {
                *first = *first & 0x3f | 0x80;
            }
            if let Ok(p) = RtpPacket::parse(&bytes) {
                prop_assert!(p.payload.len() + HEADER <= bytes.len());
            }
        }
    }
}
