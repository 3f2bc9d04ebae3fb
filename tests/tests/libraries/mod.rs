//! What each browser SIP library must be able to do, with a carrier of the tests' own at the trunk.

use e2e::gateway::{Gateway, Setup};
use e2e::library::Library;
use e2e::phone::Phone;
use e2e::ports::tools_dir;
use e2e::rtp::RtpParty;
use e2e::speech::{read_wav, sox};
use e2e::tone::{loudest_share, mulaw_tone};
use e2e::trunk::Trunk;
use std::path::PathBuf;
use std::time::Duration;

pub const LIMIT: Duration = Duration::from_secs(30);
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
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
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
