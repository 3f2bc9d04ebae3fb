//! libopus with the settings that were measured (design §1): below 20 kb/s at 8 kHz and 24 kb/s at 16 kHz (complexity 5)
//! an encoder silently stops carrying FEC, and it carries none unless it is told of loss.

use ::opus::{Application, Bitrate, Channels, ErrorCode};

use super::{CodecError, Filled, MAX_PAYLOAD, NARROW, opus_packet};

/// What FEC needs at 8 kHz, and at complexity 0 and 1.
const NARROW_BITRATE: i32 = 24_000;
const NARROW_BITRATE_IN_HASTE: i32 = 28_000;
/// Above 8 kHz a little more: the floor is higher there.
const WIDE_BITRATE: i32 = 28_000;
const WIDE_BITRATE_IN_HASTE: i32 = 32_000;
/// What an encoder begins with.
const COMPLEXITY: u8 = 5;
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

    /// Of what it decodes to, Hz.
    pub fn rate(&self) -> u32 {
        self.rate
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
    rate: u32,
    complexity: u8,
    loss: u8,
}

impl OpusEncoder {
    /// From mono at `rate` Hz: 8000, 12000, 16000, 24000 or 48000.
    ///
    /// # Errors
    /// `Internal` for another rate or without memory.
    pub fn new(rate: u32) -> Result<OpusEncoder, CodecError> {
        let mut inner = ::opus::Encoder::new(rate, Channels::Mono, Application::Voip).map_err(internal)?;
        inner.set_bitrate(bitrate(rate, COMPLEXITY)).map_err(internal)?;
        inner.set_complexity(COMPLEXITY.into()).map_err(internal)?;
        inner.set_inband_fec(true).map_err(internal)?;
        inner.set_packet_loss_perc(i32::from(LEAST_LOSS)).map_err(internal)?;
        inner.set_dtx(false).map_err(internal)?;
        Ok(OpusEncoder { inner, rate, complexity: COMPLEXITY, loss: LEAST_LOSS })
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

    /// How much work it takes, 0-10, from the next frame on; with the bitrate that FEC then needs.
    pub fn set_complexity(&mut self, complexity: u8) {
        let complexity = complexity.min(10);
        if complexity == self.complexity {
            return;
        }
        let rated = self.inner.set_bitrate(bitrate(self.rate, complexity));
        if rated.is_ok() && self.inner.set_complexity(complexity.into()).is_ok() {
            self.complexity = complexity;
        }
    }

    /// How much work it takes.
    pub fn complexity(&self) -> u8 {
        self.complexity
    }

    /// The loss that it counts on, percent.
    pub fn loss(&self) -> u8 {
        self.loss
    }

    /// Loss that the receiver reports, percent. Below 10 it counts as 10.
    pub fn set_loss(&mut self, percent: u8) {
        let percent = percent.clamp(LEAST_LOSS, 100);
        if percent != self.loss && self.inner.set_packet_loss_perc(i32::from(percent)).is_ok() {
            self.loss = percent;
        }
    }
}

fn bitrate(rate: u32, complexity: u8) -> Bitrate {
    Bitrate::Bits(match (rate <= NARROW, complexity < 2) {
        (true, false) => NARROW_BITRATE,
        (true, true) => NARROW_BITRATE_IN_HASTE,
        (false, false) => WIDE_BITRATE,
        (false, true) => WIDE_BITRATE_IN_HASTE,
    })
}

fn internal(e: ::opus::Error) -> CodecError {
    CodecError::Internal(e.code().description())
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const FRAME: usize = 160;

    /// Something like speech at 8 kHz: syllables of gliding pitch with formants, pauses between, a little noise.
    fn speech(frames: usize) -> Vec<i16> {
        speech_at(8000, frames)
    }

    fn speech_at(rate: u32, frames: usize) -> Vec<i16> {
        let rate = f64::from(rate);
        let mut noise = 1u32;
        let mut phase = 0.0;
        (0..frames * (rate / 50.0) as usize)
            .map(|n| {
                let t = n as f64 / rate;
                let syllable = (TAU * 3.3 * t).sin().max(0.0).sqrt();
                phase += (130.0 + 30.0 * (TAU * 0.7 * t).sin()) / rate;
                let formant = |k: f64| 1.0 / (1.0 + ((k * 130.0 - 600.0) / 300.0).powi(2)) + 0.3 / k;
                let voice: f64 =
                    (1..=20).map(|k| (TAU * phase * f64::from(k)).sin() * formant(f64::from(k))).sum();
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let hiss = f64::from(noise >> 16) / 65_536.0 - 0.5;
                (voice * syllable * 3_000.0 + hiss * 60.0) as i16
            })
            .collect()
    }

    fn encoded(pcm: &[i16], encoder: &mut OpusEncoder, frame: usize) -> Vec<Vec<u8>> {
        let encode = |frame: &[i16]| {
            let mut packet = Vec::new();
            encoder.encode(frame, &mut packet).unwrap();
            packet
        };
        pcm.chunks_exact(frame).map(encode).collect()
    }

    fn power(x: impl Iterator<Item = f64>) -> f64 {
        x.map(|s| s * s).sum()
    }

    /// What the far end would have heard, minus what it hears.
    fn error(clean: &[i16], filled: &[i16]) -> f64 {
        power(clean.iter().zip(filled).map(|(a, b)| f64::from(*a) - f64::from(*b)))
    }

    #[test]
    fn nearly_every_packet_carries_fec_from_the_start() {
        let packets = encoded(&speech(200), &mut OpusEncoder::new(8000).unwrap(), FRAME);
        let with = packets.iter().filter(|p| opus_packet::has_fec(p)).count();
        // Pauses need none.
        assert!(with > 80, "{with} of 200");
        let bits: usize = packets.iter().map(|p| p.len() * 8).sum();
        assert!(bits < 4 * 26_000, "{bits} bits in 4 s");
    }

    /// Design §1: below 20 kb/s libopus silently sends no FEC at 8 kHz. If this fails, the floor has moved: lower ours.
    #[test]
    fn a_low_bitrate_would_silently_drop_fec() {
        let mut encoder = OpusEncoder::new(8000).unwrap();
        encoder.inner.set_bitrate(Bitrate::Bits(12_000)).unwrap();
        let packets = encoded(&speech(200), &mut encoder, FRAME);
        assert!(!packets.iter().any(|p| opus_packet::has_fec(p)));
    }

    /// Design §1: what gives way under load must not silently be the redundancy.
    #[test]
    fn packets_carry_fec_at_every_complexity_right_after_each_step() {
        for rate in [8_000, 16_000] {
            let pcm = speech_at(rate, 100);
            let mut running = OpusEncoder::new(rate).unwrap();
            // libopus is slower to begin with it than to go on.
            for (complexity, new) in [5, 2, 0, 2, 5, 0].into_iter().flat_map(|c| [(c, false), (c, true)]) {
                let mut fresh = OpusEncoder::new(rate).unwrap();
                let encoder = if new { &mut fresh } else { &mut running };
                encoder.set_complexity(complexity);
                let packets = encoded(&pcm, encoder, rate as usize / 50);
                let with = |packets: &[Vec<u8>]| packets.iter().filter(|p| opus_packet::has_fec(p)).count();
                assert!(with(&packets) > 40, "{rate} Hz, {complexity}: {} of 100", with(&packets));
                assert!(with(&packets[..10]) > 3, "{rate} Hz, {complexity}: {} of 10", with(&packets[..10]));
                let bits = packets.iter().map(|p| p.len() * 8).sum::<usize>() / 2;
                assert!(bits < 34_000, "{bits} bits/s at {rate} Hz, {complexity}");
            }
        }
    }

    /// A click is a bend that no tone has.
    #[test]
    fn a_step_of_complexity_is_not_heard() {
        let tone = |n: usize| ((n as f64 * TAU * 440.0 / 8000.0).sin() * 8_000.0) as i16;
        let pcm: Vec<i16> = (0..200 * FRAME).map(tone).collect();
        let (mut encoder, mut opus, mut heard) = (OpusEncoder::new(8000).unwrap(), decoder(), Vec::new());
        for (n, frame) in pcm.chunks_exact(FRAME).enumerate() {
            encoder.set_complexity([5, 2, 0, 2, 5, 0, 5, 0][n / 25]);
            let (mut packet, mut out) = (Vec::new(), [0; FRAME]);
            encoder.encode(frame, &mut packet).unwrap();
            opus.decode(&packet, &mut out).unwrap();
            heard.extend(out.map(f64::from));
        }
        let bend = |at: &[f64]| at.windows(3).map(|w| (w[2] - 2.0 * w[1] + w[0]).abs()).fold(0.0, f64::max);
        let (mut steady, mut stepping): (f64, f64) = (0.0, 0.0);
        for (n, frames) in heard.chunks_exact(5 * FRAME).enumerate().skip(2) {
            let most = if n % 5 == 0 { &mut stepping } else { &mut steady };
            *most = most.max(bend(frames));
        }
        assert!(stepping < steady * 1.1, "{stepping:.0} where it steps, {steady:.0} elsewhere");
        let loud = power(heard.iter().skip(10 * FRAME).copied()) / (190 * FRAME) as f64;
        assert!((0.9..1.1).contains(&(loud / (8_000.0 * 8_000.0 / 2.0))), "{loud}");
    }

    #[test]
    fn fec_brings_back_a_lost_frame_better_than_concealment() {
        let pcm = speech(300);
        let packets = encoded(&pcm, &mut OpusEncoder::new(8000).unwrap(), FRAME);
        let (mut clean, mut fec, mut plc) = (decoder(), decoder(), decoder());
        let (mut signal, mut fec_error, mut plc_error, mut recovered) = (0.0, 0.0, 0.0, 0);
        let (mut said, mut heard) = ([0; FRAME], [0; FRAME]);
        for (n, packet) in packets.iter().enumerate() {
            assert_eq!(clean.decode(packet, &mut said), Ok(FRAME));
            if n % 10 != 5 {
                fec.decode(packet, &mut heard).unwrap();
                plc.decode(packet, &mut heard).unwrap();
                continue;
            }
            let next = &packets[n + 1];
            let filled = fec.decode_fec(next, &mut heard);
            assert_eq!(filled == Filled::Fec, opus_packet::has_fec(next));
            let by_fec = error(&said, &heard);
            plc.conceal(&mut heard);
            if filled == Filled::Fec {
                recovered += 1;
                signal += power(said.iter().map(|&s| f64::from(s)));
                fec_error += by_fec;
                plc_error += error(&said, &heard);
            }
        }
        let db = |e: f64| 10.0 * (signal / e).log10();
        assert!(recovered >= 10, "{recovered}");
        assert!(
            db(fec_error) > db(plc_error) + 3.0,
            "FEC {:.1} dB, PLC {:.1} dB",
            db(fec_error),
            db(plc_error)
        );
    }

    fn decoder() -> OpusDecoder {
        OpusDecoder::new(8000).unwrap()
    }

    #[test]
    fn frames_of_10_20_40_and_60_ms_come_back_at_their_length() {
        for ms in [10, 20, 40, 60] {
            let frame = ms * 8;
            let packets = encoded(&speech(30), &mut OpusEncoder::new(8000).unwrap(), frame);
            let mut opus = decoder();
            let mut out = [0; 960];
            for packet in &packets {
                assert_eq!(opus_packet::samples(packet, 8000), Some(frame));
                assert_eq!(opus.decode(packet, &mut out), Ok(frame), "{ms} ms");
            }
        }
        let odd = OpusEncoder::new(8000).unwrap().encode(&[0; 100], &mut Vec::new());
        assert!(matches!(odd, Err(CodecError::Internal(_))));
    }

    #[test]
    fn the_same_packet_decodes_to_48_khz() {
        let packets = encoded(&speech(5), &mut OpusEncoder::new(8000).unwrap(), FRAME);
        let mut out = [0; 5760];
        assert_eq!(OpusDecoder::new(48_000).unwrap().decode(&packets[4], &mut out), Ok(960));
    }

    #[test]
    fn no_redundancy_is_counted_where_libopus_would_conceal() {
        let packets = encoded(&speech(100), &mut OpusEncoder::new(8000).unwrap(), FRAME);
        let rich = packets.iter().position(|p| opus_packet::has_fec(p)).unwrap();
        let mut opus = decoder();
        opus.decode(&packets[rich - 1], &mut [0; FRAME]).unwrap();
        assert_eq!(
            opus.decode_fec(&packets[rich], &mut [0; 80]),
            Filled::Concealed,
            "shorter than its frame"
        );
        assert_eq!(opus.decode_fec(&packets[rich], &mut [0; 161]), Filled::Concealed, "no whole 2.5 ms");
        assert_eq!(opus.decode_fec(&[], &mut [0; FRAME]), Filled::Concealed);
        assert_eq!(opus.decode_fec(&packets[rich], &mut [0; FRAME]), Filled::Fec);
    }

    #[test]
    fn damaged_packets_are_bad_payload_and_the_decoder_lives_on() {
        let packets = encoded(&speech(20), &mut OpusEncoder::new(8000).unwrap(), FRAME);
        let mut opus = decoder();
        let mut out = [0; 960];
        assert_eq!(opus.decode(&[], &mut out), Err(CodecError::BadPayload));
        assert_eq!(opus.decode(&[0xff, 0xff, 1], &mut out), Err(CodecError::BadPayload));
        assert_eq!(
            opus.decode(&packets[3], &mut out[..80]),
            Err(CodecError::BadPayload),
            "longer than the room"
        );
        assert_eq!(opus.decode(&packets[3], &mut out), Ok(FRAME));
    }

    #[test]
    fn concealment_fills_any_length_and_fades_to_silence() {
        let packets = encoded(&speech(20), &mut OpusEncoder::new(8000).unwrap(), FRAME);
        let mut opus = decoder();
        let mut out = [0; FRAME];
        for packet in &packets {
            opus.decode(packet, &mut out).unwrap();
        }
        let mut long = vec![7; 16_007];
        opus.conceal(&mut long);
        assert!(long[12_000..].iter().all(|s| s.abs() < 50), "nobody hums for two seconds");
        assert_eq!(long[16_000..], [0; 7]);
    }

    /// Latency: nothing beyond libopus's own look-ahead of 6.5 ms.
    #[test]
    fn coding_delays_by_six_and_a_half_milliseconds_only() {
        let mut encoder = OpusEncoder::new(8000).unwrap();
        assert_eq!(encoder.inner.get_lookahead().unwrap(), 52);
        // A click comes out where look-ahead and the resampling in the decoder put it, within a frame.
        let mut pcm = vec![0; 10 * FRAME];
        pcm[5 * FRAME..5 * FRAME + 8].fill(20_000);
        let mut opus = decoder();
        let mut heard = Vec::new();
        for packet in encoded(&pcm, &mut encoder, FRAME) {
            let mut out = [0; FRAME];
            opus.decode(&packet, &mut out).unwrap();
            heard.extend(out);
        }
        let loudest = (0..heard.len()).max_by_key(|&n| heard[n].unsigned_abs()).unwrap();
        let delay = loudest - 5 * FRAME;
        assert!((44..90).contains(&delay), "{delay} samples");
    }

    #[test]
    fn reported_loss_never_goes_below_ten_percent() {
        let mut encoder = OpusEncoder::new(8000).unwrap();
        for (reported, kept) in [(0, 10), (35, 35), (255, 100), (3, 10)] {
            encoder.set_loss(reported);
            assert_eq!(encoder.inner.get_packet_loss_perc().unwrap(), kept);
        }
    }
}
