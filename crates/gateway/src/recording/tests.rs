//! Files as they are after a call, after a crash, and when frames were lost.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use media_bridge::call::record::SAMPLES;
use types::Wall;

use super::writer::Writer;
use super::*;
use crate::config::RecordingFormat;

const FIRST: RecordingId = RecordingId(1);

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
    Recording { call: CallId(call), id: FIRST, started: Wall(0), left: party.clone(), right: party }
}

fn writer(directory: &Path, format: RecordingFormat) -> Writer {
    file::prepare(directory).unwrap();
    let config = RecordingConfig { directory: directory.into(), format, by_page: false };
    Writer::new(config, Arc::new(Handover::new(4)), CdrQueue::default())
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
        writer.frame((CallId(1), FIRST), number, Box::new(frame(5, -7)));
    }
    let [outcome] = writer.finish(CallId(1)).try_into().unwrap();
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
            writer.frame((CallId(1), FIRST), number, Box::new(frame(5_000, -5_000)));
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

/// Leaves a file as a crash would after so many frames.
fn crash(directory: &Path, format: RecordingFormat, frames: u32) {
    let mut writer = writer(directory, format);
    writer.begin(&recording(1));
    for number in 0..frames {
        writer.frame((CallId(1), FIRST), number, Box::new(frame(5_000, -5_000)));
    }
    // Neither finished nor dropped, which would write what is buffered. What a process that is gone had locked is not.
    std::mem::forget(writer);
    let part = names(directory).into_iter().find(|name| name.ends_with(".part")).unwrap();
    let copy = directory.join("copy");
    std::fs::copy(directory.join(&part), &copy).unwrap();
    std::fs::rename(copy, directory.join(part)).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_next_start_finishes_what_a_crash_left_and_loses_nothing_of_it() {
    let directory = directory("leftover");
    let (part, name) = ("1970-01-01T000000.000Z-call-1.wav.part", "1970-01-01T000000.000Z-call-1.wav");
    crash(&directory, RecordingFormat::Wav, 140);
    // Half a sample that was on its way to the disk.
    File::options().append(true).open(directory.join(part)).unwrap().write_all(&[1, 2, 3]).unwrap();
    let length = std::fs::metadata(directory.join(part)).unwrap().len();
    leftover::finish(&directory);
    assert_eq!(names(&directory), [name]);
    let heard = samples(&directory.join(name));
    assert!(heard.len() >= 100 * SAMPLES * 2, "{}", heard.len());
    assert_eq!(heard.len() as u64, (length - 44) / 4 * 2, "all that reached the disk");
    assert!(heard.as_chunks::<2>().0.iter().all(|pair| *pair == [5_000, -5_000]));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_leftover_in_ogg_gets_its_name_an_empty_one_goes_and_what_is_no_recording_stays() {
    let directory = directory("leftovers");
    crash(&directory, RecordingFormat::Opus, 140);
    for (name, bytes) in
        [("a.wav.part", &b""[..]), ("b.wav.part", b"RIFF"), ("c.txt.part", b"x"), ("d.wav", b"y")]
    {
        std::fs::write(directory.join(name), bytes).unwrap();
    }
    leftover::finish(&directory);
    let mut left = names(&directory);
    left.sort();
    assert_eq!(left, ["1970-01-01T000000.000Z-call-1.opus", "b.wav.part", "c.txt.part", "d.wav"]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_recording_that_another_gateway_is_writing_is_left_alone_and_no_file_is_replaced() {
    let directory = directory("in-use");
    let mut writer = writer(&directory, RecordingFormat::Wav);
    writer.begin(&recording(1));
    leftover::finish(&directory);
    let part = "1970-01-01T000000.000Z-call-1.wav.part";
    assert_eq!(names(&directory), [part]);
    assert!(writer.finish(CallId(1))[0].problem.is_none());
    crash(&directory, RecordingFormat::Wav, 60);
    leftover::finish(&directory);
    assert!(names(&directory).contains(&part.to_owned()), "its name is taken");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn each_recording_of_a_call_has_its_file_and_late_frames_of_the_first_do_not_reach_the_second() {
    let directory = directory("several");
    let mut writer = writer(&directory, RecordingFormat::Wav);
    writer.begin(&recording(1));
    let second = RecordingId(2);
    writer.begin(&Recording { id: second, started: Wall(1_000_000), ..recording(1) });
    for (which, number, sample) in [(FIRST, 0, 1), (FIRST, 1, 1), (second, 0, 2)] {
        writer.frame((CallId(1), which), number, Box::new(frame(sample, sample)));
    }
    writer.over((CallId(1), FIRST));
    writer.frame((CallId(1), second), 1, Box::new(frame(2, 2)));
    let outcomes = writer.finish(CallId(1));
    let told: Vec<_> = outcomes.iter().map(|o| (o.file.clone().unwrap(), o.duration_ms)).collect();
    let files = ["1970-01-01T000000.000Z-call-1.wav", "1970-01-01T000001.000Z-call-1.wav"];
    assert_eq!(told, files.map(|file| (file.to_owned(), 40)));
    for (file, sample) in files.into_iter().zip([1, 2]) {
        assert!(samples(&directory.join(file)).iter().all(|s| *s == sample), "{file}");
    }
    std::fs::remove_dir_all(directory).unwrap();
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
    let config =
        RecordingConfig { directory: "/dev/null/x".into(), format: RecordingFormat::Wav, by_page: false };
    let why = Recorder::start(Some(config), CdrQueue::default()).err().unwrap();
    assert!(why.contains("[recording] directory /dev/null/x can not be written to"), "{why}");
}
