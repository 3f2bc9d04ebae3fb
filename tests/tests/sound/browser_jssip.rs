//! JsSIP 3.13 from npm, unchanged, in Chromium over `/sip`.

use crate::libraries;
use crate::libraries::LIMIT;
use e2e::gateway::PASSWORD;
use e2e::library::Library::JsSip;
use e2e::rawsip::RawSip;
use e2e::rtp::RtpParty;
use std::net::SocketAddr;

/// RFC 7118, RFC 8827: SIP by WebSocket, media by DTLS-SRTP.
#[test]
fn jssip_registers_and_calls_a_trunk_with_audio_both_ways() {
    libraries::registers_and_calls_out(JsSip);
}

/// RFC 8842 §5.2: the gateway offers.
#[test]
fn jssip_is_called_by_a_trunk_with_audio_both_ways() {
    libraries::is_called(JsSip);
}

/// RFC 4733, field problem 17.
#[test]
fn jssip_sends_digits_by_info_and_as_events() {
    libraries::sends_digits(JsSip);
}

/// RFC 3264 §8.4, RFC 8839 §4.4.1.1.1.
#[test]
fn jssip_holds_resumes_and_restarts_ice_within_one_call() {
    libraries::holds_resumes_and_restarts_ice(JsSip);
}

/// RFC 5626, field problem 25.
#[test]
fn jssip_comes_back_after_its_websocket_or_page_was_lost_and_the_next_call_rings() {
    libraries::comes_back_after_the_network_was_away(JsSip);
}

/// Field problems 7 and 8.
#[test]
fn jssip_connects_with_no_candidates_and_with_mdns_ones() {
    libraries::connects_with_any_candidates(JsSip);
}

/// design §4: a page, a library and a softphone ring together, each with media of its own kind; whoever answers first has
/// the call.
#[test]
fn a_page_jssip_and_a_softphone_of_one_person_ring_at_once() {
    let mut scene = libraries::alice(JsSip);
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut softphone = RawSip::at(address(0).ip(), address(scene.gateway.sip));
    softphone.register("alice", PASSWORD);
    scene.phone.page = "page".into();
    scene.phone.open(&scene.gateway.url());
    scene.phone.sign_in("alice");
    scene.phone.wait_status("^Ready", LIMIT);
    let mut party = RtpParty::start();
    let call = scene.trunk.call(scene.gateway.sip, "+12025550110", ("", "+12025550177"), party.port);
    let invite = softphone.wait_request("INVITE");
    assert!(invite.body.contains("RTP/AVP") && !invite.body.contains("SAVPF"), "{}", invite.body);
    softphone.reply(&invite, "180 Ringing", "", "");
    scene.phone.wait_status("^Incoming call from ", LIMIT);
    scene.phone.page = "main".into();
    scene.phone.wait_status("^incoming", LIMIT);
    scene.phone.client("answer()");
    call.wait_answer(&mut party, LIMIT);
    scene.phone.wait_status("^confirmed$", LIMIT);
    let cancel = softphone.wait_request("CANCEL");
    assert!(cancel.header("reason").contains("cause=200"), "answered elsewhere: {}", cancel.header("reason"));
    scene.both_hear(party);
    scene.phone.page = "page".into();
    assert_eq!(scene.phone.wait_status("^Call ended: ", LIMIT), "Call ended: Answered on another device.");
}

/// RFC 3515, field problem 22.
#[test]
fn jssip_transfers_a_call_by_refer() {
    libraries::transfers_by_refer(JsSip);
}
