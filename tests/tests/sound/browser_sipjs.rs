//! SIP.js 0.21 from npm, unchanged, in Chromium over `/sip`.

use crate::libraries;
use e2e::library::Library::SipJs;

/// RFC 7118, RFC 8827: SIP by WebSocket, media by DTLS-SRTP.
#[test]
fn sipjs_registers_and_calls_a_trunk_with_audio_both_ways() {
    libraries::registers_and_calls_out(SipJs);
}

/// RFC 8842 §5.2: the gateway offers.
#[test]
fn sipjs_is_called_by_a_trunk_with_audio_both_ways() {
    libraries::is_called(SipJs);
}

/// RFC 4733, field problem 17.
#[test]
fn sipjs_sends_digits_by_info_and_as_events() {
    libraries::sends_digits(SipJs);
}

/// RFC 3264 §8.4, RFC 8839 §4.4.1.1.1.
#[test]
fn sipjs_holds_resumes_and_restarts_ice_within_one_call() {
    libraries::holds_resumes_and_restarts_ice(SipJs);
}

/// RFC 5626, field problem 25.
#[test]
fn sipjs_comes_back_after_its_websocket_or_page_was_lost_and_the_next_call_rings() {
    libraries::comes_back_after_the_network_was_away(SipJs);
}

/// Field problems 7 and 8.
#[test]
fn sipjs_connects_with_no_candidates_and_with_mdns_ones() {
    libraries::connects_with_any_candidates(SipJs);
}

/// RFC 3515, field problem 22.
#[test]
fn sipjs_transfers_a_call_by_refer() {
    libraries::transfers_by_refer(SipJs);
}
