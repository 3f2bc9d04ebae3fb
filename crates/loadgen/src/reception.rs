//! What a browser gets of the stream that it is sent, and what it reports of that (RFC 3550 §6.1, §6.4.2).

use crate::line::Line;

/// RFC 3550 §12.1.
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
/// As the browsers' offers have it: type, length, text, and zeros up to a whole word.
const CNAME: [u8; 8] = *b"\x01\x05bench\0";
/// Of the clock of Opus (RFC 7587 §4.1), by which jitter is counted, in so many microseconds.
const TICKS: (u64, u64) = (6, 125);

/// One stream as it is received; another SSRC begins anew.
#[derive(Clone, Copy, Default, Debug)]
pub struct Reception {
    stream: Option<Stream>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    ssrc: u32,
    first: u32,
    highest: u32,
    received: u32,
    /// Expected and received packets when the last report was made.
    prior: (u32, u32),
    /// Of the newest packet, in ticks, and their mean deviation in sixteenths of a tick (RFC 3550 A.8).
    transit: u32,
    jitter: u32,
}

impl Reception {
    /// The header of a packet that came at `at`, nanoseconds. What the line loses was never received: its packets count
    /// from the first one of the stream.
    pub fn hear(&mut self, header: &[u8; 12], at: u64, line: Option<&Line>) {
        let word = |n: usize| u32::from_be_bytes([0, 1, 2, 3].map(|k| header[n + k]));
        let (sequence, ssrc) = (word(0) as u16, word(8));
        let transit = (at / 1_000 * TICKS.0 / TICKS.1) as u32;
        let transit = transit.wrapping_sub(word(4));
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == ssrc) else {
            let first = u32::from(sequence);
            let (highest, received, prior) = (first, 1, (0, 0));
            self.stream = Some(Stream { ssrc, first, highest, received, prior, transit, jitter: 0 });
            return;
        };
        let step = i32::from(sequence.wrapping_sub(stream.highest as u16) as i16);
        let extended = stream.highest.wrapping_add_signed(step);
        if line.is_some_and(|line| line.loses(u64::from(extended.wrapping_sub(stream.first)))) {
            return;
        }
        stream.received += 1;
        if step > 0 {
            stream.highest = extended;
        }
        let change = (transit.wrapping_sub(stream.transit) as i32).unsigned_abs();
        stream.transit = transit;
        stream.jitter = stream.jitter.wrapping_add(change).wrapping_sub(stream.jitter.wrapping_add(8) >> 4);
    }

    /// Of everything since the last one, as a packet of RTCP and the fraction lost in it; none before the first packet.
    pub fn report(&mut self, ssrc: u32) -> Option<(Vec<u8>, u8)> {
        let stream = self.stream.as_mut()?;
        let expected = stream.highest - stream.first + 1;
        let (before, had) = std::mem::replace(&mut stream.prior, (expected, stream.received));
        let (owed, lost) = (expected - before, (expected - before).saturating_sub(stream.received - had));
        let fraction = (lost * 256).checked_div(owed).unwrap_or(0).min(255);
        let all = expected.saturating_sub(stream.received).min(0x7f_ffff);
        let mut report = vec![0x81, RECEIVER_REPORT, 0, 7];
        let words = [ssrc, stream.ssrc, fraction << 24 | all, stream.highest, stream.jitter >> 4, 0, 0];
        report.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        report.extend([0x81, DESCRIPTION, 0, 3]);
        report.extend(ssrc.to_be_bytes());
        report.extend(CNAME);
        Some((report, fraction as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Fate;

    /// Nanoseconds since 1970, as the wire has them.
    const NOW: u64 = 1_790_000_000_000_000_000;

    fn hear(reception: &mut Reception, n: u16, line: Option<&Line>) {
        let mut header = [0x80, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        header[2..4].copy_from_slice(&n.wrapping_add(65_500).to_be_bytes());
        header[4..8].copy_from_slice(&(u32::from(n) * 960).to_be_bytes());
        reception.hear(&header, NOW + u64::from(n) * 20_000_000, line);
    }

    fn word(report: &[u8], n: usize) -> u32 {
        u32::from_be_bytes([0, 1, 2, 3].map(|k| report[4 * n + k]))
    }

    #[test]
    fn a_report_tells_the_fraction_lost_since_the_one_before_and_all_that_was_lost() {
        let (mut reception, mut fates) = (Reception::default(), vec![Fate::Prompt; 150]);
        assert_eq!(reception.report(7), None);
        (fates[10..20].iter_mut()).for_each(|fate| *fate = Fate::Lost);
        let line = Line(fates);
        (0..50).for_each(|n| hear(&mut reception, n, Some(&line)));
        let (report, fraction) = reception.report(7).unwrap();
        assert_eq!((report.len(), fraction), (48, 51));
        assert_eq!((word(&report, 0), word(&report, 1), word(&report, 2)), (0x81c9_0007, 7, 9));
        assert_eq!((word(&report, 3), word(&report, 4)), (51 << 24 | 10, 65_549));
        assert_eq!(
            (word(&report, 5), word(&report, 8), word(&report, 9)),
            (0, 0x81ca_0003, 7),
            "no jitter; SDES"
        );
        (50..100).for_each(|n| hear(&mut reception, n, Some(&line)));
        let (report, fraction) = reception.report(7).unwrap();
        assert_eq!((fraction, word(&report, 3), word(&report, 4)), (0, 10, 65_599));
    }

    #[test]
    fn what_never_came_is_lost_without_a_line() {
        let mut reception = Reception::default();
        (0..=100).filter(|n| n % 10 != 5).for_each(|n| hear(&mut reception, n, None));
        assert_eq!(reception.report(7).unwrap().1, 25, "ten of 101, in parts of 256");
    }
}
