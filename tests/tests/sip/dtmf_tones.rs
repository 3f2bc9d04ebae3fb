//! Digits as tones: our detector and generator against libspandsp's, and against speech.

use e2e::browser::Voice;
use e2e::dialled::dial;
use e2e::gateway::{Gateway, Setup};
use e2e::ports::tools_dir;
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::speech::{read_wav, sox};
use e2e::tool::{Tool, bytes, hex};
use e2e::trunk::Trunk;
use media_bridge::codec::Law;
use media_bridge::dtmf::{Detector, Tones};
use std::time::{Duration, Instant};

const KEYS: &str = "0123456789*#ABCD";
const RATE: usize = 8_000;
const FRAME: Duration = Duration::from_millis(20);
/// Natural speech of several readers, installed with the test tools.
const SPEECH: &str = "/usr/share/pocketsphinx/test/data";
/// Faster and slower, and so with other voices.
const SPEEDS: [f64; 9] = [0.7, 0.8, 0.87, 0.94, 1.0, 1.08, 1.17, 1.3, 1.5];

/// What is heard in packets of 20 ms, and how many of those would be kept from a listener.
fn heard(pcm: &[i16]) -> (String, usize) {
    let (mut detector, now) = (Detector::new(RATE as u32), Instant::now());
    let (mut keys, mut hidden) = (String::new(), 0);
    for frame in pcm.chunks(RATE / 50) {
        hidden += usize::from(detector.hear(frame, now));
        keys.extend(std::iter::from_fn(|| detector.poll_digit()).map(|digit| digit.digit));
    }
    detector.handle_timeout(now + Duration::from_secs(1));
    keys.extend(detector.poll_digit().map(|digit| digit.digit));
    (keys, hidden)
}

/// Our tones of all keys.
fn dialled(ms: u64) -> Vec<i16> {
    let (mut tones, mut now, mut pcm) = (Tones::default(), Instant::now(), Vec::new());
    for key in KEYS.chars() {
        tones.push(key, Duration::from_millis(ms)).expect("room for 16");
    }
    for _ in 0..16 * (ms + 100) / 20 {
        pcm.extend(tones.next_frame(now).map_or([0; 160], |(_, frame)| frame));
        now += FRAME;
    }
    pcm
}

fn samples(pcm: &str) -> Vec<i16> {
    bytes(pcm).as_chunks().0.iter().map(|two| i16::from_le_bytes(*two)).collect()
}

fn raw(pcm: &[i16]) -> String {
    hex(&pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>())
}

fn through(law: Law, pcm: &[i16]) -> Vec<i16> {
    pcm.iter().map(|sample| law.decode_sample(law.encode_sample(*sample))).collect()
}

/// All clips one after the other at this speed, 8 kHz.
fn speech(speed: f64) -> Vec<i16> {
    let mut clips = Vec::new();
    for dir in ["librivox", "cards"] {
        let found = std::fs::read_dir(format!("{SPEECH}/{dir}"))
            .expect("`make setup-test` gets pocketsphinx-testdata");
        clips.extend(
            found
                .map(|entry| entry.expect("entry").path())
                .filter(|path| path.extension().is_some_and(|e| e == "wav")),
        );
    }
    clips.sort();
    assert!(clips.len() >= 7, "{clips:?}");
    let dir = tools_dir().join("talk-off");
    std::fs::create_dir_all(&dir).expect("directory");
    let out = dir.join(format!("{}-{speed}.wav", std::process::id()));
    let out_text = out.to_str().expect("path in UTF-8");
    let mut args: Vec<&str> = clips.iter().map(|clip| clip.to_str().expect("path in UTF-8")).collect();
    let speed = speed.to_string();
    args.extend(["-b", "16", "-c", "1", out_text, "speed", &speed, "rate", "8000", "norm", "-3"]);
    sox(&args);
    let pcm = read_wav(&out);
    std::fs::remove_file(&out).expect("removed");
    pcm
}

#[test]
fn our_tones_are_digits_to_libspandsp_and_its_tones_are_to_us() {
    let mut spandsp = Tool::start("spandsp");
    for ms in [70, 100, 250] {
        for law in [Law::Mu, Law::A] {
            assert_eq!(spandsp.ask(&format!("detect {}", raw(&through(law, &dialled(ms))))), KEYS, "{ms} ms");
        }
    }
    let theirs = samples(&spandsp.ask(&format!("dial {KEYS}")));
    assert!(theirs.len() > 16 * 800, "{} samples", theirs.len());
    assert_eq!(heard(&theirs).0, KEYS);
    for law in [Law::Mu, Law::A] {
        assert_eq!(heard(&through(law, &theirs)).0, KEYS);
    }
}

/// Talk-off: what people say is no digit, and nearly nothing of it is kept back for looking like one.
#[test]
fn speech_is_no_digit() {
    let mut spandsp = Tool::start("spandsp");
    let (mut digits, mut kept, mut packets, mut theirs) = (String::new(), 0, 0, String::new());
    for speed in SPEEDS {
        let pcm = speech(speed);
        let (keys, hidden) = heard(&pcm);
        digits += &keys;
        kept += hidden;
        packets += pcm.len() / 160;
        theirs += &spandsp.ask(&format!("detect {}", raw(&pcm)));
    }
    eprintln!(
        "{packets} packets of speech: {kept} kept back, digits {digits:?}; libspandsp heard {theirs:?}"
    );
    assert!(packets > 5_000, "{packets}");
    assert_eq!(digits, "");
    assert!(kept * 1_000 <= packets, "{kept} of {packets} kept back");
}

/// Somebody speaks, or a menu does, while keys are pressed.
#[test]
fn digits_are_heard_over_speech_and_noise() {
    let speech = speech(1.0);
    let loudness = |pcm: &[i16]| {
        let spoken: Vec<f64> = pcm.iter().map(|s| f64::from(*s).powi(2)).filter(|p| *p > 1e4).collect();
        (spoken.iter().sum::<f64>() / spoken.len() as f64).sqrt()
    };
    let tones = dialled(100);
    for (below, least) in [(20.0, 16), (15.0, 16), (10.0, 16), (6.0, 10)] {
        let factor = loudness(&tones) / loudness(&speech) * 10f64.powf(-below / 20.0);
        let mixed: Vec<i16> = tones
            .iter()
            .zip(&speech)
            .map(|(tone, voice)| (f64::from(*tone) + f64::from(*voice) * factor) as i16)
            .collect();
        let keys = heard(&mixed).0;
        eprintln!("speech {below} dB below: {keys}");
        assert!(keys.len() >= least && keys.len() <= 16, "{keys}, speech {below} dB below");
    }
}

/// Field problem 17, through the built gateway: a carrier that knows nothing but tones.
#[test]
fn tones_of_a_carrier_are_digits_to_the_browser_and_its_digits_are_tones_to_the_carrier() {
    let (mut spandsp, mut trunk) = (Tool::start("spandsp"), Trunk::start());
    let inband = Setup { trunk_keys: "dtmf = \"inband\"".to_owned(), ..Setup::with_trunk(trunk.port) };
    let gateway = Gateway::run(&inband);
    let mut alice = dial(&gateway, &mut trunk, Voice::Opus);
    let mut party = RtpParty::start();
    alice.call.answer(&mut party);
    alice.ws.wait_state("in-call");
    alice.browser.wait_connected();
    // 20 ms of silence.
    alice.browser.speak_for(Duration::from_millis(300), &[0x08, 0xff, 0xfe]);
    let mut tones = samples(&spandsp.ask("dial 159#"));
    tones.resize(tones.len() + RATE / 2, 0);
    party.play(0, &tones.iter().map(|sample| Law::Mu.encode_sample(*sample)).collect::<Vec<u8>>());
    for digit in ["1", "5", "9", "#"] {
        assert_eq!(alice.ws.wait_type("dtmf")["digit"], digit);
    }
    let keys = || alice.browser.digits().iter().map(|(digit, _)| *digit).collect::<String>();
    wait_for(Duration::from_secs(30), "the digits as events at the browser", || {
        (keys() == "159#").then_some(())
    });
    alice.browser.press('7', Duration::from_millis(160));
    alice.browser.press('D', Duration::from_millis(100));
    wait_for(Duration::from_secs(30), "the tones at the carrier", || {
        (spandsp.ask(&format!("detect {}", raw(&party.pcmu()))) == "7D").then_some(())
    });
}
