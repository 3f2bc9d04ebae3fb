//! `webtrunk sipp run DIR`: SIPp scenarios, each against a gateway of its own, several at a time.

mod case;
mod ladder;
mod party;
mod report;
mod run;

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use case::Case;
pub use report::Outcome;

/// What to do.
pub struct Plan<'a> {
    /// Folder of scenarios (`*.xml`) and cases (`*.toml`).
    pub dir: &'a Path,
    /// Where the JUnit XML goes.
    pub junit: &'a Path,
    /// Only cases whose name contains this.
    pub only: Option<&'a str>,
    /// Cases at a time; at least 1.
    pub jobs: usize,
}

/// Runs every case of a folder, says each outcome as it comes, and writes the report. True: all were good.
///
/// # Errors
/// Sentences about what kept the run from starting.
pub fn run(plan: &Plan<'_>, say: &(dyn Fn(&str) + Sync)) -> Result<bool, Vec<String>> {
    let mut cases = case::load(plan.dir)?;
    cases.retain(|case| plan.only.is_none_or(|part| case.name.contains(part)));
    if cases.is_empty() {
        return Err(vec![format!("{}: no case to run", plan.dir.display())]);
    }
    look_for_sipp()?;
    let width = cases.iter().map(|case| case.name.len()).max().unwrap_or(0);
    let waiting = Mutex::new(VecDeque::from(cases));
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = next(&waiting) {
            let outcome = run::run(&case);
            say(&outcome.line(width));
            if let Ok(mut all) = outcomes.lock() {
                all.push(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().map_err(|_| vec!["a case panicked".to_owned()])?;
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    for outcome in &outcomes {
        outcome.failure().lines().for_each(say);
    }
    say(&report::summary(&outcomes));
    std::fs::write(plan.junit, report::junit(&outcomes))
        .map_err(|e| vec![format!("{}: cannot be written: {e}", plan.junit.display())])?;
    Ok(outcomes.iter().all(Outcome::is_good))
}

fn next(waiting: &Mutex<VecDeque<Case>>) -> Option<Case> {
    waiting.lock().ok()?.pop_front()
}

fn look_for_sipp() -> Result<(), Vec<String>> {
    let found = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(_) => Ok(()),
        Err(e) => Err(vec![format!(
            "SIPp cannot be started ({e}); on Debian and Ubuntu: apt-get install sip-tester"
        )]),
    }
}
