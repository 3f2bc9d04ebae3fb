//! libopus with the settings that were measured (design §1): 24 kb/s at complexity 5 is the floor under which an
//! 8 kHz encoder silently stops carrying FEC, and it carries none unless it is told of loss.

use ::opus::{Application, Bitrate, Channels, ErrorCode};

use super::{CodecError, Filled, MAX_PAYLOAD, opus_packet};

const BITRATE: i32 = 24_000;
const COMPLEXITY: i32 = 5;
/// The encoder always counts on some loss: by the time the first report arrives, frames are gone.
const LEAST_LOSS: u8 = 10;

/// Mono Opus decoder.
#[derive(Debug)]
pub struct OpusDecoder {
    inner: ::opus::Decoder,
    rate: u32,
    /// Samples of 2.5 ms.
    unit: usize,
    /// The last packet decoded had no SILK layer: libopus then conceals, FEC or not.
    celt: bool,
}

impl OpusDecoder {
    /// To mono at `rate` Hz: 8000, 12000, 16000, 24000 or 48000.
    ///
    /// # Errors
    /// `Internal` for another rate or without memory.
    pub fn new(rate: u32) -> Result<OpusDecoder, CodecError> {
        let inner = ::opus::Decoder::new(rate, Channels::Mono).map_err(internal)?;
        Ok(OpusDecoder { inner, rate, unit: (rate / 400) as usize, celt: true })
    }

    /// Decodes a packet to the front of `out`; returns how many samples.
    ///
    /// # Errors
    /// `BadPayload` if it is damaged, empty or longer than `out`.
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        if packet.is_empty() {
            return Err(CodecError::BadPayload);
        }
        let decoded = self.inner.decode(packet, out, false);
        if decoded.is_ok() {
            self.celt = opus_packet::is_celt(packet);
        }
        decoded.map_err(|e| match e.code() {
            ErrorCode::InvalidPacket | ErrorCode::BufferTooSmall | ErrorCode::BadArg => {
                CodecError::BadPayload
            }
            ErrorCode::InternalError
            | ErrorCode::Unimplemented
            | ErrorCode::InvalidState
            | ErrorCode::AllocFail
            | ErrorCode::Unknown => internal(e),
        })
    }

    /// Fills `out` for the lost frame before `next`. Its length is the lost frame's, a multiple of 2.5 ms.
    /// `Fec` only if libopus really had redundancy to decode.
    pub fn decode_fec(&mut self, next: &[u8], out: &mut [i16]) -> Filled {
        let fits = opus_packet::frame_samples(next, self.rate).is_some_and(|frame| frame <= out.len());
        if self.celt || !fits || !opus_packet::has_fec(next) || !out.len().is_multiple_of(self.unit) {
            self.conceal(out);
            return Filled::Concealed;
        }
        match self.inner.decode(next, out, true) {
            Ok(_) => Filled::Fec,
            Err(_) => {
                self.conceal(out);
                Filled::Concealed
            }
        }
    }

    /// Fills `out` with libopus's concealment.
    pub fn conceal(&mut self, out: &mut [i16]) {
        // libopus conceals whole units of 2.5 ms and at most 120 ms at a time.
        let whole = out.len() - out.len() % self.unit;
        let (units, rest) = out.split_at_mut(whole);
        for chunk in units.chunks_mut(self.unit * 48) {
            if self.inner.decode(&[], chunk, false).is_err() {
                chunk.fill(0);
            }
        }
        rest.fill(0);
    }
}

/// Mono VOIP Opus encoder with in-band FEC, no DTX.
#[derive(Debug)]
pub struct OpusEncoder {
    inner: ::opus::Encoder,
    loss: u8,
}

impl OpusEncoder {
    /// From mono at `rate` Hz: 8000, 12000, 16000, 24000 or 48000.
    ///
    /// # Errors
    /// `Internal` for another rate or without memory.
    pub fn new(rate: u32) -> Result<OpusEncoder, CodecError> {
        let mut inner = ::opus::Encoder::new(rate, Channels::Mono, Application::Voip).map_err(internal)?;
        inner.set_bitrate(Bitrate::Bits(BITRATE)).map_err(internal)?;
        inner.set_complexity(COMPLEXITY).map_err(internal)?;
        inner.set_inband_fec(true).map_err(internal)?;
        inner.set_packet_loss_perc(i32::from(LEAST_LOSS)).map_err(internal)?;
        inner.set_dtx(false).map_err(internal)?;
        Ok(OpusEncoder { inner, loss: LEAST_LOSS })
    }

    /// Encodes one frame of 10, 20, 40 or 60 ms and appends it. Allocates nothing if `out` has room for `MAX_PAYLOAD` more.
    ///
    /// # Errors
    /// `Internal` for another length.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        out.resize(start + MAX_PAYLOAD, 0);
        let written = self.inner.encode(pcm, &mut out[start..]);
        out.truncate(start + written.as_ref().copied().unwrap_or(0));
        written.map(|_| ()).map_err(internal)
    }

    /// Loss that the receiver reports, percent. Below 10 it counts as 10.
    pub fn set_loss(&mut self, percent: u8) {
        let percent = percent.clamp(LEAST_LOSS, 100);
        if percent != self.loss && self.inner.set_packet_loss_perc(i32::from(percent)).is_ok() {
            self.loss = percent;
        }
    }

    /// The encoder's look-ahead in samples of its rate.
    pub fn look_ahead(&mut self) -> usize {
        self.inner.get_lookahead().map_or(0, |n| n.max(0) as usize)
    }
}

fn internal(e: ::opus::Error) -> CodecError {
    CodecError::Internal(e.code().description())
}
