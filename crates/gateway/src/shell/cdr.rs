//! Call records: one JSON line each, written by a thread of its own so that a slow disk delays no call.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::recording::Outcome;
use b2bua::{Cdr, CdrParty, CdrTransfer, complaint, remarks, two_decimals, unconnected};
use media_bridge::control::{Codec, LegStats};
use media_bridge::quality::Quality;
use serde::Serialize;
use types::limits::CDR_QUEUE;
use types::{EndReason, EndedBy};

/// Lines written to the disk at once, at most.
const BATCH: usize = 256;

/// Takes records and never blocks.
#[derive(Clone, Default)]
pub struct CdrQueue(Option<SyncSender<Finished>>);

/// A call and its recordings.
type Finished = (Box<Cdr>, Vec<Outcome>);

/// Writes records until nobody has a queue of it any more.
pub struct CdrWriter {
    queue: CdrQueue,
    thread: Option<JoinHandle<()>>,
}

impl CdrWriter {
    /// Opens the file for appending; none: records go to the log.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub fn open(path: Option<&Path>) -> Result<CdrWriter, String> {
        let Some(path) = path else { return Ok(CdrWriter { queue: CdrQueue(None), thread: None }) };
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
        Ok(CdrWriter { queue: CdrQueue(Some(queue)), thread: Some(thread) })
    }

    /// Takes records for it.
    pub fn queue(&self) -> CdrQueue {
        self.queue.clone()
    }

    /// Writes out what is queued.
    pub fn finish(mut self) {
        self.queue = CdrQueue(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl CdrQueue {
    /// Writes one record.
    pub fn write(&self, cdr: Box<Cdr>, recordings: Vec<Outcome>) {
        let Some(queue) = &self.0 else {
            tracing::info!(call = %cdr.call, reason = cdr.reason.word(), duration_ms = cdr.duration_ms, "call ended");
            let call = cdr.call;
            tracing::debug!(%call, record = line(&(cdr, recordings)), "call record");
            return;
        };
        match queue.try_send((cdr, recordings)) {
            Ok(()) => {}
            Err(TrySendError::Full(finished) | TrySendError::Disconnected(finished)) => {
                // The one place where a record reaches the log above debug: the alternative is losing it.
                let call = finished.0.call;
                tracing::error!(%call, record = line(&finished), "the call record file is not taking lines");
            }
        }
    }
}

/// Writes what waits together: one system call for many records when calls are many.
fn write_lines(mut file: File, records: &Receiver<Finished>) {
    let mut text = String::new();
    for first in records {
        text.clear();
        for finished in std::iter::once(first).chain(records.try_iter().take(BATCH - 1)) {
            text.push_str(&line(&finished));
            text.push('\n');
        }
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::error!(%error, records = text, "call records could not be written");
        }
    }
}

fn line((cdr, recordings): &Finished) -> String {
    // Nothing in a record can fail to be written as JSON.
    serde_json::to_string(&Record { recordings, ..Record::of(cdr) }).unwrap_or_default()
}

#[derive(Serialize)]
struct Record<'a> {
    call: String,
    started: String,
    answered: Option<String>,
    ended: String,
    from: &'a str,
    to: &'a str,
    from_e164: Option<&'a str>,
    to_e164: Option<&'a str>,
    emergency: bool,
    caller: Party<'a>,
    callee: Option<Party<'a>>,
    reason: &'static str,
    text: &'a str,
    sip_status: Option<u16>,
    q850: u8,
    ended_by: &'static str,
    duration_ms: u64,
    caller_media: Option<Media>,
    callee_media: Option<Media>,
    digits: u32,
    transfers: Vec<Transfer<'a>>,
    continued_in: Option<String>,
    recordings: &'a [Outcome],
    notes: &'a [String],
}

#[derive(Serialize)]
struct Transfer<'a> {
    at: String,
    by: Party<'a>,
    to: &'a str,
    with: Option<String>,
}

impl Transfer<'_> {
    fn of(transfer: &CdrTransfer) -> Transfer<'_> {
        Transfer {
            at: transfer.at.rfc3339(),
            by: Party::of(&transfer.by),
            to: &transfer.to,
            with: transfer.with.map(|c| c.to_string()),
        }
    }
}

impl Record<'_> {
    fn of(cdr: &Cdr) -> Record<'_> {
        Record {
            call: cdr.call.to_string(),
            started: cdr.started.rfc3339(),
            answered: cdr.answered.map(|w| w.rfc3339()),
            ended: cdr.ended.rfc3339(),
            from: &cdr.from,
            to: &cdr.to,
            from_e164: cdr.from_e164.as_deref(),
            to_e164: cdr.to_e164.as_deref(),
            emergency: cdr.emergency,
            caller: Party::of(&cdr.caller),
            callee: cdr.callee.as_ref().map(Party::of),
            reason: cdr.reason.word(),
            text: &cdr.text,
            sip_status: cdr.sip_status,
            q850: cdr.q850,
            ended_by: match cdr.ended_by {
                EndedBy::Caller => "caller",
                EndedBy::Callee => "callee",
                EndedBy::Gateway => "gateway",
            },
            duration_ms: cdr.duration_ms,
            caller_media: Media::of(&Side::caller(cdr)),
            callee_media: Media::of(&Side::callee(cdr)),
            digits: cdr.digits,
            transfers: cdr.transfers.iter().map(Transfer::of).collect(),
            continued_in: cdr.continued_in.map(|c| c.to_string()),
            recordings: &[],
            notes: &cdr.notes,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Party<'a> {
    Browser { user: &'a str },
    Softphone { user: &'a str },
    Trunk { trunk: &'a str },
}

impl Party<'_> {
    fn of(party: &CdrParty) -> Party<'_> {
        match party {
            CdrParty::Browser(user) => Party::Browser { user: user.as_str() },
            CdrParty::Softphone(user) => Party::Softphone { user: user.as_str() },
            CdrParty::Trunk(name) => Party::Trunk { trunk: name },
        }
    }
}

/// What a leg carried.
#[derive(Serialize)]
struct Media {
    codec: &'static str,
    /// What a browser's leg runs over.
    connection: Option<String>,
    #[serde(flatten)]
    counters: Option<Counters>,
}

#[derive(Serialize)]
struct Counters {
    /// How long a browser's way was looked for, and how long its keys took then.
    #[serde(skip_serializing_if = "Option::is_none")]
    ice_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dtls_ms: Option<u64>,
    /// From the answer until this side heard the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_audio_ms: Option<u64>,
    packets_in: u64,
    packets_out: u64,
    lost: i64,
    jitter_ms: f64,
    rtt_ms: Option<f64>,
    /// The most loss to the peer, percent, that the Opus encoder was prepared for.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_loss: Option<u8>,
    fec_frames: u64,
    plc_frames: u64,
    rejected: u64,
    late: u64,
    duplicates: u32,
    mos: Option<Mos>,
    /// What was odd about its stream, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    /// What the peer itself says of how it hears us (RFC 3611).
    mos_by_peer: Option<f64>,
}

/// How it sounded, by the E-model, in stretches of five seconds.
#[derive(Serialize)]
struct Mos {
    mean: f64,
    min: f64,
    /// When the worst stretch was over.
    worst_at: String,
    /// What was wrong then, if anything.
    worst_reason: Option<String>,
}

impl Mos {
    fn of(quality: &Quality, party: &CdrParty) -> Mos {
        let at = quality.worst.at.rfc3339();
        let time = at.get(11..19).unwrap_or_default();
        let words = |cause| format!("{} at {time}", complaint(cause, party.in_words()));
        Mos {
            mean: two_decimals(quality.mean),
            min: two_decimals(quality.worst.mos),
            worst_reason: quality.worst.cause.map(words),
            worst_at: at,
        }
    }
}

/// What a record knows of one of its sides.
struct Side<'a> {
    codec: Option<Codec>,
    stats: Option<&'a LegStats>,
    party: Option<&'a CdrParty>,
    first_audio: Option<Duration>,
    /// Its audio was to be up.
    wanted: bool,
}

/// Of a call that nobody answered, audio that is still being set up is nothing to remark on.
fn wants_audio(cdr: &Cdr) -> bool {
    cdr.answered.is_some() || cdr.reason == EndReason::MediaNotConnected
}

impl Side<'_> {
    fn caller(cdr: &Cdr) -> Side<'_> {
        let (stats, party) = (cdr.caller_media.as_ref(), Some(&cdr.caller));
        let (codec, first_audio) = (cdr.caller_codec, cdr.caller_first_audio);
        Side { codec, stats, party, first_audio, wanted: wants_audio(cdr) }
    }

    fn callee(cdr: &Cdr) -> Side<'_> {
        let (stats, party) = (cdr.callee_media.as_ref(), cdr.callee.as_ref());
        let (codec, first_audio) = (cdr.callee_codec, cdr.callee_first_audio);
        Side { codec, stats, party, first_audio, wanted: wants_audio(cdr) }
    }
}

impl Media {
    fn of(side: &Side<'_>) -> Option<Media> {
        let Side { codec, stats, party, first_audio, wanted } = *side;
        let agreed = codec?;
        let codec = agreed.name();
        let ms = |duration: Option<Duration>| duration.map(|d| d.as_millis() as u64);
        let odd = |s: &LegStats, party: &CdrParty| {
            let whom = party.in_words();
            unconnected(s, whom).filter(|_| wanted).into_iter().chain(remarks(s, agreed, whom)).collect()
        };
        let counters = stats.map(|s| Counters {
            ice_ms: ms(s.set_up.and_then(|set_up| set_up.ice)),
            dtls_ms: ms(s.set_up.and_then(|set_up| set_up.dtls)),
            first_audio_ms: ms(first_audio),
            packets_in: s.packets_in,
            packets_out: s.packets_out,
            lost: s.lost,
            jitter_ms: f64::from(s.jitter_us) / 1000.0,
            rtt_ms: s.rtt_us.map(|us| f64::from(us) / 1000.0),
            expected_loss: s.expected_loss,
            fec_frames: s.fec_frames,
            plc_frames: s.plc_frames,
            rejected: s.rejected,
            late: s.late,
            duplicates: s.duplicates,
            remarks: party.map_or_else(Vec::new, |party| odd(s, party)),
            mos_by_peer: s.mos_by_peer.map(two_decimals),
            mos: s.quality.as_ref().zip(party).map(|(quality, party)| Mos::of(quality, party)),
        });
        let connection = stats.and_then(|s| s.connection).map(|c| c.to_string());
        Some(Media { codec, connection, counters })
    }
}

#[cfg(test)]
mod tests {
    use media_bridge::control::SetUp;
    use media_bridge::quality::{Cause, Worst};
    use types::Wall;

    use super::*;

    #[test]
    fn the_worst_moment_is_written_with_its_reason_and_time() {
        let at = Wall(1_768_903_400_250_000);
        let worst = Worst { mos: 2.904_9, at, cause: Some(Cause::LostFrom(0.12)) };
        let quality = Quality { mean: 4.314_9, worst, moments: 60 };
        let set_up = Some(SetUp::default());
        let stats = LegStats { quality: Some(quality), set_up, ..LegStats::default() };
        let phone = CdrParty::Softphone(types::UserName::new("bob"));
        let side = |wanted| Side {
            codec: Some(Codec::Pcmu),
            stats: Some(&stats),
            party: Some(&phone),
            first_audio: Some(Duration::from_micros(20_400)),
            wanted,
        };
        let remarks = |wanted| {
            let media = Media::of(&side(wanted)).expect("a codec");
            media.counters.expect("counters").remarks.len()
        };
        assert_eq!([remarks(true), remarks(false)], [1, 0], "audio that was not wanted yet is no remark");
        let media = Media::of(&side(true));
        let json = serde_json::to_value(media).expect("JSON");
        let expected = "{\"mean\":4.31,\"min\":2.9,\"worst_at\":\"2026-01-20T10:03:20.250Z\",\
                        \"worst_reason\":\"12 % loss from the phone at 10:03:20\"}";
        assert_eq!(serde_json::to_string(&Mos::of(&quality, &phone)).expect("JSON"), expected);
        assert_eq!(json["codec"], "pcmu");
        assert_eq!(json["first_audio_ms"], 20);
        assert!(json["mos"]["min"].is_number());
    }
}
