//! Linphone as softphone: registers, calls, is called, holds, transfers.

use e2e::gateway::{Gateway, Setup};
use e2e::linphone::Linphone;
use e2e::ports::free_ports;
use e2e::process::wait_for;
use e2e::sipp::Sipp;
use e2e::speech::{read_wav, speech};
use std::time::Duration;

fn registered(user: &str, gateway: &Gateway) -> Linphone {
    let mut phone = Linphone::start(&speech().reference);
    phone.register(user, gateway.sip);
    phone
}

/// RFC 8760: these algorithms and no others.
fn offering(digest: &str) -> String {
    format!("digest = [{digest}]")
}

/// Whether it proved its password by SHA-256.
fn by_sha_256(gateway: &Gateway) -> bool {
    let answers = |line: &String| line.contains("Authorization:") && line.contains("algorithm=SHA-256");
    gateway.process.lines().iter().any(answers)
}

fn loud(phone: &Linphone) -> bool {
    read_wav(&phone.heard()).iter().any(|sample| sample.unsigned_abs() > 3000)
}

#[test]
fn linphone_calls_the_trunk_holds_resumes_and_hears_its_echo() {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let sip_keys = offering("\"SHA-256\", \"MD5\"");
    let gateway = Gateway::run(&Setup { sip_keys, ..Setup::with_trunk(sipp.port) });
    let sipp = sipp.start();
    let mut phone = registered("alice", &gateway);
    assert!(by_sha_256(&gateway), "of several challenges it takes the best");
    phone.say(&format!("call sip:+12025550100@127.0.0.1:{}", gateway.sip));
    phone.wait("it talks", "Media streams established");
    std::thread::sleep(Duration::from_secs(3));
    phone.say("pause 1");
    phone.wait("it holds", "is now paused");
    phone.say("resume 1");
    phone.wait("it talks again", "Media streams established");
    std::thread::sleep(Duration::from_secs(2));
    phone.say("terminate 1");
    phone.wait("the end", "ended (No error)");
    sipp.finish().must_pass();
    assert!(loud(&phone), "the echo of its own speech");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

/// RFC 4568 §7.1: the re-INVITEs of hold and resume carry keys again.
#[test]
fn linphone_insists_on_srtp_holds_resumes_and_hears_its_echo() {
    let mut sipp = Sipp::scenario("outbound_answer_echo").echo();
    sipp.timeout = 60;
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    let sipp = sipp.start();
    let mut phone = Linphone::encrypted(&speech().reference);
    phone.register("alice", gateway.sip);
    phone.say(&format!("call sip:+12025550100@127.0.0.1:{}", gateway.sip));
    phone.wait("it talks", "Media streams established");
    let encrypted = || {
        let lines = gateway.process.lines();
        lines
            .iter()
            .filter(|l| l.starts_with("m=audio ") && l.contains(" RTP/SAVP"))
            .count()
            .ge(&2)
            .then_some(())
    };
    wait_for(Duration::from_secs(30), "its offer and our answer are encrypted", encrypted);
    phone.say("pause 1");
    phone.wait("it holds", "is now paused");
    phone.say("resume 1");
    phone.wait("it talks again", "Media streams established");
    std::thread::sleep(Duration::from_secs(3));
    phone.say("terminate 1");
    phone.wait("the end", "ended (No error)");
    sipp.finish().must_pass();
    assert!(loud(&phone), "the echo of its own speech");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn linphone_is_called_by_the_trunk_and_hears_it() {
    let trunk = free_ports(2);
    let gateway = Gateway::run(&Setup { sip_keys: offering("\"SHA-256\""), ..Setup::with_trunk(trunk) });
    let mut phone = registered("alice", &gateway);
    assert!(by_sha_256(&gateway), "MD5 is not offered");
    let mut sipp = Sipp::scenario("inbound_trunk-call_answered").calls("+12025550110").to(gateway.sip).echo();
    (sipp.port, sipp.pause) = (trunk, 6000);
    let sipp = sipp.start();
    phone.wait("it rings", "Receiving new incoming call");
    phone.say("answer");
    phone.wait("it talks", "Media streams established");
    phone.wait("the end", "ended");
    sipp.finish().must_pass();
    assert!(loud(&phone), "the echo of its own speech");
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

/// RFC 5589 §6, RFC 3515: the carrier's call goes from alice to bob; alice is out, the carrier and bob talk on.
#[test]
fn linphone_transfers_a_call_of_the_trunk_to_a_colleague() {
    let (trunk, bob) = (free_ports(2), free_ports(2));
    let gateway = Gateway::run(&Setup::with_trunk(trunk));
    let mut registering =
        Sipp::scenario("inbound_register_accepted").user("bob").calls("bob").to(gateway.sip);
    registering.port = bob;
    registering.run().must_pass();
    let mut answering = Sipp::scenario("outbound_answer_echo").echo();
    answering.port = bob;
    let answering = answering.start();
    let mut phone = registered("alice", &gateway);
    let mut carrier = Sipp::scenario("inbound_trunk-call_answered").calls("+12025550110").to(gateway.sip);
    (carrier.port, carrier.pause) = (trunk, 8000);
    let carrier = carrier.start();
    phone.wait("it rings", "Receiving new incoming call");
    phone.say("answer");
    phone.wait("it talks", "Media streams established");
    phone.say(&format!("transfer 1 sip:101@127.0.0.1:{}", gateway.sip));
    phone.wait("it is out of the call", "ended");
    carrier.finish().must_pass();
    answering.finish().must_pass();
    // The call to bob was made for the transfer and went on in the carrier's.
    let cdrs = gateway.wait_cdrs(2);
    assert_eq!((&cdrs[0]["reason"], &cdrs[0]["continued_in"]), (&"transferred".into(), &cdrs[1]["call"]));
    assert_eq!(cdrs[1]["reason"], "hung-up");
    assert_eq!(cdrs[1]["transfers"].as_array().map(Vec::len), Some(1), "{cdrs:?}");
}
