//! Who uses which codec: `codec_policy` of trunks, and how wide the sound is that browsers are asked for.

use b2bua::CodecPolicy;
use media_bridge::control::{Bandwidth, Codec, Command as Media, Event as MediaEvent};
use sip_ua::{Command as Sip, Event, LegEnd};
use types::{CallId, EndReason, LegId};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

use crate::rig::*;

fn bench(policy: CodecPolicy, codecs: &[Codec]) -> Bench {
    let mut config = config();
    for trunk in &mut config.trunks {
        trunk.profile.codec_policy = policy;
        trunk.profile.codecs = codecs.to_vec();
    }
    Bench::with(config)
}

/// What the browser is answered with.
fn answered(bench: &mut Bench) -> Option<String> {
    bench.take_said(ALICE).into_iter().find_map(|said| match said {
        ToBrowser::Sdp { sdp, .. } => Some(sdp),
        _ => None,
    })
}

#[test]
fn a_browser_is_asked_for_what_the_widest_codec_of_the_trunk_can_carry() {
    for (codecs, bandwidth) in [
        (&[Codec::Pcma, Codec::Pcmu][..], Bandwidth::Narrow),
        (&[Codec::G722, Codec::Pcma], Bandwidth::Wide),
        (&[Codec::Pcmu, Codec::Opus], Bandwidth::Full),
    ] {
        let mut bench = bench(CodecPolicy::Auto, codecs);
        bench.sign_in(ALICE, "alice");
        bench.call(ALICE, "+12025550100");
        let Media::Answer { params, .. } = &bench.plane.commands[0].1.command else { panic!() };
        assert_eq!((params.bandwidth, params.codecs[0]), (bandwidth, Codec::Opus));
    }
}

#[test]
fn passthrough_answers_a_browser_with_a_codec_of_the_trunk_and_offers_the_trunk_nothing_else() {
    let mut bench = bench(CodecPolicy::Passthrough, &[Codec::Pcma, Codec::Pcmu]);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    assert_eq!(answered(&mut bench).as_deref(), Some("pcma"));
    let (leg, invite) = bench.invite();
    assert_eq!(invite.body, sdp("pcma"));
    bench.heard(Event::Answered { leg, body: sdp("pcma") });
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    let codecs = (bench.cdrs[0].caller_codec, bench.cdrs[0].callee_codec);
    assert_eq!(codecs, (Some(Codec::Pcma), Some(Codec::Pcma)));
}

#[test]
fn passthrough_refuses_a_browser_that_has_no_codec_of_the_trunk() {
    let mut bench = bench(CodecPolicy::Passthrough, &[Codec::G722]);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    assert!(bench.sip.is_empty(), "nobody is asked");
    assert_eq!(bench.cdrs[0].reason, EndReason::NoCommonCodec);
}

#[test]
fn passthrough_of_a_calling_trunk_limits_browsers_and_phones_to_its_codec() {
    let mut bench = bench(CodecPolicy::Passthrough, &[Codec::Pcmu, Codec::Pcma]);
    bench.sign_in(ALICE, "alice");
    bench.phone("alice", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("+12025550110", "pcma");
    assert!(matches!(bench.sip_command(), Sip::Provisional { leg, .. } if leg == trunk));
    let (_, invite) = bench.invite();
    assert_eq!(invite.body, sdp("pcma"));
    let call = bench.incoming(ALICE);
    bench.browser(ALICE, FromBrowser::Offer { call, sdp: "opus,pcmu,pcma".into() });
    assert_eq!(answered(&mut bench).as_deref(), Some("pcma"));
}

/// Transcoding would be needed for the second trunk, which forbids it: it is passed over.
#[test]
fn passthrough_of_a_second_trunk_without_the_callers_codec_is_not_asked() {
    let mut config = config();
    config.trunks[1].profile.codec_policy = CodecPolicy::Passthrough;
    config.trunks[1].profile.codecs = vec![Codec::G722];
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (first, _) = bench.invite();
    bench.heard(Event::Ended {
        leg: first,
        end: LegEnd::Refused { status: 503, reason: String::new(), q850: None, retry_after: None },
    });
    assert!(!bench.sip.iter().any(|command| matches!(command, Sip::Invite(..))));
    assert_eq!(bench.cdrs[0].reason, EndReason::NoCommonCodec);
}

#[test]
fn passthrough_keeps_the_codec_of_a_call_over_a_reinvite() {
    let mut bench = bench(CodecPolicy::Passthrough, &[Codec::Pcmu, Codec::Pcma]);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    bench.sip.clear();
    bench.heard(Event::Reinvite { leg, body: sdp("pcma") });
    assert!(matches!(bench.sip_command(), Sip::RejectReinvite { status: 488, .. }));
    bench.heard(Event::Reinvite { leg, body: sdp("pcma,pcmu") });
    assert!(matches!(bench.sip_command(), Sip::AcceptReinvite { body, .. } if body.bytes == b"pcmu"));
}

#[test]
fn opus_comes_first_for_the_trunk_whatever_the_caller_speaks() {
    let mut bench = bench(CodecPolicy::Opus, &[Codec::Opus, Codec::Pcmu]);
    bench.phone_calls("alice", "+12025550100", "192.0.2.60:5060", "pcmu");
    let (_, invite) = bench.invite();
    assert_eq!(invite.body, sdp("opus,pcmu"));
    let mut bench = self::bench(CodecPolicy::Auto, &[Codec::Opus, Codec::Pcmu]);
    bench.phone_calls("alice", "+12025550100", "192.0.2.60:5060", "pcmu");
    let (_, invite) = bench.invite();
    assert_eq!(invite.body, sdp("pcmu,opus"), "auto: the caller's first");
}

#[test]
fn opus_is_taken_from_a_calling_trunk_that_names_it_last() {
    let mut bench = bench(CodecPolicy::Opus, &[Codec::Opus, Codec::Pcmu]);
    bench.sign_in(ALICE, "alice");
    let trunk = bench.trunk_calls("+12025550110", "pcmu,opus");
    let call = bench.incoming(ALICE);
    bench.browser(ALICE, FromBrowser::Offer { call: call.clone(), sdp: "opus,pcmu".into() });
    bench.media(CallId(1), MediaEvent::Connected { leg: LegId(1) });
    bench.browser(ALICE, FromBrowser::Answer { call });
    bench.sip_command();
    assert!(
        matches!(bench.sip_command(), Sip::Answer { leg, body } if leg == trunk && body.bytes == b"opus")
    );
}
