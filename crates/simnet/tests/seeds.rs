//! 256 seeds must hold every invariant; each of twelve faults must break one.
#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::collections::BTreeSet;
use std::time::Instant;

use simnet::{CALLS, Fault, OPERATIONS, STEPS, Summary, run};

const SEEDS: u64 = 256;

fn play(seeds: impl Iterator<Item = u64>) -> Vec<Summary> {
    let start = Instant::now();
    seeds
        .map(|seed| {
            let result = run(seed, start, None);
            let summary = result.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
            assert!(summary.steps >= STEPS && summary.calls >= CALLS, "seed {seed}: {summary:?}");
            assert!(summary.lost * 20 >= summary.sent * 9 / 10, "seed {seed}: {summary:?}");
            summary
        })
        .collect()
}

// Quarters, so that they run beside each other.

#[test]
fn every_call_ends_once_and_nothing_is_left_in_seeds_0_to_63() {
    play(0..SEEDS / 4);
}

#[test]
fn every_call_ends_once_and_nothing_is_left_in_seeds_64_to_127() {
    play(SEEDS / 4..SEEDS / 2);
}

#[test]
fn every_call_ends_once_and_nothing_is_left_in_seeds_128_to_191() {
    play(SEEDS / 2..SEEDS * 3 / 4);
}

#[test]
fn every_call_ends_once_and_nothing_is_left_in_seeds_192_to_255() {
    play(SEEDS * 3 / 4..SEEDS);
}

#[test]
fn every_operation_of_the_switch_comes_up_in_ninety_seeds() {
    let summaries = play(0..90);
    let done: BTreeSet<_> = summaries.iter().flat_map(|s| s.operations.iter().copied()).collect();
    let missing: Vec<_> = OPERATIONS.iter().filter(|o| !done.contains(*o)).collect();
    assert!(missing.is_empty(), "never done: {missing:?}");
    assert!(summaries.iter().all(|s| s.answered > 0));
}

#[test]
fn the_same_seed_plays_the_same() {
    let start = Instant::now();
    let once = format!("{:?}", run(11, start, None).unwrap());
    assert_eq!(once, format!("{:?}", run(11, start, None).unwrap()));
    assert_ne!(once, format!("{:?}", run(15, start, None).unwrap()));
}

/// What a fault looks like from outside.
fn sign_of(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::LostTimer => {
            &["is stuck in Setup", "is stuck in Closing", "calls are left", "\"gateway dialogs\""]
        }
        Fault::LeakedLease => &["is over and still has 1 media leases"],
        Fault::DoubleBye => &["a second BYE in one dialog"],
        Fault::StuckClosing => &["the media plane answers always"],
        Fault::WrongBranch => &["a CANCEL with branch"],
        Fault::UnheardLoad => &["begins while no worker has room"],
        Fault::UnheardRoom => &["a call is turned away with loads of"],
        Fault::NoRetryAfter => &["without Retry-After"],
        Fault::UnheardDrain => &["begins while the gateway drains"],
        Fault::HastyDrain => &["was ended to drain the gateway"],
        Fault::LostKeys => &["no keys for a trunk that demands them: INVITE"],
        Fault::Transcoding => &["transcoded from"],
    }
}

#[test]
fn each_of_twelve_faults_is_caught_in_every_seed_and_for_what_it_is() {
    let start = Instant::now();
    for fault in Fault::ALL {
        for seed in (0..32).step_by(4) {
            let violation = match run(seed, start, Some(fault)) {
                Ok(summary) => panic!("{fault:?} was not noticed with seed {seed}: {summary:?}"),
                Err(violation) => violation.what,
            };
            let known = sign_of(fault).iter().any(|sign| violation.contains(sign));
            assert!(known, "{fault:?} with seed {seed} looked like this: {violation}");
        }
    }
}
