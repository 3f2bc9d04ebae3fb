//! Many browsers against many SIP parties with real speech, through the built gateway and through Debian's rtpengine, one
//! core each: what a call costs, how late its packets are, how many are lost.

mod bench;
mod bencode;
mod delay;
mod dtls;
mod engine;
mod floor;
mod ours;
mod pairing;
mod party;
mod process;
mod report;
mod rtpengine;
mod run;
mod sdp;
mod setup;
mod soak;
mod speech;
mod stats;
mod stun;
mod subject;
mod wire;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use run::Bench;
use speech::Recording;
use workload::{Against, Workload};

/// What went wrong, for the person at the terminal.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

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
        Command::Transcode(load) => one(Workload::Transcode, &load),
        Command::Wideband(load) => one(Workload::Wideband, &load),
        Command::Soak { minutes, load } => soak::soak(minutes, load),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out(&format!("loadgen: {error}"));
            ExitCode::FAILURE
        }
    }
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

/// Where files of a run lie.
///
/// # Errors
/// When it can not be made.
pub fn directory() -> Fallible<PathBuf> {
    let dir = target()?.join("loadgen");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The directory that this program was built into, and the gateway with it.
fn built() -> Fallible<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().ok_or("a program in no directory")?.to_path_buf())
}

fn target() -> Fallible<PathBuf> {
    Ok(built()?.parent().ok_or("a program in no target directory")?.to_path_buf())
}

/// The gateway: `WEBTRUNK_BIN`, or the one beside this program.
///
/// # Errors
/// When it is not there.
pub fn gateway() -> Fallible<PathBuf> {
    let given = std::env::var_os("WEBTRUNK_BIN").map(PathBuf::from);
    let path = given.map_or_else(|| built().map(|dir| dir.join("webtrunk")), Ok)?;
    if !path.exists() {
        return Err(format!("{} is missing: cargo build --release -p gateway", path.display()).into());
    }
    Ok(path)
}

/// Prints a line.
#[allow(clippy::print_stdout)]
pub fn out(line: &str) {
    println!("{line}");
}
