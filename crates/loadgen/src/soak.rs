//! Calls come and go for minutes at a given load; at the end memory is flat and nothing is left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::run::Bench;
use crate::speech::Recording;
use crate::subject::Subject;
use crate::workload::{Against, Workload};
use crate::{Fallible, out};

/// How long a call lasts on average.
const CALL_SECONDS: f64 = 30.0;
/// Calls by which the cost of one is found at first: among few it is several times as much.
const SAMPLE: usize = 400;
/// The most calls that this process holds beside what it counts.
const MOST: usize = 2_000;
/// Share of the time before memory must be flat; finished transactions stay for half a minute.
const WARM_UP: f64 = 0.3;
/// What memory may grow by after that: a share, and what an allocator's arenas make of themselves, KiB.
const GROWTH: (f64, f64) = (0.05, 4_096.0);
/// What a dialog of a finished call may still take.
const CLOSING: Duration = Duration::from_secs(60);

/// What may be dropped within a look without a word: what a browser still sends into a call that has ended.
const STRAGGLERS: u64 = 2_000;

/// How often memory and packets are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// So many minutes at this share of a core.
///
/// # Errors
/// When something grows, is left, or calls end by themselves.
pub fn soak(minutes: f64, load: f64) -> Fallible<()> {
    let recording = Recording::read()?;
    let mut bench = Bench::start(Workload::Relay, Against::Ours, &recording)?;
    let ports = level(&bench, "webtrunk_rtp_port_pairs_free")?;
    let calls = fill(&mut bench, load)?;
    let each_second = (calls as f64 / CALL_SECONDS).ceil() as usize;
    bench.subject.expect(calls + 4 * each_second + 100)?;
    let memory = come_and_go(&mut bench, minutes, each_second)?;
    flat(&memory)?;
    let Bench { engine, setup, subject, .. } = &mut bench;
    setup.hang_up(usize::MAX, engine, subject)?;
    let until = Instant::now() + CLOSING;
    loop {
        bench.pass(Duration::from_secs(1))?;
        let (left, free) =
            (level(&bench, "webtrunk_media_calls")?, level(&bench, "webtrunk_rtp_port_pairs_free")?);
        if left == 0.0 && free == ports {
            break;
        }
        if Instant::now() > until {
            return Err(format!("{left} media calls are left, {free} port pairs of {ports} are free").into());
        }
    }
    out("soak: memory is flat, no call and no port is left");
    Ok(())
}

/// Brings up as many calls as make this load; how many. One among few costs more, so it is asked again among many.
fn fill(bench: &mut Bench, load: f64) -> Fallible<usize> {
    let mut calls = SAMPLE;
    for _ in 0..2 {
        bench.grow(calls)?;
        let sample = bench.measure(Duration::from_secs(3))?;
        calls = ((sample.calls_per_core() * load) as usize).clamp(calls, MOST);
        out(&format!(
            "soak: {calls} calls at once, {:.3} ms of CPU per call-second",
            sample.cpu_ms_per_call_s
        ));
    }
    bench.grow(calls)?;
    Ok(calls)
}

/// Memory after each look, KiB.
fn come_and_go(bench: &mut Bench, minutes: f64, each_second: usize) -> Fallible<Vec<f64>> {
    let (start, span) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let (mut memory, mut made) = (Vec::new(), 0);
    while start.elapsed() < span {
        let before = bench.subject.process().cpu_ms();
        let dropped = dropped(bench);
        let looked = Instant::now();
        bench.engine.count(LOOK);
        while looked.elapsed() < LOOK {
            let Bench { engine, setup, subject, .. } = &mut *bench;
            setup.hang_up(each_second, engine, subject)?;
            setup.want(each_second, false);
            made += each_second;
            bench.pass(Duration::from_secs(1))?;
        }
        let used = (bench.subject.process().cpu_ms() - before) / looked.elapsed().as_secs_f64() / 10.0;
        let seen = bench.engine.take_seen();
        let rss = bench.subject.process().rss_kib();
        let [to_party, to_browser] = seen.ways.each_ref().map(|way| way.loss() * 100.0);
        let (seconds, up) = (start.elapsed().as_secs(), bench.setup.up.len());
        out(&format!(
            "soak: {seconds} s, {up} calls, {made} made, {used:.0} % of its core, {rss:.0} KiB, loss {to_party:.3} % to parties, {to_browser:.3} % to browsers"
        ));
        say_what_was_dropped(&dropped, &self::dropped(bench));
        if let Some(why) = bench.setup.lost.first() {
            return Err(
                format!("{} calls ended by themselves, the first as {why}", bench.setup.lost.len()).into()
            );
        }
        memory.push(rss);
    }
    Ok(memory)
}

fn dropped(bench: &Bench) -> BTreeMap<String, u64> {
    let Subject::Ours(ours) = &bench.subject else { return BTreeMap::new() };
    ours.dropped()
}

/// The gateway's own account of a look in which it dropped more than stragglers of ended calls.
fn say_what_was_dropped(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
    for (label, count) in after {
        let more = count - before.get(label).unwrap_or(&0);
        if more > STRAGGLERS {
            out(&format!("soak: the gateway dropped {more}: {label}"));
        }
    }
}

/// Whether what was seen last is no more than what was seen first after warm-up.
fn flat(memory: &[f64]) -> Fallible<()> {
    let warm = &memory[(memory.len() as f64 * WARM_UP) as usize..];
    let third = (warm.len() / 3).max(1);
    let (Some(first), Some(last)) = (warm.get(..third), warm.get(warm.len().saturating_sub(third)..)) else {
        return Err("too short to say anything about memory".into());
    };
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let (first, last) = (mean(first), mean(last));
    if last > first * (1.0 + GROWTH.0) + GROWTH.1 {
        return Err(format!("memory grew from {first:.0} to {last:.0} KiB").into());
    }
    Ok(())
}

fn level(bench: &Bench, name: &str) -> Fallible<f64> {
    let Subject::Ours(ours) = &bench.subject else { return Err("rtpengine has no such metrics".into()) };
    ours.level(name, "").ok_or_else(|| format!("/metrics has no {name}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_after_warm_up_is_no_flat_memory() {
        let warming = |more: f64| {
            (0..60).map(move |n| 100_000.0 + f64::from(n.min(15)) * 5_000.0 + more * f64::from(n))
        };
        assert!(flat(&warming(0.0).collect::<Vec<_>>()).is_ok());
        assert!(flat(&warming(1_000.0).collect::<Vec<_>>()).is_err());
        assert!(flat(&[]).is_err());
    }
}
