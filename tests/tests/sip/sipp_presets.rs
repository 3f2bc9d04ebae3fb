//! Each preset against a SIPp that behaves as the pages which the preset cites say of that carrier or PBX.

use e2e::gateway::{Gateway, Setup};
use e2e::sipp::{Sipp, Verdict};

/// SIPp verifies what we answer to its 401 and looks at what we answer to its 407.
const LOGIN: &str = "username = \"trunkuser\"\npassword = \"trunk secret\"";

/// alice calls through a trunk with this preset; the scenario checks what arrives and must pass.
fn call(callee: Sipp, preset: &str, keys: &str) -> Verdict {
    let toml = format!(
        "[[trunks]]\nname = \"carrier\"\npreset = \"{preset}\"\n{keys}\n\
         [[routes]]\nmatch = \"+1*\"\nto = [\"trunk:carrier\"]\n"
    );
    let callee = callee.start();
    let gateway = Gateway::run(&Setup { toml, ..Setup::default() });
    let alice = Sipp::scenario("inbound_call_answered").user("alice").calls("+12025550100").to(gateway.sip);
    alice.run().must_pass();
    let callee = callee.finish();
    callee.must_pass();
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
    let invite =
        callee.messages.find("INVITE sip:").map(|at| &callee.messages[at..]).expect("an INVITE came");
    let end = invite.find("-----").unwrap_or(invite.len());
    assert!(end < 1200, "field problem 32: {end} bytes\n{}", &invite[..end]);
    callee
}

/// The same through a trunk reached at SIPp itself.
fn preset(scenario: &str, preset: &str, calls: u32, keys: &str) -> Verdict {
    let mut callee = Sipp::scenario(scenario);
    callee.count = calls;
    let server = format!("server = \"127.0.0.1:{}\"\n{keys}", callee.port);
    call(callee, preset, &server)
}

fn verified(verdict: &Verdict, what: &str) {
    assert!(verdict.logs.contains(&format!("{what} verified true")), "{}", verdict.logs);
}

#[test]
fn twilio_gets_numbers_with_a_plus_and_credentials() {
    preset("preset_twilio_answered", "twilio", 1, LOGIN);
}

#[test]
fn telnyx_gets_numbers_with_a_plus_and_telephone_events() {
    preset("preset_telnyx_answered", "telnyx", 1, LOGIN);
}

#[test]
fn sipgate_gets_the_account_in_from_and_the_number_in_p_preferred_identity() {
    preset("preset_sipgate_answered", "sipgate", 1, LOGIN);
}

#[test]
fn telekom_is_reached_and_registered_at_through_its_outbound_proxy_over_tcp() {
    let mut callee = Sipp::scenario("preset_telekom_answered").over_tcp();
    callee.count = 2;
    // Names as a customer's papers give them.
    let names = "server = \"sip-trunk.telekom.de\"\n";
    let keys = format!("{names}outbound_proxy = \"tcp:127.0.0.1:{}\"\n{LOGIN}", callee.port);
    verified(&call(callee, "telekom", &keys), "register");
}

#[test]
fn voipms_is_registered_at_and_called_with_user_name_and_password() {
    let verdict = preset("preset_voipms_answered", "voipms", 2, LOGIN);
    verified(&verdict, "register");
    verified(&verdict, "invite");
}

#[test]
fn fritzbox_is_registered_at_and_called_like_an_ip_telephone() {
    let verdict = preset("preset_fritzbox_answered", "fritzbox", 2, &format!("register = true\n{LOGIN}"));
    verified(&verdict, "register");
    verified(&verdict, "invite");
}

#[test]
fn asterisk_gets_session_timers_and_100rel() {
    verified(&preset("preset_asterisk_answered", "asterisk", 1, LOGIN), "invite");
}

#[test]
fn freeswitch_gets_no_100rel() {
    preset("preset_freeswitch_answered", "freeswitch", 1, "");
}
