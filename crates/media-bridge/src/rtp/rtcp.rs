//! RTCP (RFC 3550 §6): reading compound packets, writing ours.

use std::time::Duration;

use types::Wall;

use super::packet::{be16, be32};

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
}

/// The packets of a received compound; unknown types are skipped, and reading ends at the first that is malformed.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a>(&'a [u8]);

/// Reads a datagram. Reduced-size compounds (RFC 5506) are welcome too.
pub fn parse(data: &[u8]) -> Compound<'_> {
    Compound(data)
}

impl<'a> Iterator for Compound<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        loop {
            let [first, kind, ..] = *self.0 else { return None };
            let length = self.0.get(2..4).map(|w| usize::from(be16(w)) * 4 + 4)?;
            let Some((packet, rest)) = self.0.split_at_checked(length).filter(|_| first >> 6 == 2) else {
                self.0 = &[];
                return None;
            };
            self.0 = rest;
            let Some(body) = unpad(packet, first) else {
                self.0 = &[];
                return None;
            };
            if let Some(found) = read(kind, usize::from(first & 0x1f), body) {
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
    let name = &cname.as_bytes()[..cname.len().min(255)];
    // Chunk: SSRC, item, at least one zero byte, padded to a word.
    let chunk = (4 + 2 + name.len() + 1).next_multiple_of(4);
    header(out, 1, SDES, (chunk / 4) as u16);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[CNAME, name.len() as u8]);
    out.extend_from_slice(name);
    out.resize(out.len() + chunk - 6 - name.len(), 0);
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
