//! SIPp scenarios against the running binary where a case of `sipp-scenarios/cases` cannot say it all: audio, digits, timing.

use e2e::gateway::{Gateway, Setup};
use e2e::ports::{free_ports, root};
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::sipp::{Running, Sipp, Verdict};
use e2e::speech::speech;
use std::time::{Duration, Instant};

const NUMBER: &str = "+12025550100";

/// A gateway whose trunk is `callee`, which is listening.
fn gateway_with(callee: Sipp, keys: &str) -> (Gateway, Running) {
    let setup = Setup { trunk_keys: keys.into(), trunk_tcp: callee.tcp, ..Setup::with_trunk(callee.port) };
    let callee = callee.start();
    (Gateway::run(&setup), callee)
}

/// alice's softphone at `gateway`, about to call the trunk's number.
fn alice(gateway: &Gateway, scenario: &str) -> Sipp {
    Sipp::scenario(scenario).user("alice").calls(NUMBER).to(gateway.sip)
}

/// alice calls the trunk's number by `caller`, the trunk reacts by `callee`; both must go as written.
fn call_out(caller: &str, callee: Sipp, keys: &str) -> (Gateway, Verdict, Verdict) {
    let (gateway, callee) = gateway_with(callee, keys);
    let caller = alice(&gateway, caller).run();
    caller.must_pass();
    let callee = callee.finish();
    callee.must_pass();
    (gateway, caller, callee)
}

/// The caller is answered, talks and one side hangs up.
fn call_out_answered(caller: &str, callee: &str, keys: &str) -> Verdict {
    let (gateway, _, callee) = call_out(caller, Sipp::scenario(callee), keys);
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
    callee
}

/// alice's softphone runs a scenario that ends without a call.
fn alone(scenario: &str, number: &str) -> (Gateway, Verdict) {
    let gateway = Gateway::run(&Setup::with_trunk(free_ports(2)));
    let verdict = Sipp::scenario(scenario).user("alice").calls(number).to(gateway.sip).run();
    verdict.must_pass();
    (gateway, verdict)
}

/// Registers `user` for a softphone at `port`.
fn register(gateway: &Gateway, user: &str, port: u16) -> Verdict {
    let mut sipp = Sipp::scenario("inbound_register_accepted").user(user).calls(user).to(gateway.sip);
    sipp.port = port;
    sipp.run()
}

#[test]
fn every_scenario_is_named_by_direction_event_outcome_cites_its_reason_and_has_a_test() {
    let mut tests = concat!(
        include_str!("sipp.rs"),
        include_str!("sipp_presets.rs"),
        include_str!("trunk_test.rs"),
        include_str!("../sound/wideband.rs")
    )
    .to_owned();
    for entry in std::fs::read_dir(root().join("sipp-scenarios/cases")).expect("directory") {
        let case = std::fs::read_to_string(entry.expect("entry").path()).expect("case");
        tests += &case.replace("\"../", "\"").replace(".xml\"", "\"");
    }
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("sipp-scenarios")).expect("directory") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|ending| ending != "xml") {
            continue;
        }
        let name = path.file_stem().expect("name").to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('_').collect();
        assert!(parts.len() == 3 && ["inbound", "outbound", "preset"].contains(&parts[0]), "{name}");
        let text = std::fs::read_to_string(&path).expect("scenario");
        assert!(
            text.contains("RFC ") || text.contains("field problem"),
            "{name} cites no RFC and no field problem"
        );
        assert!(text.contains(&format!("<scenario name=\"{name}\">")), "{name} calls itself something else");
        assert!(tests.contains(&format!("\"{name}\"")), "{name} has no test");
        count += 1;
    }
    assert!(count >= 100, "{count} scenarios");
}

#[test]
fn answered_call_to_the_trunk_is_small_and_minimal() {
    let callee = call_out_answered("inbound_call_answered", "outbound_answer_echo", "");
    let invite = callee.messages.find("INVITE sip:").expect("an INVITE came");
    let invite = &callee.messages[invite..];
    let end = invite.find("-----").unwrap_or(invite.len());
    assert!(end < 1200, "field problem 32: {end} bytes\n{}", &invite[..end]);
    assert!(!invite[..end].contains("candidate"), "no ICE towards a trunk");
}

#[test]
fn late_ack_finds_a_repeated_200_and_a_living_call() {
    let (gateway, callee) = gateway_with(Sipp::scenario("outbound_answer_echo"), "");
    let caller = alice(&gateway, "inbound_late-ack_answered").run();
    caller.must_pass();
    callee.finish().must_pass();
    let answers = caller.messages.matches("SIP/2.0 200 OK").count();
    assert!(answers >= 3, "the INVITE's 200 at least twice and the BYE's, {answers} in\n{}", caller.messages);
}

#[test]
fn body_that_is_no_sdp_is_488_with_warning_and_the_gateway_lives() {
    let (gateway, _) = alone("inbound_unparsable-sdp_488", NUMBER);
    Sipp::scenario("inbound_options_200").to(gateway.sip).run().must_pass();
}

#[test]
fn requests_that_cannot_be_served_get_the_status_of_their_rfc() {
    let gateway = Gateway::run(&Setup::default());
    for scenario in [
        "inbound_max-forwards-zero_483",
        "inbound_unknown-extension_420",
        "inbound_unknown-method_refused",
        "inbound_bye-outside-call_481",
        "inbound_cancel-outside-call_481",
    ] {
        Sipp::scenario(scenario).user("alice").calls(NUMBER).to(gateway.sip).run().must_pass();
    }
    Sipp::scenario("inbound_options_200").to(gateway.sip).run().must_pass();
}

#[test]
fn wrong_password_and_unknown_user_are_refused_alike() {
    let gateway = Gateway::run(&Setup::default());
    for (scenario, user) in [
        ("inbound_register-wrong-password_refused", "alice"),
        ("inbound_register-unknown-user_refused", "mallory"),
    ] {
        let mut sipp = Sipp::scenario(scenario).user(user).calls(user).to(gateway.sip);
        sipp.password = "wrong".into();
        sipp.run().must_pass();
    }
    register(&gateway, "alice", free_ports(2)).must_pass();
}

#[test]
fn right_password_is_not_delayed_by_wrong_ones_of_others() {
    let gateway = Gateway::run(&Setup::default());
    for _ in 0..3 {
        let mut sipp = Sipp::scenario("inbound_register-wrong-password_refused")
            .user("bob")
            .calls("bob")
            .to(gateway.sip);
        sipp.password = "wrong".into();
        sipp.run().must_pass();
    }
    let begun = Instant::now();
    register(&gateway, "alice", free_ports(2)).must_pass();
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
}

/// One interval of a minute passes first.
#[test]
fn gateway_asks_its_trunk_by_options_and_shows_the_answer() {
    let mut carrier = Sipp::scenario("outbound_options_200");
    carrier.timeout = 80;
    let (gateway, carrier) = gateway_with(carrier, "");
    carrier.finish().must_pass();
    let line = "webtrunk_trunk_reachable{trunk=\"carrier\"} 1";
    wait_for(Duration::from_secs(30), line, || {
        let (_, text) = gateway.get("/metrics")?;
        text.lines().any(|one| one == line).then_some(())
    });
}

/// RFC 4733 from a softphone through the gateway to the trunk, and back, beside PCMU in both directions.
#[test]
fn audio_and_digits_pass_between_softphone_and_trunk_both_ways() {
    let (mut near, mut far) = (RtpParty::start(), RtpParty::start());
    let mut callee = Sipp::scenario("outbound_answer_echo");
    callee.rtp_port = Some(far.port);
    let (gateway, callee) = gateway_with(callee, "");
    let mut caller = alice(&gateway, "inbound_call_answered").pause(9000);
    caller.rtp_port = Some(near.port);
    let caller = caller.start();
    let answered = || {
        let messages = caller.messages();
        let (_, answer) = messages.split_once("SIP/2.0 200 OK")?;
        let port = answer.split_once("m=audio ")?.1.split(' ').next()?.parse::<u16>().ok()?;
        Some(port)
    };
    let port = wait_for(Duration::from_secs(30), "the caller is answered", answered);
    near.peer = Some(([127, 0, 0, 1], port).into());
    let audio = std::fs::read(&speech().mulaw).expect("speech");
    near.play(0, &audio[..16_000]);
    near.digit(101, '4', 100);
    near.digit(101, '2', 200);
    far.play(0, &audio[16_000..32_000]);
    far.digit(101, '#', 120);
    wait_for(Duration::from_secs(30), "digits at both ends", || {
        (far.digits(101).len() >= 2 && !near.digits(101).is_empty()).then_some(())
    });
    let digits = |party: &RtpParty| party.digits(101).iter().map(|(digit, _)| *digit).collect::<String>();
    assert_eq!((digits(&far), digits(&near)), ("42".to_owned(), "#".to_owned()));
    let payloads = |party: &RtpParty| {
        let heard = party.heard();
        heard.iter().filter(|one| one.pt == 0).flat_map(|one| one.payload.clone()).collect::<Vec<u8>>()
    };
    let (at_far, at_near) = (payloads(&far), payloads(&near));
    let inside = |heard: &[u8], part: &[u8]| heard.windows(part.len()).any(|window| window == part);
    assert!(inside(&at_far, &audio[4000..12_000]), "PCMU reaches the trunk bit for bit");
    assert!(inside(&at_near, &audio[20_000..28_000]), "PCMU reaches the softphone bit for bit");
    caller.finish().must_pass();
    callee.finish().must_pass();
}
