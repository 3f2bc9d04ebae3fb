//! The E-model (ITU-T G.107, G.107.1): what loss, delay and codec leave of a conversation, as a rating R and a MOS.
//!
//! Everything that a gateway can not know (loudness, room noise, echo) has the default that the Recommendations give it. What
//! codecs cost is the ITU's for G.711 and for G.722 without loss; the other values are estimates of ours (`Robustness::of`).

use crate::control::Codec;

/// Ro of G.107 §3.2 with all defaults.
const RO: f64 = 94.769;
/// Is of G.107 §3.3 with all defaults.
const IS: f64 = 1.413;
/// Talker echo loudness rating, dB (G.107 table 2).
const TELR: f64 = 65.0;
/// Weighted echo path loss, dB (G.107 table 2).
const WEPL: f64 = 110.0;
/// The best rating of wideband speech (G.107.1 §7.2).
const RO_WIDE: f64 = 129.0;

/// One direction of a conversation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Conditions {
    /// What speech is coded with.
    pub codec: Codec,
    /// Frequencies above 3.4 kHz reach the listener: the scale of G.107.1.
    pub wide: bool,
    /// Share of packets that are not played, 0 to 1.
    pub loss: f64,
    /// Mean length of a loss against that of random loss, 1 or more (G.107 §3.5).
    pub burst_ratio: f64,
    /// Mouth to ear, one way, milliseconds.
    pub delay_ms: f64,
}

impl Conditions {
    /// The rating R: 93.2 at best with 3.4 kHz, up to 129 with 7 kHz.
    pub fn rating(&self) -> f64 {
        if self.wide {
            RO_WIDE - absolute_delay(self.delay_ms) - self.equipment()
        } else {
            RO - IS - echo(self.delay_ms) - absolute_delay(self.delay_ms) - self.equipment()
        }
    }

    /// The same as a mean opinion score, 1 to 4.5 (G.107 annex B, G.107.1 annex A).
    pub fn mos(&self) -> f64 {
        mos(self.rating(), self.wide)
    }

    /// Ie,eff (G.107 §3.5): the codec, and what loss does to it.
    fn equipment(&self) -> f64 {
        let Robustness { ie, bpl } = Robustness::of(self.codec, self.wide);
        let percent = 100.0 * self.loss.clamp(0.0, 1.0);
        ie + (95.0 - ie) * percent / (percent / self.burst_ratio.max(1.0) + bpl)
    }
}

/// A codec's impairment without loss, and how well it bears loss.
struct Robustness {
    ie: f64,
    bpl: f64,
}

impl Robustness {
    fn of(codec: Codec, wide: bool) -> Robustness {
        let (ie, bpl) = match (codec, wide) {
            // G.113 appendix I: G.711 with concealment as in its appendix I.
            (Codec::Pcmu | Codec::Pcma, _) | (Codec::G722, false) => (0.0, 25.1),
            // G.113 appendix IV: Ie of G.722 at 64 kbit/s. Its Bpl is our estimate: concealed as G.711 is.
            (Codec::G722, true) => (13.0, 25.1),
            // The ITU has no values for Opus. Alahmadi, Pocta and Melvin (2021, doi 10.1145/3458751) derived Ie = 2.03 and
            // Bpl = 16.0 for narrowband at 11 kbit/s without FEC. Ours has 20-24 kbit/s with FEC: the same Ie, which more bits
            // do not make worse, and a Bpl of our own, which follows from PESQ of real speech (4.34 without loss, 4.11 at 5 %).
            (Codec::Opus, false) => (2.0, 46.0),
            // Our estimates. The same authors have Ie = 18 to 20, Bpl = 19 for wideband at 13-15 kbit/s without FEC, falling
            // by 3 and more with each kbit/s; ours has 24-32 with FEC.
            (Codec::Opus, true) => (8.0, 46.0),
        };
        Robustness { ie, bpl }
    }
}

/// MOS of a rating (G.107 annex B); ratings of wideband speech are brought to that scale first (G.107.1 annex A).
pub fn mos(rating: f64, wide: bool) -> f64 {
    let r = if wide { rating / 1.29 } else { rating };
    match r {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        // The cubic dips below 1 for ratings under 6.5.
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

/// Idte and Idle (G.107 §3.4): echo, with the sidetone's default.
fn echo(delay_ms: f64) -> f64 {
    let (t, tr) = (delay_ms, 2.0 * delay_ms);
    let terv = TELR - 40.0 * ((1.0 + t / 10.0) / (1.0 + t / 150.0)).log10() + 6.0 * (-0.3 * t * t).exp();
    let re = 80.0 + 2.5 * (terv - 14.0);
    // Roe = -1.5 (No - RLR) is Ro again with the defaults.
    let half = (RO - re) / 2.0;
    let talker = (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-t).exp());
    let rle = 10.5 * (WEPL + 7.0) * (tr + 1.0).powf(-0.25);
    let half = (RO - rle) / 2.0;
    let listener = half + (half * half + 169.0).sqrt();
    talker + listener
}

/// Idd (G.107 §3.4, G.107.1 §7.4): waiting for each other.
fn absolute_delay(delay_ms: f64) -> f64 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    let sixth = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (sixth(x) - 3.0 * sixth(x / 3.0) + 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEST: Conditions =
        Conditions { codec: Codec::Pcmu, wide: false, loss: 0.0, burst_ratio: 1.0, delay_ms: 0.0 };

    fn close(value: f64, expected: f64, within: f64) {
        assert!((value - expected).abs() <= within, "{value}, not {expected}");
    }

    /// G.107 §3.7: all parameters at their defaults give R = 93.2, MOS 4.41.
    #[test]
    fn defaults_of_the_recommendation_give_93_2_and_4_41() {
        close(BEST.rating(), 93.206, 0.005);
        close(BEST.mos(), 4.41, 0.005);
    }

    /// G.107 table B.1 (MOS for the categories' limits), and its ends.
    #[test]
    fn ratings_become_the_mos_of_annex_b() {
        for (rating, expected) in
            [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0), (100.0, 4.5)]
        {
            close(mos(rating, false), expected, 0.0065);
        }
        close(mos(129.0, true), 4.5, 0.001);
        assert_eq!((mos(-5.0, false), mos(120.0, false), mos(3.0, false)), (1.0, 4.5, 1.0));
    }

    /// The well-known fit to the curve of G.107 (Cole and Rosenbluth, "Voice over IP performance monitoring", 2001):
    /// Id = 0.024 d + 0.11 (d - 177.3) for what of it is positive.
    #[test]
    fn delay_costs_what_the_published_fit_says() {
        for delay_ms in [25.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0, 350.0] {
            let fit = 0.024 * delay_ms + 0.11 * f64::max(0.0, delay_ms - 177.3);
            close(93.206 - Conditions { delay_ms, ..BEST }.rating(), fit, 2.0);
        }
    }

    /// G.113 appendix I's Bpl = 25.1 in the formula of G.107 §3.5.
    #[test]
    fn loss_costs_by_bpl_and_more_in_bursts() {
        let lossy = |percent: f64, burst_ratio| {
            93.206 - Conditions { loss: percent / 100.0, burst_ratio, ..BEST }.rating()
        };
        close(lossy(1.0, 1.0), 3.64, 0.02);
        close(lossy(5.0, 1.0), 15.78, 0.02);
        close(lossy(20.0, 1.0), 42.13, 0.02);
        close(lossy(5.0, 2.0), 17.21, 0.02);
    }

    /// What was measured at 5 % (docs/PERFORMANCE.md's settings): FEC leaves Opus at 4.11.
    #[test]
    fn opus_with_fec_is_near_what_pesq_says() {
        let opus = Conditions { codec: Codec::Opus, ..BEST };
        close(opus.mos(), 4.36, 0.03);
        close(Conditions { loss: 0.05, ..opus }.mos(), 4.11, 0.05);
    }

    /// G.113 appendix IV: Ie,WB = 13 for G.722; on the common wideband scale R = 116.
    #[test]
    fn wideband_has_the_scale_of_g_107_1() {
        let wide = Conditions { codec: Codec::G722, wide: true, ..BEST };
        close(wide.rating(), 116.0, 0.01);
        close(wide.mos(), 4.34, 0.01);
    }

    proptest! {
        #[test]
        fn more_loss_or_delay_never_sounds_better(loss in 0.0..1.0, more in 0.0..0.5, delay in 0.0..2000.0, later in 0.0..500.0, ratio in 1.0..8.0, wide: bool, pick in 0usize..4) {
            let codec = Codec::ALL[pick];
            let at = Conditions { codec, wide, loss, burst_ratio: ratio, delay_ms: delay };
            prop_assert!((1.0..=4.5).contains(&at.mos()));
            let worse = Conditions { loss: loss + more, ..at };
            prop_assert!(worse.rating() <= at.rating() + 1e-9);
            let slower = Conditions { delay_ms: delay + later, ..at };
            // The echo term of G.107 has a small dent near zero.
            prop_assert!(slower.rating() <= at.rating() + 0.2);
        }
    }
}
