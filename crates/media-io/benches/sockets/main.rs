//! What a packet costs that is received on one UDP socket and sent out of another, in several ways: the kernel's share of
//! a relayed packet. 400 calls by default: a trunk socket each, one socket for all browsers, 50 packets a second each way.
//!
//! The last line is the product: a media worker with calls between two phones each, everything included.
//!
//! The relaying thread has one core to itself and the parties the other. All take turns.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod load;
mod plane;
mod ways;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;

use load::{Parties, Received};
use ways::{Bed, How};

/// How long each way runs in each round.
const RUN: Duration = Duration::from_millis(1000);

type Way = (&'static str, fn(&Bed, &AtomicBool) -> io::Result<()>);

const EDGE: How = How { edge: true, pace: Duration::ZERO, batches: false, connected: false };
const LEVEL: How = How { edge: false, ..EDGE };
const PACED: How = How { pace: Duration::from_micros(250), ..LEVEL };
const BATCHED: How = How { batches: true, ..PACED };
const CONNECTED: How = How { connected: true, ..BATCHED };
const SLOWER: How = How { pace: Duration::from_micros(500), ..BATCHED };

const WAYS: &[Way] = &[
    ("edge-triggered, read until empty", |bed, stop| ways::relay(bed, stop, EDGE)),
    ("level-triggered, read once", |bed, stop| ways::relay(bed, stop, LEVEL)),
    ("+ turns of 250 us", |bed, stop| ways::relay(bed, stop, PACED)),
    ("+ sent in batches", |bed, stop| ways::relay(bed, stop, BATCHED)),
    ("the same, trunk sockets connected", |bed, stop| ways::relay(bed, stop, CONNECTED)),
    ("the same, turns of 500 us", |bed, stop| ways::relay(bed, stop, SLOWER)),
];

/// One run of one way.
struct Run {
    cpu_us: f64,
    wakeups: f64,
    got: Received,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let number = |arg: Option<String>, or: usize| arg.and_then(|a| a.parse().ok()).unwrap_or(or);
    let calls = number(arguments.next(), 400);
    let rounds = number(arguments.next(), 5);
    let mut runs: Vec<Vec<Run>> = (0..=WAYS.len()).map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (way, runs) in WAYS.iter().zip(&mut runs) {
            runs.push(measure(calls, way.1).expect("sockets on loopback work"));
        }
        runs[WAYS.len()].push(measure_product(calls).expect("the media plane starts"));
    }
    println!("{calls} calls, {} packets a second\n", calls * 100);
    println!("| way | CPU µs/packet | of the first | wake-ups/s | p50 µs | p99 µs | lost |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let names = WAYS.iter().map(|(name, _)| *name).chain(["a media worker"]);
    for (name, of_way) in names.zip(&runs) {
        let cpu = median(of_way.iter().map(|r| r.cpu_us));
        let ratio = median(of_way.iter().zip(&runs[0]).map(|(r, first)| r.cpu_us / first.cpu_us));
        let wakeups = median(of_way.iter().map(|r| r.wakeups));
        let time = |share| median(of_way.iter().map(|r| f64::from(r.got.percentile(share))));
        let lost: u64 = of_way.iter().map(|r| r.got.sent - r.got.received).sum();
        println!(
            "| {name} | {cpu:.2} | {ratio:.2} | {wakeups:.0} | {:.0} | {:.0} | {lost} |",
            time(0.5),
            time(0.99)
        );
    }
}

fn measure(calls: usize, way: fn(&Bed, &AtomicBool) -> io::Result<()>) -> io::Result<Run> {
    let parties = Parties::open()?;
    let bed = Bed::new(&parties, calls)?;
    let address = |socket: &std::net::UdpSocket| socket.local_addr();
    let trunks = bed.trunks.iter().map(address).collect::<io::Result<_>>()?;
    let shared = address(&bed.shared)?;
    let (stop_load, stop_relay) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let until = stop_relay.clone();
    let relay = std::thread::spawn(move || -> io::Result<(f64, f64)> {
        pin(0);
        let (start, before) = (Instant::now(), usage());
        way(&bed, &until)?;
        let after = usage();
        let seconds = start.elapsed().as_secs_f64();
        Ok((after.0 - before.0, (after.1 - before.1) / seconds))
    });
    let load = parties.start(trunks, vec![shared; calls], stop_load.clone());
    std::thread::sleep(RUN);
    stop_load.store(true, Ordering::Relaxed);
    let got = load.join().expect("the parties do not panic");
    stop_relay.store(true, Ordering::Relaxed);
    let (cpu, wakeups) = relay.join().expect("the relay does not panic")?;
    Ok(Run { cpu_us: cpu / got.sent as f64 * 1e6, wakeups, got })
}

fn measure_product(calls: usize) -> io::Result<Run> {
    let parties = Parties::open()?;
    pin(0);
    let relay = plane::Relay::start(&parties, calls);
    let stop = Arc::new(AtomicBool::new(false));
    let (start, before, packets) = (Instant::now(), relay.usage(), relay.packets());
    let load = parties.start(relay.left.clone(), relay.right.clone(), stop.clone());
    std::thread::sleep(RUN);
    stop.store(true, Ordering::Relaxed);
    let got = load.join().expect("the parties do not panic");
    let after = relay.usage();
    let (cpu, seconds) = (after.0 - before.0, start.elapsed().as_secs_f64());
    let packets = relay.packets() - packets;
    Ok(Run { cpu_us: cpu / packets * 1e6, wakeups: (after.1 - before.1) / seconds, got })
}

/// The calling thread's processor time in seconds, and how often it had to wait.
fn usage() -> (f64, f64) {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("Linux counts for threads");
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    let waits = usage.voluntary_context_switches() as f64;
    (seconds(usage.user_time()) + seconds(usage.system_time()), waits)
}

/// Keeps the calling thread on one core, where there are two.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    let _ = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
