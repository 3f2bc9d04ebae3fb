//! The page's Record: files of two channels between two presses, a notice to both sides, and what the other side's page shows.

use e2e::gateway::{Gateway, Setup};
use e2e::phone::Phone;
use e2e::playing::Playing;
use e2e::process::wait_for;
use e2e::rtp::{RtpParty, mulaw};
use e2e::speech::{channels, read_wav, sox, speech, wav_seconds};
use e2e::tone::{has_tone, loudest_share, rms};
use e2e::trunk::Trunk;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// What the trunk's party plays (Hz).
const TONE: f64 = 1000.0;
/// The notice that a recording begins (Hz).
const NOTICE: f64 = 1400.0;

fn text(path: &Path) -> &str {
    path.to_str().expect("path in UTF-8")
}

/// The button and the words beside the status, once they are so: pressed, enabled, words.
fn wait_button(phone: &mut Phone, pressed: &str, disabled: bool, words: &str) {
    let button = "(() => { const b = document.getElementById('record'); return [b.getAttribute('aria-pressed'), \
                  b.disabled, b.hidden, document.getElementById('recorded').textContent]; })()";
    let wanted = json!([pressed, disabled, false, words]);
    let mut last = Value::Null;
    wait_for(LIMIT, "the page's Record button", || {
        last = phone.evaluate(button);
        (last == wanted).then_some(())
    });
}

fn press_record(phone: &mut Phone, on: bool) {
    phone.press("Record");
    wait_button(phone, if on { "true" } else { "false" }, false, if on { "Recording" } else { "" });
}

fn signed_in(phone: &mut Phone, gateway: &Gateway, user: &str) {
    phone.page = user.into();
    phone.open(&gateway.url());
    phone.sign_in(user);
    phone.wait_status("^Ready", LIMIT);
}

#[test]
fn record_on_the_page_makes_a_file_for_each_time_it_is_pressed_and_the_other_page_shows_it() {
    let mut trunk = Trunk::start();
    let toml = "[recording]\ndirectory = \"recordings\"\nby_page = true\n".into();
    let gateway = Gateway::run(&Setup { toml, ..Setup::with_trunk(trunk.port) });
    // Speaks from the beginning on.
    let microphone = gateway.dir.join("microphone.wav");
    sox(&[text(&speech().wide), "-r", "48000", text(&microphone), "repeat", "2"]);
    let mut phone = Phone::chromium(Some(&microphone));
    signed_in(&mut phone, &gateway, "bob");
    signed_in(&mut phone, &gateway, "alice");
    phone.dial("+12025550100");
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    phone.wait_status("^In call$", LIMIT);
    wait_button(&mut phone, "false", false, "");
    phone.record();
    press_record(&mut phone, true);
    let heard = |party: &RtpParty| -> Vec<i16> {
        party.heard().iter().flat_map(|one| one.payload.iter().map(|byte| mulaw(*byte))).collect()
    };
    wait_for(LIMIT, "the notice at the trunk", || has_tone(&heard(&party), 8000, NOTICE).then_some(()));
    let playing = Playing::start(party, TONE);
    std::thread::sleep(Duration::from_millis(1200));
    press_record(&mut phone, false);
    press_record(&mut phone, true);
    let own = gateway.dir.join("alice.wav");
    phone.stop_record(&own);
    let own = read_wav(&own);
    assert!(has_tone(&own, 48_000, NOTICE), "who has the call recorded hears the notice too");
    phone.press("Hang up");
    call.wait("BYE", LIMIT);
    playing.stop();

    phone.wait_status("^Call ended: ", LIMIT);
    phone.dial("101");
    phone.page = "bob".into();
    phone.wait_status("^Incoming call from ", LIMIT);
    phone.press("Answer");
    phone.wait_status("^In call$", LIMIT);
    phone.page = "alice".into();
    phone.wait_status("^In call$", LIMIT);
    press_record(&mut phone, true);
    phone.page = "bob".into();
    wait_button(&mut phone, "false", true, "This call is recorded");
    phone.page = "alice".into();
    press_record(&mut phone, false);
    phone.page = "bob".into();
    wait_button(&mut phone, "false", false, "");
    phone.press("Hang up");

    let cdrs = gateway.wait_cdrs(2);
    let files = |cdr: &Value| cdr["recordings"].as_array().expect("a list").clone();
    let (first, second) = (files(&cdrs[0]), files(&cdrs[1]));
    assert_eq!((first.len(), second.len()), (2, 1), "{cdrs:?}");
    for recording in first.iter().chain(&second) {
        assert_eq!((&recording["problem"], &recording["gap_ms"]), (&Value::Null, &json!(0)), "{recording}");
        let file = gateway.dir.join("recordings").join(recording["file"].as_str().expect("a file"));
        let told = recording["duration_ms"].as_f64().expect("a number");
        assert!((wav_seconds(&file) * 1000.0 - told).abs() < 1.0, "{recording}");
    }
    let file = gateway.dir.join("recordings").join(first[0]["file"].as_str().expect("a file"));
    let [left, right] = channels(&file);
    let (tone, windows) = loudest_share(&right, 16_000, TONE);
    assert!(tone > 0.9 && windows > 2, "the trunk's tone on the right: {tone} in {windows}");
    assert!(rms(&left) > 100.0 && !has_tone(&left, 16_000, TONE), "the page's speech on the left");
    assert!(!has_tone(&left, 16_000, NOTICE) && !has_tone(&right, 16_000, NOTICE));
}
