//! Field problem 10: nothing is clipped at the answer, whoever speaks first, and nothing said before it is heard.

use e2e::browser::{RustBrowser, Voice};
use e2e::dialled::{Dialled, dial};
use e2e::gateway::{Gateway, Setup};
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::tone::{mulaw_tone, rms, share};
use e2e::trunk::Trunk;
use e2e::ws::Ws;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FRAME: Duration = Duration::from_millis(20);
/// What is said before the answer.
const BEFORE: [u8; 160] = [0x11; 160];
/// Frames of a prompt or a hello.
const WORDS: u8 = 20;

/// One frame that says which it is.
fn word(number: u8) -> [u8; 160] {
    let mut frame = [0x35; 160];
    frame[0] = 0x80 | number;
    frame
}

/// Which of those frames are among these payloads, in their order.
fn words<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    payloads.filter(|p| p.len() == 160 && p[1..] == word(0)[1..]).map(|p| p[0] & 0x7f).collect()
}

fn all() -> Vec<u8> {
    (0..WORDS).collect()
}

/// Waits until the nth frame since `start` is due: the speaker's clock.
fn due(start: Instant, n: u32) {
    std::thread::sleep((start + FRAME * n).saturating_duration_since(Instant::now()));
}

/// A carrier whose prompt begins so many frames ahead of its 200 OK; what the browser then hears.
fn prompted(gateway: &Gateway, trunk: &mut Trunk, voice: Voice, prompt: &[u8], ahead: usize) -> RustBrowser {
    let Dialled { mut ws, browser, call } = dial(gateway, trunk, voice);
    browser.wait_connected();
    let mut party = RtpParty::start();
    party.peer = Some(call.invite.audio());
    let start = Instant::now();
    for (n, frame) in prompt.chunks(160).enumerate() {
        due(start, n as u32);
        party.play(0, frame);
        if n + 1 == ahead {
            call.answer(&mut party);
        }
    }
    ws.wait_state("in-call");
    let frames = prompt.len() / 160;
    assert!(browser.wait_heard(voice.pt(), frames, LIMIT), "{} of {frames} frames", browser.heard().len());
    ws.bye("c1");
    ws.wait_ended("c1");
    browser
}

#[test]
fn a_prompt_that_begins_with_or_before_its_200_ok_is_heard_in_the_browser_from_its_first_frame() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let prompt: Vec<u8> = all().into_iter().flat_map(word).collect();
    for ahead in [1, 3] {
        let browser = prompted(&gateway, &mut trunk, Voice::Pcmu, &prompt, ahead);
        let heard = browser.heard();
        assert_eq!(words(heard.iter().map(|one| &one.payload[..])), all(), "{ahead} ahead");
        let newest = heard.last().expect("the prompt").timestamp;
        assert_eq!(newest.wrapping_sub(heard[0].timestamp), 160 * (u32::from(WORDS) - 1), "in one stretch");
    }

    // Through Opus the first 20 ms are a sound of their own.
    let mut prompt = mulaw_tone(1_000.0, 0.02);
    prompt.extend([0xff; 6 * 160]);
    prompt.extend(mulaw_tone(400.0, 0.2));
    let mut heard = prompted(&gateway, &mut trunk, Voice::Opus, &prompt, 3).heard();
    heard.sort_by_key(|one| one.seq);
    let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).expect("a decoder");
    let mut samples = [0; 480];
    let mut said = 0;
    for one in &heard[..3] {
        said += decoder.decode(&one.payload, &mut samples[said..], false).expect("Opus");
    }
    let first = &samples[..320];
    // It is half of these 40 ms, so its share can not be more than a half.
    let (loudness, share) = (rms(first), share(first, 8_000, 1_000.0));
    assert!(loudness > 2_000.0 && share > 0.35, "the first syllable: {loudness}, {share}");
}

#[test]
fn a_caller_in_a_browser_is_heard_at_the_phone_from_the_answer_on_and_no_sooner() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let Dialled { mut ws, mut browser, call } = dial(&gateway, &mut trunk, Voice::Pcmu);
    browser.wait_connected();
    let mut party = RtpParty::start();
    call.ring();
    ws.wait_state("ringing");
    browser.speak_for(Duration::from_millis(300), &BEFORE);
    call.answer(&mut party);
    ws.wait_state("in-call");
    for n in all() {
        browser.speak_for(FRAME, &word(n));
    }
    let said = || words(party.heard().iter().map(|one| &one.payload[..]));
    wait_for(LIMIT, "the hello at the phone", || said().contains(&(WORDS - 1)).then_some(()));
    assert_eq!(said(), all());
    assert!(party.heard().iter().all(|one| one.payload != BEFORE), "what was said while it rang");
}

#[test]
fn whoever_picks_up_in_a_browser_and_speaks_at_once_is_heard_at_the_phone_from_the_first_frame() {
    let trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut alice = Ws::signed_in(SocketAddr::new(LOOPBACK, gateway.http), "alice");
    // Speech may overtake the word that it is answered: by nothing, or by 40 ms.
    for ahead in [0, 2] {
        let mut party = RtpParty::start();
        let call = trunk.call(gateway.sip, "+12025550110", ("Carol", "+12025550177"), party.port);
        let id = alice.wait_type("incoming")["call"].as_str().expect("an id").to_owned();
        let mut browser = RustBrowser::new(Voice::Pcmu, LOOPBACK);
        alice.send(&json!({ "type": "offer", "call": id, "sdp": browser.offer() }));
        browser.set_answer(alice.wait_type("sdp")["sdp"].as_str().expect("text"));
        browser.wait_connected();
        for n in all() {
            if n == ahead {
                alice.send(&json!({ "type": "answer", "call": id }));
            }
            browser.speak_for(FRAME, &word(n));
        }
        call.wait_answer(&mut party, LIMIT);
        let said = || words(party.heard().iter().map(|one| &one.payload[..]));
        wait_for(LIMIT, "the hello at the phone", || said().contains(&(WORDS - 1)).then_some(()));
        assert_eq!(said(), all(), "{ahead} ahead");
        alice.bye(&id);
        alice.wait_ended(&id);
    }
}
