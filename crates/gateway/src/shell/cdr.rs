//! Call records: one JSON line each, written by a thread of its own so that a slow disk delays no call.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use b2bua::{Cdr, CdrParty};
use media_bridge::control::{Codec, LegStats};
use serde_json::{Value, json};
use types::EndedBy;
use types::limits::CDR_QUEUE;

/// Takes records and never blocks.
pub struct CdrWriter {
    queue: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl CdrWriter {
    /// Opens the file for appending; none: records go to the log.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub fn open(path: Option<&Path>) -> Result<CdrWriter, String> {
        let Some(path) = path else { return Ok(CdrWriter { queue: None, thread: None }) };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|e| format!("[cdr] file {} cannot be opened for appending: {e}", path.display()))?;
        let (queue, lines) = sync_channel(CDR_QUEUE);
        let thread = std::thread::Builder::new()
            .name("cdr".into())
            .spawn(move || write_lines(file, &lines))
            .map_err(|e| format!("no thread for call records: {e}"))?;
        Ok(CdrWriter { queue: Some(queue), thread: Some(thread) })
    }

    /// Writes one record.
    pub fn write(&self, cdr: &Cdr) {
        let line = to_json(cdr).to_string();
        let Some(queue) = &self.queue else {
            tracing::info!(call = %cdr.call, reason = cdr.reason.word(), duration_ms = cdr.duration_ms, "call ended");
            tracing::debug!(call = %cdr.call, record = line, "call record");
            return;
        };
        match queue.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(line) | TrySendError::Disconnected(line)) => {
                // The one place where a record reaches the log above debug: the alternative is losing it.
                tracing::error!(call = %cdr.call, record = line, "the call record file is not taking lines");
            }
        }
    }

    /// Writes out what is queued.
    pub fn finish(mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_lines(mut file: File, lines: &Receiver<String>) {
    for line in lines {
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            tracing::error!(%error, record = line, "a call record could not be written");
        }
    }
}

fn to_json(cdr: &Cdr) -> Value {
    json!({
        "call": cdr.call.to_string(),
        "started": cdr.started.rfc3339(),
        "answered": cdr.answered.map(|w| w.rfc3339()),
        "ended": cdr.ended.rfc3339(),
        "from": cdr.from,
        "to": cdr.to,
        "caller": party(&cdr.caller),
        "callee": cdr.callee.as_ref().map(party),
        "reason": cdr.reason.word(),
        "text": cdr.reason.sentence(),
        "sip_status": cdr.sip_status,
        "q850": cdr.q850,
        "ended_by": match cdr.ended_by {
            EndedBy::Caller => "caller",
            EndedBy::Callee => "callee",
            EndedBy::Gateway => "gateway",
        },
        "duration_ms": cdr.duration_ms,
        "caller_media": media(cdr.caller_codec, cdr.caller_media.as_ref()),
        "callee_media": media(cdr.callee_codec, cdr.callee_media.as_ref()),
        "digits": cdr.digits,
        "notes": cdr.notes,
    })
}

fn party(party: &CdrParty) -> Value {
    match party {
        CdrParty::Browser(user) => json!({ "kind": "browser", "user": user.as_str() }),
        CdrParty::Softphone(user) => json!({ "kind": "softphone", "user": user.as_str() }),
        CdrParty::Trunk(name) => json!({ "kind": "trunk", "trunk": name }),
    }
}

fn media(codec: Option<Codec>, stats: Option<&LegStats>) -> Value {
    let Some(codec) = codec else { return Value::Null };
    let codec = match codec {
        Codec::Opus => "opus",
        Codec::Pcmu => "pcmu",
        Codec::Pcma => "pcma",
    };
    let Some(s) = stats else { return json!({ "codec": codec }) };
    json!({
        "codec": codec,
        "packets_in": s.packets_in,
        "packets_out": s.packets_out,
        "lost": s.lost,
        "jitter_ms": f64::from(s.jitter_us) / 1000.0,
        "rtt_ms": s.rtt_us.map(|us| f64::from(us) / 1000.0),
        "fec_frames": s.fec_frames,
        "plc_frames": s.plc_frames,
        "rejected": s.rejected,
        "late": s.late,
    })
}
