//! A recording's file: only its owner reads it, it has its name when it is whole, and what a crash leaves can be played.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Behind the name of a file that is being written.
pub const UNFINISHED: &str = ".part";

/// Makes the directory if need be, and tries to write there.
///
/// # Errors
/// One sentence that names it.
pub fn prepare(directory: &Path) -> Result<(), String> {
    let said =
        |e: io::Error| format!("[recording] directory {} can not be written to: {e}", directory.display());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(said)?;
    let probe = directory.join(format!(".webtrunk-{}", std::process::id()));
    create(&probe).map_err(said)?;
    std::fs::remove_file(&probe).map_err(said)
}

/// A new file under the name that it has while it is written.
pub fn begin(directory: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    let path = directory.join(format!("{name}{UNFINISHED}"));
    let file = create(&path)?;
    // So that another gateway that starts does not take it for a leftover. Where there are no locks, it works without.
    let _ = file.try_lock();
    Ok((path, file))
}

/// It is whole: it gets its name.
pub fn finish(part: &Path) -> io::Result<()> {
    let name = part.to_string_lossy();
    std::fs::rename(part, name.strip_suffix(UNFINISHED).unwrap_or(&name))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
