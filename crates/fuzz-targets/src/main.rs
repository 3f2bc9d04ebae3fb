//! `fuzz-targets TARGET SECONDS SEED`: one target over its corpus and seeded mutations of it, for so long. The input that
//! fails is written down.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz_targets::{Random, TARGETS, corpus, mutate};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds, seed] = arguments.as_slice() else { return usage() };
    let target = TARGETS.iter().find(|target| target.name == name);
    let (Some(target), Ok(seconds), Ok(first)) = (target, seconds.parse(), seed.parse::<u64>()) else {
        return usage();
    };
    let kept = match corpus::of(name) {
        Ok(kept) => kept,
        Err(why) => {
            println!("the corpus of {name} cannot be read: {why}");
            return ExitCode::from(2);
        }
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = first;
    while Instant::now() < end {
        let input = mutate(&kept, target.words, &mut Random(seed));
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let file = std::env::temp_dir().join(format!("{name}-{seed}"));
            let written = std::fs::write(&file, &input).is_ok();
            println!("{name} does not hold for seed {seed}; input written to {}: {written}", file.display());
            return ExitCode::FAILURE;
        }
        seed = seed.wrapping_add(1);
    }
    println!("{name}: {} inputs", seed.wrapping_sub(first));
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    println!("usage: fuzz-targets {} SECONDS SEED", names.join("|"));
    ExitCode::from(2)
}
