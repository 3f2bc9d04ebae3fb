//! What a case says: which parties play which scenario against which configuration, and what must come out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::reader::{Findings, Located, Section};

/// The trunk's name among places.
pub const TRUNK: &str = "trunk";
/// Answers every call; for scenarios that only call.
const CALLEE: &str = include_str!("../../../../sipp-scenarios/outbound_answer_echo.xml");
/// Calls the trunk's number; for scenarios that only answer.
const CALLER: &str = include_str!("../../../../sipp-scenarios/inbound_call_answered.xml");

/// One gateway and those who speak with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// RFC section or field problem, and what is to be seen.
    pub shows: String,
    /// Further keys of the trunk.
    pub trunk: String,
    /// Further TOML at the end of the gateway's file.
    pub config: String,
    /// The trunk is reached over TCP.
    pub trunk_tcp: bool,
    /// The trunk is reached over IPv6.
    pub trunk_ipv6: bool,
    /// Reasons that the call records must give, in any order; none: not looked at.
    pub records: Option<Vec<String>>,
    /// Requests that the gateway must have sent once each: neither repeated nor sent to somebody else too.
    pub once: Vec<String>,
    /// In order of their start.
    pub parties: Vec<Party>,
}

/// One SIPp.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Party {
    /// Its scenario.
    pub scenario: Scenario,
    /// Whether it waits for requests; the others begin.
    pub listens: bool,
    /// Name of its port; parties that say the same one share it, `trunk` is where the trunk's server is.
    pub at: Option<String>,
    /// Digest name, also `[user]`.
    pub user: String,
    /// Digest password.
    pub password: String,
    /// Request-URI's user part: whom it calls, or who registers.
    pub calls: String,
    /// Length of a `<pause/>`, in milliseconds.
    pub pause: u32,
    /// TCP instead of UDP.
    pub tcp: bool,
    /// IPv6 instead of IPv4, signalling and media.
    pub ipv6: bool,
    /// Sends RTP back.
    pub echo: bool,
    /// Seconds until it is a failure that it has not ended.
    pub limit: u32,
    /// The next party starts only after this one's end.
    pub wait: bool,
    /// The next party starts only once this one has written that.
    pub until: Option<String>,
    /// Calls that it takes or makes.
    pub times: u32,
    /// What its `<log>` actions must have written.
    pub log: Vec<String>,
    /// `NAME=VALUE`, in the scenario `[NAME]`.
    pub keys: Vec<(String, String)>,
}

/// Where a scenario comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// A file of the folder.
    File(PathBuf),
    /// One of ours, written out when needed.
    Own(&'static str),
}

impl Case {
    /// Every name that stands for a port.
    pub fn places(&self) -> BTreeSet<&str> {
        self.parties.iter().filter_map(|party| party.at.as_deref()).chain([TRUNK]).collect()
    }

    /// Whether anybody speaks IPv6.
    pub fn uses_ipv6(&self) -> bool {
        self.trunk_ipv6 || self.parties.iter().any(|party| party.ipv6)
    }
}

/// Reads a folder: a case for each TOML file, and for each scenario that no case names one with the other side ours.
///
/// # Errors
/// Everything that is wrong, one sentence each.
pub fn load(dir: &Path) -> Result<Vec<Case>, Vec<String>> {
    let entries =
        std::fs::read_dir(dir).map_err(|e| vec![format!("{}: cannot be read: {e}", dir.display())])?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let ending = |path: &&PathBuf, wanted: &str| path.extension().is_some_and(|have| have == wanted);
    let (mut cases, mut problems) = (Vec::new(), Vec::new());
    for path in paths.iter().filter(|path| ending(path, "toml")) {
        match read(path).and_then(|text| parse(path, &text)) {
            Ok(case) => cases.push(case),
            Err(more) => problems.extend(more),
        }
    }
    let named = |path: &&PathBuf| {
        let scenario = Scenario::File((*path).clone());
        cases.iter().any(|case| case.parties.iter().any(|party| party.scenario == scenario))
    };
    let alone: Vec<&PathBuf> =
        paths.iter().filter(|path| ending(path, "xml")).filter(|path| !named(path)).collect();
    for path in alone {
        match read(path) {
            // Other XML, such as an earlier report, is no business of ours.
            Ok(text) if !text.contains("<scenario") => {}
            Ok(text) => cases.push(bare(path, &text)),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

fn read(path: &Path) -> Result<String, Vec<String>> {
    std::fs::read_to_string(path).map_err(|e| vec![format!("{}: cannot be read: {e}", path.display())])
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A scenario without a case: it is alice's softphone, or the trunk that her softphone calls.
fn bare(path: &Path, text: &str) -> Case {
    let own = Party::of(Scenario::File(path.to_owned()), listens(text));
    let other = if own.listens {
        Party { wait: false, ..Party::of(Scenario::Own(CALLER), false) }
    } else {
        Party { echo: true, ..Party::of(Scenario::Own(CALLEE), true) }
    };
    let mut parties = vec![own, other];
    parties.sort_by_key(|party| !party.listens);
    let (trunk, config) = (String::new(), String::new());
    let (name, shows, records, once) = (stem(path), String::new(), None, Vec::new());
    Case { name, shows, trunk, config, trunk_tcp: false, trunk_ipv6: false, records, once, parties }
}

impl Party {
    fn of(scenario: Scenario, listens: bool) -> Party {
        Party {
            scenario,
            listens,
            at: listens.then(|| TRUNK.to_owned()),
            user: "alice".into(),
            password: super::run::PASSWORD.into(),
            calls: super::run::NUMBER.into(),
            pause: 500,
            tcp: false,
            ipv6: false,
            echo: false,
            limit: 30,
            wait: !listens,
            until: None,
            times: 1,
            log: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// Whether a scenario begins by receiving.
fn listens(xml: &str) -> bool {
    let mut text = xml.to_owned();
    while let Some((start, end)) = text.find("<!--").and_then(|s| Some((s, s + text[s..].find("-->")? + 3))) {
        text.replace_range(start..end, "");
    }
    let first = |what: &str| text.find(what).unwrap_or(usize::MAX);
    first("<recv") < first("<send")
}

fn parse(path: &Path, text: &str) -> Result<Case, Vec<String>> {
    let mut found = Findings::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        found.add(&error.span().unwrap_or(0..0), "", error.message().to_owned());
    }
    let mut root = Section::new("", document.get_ref(), 0..0);
    let shows = root.required(&mut found, "shows", "\"RFC 3261 §21.4.21: busy is told\"");
    let text_of = |value: Option<Located<String>>| value.map(|v| v.value).unwrap_or_default();
    let trunk = text_of(root.string(&mut found, "trunk"));
    let config = text_of(root.string(&mut found, "config"));
    let trunk_tcp = root.boolean(&mut found, "trunk_tcp").unwrap_or(false);
    let trunk_ipv6 = root.boolean(&mut found, "trunk_ipv6").unwrap_or(false);
    let records = root.strings(&mut found, "records");
    let once = root.strings(&mut found, "once").unwrap_or_default();
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut parties = Vec::new();
    for mut section in root.tables(&mut found, "party") {
        parties.extend(party(&mut section, dir, &mut found));
        section.finish(&mut found);
    }
    if !root.has("party") {
        found.add(&(0..0), "party", "is missing; a case needs at least one section [[party]]");
    }
    root.finish(&mut found);
    let problems = found.into_sorted();
    match shows {
        Some(shows) if problems.is_empty() => Ok(Case {
            name: stem(path),
            shows: shows.value,
            trunk,
            config,
            trunk_tcp,
            trunk_ipv6,
            records: records.map(|list| list.into_iter().map(|one| one.value).collect()),
            once: once.into_iter().map(|one| one.value).collect(),
            parties,
        }),
        _ => Err(problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect()),
    }
}

fn party(section: &mut Section<'_, '_>, dir: &Path, found: &mut Findings<'_>) -> Option<Party> {
    let named = section.required(found, "scenario", "\"busy.xml\"");
    let read = named.and_then(|name| {
        name.parse(found, |name| {
            let file = dir.join(name);
            let text = std::fs::read_to_string(&file).map_err(|e| format!("{name} cannot be read: {e}"))?;
            Ok((file, listens(&text)))
        })
    });
    let (file, begins_by_receiving) = read.unwrap_or_default();
    let listens = section.boolean(found, "listens").unwrap_or(begins_by_receiving);
    let mut party = Party::of(Scenario::File(file), listens);
    let mut take = |section: &mut Section<'_, '_>, key, into: &mut String| {
        if let Some(value) = section.string(found, key) {
            *into = value.value;
        }
    };
    take(section, "user", &mut party.user);
    take(section, "password", &mut party.password);
    take(section, "calls", &mut party.calls);
    if let Some(at) = section.string(found, "at") {
        party.at = Some(at.value);
    }
    party.pause = section.integer(found, "pause", 0..=60_000).unwrap_or(party.pause);
    party.limit = section.integer(found, "limit", 1..=600).unwrap_or(party.limit);
    party.tcp = section.boolean(found, "tcp").unwrap_or(false);
    party.ipv6 = section.boolean(found, "ipv6").unwrap_or(false);
    party.echo = section.boolean(found, "echo").unwrap_or(false);
    party.wait = section.boolean(found, "wait").unwrap_or(party.wait);
    party.until = section.string(found, "until").map(|text| text.value);
    party.times = section.integer(found, "times", 1..=100).unwrap_or(1);
    party.log = section.strings(found, "log").into_iter().flatten().map(|one| one.value).collect();
    for key in section.strings(found, "keys").into_iter().flatten() {
        party.keys.extend(key.parse(found, |text| {
            let (name, value) = text.split_once('=').ok_or("expected \"NAME=VALUE\"")?;
            Ok((name.to_owned(), value.to_owned()))
        }));
    }
    Some(party)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_scenario_listens_when_its_first_step_receives() {
        assert!(listens("<scenario><!-- <send> first --><recv request=\"INVITE\"/><send/></scenario>"));
        assert!(!listens("<scenario><send/><recv/></scenario>"));
    }

    #[test]
    fn a_wrong_key_and_a_missing_scenario_are_told_with_their_places() {
        let text = "shows = \"RFC 3261\"\n[[party]]\nscenario = \"nowhere.xml\"\nuzer = \"alice\"\n";
        let problems = parse(Path::new("case.toml"), text).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].starts_with("case.toml: line 3, column 12: party[0].scenario: nowhere.xml"),
            "{problems:?}"
        );
        assert!(
            problems[1].contains("line 4") && problems[1].contains("did you mean `user`?"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_case_without_parties_says_what_it_needs() {
        let problems = parse(Path::new("case.toml"), "shows = \"RFC 3261\"\n").unwrap_err();
        assert!(problems[0].contains("at least one section [[party]]"), "{problems:?}");
    }
}
