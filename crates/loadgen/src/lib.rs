//! Browsers and SIP parties for many calls at once with real speech, over good lines and bad ones: what a call costs, how
//! late its packets are, how many are lost, and what comes out.

pub mod bench;
pub mod bencode;
pub mod delay;
#[path = "../../media-bridge/src/call/tests/detector.rs"]
pub mod detector;
pub mod drift;
pub mod dtls;
pub mod engine;
pub mod floor;
pub mod line;
pub mod ours;
pub mod pairing;
pub mod party;
pub mod process;
pub mod quality;
pub mod reception;
pub mod report;
pub mod rtpengine;
pub mod run;
pub mod sdp;
pub mod setup;
pub mod soak;
pub mod speech;
pub mod stats;
pub mod stun;
pub mod subject;
pub mod wire;
pub mod workload;

use std::path::PathBuf;

/// What went wrong, for the person at the terminal.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

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
