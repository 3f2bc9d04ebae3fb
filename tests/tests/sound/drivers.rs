//! The test tools are proved alone, so that a failing call is the gateway's failure.

use e2e::baresip::{Account, Baresip};
use e2e::phone::Phone;
use e2e::ports::{free_ports, tools_dir};
use e2e::relay::Relay;
use e2e::rtp::RtpParty;
use e2e::sipp::Sipp;
use e2e::speech::{speech, write_wav};
use e2e::{pesq, process};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

fn recording(name: &str) -> PathBuf {
    tools_dir().join(format!("{name}-{}.wav", std::process::id()))
}

/// Serves the loopback page with a policy as strict as the gateway's.
fn serve_loopback_page() -> String {
    let port = free_ports(2);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("free port");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("connection");
            let mut request = [0; 4096];
            let size = stream.read(&mut request).unwrap_or(0);
            let (kind, body) = if request[..size].starts_with(b"GET /loopback.js") {
                ("text/javascript", include_str!("fixtures/loopback.js"))
            } else {
                ("text/html", include_str!("fixtures/loopback.html"))
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
                 Content-Security-Policy: default-src 'none'; script-src 'self'; connect-src 'self'; media-src 'self'; img-src data:\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
            // The browser may have gone; the test would notice.
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
        }
    });
    format!("http://127.0.0.1:{port}/")
}

fn records_its_own_speech(mut phone: Phone, name: &str) {
    phone.open(&serve_loopback_page());
    phone.sign_in("alice");
    assert_eq!(phone.wait_status("^Signed in", LIMIT), "Signed in as alice with 13 characters");
    phone.keypad(&[('1', 300), ('*', 60)]);
    let said = phone.wait_status("^Key 1", LIMIT);
    let ms: u32 = said.split(' ').nth(3).and_then(|ms| ms.parse().ok()).expect("Key 1 for N ms");
    assert!((250..450).contains(&ms), "{said}");
    phone.wait_status("^Key \\*", LIMIT);
    phone.dial("+12025550100");
    phone.wait_status("^Calling", LIMIT);
    phone.wait_status("^In call with \\+12025550100$", LIMIT);
    phone.record();
    std::thread::sleep(Duration::from_secs(12));
    let file = recording(name);
    let got = phone.stop_record(&file);
    assert!(got.seconds > 10.0 && got.peak > 3000, "{name} recorded {got:?}");
    let codec = phone.report("codec");
    assert_eq!(codec["mimeType"], "audio/opus");
    let score = pesq::score(&speech().reference, &file);
    assert!(score > 3.9, "{name} hears itself through Opus with PESQ {score}");
    assert!(phone.console().iter().all(|line| !line.contains("Content Security")), "{:?}", phone.console());
}

#[test]
fn chromium_speaks_and_records_through_a_page_with_a_strict_policy() {
    records_its_own_speech(Phone::chromium(Some(&speech().microphone)), "chromium");
}

#[test]
fn firefox_speaks_and_records_through_a_page_with_a_strict_policy() {
    records_its_own_speech(Phone::firefox(Some(&speech().microphone)), "firefox");
}

#[test]
fn pesq_tells_clean_coded_and_broken_speech_apart() {
    let clean = pesq::score(&speech().reference, &speech().reference);
    assert!(clean > 4.5, "same file {clean}");
    let coded = pesq::score(&speech().reference, &speech().through_mulaw);
    assert!((4.2..4.5).contains(&coded), "mu-law {coded}");
    let shifted = recording("shifted");
    let mut samples = vec![0; 24_321];
    samples.extend(e2e::speech::read_wav(&speech().through_mulaw));
    write_wav(&shifted, &samples, 8000);
    let late = pesq::score(&speech().reference, &shifted);
    assert!((late - coded).abs() < 0.1, "the same three seconds later: {late}");
    for at in (24_000..samples.len()).step_by(1600) {
        let end = samples.len().min(at + 480);
        samples[at..end].fill(0);
    }
    write_wav(&shifted, &samples, 8000);
    let broken = pesq::score(&speech().reference, &shifted);
    assert!(broken < 3.0, "60 ms of each 200 ms missing: {broken}");
}

#[test]
fn a_relay_loses_by_its_percentage_and_passes_the_rest_both_ways() {
    let far = UdpSocket::bind("127.0.0.1:0").expect("socket");
    far.set_read_timeout(Some(LIMIT)).expect("timeout");
    let relay = Relay::start(far.local_addr().expect("bound").port(), 7);
    let near = UdpSocket::bind("127.0.0.1:0").expect("socket");
    near.set_read_timeout(Some(LIMIT)).expect("timeout");
    let mut buffer = [0; 16];
    near.send_to(b"there", ("127.0.0.1", relay.port)).expect("sent");
    let (size, from) = far.recv_from(&mut buffer).expect("passed");
    assert_eq!(&buffer[..size], b"there");
    far.send_to(b"back", from).expect("sent");
    let (size, from) = near.recv_from(&mut buffer).expect("passed back");
    assert_eq!((&buffer[..size], from.port()), (&b"back"[..], relay.port));
    relay.lose(20);
    for sent in 0..1000 {
        // A burst would overflow the relay's socket.
        std::thread::sleep(Duration::from_micros(if sent % 10 == 0 { 2000 } else { 0 }));
        near.send_to(b"x", ("127.0.0.1", relay.port)).expect("sent");
    }
    let all = || (relay.counts().0 + relay.counts().1 == 1002).then_some(());
    process::wait_for(LIMIT, "all 1002 packets counted", all);
    let (lost, _) = relay.counts();
    assert!((150..250).contains(&lost), "{lost} of 1000 lost at 20 %");
}

#[test]
fn an_rtp_party_hears_audio_and_digits_of_another() {
    let (ear, mut mouth) = (RtpParty::start(), RtpParty::start());
    mouth.peer = Some(([127, 0, 0, 1], ear.port).into());
    let audio = std::fs::read(&speech().mulaw).expect("speech");
    let begun = Instant::now();
    mouth.play(0, &audio[..16_000]);
    assert!(begun.elapsed() > Duration::from_millis(1900), "played in real time");
    mouth.digit(101, '5', 100);
    mouth.digit(101, '5', 240);
    mouth.digit(101, '#', 40);
    process::wait_for(LIMIT, "three digits", || (ear.digits(101).len() == 3).then_some(()));
    assert_eq!(ear.digits(101), [('5', 100), ('5', 240), ('#', 40)]);
    let expected: Vec<i16> = audio[..16_000].iter().map(|byte| e2e::rtp::mulaw(*byte)).collect();
    assert_eq!(ear.pcmu(), expected);
}

#[test]
fn baresip_calls_a_sipp_that_echoes_and_records_what_it_hears() {
    let sipp = Sipp::scenario("outbound_answer_echo").echo();
    let port = sipp.port;
    let sipp = sipp.start();
    let mut phone =
        Baresip::start(&Account { register: false, ..Account::new("alice", port, &speech().reference) });
    phone.command("dial", &format!("sip:echo@127.0.0.1:{port}"));
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    phone.wait_event("CALL_CLOSED", Duration::from_secs(20));
    sipp.finish().must_pass();
    let score = pesq::score(&speech().reference, &phone.heard());
    assert!(score > 4.2, "baresip hears its PCMU echo with PESQ {score}");
}
