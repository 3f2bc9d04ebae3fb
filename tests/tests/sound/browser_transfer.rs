//! The page's Transfer: a caller of the carrier is handed to bob, unasked and after asking (RFC 5589 from the people's
//! side; field problems 2, 3, 22).

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, Setup};
use e2e::phone::Phone;
use e2e::playing::Playing;
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::speech::{read_wav, speech};
use e2e::tone::{loudest_share, rms, share};
use e2e::trunk::{Call, Trunk};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// What the carrier's party plays (Hz): no note of the gateway's music, not the ringing tone.
const TONE: f64 = 1000.0;
const CUSTOMER: &str = "+12025550100";

/// Alice and bob signed in on pages of their names, alice in a call with the carrier.
fn alice_talks() -> (Trunk, Gateway, Phone, Call, RtpParty) {
    signed_in(Phone::chromium(Some(&speech().long_microphone)), &["bob", "alice"])
}

/// The same in any browser; alice is the last to sign in.
fn signed_in(mut phone: Phone, users: &[&str]) -> (Trunk, Gateway, Phone, Call, RtpParty) {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    for user in users.iter().copied() {
        phone.page = user.into();
        phone.open(&gateway.url());
        phone.sign_in(user);
        phone.wait_status("^Ready", LIMIT);
    }
    phone.dial(CUSTOMER);
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    phone.wait_status("^In call$", LIMIT);
    (trunk, gateway, phone, call, party)
}

/// Opens alice's panel and types the number; the field has the focus.
fn transfer_to(phone: &mut Phone, number: &str) {
    phone.page = "alice".into();
    phone.press("Transfer");
    assert_eq!(phone.evaluate("document.activeElement.labels[0].firstChild.data.trim()"), "Transfer to");
    for key in number.chars() {
        phone.ask("key", json!({ "key": key.to_string() }), LIMIT);
    }
}

fn bob_answers(phone: &mut Phone) -> String {
    phone.page = "bob".into();
    let said = phone.wait_status("^Incoming call from ", LIMIT);
    phone.press("Answer");
    phone.wait_status("^In call$", LIMIT);
    said
}

/// Bob and the carrier's party hear each other, and nothing of it goes through alice's page any more.
fn bob_and_the_customer_talk(phone: &mut Phone, gateway: &Gateway, party: RtpParty) -> RtpParty {
    phone.page = "bob".into();
    let talks =
        || (phone.evaluate("document.getElementById('party-name').textContent") == CUSTOMER).then_some(());
    wait_for(LIMIT, "the customer's number on bob's page", talks);
    let before = party.pcmu().len();
    let playing = Playing::start(party, TONE);
    std::thread::sleep(Duration::from_millis(500));
    phone.record();
    std::thread::sleep(Duration::from_secs(2));
    let file = gateway.dir.join("bob.wav");
    phone.stop_record(&file);
    let (tone, windows) = loudest_share(&read_wav(&file), 48_000, TONE);
    assert!(tone > 0.9 && windows > 0, "bob hears the customer: {tone}");
    phone.keypad(&[('7', 120)]);
    let party = playing.stop();
    wait_for(LIMIT, "bob's digit at the customer", || {
        party.digits(101).iter().any(|d| d.0 == '7').then_some(())
    });
    wait_for(LIMIT, "bob's voice at the customer", || (loudest(&party, before) > 500.0).then_some(()));
    party
}

/// The loudest that a party has heard since that sample, over fifths of a second.
fn loudest(party: &RtpParty, since: usize) -> f64 {
    party.pcmu()[since..].chunks(1600).map(rms).fold(0.0, f64::max)
}

/// Bob hangs up; the records tell who handed whom to whom.
fn records(phone: &mut Phone, gateway: &Gateway, call: &Call) {
    phone.page = "bob".into();
    phone.press("Hang up");
    call.wait("BYE", LIMIT);
    handed_over(gateway, "browser");
}

/// What the records say of a customer whom alice handed to bob's browser or softphone.
fn handed_over(gateway: &Gateway, kind: &str) {
    let cdrs = gateway.wait_cdrs(2);
    let (with_bob, with_customer) = (&cdrs[0], &cdrs[1]);
    assert_eq!(with_bob["reason"], "transferred", "{with_bob}");
    assert_eq!(with_bob["callee"], json!({ "kind": kind, "user": "bob" }), "{with_bob}");
    assert_eq!(with_bob["continued_in"], with_customer["call"], "{with_bob}");
    assert!(with_bob["answered"].is_string(), "{with_bob}");
    assert_eq!((&with_customer["reason"], &with_customer["to"]), (&"hung-up".into(), &CUSTOMER.into()));
    let moved = with_customer["transfers"].as_array().map_or(&[] as &[Value], |all| &all[..]);
    let [moved] = moved else { panic!("one transfer: {with_customer}") };
    assert_eq!(moved["by"], json!({ "kind": "browser", "user": "alice" }));
    assert_eq!((&moved["to"], &moved["with"]), (&"101".into(), &with_bob["call"]));
}

#[test]
fn transfer_now_hands_the_customer_to_bob_unasked() {
    let (trunk, gateway, mut phone, call, party) = alice_talks();
    transfer_to(&mut phone, "101");
    phone.press("Transfer now");
    phone.wait_status("^Transferring", LIMIT);
    let said = bob_answers(&mut phone);
    assert!(said.contains(CUSTOMER), "bob sees whom he will talk to: {said}");
    phone.page = "alice".into();
    phone.wait_status("^Call ended: The call was transferred", LIMIT);
    bob_and_the_customer_talk(&mut phone, &gateway, party);
    assert_eq!(
        trunk.seen().iter().filter(|one| one.is("INVITE")).count(),
        1,
        "the trunk's session is not touched"
    );
    records(&mut phone, &gateway, &call);
}

#[test]
fn ask_first_puts_the_customer_on_hold_and_complete_transfer_joins_them_with_bob() {
    let (_trunk, gateway, mut phone, call, party) = alice_talks();
    transfer_to(&mut phone, "101");
    phone.press("Ask first");
    assert!(bob_answers(&mut phone).contains("100"), "bob sees that alice asks");
    phone.page = "alice".into();
    phone.wait_status("^In call$", LIMIT);
    assert!(phone.text().contains(&format!("{CUSTOMER} is on hold")));
    phone.press("Complete transfer");
    phone.wait_status("^Call ended: The call was transferred", LIMIT);
    assert!(phone.evaluate("document.getElementById('notice').textContent") == "", "nothing went wrong");
    bob_and_the_customer_talk(&mut phone, &gateway, party);
    records(&mut phone, &gateway, &call);
}

#[test]
fn complete_transfer_while_it_rings_at_bobs_hands_the_ringing_over() {
    let (_trunk, gateway, mut phone, call, party) = alice_talks();
    transfer_to(&mut phone, "101");
    phone.press("Ask first");
    phone.wait_status("^Ringing$", LIMIT);
    phone.press("Complete transfer");
    phone.wait_status("^Transferring", LIMIT);
    bob_answers(&mut phone);
    phone.page = "alice".into();
    phone.wait_status("^Call ended: The call was transferred", LIMIT);
    bob_and_the_customer_talk(&mut phone, &gateway, party);
    records(&mut phone, &gateway, &call);
}

#[test]
fn who_asks_in_vain_or_goes_back_talks_to_the_customer_again() {
    let (mut trunk, gateway, mut phone, call, _party) = alice_talks();
    transfer_to(&mut phone, "+12025550101");
    phone.press("Ask first");
    phone.wait_status("^Calling…$", LIMIT);
    trunk.wait_call(LIMIT).refuse("486 Busy Here");
    phone.wait_status("^In call$", LIMIT);
    assert!(phone.text().contains("The line is busy."));
    transfer_to(&mut phone, "+12025550102");
    phone.press("Ask first");
    let asked = trunk.wait_call(LIMIT);
    asked.answer(&mut RtpParty::start());
    phone.wait_status("^In call$", LIMIT);
    phone.press("Back");
    asked.wait("BYE", LIMIT);
    phone.wait_status("^In call$", LIMIT);
    assert!(!phone.text().contains("is on hold"));
    transfer_to(&mut phone, "+12025550103");
    phone.press("Transfer now");
    phone.wait_status("^Transferring", LIMIT);
    trunk.wait_call(LIMIT).refuse("486 Busy Here");
    phone.wait_status("^In call$", LIMIT);
    assert!(phone.text().contains("The transfer failed: The line is busy."));
    phone.press("Hang up");
    call.wait("BYE", LIMIT);
    phone.wait_status("^Call ended: ", LIMIT);
    gateway.wait_cdrs(4);
}

#[test]
fn firefox_holds_and_resumes_and_hands_the_customer_to_bob() {
    let firefox = Phone::firefox(Some(&speech().long_microphone));
    let (_trunk, gateway, mut phone, call, party) = signed_in(firefox, &["bob", "alice"]);
    phone.page = "alice".into();
    phone.press("Hold");
    phone.wait_status("^On hold$", LIMIT);
    let since = party.pcmu().len();
    wait_for(LIMIT, "music at the customer", || (loudest(&party, since) > 150.0).then_some(()));
    phone.press("Hold");
    phone.wait_status("^In call$", LIMIT);
    transfer_to(&mut phone, "101");
    phone.press("Transfer now");
    phone.wait_status("^Transferring", LIMIT);
    bob_answers(&mut phone);
    phone.page = "alice".into();
    phone.wait_status("^Call ended: The call was transferred", LIMIT);
    bob_and_the_customer_talk(&mut phone, &gateway, party);
    records(&mut phone, &gateway, &call);
}

#[test]
fn transfer_now_hands_the_customer_to_bobs_softphone() {
    let chromium = Phone::chromium(Some(&speech().long_microphone));
    let (_trunk, gateway, mut phone, call, party) = signed_in(chromium, &["alice"]);
    let mut bob = Baresip::start(&Account::new("bob", gateway.sip, &speech().reference));
    bob.wait_registered(LIMIT);
    transfer_to(&mut phone, "101");
    phone.press("Transfer now");
    let rung = bob.wait_event("CALL_INCOMING", LIMIT);
    assert!(rung["peeruri"].as_str().is_some_and(|uri| uri.contains(CUSTOMER)), "bob sees who it is: {rung}");
    bob.command("accept", "");
    phone.wait_status("^Call ended: The call was transferred", LIMIT);
    bob.wait_event("CALL_ESTABLISHED", LIMIT);
    let since = party.pcmu().len();
    wait_for(LIMIT, "bob's voice at the customer", || (loudest(&party, since) > 500.0).then_some(()));
    bob.command("hangup", "");
    call.wait("BYE", LIMIT);
    handed_over(&gateway, "softphone");
}

#[test]
fn the_customer_hears_the_announcement_of_the_number_that_it_is_handed_to() {
    let chromium = Phone::chromium(Some(&speech().long_microphone));
    let (mut trunk, gateway, mut phone, call, party) = signed_in(chromium, &["alice"]);
    transfer_to(&mut phone, "+12025550101");
    phone.press("Transfer now");
    let target = trunk.wait_call(LIMIT);
    let mut announcement = RtpParty::start();
    target.early_media(&mut announcement);
    let playing = Playing::start(announcement, TONE);
    let since = party.pcmu().len();
    let hears = || {
        let heard = party.pcmu();
        heard[since..].chunks_exact(1600).any(|part| rms(part) > 500.0 && share(part, 8000, TONE) > 0.9)
    };
    wait_for(LIMIT, "the announcement at the customer", || hears().then_some(()));
    let mut announcement = playing.stop();
    target.answer(&mut announcement);
    phone.wait_status("^Call ended: The call was transferred", LIMIT);
    target.hang_up();
    call.wait("BYE", LIMIT);
    gateway.wait_cdrs(2);
}
