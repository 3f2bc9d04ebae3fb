//! `webtrunk sipp run`: the kept folder of cases, and what a person sees of a folder of their own.

use e2e::gateway::binary;
use e2e::ports::{root, tools_dir};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    let dir = tools_dir().join(format!("sipp-cases/{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// Runs a folder; the report is written into `into`.
fn run(dir: &Path, into: &Path) -> Output {
    let mut command = Command::new(binary());
    command.args(["sipp", "run", "--jobs", "2"]).arg(dir).current_dir(into);
    command.output().expect("webtrunk sipp run")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_kept_case_passes_and_is_in_the_report() {
    let cases = root().join("sipp-scenarios/cases");
    let into = folder("kept");
    let output = run(&cases, &into);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let count = std::fs::read_dir(&cases).expect("cases").count();
    let report = std::fs::read_to_string(into.join("webtrunk-sipp.xml")).expect("a report");
    assert!(report.contains(&format!("tests=\"{count}\" failures=\"0\"")), "{report}");
    assert_eq!(report.matches("<testcase ").count(), count);
}

#[test]
fn every_kept_case_says_which_rule_it_shows() {
    for entry in std::fs::read_dir(root().join("sipp-scenarios/cases")).expect("cases") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("a case");
        let shows = text.lines().find(|line| line.starts_with("shows = ")).unwrap_or_default();
        assert!(shows.contains("RFC ") || shows.contains("field problem"), "{}: {shows}", path.display());
    }
}

#[test]
fn a_folder_of_bare_scenarios_runs_with_the_other_side_given() {
    let dir = folder("bare");
    for name in ["outbound_busy_486", "inbound_call_answered", "outbound_answer_echo"] {
        let file = format!("{name}.xml");
        std::fs::copy(root().join("sipp-scenarios").join(&file), dir.join(&file)).expect("copied");
    }
    let output = run(&dir, &dir);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("3 cases: 3 passed, 0 failed"), "{}", said(&output));
}

#[test]
fn a_failed_case_shows_the_messages_of_both_legs_in_table_and_report() {
    let dir = folder("failing");
    let answering = root().join("sipp-scenarios/outbound_busy_486.xml");
    let text = std::fs::read_to_string(answering).expect("a scenario");
    std::fs::write(dir.join("busy.xml"), text).expect("written");
    let caller = root().join("sipp-scenarios/inbound_call_refused.xml");
    std::fs::copy(caller, dir.join("caller.xml")).expect("copied");
    let case = "shows = \"RFC 3261 §21.4.24\"\nrecords = [\"declined\"]\n\
                [[party]]\nscenario = \"busy.xml\"\n[[party]]\nscenario = \"caller.xml\"\nlog = \"final 603\"\n";
    std::fs::write(dir.join("busy.toml"), case).expect("written");
    let output = run(&dir, &dir);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report = std::fs::read_to_string(dir.join("webtrunk-sipp.xml")).expect("a report");
    assert!(report.contains("tests=\"1\" failures=\"1\""), "{report}");
    for text in [said(&output), report.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")] {
        assert!(text.contains("caller.xml: its log does not say \"final 603\""), "{text}");
        assert!(text.contains("the call records say [\"busy\"], not [\"declined\"]"), "{text}");
        let towards_trunk = text.lines().find(|line| line.contains("INVITE") && line.ends_with(" trunk"));
        assert!(towards_trunk.is_some_and(|line| line.contains(" |  INVITE (1 INVITE) SDP -")), "{text}");
        assert!(text.contains("486 Busy Here (1 INVITE)"), "{text}");
    }
}

#[test]
fn a_wrong_case_is_told_with_its_place_and_nothing_runs() {
    let dir = folder("wrong");
    std::fs::write(dir.join("one.toml"), "shows = 1\n[[party]]\nscenaro = \"x.xml\"\n").expect("written");
    let output = run(&dir, &dir);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("one.toml: line 1, column 9: shows: expected a string in quotes"), "{text}");
    assert!(text.contains("did you mean `scenario`?"), "{text}");
    assert!(!dir.join("webtrunk-sipp.xml").exists(), "nothing ran");
}
