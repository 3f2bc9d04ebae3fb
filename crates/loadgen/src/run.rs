//! Loads on whom the calls go through.

use std::time::{Duration, Instant};

use crate::delay::within_packets;
use crate::engine::{Engine, Seen, Way};
use crate::process::{full_sockets, own_cpu_ms};
use crate::setup::{Says, Setup};
use crate::speech::Recording;
use crate::stats::{Latency, latency};
use crate::subject::Subject;
use crate::workload::{Against, Workload};
use crate::{Fallible, directory, gateway};

/// Before anything is counted: handshakes keep this process from its media, the gateway fills the gaps, and two windows of
/// [`crate::pairing`] pass until it is known again what came of what.
const WARM_UP: Duration = Duration::from_secs(5);
/// What was sent last may still come.
const DRAIN: Duration = Duration::from_millis(500);
/// How often signalling is looked at while calls come up, and when none does.
const BUSY: Duration = Duration::from_millis(5);
const QUIET: Duration = Duration::from_millis(50);
/// Memory of a call is counted from these on: with the first ones a process takes what it takes once.
const FIRST: usize = 4;
/// Calls whose audio is kept.
const TAPED: u32 = 4;

/// What a load cost and how it went.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Calls at once.
    pub calls: usize,
    /// Processor milliseconds for each second of each call.
    pub cpu_ms_per_call_s: f64,
    /// How late packets were.
    pub latency: Latency,
    /// Memory that the calls after the first few added, browsers' connections included, KiB each.
    pub rss_kib_per_call: f64,
    /// Share of packets that did not come out, of the worse direction.
    pub loss: f64,
    /// How late audio is towards the party and towards the browser, milliseconds.
    pub audio_delay_ms: [Option<f64>; 2],
    /// Datagrams that the kernel dropped for full sockets, of anybody.
    pub full_sockets: u64,
    /// Packets towards the browser that were verified and were authentic, and that were not.
    pub verified: (u64, u64),
    /// SRTP profile.
    pub profile: &'static str,
    /// libopus's complexity, of new and of running encoders, where it is told.
    pub complexity: Option<String>,
    /// Share of its core that this process used.
    pub own_load: f64,
    /// Bitrate of the audio towards the browser, kbit/s.
    pub to_browser_kbit: Option<f64>,
}

impl Measurement {
    /// Calls that one core would hold, by what these cost.
    pub fn calls_per_core(&self) -> f64 {
        1e3 / self.cpu_ms_per_call_s
    }

    /// The larger of the two delays of the audio.
    pub fn audio_delay(&self) -> Option<f64> {
        self.audio_delay_ms.into_iter().flatten().reduce(f64::max)
    }
}

/// Whom the calls go through, with its calls.
pub struct Bench {
    /// Media.
    pub engine: Engine,
    /// Signalling and handshakes.
    pub setup: Setup,
    /// Whom it goes through.
    pub subject: Subject,
    workload: Workload,
    says: Says,
    /// Memory with the first calls, KiB; none before.
    first_rss: Option<f64>,
}

impl Bench {
    /// Without calls yet.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(workload: Workload, against: Against, recording: &Recording) -> Fallible<Bench> {
        let says = workload.says(recording, against)?;
        let subject = workload.start(against, &gateway()?, &directory()?)?;
        let (engine, setup) = (Engine::open()?, Setup::new(vec![says.clone()], workload.offered(), TAPED)?);
        Ok(Bench { engine, setup, subject, workload, says, first_rss: None })
    }

    /// Brings calls up until there are so many.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn grow(&mut self, calls: usize) -> Fallible<()> {
        if self.first_rss.is_none() {
            self.reach(FIRST)?;
            self.pass(WARM_UP)?;
            self.first_rss = Some(self.subject.process().rss_kib());
        }
        self.reach(calls)
    }

    fn reach(&mut self, calls: usize) -> Fallible<()> {
        self.subject.expect(calls)?;
        self.setup.want(calls.saturating_sub(self.setup.up.len()), false);
        while !self.setup.is_done() {
            self.pass(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Goes on for so long.
    ///
    /// # Errors
    /// When signalling fails.
    pub fn pass(&mut self, span: Duration) -> Fallible<()> {
        let Bench { engine, setup, subject, .. } = self;
        let mut last = Instant::now();
        setup.turn(engine, subject)?;
        engine.run(span, |engine| {
            let pause = if setup.is_done() { QUIET } else { BUSY };
            if last.elapsed() < pause {
                return Ok(());
            }
            last = Instant::now();
            setup.turn(engine, subject)
        })
    }

    /// Counts for so long.
    ///
    /// # Errors
    /// When signalling fails, or calls ended meanwhile.
    pub fn measure(&mut self, span: Duration) -> Fallible<Measurement> {
        self.pass(WARM_UP)?;
        let (full, before, own) = (full_sockets(), self.subject.process().cpu_ms(), own_cpu_ms());
        let start = Instant::now();
        self.engine.count(span);
        self.pass(span)?;
        let (used, own, took) =
            (self.subject.process().cpu_ms() - before, own_cpu_ms() - own, start.elapsed().as_secs_f64());
        self.pass(DRAIN)?;
        let seen = self.engine.take_seen();
        if let Some(why) = self.setup.lost.first() {
            let count = self.setup.lost.len();
            return Err(format!("{count} calls ended by themselves, the first as {why}").into());
        }
        if seen.silent > 0 {
            return Err(format!("nothing comes out of {} directions of calls", seen.silent).into());
        }
        let calls = self.setup.up.len();
        let rss = self.subject.process().rss_kib() - self.first_rss.unwrap_or_default();
        let latency = latency(&seen.ways);
        let (audio_delay_ms, to_browser_kbit) = self.audio(latency.p50 / 1e3);
        Ok(Measurement {
            calls,
            cpu_ms_per_call_s: used / took / calls as f64,
            latency,
            rss_kib_per_call: rss / calls.saturating_sub(FIRST).max(1) as f64,
            loss: loss(&seen),
            audio_delay_ms,
            full_sockets: full_sockets() - full,
            verified: (seen.verified, seen.forged),
            profile: self.setup.suite.map_or("none", |suite| suite.name()),
            complexity: self.complexity(),
            own_load: own / 1e3 / took,
            to_browser_kbit,
        })
    }

    fn complexity(&self) -> Option<String> {
        let Subject::Ours(ours) = &self.subject else { return None };
        self.workload.floor()?;
        let of = |encoders: &str| ours.level("webtrunk_opus_complexity", encoders);
        Some(format!("{}-{}", of("encoders=\"new\"")?, of("encoders=\"running\"")?))
    }

    /// The delays of the audio, packets being so late, and the bitrate of what browsers hear.
    fn audio(&mut self, late_ms: f64) -> ([Option<f64>; 2], Option<f64>) {
        let ends = [(&self.says.browser, self.workload.party()), (&self.says.party, self.workload.browser())];
        let rate = self.workload.rate();
        let mut kbit = None;
        let delays = [Way::ToParty, Way::ToBrowser].map(|way| {
            let (said, heard_as) = ends[way as usize];
            let mut delays = Vec::new();
            for n in 0..TAPED {
                let Some(tape) = self.engine.tape(n, way) else { continue };
                let bytes: usize = tape.0.iter().map(|(_, payload)| payload.len()).sum();
                kbit = (!tape.0.is_empty()).then(|| bytes as f64 * 8.0 / 20.0 / tape.0.len() as f64).or(kbit);
                delays.extend(within_packets(said, &tape, heard_as, rate));
            }
            (!delays.is_empty()).then(|| late_ms + delays.iter().sum::<f64>() / delays.len() as f64)
        });
        (delays, kbit)
    }
}

fn loss(seen: &Seen) -> f64 {
    seen.ways.iter().map(|way| way.loss()).fold(0.0, f64::max)
}
