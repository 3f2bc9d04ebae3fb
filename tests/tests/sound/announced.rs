//! Announcements: a trunk's caller hears one and nobody else, a browser hears one before the trunk rings.

use e2e::browser::{RustBrowser, Voice};
use e2e::gateway::{Gateway, Setup};
use e2e::process::wait_for;
use e2e::rtp::{RtpParty, mulaw};
use e2e::speech::sox;
use e2e::tone::{rms, share};
use e2e::trunk::Trunk;
use e2e::ws::Ws;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// The announcement (Hz).
const WORDS: f64 = 700.0;

fn speaks(samples: &[i16]) -> usize {
    let part = |part: &&[i16]| rms(part) > 300.0 && share(part, 8000, WORDS) > 0.9;
    samples.chunks_exact(800).filter(part).count()
}

#[test]
fn an_announcement_is_all_that_one_number_has_and_comes_before_the_trunk_on_another() {
    let words = e2e::ports::tools_dir().join(format!("words-{}.wav", std::process::id()));
    sox(&[
        "-n",
        "-r",
        "48000",
        "-b",
        "16",
        words.to_str().expect("UTF-8"),
        "synth",
        "1",
        "sine",
        "700",
        "vol",
        "0.3",
    ]);
    let mut trunk = Trunk::start();
    let toml = format!(
        "announce = \"{file}\"\n[[routes]]\nmatch = \"900\"\nfrom = [\"trunk:carrier\"]\nannounce = \"{file}\"\n",
        file = words.display()
    );
    let gateway = Gateway::run(&Setup { toml, ..Setup::with_trunk(trunk.port) });

    let mut party = RtpParty::start();
    let called = trunk.call(gateway.sip, "900", ("", "+12025550177"), party.port);
    called.wait_answer(&mut party, LIMIT);
    called.wait_bye(LIMIT);
    let heard: Vec<i16> =
        party.heard().iter().flat_map(|one| one.payload.iter().map(|byte| mulaw(*byte))).collect();
    assert!((9..=11).contains(&speaks(&heard)), "a second of it: {}", speaks(&heard));
    let cdr = gateway.wait_cdrs(1).remove(0);
    assert_eq!((&cdr["reason"], &cdr["ended_by"]), (&"hung-up".into(), &"gateway".into()), "{cdr}");

    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut ws = Ws::signed_in(SocketAddr::new(loopback, gateway.http), "alice");
    let browser = RustBrowser::new(Voice::Pcmu, loopback);
    ws.call(&browser, "c1", "+12025550100");
    ws.wait_state("early-media");
    wait_for(LIMIT, "the announcement at the browser", || {
        let heard = browser.heard();
        let samples: Vec<i16> =
            heard.iter().flat_map(|one| one.payload.iter().map(|byte| mulaw(*byte))).collect();
        (speaks(&samples) >= 9).then_some(())
    });
    let call = trunk.wait_call(LIMIT);
    call.answer(&mut party);
    ws.wait_state("in-call");
    ws.bye("c1");
    call.wait("BYE", LIMIT);
}
