//! Hold and resume between the page, softphones and a trunk (RFC 3264 §8.4, RFC 6337 §5.3; field problems 2, 3, 18-21, 35).

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, Setup};
use e2e::phone::Phone;
use e2e::playing::Playing;
use e2e::ports::root;
use e2e::rtp::{Heard, RtpParty, mulaw};
use e2e::speech::{read_wav, speech};
use e2e::tone::{loudest_share, rms, share};
use e2e::trunk::{Call, Media, Trunk};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// What the trunk's party plays (Hz): no note of the gateway's music.
const TONE: f64 = 1000.0;
/// The notes of the gateway's music (Hz).
const NOTES: [f64; 8] = [261.63, 329.63, 392.0, 523.25, 220.0, 440.0, 174.61, 349.23];

/// The share of 200 ms windows with sound in which one note of the music is most of it; none without sound.
fn music(samples: &[i16], rate: u32) -> Option<f64> {
    let windows = samples.chunks_exact(rate as usize / 5);
    let loud: Vec<&[i16]> = windows.filter(|window| rms(window) > 150.0).collect();
    let tuneful =
        |window: &&&[i16]| NOTES.iter().map(|note| share(window, rate, *note)).fold(0.0, f64::max) > 0.35;
    let found = loud.iter().filter(tuneful).count();
    (!loud.is_empty()).then(|| found as f64 / loud.len() as f64)
}

/// What the page hears for this long: 48 kHz samples.
fn listen(phone: &mut Phone, gateway: &Gateway, span: Duration) -> Vec<i16> {
    phone.record();
    std::thread::sleep(span);
    let file = gateway.dir.join("listened.wav");
    phone.stop_record(&file);
    read_wav(&file)
}

/// One stream from first to last: one SSRC, no number missing, time that only grows (field problems 2 and 3).
fn assert_one_stream(heard: &[Heard]) {
    let audio: Vec<&Heard> = heard.iter().filter(|one| one.pt == 0).collect();
    for pair in audio.windows(2) {
        assert_eq!(pair[0].ssrc, pair[1].ssrc, "one SSRC for the whole call");
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1), "no gap and no repetition");
        assert!((pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32) > 0, "time goes on");
    }
}

fn samples(heard: &[Heard]) -> Vec<i16> {
    heard
        .iter()
        .filter(|one| one.pt == 0)
        .flat_map(|one| one.payload.iter().map(|byte| mulaw(*byte)))
        .collect()
}

/// Alice's page in a call with the carrier, whose party has not begun to play.
fn in_call() -> (Trunk, Gateway, Phone, Call, RtpParty) {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut phone = Phone::chromium(Some(&speech().long_microphone));
    phone.open(&gateway.url());
    phone.sign_in("alice");
    phone.wait_status("^Ready", LIMIT);
    phone.dial("+12025550100");
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    phone.wait_status("^In call$", LIMIT);
    (trunk, gateway, phone, call, party)
}

#[test]
fn hold_on_the_page_plays_music_to_the_trunk_and_nothing_to_the_page_until_it_is_pressed_again() {
    let (trunk, gateway, mut phone, call, party) = in_call();
    let playing = Playing::start(party, TONE);
    let (tone, _) = loudest_share(&listen(&mut phone, &gateway, Duration::from_secs(2)), 48_000, TONE);
    assert!(tone > 0.9, "the carrier is heard before: {tone}");
    phone.press("Hold");
    phone.wait_status("^On hold$", LIMIT);
    let pressed = "document.getElementById('hold').getAttribute('aria-pressed')";
    assert_eq!(phone.evaluate(pressed), "true");
    phone.screenshot(&root().join("target/screenshots/on-hold.png"));
    std::thread::sleep(Duration::from_millis(500));
    let party = playing.stop();
    let before = party.heard().len();
    let playing = Playing::start(party, TONE);
    let heard = listen(&mut phone, &gateway, Duration::from_secs(4));
    let (tone, windows) = loudest_share(&heard, 48_000, TONE);
    assert_eq!(windows, 0, "whoever holds hears nothing: {tone}");
    let party = playing.stop();
    let on_hold = &party.heard()[before..];
    // 4 s of 20 ms packets; half of them at least, whatever else this machine has to do.
    assert!(on_hold.len() >= 100, "a steady stream goes to the held side: {} packets", on_hold.len());
    let tuneful = music(&samples(on_hold), 8000).expect("music at the trunk");
    assert!(tuneful > 0.6, "music and not the microphone: {tuneful}");
    let playing = Playing::start(party, TONE);
    phone.press("Hold");
    phone.wait_status("^In call$", LIMIT);
    assert_eq!(phone.evaluate(pressed), "false");
    std::thread::sleep(Duration::from_millis(500));
    let (tone, _) = loudest_share(&listen(&mut phone, &gateway, Duration::from_secs(2)), 48_000, TONE);
    assert!(tone > 0.9, "the carrier is heard again: {tone}");
    let party = playing.stop();
    assert_one_stream(&party.heard());
    let invites = trunk.seen().iter().filter(|one| one.is("INVITE")).count();
    assert_eq!(invites, 1, "the trunk's session is not touched");
    phone.press("Hang up");
    call.wait("BYE", LIMIT);
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}

#[test]
fn every_form_of_hold_by_the_trunk_plays_music_to_the_page_and_stops_what_goes_to_the_trunk() {
    let (_trunk, gateway, mut phone, call, party) = in_call();
    for form in Media::HOLDS {
        let answer = call.reinvite(&party, form);
        let mirror = if form == Media::Inactive { "a=inactive" } else { "a=recvonly" };
        assert!(answer.body.contains(mirror), "{form:?}:\n{}", answer.body);
        phone.wait_status("^On hold by the other side$", LIMIT);
        if form == Media::SendOnly {
            phone.screenshot(&root().join("target/screenshots/on-hold-by-the-other-side.png"));
        }
        std::thread::sleep(Duration::from_millis(500));
        let before = party.heard().len();
        let heard = listen(&mut phone, &gateway, Duration::from_secs(4));
        let tuneful = music(&heard, 48_000).expect("music at the page");
        assert!(tuneful > 0.6, "{form:?}: {tuneful}");
        assert_eq!(party.heard().len(), before, "{form:?}: nothing goes to a side that wants nothing");
        let answer = call.reinvite(&party, Media::Both);
        assert!(answer.body.contains("a=sendrecv"), "{form:?}:\n{}", answer.body);
        phone.wait_status("^In call$", LIMIT);
        e2e::process::wait_for(LIMIT, "audio for the trunk again", || {
            (party.heard().len() > before + 25).then_some(())
        });
    }
    assert_one_stream(&party.heard());
    call.hang_up();
    phone.wait_status("^Call ended: The call was hung up", LIMIT);
    let cdr = &gateway.wait_cdrs(1)[0];
    assert_eq!(cdr["notes"].as_array().map_or(0, Vec::len), 0, "silence on hold is no fault: {cdr}");
}

#[test]
fn both_sides_hold_at_once_and_each_resumes_for_itself() {
    let (_trunk, gateway, mut phone, call, party) = in_call();
    phone.press("Hold");
    phone.wait_status("^On hold$", LIMIT);
    call.reinvite(&party, Media::SendOnly);
    // A late-offer re-INVITE resumes too: our offer is both ways (RFC 6337 §5.3).
    let offer = call.reinvite_without_offer(&party, Media::Both);
    assert!(offer.body.contains("a=sendrecv"), "{}", offer.body);
    let playing = Playing::start(party, TONE);
    phone.press("Hold");
    phone.wait_status("^In call$", LIMIT);
    std::thread::sleep(Duration::from_millis(500));
    let (tone, _) = loudest_share(&listen(&mut phone, &gateway, Duration::from_secs(2)), 48_000, TONE);
    assert!(tone > 0.9, "{tone}");
    let party = playing.stop();
    call.reinvite_without_offer(&party, Media::Inactive);
    phone.wait_status("^On hold by the other side$", LIMIT);
    phone.press("Hang up");
    phone.wait_status("^Call ended: ", LIMIT);
    gateway.wait_cdrs(1);
}

#[test]
fn baresip_holds_and_resumes_a_call_to_the_trunk_and_is_put_on_hold_by_it() {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let mut bob = Baresip::start(&Account::new("bob", gateway.sip, &speech().reference));
    bob.wait_registered(LIMIT);
    bob.command("dial", &format!("sip:+12025550100@127.0.0.1:{}", gateway.sip));
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    bob.wait_event("CALL_ESTABLISHED", LIMIT);
    bob.command("hold", "");
    let tuneful = |from: usize| {
        let heard = party.heard().split_off(from);
        (heard.len() > 100)
            .then(|| music(&samples(&heard[50..]), 8000))
            .flatten()
            .filter(|share| *share > 0.6)
    };
    let before = party.heard().len();
    e2e::process::wait_for(LIMIT, "music at the trunk", || tuneful(before));
    bob.command("resume", "");
    // Its speech again: louder than the music ever is.
    e2e::process::wait_for(LIMIT, "baresip's voice at the trunk", || {
        let heard = samples(&party.heard().split_off(before));
        let last = heard.len().saturating_sub(4000);
        (rms(&heard[last..]) > 2500.0).then_some(())
    });
    call.reinvite(&party, Media::SendOnly);
    let before = party.heard().len();
    std::thread::sleep(Duration::from_millis(500));
    assert!(party.heard().len() <= before + 3, "nothing goes to a side that wants nothing");
    call.reinvite(&party, Media::Both);
    e2e::process::wait_for(LIMIT, "audio again", || (party.heard().len() > before + 25).then_some(()));
    assert_one_stream(&party.heard());
    bob.command("hangup", "");
    call.wait("BYE", LIMIT);
    assert_eq!(gateway.wait_cdrs(1)[0]["reason"], "hung-up");
}
