//! The thread that writes recordings.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use b2bua::{Cdr, Recording};
use media_bridge::call::record::FRAME_BYTES;
use types::{CallId, RecordingId, limits};

use super::ogg_opus::OggOpus;
use super::wav::Wav;
use super::{Frame, Order, Outcome, Spare, Which, file};
use crate::config::{RecordingConfig, RecordingFormat};
use crate::shell::CdrQueue;

/// Frames between two times that a file is brought into a state that a crash leaves playable: a second.
const FLUSH: u64 = 50;
/// Milliseconds of a frame.
const FRAME_MS: u64 = 20;
/// Longest gap that is filled with silence (frames, a minute): more comes from a machine that slept.
const LONGEST_GAP: u32 = 3_000;

pub struct Writer {
    config: RecordingConfig,
    spare: Spare,
    cdrs: CdrQueue,
    open: HashMap<Which, Open>,
    /// Of calls whose record is still to come.
    finished: HashMap<CallId, Vec<(RecordingId, Outcome)>>,
}

/// A file that is being written.
pub struct Open {
    name: String,
    part: PathBuf,
    /// None once it could not be written any more.
    format: Option<Format>,
    frames: u64,
    /// Number of the next frame.
    next: u32,
    gaps: u64,
    problem: Option<String>,
}

enum Format {
    Wav(Wav),
    Opus(Box<OggOpus>),
}

impl Writer {
    pub fn new(config: RecordingConfig, spare: Spare, cdrs: CdrQueue) -> Writer {
        Writer { config, spare, cdrs, open: HashMap::new(), finished: HashMap::new() }
    }

    /// Until nobody can send anything any more.
    pub fn run(mut self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                Order::Open(recording) => self.begin(&recording),
                Order::Frame(which, number, frame) => self.frame(which, number, frame),
                Order::Over(which) => self.over(which),
                Order::Cdr(cdr) => self.write(cdr),
            }
        }
        let left: Vec<Which> = self.open.keys().copied().collect();
        left.into_iter().for_each(|which| self.over(which));
    }

    pub fn frame(&mut self, which: Which, number: u32, frame: Frame) {
        if let Some(open) = self.open.get_mut(&which) {
            open.take(which.0, number, &frame);
        }
        // More than go round are not kept.
        let _ = self.spare.give(frame);
    }

    pub fn begin(&mut self, recording: &Recording) {
        let call = recording.call;
        let format = self.config.format;
        let ending = match format {
            RecordingFormat::Wav => "wav",
            RecordingFormat::Opus => "opus",
        };
        // A colon is no letter of names everywhere.
        let name = format!("{}-{call}.{ending}", recording.started.rfc3339().replace(':', ""));
        let begun = file::begin(&self.config.directory, &name);
        match begun.and_then(|(part, file)| Open::on_file(&name, &part, file, format)) {
            Ok(open) => {
                self.open.insert((call, recording.id), open);
            }
            Err(error) => {
                tracing::error!(%call, %error, "the recording can not be written; the call goes on without");
                let problem = Some(format!("it could not be begun: {error}"));
                let outcome = Outcome { file: None, duration_ms: 0, gap_ms: 0, problem };
                self.keep((call, recording.id), outcome);
            }
        }
    }

    pub fn over(&mut self, which: Which) {
        if let Some(open) = self.open.remove(&which) {
            let outcome = open.finish(which.0);
            self.keep(which, outcome);
        }
    }

    /// Until the record of its call comes.
    fn keep(&mut self, (call, id): Which, outcome: Outcome) {
        // Records come in the end; those of a full queue do not.
        if self.finished.len() >= limits::CALLS && !self.finished.contains_key(&call) {
            self.finished.clear();
        }
        self.finished.entry(call).or_default().push((id, outcome));
    }

    /// What became of a call's recordings, in order; those that are not finished are now.
    pub fn finish(&mut self, call: CallId) -> Vec<Outcome> {
        let left: Vec<Which> = self.open.keys().filter(|(of, _)| *of == call).copied().collect();
        left.into_iter().for_each(|which| self.over(which));
        let mut all = self.finished.remove(&call).unwrap_or_default();
        all.sort_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn write(&mut self, cdr: Box<Cdr>) {
        let outcomes = self.finish(cdr.call);
        self.cdrs.write(cdr, outcomes);
    }
}

impl Open {
    pub fn on_file(name: &str, part: &Path, file: File, format: RecordingFormat) -> io::Result<Open> {
        let format = Some(Format::new(format, file)?);
        let (name, part) = (name.to_owned(), part.to_owned());
        Ok(Open { name, part, format, frames: 0, next: 0, gaps: 0, problem: None })
    }

    pub fn take(&mut self, call: CallId, number: u32, frame: &[u8; FRAME_BYTES]) {
        let lost = number.saturating_sub(self.next).min(LONGEST_GAP);
        self.next = number.saturating_add(1);
        for _ in 0..lost {
            self.gaps += 1;
            self.put(call, &[0; FRAME_BYTES]);
        }
        self.put(call, frame);
    }

    fn put(&mut self, call: CallId, frame: &[u8; FRAME_BYTES]) {
        let Some(format) = &mut self.format else { return };
        let flush = self.frames % FLUSH == FLUSH - 1;
        let done = format.write(frame).and_then(|()| if flush { format.flush() } else { Ok(()) });
        match done {
            Ok(()) => self.frames += 1,
            Err(error) => {
                tracing::error!(%call, %error, "the recording ends here; the call goes on");
                self.problem = Some(format!("it ends early: {error}"));
                self.format = None;
            }
        }
    }

    pub fn finish(mut self, call: CallId) -> Outcome {
        let closed = self.format.take().map_or(Ok(()), Format::finish);
        if let Err(error) = closed.and_then(|()| file::finish(&self.part)) {
            tracing::error!(%call, %error, "a recording could not be finished");
            self.problem.get_or_insert_with(|| format!("it could not be finished: {error}"));
            self.name = self.part.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        }
        Outcome {
            file: Some(self.name),
            duration_ms: self.frames * FRAME_MS,
            gap_ms: self.gaps * FRAME_MS,
            problem: self.problem,
        }
    }
}

impl Format {
    fn new(format: RecordingFormat, file: File) -> io::Result<Format> {
        Ok(match format {
            RecordingFormat::Wav => Format::Wav(Wav::new(file)?),
            RecordingFormat::Opus => Format::Opus(Box::new(OggOpus::new(file)?)),
        })
    }

    fn write(&mut self, frame: &[u8; FRAME_BYTES]) -> io::Result<()> {
        match self {
            Format::Wav(wav) => wav.write(frame),
            Format::Opus(opus) => opus.write(frame),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Format::Wav(wav) => wav.flush(),
            Format::Opus(opus) => opus.flush(),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Format::Wav(wav) => wav.finish(),
            Format::Opus(opus) => opus.finish(),
        }
    }
}
