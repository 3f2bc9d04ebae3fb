//! `webtrunk demo` as a first user meets it, in real browsers.

use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::phone::Phone;
use e2e::speech::speech;
use serde_json::json;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn signed_in(phone: &mut Phone, gateway: &Gateway, user: &str) {
    phone.open(&gateway.url());
    phone.sign_in(user);
    phone.wait_status("^Ready", LIMIT);
}

fn echo_busy_and_ring_back(mut phone: Phone) {
    let gateway = Gateway::demo();
    signed_in(&mut phone, &gateway, "alice");
    phone.dial("+12025550100");
    phone.wait_status("^In call$", LIMIT);
    phone.record();
    std::thread::sleep(Duration::from_secs(7));
    let got = phone.stop_record(&gateway.dir.join("echo.wav"));
    assert!(got.peak > 3000, "one's own voice comes back: {got:?}");
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    phone.dial("+12025550102");
    let said = phone.wait_status("^Call ended: ", LIMIT);
    assert!(said.contains("busy"), "{said}");
    phone.dial("+12025550199");
    phone.wait_status("^Call ended: ", LIMIT);
    phone.wait_status("^Incoming call from ", LIMIT);
    phone.press("Answer");
    phone.wait_status("^In call$", LIMIT);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    let bad: Vec<String> = phone
        .console()
        .into_iter()
        .filter(|line| {
            line.starts_with("error") || line.starts_with("pageerror") || line.contains("Content-Security")
        })
        .collect();
    assert!(bad.is_empty(), "the page is clean: {bad:?}");
}

#[test]
fn chromium_hears_its_echo_the_busy_line_and_is_rung_back() {
    echo_busy_and_ring_back(Phone::chromium(Some(&speech().microphone)));
}

#[test]
fn firefox_hears_its_echo_the_busy_line_and_is_rung_back() {
    echo_busy_and_ring_back(Phone::firefox(Some(&speech().microphone)));
}

#[test]
fn bob_in_a_second_tab_calls_alice_who_answers_and_declines() {
    let gateway = Gateway::demo();
    let mut phone = Phone::chromium(Some(&speech().microphone));
    signed_in(&mut phone, &gateway, "alice");
    phone.page = "bob".into();
    signed_in(&mut phone, &gateway, "bob");
    phone.dial("100");
    phone.wait_status("^Ringing$", LIMIT);
    phone.page = "main".into();
    let said = phone.wait_status("^Incoming call from ", LIMIT);
    assert!(said.contains("bob") || said.contains("101"), "{said}");
    phone.press("Answer");
    phone.wait_status("^In call$", LIMIT);
    phone.page = "bob".into();
    phone.wait_status("^In call$", LIMIT);
    phone.record();
    std::thread::sleep(Duration::from_secs(6));
    let got = phone.stop_record(&gateway.dir.join("bob.wav"));
    assert!(got.peak > 3000, "bob hears alice: {got:?}");
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    phone.page = "main".into();
    phone.wait_status("^Call ended: ", LIMIT);
    phone.page = "bob".into();
    phone.dial("alice");
    phone.page = "main".into();
    phone.wait_status("^Incoming call from ", LIMIT);
    phone.press("Decline");
    phone.page = "bob".into();
    let said = phone.wait_status("^Call ended: ", LIMIT);
    assert!(said.contains("declined"), "{said}");
}

#[test]
fn early_media_is_heard_before_the_answer_and_ringing_can_be_given_up() {
    let gateway = Gateway::demo();
    let mut phone = Phone::chromium(Some(&speech().microphone));
    signed_in(&mut phone, &gateway, "alice");
    phone.dial("+12025550105");
    phone.wait_status("^In call$", Duration::from_secs(20));
    let bytes = phone.report("inbound-rtp")["packetsReceived"].as_u64();
    assert!(bytes > Some(50), "packets came before the answer: {bytes:?}");
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    phone.dial("+12025550103");
    phone.wait_status("^Ringing$", LIMIT);
    phone.record();
    std::thread::sleep(Duration::from_secs(5));
    let got = phone.stop_record(&gateway.dir.join("ringback.wav"));
    assert!(got.peak > 500, "our ringback is heard: {got:?}");
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
}

#[test]
fn wrong_password_is_said_on_the_page_and_the_right_one_then_works() {
    let gateway = Gateway::run(&Setup::default());
    let mut phone = Phone::chromium(None);
    phone.open(&gateway.url());
    phone.ask("signIn", json!({ "username": "alice", "password": "wrong" }), LIMIT);
    let told = || phone.text().to_lowercase().contains("password").then_some(());
    e2e::process::wait_for(LIMIT, "the page says that the password is wrong", told);
    phone.ask("signIn", json!({ "username": "alice", "password": PASSWORD }), LIMIT);
    phone.wait_status("^Ready", LIMIT);
    phone.dial("+442079460000");
    let said = phone.wait_status("^Call ended: ", LIMIT);
    assert!(said.contains("does not exist"), "{said}");
}
