//! SRTP by keys in SDP (RFC 4568) with baresip's libsrtp at the other end: as a phone and as a carrier.

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, Setup};
use e2e::launch::fresh_dir;
use e2e::process::wait_for;
use e2e::sipp::{Running, Sipp};
use e2e::speech::{read_wav, write_wav};
use e2e::tls::Authority;
use e2e::tone::loudest_share;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const TONE: f64 = 700.0;

/// Two seconds of a tone, which end the call of whoever plays them.
fn tone() -> PathBuf {
    let samples: Vec<i16> = (0..16_000)
        .map(|n| ((f64::from(n) / 8_000.0 * TONE * std::f64::consts::TAU).sin() * 8_000.0) as i16)
        .collect();
    let file = fresh_dir("tone").join("tone.wav");
    write_wav(&file, &samples, 8_000);
    file
}

/// It heard its own tone, sent back by the other side: both directions were understood.
fn assert_heard(phone: &mut Baresip, suite: &str) {
    let enabled = format!("SRTP is Enabled (cryptosuite={suite})");
    phone.process.wait_line(LIMIT, &enabled, |line| line.contains(&enabled));
    let (share, samples) = loudest_share(&read_wav(&phone.heard()), 8_000, TONE);
    assert!(share > 0.9, "{share} of {samples} samples are the tone:\n{}", phone.process.tail(40));
}

fn echo() -> Sipp {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    sipp
}

/// RFC 4568 §5.1: out, where the phone offers, and in, where it refuses RTP/AVP with keys and is asked again with RTP/SAVP.
#[test]
fn a_phone_that_insists_on_srtp_calls_and_is_called_over_tls() {
    let authority = Authority::new();
    let sipp = echo();
    let trunk = sipp.port;
    let tls = Some(authority.sign("gateway", "IP:127.0.0.1,DNS:localhost", 30));
    let gateway = Gateway::run(&Setup { tls, ..Setup::with_trunk(trunk) });
    let sipp = sipp.start();
    let file = tone();
    let account = Account {
        transport: "tls",
        ca: Some(&authority.identity.cert),
        encryption: Some("srtp-mand"),
        ..Account::new("alice", gateway.sip + 1, &file)
    };
    let mut phone = Baresip::start(&account);
    phone.wait_registered(LIMIT);
    phone.command("dial", &format!("sip:+12025550100@127.0.0.1:{};transport=tls", gateway.sip + 1));
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    phone.wait_event("CALL_CLOSED", LIMIT);
    sipp.finish().must_pass();
    // All that it offers.
    assert_heard(&mut phone, "AES_CM_128_HMAC_SHA1_80");

    let carrier = called(&gateway, trunk);
    phone.wait_event("CALL_INCOMING", LIMIT);
    phone.command("accept", "");
    carrier.finish().must_pass();
    let closed =
        || phone.process.lines().iter().filter(|line| line.contains("terminated (duration")).count() == 2;
    wait_for(LIMIT, "the second call is over", || closed().then_some(()));
    assert_heard(&mut phone, "AEAD_AES_256_GCM");
    let cdrs = gateway.wait_cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["reason"] == "hung-up"), "{cdrs:?}");
}

/// A carrier at this port calls alice and sends back what it hears.
fn called(gateway: &Gateway, trunk: u16) -> Running {
    let mut carrier =
        Sipp::scenario("inbound_trunk-call_answered").calls("+12025550110").to(gateway.sip).echo();
    (carrier.port, carrier.pause) = (trunk, 1500);
    carrier.start()
}

/// RFC 4568 §5.1.1, RFC 8643 §3: what a trunk is offered, a carrier of libsrtp takes, whether it insists or not.
#[test]
fn a_trunk_with_srtp_is_heard_by_a_carrier_and_hears_it() {
    for (srtp, encryption) in [("required", "srtp-mand"), ("optional", "srtp")] {
        let file = tone();
        let account = Account {
            register: false,
            encryption: Some(encryption),
            ..Account::new("+12025550100", 9, &file)
        };
        let mut carrier = Baresip::start(&account);
        let trunk_keys = format!("srtp = \"{srtp}\"");
        let gateway = Gateway::run(&Setup { trunk_keys, ..Setup::with_trunk(carrier.sip) });
        let mut alice = Sipp::scenario("inbound_call_answered")
            .user("alice")
            .calls("+12025550100")
            .to(gateway.sip)
            .echo();
        alice.pause = 1500;
        let alice = alice.start();
        carrier.wait_event("CALL_INCOMING", LIMIT);
        carrier.command("accept", "");
        alice.finish().must_pass();
        carrier.wait_event("CALL_CLOSED", LIMIT);
        assert_heard(&mut carrier, "AEAD_AES_256_GCM");
        assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
    }
}
