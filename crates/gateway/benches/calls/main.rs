//! Calls a second through the built gateway on one core, and ten thousand registered contacts, with SIPp at both ends.
//!
//! SIPp's caller and callee share the other core. What SIPp alone does there, caller against callee, is measured in the same
//! run: ratios to it can be compared between machines. Zero retransmissions are what SIPp counted, not the gateway.

mod gateway;
mod sipp;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gateway::{Gateway, cpu, rss};
use sipp::{Counted, Through, calls, registrations};

/// What is held for a minute.
const RATE: u32 = 2_050;
const MINUTE: u32 = 60;
/// What is tried for a few seconds each, until one does not go cleanly.
const STEPS: [u32; 6] = [2_500, 3_000, 3_500, 4_000, 5_000, 6_000];
const STEP: u32 = 6;
const CONTACTS: usize = 10_000;

fn main() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-calls");
    std::fs::create_dir_all(&dir).expect("a directory to work in");
    if std::thread::available_parallelism().map_or(1, |n| n.get()) < 2 {
        out("One core only: SIPp and the gateway share it, and the figures are worth little.");
    }
    let reference = alone(&dir);
    minute(&dir, reference);
    highest(&dir, reference);
    contacts(&dir);
}

/// Processor microseconds for each call.
fn each(seconds: f64, calls: u64) -> f64 {
    seconds * 1e6 / (calls.max(1)) as f64
}

/// SIPp against SIPp; its processor time for each call is the reference.
fn alone(dir: &std::path::Path) -> f64 {
    let counted = calls(dir, Through::Nobody, RATE, STEP);
    let own = each(counted.cpu, counted.done);
    out("SIPp's caller against its callee, nothing between them:");
    out("");
    out("| asked | calls/s | failed | repeated | SIPp µs/call |");
    out("|---:|---:|---:|---:|---:|");
    let Counted { failed, repeated, rate, .. } = counted;
    out(&format!("| {RATE} | {rate:.0} | {failed} | {repeated} | {own:.0} |"));
    own
}

const HEAD: &str =
    "| asked | calls/s | failed | repeated | gateway µs/call | / SIPp alone | share of its core |";

fn row(asked: u32, counted: Counted, used: f64, reference: f64) {
    let own = each(used, counted.done);
    let Counted { failed, repeated, rate, .. } = counted;
    let (ratio, share) = (own / reference, own * rate / 1e4);
    out(&format!("| {asked} | {rate:.0} | {failed} | {repeated} | {own:.0} | {ratio:.2} | {share:.0} % |"));
}

/// A minute at the rate that must hold, with the gateway's memory on the way.
fn minute(dir: &std::path::Path, reference: f64) {
    let gateway = Gateway::start(dir, 0);
    let (pid, start) = (gateway.pid(), Instant::now());
    let sampler = std::thread::spawn(move || {
        [10, 20, 40, 50, 60].map(|second| {
            let at = start + Duration::from_secs(second);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            (second, rss(pid))
        })
    });
    let counted = calls(dir, Through::Gateway, RATE, MINUTE);
    let used = cpu(pid);
    out("");
    out(&format!("The gateway between them, trunk to trunk, {MINUTE} s:"));
    out("");
    out(HEAD);
    out("|---:|---:|---:|---:|---:|---:|---:|");
    row(RATE, counted, used, reference);
    let samples = sampler.join().expect("memory was read");
    let memory: Vec<String> = samples.iter().map(|(s, mb)| format!("{mb:.0} MB at {s} s")).collect();
    out("");
    out(&format!("Resident memory: {}. Transactions stay 32 s, so it grows until then.", memory.join(", ")));
}

/// Higher rates, a few seconds each, a fresh gateway for each.
fn highest(dir: &std::path::Path, reference: f64) {
    out("");
    out(&format!("Higher rates, {STEP} s each, until one does not go without repetitions:"));
    out("");
    out(HEAD);
    out("|---:|---:|---:|---:|---:|---:|---:|");
    for rate in STEPS {
        let gateway = Gateway::start(dir, 0);
        let counted = calls(dir, Through::Gateway, rate, STEP);
        row(rate, counted, cpu(gateway.pid()), reference);
        if !counted.is_clean(rate) {
            return;
        }
    }
}

/// Phones register, then refresh.
fn contacts(dir: &std::path::Path) {
    let gateway = Gateway::start(dir, CONTACTS);
    let empty = rss(gateway.pid());
    out("");
    out(&format!("{CONTACTS} contacts of as many users; {empty:.0} MB before the first:"));
    out("");
    out("| | done | registrations/s | failed | repeated | gateway µs each | memory |");
    out("|---|---:|---:|---:|---:|---:|---:|");
    let mut before = cpu(gateway.pid());
    for what in ["register", "refresh", "refresh"] {
        let counted = registrations(dir, CONTACTS, RATE);
        let used = cpu(gateway.pid());
        let Counted { done, failed, repeated, rate, .. } = counted;
        let (own, memory) = (each(used - before, done), rss(gateway.pid()));
        out(&format!("| {what} | {done} | {rate:.0} | {failed} | {repeated} | {own:.0} | {memory:.0} MB |"));
        before = used;
    }
}

#[allow(clippy::print_stdout)]
fn out(line: &str) {
    println!("{line}");
}
