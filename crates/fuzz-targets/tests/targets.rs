//! Every target over its corpus, and over a bounded number of seeded mutations of it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fuzz_targets::{
    ENDPOINT_OPERATIONS, MEDIA_CALL_OPERATIONS, Random, SESSION_OPERATIONS, TARGETS, Target, corpus,
    endpoint_operations, media_call_operations, mutate, session_operations,
};

/// Runs one input; if it fails, says which.
fn run(target: &Target, input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("{} does not hold for {what}: {:?}", target.name, String::from_utf8_lossy(input));
    }
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target of this name")
}

/// The corpus, then `count` mutations of it by this seed.
fn play(name: &str, count: u64) {
    let target = target(name);
    let corpus = corpus::of(name).expect("the corpus");
    assert!(corpus.len() >= 3, "{} inputs", corpus.len());
    for (number, input) in corpus.iter().enumerate() {
        run(target, input, &format!("kept input {number}"));
    }
    for seed in 0..count {
        let input = mutate(&corpus, target.words, &mut Random(seed));
        run(target, &input, &format!("seed {seed}"));
    }
}

#[test]
fn any_message_is_read_or_refused_and_can_be_answered() {
    play("message", 20_000);
}

#[test]
fn any_field_value_is_read_or_refused() {
    play("headers", 20_000);
}

#[test]
fn any_uri_is_read_or_refused_and_is_equivalent_to_itself() {
    play("uri", 50_000);
}

#[test]
fn any_digest_is_judged_and_no_made_up_one_is_right() {
    play("digest", 10_000);
}

#[test]
fn any_stream_gives_the_same_messages_however_it_is_cut() {
    play("framer", 10_000);
}

#[test]
fn any_description_is_used_or_refused_in_words() {
    play("sdp", 20_000);
}

#[test]
fn any_packet_is_refused_unless_we_could_have_sent_it() {
    play("srtp", 20_000);
}

#[test]
fn any_packet_is_placed_once_and_nobody_but_the_peer_is_heard_or_sent_to() {
    play("rtp", 20_000);
}

#[test]
fn any_report_reads_the_same_when_it_is_written_again() {
    play("rtcp", 20_000);
}

#[test]
fn any_datagram_is_answered_only_where_a_password_was_shown() {
    play("entrance", 300);
}

#[test]
fn any_sequence_of_operations_on_a_call_keeps_its_streams_and_releases_its_legs() {
    play("media_call", 2_000);
}

#[test]
fn any_packet_of_a_browser_in_session_counts_once_and_only_if_it_is_authentic() {
    play("session", 600);
}

#[test]
fn any_sequence_of_operations_ends_every_leg_once_and_leaves_nothing() {
    play("endpoint", 10_000);
}

/// Every one of `names` comes up in the corpus.
fn bring_up(target: &str, operations: fn(&[u8]) -> BTreeSet<&'static str>, names: &[&str]) {
    let kept = corpus::of(target).expect("the corpus");
    let seen: BTreeSet<_> = kept.iter().flat_map(|input| operations(input)).collect();
    let missing: Vec<_> = names.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "never: {missing:?}");
}

#[test]
fn the_kept_sequences_bring_up_every_operation_of_the_endpoint() {
    bring_up("endpoint", endpoint_operations, ENDPOINT_OPERATIONS);
}

#[test]
fn the_kept_sequences_bring_up_every_operation_of_a_call() {
    bring_up("media_call", media_call_operations, MEDIA_CALL_OPERATIONS);
}

#[test]
fn the_kept_sequences_bring_up_every_operation_of_a_session() {
    bring_up("session", session_operations, SESSION_OPERATIONS);
}

#[test]
fn every_target_is_played_here_and_known_to_cargo_fuzz() {
    let ours = include_str!("targets.rs");
    let manifest = std::fs::read_to_string(corpus::root().join("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(ours.contains(&format!("play(\"{}\",", target.name)), "{} is not played", target.name);
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} for cargo-fuzz", target.name);
        let file = corpus::root().join(format!("fuzz/fuzz_targets/{}.rs", target.name));
        assert!(Path::new(&file).exists(), "{}", file.display());
    }
}

#[test]
fn a_broken_target_is_noticed() {
    let broken = Target { name: "broken", run: |data| assert!(data.len() < 3), words: &[] };
    let caught = catch_unwind(|| run(&broken, b"abc", "this"));
    assert!(caught.is_err_and(|why| why.downcast_ref::<String>().is_some_and(|text| text.contains("abc"))));
}
