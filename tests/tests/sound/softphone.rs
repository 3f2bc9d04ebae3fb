//! baresip as softphone: registers, calls, is called by trunk and browser.

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, Setup};
use e2e::pesq;
use e2e::phone::Phone;
use e2e::ports::free_ports;
use e2e::sipp::Sipp;
use e2e::speech::speech;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn registered(user: &str, transport: &str, gateway: &Gateway) -> Baresip {
    let account = Account { transport, ..Account::new(user, gateway.sip, &speech().reference) };
    let mut phone = Baresip::start(&account);
    phone.wait_registered(LIMIT);
    phone
}

fn calls_the_trunk(transport: &str) {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    let sipp = sipp.start();
    let mut phone = registered("alice", transport, &gateway);
    phone.command("dial", &format!("sip:+12025550100@127.0.0.1:{};transport={transport}", gateway.sip));
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    phone.wait_event("CALL_CLOSED", Duration::from_secs(20));
    sipp.finish().must_pass();
    let score = pesq::score(&speech().reference, &phone.heard());
    assert!(score > 4.2, "PCMU passes untouched, there and back: PESQ {score}");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn registered_softphone_calls_the_trunk_over_udp() {
    calls_the_trunk("udp");
}

#[test]
fn registered_softphone_calls_the_trunk_over_tcp() {
    calls_the_trunk("tcp");
}

#[test]
fn softphone_is_called_by_the_trunk_and_heard() {
    let trunk = free_ports(2);
    let gateway = Gateway::run(&Setup::with_trunk(trunk));
    let mut phone = registered("alice", "udp", &gateway);
    let mut sipp = Sipp::scenario("inbound_trunk-call_answered").calls("+12025550110").to(gateway.sip).echo();
    sipp.port = trunk;
    sipp.pause = 6000;
    let sipp = sipp.start();
    phone.wait_event("CALL_INCOMING", LIMIT);
    phone.command("accept", "");
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    phone.wait_event("CALL_CLOSED", Duration::from_secs(20));
    sipp.finish().must_pass();
    let heard = e2e::speech::read_wav(&phone.heard());
    assert!(heard.iter().any(|sample| sample.unsigned_abs() > 3000), "the echo of its own speech");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn browser_and_softphone_call_each_other_and_hear_each_other() {
    let gateway = Gateway::run(&Setup::default());
    let mut bob = registered("bob", "udp", &gateway);
    let mut alice = Phone::chromium(Some(&speech().microphone));
    alice.open(&gateway.url());
    alice.sign_in("alice");
    alice.wait_status("^Ready", LIMIT);
    alice.dial("101");
    bob.wait_event("CALL_INCOMING", LIMIT);
    bob.command("accept", "");
    alice.wait_status("^In call$", LIMIT);
    alice.record();
    std::thread::sleep(Duration::from_secs(5));
    let file = gateway.dir.join("page.wav");
    let got = alice.stop_record(&file);
    assert!(got.peak > 3000, "bob's speech at the page: {got:?}");
    bob.wait_event("CALL_CLOSED", Duration::from_secs(20));
    alice.wait_status("^Call ended: ", LIMIT);
    let heard = e2e::speech::read_wav(&bob.heard());
    assert!(heard.iter().any(|sample| sample.unsigned_abs() > 3000), "alice's speech at the softphone");

    bob.command("dial", &format!("sip:100@127.0.0.1:{}", gateway.sip));
    alice.wait_status("^Incoming call from ", LIMIT);
    alice.press("Answer");
    alice.wait_status("^In call$", LIMIT);
    alice.press("Hang up");
    alice.wait_status("^Call ended: ", LIMIT);
    assert_eq!(gateway.wait_cdrs(2).len(), 2);
}

/// RFC 5589 §6, RFC 3515: the carrier's call goes from alice to bob; alice is out, the carrier and bob talk on.
#[test]
fn softphone_transfers_a_call_of_the_trunk_to_a_colleague() {
    let trunk = free_ports(2);
    let gateway = Gateway::run(&Setup::with_trunk(trunk));
    let mut alice = registered("alice", "udp", &gateway);
    let mut bob = registered("bob", "udp", &gateway);
    let mut carrier =
        Sipp::scenario("inbound_trunk-call_answered").calls("+12025550110").to(gateway.sip).echo();
    (carrier.port, carrier.pause) = (trunk, 8000);
    let carrier = carrier.start();
    alice.wait_event("CALL_INCOMING", LIMIT);
    alice.command("accept", "");
    alice.wait_event("CALL_ESTABLISHED", LIMIT);
    alice.command("transfer", &format!("sip:101@127.0.0.1:{}", gateway.sip));
    bob.wait_event("CALL_INCOMING", LIMIT);
    bob.command("accept", "");
    bob.wait_event("CALL_ESTABLISHED", LIMIT);
    alice.wait_event("CALL_CLOSED", LIMIT);
    bob.wait_event("CALL_CLOSED", LIMIT);
    carrier.finish().must_pass();
    let heard = e2e::speech::read_wav(&bob.heard());
    assert!(heard.iter().any(|sample| sample.unsigned_abs() > 3000), "the carrier's echo of bob's speech");
    // The call to bob was made for the transfer and went on in the carrier's.
    let cdrs = gateway.wait_cdrs(2);
    assert_eq!((&cdrs[0]["reason"], &cdrs[0]["continued_in"]), (&"transferred".into(), &cdrs[1]["call"]));
    assert_eq!(cdrs[1]["reason"], "hung-up");
    assert_eq!(cdrs[1]["transfers"].as_array().map(Vec::len), Some(1), "{cdrs:?}");
}
