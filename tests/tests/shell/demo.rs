//! `webtrunk demo` as its first user meets it: every number that it prints does what it says.

use e2e::browser::{RustBrowser, Voice};
use e2e::gateway::{Gateway, binary};
use e2e::ports::free_ports;
use e2e::process::wait_for;
use e2e::ws::Ws;
use serde_json::json;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);
const SPEECH: [u8; 160] = [0x31; 160];

fn alice(gateway: &Gateway) -> Ws {
    Ws::signed_in(SocketAddr::new(LOOPBACK, gateway.http), "alice")
}

fn dial(ws: &mut Ws, id: &str, number: &str) -> RustBrowser {
    let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    ws.call(&browser, id, number);
    browser.wait_connected();
    browser
}

fn hang_up(ws: &mut Ws, id: &str, reason: &str) {
    ws.bye(id);
    assert_eq!(ws.wait_ended(id), reason);
}

/// Whether what was heard is a sound, not silence repeated.
fn is_sound(browser: &RustBrowser) -> bool {
    assert!(browser.wait_heard(0, 60, LIMIT), "{} packets", browser.heard().len());
    let frames: HashSet<Vec<u8>> = browser.heard().into_iter().map(|one| one.payload).collect();
    frames.len() > 10
}

#[test]
fn the_numbers_that_answer_echo_play_music_and_say_digits_back() {
    let gateway = Gateway::demo();
    let mut ws = alice(&gateway);
    let mut browser = dial(&mut ws, "echo", "+12025550100");
    ws.wait_state("ringing");
    ws.wait_state("in-call");
    browser.speak_for(Duration::from_secs(1), &SPEECH);
    std::thread::sleep(Duration::from_millis(200));
    let echoed = browser.heard().iter().filter(|one| one.payload == SPEECH).count();
    assert!(echoed >= 40, "{echoed} of 50 frames came back");
    hang_up(&mut ws, "echo", "hung-up");

    let browser = dial(&mut ws, "music", "+12025550101");
    ws.wait_state("in-call");
    assert!(is_sound(&browser));
    hang_up(&mut ws, "music", "hung-up");

    let mut browser = dial(&mut ws, "digits", "+12025550104");
    ws.wait_state("in-call");
    browser.speak_for(Duration::from_millis(200), &SPEECH);
    for digit in ['4', '2', '#'] {
        browser.press(digit, Duration::from_millis(160));
        browser.speak_for(Duration::from_millis(300), &SPEECH);
    }
    let said: Vec<char> = (0..3)
        .map(|_| {
            ws.wait_type("dtmf")["digit"].as_str().and_then(|digit| digit.chars().next()).expect("a digit")
        })
        .collect();
    assert_eq!(said, ['4', '2', '#'], "as messages");
    let heard: Vec<char> = browser.digits().into_iter().map(|(digit, _)| digit).collect();
    assert_eq!(heard, ['4', '2', '#'], "as events in the stream");
    hang_up(&mut ws, "digits", "hung-up");
}

#[test]
fn the_numbers_that_do_not_answer_are_busy_ring_on_or_play_before_the_answer() {
    let gateway = Gateway::demo();
    let mut ws = alice(&gateway);
    let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    ws.call(&browser, "busy", "+12025550102");
    assert_eq!(ws.wait_ended("busy"), "busy");

    let browser = dial(&mut ws, "rings", "+12025550103");
    ws.wait_state("ringing");
    assert!(is_sound(&browser), "ringback");
    hang_up(&mut ws, "rings", "cancelled");

    let browser = dial(&mut ws, "early", "+12025550105");
    ws.wait_state("early-media");
    assert!(is_sound(&browser), "early media");
    ws.wait_state("in-call");
    hang_up(&mut ws, "early", "hung-up");
}

/// `webtrunk demo | head -3`, a terminal that was closed: calls go on, and the end is a clean one.
#[test]
fn a_terminal_that_goes_away_ends_no_call() {
    let [http, sip, carrier, webrtc, rtp] = [2, 2, 2, 8, 40].map(free_ports);
    let mut command = Command::new(binary());
    let args = format!(
        "demo --http 127.0.0.1:{http} --sip 127.0.0.1:{sip} --carrier 127.0.0.1:{carrier} --webrtc-port {webrtc} \
         --rtp-ports {rtp}-{} --password deaf --sip-trace",
        rtp + 39
    );
    command.args(args.split(' ')).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("webtrunk starts");
    drop((child.stdout.take(), child.stderr.take()));
    let to = SocketAddr::new(LOOPBACK, http);
    wait_for(LIMIT, "the page", || std::net::TcpStream::connect(to).ok());
    let mut ws = Ws::open(to);
    assert_eq!(ws.hello("alice", "deaf")["type"], "welcome");
    let browser = dial(&mut ws, "c1", "+12025550101");
    ws.wait_state("in-call");
    assert!(is_sound(&browser));
    // SIGTERM would wait for the call.
    let stopped = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(stopped.is_ok_and(|status| status.success()));
    assert_eq!(ws.wait_ended("c1"), "gateway-stopping");
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[test]
fn the_number_that_calls_back_rings_and_can_be_answered() {
    let gateway = Gateway::demo();
    let mut ws = alice(&gateway);
    let _first = dial(&mut ws, "back", "+12025550199");
    ws.wait_state("in-call");
    assert_eq!(ws.wait_ended("back"), "hung-up");
    let incoming = ws.wait_type("incoming");
    assert_eq!((&incoming["from"], &incoming["name"]), (&json!("+12025550199"), &json!("Demo carrier")));
    let id = incoming["call"].as_str().expect("an id").to_owned();
    let browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
    ws.send(&json!({ "type": "offer", "call": id, "sdp": browser.offer() }));
    let answer = ws.wait_type("sdp");
    browser.set_answer(answer["sdp"].as_str().expect("text"));
    browser.wait_connected();
    ws.send(&json!({ "type": "answer", "call": id }));
    ws.wait_state("in-call");
    assert!(is_sound(&browser), "music");
    hang_up(&mut ws, &id, "hung-up");
}
