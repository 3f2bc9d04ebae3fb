//! `soak SECONDS SEED`: simulations one after the other, each with the next seed, until the time is over or an invariant
//! does not hold.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use simnet::run;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [seconds, first] = numbers.as_slice() else {
        println!("usage: soak SECONDS SEED");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    let mut seed = *first;
    while start.elapsed() < Duration::from_secs(*seconds) {
        if let Err(violation) = run(seed, start, None) {
            println!("seed {seed}: {violation}");
            return ExitCode::FAILURE;
        }
        seed = seed.wrapping_add(1);
    }
    println!("{} simulations", seed.wrapping_sub(*first));
    ExitCode::SUCCESS
}
