//! Many browsers against many SIP parties with real speech, through the built gateway and through Debian's rtpengine, one
//! core each: what a call costs, how late its packets are, how many are lost.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use loadgen::run::Bench;
use loadgen::speech::Recording;
use loadgen::workload::{Against, Workload};
use loadgen::{Fallible, bench, directory, drift, gateway, out, process, report, soak};

#[derive(Parser)]
#[command(
    about = "Browsers and SIP parties with real speech against the gateway, and against rtpengine beside it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything: ratios, figures, target/bench.json.
    Bench,
    /// Relayed calls: SRTP PCMU of browsers, RTP PCMU of SIP parties.
    Relay(Load),
    /// The same in AES128_CM_HMAC_SHA1_80, which Chromium and the gateway choose by DTLS 1.3.
    RelayFirst(Load),
    /// Transcoded calls: Opus of browsers, PCMU of SIP parties.
    Transcode(Load),
    /// The same in wideband: Opus of browsers, G.722 of SIP parties.
    Wideband(Load),
    /// Relayed calls that come and go through the gateway; fails where memory grows or anything is left.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Share of its core that the gateway is to use.
        #[arg(long, default_value_t = 0.7)]
        load: f64,
    },
    /// Some calls between clocks that differ; fails where what comes out clicks, falls silent or grows late.
    Drift {
        /// How long.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// By how much the clocks differ, millionths.
        #[arg(long, default_value_t = 200)]
        ppm: u32,
    },
}

/// One load.
#[derive(clap::Args)]
struct Load {
    /// Calls at once.
    #[arg(long, default_value_t = 100)]
    calls: usize,
    /// How long is measured, seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Whom the calls go through.
    #[arg(long, value_enum, default_value_t = Against::Ours)]
    against: Against,
}

fn main() -> ExitCode {
    process::keep_to(process::OWN);
    let done = match Cli::parse().command {
        Command::Bench => bench::everything(),
        Command::Relay(load) => one(Workload::Relay, &load),
        Command::RelayFirst(load) => one(Workload::RelayFirst, &load),
        Command::Transcode(load) => one(Workload::Transcode, &load),
        Command::Wideband(load) => one(Workload::Wideband, &load),
        Command::Soak { minutes, load } => soak::soak(minutes, load),
        Command::Drift { minutes, ppm } => between_clocks(Duration::from_secs_f64(minutes * 60.0), ppm),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out(&format!("loadgen: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn between_clocks(span: Duration, ppm: u32) -> Fallible<()> {
    out(&format!("drift: calls of {span:?} between clocks that differ by {ppm} ppm"));
    drift::drift(&gateway()?, &directory()?, span, ppm)?;
    out("drift: neither click nor gap, nothing grew late");
    Ok(())
}

fn one(workload: Workload, load: &Load) -> Fallible<()> {
    let recording = Recording::read()?;
    let mut bench = Bench::start(workload, load.against, &recording)?;
    bench.grow(load.calls)?;
    let measured = bench.measure(Duration::from_secs(load.seconds))?;
    report::figures_head();
    report::row(workload.name(), &format!("{:?}", load.against), &measured);
    Ok(())
}
