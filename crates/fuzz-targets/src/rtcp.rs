use std::time::{Duration, Instant};

use media_bridge::rtp::rtcp::{RtcpPacket, parse, write_bye, write_report};
use media_bridge::rtp::xr::{Extended, XrBlock, write_extended};
use media_bridge::rtp::{InStats, RtpPacket};
use types::Wall;

const WALL: Wall = Wall(1_700_000_000_000_000);
/// Longest canonical name that fits (RFC 3550 §6.5.1).
const LONGEST_NAME: usize = 255;

/// Whatever is read of a compound is bounded by it, and reads the same when we have written it. A sender report makes the
/// next block echo it.
pub fn fuzz_rtcp(data: &[u8]) {
    let (mut packets, now) = (0, Instant::now());
    for packet in parse(data) {
        packets += 1;
        match packet {
            RtcpPacket::SenderReport { ssrc, info, blocks } => {
                let block = blocks.last();
                let mut written = Vec::new();
                write_report(&mut written, ssrc, Some(info), block, "c");
                let again = parse(&written).next();
                let Some(RtcpPacket::SenderReport { ssrc: by, info: said, mut blocks }) = again else {
                    panic!("{again:?} of {packet:?}");
                };
                assert_eq!((by, said, blocks.next()), (ssrc, info, block));
                echoed(ssrc, info.ntp, now);
            }
            RtcpPacket::ReceiverReport { ssrc, blocks } => {
                assert!(blocks.count() <= 31);
                for block in blocks {
                    assert!(block.round_trip(WALL).is_none_or(|rtt| rtt <= Duration::from_secs(30)));
                    let mut written = Vec::new();
                    write_report(&mut written, ssrc, None, Some(block), "");
                    let again = parse(&written).next();
                    let Some(RtcpPacket::ReceiverReport { ssrc: by, mut blocks }) = again else {
                        panic!("{again:?} of {packet:?}");
                    };
                    assert_eq!((by, blocks.next()), (ssrc, Some(block)));
                }
            }
            RtcpPacket::Cname { name, .. } => assert!(name.len() <= LONGEST_NAME),
            RtcpPacket::Extended { ssrc, block } => extended(ssrc, block),
            RtcpPacket::Bye { ssrc } => {
                let mut written = Vec::new();
                write_bye(&mut written, ssrc);
                assert_eq!(parse(&written).next(), Some(packet));
            }
        }
    }
    assert!(packets * 4 <= data.len(), "{packets} packets in {} bytes", data.len());
}

/// Each block reads the same when we have written it (RFC 3611 §4).
fn extended(ssrc: u32, block: XrBlock<'_>) {
    let mut report = Extended::default();
    match block {
        XrBlock::ReferenceTime(ntp) => report.reference_time = Some(ntp),
        XrBlock::Dlrr(answers) => report.dlrr = answers.last(),
        XrBlock::Voip(voip) => report.voip = Some(voip),
    }
    let mut written = Vec::new();
    write_extended(&mut written, ssrc, &report);
    match (parse(&written).next(), block) {
        (Some(RtcpPacket::Extended { ssrc: by, block: XrBlock::Dlrr(mut again) }), XrBlock::Dlrr(_)) => {
            assert_eq!((by, again.next(), again.next()), (ssrc, report.dlrr, None));
        }
        (None, XrBlock::Dlrr(_)) => assert_eq!(report.dlrr, None),
        (again, _) => assert_eq!(again, Some(RtcpPacket::Extended { ssrc, block })),
    }
}

/// RFC 3550 §6.4.1: LSR is the middle of the report's time, DLSR what passed since.
fn echoed(ssrc: u32, ntp: u64, now: Instant) {
    let mut stats = InStats::new(8_000);
    let payload = &[0xff];
    let packet = RtpPacket {
        payload_type: 0,
        marker: false,
        sequence: ntp as u16,
        timestamp: ssrc,
        ssrc,
        header: 12,
        payload,
    };
    stats.received(&packet, now);
    stats.sender_report(ntp, now);
    let block = stats.report_block(now + Duration::from_secs(1));
    assert_eq!(block.map(|b| (b.ssrc, b.lsr, b.dlsr)), Some((ssrc, (ntp >> 16) as u32, 1 << 16)));
}
