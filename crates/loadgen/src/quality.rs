//! Calls through the built gateway in which something is said once over lines of their own, and all that came out.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Fallible;
use crate::dtls::Offered;
use crate::engine::{Engine, Heard, Report, Way};
use crate::ours::{Dialled, Ours};
use crate::sdp::Codec;
use crate::setup::{Says, Setup};
use crate::subject::Subject;

/// After the last packet of the longest speech.
const AFTER: Duration = Duration::from_millis(500);
/// For calls to end and their records to be written.
const LIMIT: Duration = Duration::from_secs(10);
/// How often signalling is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// What came out of a call.
#[derive(Debug)]
pub struct Call {
    /// To the party, to the browser.
    pub heard: [Vec<Heard>; 2],
    /// What its browser reported.
    pub reports: Vec<Report>,
    /// Its record.
    pub record: Value,
}

/// What came out of all of them.
#[derive(Debug)]
pub struct Calls {
    /// In the order of what was said.
    pub calls: Vec<Call>,
    /// The least of libopus's complexity.
    pub complexity: f64,
    /// How busy the gateway's worker was, 0 to 1.
    pub load: f64,
}

/// One call for each of these at once, until each has said everything.
///
/// # Errors
/// When the gateway does not start, or a call does not come up or ends by itself.
pub fn calls(gateway: &Path, dir: &Path, codec: Codec, says: Vec<Says>) -> Fallible<Calls> {
    let records = dir.join("records.jsonl");
    let trunk_keys = if codec == Codec::G722 { "codecs = [\"g722\"]" } else { "codecs = [\"pcmu\"]" };
    let dialled = Dialled { codec, trunk_keys, records: Some(records.clone()) };
    let mut subject = Subject::Ours(Box::new(Ours::start(gateway, dir, &dialled)?));
    let count = says.len();
    let longest = says.iter().map(|both| both.browser.frames.len().max(both.party.frames.len())).max();
    let longest = longest.ok_or("nothing is to be said")? as u64;
    let (mut engine, mut setup) = (Engine::open()?, Setup::new(says, Offered::Chromium, 0)?);
    subject.expect(count)?;
    setup.want(count, false);
    let numbers = 0..u32::try_from(count)?;
    let said = |engine: &Engine| {
        numbers.clone().all(|n| engine.sent(n, Way::ToParty).is_some_and(|sent| sent >= longest))
    };
    while !setup.is_done() || !said(&engine) {
        pass(PAUSE, &mut engine, &mut setup, &mut subject)?;
    }
    pass(AFTER, &mut engine, &mut setup, &mut subject)?;
    if let Some(why) = setup.lost.first() {
        return Err(format!("{} calls ended by themselves, the first as {why}", setup.lost.len()).into());
    }
    let (complexity, load) = effort(&subject)?;
    let heard: Vec<[Vec<Heard>; 2]> =
        numbers.clone().map(|n| [engine.heard(n, Way::ToParty), engine.heard(n, Way::ToBrowser)]).collect();
    let reports: Vec<Vec<Report>> = numbers.clone().map(|n| engine.reports(n)).collect();
    setup.hang_up(count, &mut engine, &mut subject)?;
    let until = Instant::now() + LIMIT;
    let mut all = Vec::new();
    while all.len() < count {
        if Instant::now() > until {
            return Err(format!("{} records of {count} calls", all.len()).into());
        }
        pass(PAUSE * 10, &mut engine, &mut setup, &mut subject)?;
        all = std::fs::read_to_string(&records)
            .unwrap_or_default()
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<Vec<Value>, _>>()
            .unwrap_or_default();
    }
    let record = |n: u32| {
        let number = Ours::number(n);
        let of_it = |record: &&Value| record["to"].as_str() == Some(&number);
        all.iter().find(of_it).cloned().ok_or_else(|| format!("no record of {number}"))
    };
    let calls = numbers
        .zip(heard.into_iter().zip(reports))
        .map(|(n, (heard, reports))| Ok(Call { heard, reports, record: record(n)? }))
        .collect::<Fallible<Vec<Call>>>()?;
    Ok(Calls { calls, complexity, load })
}

fn pass(span: Duration, engine: &mut Engine, setup: &mut Setup, subject: &mut Subject) -> Fallible<()> {
    setup.turn(engine, subject)?;
    engine.run(span, |_| Ok(()))
}

fn effort(subject: &Subject) -> Fallible<(f64, f64)> {
    let Subject::Ours(ours) = subject else { return Err("only the gateway tells its complexity".into()) };
    let of = |encoders: &str| ours.level("webtrunk_opus_complexity", encoders);
    let both = [of("encoders=\"new\""), of("encoders=\"running\"")];
    let complexity = both.into_iter().flatten().reduce(f64::min).ok_or("no complexity in /metrics")?;
    let load = ours.level("webtrunk_worker_load", "").ok_or("no load in /metrics")?;
    Ok((complexity, load))
}
