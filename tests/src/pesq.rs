//! Listening quality by ITU-T P.862, from the reference implementation in the python package `pesq`.

use crate::ports::{root, tools_dir};
use std::path::Path;
use std::process::Command;

/// MOS-LQO of `heard` against `reference` (4.549 is the same file). `heard` may have any rate and begin with
/// anything: the place where the reference best fits is cut out first.
pub fn score(reference: &Path, heard: &Path) -> f64 {
    run(reference, heard, &[])
}

/// The same by P.862.2, of sound up to 7 kHz (4.644 is the same file).
pub fn score_wide(reference: &Path, heard: &Path) -> f64 {
    run(reference, heard, &["wb"])
}

fn run(reference: &Path, heard: &Path, mode: &[&str]) -> f64 {
    let python = tools_dir().join("venv/bin/python");
    let out = Command::new(&python)
        .arg(root().join("tests/tools/pesq_score.py"))
        .args([reference, heard])
        .args(mode)
        .output();
    let out = out.unwrap_or_else(|error| panic!("{}: {error}; `make setup-test` gets it", python.display()));
    let said = String::from_utf8_lossy(&out.stdout);
    let wrong = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "no score for {}: {said}{wrong}", heard.display());
    let value: serde_json::Value = serde_json::from_str(&said).expect("the script says JSON");
    eprintln!("PESQ {}: {said}", heard.display());
    value["pesq"].as_f64().expect("a score")
}
