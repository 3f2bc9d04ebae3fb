//! Recording: from the answer to the end, whoever takes part, and who is told of it.

use crate::rig::*;
use media_bridge::control::{Command as Media, Event as MediaEvent};
use media_bridge::sound::SoundId;
use types::{CallId, LegId};
use webrtc_peer::signalling::FromBrowser;

const CALLEE: LegId = LegId(1);
const NOTICE: SoundId = SoundId(4);

fn recorded() -> Bench {
    let mut config = config();
    config.routes[1].treatment.record = true;
    config.record_notice = Some(NOTICE);
    Bench::with(config)
}

fn told(bench: &Bench, command: &Media) -> usize {
    bench.media_count(|m| m == command)
}

#[test]
fn a_route_that_records_does_so_from_the_answer_on_and_both_parties_hear_the_notice() {
    let mut bench = recorded();
    talking(&mut bench);
    let [recording] = &bench.recordings[..] else { panic!("{:?}", bench.recordings) };
    assert_eq!(recording.call, CallId(1));
    assert_eq!(told(&bench, &Media::Record { left: CALLER, right: CALLEE }), 1);
    for leg in [CALLER, CALLEE] {
        assert_eq!(told(&bench, &Media::Play { leg, sound: NOTICE }), 1, "{leg}");
    }
    // Hold and resume change nothing of it, and nobody is told twice.
    for hold in [true, false] {
        let call = "c1".into();
        bench.browser(ALICE, if hold { FromBrowser::Hold { call } } else { FromBrowser::Resume { call } });
    }
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.media(CallId(1), MediaEvent::Closed);
    assert_eq!(bench.media_count(|m| matches!(m, Media::Record { .. } | Media::Play { .. })), 3);
    assert_eq!(bench.recordings.len(), 1);
}

#[test]
fn whoever_takes_a_partys_place_is_recorded_and_told() {
    let mut bench = recorded();
    talking(&mut bench);
    bench.sign_in(BOB, "bob");
    bench.browser(ALICE, FromBrowser::Transfer { call: "c1".into(), to: Some("101".into()), with: None });
    let call: String = "in-2-1".into();
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call });
    bench.media(CallId(2), MediaEvent::Connected { leg: CALLEE });
    let third = LegId(2);
    assert_eq!(told(&bench, &Media::Record { left: third, right: CALLEE }), 1);
    assert_eq!(told(&bench, &Media::Play { leg: third, sound: NOTICE }), 1);
    assert_eq!(told(&bench, &Media::Play { leg: CALLEE, sound: NOTICE }), 1, "who knows is not told again");
}

#[test]
fn a_route_that_does_not_record_leaves_no_trace_of_it() {
    let mut bench = Bench::new();
    talking(&mut bench);
    assert!(bench.recordings.is_empty());
    assert_eq!(bench.media_count(|m| matches!(m, Media::Record { .. } | Media::Play { .. })), 0);
}
