//! How calls sound: real browsers on one side, an RTP party at the carrier's end on the other, recorded at both ends.

use e2e::gateway::{Gateway, Setup, WORKERS};
use e2e::pesq;
use e2e::phone::Phone;
use e2e::process::{wait_calm, wait_for};
use e2e::relay::Relay;
use e2e::rtp::{RtpParty, Seeded};
use e2e::sipp::{Running, Sipp};
use e2e::speech::{read_wav, sox, speech, write_wav};
use media_bridge::codec::{Decoder, Encoder, NARROW};
use media_bridge::control::Codec;
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
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

fn mulaw_of(wav: &Path, out: &Path) {
    let raw = out.with_extension("ul");
    let (wav, raw, out) =
        (wav.to_str().expect("path"), raw.to_str().expect("path"), out.to_str().expect("path"));
    sox(&[wav, "-r", "8000", "-c", "1", "-t", "ul", raw]);
    sox(&["-t", "ul", "-r", "8000", "-c", "1", raw, "-b", "16", "-e", "signed", out]);
}

/// The clip through a browser's Opus (20 kb/s, as we ask for) and mu-law, with no network: the best that a trunk can hear.
fn offline_at_trunk(dir: &Path) -> f64 {
    let mut encoder =
        opus::Encoder::new(8000, opus::Channels::Mono, opus::Application::Voip).expect("encoder");
    encoder.set_bitrate(opus::Bitrate::Bits(20_000)).expect("bitrate");
    encoder.set_inband_fec(true).expect("FEC");
    let mut decoder = Decoder::new(Codec::Opus, NARROW).expect("decoder");
    let mut heard = Vec::new();
    for frame in read_wav(&speech().reference).as_chunks::<160>().0 {
        let mut samples = [0; 160];
        decoder.decode(&encoder.encode_vec(frame, 1500).expect("encoded"), &mut samples).expect("decoded");
        heard.extend(samples);
    }
    let (coded, both) = (dir.join("offline-opus.wav"), dir.join("offline-at-trunk.wav"));
    write_wav(&coded, &heard, 8000);
    mulaw_of(&coded, &both);
    pesq::score(&speech().reference, &both)
}

/// The clip through mu-law, our Opus encoder and a browser's decoder: the best that the page can hear.
fn offline_at_page(dir: &Path) -> f64 {
    let mut encoder = Encoder::new(Codec::Opus, NARROW).expect("encoder");
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).expect("decoder");
    let mut heard = Vec::new();
    for frame in read_wav(&speech().through_mulaw).as_chunks::<160>().0 {
        let (mut packet, mut samples) = (Vec::new(), [0; 960]);
        encoder.encode(frame, &mut packet).expect("encoded");
        decoder.decode(&packet, &mut samples, false).expect("decoded");
        heard.extend(samples);
    }
    let file = dir.join("offline-at-page.wav");
    write_wav(&file, &heard, 48_000);
    pesq::score(&speech().reference, &file)
}

/// One call with speech both ways at once: how the page and the trunk heard it, and the best that either could.
struct Scores {
    page: f64,
    trunk: f64,
    best_page: f64,
    best_trunk: f64,
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

fn speak_both_ways(mut phone: Phone, firefox: bool) -> Scores {
    let (gateway, sipp, mut party) = carrier();
    phone.open(&gateway.url());
    call(&mut phone);
    phone.record();
    let talk = std::thread::spawn(move || {
        // A carrier sends from the first moment on: browsers' jitter buffers are settled when someone speaks.
        let mut audio = vec![0xff; 16_000];
        audio.extend(std::fs::read(&speech().mulaw).expect("speech"));
        party.play(0, &audio);
        std::thread::sleep(Duration::from_secs(3));
        party
    });
    std::thread::sleep(Duration::from_secs(13));
    let party = talk.join().expect("party");
    assert_eq!(phone.codecs(), ["audio/opus"], "Opus and nothing else on the browser's side");
    // Under DTLS 1.3 what it likes best is taken (RFC 7714 §14.2).
    assert_eq!(phone.report("transport")["srtpCipher"], "SRTP_AEAD_AES_128_GCM");
    // Firefox never connects to loopback: what connects it is a candidate of the machine's own address.
    assert!(!firefox || !connected_to(&mut phone).is_loopback());
    let (at_page, at_trunk) = (gateway.dir.join("page.wav"), gateway.dir.join("trunk.wav"));
    phone.stop_record(&at_page);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    let carrier = sipp.finish();
    carrier.must_pass();
    assert!(carrier.messages.contains("a=rtpmap:0 PCMU/8000"), "{}", carrier.messages);
    assert!(party.heard().iter().all(|one| one.pt == 0 && one.payload.len() == 160), "20 ms of PCMU each");
    write_wav(&at_trunk, &party.pcmu(), 8000);
    let cdr = &gateway.wait_cdrs(1)[0];
    assert_eq!(
        (&cdr["caller_media"]["codec"], &cdr["callee_media"]["codec"]),
        (&"opus".into(), &"pcmu".into())
    );
    let reference = &speech().reference;
    Scores {
        page: pesq::score(reference, &at_page),
        trunk: pesq::score(reference, &at_trunk),
        best_page: offline_at_page(&gateway.dir),
        best_trunk: offline_at_trunk(&gateway.dir),
    }
}

/// The goal is 0.25 below what the codecs alone give. A busy machine costs a browser some frames: a call below the goal
/// is made twice more and the median counts; 0.3 below the goal fails.
fn both_ends_hear_the_other(firefox: bool) {
    let one = || {
        let microphone = Some(speech().microphone.as_path());
        speak_both_ways(
            if firefox { Phone::firefox(microphone) } else { Phone::chromium(microphone) },
            firefox,
        )
    };
    let mut scores = vec![one()];
    let (page_goal, trunk_goal) = (scores[0].best_page - 0.25, scores[0].best_trunk - 0.25);
    if scores[0].page < page_goal || scores[0].trunk < trunk_goal {
        for _ in 0..2 {
            wait_calm(Duration::from_secs(20));
            scores.push(one());
        }
    }
    let median = |pick: fn(&Scores) -> f64| {
        let mut sorted: Vec<f64> = scores.iter().map(pick).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let (page, trunk) = (median(|one| one.page), median(|one| one.trunk));
    eprintln!("{} calls; at the page {page:.2}, goal {page_goal:.2}", scores.len());
    eprintln!("at the trunk {trunk:.2}, goal {trunk_goal:.2}");
    assert!(page >= page_goal - 0.3, "at the page {page}, goal {page_goal}");
    assert!(trunk >= trunk_goal - 0.3, "at the trunk {trunk}, goal {trunk_goal}");
}

#[test]
fn chromium_and_the_trunk_hear_each_other_as_well_as_the_codecs_allow() {
    both_ends_hear_the_other(false);
}

#[test]
fn firefox_and_the_trunk_hear_each_other_as_well_as_the_codecs_allow() {
    both_ends_hear_the_other(true);
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

/// RFC 6716 §2.1.7, RFC 7587: LBRR is decoded by us and sent to the browser.
#[test]
fn forward_error_correction_works_both_ways_at_5_percent_loss() {
    let (gateway, sipp, mut party) = carrier();
    let mut phone = Phone::chromium(Some(&speech().long_microphone));
    let relays = open_through_relays(&mut phone, &gateway);
    call(&mut phone);
    for relay in &relays {
        relay.lose(5);
    }
    let audio = std::fs::read(&speech().mulaw).expect("speech").repeat(3);
    party.play(0, &audio);
    let inbound = phone.report("inbound-rtp");
    let corrected = inbound["fecPacketsReceived"].as_u64().unwrap_or(0);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    sipp.finish().must_pass();
    let cdr = &gateway.wait_cdrs(1)[0];
    let lost: u64 = relays.iter().map(|relay| relay.counts().0).sum();
    assert!(lost > 20, "the line lost {lost} packets");
    assert!(corrected > 0, "fecPacketsReceived in Chromium: {inbound}");
    assert!(cdr["caller_media"]["fec_frames"].as_u64() > Some(0), "LBRR frames decoded here: {cdr}");
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
