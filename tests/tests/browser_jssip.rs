//! JsSIP 3.13 from npm, unchanged, in Chromium over `/sip`.

mod libraries;

use e2e::library::Library::JsSip;

/// RFC 7118, RFC 8827: SIP by WebSocket, media by DTLS-SRTP.
#[test]
fn jssip_registers_and_calls_a_trunk_with_audio_both_ways() {
    libraries::registers_and_calls_out(JsSip);
}
