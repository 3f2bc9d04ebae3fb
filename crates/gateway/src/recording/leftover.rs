//! Files of recordings that a crash has left unfinished: at the next start they get what they lack, and their names.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::file::{self, UNFINISHED};

/// What was done about one of them.
enum Done {
    /// It has its name.
    Finished,
    /// There was no sound in it yet: it is gone.
    Empty,
    /// Another process is writing it.
    InUse,
}

/// Finishes all of a directory. What can not be finished stays as it is, and the log names it.
pub fn finish(directory: &Path) {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            return tracing::warn!(%error, "recordings that a crash may have left were not looked for");
        }
    };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if !path.as_os_str().as_bytes().ends_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let file = path.display();
        match finish_one(&path) {
            Ok(Done::Finished) => tracing::warn!(%file, "a recording that a crash left has been finished"),
            Ok(Done::Empty) => {
                tracing::warn!(%file, "a recording that a crash left held nothing and is gone")
            }
            Ok(Done::InUse) => tracing::info!(%file, "another process is writing this recording"),
            Err(error) => {
                tracing::error!(%file, %error, "a recording that a crash left could not be finished; it stays as it is");
            }
        }
    }
}

fn finish_one(part: &Path) -> io::Result<Done> {
    let name = part.with_extension("");
    let wav = match name.extension().map(OsStr::as_bytes) {
        Some(b"wav") => true,
        Some(b"opus") => false,
        Some(_) | None => return Err(io::Error::other("it is no recording of ours")),
    };
    let mut file = OpenOptions::new().read(true).write(true).open(part)?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => return Ok(Done::InUse),
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => {}
    }
    if file.metadata()?.len() == 0 {
        std::fs::remove_file(part)?;
        return Ok(Done::Empty);
    }
    if wav {
        mend_wav(&mut file)?;
        file.sync_all()?;
    }
    if name.try_exists()? {
        return Err(io::Error::other("there is a file of its name already"));
    }
    file::finish(part)?;
    Ok(Done::Finished)
}

/// Makes the lengths in the header those of what is there, to the last whole pair of samples: 1 s more than the header said.
fn mend_wav(file: &mut File) -> io::Result<()> {
    let (begin, block) = samples(file)?;
    let bytes = (file.metadata()?.len() - begin) / block * block;
    file.set_len(begin + bytes)?;
    let too_long = |_| io::Error::other("it is longer than WAV allows");
    for (at, length) in [(4, begin + bytes - 8), (begin - 4, bytes)] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&u32::try_from(length).map_err(too_long)?.to_le_bytes())?;
    }
    Ok(())
}

/// Where its samples begin, and how many bytes belong together.
fn samples(file: &mut File) -> io::Result<(u64, u64)> {
    let mut head = [0; 12];
    file.read_exact(&mut head)?;
    let mut block = 1;
    while head.starts_with(b"RIFF") && head.ends_with(b"WAVE") {
        let mut chunk = [0; 8];
        file.read_exact(&mut chunk)?;
        let [a, b, c, d, length @ ..] = chunk;
        let length = u32::from_le_bytes(length);
        match &[a, b, c, d] {
            b"data" => return Ok((file.stream_position()?, block)),
            b"fmt " => {
                let mut format = [0; 16];
                file.read_exact(&mut format)?;
                block = u64::from(u16::from_le_bytes([format[12], format[13]])).max(1);
                file.seek_relative(i64::from(length) - 16)?;
            }
            _ => file.seek_relative(i64::from(length))?,
        }
    }
    Err(io::Error::other("it is no WAV file"))
}
