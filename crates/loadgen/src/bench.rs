//! Everything, one after the other, in some minutes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::floor::{Floor, floor};
use crate::report::{Compared, figures_head, measured, ratios_head, row};
use crate::run::{Bench, Measurement};
use crate::speech::Recording;
use crate::workload::{Against, Workload};
use crate::{Fallible, out, target};

/// How long each load is measured.
const SPAN: Duration = Duration::from_secs(6);
/// The most calls that this process holds on one core beside what it counts: 2 x 50 packets in and out for each.
const GENERATOR: usize = 2_200;
/// The load under which latency is measured.
const LOADED: f64 = 0.8;
/// The gateway's encoders give way from a load of 70 % on.
const FULL_EFFORT: f64 = 0.6;
/// The numbers of calls at which the cost of one is compared.
const STEPS: [usize; 5] = [10, 100, 400, 800, 1_000];
/// Browsers that set up at once.
const SET_UPS: usize = 400;

/// How many calls both are given.
fn calls(workload: Workload) -> usize {
    match workload {
        Workload::Relay | Workload::RelayFirst => 800,
        // rtpengine holds some fifty.
        Workload::Transcode | Workload::Wideband => 40,
    }
}

fn fresh(workload: Workload, against: Against, recording: &Recording, calls: usize) -> Fallible<Measurement> {
    let mut bench = Bench::start(workload, against, recording)?;
    bench.grow(calls)?;
    let measured = bench.measure(SPAN)?;
    row(workload.name(), &format!("{against:?}"), &measured);
    Ok(measured)
}

/// At a share of what a core would hold by this measurement; none, with the reason printed, where it does not hold it.
fn loaded(
    (workload, against): (Workload, Against),
    recording: &Recording,
    by: &Measurement,
    share: f64,
) -> Option<Measurement> {
    let calls = ((by.calls_per_core() * share) as usize).clamp(1, GENERATOR);
    let done = fresh(workload, against, recording, calls);
    done.inspect_err(|error| out(&format!("{against:?} with {calls} calls: {error}"))).ok()
}

fn compare(workload: Workload, recording: &Recording, rtpengine: Against) -> Fallible<Compared> {
    let both = calls(workload);
    let ours = fresh(workload, Against::Ours, recording, both)?;
    let theirs = fresh(workload, rtpengine, recording, both)?;
    let us = (workload, Against::Ours);
    let encodes = workload.floor().is_some();
    let ours_full_effort = encodes.then(|| loaded(us, recording, &ours, FULL_EFFORT)).flatten();
    let ours_loaded = loaded(us, recording, ours_full_effort.as_ref().unwrap_or(&ours), LOADED);
    // A call among few costs more, so what was meant as that load was less; encoders of ours give way at it.
    let again = ours_loaded.as_ref().filter(|_| !encodes).and_then(|by| loaded(us, recording, by, LOADED));
    let ours_loaded = again.or(ours_loaded);
    let rtpengine_loaded = loaded((workload, rtpengine), recording, &theirs, LOADED);
    let floor = alone(workload, recording, ours_full_effort.as_ref().map_or(both, |one| one.calls))?;
    let name = workload.name();
    Ok(Compared { name, ours, rtpengine: theirs, ours_loaded, rtpengine_loaded, ours_full_effort, floor })
}

fn alone(workload: Workload, recording: &Recording, calls: usize) -> Fallible<Option<Floor>> {
    let Some(settings) = workload.floor() else { return Ok(None) };
    let (says, pcm) = (workload.says(recording, Against::Ours)?, recording.frames(settings.rate));
    floor(calls, &says, &pcm, settings).map(Some)
}

/// What one call costs, alone and among many; a growing number through one process.
fn steps(recording: &Recording) -> Fallible<Vec<Measurement>> {
    let mut bench = Bench::start(Workload::Relay, Against::Ours, recording)?;
    let step = |calls| {
        bench.grow(calls)?;
        let measured = bench.measure(SPAN / 2)?;
        row("cost per call", "ours", &measured);
        Ok(measured)
    };
    STEPS.into_iter().map(step).collect()
}

/// Processor milliseconds of the gateway for one ICE and DTLS handshake.
fn set_ups(recording: &Recording) -> Fallible<f64> {
    let mut bench = Bench::start(Workload::Relay, Against::Ours, recording)?;
    bench.subject.expect(SET_UPS)?;
    bench.setup.want(SET_UPS, true);
    while !bench.setup.is_idle() {
        bench.pass(Duration::from_millis(1))?;
    }
    // What signalling left to do is done before the clock starts.
    bench.pass(Duration::from_secs(1))?;
    let before = bench.subject.process().cpu_ms();
    bench.setup.release(&bench.engine)?;
    while !bench.setup.is_done() {
        bench.pass(Duration::from_millis(1))?;
    }
    Ok((bench.subject.process().cpu_ms() - before) / SET_UPS as f64)
}

/// Everything; prints it and writes `bench.json`.
///
/// # Errors
/// Whatever stops it.
pub fn everything() -> Fallible<()> {
    let recording = Recording::read()?;
    figures_head();
    let set_up_ms = set_ups(&recording)?;
    let steps = steps(&recording)?;
    let relay = compare(Workload::Relay, &recording, Against::Rtpengine)?;
    let first = compare(Workload::RelayFirst, &recording, Against::Rtpengine)?;
    let transcode = compare(Workload::Transcode, &recording, Against::Rtpengine)?;
    let mono = fresh(Workload::Transcode, Against::RtpengineMono, &recording, calls(Workload::Transcode))?;
    let wideband = compare(Workload::Wideband, &recording, Against::Rtpengine)?;
    let all = [relay, first, transcode, wideband];
    print(&all, &mono, &steps, set_up_ms);
    let file = target()?.join("bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&document(&all, &mono, &steps, set_up_ms))? + "\n")?;
    out(&format!("\nWritten to {}", file.display()));
    Ok(())
}

fn print(all: &[Compared], mono: &Measurement, steps: &[Measurement], set_up_ms: f64) {
    out("\nRatios:\n");
    ratios_head();
    all.iter().for_each(Compared::print_ratios);
    if let Some(transcode) = all.iter().find(|one| one.name == Workload::Transcode.name()) {
        let (cpu, calls) = (
            transcode.ours.cpu_ms_per_call_s / mono.cpu_ms_per_call_s,
            transcode.ours_under_load().calls_per_core() / mono.calls_per_core(),
        );
        out(&format!("| {}, rtpengine at 48 kHz mono | {cpu:.2} | {calls:.2} | |", transcode.name));
    }
    if let [first, .., last] = steps {
        let ratio = last.cpu_ms_per_call_s / first.cpu_ms_per_call_s;
        out(&format!(
            "\nA relayed call among {} costs {ratio:.2} times one among {}.",
            last.calls, first.calls
        ));
    }
    out(&format!(
        "A browser's ICE and DTLS cost {set_up_ms:.3} ms: {:.0} a second on a core.",
        1e3 / set_up_ms
    ));
    out("\nFigures:\n");
    figures_head();
    all.iter().for_each(Compared::print_figures);
    row(Workload::Transcode.name(), "rtpengine, 48 kHz mono", mono);
    steps.iter().for_each(|step| row("cost per call", "ours", step));
    out(
        "\nOpus of the browsers: narrowband at 20 kbit/s with FEC, before G.722 wideband at 32 kbit/s, as the gateway asks for.",
    );
    out("Opus of ours: 8 kHz, 24 kbit/s, from G.722 16 kHz, 28 kbit/s; complexity 5, FEC for 10 % loss.");
    let kbit = |m: &Measurement| m.to_browser_kbit.map_or("?".to_owned(), |kbit| format!("{kbit:.0}"));
    for one in all.iter().filter(|one| one.floor.is_some()) {
        let (ours, theirs) = (kbit(&one.ours), kbit(&one.rtpengine));
        out(&format!("Towards browsers, {}: ours {ours} kbit/s, rtpengine {theirs} kbit/s.", one.name));
    }
    out("rtpengine's Opus: 48 kHz stereo, its own 32 kbit/s, libavcodec's defaults (complexity 10, no FEC).");
}

fn document(all: &[Compared], mono: &Measurement, steps: &[Measurement], set_up_ms: f64) -> Value {
    let workloads: serde_json::Map<String, Value> =
        all.iter().map(|one| (one.name.to_owned(), one.json())).collect();
    json!({
        "workloads": workloads,
        "transcode_opus_pcmu_rtpengine_48_khz_mono": measured(mono),
        "cost_per_call": steps.iter().map(measured).collect::<Vec<_>>(),
        "set_ups": { "cpu_ms": set_up_ms, "per_second_per_core": 1e3 / set_up_ms },
    })
}
