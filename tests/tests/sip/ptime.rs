//! Packets of 10 to 60 ms from and to baresip, of 20 ms from and to the carrier.

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
fn speaks_in_packets_of(ms: u8) {
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
        assert_eq!(pair[1].payload.len(), 160, "{ms} ms became 20");
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 160, "{ms} ms");
    }
    phone.wait_event("CALL_CLOSED", LIMIT);
    let (tone, windows) = loudest_share(&read_wav(&phone.heard()), 8_000, TONE);
    assert!(tone > 0.9 && windows >= 5, "{ms} ms: the phone hears the tone: {tone} in {windows} windows");
    let media = &cdr["caller_media"];
    let count = |name: &str| media[name].as_f64().expect("a number");
    let seconds = heard.len() as f64 / 50.0;
    for packets in [count("packets_in"), count("packets_out")] {
        let expected = seconds * 1_000.0 / f64::from(ms);
        assert!(
            (0.6..1.6).contains(&(packets / expected)),
            "{ms} ms: {packets} packets, about {expected}: {cdr}"
        );
    }
    let remark = format!("the phone sent {ms} ms packets although 20 were asked for");
    assert!(media["remarks"].as_array().is_some_and(|all| all.iter().any(|one| *one == *remark)), "{cdr}");
}

#[test]
fn packets_of_10_30_40_and_60_ms_go_both_ways_between_a_phone_and_a_carrier_of_20() {
    std::thread::scope(|scope| {
        for ms in [10, 30, 40, 60] {
            scope.spawn(move || speaks_in_packets_of(ms));
        }
    });
}
