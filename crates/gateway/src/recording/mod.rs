//! Recordings: frames come from media workers through one bounded queue, a thread of its own writes them, so that a slow
//! disk delays no call. A call's record waits here until its recordings are finished, and says what became of them.

mod file;
mod leftover;
mod ogg_opus;
mod wav;
mod writer;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use b2bua::{Cdr, Recording};
use media_bridge::call::record::FRAME_BYTES;
use media_io::{Piece, Recordings};
use serde::Serialize;
use types::limits::RECORDING_FRAMES;
use types::{CallId, Handover, RecordingId};

use crate::config::RecordingConfig;
use crate::shell::CdrQueue;

/// Samples of 20 ms of both channels.
type Frame = Box<[u8; FRAME_BYTES]>;
/// Frames that go round between workers and the writer.
type Spare = Arc<Handover<Frame>>;

/// What became of a recording, as the call's record says it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Outcome {
    /// Its name in the directory; none where nothing could be written.
    pub file: Option<String>,
    /// How much sound it holds.
    pub duration_ms: u64,
    /// Of that, silence in place of frames that were lost on the way to the disk.
    pub gap_ms: u64,
    /// Why it is not whole.
    pub problem: Option<String>,
}

/// Which recording of which call.
type Which = (CallId, RecordingId);

/// What the writer is told, in order.
enum Order {
    Open(Box<Recording>),
    Frame(Which, u32, Frame),
    Over(Which),
    Cdr(Box<Cdr>),
}

/// The near end of the writer's queue.
pub struct Recorder {
    queue: Option<SyncSender<Order>>,
    spare: Spare,
    cdrs: CdrQueue,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the writer, if recordings go anywhere.
    ///
    /// # Errors
    /// One sentence that names the directory.
    pub fn start(config: Option<RecordingConfig>, cdrs: CdrQueue) -> Result<Recorder, String> {
        let spare = Arc::new(Handover::new(RECORDING_FRAMES));
        let Some(config) = config else { return Ok(Recorder { queue: None, spare, cdrs, thread: None }) };
        file::prepare(&config.directory)?;
        leftover::finish(&config.directory);
        let (queue, orders) = sync_channel(RECORDING_FRAMES);
        let writer = writer::Writer::new(config, spare.clone(), cdrs.clone());
        let thread = std::thread::Builder::new()
            .name("recordings".into())
            .spawn(move || writer.run(&orders))
            .map_err(|e| format!("no thread for recordings: {e}"))?;
        Ok(Recorder { queue: Some(queue), spare, cdrs, thread: Some(thread) })
    }

    /// Where media workers put frames. A full queue loses the frame, which leaves a gap that is counted by its number.
    pub fn sink(&self) -> Recordings {
        let Some(queue) = self.queue.clone() else { return Recordings::default() };
        let spare = self.spare.clone();
        Recordings::new(move |which, piece| {
            let order = match piece {
                Piece::Frame { number, bytes } => {
                    let mut frame = spare.take().unwrap_or_else(|| Box::new([0; FRAME_BYTES]));
                    let length = bytes.len().min(FRAME_BYTES);
                    frame[..length].copy_from_slice(&bytes[..length]);
                    Order::Frame(which, number, frame)
                }
                // Without it the recording is finished when its call's record comes.
                Piece::Over => Order::Over(which),
            };
            if let Err(TrySendError::Full(Order::Frame(_, _, frame))) = queue.try_send(order) {
                let _ = spare.give(frame);
            }
        })
    }

    /// A recording begins.
    pub fn open(&self, recording: Recording) {
        let call = recording.call;
        let sent = self.queue.as_ref().map(|queue| queue.try_send(Order::Open(Box::new(recording))));
        if !matches!(sent, Some(Ok(()))) {
            tracing::error!(%call, "the recorder takes nothing more; this is not recorded");
        }
    }

    /// A call's record: written at once, or when its recordings are finished.
    pub fn write(&self, cdr: Box<Cdr>) {
        let Some(queue) = self.queue.as_ref().filter(|_| cdr.recorded) else {
            return self.cdrs.write(cdr, Vec::new());
        };
        if let Err(TrySendError::Full(Order::Cdr(cdr)) | TrySendError::Disconnected(Order::Cdr(cdr))) =
            queue.try_send(Order::Cdr(cdr))
        {
            let problem = Some("the disk was too slow for this record to wait for it".to_owned());
            let outcome = Outcome { file: None, duration_ms: 0, gap_ms: 0, problem };
            self.cdrs.write(cdr, vec![outcome]);
        }
    }

    /// Finishes every file. To be called when nobody records any more.
    pub fn finish(mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
