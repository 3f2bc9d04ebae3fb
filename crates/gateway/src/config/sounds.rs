//! Sound files that keys name: collected here, read when the whole file is known to be good. And `[recording]`.

use std::path::PathBuf;

use b2bua::RouteConfig;
use media_bridge::sound::SoundId;
use types::limits;

use super::reader::{Findings, Located, Problem, Section};
use super::sections::Placed;

/// A sound and where it is named first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SoundFile {
    /// Where it comes from.
    pub source: SoundSource,
    place: Problem,
}

/// Where a sound comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SoundSource {
    /// A file, as written.
    File(PathBuf),
    /// Our own sign that a recording begins.
    Beep,
}

impl SoundFile {
    /// What is wrong with it, at its place in the configuration.
    pub fn problem(&self, message: String) -> Problem {
        Problem { message, ..self.place.clone() }
    }
}

/// What a recording is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordingFormat {
    /// PCM of 16 bits, 64 kB a second.
    Wav,
    /// Ogg/Opus, 8 kB a second.
    Opus,
}

/// Where recordings go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingConfig {
    /// The directory.
    pub directory: PathBuf,
    /// What they are.
    pub format: RecordingFormat,
    /// People may record their calls from the page.
    pub by_page: bool,
}

/// The sound that a key names, by its file.
pub fn sound(section: &mut Section<'_, '_>, found: &mut Findings<'_>, key: &'static str) -> Option<SoundId> {
    let named = section.string(found, key)?;
    let source = SoundSource::File(PathBuf::from(&named.value));
    add(found, source, &named)
}

fn add(found: &mut Findings<'_>, source: SoundSource, named: &Located<String>) -> Option<SoundId> {
    let known = found.sounds.iter().position(|file| file.source == source);
    let at = known.unwrap_or(found.sounds.len());
    if at >= limits::SOUNDS {
        found.add(&named.span, &named.key, format!("names one more than {} sound files", limits::SOUNDS));
        return None;
    }
    if known.is_none() {
        let place = found.problem(&named.span, &named.key, "");
        found.sounds.push(SoundFile { source, place });
    }
    u16::try_from(at).ok().map(SoundId)
}

/// `[recording]`, and what parties hear when it begins.
pub fn recording(
    root: &mut Section<'_, '_>,
    found: &mut Findings<'_>,
) -> (Option<RecordingConfig>, Option<SoundId>) {
    let Some(mut section) = root.table(found, "recording") else { return (None, None) };
    let directory = section.required(found, "directory", "\"/var/lib/webtrunk/recordings\"");
    let format = section.string(found, "format").and_then(|format| format.parse(found, |text| parse(text)));
    let by_page = section.boolean(found, "by_page").unwrap_or(false);
    let notice = section.string(found, "notice").unwrap_or_else(|| Located {
        value: "beep".into(),
        span: section.span().clone(),
        key: section.key("notice"),
    });
    section.finish(found);
    let notice = match notice.value.as_str() {
        "none" => None,
        "beep" => add(found, SoundSource::Beep, &notice),
        file => add(found, SoundSource::File(PathBuf::from(file)), &notice),
    };
    let config = directory.map(|directory| RecordingConfig {
        directory: PathBuf::from(directory.value),
        format: format.unwrap_or(RecordingFormat::Wav),
        by_page,
    });
    (config, notice)
}

fn parse(text: &str) -> Result<RecordingFormat, String> {
    match text {
        "wav" => Ok(RecordingFormat::Wav),
        "opus" => Ok(RecordingFormat::Opus),
        _ => Err("expected \"wav\" or \"opus\"".into()),
    }
}

/// A route that records needs somewhere to put it.
pub fn has_directory(
    recording: Option<&RecordingConfig>,
    routes: &[Placed<RouteConfig>],
    found: &mut Findings<'_>,
) {
    let route = routes.iter().find(|(route, _)| route.treatment.record);
    if let (None, Some((_, span))) = (recording, route) {
        let message = "where to? Write [recording] directory = \"/var/lib/webtrunk/recordings\"";
        found.add(span, "routes.record", message);
    }
}
