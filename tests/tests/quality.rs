//! How calls sound: real browsers on one side, an RTP party at the carrier's end on the other, recorded at both ends.

use e2e::gateway::{Gateway, Setup, WORKERS};
use e2e::pesq;
use e2e::phone::Phone;
use e2e::process::wait_for;
use e2e::relay::Relay;
use e2e::rtp::{RtpParty, Seeded};
use e2e::sipp::{Running, Sipp};
use e2e::speech::{read_wav, sox, speech, write_wav};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

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

/// The clip through libopus at 8 kHz and 20 kb/s and through mu-law, with no network: what a perfect gateway gives.
fn offline_chain(dir: &Path) -> f64 {
    let clip = read_wav(&speech().reference);
    let mut encoder =
        opus::Encoder::new(8000, opus::Channels::Mono, opus::Application::Voip).expect("encoder");
    encoder.set_bitrate(opus::Bitrate::Bits(20_000)).expect("bitrate");
    encoder.set_inband_fec(true).expect("FEC");
    let mut decoder = opus::Decoder::new(8000, opus::Channels::Mono).expect("decoder");
    let mut heard = Vec::new();
    for frame in clip.as_chunks::<160>().0 {
        let packet = encoder.encode_vec(frame, 1500).expect("encoded");
        let mut samples = [0; 160];
        decoder.decode(&packet, &mut samples, false).expect("decoded");
        heard.extend(samples);
    }
    let (coded, both) = (dir.join("offline-opus.wav"), dir.join("offline.wav"));
    write_wav(&coded, &heard, 8000);
    mulaw_of(&coded, &both);
    pesq::score(&speech().reference, &both)
}

fn both_ends_hear_the_other(mut phone: Phone) {
    let (gateway, sipp, mut party) = carrier();
    phone.open(&gateway.url());
    call(&mut phone);
    phone.record();
    let talk = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        party.play(0, &std::fs::read(&speech().mulaw).expect("speech"));
        std::thread::sleep(Duration::from_secs(4));
        party
    });
    std::thread::sleep(Duration::from_secs(13));
    let party = talk.join().expect("party");
    assert_eq!(phone.report("codec")["mimeType"], "audio/opus", "Opus on the browser's side");
    let (at_page, at_trunk) = (gateway.dir.join("page.wav"), gateway.dir.join("trunk.wav"));
    phone.stop_record(&at_page);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    let carrier = sipp.finish();
    carrier.must_pass();
    write_wav(&at_trunk, &party.pcmu(), 8000);
    let best = offline_chain(&gateway.dir);
    let (page, trunk) =
        (pesq::score(&speech().reference, &at_page), pesq::score(&speech().reference, &at_trunk));
    assert!(trunk > best - 0.25, "at the trunk {trunk}, offline {best}");
    assert!(page > best - 0.25, "at the page {page}, offline {best}");
    let cdr = &gateway.wait_cdrs(1)[0];
    assert_eq!(
        (&cdr["caller_media"]["codec"], &cdr["callee_media"]["codec"]),
        (&"opus".into(), &"pcmu".into())
    );
}

#[test]
fn chromium_and_the_trunk_hear_each_other_as_well_as_the_codecs_allow() {
    both_ends_hear_the_other(Phone::chromium(Some(&speech().microphone)));
}

#[test]
fn firefox_and_the_trunk_hear_each_other_as_well_as_the_codecs_allow() {
    both_ends_hear_the_other(Phone::firefox(Some(&speech().microphone)));
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
    assert_eq!(digits(&party), wanted);
    let short = party.digits(101).into_iter().filter(|(_, ms)| *ms < 40).count();
    assert_eq!(short, 0, "every digit is long enough to be heard: {:?}", party.digits(101));
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    sipp.finish().must_pass();
}
