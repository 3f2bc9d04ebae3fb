//! What an INVITE of 1.4 kB costs to read, to check and to write, beside copying the same bytes and beside `rsip`.
//!
//! All take turns over the same bytes; figures are medians of many turns, ratios are taken within a turn, so that another
//! program on the machine falls on all alike. `--count NAME` does one thing often and nothing else: for callgrind, whose
//! instruction counts do not depend on what else runs.

use std::hint::black_box;
use std::time::Instant;

use sip_ua::Body;
use sip_ua::message::{Kind, Message, MessageWriter, validate_request};

/// As a carrier sends it behind two proxies.
const INVITE: &str = include_str!("invite.sip");
const TURNS: usize = 301;
const REPEATS: usize = 200;

struct Work {
    bytes: Vec<u8>,
    message: Message,
    body: Body,
}

/// One thing that is measured.
type Job = (&'static str, fn(&Work));

const JOBS: [Job; 6] = [
    ("copy", copy),
    ("parse", parse),
    ("parse + validate", parse_validate),
    ("write", write),
    ("parse + write", parse_write),
    ("rsip parse", rsip_parse),
];

fn copy(work: &Work) {
    black_box(black_box(&work.bytes).clone());
}

fn parse(work: &Work) {
    black_box(Message::parse(black_box(&work.bytes).clone()).is_ok());
}

fn parse_validate(work: &Work) {
    let message = Message::parse(black_box(&work.bytes).clone()).expect("an INVITE");
    black_box(validate_request(&message, &["100rel", "timer"]).is_ok());
    black_box(message);
}

fn write(work: &Work) {
    write_out(black_box(&work.message), &work.body);
}

/// Field by field, as the endpoint writes.
fn write_out(message: &Message, body: &Body) {
    let Kind::Request { method, uri } = message.kind() else { return };
    let mut out = MessageWriter::request(method, uri);
    for (name, value) in message.fields() {
        if name != "Content-Length" && name != "Content-Type" {
            out.push(name, value);
        }
    }
    black_box(out.finish_with(Some(body)));
}

fn parse_write(work: &Work) {
    let message = Message::parse(black_box(&work.bytes).clone()).expect("an INVITE");
    write_out(&message, &work.body);
}

fn rsip_parse(work: &Work) {
    black_box(rsip::SipMessage::try_from(black_box(work.bytes.as_slice())).is_ok());
}

fn main() {
    let bytes = INVITE.replace('\n', "\r\n").into_bytes();
    let message = Message::parse(bytes.clone()).expect("an INVITE");
    let body = message.typed_body().expect("a description");
    let work = Work { bytes, message, body };
    assert!(rsip::SipMessage::try_from(work.bytes.as_slice()).is_ok(), "rsip reads it too");
    let again = MessageWriter::copy_of(&work.message).finish_with(Some(&work.body));
    assert_eq!(again.len(), work.bytes.len(), "what is written is what was read");
    let mut args = std::env::args().skip_while(|a| a != "--count").skip(1);
    match args.next() {
        Some(name) => count(&name, &work),
        None => print(&work),
    }
}

/// One job 1,000 times.
fn count(name: &str, work: &Work) {
    let job = JOBS.iter().find(|(n, _)| *n == name).expect("the name of a job");
    (0..1000).for_each(|_| (job.1)(work));
}

fn print(work: &Work) {
    let mut times = vec![Vec::with_capacity(TURNS); JOBS.len()];
    for _ in 0..TURNS {
        for ((_, job), times) in JOBS.iter().zip(&mut times) {
            let start = Instant::now();
            (0..REPEATS).for_each(|_| job(work));
            times.push(start.elapsed().as_secs_f64() * 1e6 / REPEATS as f64);
        }
    }
    let rsip = times[JOBS.len() - 1].clone();
    out(&format!("An INVITE of {} bytes, {} header fields", work.bytes.len(), work.message.fields().count()));
    out("");
    out("| | µs | / copy | / rsip parse | allocations |");
    out("|---|---:|---:|---:|---:|");
    for ((name, job), own) in JOBS.iter().zip(&times) {
        let per = |other: &[f64]| median(own.iter().zip(other).map(|(a, b)| a / b).collect());
        let allocations = allocation_counter::measure(|| job(work)).count_total;
        let (us, copies, rsips) = (median(own.clone()), per(&times[0]), per(&rsip));
        out(&format!("| {name} | {us:.2} | {copies:.1} | {rsips:.2} | {allocations} |"));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(clippy::print_stdout)]
fn out(line: &str) {
    println!("{line}");
}
