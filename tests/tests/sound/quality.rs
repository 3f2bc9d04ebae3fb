//! How calls sound: real browsers on one side, an RTP party at the carrier's end on the other, recorded at both ends.

use e2e::gateway::{Gateway, Setup, WORKERS};
use e2e::pesq;
use e2e::phone::Phone;
use e2e::process::{wait_calm, wait_for};
use e2e::relay::Relay;
use e2e::rtp::{RtpParty, Seeded};
use e2e::sipp::{Running, Sipp};
use e2e::speech::{speech, write_wav};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A gateway whose carrier answers with the RTP party's port.
fn carrier() -> (Gateway, Running, RtpParty) {
    let party = RtpParty::start();
    let mut sipp = Sipp::scenario("outbound_answer_echo");
    sipp.rtp_port = Some(party.port);
    sipp.timeout = 120;
    let gateway = Gateway::run(&Setup::with_trunk(sipp.port));
    (gateway, sipp.start(), party)
}

fn call(phone: &mut Phone) {
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    phone.dial("+12025550100");
    phone.wait_status("^In call$", LIMIT);
}

/// How a call with speech both ways at once sounded, and the browser's call with itself beside it.
struct Scores {
    page: f64,
    trunk: f64,
    itself: f64,
}

/// Address of ours that the browser's audio goes to.
fn connected_to(phone: &mut Phone) -> IpAddr {
    let reports = phone.stats().last().expect("a connection")["reports"].as_array().expect("reports").clone();
    let chosen = |report: &&Value| {
        report["type"] == "candidate-pair" && report["nominated"] == true && report["state"] == "succeeded"
    };
    let pair = reports.iter().find(chosen).expect("a nominated pair");
    let ours =
        reports.iter().find(|report| report["id"] == pair["remoteCandidateId"]).expect("our candidate");
    ours["address"].as_str().expect("an address").parse().expect("an IP address")
}

/// What our answer asks of a browser's Opus before a narrowband trunk.
const NARROW: &str = "minptime=10;useinbandfec=1;maxplaybackrate=8000;maxaveragebitrate=20000";

fn speak_both_ways(firefox: bool, loss_percent: u32) -> Scores {
    let (gateway, sipp, mut party) = carrier();
    let microphone = Some(speech().microphone.as_path());
    let mut phone = if firefox { Phone::firefox(microphone) } else { Phone::chromium(microphone) };
    let relays = if loss_percent > 0 {
        open_through_relays(&mut phone, &gateway)
    } else {
        phone.open(&gateway.url());
        Vec::new()
    };
    call(&mut phone);
    let itself = phone.call_itself(NARROW);
    phone.record();
    phone.record_itself();
    for relay in relays.iter().chain([&itself]) {
        relay.lose(loss_percent);
    }
    let talk = std::thread::spawn(move || {
        // A carrier sends from the first moment on: browsers' jitter buffers are settled when someone speaks.
        let mut audio = vec![0xff; 16_000];
        audio.extend(std::fs::read(&speech().mulaw).expect("speech"));
        party.play(0, &audio);
        std::thread::sleep(Duration::from_secs(2));
        party
    });
    let party = talk.join().expect("party");
    assert_eq!(phone.codecs(), ["audio/opus"], "Opus and nothing else on the browser's side");
    // Under DTLS 1.3 the client's first one (RFC 8446 §4.2, RFC 5764 §4.1.2).
    let profile = if firefox { "AEAD_AES_128_GCM" } else { "AES128_CM" };
    let transport = phone.report("transport");
    assert!(transport["srtpCipher"].as_str().is_some_and(|name| name.contains(profile)), "{transport}");
    // Firefox never connects to loopback: what connects it is a candidate of the machine's own address.
    assert!(!firefox || !connected_to(&mut phone).is_loopback());
    let inbound = phone.report("inbound-rtp");
    let files = ["page", "itself", "trunk"].map(|name| gateway.dir.join(format!("{name}.wav")));
    phone.stop_record(&files[0]);
    phone.stop_record_itself(&files[1]);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    let carrier = sipp.finish();
    carrier.must_pass();
    assert!(carrier.messages.contains("a=rtpmap:0 PCMU/8000"), "{}", carrier.messages);
    assert!(party.heard().iter().all(|one| one.pt == 0 && one.payload.len() == 160), "20 ms of PCMU each");
    write_wav(&files[2], &party.pcmu(), 8000);
    let cdr = &gateway.wait_cdrs(1)[0];
    assert_eq!(
        (&cdr["caller_media"]["codec"], &cdr["callee_media"]["codec"]),
        (&"opus".into(), &"pcmu".into())
    );
    redundancy_was_at_work(loss_percent, &inbound, cdr, firefox);
    let [page, itself, trunk] = files.map(|file| pesq::score(&speech().reference, &file));
    Scores { page, trunk, itself }
}

/// RFC 6716 §2.1.7, RFC 7587: LBRR is decoded by us and sent to the browser; Firefox does not count it.
fn redundancy_was_at_work(loss_percent: u32, inbound: &Value, cdr: &Value, firefox: bool) {
    let corrected = inbound["fecPacketsReceived"].as_u64().unwrap_or(0);
    let ours = cdr["caller_media"]["fec_frames"].as_u64();
    eprintln!("{corrected} packets with FEC came to the browser, {ours:?} frames were recovered here");
    assert!(loss_percent == 0 || ours > Some(0), "LBRR frames decoded here: {cdr}");
    assert!(loss_percent == 0 || firefox || corrected > 0, "fecPacketsReceived in Chromium: {inbound}");
}

/// The goal is 0.25 below what the browser makes of a call with itself over as bad a line. A busy machine costs a browser
/// some frames, and losses fall on other sounds each time: a call below the goal is made twice more and the median
/// counts; 0.3 below the goal fails.
fn both_ends_hear_the_other(firefox: bool, loss_percent: u32) {
    let behind = |one: &Scores| [one.itself - one.page, one.itself - one.trunk];
    let mut calls = vec![speak_both_ways(firefox, loss_percent)];
    if behind(&calls[0]).iter().any(|behind| *behind > 0.25) {
        for _ in 0..2 {
            wait_calm(Duration::from_secs(20));
            calls.push(speak_both_ways(firefox, loss_percent));
        }
    }
    for (n, end) in ["at the page", "at the trunk"].iter().enumerate() {
        let mut sorted: Vec<f64> = calls.iter().map(|one| behind(one)[n]).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let itself = calls[0].itself;
        eprintln!(
            "{end}, {loss_percent} % lost: {median:.2} behind {itself:.2}, goal 0.25; {} calls",
            calls.len()
        );
        assert!(median <= 0.55, "{end} {sorted:.2?} behind the browser's call with itself");
    }
}

#[test]
fn chromium_and_the_trunk_hear_each_other_as_well_as_chromium_hears_itself() {
    both_ends_hear_the_other(false, 0);
}

#[test]
fn firefox_and_the_trunk_hear_each_other_as_well_as_firefox_hears_itself() {
    both_ends_hear_the_other(true, 0);
}

#[test]
fn chromium_and_the_trunk_hear_each_other_at_5_percent_loss_as_well_as_chromium_hears_itself() {
    both_ends_hear_the_other(false, 5);
}

/// Relays in front of every worker, and the page opened through them.
fn open_through_relays(phone: &mut Phone, gateway: &Gateway) -> Vec<Relay> {
    let relays: Vec<Relay> =
        (0..WORKERS).map(|worker| Relay::start(gateway.webrtc + worker, u64::from(worker) + 5)).collect();
    let ports: Vec<(u16, u16)> = relays
        .iter()
        .enumerate()
        .map(|(worker, relay)| (gateway.webrtc + worker as u16, relay.port))
        .collect();
    phone.open_through(&gateway.url(), &ports);
    relays
}

/// RFC 4733 across clock rates 48000 and 8000, with loss on both lines (field problem 16).
#[test]
fn sixteen_digits_of_mixed_length_arrive_exactly_once_in_order_despite_loss_both_ways() {
    let keys: Vec<(char, u32)> =
        "1592604837*#0011".chars().enumerate().map(|(at, key)| (key, [60, 300, 120, 90][at % 4])).collect();
    let wanted: String = keys.iter().map(|(key, _)| *key).collect();
    let (gateway, sipp, mut party) = carrier();
    let mut phone = Phone::chromium(Some(&speech().microphone));
    let relays = open_through_relays(&mut phone, &gateway);
    call(&mut phone);
    for relay in &relays {
        relay.lose(5);
    }
    party.loss = (5, Seeded(11));
    phone.keypad(&keys);
    let digits = |party: &RtpParty| party.digits(101).iter().map(|(digit, _)| *digit).collect::<String>();
    wait_for(LIMIT, "sixteen digits at the trunk", || (digits(&party).len() >= 16).then_some(()));
    for (key, ms) in &keys {
        party.digit(101, *key, *ms);
    }
    wait_for(LIMIT, "sixteen digits on the page", || {
        phone.text().contains(&format!("Received {wanted}")).then_some(())
    });
    std::thread::sleep(Duration::from_secs(1));
    let told = "window.__e2e.messages.filter((one) => one.type === 'dtmf').map((one) => one.digit).join('')";
    assert_eq!(phone.evaluate(told), wanted.as_str(), "each is told once");
    assert_eq!(digits(&party), wanted);
    for ((_, heard), (key, pressed)) in party.digits(101).iter().zip(&keys) {
        // The page sends no digit shorter than 70 ms; a held key is measured by a busy browser.
        let least = (*pressed).max(70) - 30;
        assert!((least..=pressed + 150).contains(heard), "{key} pressed {pressed} ms, heard {heard} ms");
    }
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    sipp.finish().must_pass();
}
