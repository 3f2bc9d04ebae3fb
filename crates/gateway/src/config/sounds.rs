//! Sound files that keys name: collected here, read when the whole file is known to be good.

use std::path::PathBuf;

use media_bridge::sound::SoundId;
use types::limits;

use super::reader::{Findings, Problem, Section};

/// A sound file and where it is named first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SoundFile {
    /// As written.
    pub path: PathBuf,
    place: Problem,
}

impl SoundFile {
    /// What is wrong with it, at its place in the configuration.
    pub fn problem(&self, message: String) -> Problem {
        Problem { message, ..self.place.clone() }
    }
}

/// The sound that a key names, by its file.
pub fn sound(section: &mut Section<'_, '_>, found: &mut Findings<'_>, key: &'static str) -> Option<SoundId> {
    let named = section.string(found, key)?;
    let path = PathBuf::from(&named.value);
    let known = found.sounds.iter().position(|file| file.path == path);
    let at = known.unwrap_or(found.sounds.len());
    if at >= limits::SOUNDS {
        found.add(&named.span, named.key, format!("names one more than {} sound files", limits::SOUNDS));
        return None;
    }
    if known.is_none() {
        let place = found.problem(&named.span, named.key, "");
        found.sounds.push(SoundFile { path, place });
    }
    u16::try_from(at).ok().map(SoundId)
}
