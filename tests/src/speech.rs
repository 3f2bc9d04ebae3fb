//! Speech for the tests, made at test time from packages of the distribution; no audio lies in the tree.

use crate::ports::tools_dir;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const LIBRIVOX: &str = "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb";

/// The same few seconds of speech in every form that a client needs.
pub struct Speech {
    /// 8 kHz 16-bit mono WAV: the reference for scores.
    pub reference: PathBuf,
    /// 48 kHz 16-bit mono WAV with 3 s of silence before and 2 s after: a browser's microphone.
    pub microphone: PathBuf,
    /// As `microphone`, but the speech comes three times.
    pub long_microphone: PathBuf,
    /// 16 kHz 16-bit mono WAV.
    pub wide: PathBuf,
    /// Headerless mu-law at 8 kHz: what a PCMU trunk sends.
    pub mulaw: PathBuf,
    /// The reference after mu-law and back, 8 kHz WAV.
    pub through_mulaw: PathBuf,
}

/// Runs sox; panics with its message.
pub fn sox(args: &[&str]) {
    let out = Command::new("sox").args(["-V1", "-D"]).args(args).output();
    let out = out.expect("sox runs; `make setup-test` gets the test tools");
    assert!(out.status.success(), "sox {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

fn make(dir: &Path, speech: &Speech) {
    let (first, second) = (format!("{LIBRIVOX}-0870.wav"), format!("{LIBRIVOX}-0880.wav"));
    assert!(Path::new(&first).exists(), "{first} is missing; `make setup-test` gets pocketsphinx-testdata");
    let joined = dir.join("joined.wav");
    sox(&[&first, &second, text(&joined), "norm", "-3", "trim", "0", "8"]);
    let wide = dir.join("wide.wav");
    sox(&[text(&joined), "-r", "16000", "-b", "16", "-c", "1", text(&wide)]);
    sox(&[text(&wide), "-r", "8000", text(&speech.reference)]);
    sox(&[text(&wide), "-r", "48000", text(&speech.microphone), "pad", "3", "2"]);
    sox(&[text(&wide), "-r", "48000", text(&speech.long_microphone), "repeat", "2", "pad", "3", "0"]);
    sox(&[text(&speech.reference), "-t", "ul", text(&speech.mulaw)]);
    sox(&[
        "-t",
        "ul",
        "-r",
        "8000",
        "-c",
        "1",
        text(&speech.mulaw),
        "-b",
        "16",
        "-e",
        "signed",
        text(&speech.through_mulaw),
    ]);
    std::fs::rename(&wide, &speech.wide).expect("same directory");
}

/// The speech files, made once; 8 s of speech.
pub fn speech() -> &'static Speech {
    static MADE: OnceLock<Speech> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tools_dir().join("speech");
        std::fs::create_dir_all(&dir).expect("speech directory");
        let speech = Speech {
            reference: dir.join("reference-8k.wav"),
            microphone: dir.join("microphone-48k.wav"),
            long_microphone: dir.join("long-microphone-48k.wav"),
            wide: dir.join("wide-16k.wav"),
            mulaw: dir.join("speech.ul"),
            through_mulaw: dir.join("through-mulaw-8k.wav"),
        };
        // Other test processes may be at it too: the last file is the sign that all are complete.
        let lock = File::create(dir.join("lock")).expect("lock file");
        lock.lock().expect("lock");
        if !speech.wide.exists() || !speech.long_microphone.exists() {
            make(&dir, &speech);
        }
        speech
    })
}

/// Left and right of a file of two channels that sox reads, 16 kHz.
pub fn channels(file: &Path) -> [Vec<i16>; 2] {
    ["1", "2"].map(|channel| {
        let one = file.with_extension(format!("{channel}.wav"));
        sox(&[text(file), "-b", "16", "-e", "signed", text(&one), "remix", channel]);
        read_wav(&one)
    })
}

/// How long a WAV file lasts, as soxi says it.
pub fn wav_seconds(file: &Path) -> f64 {
    let told = Command::new("soxi").arg("-D").arg(file).output().expect("soxi runs");
    String::from_utf8_lossy(&told.stdout).trim().parse().expect("seconds")
}

/// Samples of a 16-bit mono WAV.
pub fn read_wav(file: &Path) -> Vec<i16> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let at = bytes.windows(4).position(|four| four == b"data").expect("a data chunk") + 8;
    bytes[at..].as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// Writes samples as 16-bit mono WAV.
pub fn write_wav(file: &Path, samples: &[i16], rate: u32) {
    let size = samples.len() as u32 * 2;
    let mut bytes = Vec::with_capacity(44 + samples.len() * 2);
    bytes.extend(b"RIFF");
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    std::fs::write(file, bytes).expect("WAV written");
}
