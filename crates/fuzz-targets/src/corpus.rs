//! The kept inputs: our own in `fuzz/corpus/TARGET`, the messages of RFC 4475 and RFC 5118, and the session descriptions of
//! real clients.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The inputs of a target, in a fixed order.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn of(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let vectors = ["crates/sip-ua/tests/vectors/rfc4475", "crates/sip-ua/tests/vectors/rfc5118"];
    let more: &[&str] = match target {
        "message" | "framer" | "headers" => &vectors,
        "sdp" => &["crates/media-bridge/src/sdp/fixtures"],
        _ => &[],
    };
    let mut files = Vec::new();
    for folder in [format!("fuzz/corpus/{target}").as_str()].iter().chain(more) {
        for entry in fs::read_dir(root().join(folder))? {
            files.push(entry?.path());
        }
    }
    files.sort();
    files.iter().map(fs::read).collect()
}
