//! Files as they are after a call, after a crash, and when frames were lost.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use media_bridge::call::record::SAMPLES;
use types::Wall;

use super::writer::Writer;
use super::*;
use crate::config::RecordingFormat;

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("webtrunk-recording-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

fn frame(left: i16, right: i16) -> [u8; FRAME_BYTES] {
    let mut bytes = [0; FRAME_BYTES];
    for pair in bytes.as_chunks_mut::<4>().0 {
        pair[..2].copy_from_slice(&left.to_le_bytes());
        pair[2..].copy_from_slice(&right.to_le_bytes());
    }
    bytes
}

fn recording(call: u64) -> Recording {
    let party = b2bua::CdrParty::Trunk("carrier".into());
    Recording { call: CallId(call), started: Wall(0), left: party.clone(), right: party }
}

fn writer(directory: &Path, format: RecordingFormat) -> Writer {
    file::prepare(directory).unwrap();
    let config = RecordingConfig { directory: directory.into(), format };
    Writer::new(config, Arc::new(ArrayQueue::new(4)), CdrQueue::default())
}

fn samples(file: &Path) -> Vec<i16> {
    hound::WavReader::open(file).unwrap().into_samples().map(Result::unwrap).collect()
}

#[test]
fn lost_frames_are_silence_of_their_length_and_counted() {
    let directory = directory("gaps");
    let mut writer = writer(&directory, RecordingFormat::Wav);
    writer.begin(&recording(1));
    for number in [0, 1, 4] {
        writer.frame(CallId(1), number, Box::new(frame(5, -7)));
    }
    let outcome = writer.finish(CallId(1)).unwrap();
    let name = "1970-01-01T000000.000Z-call-1.wav";
    let whole = Outcome { file: Some(name.into()), duration_ms: 100, gap_ms: 40, problem: None };
    assert_eq!(outcome, whole);
    let heard = samples(&directory.join(name));
    assert_eq!(heard.len(), 5 * SAMPLES * 2);
    let silence = 2 * SAMPLES * 2..4 * SAMPLES * 2;
    assert!(heard[silence].iter().all(|s| *s == 0));
    assert!(heard[..4 * SAMPLES].as_chunks::<2>().0.iter().all(|pair| *pair == [5, -7]));
    let mode = std::fs::metadata(directory.join(name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_a_crash_leaves_can_be_played_up_to_a_second_before_it() {
    for format in [RecordingFormat::Wav, RecordingFormat::Opus] {
        let directory = directory(&format!("crash-{format:?}"));
        let mut writer = writer(&directory, format);
        writer.begin(&recording(1));
        for number in 0..140 {
            writer.frame(CallId(1), number, Box::new(frame(5_000, -5_000)));
        }
        // Nothing is finished, and nothing dropped that would write what is buffered.
        std::mem::forget(writer);
        let left = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
        assert!(left.to_string_lossy().ends_with(".part"), "{left:?}");
        match format {
            RecordingFormat::Wav => assert_eq!(samples(&left).len(), 100 * SAMPLES * 2),
            RecordingFormat::Opus => {
                let mut bytes = Vec::new();
                File::open(&left).unwrap().read_to_end(&mut bytes).unwrap();
                let mut packets = ogg::PacketReader::new(std::io::Cursor::new(bytes));
                let mut count = 0;
                while let Ok(Some(_)) = packets.read_packet() {
                    count += 1;
                }
                assert!(count >= 2 + 75, "{count} packets");
            }
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn a_disk_that_is_full_ends_the_recording_in_words_and_nothing_else() {
    // What Linux has for this.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut open =
        writer::Open::on_file("x.wav", Path::new("/dev/full"), full, RecordingFormat::Opus).unwrap();
    for number in 0..500 {
        open.take(CallId(1), number, &frame(number as i16 * 60, -5_000));
    }
    let outcome = open.finish(CallId(1));
    let problem = outcome.problem.unwrap();
    assert!(problem.contains("it ends early") && problem.contains("No space left"), "{problem}");
    assert!(outcome.duration_ms < 10_000);
}

#[test]
fn a_directory_that_can_not_be_made_is_told_at_start() {
    let config = RecordingConfig { directory: "/dev/null/x".into(), format: RecordingFormat::Wav };
    let why = Recorder::start(Some(config), CdrQueue::default()).err().unwrap();
    assert!(why.contains("[recording] directory /dev/null/x can not be written to"), "{why}");
}
