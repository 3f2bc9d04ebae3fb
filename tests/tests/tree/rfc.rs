//! `docs/RFC.md`: which test shows which section of which RFC, read out of the tests themselves. `make docs` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use e2e::ports::root;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// What the project means to meet, whether or not a test shows it yet.
const RFCS: &[(u16, &str)] = &[
    (2104, "HMAC"),
    (2069, "digest, the first form"),
    (2543, "SIP, the old form"),
    (2617, "digest, the old form"),
    (2782, "SRV"),
    (2976, "INFO, the old form"),
    (3261, "SIP"),
    (3262, "reliable provisional responses"),
    (3263, "locating SIP servers"),
    (3264, "offer/answer"),
    (3311, "UPDATE"),
    (3323, "privacy"),
    (3325, "asserted identity"),
    (3326, "Reason"),
    (3327, "Path"),
    (3389, "comfort noise"),
    (3398, "ISUP causes"),
    (3428, "MESSAGE"),
    (3515, "REFER"),
    (3550, "RTP"),
    (3551, "RTP audio profile"),
    (3581, "rport"),
    (3608, "Service-Route"),
    (3611, "RTCP XR"),
    (3665, "basic call flows"),
    (3711, "SRTP"),
    (3725, "third-party call control"),
    (3842, "message waiting"),
    (3891, "Replaces"),
    (3892, "Referred-By"),
    (3903, "PUBLISH"),
    (3960, "early media"),
    (3966, "tel URI"),
    (4028, "session timers"),
    (4320, "non-INVITE transactions"),
    (4321, "non-INVITE problems"),
    (4475, "torture messages"),
    (4488, "REFER without subscription"),
    (4568, "SDES"),
    (4571, "framing in TCP"),
    (4585, "RTCP feedback"),
    (4733, "telephone-event"),
    (5057, "several usages of a dialog"),
    (5118, "IPv6 torture messages"),
    (5246, "TLS 1.2"),
    (5359, "service examples"),
    (5407, "race conditions"),
    (5506, "reduced-size RTCP"),
    (5589, "transfer"),
    (5626, "outbound flows"),
    (5627, "GRUU"),
    (5761, "RTP and RTCP on one port"),
    (5763, "DTLS-SRTP framework"),
    (5764, "DTLS-SRTP"),
    (5769, "STUN test vectors"),
    (5806, "Diversion"),
    (5876, "identity in more methods"),
    (5922, "TLS identity"),
    (5923, "connection reuse"),
    (5952, "IPv6 text"),
    (6026, "2xx to INVITE"),
    (6086, "INFO"),
    (6157, "IPv6 transition"),
    (6223, "keep-alives asked for"),
    (6228, "199"),
    (6337, "offer/answer usage"),
    (6454, "origins of pages"),
    (6455, "WebSocket"),
    (6544, "ICE over TCP"),
    (6665, "events"),
    (6716, "Opus"),
    (6881, "emergency calls"),
    (7044, "History-Info"),
    (7118, "SIP over WebSocket"),
    (7332, "loops through B2BUAs"),
    (7587, "Opus in RTP"),
    (7616, "digest"),
    (7647, "REFER clarified"),
    (7675, "consent"),
    (7714, "AES-GCM for SRTP"),
    (7983, "demultiplexing"),
    (8122, "fingerprints in SDP"),
    (8445, "ICE"),
    (8489, "STUN"),
    (8606, "causes of Q.850"),
    (8643, "opportunistic SRTP"),
    (8656, "TURN"),
    (8760, "digest algorithms for SIP"),
    (8827, "WebRTC security"),
    (8839, "ICE in SDP"),
    (8842, "DTLS in SDP"),
    (8866, "SDP"),
    (9143, "BUNDLE"),
    (9147, "DTLS 1.3"),
];

/// RFC, section (empty: the whole), and the tests.
type Shown = BTreeMap<(u16, String), BTreeSet<String>>;

/// The sections cited in a text: `RFC 3261 §9.1, §9.2` is two.
fn citations(text: &str) -> Vec<(u16, String)> {
    let mut found = Vec::new();
    for part in text.split("RFC ").skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        let Ok(rfc) = digits.parse::<u16>() else { continue };
        let mut rest = &part[digits.len()..];
        let mut whole = true;
        while let Some(section) = [" §", ", §", " and §"].iter().find_map(|s| rest.strip_prefix(s)) {
            let length =
                section.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(section.len());
            let name = section[..length].trim_end_matches('.');
            found.push((rfc, name.to_owned()));
            rest = &section[name.len()..];
            whole = false;
        }
        if whole {
            found.push((rfc, String::new()));
        }
    }
    found
}

struct Tests<'a> {
    lines: Vec<&'a str>,
    place: String,
    shown: &'a mut Shown,
}

impl Tests<'_> {
    fn of_file(&self) -> Vec<(u16, String)> {
        let head = self.lines.iter().take_while(|line| line.starts_with("//!"));
        citations(&head.copied().collect::<Vec<_>>().join("\n"))
    }
}

impl<'ast> Visit<'ast> for Tests<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let is_test = |a: &syn::Attribute| a.path().segments.last().is_some_and(|s| s.ident == "test");
        if item.attrs.iter().any(is_test) {
            let (first, last) = (item.span().start().line - 1, item.span().end().line);
            let comment = |line: &&&str| line.trim_start().starts_with("//");
            let above = self.lines[..first].iter().rev().take_while(comment).count();
            let text = self.lines[first - above..last].join("\n");
            let name = format!("{}: {}", self.place, item.sig.ident);
            let own = citations(&text);
            // What a file says of itself holds for tests that say nothing else.
            for cited in if own.is_empty() { self.of_file() } else { own } {
                self.shown.entry(cited).or_default().insert(name.clone());
            }
        }
        visit::visit_item_fn(self, item);
    }
}

fn files(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules", ".git"].contains(&name.as_str()) {
            files(&path, ending, out);
        } else if name.ends_with(ending) {
            out.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a readable file")
}

/// Everything that tests, scenarios and cases cite.
fn shown() -> Shown {
    let mut shown = Shown::new();
    let mut sources = Vec::new();
    files(&root().join("crates"), ".rs", &mut sources);
    files(&root().join("tests"), ".rs", &mut sources);
    for path in sources.iter().filter(|path| !path.ends_with("tests/tests/tree/rfc.rs")) {
        let source = read(path);
        let inside = path.strip_prefix(root()).expect("in the repository").to_string_lossy().into_owned();
        let place = inside.trim_start_matches("crates/").trim_end_matches(".rs").replace("/src/", "/");
        let tree = syn::parse_file(&source).expect("Rust");
        Tests { lines: source.lines().collect(), place, shown: &mut shown }.visit_file(&tree);
    }
    let mut scenarios = Vec::new();
    files(&root().join("sipp-scenarios"), ".xml", &mut scenarios);
    files(&root().join("sipp-scenarios"), ".toml", &mut scenarios);
    for path in scenarios {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let kind = if path.extension().is_some_and(|e| e == "toml") { "SIPp case" } else { "SIPp scenario" };
        for cited in citations(&read(&path)) {
            shown.entry(cited).or_default().insert(format!("{kind}: {name}"));
        }
    }
    shown
}

/// Sections as numbers, so that 10 follows 9.
fn in_order(section: &str) -> Vec<(u32, String)> {
    section.split('.').map(|part| (part.parse().unwrap_or(u32::MAX), part.to_owned())).collect()
}

fn document(shown: &Shown) -> String {
    let mut text = "# RFCs and the tests that show them\n\nWritten by `make docs` out of the tests, SIPp scenarios and cases, \
                    which cite the sections they show; `make test` fails when it is stale.\n\n| RFC | about | tests |\n|---|---|---|\n"
        .to_owned();
    let of = |rfc: u16| shown.iter().filter(move |((number, _), _)| *number == rfc);
    for (rfc, about) in RFCS {
        let tests: BTreeSet<&String> = of(*rfc).flat_map(|(_, names)| names).collect();
        let count = if tests.is_empty() { "none yet".to_owned() } else { tests.len().to_string() };
        let _ = writeln!(text, "| {rfc} | {about} | {count} |");
    }
    for (rfc, about) in RFCS {
        let mut sections: Vec<_> = of(*rfc).collect();
        sections.sort_by_key(|((_, section), _)| in_order(section));
        if !sections.is_empty() {
            let _ = writeln!(text, "\n## RFC {rfc}: {about}\n");
        }
        for ((_, section), names) in sections {
            let title = if section.is_empty() { "whole".to_owned() } else { format!("§{section}") };
            let _ = writeln!(text, "- {title}");
            for name in names {
                let _ = writeln!(text, "  - {name}");
            }
        }
    }
    text
}

#[test]
fn the_table_of_rfcs_says_what_the_tests_say() {
    let (path, now) = (root().join("docs/RFC.md"), document(&shown()));
    if std::env::var_os("WEBTRUNK_WRITE_DOCS").is_some() {
        std::fs::write(&path, &now).expect("docs/RFC.md written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let first = kept.lines().zip(now.lines()).find(|(kept, now)| kept != now);
    assert!(kept == now, "docs/RFC.md is stale; run make docs. First difference: {first:?}");
}

#[test]
fn every_rfc_that_a_test_cites_has_a_name_in_the_table() {
    let unnamed: BTreeSet<u16> = shown()
        .keys()
        .map(|(rfc, _)| *rfc)
        .filter(|rfc| !RFCS.iter().any(|(known, _)| known == rfc))
        .collect();
    assert!(unnamed.is_empty(), "name these in tests/tests/tree/rfc.rs: {unnamed:?}");
}

#[test]
fn citations_are_found_with_and_without_sections() {
    let text = "RFC 3261 §9.1, §22.3. and RFC 3665 §3.1 and §3.2; RFC 6026, RFC 3550 A.8";
    let found = citations(text);
    let expected = [(3261, "9.1"), (3261, "22.3"), (3665, "3.1"), (3665, "3.2"), (6026, ""), (3550, "")];
    assert_eq!(found, expected.map(|(rfc, section)| (rfc, section.to_owned())));
}
