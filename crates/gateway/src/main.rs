//! The `webtrunk` binary: a gateway between SIP trunks, softphones and browsers.

mod carrier;
mod cli;
mod config;
mod demo;
mod http;
mod recording;
mod scenarios;
mod shell;
mod sound;
mod tls;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
