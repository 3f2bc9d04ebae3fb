//! How calls sound: real browsers on one side, an RTP party at the carrier's end on the other, recorded at both ends.

use e2e::document::Section;
use e2e::gateway::{Gateway, Setup, WORKERS};
use e2e::pesq;
use e2e::phone::Phone;
use e2e::ports::addresses;
use e2e::process::{wait_calm, wait_for};
use e2e::relay::Relay;
use e2e::rtp::{RtpParty, Seeded};
use e2e::sipp::{Running, Sipp};
use e2e::speech::{speech, write_wav};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
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

const TABLE: Section = Section {
    heading: "## Browsers",
    words: "Chromium and Firefox talk with a carrier of PCMU, both speaking at \
            once, in real time; the line between browser and gateway\n\
            loses packets both ways. *4.15 of 4.16* is 4.15 where the browser, of \
            the same microphone at the same moment, hears 4.16 in a\n\
            call with itself over a line of the same loss, with the parameters of \
            Opus that our answer asks for. Goal: within 0.25 of that\n\
            and of the codecs alone, which offline make 4.34 towards the page and \
            4.30 towards the carrier, at 5 % lost 4.11 and 4.15;\n\
            what is not stands in bold. PESQ of 8 s of one reader; a row is one \
            call or, where the first is beyond its goal, the median of\n\
            three. *Gateway*: frames of the browser's Opus in the call's record. \
            *Page*: ours in getStats; almost every packet brings FEC,\n\
            and some 200 ms are made up without any loss too. The calls are made \
            by `WEBTRUNK_WRITE_DOCS=1 cargo test -p e2e --test sound\n\
            the_trunk_hear_each_other -- \
            --test-threads=1`.",
    columns: "| browser | lost | at the page | at the carrier | gateway: lost, by FEC, concealed | page: codec, lost, with FEC, concealed |\n\
              |---|---|---|---|---|---|",
    key: 2,
    exact: false,
};

/// What the codecs alone make of speech towards the page and towards the carrier, without and with loss.
const OFFLINE: [[f64; 2]; 2] = [[4.34, 4.30], [4.11, 4.15]];

/// How a call with speech both ways at once sounded, the browser's call with itself beside it, and what was at work.
struct Scores {
    page: f64,
    trunk: f64,
    itself: f64,
    counted: String,
    /// How far the page and the trunk are behind what they could hear.
    behind: [f64; 2],
}

impl Scores {
    fn worse(&self) -> f64 {
        self.behind[0].max(self.behind[1])
    }

    /// A cell of the table.
    fn cell(&self, end: usize) -> String {
        let bold = if self.behind[end] > GOAL { "**" } else { "" };
        format!("{bold}{:.2} of {:.2}{bold}", [self.page, self.trunk][end], self.itself)
    }
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
    redundancy_was_at_work(loss_percent, &inbound, cdr);
    let [page, itself, trunk] = files.map(|file| pesq::score(&speech().reference, &file));
    let counted = counters(&inbound, &cdr["caller_media"]);
    eprintln!("{loss_percent} % lost: page {page:.2}, trunk {trunk:.2}, itself {itself:.2}; {counted}");
    let offline = OFFLINE[usize::from(loss_percent > 0)];
    let behind = [0, 1].map(|end| itself.max(offline[end]) - [page, trunk][end]);
    Scores { page, trunk, itself, counted, behind }
}

/// RFC 6716 §2.1.7, RFC 7587: LBRR is decoded by us and sent to the browser.
fn redundancy_was_at_work(loss_percent: u32, inbound: &Value, cdr: &Value) {
    let corrected = inbound["fecPacketsReceived"].as_u64();
    let ours = cdr["caller_media"]["fec_frames"].as_u64();
    eprintln!("{corrected:?} packets with FEC came to the browser, {ours:?} frames were recovered here");
    assert!(loss_percent == 0 || ours > Some(0), "LBRR frames decoded here: {cdr}");
    assert!(loss_percent == 0 || corrected > Some(0), "fecPacketsReceived: {inbound}");
}

/// Two cells of the table: what our record says of the browser's packets, and what its statistics say of ours.
fn counters(inbound: &Value, ours: &Value) -> String {
    let of = |key: &str| inbound[key].as_u64().unwrap_or_else(|| panic!("{key} in {inbound}"));
    // Without what is made up before anyone speaks.
    let silent = inbound["silentConcealedSamples"].as_u64().unwrap_or(0);
    let made_up = (of("concealedSamples") - silent) / 48;
    let [lost, recovered, concealed] =
        ["lost", "fec_frames", "plc_frames"].map(|key| ours[key].as_u64().expect("a counter"));
    format!(
        "{lost}, {recovered}, {concealed} | Opus, {}, {}, {made_up} ms",
        of("packetsLost"),
        of("fecPacketsReceived")
    )
}

const GOAL: f64 = 0.25;

/// The goal is 0.25 below what the browser makes of a call with itself over as bad a line, and below the codecs alone. A
/// busy machine costs a browser some frames, and losses fall on other sounds each time: a call below the goal is made
/// twice more and the median counts; 0.3 below the goal fails.
fn both_ends_hear_the_other(firefox: bool, loss_percent: u32) {
    let mut calls = vec![speak_both_ways(firefox, loss_percent)];
    if calls[0].worse() > GOAL {
        for _ in 0..2 {
            wait_calm(Duration::from_secs(20));
            calls.push(speak_both_ways(firefox, loss_percent));
        }
    }
    calls.sort_by(|a, b| a.worse().total_cmp(&b.worse()));
    let median = &calls[calls.len() / 2];
    let name = if firefox { "Firefox" } else { "Chromium" };
    let (page, trunk) = (median.cell(0), median.cell(1));
    TABLE.put(&[format!("| {name} | {loss_percent} % | {page} | {trunk} | {} |", median.counted)]);
    for (n, end) in ["at the page", "at the trunk"].iter().enumerate() {
        let mut sorted: Vec<f64> = calls.iter().map(|one| one.behind[n]).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        eprintln!("{end}, {loss_percent} % lost: {median:.2} behind, goal {GOAL}; {} calls", calls.len());
        assert!(median <= GOAL + 0.3, "{end} {sorted:.2?} behind what it could be");
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

#[test]
fn firefox_and_the_trunk_hear_each_other_at_5_percent_loss_as_well_as_firefox_hears_itself() {
    both_ends_hear_the_other(true, 5);
}

/// Relays in front of every worker, and the page opened through them. Each speaks to the gateway from the machine's own
/// address: Firefox takes no answer that tells it of itself on loopback (XOR-MAPPED-ADDRESS, RFC 8445 §7.2.5.3.1).
fn open_through_relays(phone: &mut Phone, gateway: &Gateway) -> Vec<Relay> {
    let own = addresses().into_iter().map(|(_, ip)| ip).find(IpAddr::is_ipv4);
    let own = own.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let relay = |worker| Relay::start_to((own, gateway.webrtc + worker).into(), u64::from(worker) + 5);
    let relays: Vec<Relay> = (0..WORKERS).map(relay).collect();
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
