//! Recording: from the answer to the end, whoever takes part, or between two presses of a person's; and who is told of it.

use crate::rig::*;
use media_bridge::control::{Command as Media, Event as MediaEvent};
use media_bridge::sound::SoundId;
use types::{CallId, LegId, RecordingId, SessionId, limits};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

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
    assert_eq!(told(&bench, &Media::Record { recording: RecordingId(1), left: CALLER, right: CALLEE }), 1);
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
    assert_eq!(told(&bench, &Media::Record { recording: RecordingId(1), left: third, right: CALLEE }), 1);
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

fn by_page() -> Bench {
    let mut config = config();
    config.record_by_page = true;
    config.record_notice = Some(NOTICE);
    Bench::with(config)
}

fn record(on: bool) -> FromBrowser {
    FromBrowser::Record { call: "c1".into(), on }
}

/// What a browser was told of recordings since it was asked last: on, mine.
fn shown(bench: &mut Bench, session: SessionId) -> Vec<(bool, bool)> {
    let said = bench.take_said(session).into_iter();
    said.filter_map(|m| if let ToBrowser::Recording { on, mine, .. } = m { Some((on, mine)) } else { None })
        .collect()
}

/// What went wrong, told to a browser since it was asked last.
fn refused(bench: &mut Bench, session: SessionId) -> Vec<(String, String)> {
    let said = bench.take_said(session).into_iter();
    said.filter_map(
        |m| if let ToBrowser::Error { code, message, .. } = m { Some((code, message)) } else { None },
    )
    .collect()
}

/// Alice and bob in a call of their browsers, `c1` and `in-1-1`.
fn alice_and_bob(bench: &mut Bench) {
    bench.sign_in(ALICE, "alice");
    bench.sign_in(BOB, "bob");
    bench.call(ALICE, "101");
    let call: String = "in-1-1".into();
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call });
    bench.media(CallId(1), MediaEvent::Connected { leg: CALLEE });
    for session in [ALICE, BOB] {
        let said = bench.take_said(session);
        assert!(!said.iter().any(|m| matches!(m, ToBrowser::Recording { .. })), "{said:?}");
    }
}

#[test]
fn who_presses_record_gets_a_file_for_each_time_and_both_hear_the_notice_and_see_it() {
    let mut bench = by_page();
    alice_and_bob(&mut bench);
    for (nth, recording) in [(1, RecordingId(1)), (2, RecordingId(2))] {
        bench.browser(ALICE, record(true));
        assert_eq!(bench.recordings.last().map(|r| (r.call, r.id)), Some((CallId(1), recording)));
        assert_eq!(told(&bench, &Media::Record { recording, left: CALLER, right: CALLEE }), 1);
        for leg in [CALLER, CALLEE] {
            assert_eq!(told(&bench, &Media::Play { leg, sound: NOTICE }), nth, "{leg}");
        }
        assert_eq!(shown(&mut bench, ALICE), [(true, true)]);
        assert_eq!(shown(&mut bench, BOB), [(true, false)]);
        // Pressed twice: told again, nothing else.
        bench.browser(ALICE, record(true));
        assert_eq!((shown(&mut bench, ALICE), shown(&mut bench, BOB)), (vec![(true, true)], vec![]));
        bench.browser(ALICE, record(false));
        assert_eq!(told(&bench, &Media::EndRecording), nth);
        assert_eq!(
            (shown(&mut bench, ALICE), shown(&mut bench, BOB)),
            (vec![(false, false)], vec![(false, false)])
        );
    }
    bench.browser(ALICE, record(false));
    assert_eq!(shown(&mut bench, ALICE), [(false, false)]);
    assert_eq!((bench.recordings.len(), told(&bench, &Media::EndRecording)), (2, 2));
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.media(CallId(1), MediaEvent::Closed);
    assert!(bench.cdrs[0].recorded);
}

#[test]
fn only_who_has_begun_a_recording_ends_it_and_a_routes_nobody() {
    let mut bench = by_page();
    alice_and_bob(&mut bench);
    bench.browser(BOB, FromBrowser::Record { call: "in-1-1".into(), on: true });
    assert_eq!((shown(&mut bench, ALICE), shown(&mut bench, BOB)), (vec![(true, false)], vec![(true, true)]));
    bench.browser(ALICE, record(true));
    assert_eq!(shown(&mut bench, ALICE), [(true, false)], "it is recorded already");
    bench.browser(ALICE, record(false));
    let refusals = refused(&mut bench, ALICE);
    assert!(refusals[0].0 == "may-not-record" && refusals[0].1.contains("The other side"), "{refusals:?}");
    assert_eq!((bench.recordings.len(), told(&bench, &Media::EndRecording)), (1, 0));

    let mut config = config();
    config.routes[1].treatment.record = true;
    config.record_by_page = true;
    let mut bench = Bench::with(config);
    talking(&mut bench);
    bench.browser(ALICE, record(true));
    assert_eq!(shown(&mut bench, ALICE), [(true, false)], "the route does that");
    bench.browser(ALICE, record(false));
    let refusals = refused(&mut bench, ALICE);
    assert!(refusals[0].0 == "may-not-record" && refusals[0].1.contains("All calls"), "{refusals:?}");
    assert_eq!(told(&bench, &Media::EndRecording), 0);
}

#[test]
fn recording_is_refused_in_words_where_it_is_not_allowed_or_nobody_has_answered() {
    let mut bench = Bench::new();
    talking(&mut bench);
    bench.browser(ALICE, record(true));
    let refusals = refused(&mut bench, ALICE);
    assert!(refusals[0].0 == "may-not-record" && refusals[0].1.contains("configuration"), "{refusals:?}");

    let mut bench = by_page();
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    bench.browser(ALICE, record(true));
    assert_eq!(refused(&mut bench, ALICE)[0].0, "not-connected");
    bench.browser(ALICE, FromBrowser::Record { call: "c2".into(), on: true });
    assert_eq!(refused(&mut bench, ALICE)[0].0, "unknown-call");

    let mut bench = by_page();
    talking(&mut bench);
    for _ in 0..limits::CALL_RECORDINGS {
        bench.browser(ALICE, record(true));
        bench.browser(ALICE, record(false));
    }
    assert!(refused(&mut bench, ALICE).is_empty());
    bench.browser(ALICE, record(true));
    let refusals = refused(&mut bench, ALICE);
    assert!(refusals[0].0 == "may-not-record" && refusals[0].1.contains("too many"), "{refusals:?}");
    assert!(bench.recordings.len() == usize::from(limits::CALL_RECORDINGS));
}

#[test]
fn a_recording_ends_when_the_one_who_began_it_is_transferred_out_and_not_before() {
    let mut bench = by_page();
    talking(&mut bench);
    bench.sign_in(BOB, "bob");
    bench.browser(ALICE, record(true));
    assert_eq!(shown(&mut bench, ALICE), [(true, true)]);
    bench.browser(ALICE, FromBrowser::Transfer { call: "c1".into(), to: Some("101".into()), with: None });
    let call: String = "in-2-1".into();
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    assert_eq!(told(&bench, &Media::EndRecording), 0);
    bench.browser(BOB, FromBrowser::Answer { call: call.clone() });
    bench.media(CallId(2), MediaEvent::Connected { leg: CALLEE });
    assert_eq!(told(&bench, &Media::EndRecording), 1);
    assert_eq!(shown(&mut bench, BOB), [], "it was over when he came");
    // He may have one of his own, which the call that he is in now makes.
    bench.browser(BOB, FromBrowser::Record { call, on: true });
    assert_eq!(shown(&mut bench, BOB), [(true, true)]);
    let second = bench.recordings.last().map(|r| (r.call, r.id));
    assert_eq!(second, Some((CallId(1), RecordingId(2))));
}

#[test]
fn who_goes_on_in_another_call_is_told_that_this_one_is_not_recorded() {
    let mut bench = by_page();
    talking(&mut bench);
    bench.sign_in(BOB, "bob");
    // Alice asks bob first, who records what she says.
    let (call, to, sdp) = ("c2".into(), "101".into(), "opus".into());
    bench.browser(ALICE, FromBrowser::Call { call, to, sdp });
    let call: String = "in-2-1".into();
    bench.browser(BOB, FromBrowser::Offer { call: call.clone(), sdp: "opus".into() });
    bench.browser(BOB, FromBrowser::Answer { call: call.clone() });
    bench.media(CallId(2), MediaEvent::Connected { leg: CALLEE });
    bench.browser(BOB, FromBrowser::Record { call, on: true });
    assert_eq!(shown(&mut bench, BOB), [(true, true)]);
    let with = Some("c2".into());
    bench.browser(ALICE, FromBrowser::Transfer { call: "c1".into(), to: None, with });
    assert_eq!(shown(&mut bench, BOB), [(false, false)]);
}
