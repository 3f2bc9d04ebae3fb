//! Extended reports of a leg (RFC 3611), where its description asks for them.

use std::time::Instant;

use types::Wall;

use super::leg::{Leg, Path};
use crate::quality::Observed;
use crate::rtp::rtcp::ReportBlock;
use crate::rtp::xr::{Dlrr, Extended, VoipMetrics, XrBlock};
use crate::sdp::RtcpTerms;

/// What the peer said in its own.
#[derive(Clone, Copy, Default)]
pub(super) struct Heard {
    /// Whose reference time came last: its middle 32 bits, and when.
    reference: Option<(u32, u32, Instant)>,
    /// How we sound there.
    voip: Option<VoipMetrics>,
}

impl Heard {
    /// The peer's own score for what it hears, 1 to 5: of the conversation, else of listening.
    pub fn mos(&self) -> Option<f32> {
        let known = |tenths: &u8| (10..=50).contains(tenths);
        let voip = self.voip.as_ref()?;
        [voip.mos_cq, voip.mos_lq].into_iter().find(known).map(|tenths| f32::from(tenths) / 10.0)
    }
}

impl Leg {
    pub(super) fn agree_rtcp(&mut self, terms: RtcpTerms) {
        self.rtcp = match &mut self.path {
            Path::Rtp(rtp) => {
                rtp.mux = terms.mux;
                terms
            }
            // Nobody but carriers knows extended reports.
            Path::WebRtc(_) => RtcpTerms { reduced: terms.reduced, ..RtcpTerms::default() },
        };
    }

    pub(super) fn on_extended(&mut self, ssrc: u32, block: XrBlock<'_>, now: Instant, wall: Wall) {
        let ours = self.out.ssrc();
        match block {
            XrBlock::ReferenceTime(ntp) => self.extended.reference = Some((ssrc, (ntp >> 16) as u32, now)),
            XrBlock::Dlrr(answers) => {
                for Dlrr { lrr, dlrr, .. } in answers.filter(|answer| answer.ssrc == ours) {
                    let times = ReportBlock { lsr: lrr, dlsr: dlrr, ..ReportBlock::default() };
                    self.feedback(None, times.round_trip(wall));
                }
            }
            XrBlock::Voip(voip) if voip.ssrc == ours => self.extended.voip = Some(voip),
            XrBlock::Voip(_) => {}
        }
    }

    /// What is to be told beside a report.
    pub(super) fn extended_report(&self, wide: bool, now: Instant, wall: Wall) -> Extended {
        let terms = self.rtcp;
        let answer = |(ssrc, lrr, at): (u32, u32, Instant)| {
            let passed = now.saturating_duration_since(at).as_nanos();
            Dlrr { ssrc, lrr, dlrr: u32::try_from((passed << 16) / 1_000_000_000).unwrap_or(u32::MAX) }
        };
        let voip = |observed: Observed<'_>| {
            let ssrc = self.stats_in.ssrc().filter(|_| terms.voip)?;
            Some(observed.voip_metrics(ssrc))
        };
        Extended {
            reference_time: terms.round_trip.then(|| wall.ntp()),
            dlrr: self.extended.reference.filter(|_| terms.round_trip).map(answer),
            voip: self.observed(wide).and_then(voip),
        }
    }
}
