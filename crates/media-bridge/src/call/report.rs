//! RTCP of all legs, statistics, and the alarm of a silent peer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use types::{Entropy, Wall};

use super::leg::{Leg, Path, REPORT_INTERVAL};
use super::outbox::Outbox;
use super::secured::Kind;
use super::{DropCause, MediaCall};
use crate::control::{Bandwidth, Event, LegStats, Source};
use crate::quality::Observed;
use crate::rtp::rtcp::{self, Blocks, RtcpPacket};
use crate::rtp::xr;
use crate::sdp::{Agreed, clock_rate};

impl MediaCall {
    /// RTCP of a leg, in the clear. On a leg of RTP only from where its RTP comes (field problem 36).
    pub(super) fn on_rtcp(&mut self, a: usize, source: SocketAddr, data: &[u8], now: Instant, wall: Wall) {
        let leg = &mut self.legs[a];
        let known = match &mut leg.path {
            Path::Rtp(rtp) => rtp.latch.as_mut().is_some_and(|latch| latch.check_rtcp(source)),
            Path::WebRtc(_) => true,
        };
        if !known {
            leg.reject(DropCause::WrongSource);
            return;
        }
        for packet in rtcp::parse(data) {
            match packet {
                RtcpPacket::SenderReport { info, blocks, .. } => {
                    leg.stats_in.sender_report(info.ntp, now);
                    leg.reported(blocks, wall);
                }
                RtcpPacket::ReceiverReport { blocks, .. } => leg.reported(blocks, wall),
                RtcpPacket::Extended { ssrc, block } => leg.on_extended(ssrc, block, now, wall),
                RtcpPacket::Cname { .. } | RtcpPacket::Bye { .. } => {}
            }
        }
    }

    /// Timers that tell rather than play.
    pub(super) fn report_timeout(&mut self, a: usize, now: Instant, wall: Wall) {
        if self.legs[a].stats_at <= now {
            self.legs[a].stats_at = now + REPORT_INTERVAL;
            let stats = self.take_stats(a, wall);
            self.outbox.tell(Event::Stats { leg: self.legs[a].id, stats });
        }
        let wide = self.is_wide(a);
        let MediaCall { legs, outbox, entropy, .. } = self;
        let leg = &mut legs[a];
        if leg.silent_at.is_some_and(|at| at <= now) {
            leg.silent_at = None;
            if let Some(expected) = leg.promised.clone() {
                outbox.tell(Event::Silent { leg: leg.id, expected });
            }
        }
        if leg.is_report_due(&mut **entropy, now) {
            leg.report(wide, outbox, now, wall);
        }
    }
}

impl MediaCall {
    /// A leg's counters with what they say of the time since they were last told.
    pub(super) fn take_stats(&mut self, a: usize, wall: Wall) -> LegStats {
        let wide = self.is_wide(a);
        let leg = &mut self.legs[a];
        self.drops.merge(leg.drops().since(&mut leg.counters.told));
        let stats = leg.stats();
        let mut monitor = leg.monitor;
        let moment = leg.observed(wide).and_then(|observed| monitor.moment(&observed, wall));
        leg.monitor = monitor;
        LegStats { moment, quality: monitor.quality(), ..stats }
    }

    /// Whether more than 3.4 kHz goes all the way: nobody in the conversation has G.711.
    fn is_wide(&self, a: usize) -> bool {
        let leg = &self.legs[a];
        let wide = |leg: &Leg| leg.agreed.is_some_and(|a| Bandwidth::of(a.codec) > Bandwidth::Narrow);
        let talks_to =
            |other: &&Leg| leg.source == Source::Leg(other.id) || other.source == Source::Leg(leg.id);
        wide(leg) && self.legs.iter().filter(talks_to).all(wide)
    }
}

impl Leg {
    fn reported(&mut self, blocks: Blocks<'_>, wall: Wall) {
        let ours = self.out.ssrc();
        let Some(clock) = self.agreed.map(|agreed| clock_rate(agreed.codec)) else { return };
        for block in blocks.filter(|b| b.ssrc == ours) {
            self.feedback(Some(block.fraction_lost), block.round_trip(wall));
            self.monitor.reported(&block, clock);
        }
    }

    /// The peer tells how our stream arrives.
    pub(super) fn feedback(&mut self, fraction_lost: Option<u8>, rtt: Option<Duration>) {
        if let Some(fraction) = fraction_lost {
            self.counters.remote_fraction_lost = fraction;
            let percent = u16::from(fraction) * 100 / 256;
            self.mouth.set_loss(u8::try_from(percent).unwrap_or(100));
        }
        self.counters.rtt = rtt.or(self.counters.rtt);
    }

    /// What is known of the stream received, once a codec is agreed.
    pub(super) fn observed(&self, wide: bool) -> Option<Observed<'_>> {
        let Agreed { codec, .. } = self.agreed?;
        Some(Observed {
            codec,
            wide,
            losses: self.stats_in.losses(),
            late: self.late(),
            jitter: self.stats_in.jitter(),
            round_trip: self.counters.rtt,
        })
    }

    /// Whether it is time; if so, the next time is set.
    fn is_report_due(&mut self, entropy: &mut dyn Entropy, now: Instant) -> bool {
        if self.report_at > now || !self.path.is_ready() {
            return false;
        }
        // A tenth of randomness keeps calls that began together from reporting together (RFC 3550 §6.3.1).
        let interval = self.path.report_interval();
        let tenth = interval.as_micros() as u32 / 10;
        self.report_at = now + interval * 19 / 20 + Duration::from_micros(u64::from(entropy.u32() % tenth));
        true
    }

    fn report(&mut self, wide: bool, outbox: &mut Outbox, now: Instant, wall: Wall) {
        let sender = self.out.sender_info(now, wall);
        let block = self.stats_in.report_block(now);
        if sender.is_none() && block.is_none() {
            return;
        }
        let (ours, name) = (self.out.ssrc(), self.path.cname());
        let extended = self.extended_report(wide, now, wall);
        // The whole comes as often as it would without reduced size (RFC 5506 §4.2).
        let whole = REPORT_INTERVAL.as_secs() as u32 / self.path.report_interval().as_secs().max(1) as u32;
        let short = self.rtcp.reduced && !self.reports.is_multiple_of(whole);
        self.reports = self.reports.wrapping_add(1);
        let report = outbox.written(|out| {
            if short {
                rtcp::write_reports(out, ours, sender, block);
            } else {
                rtcp::write_report(out, ours, sender, block, name);
            }
            xr::write_extended(out, ours, &extended);
        });
        self.path.send(self.id, Kind::Rtcp, report, outbox);
    }

    /// The leg leaves: its stream ends (RFC 3550 §6.6).
    pub(super) fn farewell(&mut self, outbox: &mut Outbox, now: Instant, wall: Wall) {
        let Some(sender) = self.out.sender_info(now, wall).filter(|_| self.path.is_ready()) else { return };
        let block = self.stats_in.report_block(now);
        let (ours, name) = (self.out.ssrc(), self.path.cname());
        let report = outbox.written(|out| {
            rtcp::write_report(out, ours, Some(sender), block, name);
            rtcp::write_bye(out, ours);
        });
        self.path.send(self.id, Kind::Rtcp, report, outbox);
    }
}
