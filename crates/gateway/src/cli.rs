//! The command line. Exit codes: 0 good, 1 the thing asked about is bad, 2 usage.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use std::sync::Arc;

use b2bua::RouteFrom;
use clap::{Args, Parser, Subcommand, ValueEnum};
use media_bridge::sound::Sound;
use types::UserName;

use crate::config::{self, Config, Problem, values};
use crate::demo;
use crate::scenarios;
use crate::shell::{self, Options, PortNames};
use crate::sound;

/// Gateway between SIP trunks, softphones and browsers.
#[derive(Parser)]
#[command(name = "webtrunk", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try it: users alice and bob, and a built-in carrier to call. Needs no file and no network.
    Demo(Demo),
    /// Run with a configuration file.
    Run {
        /// The file, e.g. webtrunk.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Check a configuration file; prints every problem with its place.
    CheckConfig {
        /// The file.
        file: PathBuf,
        /// Print what holds for this trunk, presets and defaults included.
        #[arg(long, value_name = "NAME")]
        trunk: Option<String>,
    },
    /// Questions about routes.
    #[command(subcommand)]
    Route(RouteQuestion),
    /// Questions to trunks.
    #[command(subcommand)]
    Trunk(TrunkQuestion),
    /// Scenario tests with SIPp.
    #[command(subcommand)]
    Sipp(SippTask),
}

#[derive(Subcommand)]
enum TrunkQuestion {
    /// Resolve, connect, OPTIONS, register: say how each step went and what a failure means. Exit code 1: one failed.
    Test {
        /// The configuration file.
        file: PathBuf,
        /// The trunk's name in it.
        name: String,
        /// Print every SIP message, secrets masked.
        #[arg(short, long)]
        verbose: bool,
    },
}

#[derive(Subcommand)]
enum SippTask {
    /// Run a folder of scenarios, each against a fresh gateway. Exit code 1: at least one failed.
    Run {
        /// Scenarios (*.xml) and, where more is to be said than that, cases (*.toml).
        dir: PathBuf,
        /// Where the JUnit XML is written.
        #[arg(long, default_value = "webtrunk-sipp.xml", value_name = "FILE")]
        junit: PathBuf,
        /// Only cases whose name contains this.
        #[arg(long, value_name = "PART")]
        only: Option<String>,
        /// Cases at a time. Default: one for each core.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
        jobs: Option<u16>,
    },
}

#[derive(Subcommand)]
enum RouteQuestion {
    /// Say where a number goes and which rule decides it. Exit code 1: it goes nowhere.
    Explain {
        /// The configuration file.
        file: PathBuf,
        /// As dialled, e.g. +12025550100.
        number: String,
        /// Who calls: a user's name, or trunk:NAME. Default: the first user of the file.
        #[arg(long, value_name = "USER")]
        from: Option<String>,
    },
}

#[derive(Args)]
struct Common {
    /// Serve the page over TLS with a certificate made at start.
    #[arg(long, value_enum, value_name = "KIND")]
    tls: Option<TlsKind>,
    /// Print every SIP message of both legs, secrets masked.
    #[arg(long)]
    sip_trace: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TlsKind {
    SelfSigned,
}

#[derive(Args)]
struct Demo {
    /// Address and port of the page.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    http: SocketAddr,
    /// Address and port for SIP, UDP and TCP.
    #[arg(long, default_value = "127.0.0.1:5060", value_name = "ADDR:PORT")]
    sip: SocketAddr,
    /// Address and port of the built-in carrier.
    #[arg(long, default_value = "127.0.0.1:5080", value_name = "ADDR:PORT")]
    carrier: SocketAddr,
    /// First of the UDP ports for browser media, one for each worker.
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    webrtc_port: u16,
    /// UDP ports for RTP; the gateway takes the first half, the carrier the second.
    #[arg(long, default_value = "20000-20999", value_name = "A-B", value_parser = values::port_range)]
    rtp_ports: (u16, u16),
    /// Password of alice and bob instead of random ones. Needed when --http or --sip is not loopback.
    #[arg(long)]
    password: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::CheckConfig { file, trunk } => match read_with_sounds(&file) {
            Ok((config, _)) => {
                out(&format!("{}: good", file.display()));
                config.warnings().iter().for_each(|warning| out(&format!("warning: {warning}")));
                trunk.map_or(ExitCode::SUCCESS, |name| show_trunk(&config, &name))
            }
            Err(code) => code,
        },
        Command::Run { config, common } => match read_with_sounds(&config) {
            Ok((config, sounds)) => {
                let names = PortNames::KEYS;
                let (greeting, sip_trace, carrier) = (Vec::new(), common.sip_trace, None);
                let options = Options { names, greeting, sip_trace, carrier, sounds };
                run(config, &common, options)
            }
            Err(code) => code,
        },
        Command::Demo(args) => demo_command(args),
        Command::Route(RouteQuestion::Explain { file, number, from }) => match read_config(&file) {
            Ok(config) => explain(&config, &number, from.as_deref()),
            Err(code) => code,
        },
        Command::Trunk(TrunkQuestion::Test { file, name, verbose }) => match read_config(&file) {
            Ok(config) => match shell::trunk_test::run(&config, &name, verbose, &|line| out(line)) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(sentence) => {
                    err(&sentence);
                    ExitCode::from(2)
                }
            },
            Err(code) => code,
        },
        Command::Sipp(SippTask::Run { dir, junit, only, jobs }) => {
            let cores = || std::thread::available_parallelism().map_or(1, usize::from);
            let jobs = jobs.map_or_else(cores, usize::from);
            let plan = scenarios::Plan { dir: &dir, junit: &junit, only: only.as_deref(), jobs };
            match scenarios::run(&plan, &|line| out(line)) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(problems) => {
                    problems.iter().for_each(|problem| err(problem));
                    ExitCode::from(2)
                }
            }
        }
    }
}

fn show_trunk(config: &Config, name: &str) -> ExitCode {
    let Some(trunk) = config.trunks.iter().find(|t| t.name == name) else {
        err(&format!("there is no trunk named {name:?} in this file"));
        return ExitCode::FAILURE;
    };
    out(&format!("trunk {name}, for {}:", trunk.server().uri_host()));
    trunk.profile.to_string().lines().for_each(|line| out(&format!("  {line}")));
    ExitCode::SUCCESS
}

fn explain(config: &Config, number: &str, from: Option<&str>) -> ExitCode {
    let from = match (from.map(|name| (name, name.strip_prefix("trunk:"))), config.users.first()) {
        (Some((_, Some(trunk))), _) => RouteFrom::Trunk(trunk.to_owned()),
        (Some((user, None)), _) => RouteFrom::User(UserName::new(user.strip_prefix("user:").unwrap_or(user))),
        (None, Some(first)) => RouteFrom::User(first.name.clone()),
        (None, None) => {
            err("the file has no user; say who calls with --from trunk:NAME");
            return ExitCode::from(2);
        }
    };
    let who = match &from {
        RouteFrom::User(user) => format!("user {}", user.as_str()),
        RouteFrom::Trunk(name) => format!("trunk {name}"),
    };
    out(&format!("{number}, called by {who}:"));
    let told = b2bua::explain(&shell::switch_config(config, &[]), number, &from);
    told.lines.iter().for_each(|line| out(&format!("  {line}")));
    if told.found { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn demo_command(args: Demo) -> ExitCode {
    let plan = demo::Plan {
        http: args.http,
        sip: args.sip,
        carrier: args.carrier,
        webrtc_port: args.webrtc_port,
        rtp_ports: args.rtp_ports,
        password: args.password,
    };
    match plan.build() {
        Ok(demo::Demo { config, carrier, greeting }) => {
            let options = Options {
                names: PortNames::FLAGS,
                greeting,
                sip_trace: args.common.sip_trace,
                carrier: Some(carrier),
                sounds: Arc::default(),
            };
            run(config, &args.common, options)
        }
        Err(sentence) => {
            err(&sentence);
            ExitCode::from(2)
        }
    }
}

fn run(mut config: Config, common: &Common, options: Options) -> ExitCode {
    if matches!(common.tls, Some(TlsKind::SelfSigned)) {
        config.http.tls = config::Tls::SelfSigned;
    }
    match shell::run(config, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            err(&sentence);
            ExitCode::FAILURE
        }
    }
}

/// Reads a file or says everything that is wrong with it.
fn read_config(file: &Path) -> Result<Config, ExitCode> {
    let text = std::fs::read_to_string(file).map_err(|e| {
        err(&format!("{}: cannot be read: {e}", file.display()));
        ExitCode::FAILURE
    })?;
    config::load(&text, |name| std::env::var(name).ok()).map_err(|problems| say(file, &problems))
}

/// The same with the sound files that it names.
fn read_with_sounds(file: &Path) -> Result<(Config, Arc<[Sound]>), ExitCode> {
    let config = read_config(file)?;
    let sounds = sound::load(&config.sounds).map_err(|problems| say(file, &problems))?;
    Ok((config, sounds))
}

fn say(file: &Path, problems: &[Problem]) -> ExitCode {
    for problem in problems {
        err(&format!("{}: {problem}", file.display()));
    }
    let plural = if problems.len() == 1 { "problem" } else { "problems" };
    err(&format!("{} {plural}; nothing was started", problems.len()));
    ExitCode::FAILURE
}

/// A line for the person at the terminal. Nobody may be there any more: that ends no call.
pub fn out(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line about what went wrong.
fn err(line: &str) {
    let _ = writeln!(io::stderr(), "webtrunk: {line}");
}
