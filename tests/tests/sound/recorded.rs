//! Recordings, the notice of them, and music on hold from a file: baresip and a raw trunk talk, other tools open the files.

use e2e::baresip::{Account, Baresip};
use e2e::browser::Voice;
use e2e::dialled::dial;
use e2e::gateway::{Gateway, Setup};
use e2e::playing::Playing;
use e2e::process::wait_for;
use e2e::rtp::{RtpParty, mulaw};
use e2e::speech::{channels, read_wav, sox, speech, wav_seconds};
use e2e::tone::{has_tone, loudest_share, rms};
use e2e::trunk::Trunk;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// What the trunk's party plays (Hz).
const TONE: f64 = 1000.0;
/// The music on hold (Hz).
const MUSIC: f64 = 700.0;
/// The notice that a recording begins (Hz).
const NOTICE: f64 = 1400.0;

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

/// A gateway whose trunk's route records, with this format.
fn recording(trunk: u16, format: &str) -> Gateway {
    let hold = e2e::ports::tools_dir().join(format!("hold-{}.wav", std::process::id()));
    sox(&[
        "-n",
        "-r",
        "44100",
        "-c",
        "2",
        "-b",
        "16",
        text(&hold),
        "synth",
        "2",
        "sine",
        "700",
        "vol",
        "0.3",
    ]);
    let toml = format!(
        "record = true\nhold_music = \"{}\"\n[recording]\ndirectory = \"recordings\"\nformat = \"{format}\"\n",
        hold.display()
    );
    Gateway::run(&Setup { toml, ..Setup::with_trunk(trunk) })
}

/// Samples of what a party has heard since its packet `from`.
fn heard(party: &RtpParty, from: usize) -> Vec<i16> {
    party.heard()[from..].iter().flat_map(|one| one.payload.iter().map(|byte| mulaw(*byte))).collect()
}

/// The file that the call's record names, as only its owner may read it, and the record of the recording.
fn file(gateway: &Gateway) -> (PathBuf, serde_json::Value) {
    let cdr = gateway.wait_cdrs(1).remove(0);
    let recording = cdr["recordings"][0].clone();
    assert_eq!(cdr["recordings"].as_array().map(Vec::len), Some(1), "{cdr}");
    let name = recording["file"].as_str().unwrap_or_else(|| panic!("no file in {cdr}"));
    let directory = gateway.dir.join("recordings");
    let file = directory.join(name);
    let mode = std::fs::metadata(&file).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&directory).expect("directory").count(), 1, "nothing is left beside it");
    assert_eq!((&recording["problem"], &recording["gap_ms"]), (&serde_json::Value::Null, &0.into()));
    (file, recording)
}

#[test]
fn a_softphones_call_is_recorded_after_a_notice_and_its_hold_plays_the_file() {
    let mut trunk = Trunk::start();
    let gateway = recording(trunk.port, "wav");
    let mut phone = Baresip::start(&Account::new("alice", gateway.sip, &speech().reference));
    phone.wait_registered(LIMIT);
    phone.command("dial", &format!("sip:+12025550100@127.0.0.1:{}", gateway.sip));
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    wait_for(LIMIT, "the notice at the trunk", || has_tone(&heard(&party, 0), 8000, NOTICE).then_some(()));
    let playing = Playing::start(party, TONE);
    std::thread::sleep(Duration::from_secs(2));
    let party = playing.stop();
    phone.command("hold", "");
    let from = party.heard().len();
    wait_for(LIMIT, "music at the trunk", || has_tone(&heard(&party, from), 8000, MUSIC).then_some(()));
    phone.command("resume", "");
    phone.command("hangup", "");
    call.wait("BYE", LIMIT);
    assert!(has_tone(&read_wav(&phone.heard()), 8000, NOTICE), "the softphone hears the notice too");

    let (file, recording) = file(&gateway);
    let seconds = wav_seconds(&file);
    assert!(
        (seconds * 1000.0 - recording["duration_ms"].as_f64().expect("a number")).abs() < 1.0,
        "{seconds}"
    );
    let [left, right] = channels(&file);
    let (tone, windows) = loudest_share(&right, 16_000, TONE);
    assert!(tone > 0.9 && windows > 5, "the trunk's tone on the right: {tone} in {windows}");
    assert!(rms(&left) > 300.0, "the softphone's speech on the left: {}", rms(&left));
    assert!(
        !has_tone(&left, 16_000, TONE) && !has_tone(&left, 16_000, MUSIC) && !has_tone(&right, 16_000, MUSIC)
    );
}

#[test]
fn a_browsers_call_is_recorded_as_ogg_opus_that_other_tools_read() {
    let mut trunk = Trunk::start();
    let gateway = recording(trunk.port, "opus");
    let mut dialled = dial(&gateway, &mut trunk, Voice::Pcmu);
    let mut party = RtpParty::start();
    dialled.call.answer(&mut party);
    dialled.ws.wait_state("in-call");
    let playing = Playing::start(party, TONE);
    dialled.browser.speak_for(Duration::from_secs(2), &[0xff; 160]);
    playing.stop();
    dialled.ws.bye("c1");
    let (file, recording) = file(&gateway);
    let info = Command::new("opusinfo").arg(&file).output().expect("opusinfo runs");
    let info = String::from_utf8_lossy(&info.stdout).into_owned();
    assert!(info.contains("Channels: 2") && !info.to_lowercase().contains("warning"), "{info}");
    let wav = file.with_extension("wav");
    let decoded = Command::new("opusdec").args(["--quiet", "--rate", "16000"]).arg(&file).arg(&wav).status();
    assert!(decoded.expect("opusdec runs").success());
    let [left, right] = channels(&wav);
    let samples = recording["duration_ms"].as_u64().expect("a number") as usize * 16;
    assert!(left.len().abs_diff(samples) < 320, "{} of {samples}", left.len());
    let (tone, windows) = loudest_share(&right, 16_000, TONE);
    assert!(tone > 0.9 && windows > 5, "the trunk's tone on the right: {tone} in {windows}");
    assert!(rms(&left) < rms(&right) / 10.0, "the browser is silent: {}, {}", rms(&left), rms(&right));
}
