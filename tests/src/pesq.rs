//! Listening quality by ITU-T P.862, from the reference implementation in the python package `pesq`.

use crate::ports::{root, tools_dir};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// MOS-LQO of `heard` against `reference` (4.549 is the same file). `heard` may have any rate and begin with
/// anything: the place where the reference best fits is cut out first.
pub fn score(reference: &Path, heard: &Path) -> f64 {
    one(reference, heard, false)
}

/// The same by P.862.2, of sound up to 7 kHz (4.644 is the same file).
pub fn score_wide(reference: &Path, heard: &Path) -> f64 {
    one(reference, heard, true)
}

fn one(reference: &Path, heard: &Path, wide: bool) -> f64 {
    let value = &run(&[(reference.into(), heard.into())], wide)[0];
    eprintln!("PESQ {}: {value}", heard.display());
    pesq(value)
}

fn pesq(value: &Value) -> f64 {
    value["pesq"].as_f64().expect("a score")
}

/// Of many pairs of a reference and what was heard, on all cores.
pub fn scores(pairs: &[(PathBuf, PathBuf)], wide: bool) -> Vec<f64> {
    run(pairs, wide).iter().map(pesq).collect()
}

fn run(pairs: &[(PathBuf, PathBuf)], wide: bool) -> Vec<Value> {
    let python = tools_dir().join("venv/bin/python");
    let script = root().join("tests/tools/pesq_score.py");
    let child = Command::new(&python)
        .arg(script)
        .arg("many")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child =
        child.unwrap_or_else(|error| panic!("{}: {error}; `make setup-test` gets it", python.display()));
    let mode = if wide { " wb" } else { "" };
    let jobs: String = pairs
        .iter()
        .map(|(reference, heard)| format!("{} {}{mode}\n", reference.display(), heard.display()))
        .collect();
    child.stdin.take().expect("piped").write_all(jobs.as_bytes()).expect("it reads all before it scores");
    let out = child.wait_with_output().expect("it ends");
    let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "no scores: {said}{wrong}");
    let all: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("the script says JSON")).collect();
    assert_eq!(all.len(), pairs.len(), "a score for each");
    all
}
