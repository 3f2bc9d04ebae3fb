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

/// Set up in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
