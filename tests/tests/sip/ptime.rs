//! Packets of 10 to 60 ms to baresip, which asks for them; of 20 ms from it, and from and to the carrier.

use e2e::baresip::{Account, Baresip};
use e2e::gateway::{Gateway, Setup};
use e2e::playing::Playing;
use e2e::rtp::RtpParty;
use e2e::speech::{read_wav, speech};
use e2e::tone::loudest_share;
use e2e::trunk::Trunk;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// What the carrier's party plays (Hz), and for how long both speak.
const TONE: f64 = 1000.0;
const SPOKEN: Duration = Duration::from_millis(1_500);

/// RFC 3264 §6.1: `ptime` is what each side would like to receive.
fn asks_for_packets_of(ms: u8) {
    let mut trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let account = Account { ptime: ms, ..Account::new("alice", gateway.sip, &speech().reference) };
    let mut phone = Baresip::start(&account);
    phone.wait_registered(LIMIT);
    phone.command("dial", &format!("sip:+12025550100@127.0.0.1:{}", gateway.sip));
    let call = trunk.wait_call(LIMIT);
    let mut party = RtpParty::start();
    call.answer(&mut party);
    phone.wait_event("CALL_ESTABLISHED", LIMIT);
    let playing = Playing::start(party, TONE);
    std::thread::sleep(SPOKEN);
    let party = playing.stop();
    phone.command("hangup", "");
    call.wait("BYE", LIMIT);
    let cdr = gateway.wait_cdrs(1).remove(0);

    let heard = party.heard();
    assert!(heard.len() >= 50, "{ms} ms: {} packets at the carrier", heard.len());
    for pair in heard.windows(2) {
        assert_eq!(pair[1].payload.len(), 160, "{ms} ms: the carrier has its 20");
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 160, "{ms} ms");
    }
    phone.wait_event("CALL_CLOSED", LIMIT);
    let (tone, windows) = loudest_share(&read_wav(&phone.heard()), 8_000, TONE);
    assert!(tone > 0.9 && windows >= 5, "{ms} ms: the phone hears the tone: {tone} in {windows} windows");
    let media = &cdr["caller_media"];
    let count = |name: &str| media[name].as_f64().expect("a number");
    let seconds = heard.len() as f64 / 50.0;
    // It keeps to the 20 ms that we ask for.
    for (packets, length) in [(count("packets_in"), 20), (count("packets_out"), ms)] {
        let expected = seconds * 1_000.0 / f64::from(length);
        assert!((0.75..1.3).contains(&(packets / expected)), "{ms} ms: {packets}, about {expected}: {cdr}");
    }
}

#[test]
fn a_phone_that_asks_for_packets_of_10_30_40_or_60_ms_gets_them_from_a_carrier_of_20() {
    std::thread::scope(|scope| {
        for ms in [10, 30, 40, 60] {
            scope.spawn(move || asks_for_packets_of(ms));
        }
    });
}
