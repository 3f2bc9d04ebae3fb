//! What is printed, and what `bench.json` holds.

use serde_json::{Value, json};

use crate::floor::Floor;
use crate::out;
use crate::run::Measurement;
use crate::stats::Latency;

/// One kind of calls, measured at all that go side by side.
pub struct Compared {
    /// Its name in `bench.json`.
    pub name: &'static str,
    /// Ours at the number of calls that both were given.
    pub ours: Measurement,
    /// rtpengine at that number.
    pub rtpengine: Measurement,
    /// Ours at four fifths of what its core would hold.
    pub ours_loaded: Option<Measurement>,
    /// rtpengine likewise.
    pub rtpengine_loaded: Option<Measurement>,
    /// Ours at the highest load at which its encoders do not give way yet.
    pub ours_full_effort: Option<Measurement>,
    /// codecs alone.
    pub floor: Option<Floor>,
}

impl Compared {
    /// Processor time of ours as a share of rtpengine's, at the same number of calls.
    pub fn ratio_cpu(&self) -> f64 {
        self.ours.cpu_ms_per_call_s / self.rtpengine.cpu_ms_per_call_s
    }

    /// What a call of ours costs under load, its encoders as good as ever.
    pub fn ours_under_load(&self) -> &Measurement {
        let loaded = self.ours_loaded.as_ref().filter(|_| self.floor.is_none());
        self.ours_full_effort.as_ref().or(loaded).unwrap_or(&self.ours)
    }

    /// Calls of ours on a core for each of rtpengine's, by what calls cost under load.
    pub fn ratio_calls(&self) -> f64 {
        let theirs = self.rtpengine_loaded.as_ref().unwrap_or(&self.rtpengine);
        self.ours_under_load().calls_per_core() / theirs.calls_per_core()
    }

    /// libopus's own processor time as a share of ours under load.
    pub fn ratio_floor(&self) -> Option<f64> {
        self.floor.map(|floor| floor.cpu_ms_per_call_s / self.ours_under_load().cpu_ms_per_call_s)
    }

    /// The ratios.
    pub fn print_ratios(&self) {
        let floor = self.ratio_floor().map_or("".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0));
        out(&format!("| {} | {:.2} | {:.2} | {floor} |", self.name, self.ratio_cpu(), self.ratio_calls()));
    }

    /// The figures.
    pub fn print_figures(&self) {
        row(self.name, "ours", &self.ours);
        for (who, loaded) in [
            ("ours, 60 % load", &self.ours_full_effort),
            ("ours, 80 % load", &self.ours_loaded),
            ("rtpengine", &Some(self.rtpengine.clone())),
            ("rtpengine, 80 % load", &self.rtpengine_loaded),
        ] {
            loaded.iter().for_each(|loaded| row(self.name, who, loaded));
        }
        if let Some(floor) = self.floor {
            let Floor { cpu_ms_per_call_s: cpu, audio_delay_ms: delay } = floor;
            out(&format!(
                "| {} | codecs alone | | {cpu:.3} | {:.0} | | | | | {delay:.1} | | | |",
                self.name,
                1e3 / cpu
            ));
        }
    }

    /// Its part of `bench.json`.
    pub fn json(&self) -> Value {
        let floor = self.floor.map(|floor| {
            json!({
                "cpu_ms_per_call_s": floor.cpu_ms_per_call_s,
                "calls_per_core": 1e3 / floor.cpu_ms_per_call_s,
                "audio_delay_ms": floor.audio_delay_ms,
            })
        });
        json!({
            "calls": self.ours.calls,
            "ours": measured(&self.ours),
            "rtpengine": measured(&self.rtpengine),
            "ours_at_60_percent": self.ours_full_effort.as_ref().map(measured),
            "ours_at_80_percent": self.ours_loaded.as_ref().map(measured),
            "rtpengine_at_80_percent": self.rtpengine_loaded.as_ref().map(measured),
            "floor": floor,
            "ratio_cpu": self.ratio_cpu(),
            "ratio_calls": self.ratio_calls(),
            "ratio_floor": self.ratio_floor(),
        })
    }
}

/// The head of the ratios.
pub fn ratios_head() {
    out("| | CPU, ours / rtpengine | calls per core, ours / rtpengine | codecs alone / ours |");
    out("|---|---:|---:|---:|");
}

/// The head of the figures.
pub fn figures_head() {
    out(
        "| | | calls | ms of CPU per call-second | calls per core | latency µs p50 | p99 | p99.9 | KiB per call | audio delay ms | loss | profile | load of the generator |",
    );
    out("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|");
}

/// One row of figures.
pub fn row(name: &str, who: &str, m: &Measurement) {
    let delay =
        m.audio_delay_ms.map(|delay| delay.map_or("?".to_owned(), |ms| format!("{ms:.1}"))).join(" / ");
    let loss = if m.loss > 0.0 { format!("{:.3} %", m.loss * 100.0) } else { "0".to_owned() };
    let forged = if m.verified.1 > 0 { format!(", {} not authentic", m.verified.1) } else { String::new() };
    let full =
        if m.full_sockets > 0 { format!(", {} for full sockets", m.full_sockets) } else { String::new() };
    let (Latency { p50, p99, p999 }, own) = (m.latency, m.own_load * 100.0);
    let complexity = m.complexity.as_ref().map_or(String::new(), |words| format!(", complexity {words}"));
    out(&format!(
        "| {name} | {who} | {} | {:.3} | {:.0} | {p50:.0} | {p99:.0} | {p999:.0} | {:.0} | {delay} | {loss}{full}{forged} | {}{complexity} | {own:.0} % |",
        m.calls,
        m.cpu_ms_per_call_s,
        m.calls_per_core(),
        m.rss_kib_per_call,
        m.profile,
    ));
}

/// A measurement as `bench.json` has it.
pub fn measured(m: &Measurement) -> Value {
    json!({
        "calls": m.calls,
        "cpu_ms_per_call_s": m.cpu_ms_per_call_s,
        "calls_per_core": m.calls_per_core(),
        "latency_us_p50": m.latency.p50,
        "latency_us_p99": m.latency.p99,
        "latency_us_p99_9": m.latency.p999,
        "rss_kib_per_call": m.rss_kib_per_call,
        "audio_delay_ms": m.audio_delay(),
        "audio_delay_ms_to_party": m.audio_delay_ms[0],
        "audio_delay_ms_to_browser": m.audio_delay_ms[1],
        "loss": m.loss,
        "full_sockets": m.full_sockets,
        "verified": m.verified.0,
        "not_authentic": m.verified.1,
        "srtp_profile": m.profile,
        "opus_complexity": m.complexity,
        "to_browser_kbit": m.to_browser_kbit,
        "generator_load": m.own_load,
    })
}
