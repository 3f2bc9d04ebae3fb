//! The call that everything exists for: a real browser dials a number at a real SIP carrier and both hear each other.

use e2e::gateway::{Gateway, Setup};
use e2e::pesq;
use e2e::phone::Phone;
use e2e::sipp::Sipp;
use e2e::speech::speech;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Both codecs twice. A busy machine costs a browser some frames: a call below the goal is made twice more and the median
/// counts; 0.3 below the goal fails.
const GOAL: f64 = 3.95;

/// A whole call with everything but its sound asserted; gives the PESQ of the echo that the page heard.
fn call_an_echo() -> f64 {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    let sipp = sipp.start();
    let mut phone = Phone::chromium(Some(&speech().microphone));
    phone.open(&gateway.url());
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    phone.dial("+1 202 555 0100");
    phone.wait_status("^Calling…$", LIMIT);
    phone.wait_status("^Ringing$", LIMIT);
    phone.wait_status("^In call$", LIMIT);
    phone.record();
    std::thread::sleep(Duration::from_secs(13));
    assert_eq!(phone.report("codec")["mimeType"], "audio/opus");
    // Under DTLS 1.3 what it likes best is taken. Our reports arrive: they tell the round trip.
    let transport = phone.report("transport");
    assert_eq!(transport["tlsVersion"], "FEFC", "{transport}");
    assert!(transport["srtpCipher"].as_str().is_some_and(|name| name.contains("AES128_CM")), "{transport}");
    assert!(phone.report("remote-inbound-rtp")["roundTripTime"].is_number());
    let plotted = phone.evaluate("document.querySelector('#plot .near').getAttribute('d')");
    assert!(plotted.as_str().is_some_and(|d| d.starts_with('M')), "the quality is drawn: {plotted}");
    let file = gateway.dir.join("chromium.wav");
    let got = phone.stop_record(&file);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    let carrier = sipp.finish();
    carrier.must_pass();
    assert!(carrier.messages.contains("PCMU/8000"), "the trunk leg speaks PCMU:\n{}", carrier.messages);
    assert!(got.peak > 3000, "the echo is loud enough: {got:?}");
    let cdrs = gateway.wait_cdrs(1);
    assert_eq!(cdrs[0]["reason"], "hung-up", "{cdrs:?}");
    for side in ["caller_media", "callee_media"] {
        let mos = &cdrs[0][side]["mos"];
        assert!(mos["mean"].as_f64() > Some(3.5) && mos["min"].as_f64() <= mos["mean"].as_f64(), "{cdrs:?}");
    }
    pesq::score(&speech().reference, &file)
}

/// design §4, field problems 8 and 11; RFC 3261 §13, RFC 7587, RFC 3551.
#[test]
fn chromium_dials_a_trunk_number_and_hears_its_own_voice_back() {
    let mut scores = vec![call_an_echo()];
    if scores[0] < GOAL {
        scores.extend([call_an_echo(), call_an_echo()]);
    }
    scores.sort_by(f64::total_cmp);
    let median = scores[scores.len() / 2];
    eprintln!("PESQ after Opus, PCMU, PCMU and Opus again: {median:.2}, goal {GOAL}; calls: {scores:.2?}");
    assert!(median >= GOAL - 0.3, "{median:.2} is far below {GOAL}; calls: {scores:.2?}");
}
