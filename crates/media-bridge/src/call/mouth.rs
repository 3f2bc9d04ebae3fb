//! Samples into packets for one leg as long as its peer wants them, whatever lengths and rates they come in.

use crate::codec::{Encoder, NARROW, Resampler, WIDE, own_rate};
use crate::control::Codec;
use crate::effort::Effort;
use crate::rtp::SourceId;
use crate::sdp::Agreed;

use super::ear::{Chunk, ticks};

/// Samples of one packet, 20 ms, of sounds that we make (at `NARROW` Hz).
pub(super) const FRAME: usize = NARROW as usize / 50;
/// Of a frame of 20 ms at the highest rate.
pub(super) const LONGEST: usize = WIDE as usize / 50;
/// Of the longest packet, 60 ms, of sounds that we make.
pub(super) const LONGEST_OWN: usize = 3 * FRAME;
/// Of the longest packet at the highest rate.
const LONGEST_PACKET: usize = 3 * LONGEST;

#[derive(Default)]
pub(super) struct Mouth {
    voice: Option<Voice>,
    /// For sounds of another rate than the encoder's.
    resampler: Option<Box<Resampler>>,
    loss_percent: u8,
    most_loss: u8,
    effort: Effort,
    framer: Framer,
    payload: Vec<u8>,
}

/// The encoder in use.
struct Voice {
    codec: Codec,
    /// Of its samples, Hz.
    rate: u32,
    encoder: Encoder,
}

struct Framer {
    source: Option<SourceId>,
    pending: [i16; LONGEST_PACKET],
    filled: usize,
    /// Samples of a packet.
    length: usize,
    /// Timestamp of the first pending sample.
    timestamp: u32,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer { source: None, pending: [0; LONGEST_PACKET], filled: 0, length: 0, timestamp: 0 }
    }
}

impl Mouth {
    /// Loss that the peer reports: decides how much FEC Opus carries.
    pub fn set_loss(&mut self, percent: u8) {
        self.loss_percent = percent;
        self.most_loss = self.most_loss.max(percent);
        if let Some(voice) = &mut self.voice {
            voice.encoder.set_loss(percent);
        }
    }

    /// The most loss that Opus has counted on so far, percent; none: another codec is spoken.
    pub fn most_loss(&self) -> Option<u8> {
        self.voice.as_ref()?.encoder.loss().map(|now| now.max(self.most_loss))
    }

    /// How much work encoding may take.
    pub fn set_effort(&mut self, effort: Effort) {
        self.effort = effort;
        if let Some(voice) = &mut self.voice {
            voice.encoder.set_effort(effort, false);
        }
    }

    /// Cuts the chunk into frames, encodes those that `stamp` finds room for, and hands them to `emit`.
    /// Returns how many had none. Nothing is kept but what does not fill a frame.
    pub fn speak<S>(
        &mut self,
        agreed: Agreed,
        source: SourceId,
        chunk: &Chunk<'_>,
        stamp: &mut dyn FnMut(u32) -> Option<S>,
        emit: &mut dyn FnMut(S, &[u8]),
    ) -> u64 {
        let codec = agreed.codec;
        let rate = self.rate(codec, chunk);
        if self.voice.as_ref().is_none_or(|v| v.codec != codec || v.rate != rate) {
            let Ok(mut encoder) = Encoder::new(codec, rate) else { return 0 };
            encoder.set_loss(self.loss_percent);
            encoder.set_effort(self.effort, true);
            self.voice = Some(Voice { codec, rate, encoder });
            self.framer.filled = 0;
        }
        let Mouth { voice: Some(voice), resampler, framer, payload, .. } = self else { return 0 };
        let pcm = match chunk.rate == rate {
            true => chunk.pcm,
            false => resampler.get_or_insert_default().convert(chunk.pcm, chunk.rate, rate),
        };
        let mut late = 0;
        let length = (rate / 1_000) as usize * usize::from(agreed.packet_ms());
        if framer.length != length {
            (framer.length, framer.filled) = (length, 0);
        }
        framer.cut(source, &Chunk { rate, pcm, ..*chunk }, &mut |timestamp, frame| {
            let Some(stamp) = stamp(timestamp) else {
                late += 1;
                return;
            };
            payload.clear();
            if voice.encoder.encode(frame, payload).is_ok() {
                emit(stamp, payload);
            }
        });
        late
    }

    /// At which a recorded sound is given best: that of the encoder at work, or the highest it may have.
    pub fn rate_of_sounds(&self, codec: Codec) -> u32 {
        let now = self.voice.as_ref().filter(|v| v.codec == codec).map(|v| v.rate);
        own_rate(codec).or(now).unwrap_or(WIDE)
    }

    /// Of the encoder for this chunk: Opus takes the rate of whoever speaks, and keeps it for sounds of ours.
    fn rate(&self, codec: Codec, chunk: &Chunk<'_>) -> u32 {
        let now = self.voice.as_ref().filter(|v| v.codec == codec && chunk.own).map(|v| v.rate);
        own_rate(codec).or(now).unwrap_or(chunk.rate)
    }
}

impl Framer {
    fn cut(&mut self, source: SourceId, chunk: &Chunk<'_>, frame: &mut dyn FnMut(u32, &[i16])) {
        let length = self.length;
        let ticks = |samples| ticks(samples, chunk.clock, chunk.rate);
        if self.source != Some(source) {
            self.source = Some(source);
            self.filled = 0;
        }
        if self.filled > 0 && chunk.timestamp != self.timestamp.wrapping_add(ticks(self.filled)) {
            self.flush(chunk.timestamp.wrapping_sub(ticks(length)), length, frame);
        }
        let (mut rest, mut timestamp) = (chunk.pcm, chunk.timestamp);
        while !rest.is_empty() {
            if self.filled == 0 {
                self.timestamp = timestamp;
            }
            let (now, later) = rest.split_at(rest.len().min(length - self.filled));
            self.pending[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            timestamp = timestamp.wrapping_add(ticks(now.len()));
            rest = later;
            if self.filled == length {
                frame(self.timestamp, &self.pending[..length]);
                self.filled = 0;
            }
        }
    }

    /// The source jumped: what was begun is finished with silence if it begins no later than `last`, and so still fits
    /// before the jump's end.
    fn flush(&mut self, last: u32, length: usize, frame: &mut dyn FnMut(u32, &[i16])) {
        if last.wrapping_sub(self.timestamp) as i32 >= 0 {
            self.pending[self.filled..length].fill(0);
            frame(self.timestamp, &self.pending[..length]);
        }
        self.filled = 0;
    }
}
