//! Recordings as WAV: 16 bits, two channels. Its header is mended as it grows, so that a crash costs a second of sound.

use std::fs::File;
use std::io::{self, BufWriter};

use hound::{SampleFormat, WavSpec, WavWriter};
use media_bridge::call::record::{FRAME_BYTES, RATE};

pub struct Wav(WavWriter<BufWriter<File>>);

impl Wav {
    pub fn new(file: File) -> io::Result<Wav> {
        let (channels, sample_rate) = (2, RATE);
        let spec = WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        WavWriter::new(BufWriter::new(file), spec).map(Wav).map_err(of_hound)
    }

    pub fn write(&mut self, frame: &[u8; FRAME_BYTES]) -> io::Result<()> {
        let (samples, _) = frame.as_chunks::<2>();
        samples.iter().try_for_each(|s| self.0.write_sample(i16::from_le_bytes(*s))).map_err(of_hound)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_hound)
    }

    pub fn finish(self) -> io::Result<()> {
        self.0.finalize().map_err(of_hound)
    }
}

fn of_hound(error: hound::Error) -> io::Error {
    if let hound::Error::IoError(error) = error { error } else { io::Error::other(error) }
}
