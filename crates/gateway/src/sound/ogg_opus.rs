//! Ogg/Opus (RFC 7845), mono or stereo.

use std::io::Cursor;

use media_bridge::codec::{MAX_SAMPLES, OpusDecoder, WIDE};
use ogg::PacketReader;

use super::Pcm;

/// RTP, granule positions and pre-skip count in this, Hz (RFC 7845 §4).
const CLOCK: u64 = 48_000;

/// The samples, stereo mixed to mono. The words continue a sentence that begins with the file's name.
pub fn decode(bytes: &[u8]) -> Result<Pcm, String> {
    let damaged = |e: ogg::OggReadError| format!("is no whole Ogg file: {e}");
    let mut packets = PacketReader::new(Cursor::new(bytes));
    let first = packets.read_packet().map_err(damaged)?.ok_or("is an empty Ogg file")?;
    let head = head(&first.data)?;
    let mut decoder = OpusDecoder::new(WIDE).map_err(|e| format!("can not be decoded: {e}"))?;
    let (mut samples, mut frame) = (Vec::new(), [0; MAX_SAMPLES]);
    let mut end = None;
    let mut tags = true;
    while let Some(packet) = packets.read_packet().map_err(damaged)? {
        // Another stream beside this one, or behind it.
        if packet.stream_serial() != first.stream_serial() {
            continue;
        }
        if std::mem::take(&mut tags) {
            continue;
        }
        // What is damaged is as long as the one before.
        let decoded =
            decoder.decode(&packet.data, &mut frame).map_err(|e| format!("can not be decoded: {e}"))?;
        samples.extend_from_slice(&frame[..decoded]);
        if packet.last_in_stream() {
            end = Some(packet.absgp_page());
        }
    }
    let wide = |ticks: u64| usize::try_from(ticks * u64::from(WIDE) / CLOCK).unwrap_or(usize::MAX);
    // RFC 7845 §4.4: the last page says where the sound ends within its last packet.
    samples.truncate(end.map_or(usize::MAX, wide));
    samples.drain(..wide(head.pre_skip).min(samples.len()));
    for sample in &mut samples {
        *sample = (f32::from(*sample) * head.gain).round() as i16;
    }
    Ok(Pcm { samples, rate: WIDE })
}

struct Head {
    /// Samples at `CLOCK` to leave out at the beginning.
    pre_skip: u64,
    /// Factor for all of them.
    gain: f32,
}

/// RFC 7845 §5.1.
fn head(packet: &[u8]) -> Result<Head, String> {
    let Some(fields) = packet.strip_prefix(b"OpusHead").and_then(|f| f.first_chunk::<11>()) else {
        return Err(
            "is Ogg, but not Opus; convert it, for example: opusenc, or ffmpeg -i FILE -c:a libopus \
                    NEW.opus"
                .into(),
        );
    };
    let [version, channels, skip @ .., gain_low, gain_high, family] = *fields;
    if version >= 16 || family > 1 || !(1..=2).contains(&channels) {
        return Err(format!("has {channels} channels; convert it to one or two"));
    }
    let pre_skip = u64::from(u16::from_le_bytes([skip[0], skip[1]]));
    let decibels = f32::from(i16::from_le_bytes([gain_low, gain_high])) / 256.0;
    Ok(Head { pre_skip, gain: 10f32.powf(decibels / 20.0) })
}
