//! How the page looks: every face fits its window, and its pictures lie in `target/screenshots` for people to look at.

use e2e::gateway::{Gateway, Setup};
use e2e::phone::Phone;
use e2e::ports::root;
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::speech::speech;
use e2e::trunk::Trunk;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Name of the picture, width, height, dark.
const WINDOWS: [(&str, u32, u32, bool); 4] = [
    ("desktop", 1280, 720, false),
    ("desktop-dark", 1280, 720, true),
    ("phone", 390, 740, false),
    ("small", 360, 640, true),
];

fn pictures() -> PathBuf {
    let dir = root().join("target/screenshots");
    std::fs::create_dir_all(&dir).expect("directory of the pictures");
    dir
}

/// Takes the face's picture in every window and shows that all of it is inside.
fn look(phone: &mut Phone, face: &str, last_button: &str) {
    for (window, width, height, dark) in WINDOWS {
        phone.ask("look", json!({ "width": width, "height": height, "dark": dark }), LIMIT);
        std::thread::sleep(Duration::from_millis(250));
        phone.screenshot(&pictures().join(format!("{face}-{window}.png")));
        let size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]";
        assert_eq!(phone.evaluate(size), json!([width, height]), "{face} fits {window} without scrolling");
        let bottom = format!("document.getElementById('{last_button}').getBoundingClientRect().bottom");
        let bottom = phone.evaluate(&bottom).as_f64().expect("a position");
        assert!(
            bottom > 0.0 && bottom <= f64::from(height),
            "{last_button} of {face} ends at {bottom} in {window}"
        );
    }
}

#[test]
fn every_face_of_the_page_fits_desktop_and_phone_in_light_and_dark() {
    let mut trunk = Trunk::start();
    let toml = "[recording]\ndirectory = \"recordings\"\nby_page = true\n".into();
    let gateway = Gateway::run(&Setup { toml, ..Setup::with_trunk(trunk.port) });
    let mut phone = Phone::chromium(Some(&speech().long_microphone));
    phone.open(&gateway.url());
    look(&mut phone, "signed-out", "sign-in-button");
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    look(&mut phone, "ready", "call");
    phone.dial("+12025550100");
    let call = trunk.wait_call(LIMIT);
    call.ring();
    phone.wait_status("^Ringing$", LIMIT);
    look(&mut phone, "ringing", "hang-up");
    let mut party = RtpParty::start();
    call.answer(&mut party);
    phone.wait_status("^In call$", LIMIT);
    let talk = std::thread::spawn(move || {
        party.play(0, &std::fs::read(&speech().mulaw).expect("speech"));
        party
    });
    phone.keypad(&[('1', 80), ('4', 80), ('#', 80)]);
    // The quality line has its first numbers after two seconds.
    std::thread::sleep(Duration::from_secs(3));
    look(&mut phone, "in-call", "hang-up");
    phone.press("Record");
    let words = "document.getElementById('recorded').textContent";
    wait_for(LIMIT, "the page's red light", || (phone.evaluate(words) == "Recording").then_some(()));
    look(&mut phone, "recording", "hang-up");
    phone.press("Hold");
    phone.wait_status("^On hold$", LIMIT);
    look(&mut phone, "on-hold", "hang-up");
    phone.press("Transfer");
    look(&mut phone, "transfer", "hang-up");
    let number = "document.getElementById('transfer-to').value = '+12025550101'";
    phone.evaluate(number);
    phone.press("Ask first");
    let asked = trunk.wait_call(LIMIT);
    asked.answer(&mut RtpParty::start());
    phone.wait_status("^In call$", LIMIT);
    look(&mut phone, "ask-first", "complete");
    phone.press("Back");
    phone.wait_status("^On hold$", LIMIT);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    look(&mut phone, "ended", "call");
    let party = talk.join().expect("party");
    let call = trunk.call(gateway.sip, "+12025550110", ("Wendy Darling", "+12025550177"), party.port);
    phone.wait_status("^Incoming call from ", LIMIT);
    look(&mut phone, "incoming", "answer");
    call.cancel();
    phone.wait_status("^Call ended: ", LIMIT);
    let wrong: Vec<String> = phone
        .console()
        .into_iter()
        .filter(|line| line.contains("error") || line.contains("Content Security"))
        .collect();
    assert!(wrong.is_empty(), "the console is clean: {wrong:?}");
}
