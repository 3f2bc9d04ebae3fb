//! Every SIPp scenario against the running binary: SIPp as softphone (`inbound_…`) and as carrier (`outbound_…`).

use e2e::gateway::{Gateway, Setup};
use e2e::ports::{free_ports, root};
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::sipp::{Running, Sipp, Verdict};
use e2e::speech::speech;
use std::time::{Duration, Instant};

const NUMBER: &str = "+12025550100";
/// With this in a challenge the trunk's scenarios verify our answer.
const TRUNK_LOGIN: &str = "username = \"trunkuser\"\npassword = \"trunk secret\"";

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

/// The caller learns `status` and the record says `reason`.
fn call_out_refused(callee: &str, keys: &str, status: u16, reason: &str) {
    let (gateway, caller, _) = call_out("inbound_call_refused", Sipp::scenario(callee), keys);
    assert!(caller.logs.contains(&format!("final {status}")), "{}", caller.logs);
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], reason);
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
    let mut tests =
        concat!(include_str!("sipp.rs"), include_str!("sipp_presets.rs"), include_str!("trunk_test.rs"))
            .to_owned();
    for entry in std::fs::read_dir(root().join("sipp-scenarios/cases")).expect("directory") {
        let case = std::fs::read_to_string(entry.expect("entry").path()).expect("case");
        tests += &case.replace("\"../", "\"").replace(".xml\"", "\"");
    }
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("sipp-scenarios")).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
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
    assert!(count >= 22, "{count} scenarios");
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
fn answered_call_over_tcp_on_both_sides() {
    let (gateway, callee) = gateway_with(Sipp::scenario("outbound_answer_echo").over_tcp(), "");
    alice(&gateway, "inbound_call_answered").over_tcp().run().must_pass();
    callee.finish().must_pass();
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn busy_trunk_is_486_to_the_caller() {
    call_out_refused("outbound_busy_486", "", 486, "busy");
}

#[test]
fn busy_trunk_over_tcp_is_486_to_the_caller() {
    let (gateway, callee) = gateway_with(Sipp::scenario("outbound_busy_486").over_tcp(), "");
    let caller = alice(&gateway, "inbound_call_refused").over_tcp().run();
    caller.must_pass();
    callee.finish().must_pass();
    assert!(caller.logs.contains("final 486"), "{}", caller.logs);
}

#[test]
fn number_not_in_service_is_404_to_the_caller() {
    call_out_refused("outbound_not-found_404", "", 404, "number-not-in-service");
}

#[test]
fn declined_call_is_603_to_the_caller() {
    call_out_refused("outbound_decline_603", "", 603, "declined");
}

#[test]
fn overloaded_trunk_is_503_to_the_caller() {
    call_out_refused("outbound_unavailable_503", "", 503, "trunk-failed");
}

#[test]
fn trunk_without_common_codec_is_488_to_the_caller() {
    call_out_refused("outbound_not-acceptable_488", "", 488, "no-common-codec");
}

#[test]
fn forbidding_trunk_is_403_to_the_caller() {
    call_out_refused("outbound_forbidden_403", "", 403, "trunk-forbade");
}

#[test]
fn trunk_that_refuses_our_credentials_is_503_to_the_caller() {
    call_out_refused("outbound_wrong-credentials_refused", TRUNK_LOGIN, 503, "trunk-refused-credentials");
}

#[test]
fn announcement_before_a_refusal_is_followed_by_its_reason() {
    call_out_refused("outbound_early-media_refused", "", 404, "number-not-in-service");
}

#[test]
fn challenge_of_the_trunk_is_met_with_its_credentials() {
    let callee = call_out_answered("inbound_call_answered", "outbound_challenge_answered", TRUNK_LOGIN);
    assert!(callee.logs.contains("verified true"), "{}", callee.logs);
    call_out_answered("inbound_call_answered", "outbound_proxy-challenge_answered", TRUNK_LOGIN);
}

#[test]
fn caller_who_gives_up_cancels_the_ringing_trunk() {
    let (gateway, ..) = call_out("inbound_cancel_487", Sipp::scenario("outbound_ring_cancelled"), "");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "cancelled");
}

#[test]
fn answer_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    let callee = Sipp::scenario("outbound_cancel-crosses-200_bye");
    let (gateway, ..) = call_out("inbound_cancel_487", callee, "");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "cancelled");
}

#[test]
fn early_media_then_answer_is_one_call() {
    call_out_answered("inbound_call_answered", "outbound_early-media_answered", "");
}

#[test]
fn reliable_early_media_of_the_trunk_is_acknowledged_and_its_answer_stands() {
    call_out_answered("inbound_call_answered", "outbound_reliable-early-media_answered", "");
}

#[test]
fn caller_who_requires_100rel_gets_numbered_early_media_whatever_the_trunk_sends() {
    call_out_answered("inbound_required-100rel_answered", "outbound_early-media_answered", "");
    call_out_answered("inbound_required-100rel_answered", "outbound_reliable-early-media_answered", "");
}

#[test]
fn long_ringing_then_answer_is_one_call() {
    let (gateway, ..) =
        call_out("inbound_call_answered", Sipp::scenario("outbound_long-ring_answered").pause(1500), "");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn trunk_that_wants_a_longer_session_interval_gets_it() {
    call_out_answered("inbound_call_answered", "outbound_interval-too-small_answered", "");
}

#[test]
fn caller_refreshes_its_session_by_update_and_too_small_an_interval_is_422() {
    call_out_answered("inbound_update-refresh_200", "outbound_answer_echo", "");
}

#[test]
fn callee_who_hangs_up_ends_the_caller_by_bye() {
    call_out_answered("inbound_call_hung-up-by-callee", "outbound_callee-hangs-up_bye", "");
}

#[test]
fn callee_who_holds_and_hangs_up_ends_the_call() {
    call_out_answered("inbound_call_hung-up-by-callee", "outbound_callee-holds_bye", "");
}

#[test]
fn reinvite_of_the_callee_is_answered_with_the_current_session() {
    call_out_answered("inbound_call_answered", "outbound_callee-reinvites_answered", "");
}

#[test]
fn reinvite_of_the_callee_with_unknown_codec_gets_488_and_keeps_the_call() {
    let callee = Sipp::scenario("outbound_callee-reinvites-unknown-codec_488");
    let (gateway, callee) = gateway_with(callee, "");
    alice(&gateway, "inbound_call_answered").pause(1500).run().must_pass();
    callee.finish().must_pass();
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn hold_and_resume_of_the_caller_are_answered_and_the_call_goes_on() {
    let (_, caller, _) =
        call_out("inbound_hold-and-resume_answered", Sipp::scenario("outbound_answer_echo"), "");
    assert_eq!(caller.logs.trim(), "resumed", "resume is answered without a hold direction");
}

#[test]
fn caller_who_hangs_up_on_hold_ends_the_call() {
    call_out_answered("inbound_hold-then-bye_answered", "outbound_answer_echo", "");
}

#[test]
fn reinvite_of_the_caller_with_unknown_codec_gets_488_and_keeps_the_call() {
    call_out_answered("inbound_reinvite-unknown-codec_488", "outbound_answer_echo", "");
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
fn missing_ack_ends_the_call_by_bye_and_says_why() {
    let mut callee = Sipp::scenario("outbound_answer_echo");
    callee.timeout = 60;
    let (gateway, callee) = gateway_with(callee, "");
    let mut caller = alice(&gateway, "inbound_missing-ack_bye");
    caller.timeout = 60;
    caller.run().must_pass();
    callee.finish().must_pass();
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "no-ack");
}

#[test]
fn repeated_invite_makes_one_call() {
    call_out_answered("inbound_repeated-invite_one-call", "outbound_long-ring_answered", "");
}

#[test]
fn call_of_a_stranger_is_challenged_and_reaches_no_trunk() {
    let (gateway, _) = alone("inbound_unauthenticated-call_challenged", NUMBER);
    assert!(gateway.cdrs().is_empty(), "{:?}", gateway.cdrs());
}

#[test]
fn unknown_number_is_404() {
    let (gateway, verdict) = alone("inbound_call_refused", "+442079460000");
    assert!(verdict.logs.contains("final 404"), "{}", verdict.logs);
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "unknown-number");
}

#[test]
fn user_without_a_device_is_480() {
    let (gateway, verdict) = alone("inbound_call_refused", "101");
    assert!(verdict.logs.contains("final 480"), "{}", verdict.logs);
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "not-registered");
}

#[test]
fn offer_without_a_known_codec_is_488_with_warning() {
    alone("inbound_unknown-codec_488", NUMBER);
}

#[test]
fn body_that_is_no_sdp_is_488_with_warning_and_the_gateway_lives() {
    let (gateway, _) = alone("inbound_unparsable-sdp_488", NUMBER);
    Sipp::scenario("inbound_options_200").to(gateway.sip).run().must_pass();
}

#[test]
fn options_is_answered_with_allow_over_udp_and_tcp() {
    let (gateway, _) = alone("inbound_options_200", NUMBER);
    Sipp::scenario("inbound_options_200").to(gateway.sip).over_tcp().run().must_pass();
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

#[test]
fn registered_softphone_is_called_by_the_trunk_and_by_a_colleague() {
    let trunk = free_ports(2);
    let gateway = Gateway::run(&Setup::with_trunk(trunk));
    let bob = free_ports(2);
    register(&gateway, "bob", bob).must_pass();
    let answering = || {
        let mut callee = Sipp::scenario("outbound_answer_echo");
        callee.port = bob;
        callee.start()
    };
    let callee = answering();
    let mut carrier = Sipp::scenario("inbound_trunk-call_answered").calls("+12025550111").to(gateway.sip);
    carrier.port = trunk;
    carrier.run().must_pass();
    callee.finish().must_pass();
    let callee = answering();
    alice(&gateway, "inbound_call_answered").calls("101").run().must_pass();
    callee.finish().must_pass();
    let cdrs = gateway.wait_cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["reason"] == "hung-up"), "{cdrs:?}");
}

#[test]
fn unregistered_softphone_is_called_no_more() {
    let trunk = free_ports(2);
    let gateway = Gateway::run(&Setup::with_trunk(trunk));
    let bob = free_ports(2);
    register(&gateway, "bob", bob).must_pass();
    let mut sipp = Sipp::scenario("inbound_unregister_accepted").user("bob").calls("bob").to(gateway.sip);
    sipp.port = bob;
    sipp.run().must_pass();
    let mut carrier = Sipp::scenario("inbound_trunk-call_refused").calls("+12025550111").to(gateway.sip);
    carrier.port = trunk;
    let verdict = carrier.run();
    verdict.must_pass();
    assert!(verdict.logs.contains("final 480"), "{}", verdict.logs);
}

/// An unknown number is 404; one that only a trunk serves is 403: no call from trunk to trunk without an explicit route.
#[test]
fn trunk_call_to_an_unknown_number_is_404_and_back_out_to_a_trunk_403() {
    let trunk = free_ports(2);
    let gateway = Gateway::run(&Setup::with_trunk(trunk));
    for (number, status) in [("+442079460000", 404), ("+12025550177", 403)] {
        let mut carrier = Sipp::scenario("inbound_trunk-call_refused").calls(number).to(gateway.sip);
        carrier.port = trunk;
        let verdict = carrier.run();
        verdict.must_pass();
        assert!(verdict.logs.contains(&format!("final {status}")), "{number}: {}", verdict.logs);
    }
}

#[test]
fn gateway_registers_at_its_trunk_with_verified_credentials() {
    let callee = Sipp::scenario("outbound_register_accepted");
    let (_gateway, registrar) = gateway_with(callee, &format!("{TRUNK_LOGIN}\nregister = true"));
    let verdict = registrar.finish();
    verdict.must_pass();
    assert!(verdict.logs.contains("verified true"), "{}", verdict.logs);
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
