//! Samples into packets of 20 ms for one leg, whatever lengths they come in.

use crate::codec::{Encoder, PCM_RATE};
use crate::control::Codec;
use crate::rtp::SourceId;

use super::ear::Chunk;

/// Samples of one packet, 20 ms.
pub(super) const FRAME: usize = 160;

#[derive(Default)]
pub(super) struct Mouth {
    encoder: Option<(Codec, Encoder)>,
    loss_percent: u8,
    framer: Framer,
    payload: Vec<u8>,
}

struct Framer {
    source: Option<SourceId>,
    pending: [i16; FRAME],
    filled: usize,
    /// Timestamp of the first pending sample.
    timestamp: u32,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer { source: None, pending: [0; FRAME], filled: 0, timestamp: 0 }
    }
}

impl Mouth {
    /// Loss that the peer reports: decides how much FEC Opus carries.
    pub fn set_loss(&mut self, percent: u8) {
        self.loss_percent = percent;
        if let Some((_, encoder)) = &mut self.encoder {
            encoder.set_loss(percent);
        }
    }

    /// Cuts the chunk into frames, encodes those that `stamp` finds room for, and hands them to `emit`.
    /// Returns how many had none. Nothing is kept but what does not fill a frame.
    pub fn speak<S>(
        &mut self,
        codec: Codec,
        source: SourceId,
        chunk: &Chunk<'_>,
        stamp: &mut dyn FnMut(u32) -> Option<S>,
        emit: &mut dyn FnMut(S, &[u8]),
    ) -> u64 {
        if self.encoder.as_ref().is_none_or(|(c, _)| *c != codec) {
            let Ok(mut encoder) = Encoder::new(codec) else { return 0 };
            encoder.set_loss(self.loss_percent);
            self.encoder = Some((codec, encoder));
        }
        let Mouth { encoder: Some((_, encoder)), framer, payload, .. } = self else { return 0 };
        let mut late = 0;
        framer.cut(source, chunk, &mut |timestamp, frame| {
            let Some(stamp) = stamp(timestamp) else {
                late += 1;
                return;
            };
            payload.clear();
            if encoder.encode(frame, payload).is_ok() {
                emit(stamp, payload);
            }
        });
        late
    }
}

impl Framer {
    fn cut(&mut self, source: SourceId, chunk: &Chunk<'_>, frame: &mut dyn FnMut(u32, &[i16])) {
        let ticks = chunk.clock / PCM_RATE;
        if self.source != Some(source) {
            self.source = Some(source);
            self.filled = 0;
        }
        if self.filled > 0 && chunk.timestamp != self.timestamp.wrapping_add(self.filled as u32 * ticks) {
            self.flush(chunk.timestamp, ticks, frame);
        }
        let (mut rest, mut timestamp) = (chunk.pcm, chunk.timestamp);
        while !rest.is_empty() {
            if self.filled == 0 {
                self.timestamp = timestamp;
            }
            let (now, later) = rest.split_at(rest.len().min(FRAME - self.filled));
            self.pending[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            timestamp = timestamp.wrapping_add(now.len() as u32 * ticks);
            rest = later;
            if self.filled == FRAME {
                frame(self.timestamp, &self.pending);
                self.filled = 0;
            }
        }
    }

    /// The source jumped: what was begun is finished with silence if that still fits before the jump's end.
    fn flush(&mut self, next: u32, ticks: u32, frame: &mut dyn FnMut(u32, &[i16])) {
        if next.wrapping_sub(self.timestamp) as i32 >= FRAME as i32 * ticks as i32 {
            self.pending[self.filled..].fill(0);
            frame(self.timestamp, &self.pending);
        }
        self.filled = 0;
    }
}
