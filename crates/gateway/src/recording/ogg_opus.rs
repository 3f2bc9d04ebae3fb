//! Recordings as Ogg/Opus (RFC 7845): pages of half a second, each of which can be played without those behind it.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use media_bridge::call::record::{FRAME_BYTES, RATE, SAMPLES};
use ogg::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, Channels, Encoder};

/// Both channels together; enough to keep them apart, too.
const BITRATE: i32 = 64_000;
/// What granule positions count in, in each frame of 20 ms (48 kHz).
const TICKS: u64 = 960;
/// Frames of one page.
const PAGE: u64 = 25;
/// Each file is a stream of its own; nobody joins them.
const SERIAL: u32 = 1;

pub struct OggOpus {
    pages: PacketWriter<'static, BufWriter<File>>,
    encoder: Encoder,
    /// The newest packet: whether it is the last one is known only behind it.
    held: Option<Vec<u8>>,
    frames: u64,
    pre_skip: u64,
}

impl OggOpus {
    pub fn new(file: File) -> io::Result<OggOpus> {
        let mut encoder =
            Encoder::new(RATE, Channels::Stereo, Application::Audio).map_err(io::Error::other)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE)).map_err(io::Error::other)?;
        let lookahead = encoder.get_lookahead().map_err(io::Error::other)?;
        let pre_skip = u16::try_from(lookahead * 48_000 / RATE as i32).unwrap_or(0);
        let mut pages = PacketWriter::new(BufWriter::new(file));
        // RFC 7845 §5.1: version 1, two channels, pre-skip, rate of the source, no gain, the usual order.
        let mut head = b"OpusHead\x01\x02".to_vec();
        head.extend_from_slice(&pre_skip.to_le_bytes());
        head.extend_from_slice(&RATE.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        // §5.2: who made it, and no comments.
        let tags = b"OpusTags\x08\0\0\0webtrunk\0\0\0\0".to_vec();
        pages.write_packet(head, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        pages.write_packet(tags, SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        Ok(OggOpus { pages, encoder, held: None, frames: 0, pre_skip: pre_skip.into() })
    }

    pub fn write(&mut self, frame: &[u8; FRAME_BYTES]) -> io::Result<()> {
        let (bytes, _) = frame.as_chunks::<2>();
        let mut pcm = [0; 2 * SAMPLES];
        for (sample, bytes) in pcm.iter_mut().zip(bytes) {
            *sample = i16::from_le_bytes(*bytes);
        }
        let packet = self.encoder.encode_vec(&pcm, 1_500).map_err(io::Error::other)?;
        let end = if self.frames.is_multiple_of(PAGE) {
            PacketWriteEndInfo::EndPage
        } else {
            PacketWriteEndInfo::NormalPacket
        };
        if let Some(before) = self.held.replace(packet) {
            self.pages.write_packet(before, SERIAL, end, self.frames * TICKS)?;
        }
        self.frames += 1;
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.pages.inner_mut().flush()
    }

    pub fn finish(mut self) -> io::Result<()> {
        // What the encoder still holds back comes out with one more frame; the granule position cuts it (RFC 7845 §4.4).
        let end = self.frames * TICKS + self.pre_skip;
        self.write(&[0; FRAME_BYTES])?;
        if let Some(last) = self.held.take() {
            self.pages.write_packet(last, SERIAL, PacketWriteEndInfo::EndStream, end)?;
        }
        self.flush()
    }
}
