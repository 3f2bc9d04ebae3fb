//! RTCP (RFC 3550 §6): reading compound packets, writing ours.

use std::time::Duration;

use types::Wall;

use super::packet::{be16, be32};
use super::xr::{self, XR, XrBlock};

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const CNAME: u8 = 1;
/// A round trip longer than this is a broken peer.
const LONGEST_ROUND_TRIP: u32 = 30 << 16;

/// One report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReportBlock {
    /// Whose reception is reported.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Loss since the beginning; 24 bits, negative with duplicates.
    pub cumulative_lost: i32,
    /// Extended highest sequence number received.
    pub highest: u32,
    /// Interarrival jitter, timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last sender report, 0 for none.
    pub lsr: u32,
    /// Delay since that report, 1/65536 s.
    pub dlsr: u32,
}

impl ReportBlock {
    const LEN: usize = 24;

    /// The round trip that this block about us, received at `wall`, reveals (RFC 3550 §6.4.1): A - LSR - DLSR.
    /// None: no report of ours arrived there yet, or the numbers are impossible.
    pub fn round_trip(&self, wall: Wall) -> Option<Duration> {
        if self.lsr == 0 {
            return None;
        }
        let arrived = (wall.ntp() >> 16) as u32;
        let units = arrived.wrapping_sub(self.lsr).wrapping_sub(self.dlsr);
        // Clock rounding can make a tiny one negative.
        let units = if units > u32::MAX - 66 { 0 } else { units };
        (units <= LONGEST_ROUND_TRIP).then(|| Duration::from_micros((u64::from(units) * 1_000_000) >> 16))
    }

    fn parse(b: &[u8]) -> ReportBlock {
        let lost = (be32(&b[4..8]) << 8) as i32 >> 8;
        ReportBlock {
            ssrc: be32(&b[0..4]),
            fraction_lost: b[4],
            cumulative_lost: lost,
            highest: be32(&b[8..12]),
            jitter: be32(&b[12..16]),
            lsr: be32(&b[16..20]),
            dlsr: be32(&b[20..24]),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&(u32::from(self.fraction_lost) << 24 | lost).to_be_bytes());
        for word in [self.highest, self.jitter, self.lsr, self.dlsr] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// The sender's part of a sender report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// 64-bit NTP time of this report.
    pub ntp: u64,
    /// The same instant on the stream's timeline.
    pub timestamp: u32,
    /// Packets sent since the beginning.
    pub packets: u32,
    /// Payload bytes sent since the beginning.
    pub octets: u32,
}

/// The report blocks of one packet, read as they are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_at_checked(ReportBlock::LEN)?;
        self.0 = rest;
        Some(ReportBlock::parse(block))
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcpPacket<'a> {
    /// Sender report.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// What they send.
        info: SenderInfo,
        /// What they receive.
        blocks: Blocks<'a>,
    },
    /// Receiver report.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What they receive.
        blocks: Blocks<'a>,
    },
    /// The canonical name of the first source of a source description.
    Cname {
        /// Whose.
        ssrc: u32,
        /// As sent.
        name: &'a [u8],
    },
    /// A source leaves.
    Bye {
        /// The first that leaves.
        ssrc: u32,
    },
    /// One block of an extended report (RFC 3611).
    Extended {
        /// Who reports.
        ssrc: u32,
        /// What.
        block: XrBlock<'a>,
    },
}

/// The packets of a received compound; unknown types are skipped, and reading ends at the first that is malformed.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
    /// What is left of an extended report, and whose that is.
    extended: (u32, &'a [u8]),
}

/// Reads a datagram. Reduced-size compounds (RFC 5506) are welcome too.
pub fn parse(data: &[u8]) -> Compound<'_> {
    Compound { rest: data, extended: (0, &[]) }
}

impl<'a> Iterator for Compound<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        loop {
            let (ssrc, blocks) = &mut self.extended;
            if let Some(block) = xr::next(blocks) {
                return Some(RtcpPacket::Extended { ssrc: *ssrc, block });
            }
            let [first, kind, ..] = *self.rest else { return None };
            let length = self.rest.get(2..4).map(|w| usize::from(be16(w)) * 4 + 4)?;
            let Some((packet, rest)) = self.rest.split_at_checked(length).filter(|_| first >> 6 == 2) else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            let Some(body) = unpad(packet, first) else {
                self.rest = &[];
                return None;
            };
            if kind == XR {
                self.extended =
                    body.split_at_checked(4).map_or((0, &[]), |(ssrc, blocks)| (be32(ssrc), blocks));
            } else if let Some(found) = read(kind, usize::from(first & 0x1f), body) {
                return Some(found);
            }
        }
    }
}

/// The packet behind its four-byte header and without padding.
fn unpad(packet: &[u8], first: u8) -> Option<&[u8]> {
    let body = &packet[4..];
    if first & 0x20 == 0 {
        return Some(body);
    }
    let padding = usize::from(*body.last()?);
    body.get(..body.len().checked_sub(padding)?).filter(|_| padding > 0)
}

fn read(kind: u8, count: usize, body: &[u8]) -> Option<RtcpPacket<'_>> {
    let ssrc = be32(body.get(..4)?);
    match kind {
        SR => {
            let info = body.get(4..24)?;
            let blocks = Blocks(body.get(24..24 + count * ReportBlock::LEN)?);
            let ntp = u64::from(be32(&info[0..4])) << 32 | u64::from(be32(&info[4..8]));
            let info = SenderInfo {
                ntp,
                timestamp: be32(&info[8..12]),
                packets: be32(&info[12..16]),
                octets: be32(&info[16..20]),
            };
            Some(RtcpPacket::SenderReport { ssrc, info, blocks })
        }
        RR => {
            let blocks = Blocks(body.get(4..4 + count * ReportBlock::LEN)?);
            Some(RtcpPacket::ReceiverReport { ssrc, blocks })
        }
        SDES if count > 0 => cname(&body[4..]).map(|name| RtcpPacket::Cname { ssrc, name }),
        BYE if count > 0 => Some(RtcpPacket::Bye { ssrc }),
        _ => None,
    }
}

/// The CNAME among the items of the first chunk (RFC 3550 §6.5).
fn cname(mut items: &[u8]) -> Option<&[u8]> {
    loop {
        let [kind, length, ref rest @ ..] = *items else { return None };
        if kind == 0 {
            return None;
        }
        let (value, after) = rest.split_at_checked(usize::from(length))?;
        if kind == CNAME {
            return Some(value);
        }
        items = after;
    }
}

/// Appends a sender report (with `sender`) or receiver report and our CNAME: a complete compound (RFC 3550 §6.1).
pub fn write_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    sender: Option<SenderInfo>,
    block: Option<ReportBlock>,
    cname: &str,
) {
    write_reports(out, ssrc, sender, block);
    let name = &cname.as_bytes()[..cname.len().min(255)];
    // Chunk: SSRC, item, at least one zero byte, padded to a word.
    let chunk = (4 + 2 + name.len() + 1).next_multiple_of(4);
    header(out, 1, SDES, (chunk / 4) as u16);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[CNAME, name.len() as u8]);
    out.extend_from_slice(name);
    out.resize(out.len() + chunk - 6 - name.len(), 0);
}

/// The same without CNAME, for peers that agreed to reduced size (RFC 5506).
pub fn write_reports(out: &mut Vec<u8>, ssrc: u32, sender: Option<SenderInfo>, block: Option<ReportBlock>) {
    let words = 1 + if sender.is_some() { 5 } else { 0 } + if block.is_some() { 6 } else { 0 };
    header(out, u8::from(block.is_some()), if sender.is_some() { SR } else { RR }, words);
    out.extend_from_slice(&ssrc.to_be_bytes());
    if let Some(s) = sender {
        out.extend_from_slice(&s.ntp.to_be_bytes());
        for word in [s.timestamp, s.packets, s.octets] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    if let Some(b) = block {
        b.write(out);
    }
}

/// Appends a BYE (RFC 3550 §6.6); put it behind `write_report`.
pub fn write_bye(out: &mut Vec<u8>, ssrc: u32) {
    header(out, 1, BYE, 1);
    out.extend_from_slice(&ssrc.to_be_bytes());
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    out.extend_from_slice(&[0x80 | count, kind]);
    out.extend_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 0xdead_beef,
        fraction_lost: 51,
        cumulative_lost: -3,
        highest: 0x0001_0005,
        jitter: 17,
        lsr: 0x3344_5566,
        dlsr: 65_536,
    };

    const INFO: SenderInfo =
        SenderInfo { ntp: 0x1122_3344_5566_7788, timestamp: 99, packets: 7, octets: 1120 };

    #[test]
    fn report_with_bye_written_is_read_back() {
        let mut bytes = Vec::new();
        write_report(&mut bytes, 5, Some(INFO), Some(BLOCK), "a@b");
        write_bye(&mut bytes, 5);
        let mut read = parse(&bytes);
        let Some(RtcpPacket::SenderReport { ssrc: 5, info, mut blocks }) = read.next() else { panic!() };
        assert_eq!((info, blocks.next(), blocks.next()), (INFO, Some(BLOCK), None));
        assert_eq!(read.next(), Some(RtcpPacket::Cname { ssrc: 5, name: b"a@b" }));
        assert_eq!(read.next(), Some(RtcpPacket::Bye { ssrc: 5 }));
        assert_eq!(read.next(), None);
    }

    /// RFC 3550 §6.4.2: with nothing to report on, an empty receiver report stands at the head of the compound.
    #[test]
    fn an_empty_receiver_report_is_eight_bytes() {
        let mut bytes = Vec::new();
        write_report(&mut bytes, 5, None, None, "x");
        assert_eq!(&bytes[..8], &[0x80, 201, 0, 1, 0, 0, 0, 5]);
    }

    /// RFC 3550 §6.5: items end with at least one zero byte, and the chunk at a 32-bit boundary.
    #[test]
    fn every_cname_length_ends_at_a_word_with_a_zero() {
        for length in 0..=300 {
            let name = "n".repeat(length);
            let mut bytes = Vec::new();
            write_report(&mut bytes, 5, None, None, &name);
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(bytes.last(), Some(&0));
            assert_eq!(usize::from(be16(&bytes[10..12])) * 4 + 4, bytes.len() - 8);
            let kept = name.as_bytes()[..length.min(255)].to_vec();
            assert_eq!(parse(&bytes).nth(1), Some(RtcpPacket::Cname { ssrc: 5, name: &kept }));
        }
    }

    #[test]
    fn unknown_packets_are_skipped_and_what_follows_is_read() {
        // Feedback (RFC 4585, type 205) before a BYE, and a padded BYE.
        let mut bytes = vec![0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        bytes.extend_from_slice(&[0xa1, 203, 0, 2, 0, 0, 0, 9, 0, 0, 0, 4]);
        assert_eq!(parse(&bytes).collect::<Vec<_>>(), [RtcpPacket::Bye { ssrc: 9 }]);
    }

    /// RFC 3550 A.2: version and length of every packet must fit.
    #[test]
    fn reading_ends_at_the_first_malformed_packet() {
        let mut bytes = Vec::new();
        write_bye(&mut bytes, 1);
        bytes.extend_from_slice(&[0x41, 203, 0, 1, 0, 0, 0, 2]);
        write_bye(&mut bytes, 3);
        assert_eq!(parse(&bytes).count(), 1);
        assert_eq!(parse(&[0x81, 203, 0, 2, 0, 0, 0, 1]).count(), 0, "longer than the datagram");
        assert_eq!(parse(&[0x82, 201, 0, 1, 0, 0, 0, 1]).count(), 0, "two blocks announced, none there");
    }

    /// RFC 3550 §6.4.1, figure 2: A = 0xb710:8000, LSR = 0xb705:2000, DLSR = 0x0005:4000, delay 6.125 s.
    #[test]
    fn round_trip_of_the_standards_own_example() {
        let block = ReportBlock { lsr: 0xb705_2000, dlsr: 0x0005_4000, ..BLOCK };
        // A wall time whose NTP middle bits are those of the figure; NTP seconds 0xb44db710, fraction 0x8000....
        let wall = Wall((0xb44d_b710u64 - 2_208_988_800) * 1_000_000 + 500_000);
        assert_eq!((wall.ntp() >> 16) as u32, 0xb710_8000);
        assert_eq!(block.round_trip(wall), Some(Duration::from_millis(6125)));
    }

    #[test]
    fn impossible_round_trips_are_none() {
        let wall = Wall(1_700_000_000_000_000);
        let now = (wall.ntp() >> 16) as u32;
        let at = |lsr: u32, dlsr| ReportBlock { lsr, dlsr, ..BLOCK }.round_trip(wall);
        assert_eq!(at(0, 0), None, "they have no report of ours");
        assert_eq!(at(now, 65_536), None, "answered before it was sent");
        assert_eq!(at(now.wrapping_sub(100 << 16), 0), None, "100 s");
        assert_eq!(at(now.wrapping_sub(10), 12), Some(Duration::ZERO), "rounding");
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 200u8..205) {
            if bytes.len() > 4 {
                bytes[0] = bytes[0] & 0x3f | 0x80;
                bytes[1] = kind;
                bytes[2] = 0;
                bytes[3] %= 30;
            }
            for packet in parse(&bytes) {
                if let RtcpPacket::SenderReport { blocks, .. } | RtcpPacket::ReceiverReport { blocks, .. } = packet {
                    prop_assert!(blocks.count() <= 31);
                }
            }
        }

        #[test]
        fn every_block_survives_the_wire(ssrc: u32, fraction_lost: u8, lost in -0x80_0000i32..=0x7f_ffff, highest: u32, jitter: u32, lsr: u32) {
            let block = ReportBlock { ssrc, fraction_lost, cumulative_lost: lost, highest, jitter, lsr, dlsr: !lsr };
            let mut bytes = Vec::new();
            write_report(&mut bytes, 1, None, Some(block), "c");
            let Some(RtcpPacket::ReceiverReport { mut blocks, .. }) = parse(&bytes).next() else { panic!() };
            prop_assert_eq!(blocks.next(), Some(block));
        }
    }
}
