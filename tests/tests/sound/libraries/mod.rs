//! What each browser SIP library must be able to do, with a carrier of the tests' own at the trunk.

use e2e::gateway::{Gateway, Setup};
use e2e::library::Library;
use e2e::phone::Phone;
use e2e::ports::tools_dir;
use e2e::process::wait_for;
use e2e::rtp::RtpParty;
use e2e::speech::{read_wav, sox};
use e2e::tone::{loudest_share, mulaw_tone};
use e2e::trunk::Trunk;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

pub const LIMIT: Duration = Duration::from_secs(30);
/// Alice's number at the carrier.
const ALICE: &str = "+12025550110";
const WENDY: (&str, &str) = ("Wendy Darling", "+12025550177");
/// What the page's microphone hears, Hz.
const MICROPHONE: f64 = 440.0;
/// What the carrier's party plays, Hz.
const PARTY: f64 = 700.0;

/// A carrier, a gateway with a trunk to it, and alice registered by a library on a page named `main`.
pub struct Scene {
    pub trunk: Trunk,
    pub gateway: Gateway,
    pub phone: Phone,
}

/// A microphone that hears one tone for two minutes.
fn tone_microphone() -> PathBuf {
    let file = tools_dir().join(format!("tone-{}.wav", std::process::id()));
    sox(&[
        "-n",
        "-r",
        "48000",
        "-b",
        "16",
        "-c",
        "1",
        file.to_str().expect("UTF-8"),
        "synth",
        "120",
        "sine",
        "440",
        "gain",
        "-9",
    ]);
    file
}

pub fn alice(library: Library) -> Scene {
    let trunk = Trunk::start();
    // Two challenges: the libraries see the last alone, and know MD5 alone (RFC 8760 §2.3).
    let sip_keys = "digest = [\"SHA-256\", \"MD5\"]".into();
    let gateway = Gateway::run(&Setup { sip_keys, ..Setup::with_trunk(trunk.port) });
    let mut phone = Phone::chromium(Some(&tone_microphone()));
    phone.register(library, &gateway, "alice");
    Scene { trunk, gateway, phone }
}

impl Scene {
    /// Shows that each side hears the other's tone now. The party plays for as long as the page records.
    pub fn both_hear(&mut self, mut party: RtpParty) -> RtpParty {
        let before = party.pcmu().len();
        let playing = std::thread::spawn(move || {
            party.play(0, &mulaw_tone(PARTY, 4.0));
            party
        });
        std::thread::sleep(Duration::from_millis(500));
        self.phone.record();
        std::thread::sleep(Duration::from_millis(2500));
        let file = self.gateway.dir.join("listened.wav");
        self.phone.stop_record(&file);
        let (share, windows) = loudest_share(&read_wav(&file), 48_000, PARTY);
        assert!(
            share > 0.9 && windows >= 5,
            "the page hears the carrier: {share} in {windows} windows of 200 ms"
        );
        let party = playing.join().expect("party");
        let (share, windows) = loudest_share(&party.pcmu()[before..], 8_000, MICROPHONE);
        assert!(
            share > 0.9 && windows >= 5,
            "the carrier hears the page: {share} in {windows} windows of 200 ms"
        );
        party
    }

    /// The carrier's party is called by the page and answers.
    pub fn call_out(&mut self) -> (e2e::trunk::Call, RtpParty) {
        let mut party = RtpParty::start();
        self.phone.client("call(\"+12025550100\")");
        let call = self.trunk.wait_call(LIMIT);
        call.ring();
        self.phone.wait_status("^progress 180$", LIMIT);
        call.answer(&mut party);
        self.phone.wait_status("^confirmed$", LIMIT);
        (call, party)
    }

    /// The carrier calls alice and the page answers.
    pub fn call_in(&mut self) -> (e2e::trunk::Outgoing, RtpParty) {
        let mut party = RtpParty::start();
        let call = self.trunk.call(self.gateway.sip, ALICE, WENDY, party.port);
        call.wait(180, LIMIT);
        assert_eq!(self.phone.wait_status("^incoming", LIMIT), "incoming +12025550177");
        self.phone.client("answer()");
        call.wait_answer(&mut party, LIMIT);
        self.phone.wait_status("^confirmed$", LIMIT);
        (call, party)
    }

    /// The newest connection of the page runs DTLS-SRTP.
    pub fn is_encrypted(&mut self) {
        let transport = self.phone.report("transport");
        assert_eq!(transport["dtlsState"], "connected", "{transport}");
        assert!(transport["srtpCipher"].as_str().is_some_and(|c| !c.is_empty()), "{transport}");
    }
}

pub fn registers_and_calls_out(library: Library) {
    let mut scene = alice(library);
    let (call, party) = scene.call_out();
    assert_eq!(call.invite.number(), "+12025550100");
    assert!(call.invite.body.contains("RTP/AVP"), "the trunk gets plain RTP:\n{}", call.invite.body);
    scene.both_hear(party);
    scene.is_encrypted();
    assert_eq!(scene.phone.codecs(), ["audio/opus"]);
    scene.phone.client("hangUp()");
    call.wait("BYE", LIMIT);
    scene.phone.wait_status("^ended", LIMIT);
    let cdr = &scene.gateway.wait_cdrs(1)[0];
    assert_eq!((&cdr["reason"], &cdr["ended_by"]), (&"hung-up".into(), &"caller".into()), "{cdr}");
}

/// The gateway offers, with DTLS as `actpass`; the page's answer makes it the client.
pub fn is_called(library: Library) {
    let mut scene = alice(library);
    let (mut call, party) = scene.call_in();
    scene.both_hear(party);
    scene.is_encrypted();
    assert_eq!(scene.phone.codecs(), ["audio/opus"]);
    call.hang_up();
    scene.phone.wait_status("^ended", LIMIT);
    let cdr = &scene.gateway.wait_cdrs(1)[0];
    assert_eq!((&cdr["reason"], &cdr["ended_by"]), (&"hung-up".into(), &"caller".into()), "{cdr}");
    // A caller who gives up, and a person who declines.
    let given_up = scene.trunk.call(scene.gateway.sip, ALICE, WENDY, 40_000);
    scene.phone.wait_status("^incoming", LIMIT);
    given_up.cancel();
    scene.phone.wait_status("^(failed|ended)", LIMIT);
    let declined = scene.trunk.call(scene.gateway.sip, ALICE, WENDY, 40_000);
    scene.phone.wait_status("^incoming", LIMIT);
    scene.phone.client("hangUp()");
    // 480 is what both libraries decline with.
    declined.wait_refusal(480, LIMIT);
}

/// RFC 6086 and RFC 4733: both reach the trunk as events, each digit once.
pub fn sends_digits(library: Library) {
    let mut scene = alice(library);
    let (call, party) = scene.call_out();
    // Different digits: the same one by two ways within a moment counts as one press.
    for (way, keys) in [("info", "12#"), ("rtp", "34*")] {
        let before = party.digits(101).len();
        scene.phone.client(&format!("dtmf(\"{keys}\", \"{way}\")"));
        let digits = || party.digits(101)[before..].iter().map(|(digit, _)| *digit).collect::<String>();
        wait_for(LIMIT, &format!("three digits by {way}"), || (digits().len() >= 3).then_some(()));
        assert_eq!(digits(), keys, "by {way}");
    }
    scene.phone.client("hangUp()");
    call.wait("BYE", LIMIT);
}

/// RFC 3264 §8.4, RFC 8839 §4.4.1.1.1: re-INVITEs for hold, for resuming and for new ICE credentials.
pub fn holds_resumes_and_restarts_ice(library: Library) {
    let mut scene = alice(library);
    let (call, party) = scene.call_out();
    let party = scene.both_hear(party);
    scene.phone.client("hold()");
    scene.phone.wait_status("^hold local$", LIMIT);
    scene.phone.client("resume()");
    scene.phone.wait_status("^unhold local$", LIMIT);
    let party = scene.both_hear(party);
    let ufrag = |scene: &mut Scene| {
        let all = scene.phone.stats();
        let remote =
            all.last().and_then(|pc| pc["remote"].as_str().map(str::to_owned)).expect("a description");
        remote.lines().find(|line| line.starts_with("a=ice-ufrag:")).expect("a ufrag").to_owned()
    };
    let before = ufrag(&mut scene);
    scene.phone.client("restart()");
    wait_for(LIMIT, "new ICE credentials of the gateway", || (ufrag(&mut scene) != before).then_some(()));
    let connected = |scene: &mut Scene| scene.phone.report("transport")["dtlsState"] == "connected";
    wait_for(LIMIT, "a connected transport", || connected(&mut scene).then_some(()));
    scene.both_hear(party);
    scene.phone.client("hangUp()");
    call.wait("BYE", LIMIT);
}

/// Field problem 25: what the page left behind does not ring, what it registers anew does, and is the only one.
pub fn comes_back_after_the_network_was_away(library: Library) {
    let mut scene = alice(library);
    scene.phone.client("drop()");
    scene.phone.wait_status("^disconnected$", LIMIT);
    scene.phone.wait_status("^registered$", LIMIT);
    let (mut call, party) = scene.call_in();
    scene.both_hear(party);
    call.hang_up();
    scene.phone.wait_status("^ended", LIMIT);
    scene.phone.ask("reload", json!({}), LIMIT);
    let refused = scene.trunk.call(scene.gateway.sip, ALICE, WENDY, 40_000);
    refused.wait_refusal(480, LIMIT);
    scene.phone.register_again(&scene.gateway, "alice");
    scene.phone.wait_status("^registered$", LIMIT);
    let (mut call, party) = scene.call_in();
    scene.both_hear(party);
    call.hang_up();
}

/// Field problems 7 and 8: the gateway needs no candidate of the page.
pub fn connects_with_any_candidates(library: Library) {
    let mut scene = alice(library);
    for candidates in ["no candidates", "mdns candidates"] {
        scene.phone.client(&format!("change(\"{candidates}\")"));
        let (call, party) = scene.call_out();
        scene.both_hear(party);
        scene.phone.client("hangUp()");
        call.wait("BYE", LIMIT);
        scene.phone.wait_status("^ended", LIMIT);
    }
}

/// RFC 3515: the library's REFER has the carrier's party talk to a second number, and the page is out of the call.
pub fn transfers_by_refer(library: Library) {
    let mut scene = alice(library);
    let (first, _party) = scene.call_out();
    let mut other = RtpParty::start();
    scene.phone.client("refer(\"+12025550101\")");
    let second = scene.trunk.wait_call(LIMIT);
    assert_eq!(second.invite.number(), "+12025550101");
    second.answer(&mut other);
    scene.phone.wait_status("^ended", LIMIT);
    other.play(0, &mulaw_tone(PARTY, 1.0));
    second.hang_up();
    first.wait("BYE", LIMIT);
}
