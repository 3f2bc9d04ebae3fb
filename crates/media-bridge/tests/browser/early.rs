//! The first words of a call with a browser (field problem 10).

use std::time::Duration;

use media_bridge::call::Output;
use media_bridge::control::Codec;
use str0m::config::DtlsVersion;
use webrtc_peer::PeerFactory;

use crate::line::{A, B, FRAME, Line};
use crate::rtc::World;

#[test]
fn a_prompt_waits_for_a_browser_whose_keys_come_after_the_answer() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Auto] {
        let mut line = Line::new(PeerFactory::new().unwrap());
        let mut phone = line.called(B, Codec::Opus);
        let mut w = World::dialled(line, A, version, Box::new(|_| Vec::new()));
        // The browser is far away: nothing of it has come yet.
        for n in 0..10 {
            if n == 2 {
                w.line.picks_up(&phone);
                w.line.hear(A, B);
                w.line.hear(B, A);
            }
            let arrival = phone.say(&[0x80 | n; 30], w.line.now + FRAME);
            let nothing = |output| assert!(!matches!(output, Output::Browser { .. }), "it has no keys");
            w.line.arrive(&arrival, &mut |output, _| nothing(output));
        }
        for n in 10..50 {
            let arrival = phone.say(&[0x80 | n; 30], w.line.now);
            w.phone_arrives(&arrival);
        }
        let heard: Vec<u8> = w.heard.iter().map(|(_, payload)| payload[0]).collect();
        assert_eq!(heard, (0..50).map(|n| 0x80 | n).collect::<Vec<u8>>());
        assert!(w.heard.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
        w.run(Duration::from_secs(1));
        assert_eq!(w.heard.len(), 50, "each once");
    }
}
