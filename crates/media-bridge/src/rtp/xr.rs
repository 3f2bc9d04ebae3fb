//! RTCP extended reports (RFC 3611): round trip of those who only receive (§4.4, §4.5), and VoIP metrics (§4.7).

use super::packet::{be16, be32};

/// Packet type.
pub(super) const XR: u8 = 207;
const REFERENCE_TIME: u8 = 4;
const DLRR: u8 = 5;
const VOIP: u8 = 7;
/// Of a whole number between 0 and 100: the value is not known (RFC 3611 §4.7.5).
pub const UNKNOWN: u8 = 127;

/// A report block that means something here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XrBlock<'a> {
    /// When the sender of this sent it: 64-bit NTP time of its own clock (§4.4).
    ReferenceTime(u64),
    /// Answers to reference times (§4.5).
    Dlrr(Dlrrs<'a>),
    /// How a stream sounds at the receiver (§4.7).
    Voip(VoipMetrics),
}

/// One answer to a reference time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dlrr {
    /// Whose reference time.
    pub ssrc: u32,
    /// Its middle 32 bits.
    pub lrr: u32,
    /// How long ago that was, 1/65536 s.
    pub dlrr: u32,
}

/// The answers of one block, read as they are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dlrrs<'a>(&'a [u8]);

/// The VoIP metrics block (§4.7). Shares are in 1/256, durations in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VoipMetrics {
    /// Whose stream.
    pub ssrc: u32,
    /// Lost packets among all.
    pub loss_rate: u8,
    /// Packets that came but were not played, for being late.
    pub discard_rate: u8,
    /// Lost and discarded packets within bursts.
    pub burst_density: u8,
    /// The same between bursts.
    pub gap_density: u8,
    /// Mean length of a burst.
    pub burst_duration: u16,
    /// Mean length of what is between bursts.
    pub gap_duration: u16,
    /// Round trip, 0 if not known.
    pub round_trip: u16,
    /// Delay within the reporter, 0 if not known.
    pub end_system_delay: u16,
    /// Signal, noise and residual echo in dB, [`UNKNOWN`] if not known.
    pub levels: [u8; 3],
    /// As many packets in a row end a burst.
    pub gmin: u8,
    /// R of the E-model, [`UNKNOWN`] if not known.
    pub r_factor: u8,
    /// R of another network on the way, [`UNKNOWN`] if not known.
    pub external_r_factor: u8,
    /// Listening quality in tenths, [`UNKNOWN`] if not known.
    pub mos_lq: u8,
    /// Conversational quality in tenths, [`UNKNOWN`] if not known.
    pub mos_cq: u8,
    /// Concealment and kind of jitter buffer.
    pub receiver: u8,
    /// Jitter buffer: now, at most lately, at most ever.
    pub buffer: [u16; 3],
}

impl Iterator for Dlrrs<'_> {
    type Item = Dlrr;

    fn next(&mut self) -> Option<Dlrr> {
        let (b, rest) = self.0.split_at_checked(12)?;
        self.0 = rest;
        Some(Dlrr { ssrc: be32(&b[0..4]), lrr: be32(&b[4..8]), dlrr: be32(&b[8..12]) })
    }
}

/// The next block that means something; others are skipped (§3), and reading ends at one that is too long.
pub(super) fn next<'a>(blocks: &mut &'a [u8]) -> Option<XrBlock<'a>> {
    loop {
        let [kind, _, high, low, ref rest @ ..] = **blocks else { return None };
        let Some((body, after)) = rest.split_at_checked(usize::from(be16(&[high, low])) * 4) else {
            *blocks = &[];
            return None;
        };
        *blocks = after;
        match (kind, body.len()) {
            (REFERENCE_TIME, 8) => {
                return Some(XrBlock::ReferenceTime(
                    u64::from(be32(&body[..4])) << 32 | u64::from(be32(&body[4..])),
                ));
            }
            (DLRR, n) if n.is_multiple_of(12) => return Some(XrBlock::Dlrr(Dlrrs(body))),
            (VOIP, VoipMetrics::LEN) => return Some(XrBlock::Voip(VoipMetrics::parse(body))),
            (_, _) => {}
        }
    }
}

impl VoipMetrics {
    const LEN: usize = 32;

    fn parse(b: &[u8]) -> VoipMetrics {
        let word = |at: usize| be16(&b[at..at + 2]);
        VoipMetrics {
            ssrc: be32(&b[0..4]),
            loss_rate: b[4],
            discard_rate: b[5],
            burst_density: b[6],
            gap_density: b[7],
            burst_duration: word(8),
            gap_duration: word(10),
            round_trip: word(12),
            end_system_delay: word(14),
            levels: [b[16], b[17], b[18]],
            gmin: b[19],
            r_factor: b[20],
            external_r_factor: b[21],
            mos_lq: b[22],
            mos_cq: b[23],
            receiver: b[24],
            buffer: [word(26), word(28), word(30)],
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        block(out, VOIP, Self::LEN);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&[self.loss_rate, self.discard_rate, self.burst_density, self.gap_density]);
        for word in [self.burst_duration, self.gap_duration, self.round_trip, self.end_system_delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.levels);
        out.extend_from_slice(&[self.gmin, self.r_factor, self.external_r_factor, self.mos_lq, self.mos_cq]);
        out.extend_from_slice(&[self.receiver, 0]);
        for word in self.buffer {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// What goes into one extended report.
#[derive(Clone, Copy, Default, Debug)]
pub struct Extended {
    /// Our time, for an answer.
    pub reference_time: Option<u64>,
    /// The answer to theirs.
    pub dlrr: Option<Dlrr>,
    /// How they sound.
    pub voip: Option<VoipMetrics>,
}

/// Appends an extended report, if there is anything in it; put it behind [`super::rtcp::write_report`].
pub fn write_extended(out: &mut Vec<u8>, ssrc: u32, report: &Extended) {
    let Extended { reference_time, dlrr, voip } = report;
    if reference_time.is_none() && dlrr.is_none() && voip.is_none() {
        return;
    }
    let begin = out.len();
    out.extend_from_slice(&[0x80, XR, 0, 0]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    if let Some(ntp) = reference_time {
        block(out, REFERENCE_TIME, 8);
        out.extend_from_slice(&ntp.to_be_bytes());
    }
    if let Some(Dlrr { ssrc, lrr, dlrr }) = dlrr {
        block(out, DLRR, 12);
        for word in [ssrc, lrr, dlrr] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    if let Some(voip) = voip {
        voip.write(out);
    }
    let words = ((out.len() - begin) / 4 - 1) as u16;
    out[begin + 2..begin + 4].copy_from_slice(&words.to_be_bytes());
}

fn block(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(&((length / 4) as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_rtcp::extended_report::{
        DLRRReportBlock, ExtendedReport, ReceiverReferenceTimeReportBlock, VoIPMetricsReportBlock,
    };

    use super::*;
    use crate::rtp::rtcp::{RtcpPacket, parse, write_report};

    const METRICS: VoipMetrics = VoipMetrics {
        ssrc: 0xdead_beef,
        loss_rate: 25,
        discard_rate: 3,
        burst_density: 128,
        gap_density: 2,
        burst_duration: 240,
        gap_duration: 9_000,
        round_trip: 80,
        end_system_delay: 60,
        levels: [UNKNOWN; 3],
        gmin: 16,
        r_factor: 72,
        external_r_factor: UNKNOWN,
        mos_lq: 37,
        mos_cq: 36,
        receiver: 0xc0,
        buffer: [40, 60, 200],
    };
    const ALL: Extended = Extended {
        reference_time: Some(0x1122_3344_5566_7788),
        dlrr: Some(Dlrr { ssrc: 9, lrr: 0x3344_5566, dlrr: 65_536 }),
        voip: Some(METRICS),
    };

    fn compound(report: &Extended) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_report(&mut bytes, 5, None, None, "a@b");
        write_extended(&mut bytes, 5, report);
        bytes
    }

    fn blocks(bytes: &[u8]) -> Vec<XrBlock<'_>> {
        parse(bytes)
            .filter_map(|packet| match packet {
                RtcpPacket::Extended { block, .. } => Some(block),
                RtcpPacket::SenderReport { .. }
                | RtcpPacket::ReceiverReport { .. }
                | RtcpPacket::Cname { .. }
                | RtcpPacket::Bye { .. } => None,
            })
            .collect()
    }

    #[test]
    fn every_block_is_read_back() {
        let bytes = compound(&ALL);
        let [XrBlock::ReferenceTime(ntp), XrBlock::Dlrr(mut dlrrs), XrBlock::Voip(voip)] = blocks(&bytes)[..]
        else {
            panic!("{:?}", blocks(&bytes))
        };
        assert_eq!((ntp, voip), (0x1122_3344_5566_7788, METRICS));
        assert_eq!((dlrrs.next(), dlrrs.next()), (ALL.dlrr, None));
        assert!(blocks(&compound(&Extended::default())).is_empty());
    }

    /// Another implementation's reading of our bytes.
    #[test]
    fn rtc_rtcp_reads_the_same() {
        let bytes = compound(&ALL);
        let packets = rtc_rtcp::packet::unmarshal(&mut &bytes[..]).expect("a compound");
        let theirs = packets.iter().find_map(|p| p.as_any().downcast_ref::<ExtendedReport>()).expect("an XR");
        assert_eq!((theirs.sender_ssrc, theirs.reports.len()), (5, 3));
        let of = |n: usize| theirs.reports[n].as_any();
        let time = of(0).downcast_ref::<ReceiverReferenceTimeReportBlock>().expect("RRTR");
        assert_eq!(Some(time.ntp_timestamp), ALL.reference_time);
        let dlrr = &of(1).downcast_ref::<DLRRReportBlock>().expect("DLRR").reports[0];
        assert_eq!((dlrr.ssrc, dlrr.last_rr, dlrr.dlrr), (9, 0x3344_5566, 65_536));
        let voip = of(2).downcast_ref::<VoIPMetricsReportBlock>().expect("VoIP metrics");
        assert_eq!(
            (voip.ssrc, voip.loss_rate, voip.discard_rate, voip.burst_density, voip.gap_density),
            (METRICS.ssrc, 25, 3, 128, 2)
        );
        assert_eq!((voip.burst_duration, voip.gap_duration), (240, 9_000));
        assert_eq!((voip.round_trip_delay, voip.end_system_delay), (80, 60));
        assert_eq!((voip.gmin, voip.rfactor, voip.ext_rfactor), (16, 72, UNKNOWN));
        assert_eq!((voip.mos_lq, voip.mos_cq, voip.rx_config), (37, 36, 0xc0));
        assert_eq!((voip.jb_nominal, voip.jb_maximum, voip.jb_abs_max), (40, 60, 200));
    }

    /// And ours of its bytes, with a block between that means nothing here.
    #[test]
    fn a_report_of_rtc_rtcp_is_read() {
        use rtc_shared::marshal::Marshal;
        let voip = VoIPMetricsReportBlock { ssrc: 7, loss_rate: 50, mos_cq: 31, ..Default::default() };
        let summary = rtc_rtcp::extended_report::StatisticsSummaryReportBlock::default();
        let report = ExtendedReport { sender_ssrc: 3, reports: vec![Box::new(summary), Box::new(voip)] };
        let bytes = report.marshal().expect("bytes");
        let [XrBlock::Voip(read)] = blocks(&bytes)[..] else { panic!("{:?}", blocks(&bytes)) };
        assert_eq!((read.ssrc, read.loss_rate, read.mos_cq), (7, 50, 31));
    }

    #[test]
    fn a_block_longer_than_its_packet_ends_the_reading() {
        let mut bytes = Vec::new();
        write_extended(&mut bytes, 5, &ALL);
        // The first block claims to be longer than everything.
        bytes[11] = 200;
        assert!(blocks(&bytes).is_empty());
        // A DLRR block of half an answer.
        assert!(blocks(&[0x80, XR, 0, 3, 0, 0, 0, 1, DLRR, 0, 0, 1, 0, 0, 0, 1]).is_empty());
    }

    proptest! {
        #[test]
        fn no_extended_report_makes_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 8..160)) {
            let words = (bytes.len() / 4 - 1) as u16;
            bytes[..2].copy_from_slice(&[0x80, XR]);
            bytes[2..4].copy_from_slice(&words.to_be_bytes());
            prop_assert!(blocks(&bytes).len() <= bytes.len() / 4);
        }
    }
}
