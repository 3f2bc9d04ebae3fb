//! A caller that has its answer already, reliably, is offered the callee's codec by UPDATE (RFC 3311 §5.1).

use std::time::Duration;

use crate::rig::*;
use sip_ua::{Command as Sip, Event, Headers, SipLeg};
use types::EndReason;

/// The carrier calls Bob's phone, which sends early media in PCMU; Bob's leg and the caller's.
fn early(fields: Headers) -> (Bench, SipLeg, SipLeg) {
    let mut bench = Bench::new();
    bench.phone("bob", "192.0.2.50:5060");
    let (from, to) = ("sip:+12025550177@carrier.example", "sip:+12025550111@192.0.2.1");
    let caller = bench.invited(from, to, TRUNK, fields, "pcmu,pcma");
    let (bob, _) = bench.invite();
    bench.heard(Event::Provisional { leg: bob, status: 183, body: sdp("pcmu") });
    match bench.sip_command() {
        Sip::Provisional { leg, status: 183, body } if leg == caller => assert_eq!(body, sdp("pcmu")),
        other => panic!("{other:?}"),
    }
    (bench, caller, bob)
}

fn able() -> Headers {
    vec![("Require", "100rel".into()), ("Allow", "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE".into())]
}

/// Bob answers with another codec; what the caller is sent for that.
fn answered_otherwise(bench: &mut Bench, caller: SipLeg, bob: SipLeg) {
    bench.heard(Event::Answered { leg: bob, body: sdp("pcma") });
    match bench.sip_command() {
        Sip::Reinvite { leg, body } if leg == caller => {
            assert!(String::from_utf8(body.bytes).unwrap().starts_with("pcma,"), "the callee's codec first");
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.sip.is_empty(), "the answer waits for the caller's");
}

fn is_answered(bench: &mut Bench, caller: SipLeg) {
    assert!(matches!(bench.sip_command(), Sip::Answer { leg, .. } if leg == caller));
}

#[test]
fn a_callee_that_answers_with_another_codec_than_its_early_media_is_offered_on() {
    let (mut bench, caller, bob) = early(able());
    answered_otherwise(&mut bench, caller, bob);
    bench.heard(Event::ReinviteDone { leg: caller, result: Ok(sdp("pcma")) });
    is_answered(&mut bench, caller);
    bench.heard(Event::Ended { leg: bob, end: sip_ua::LegEnd::Bye { q850: None } });
    bench.heard(Event::Ended { leg: caller, end: sip_ua::LegEnd::Local });
    let [cdr] = &bench.cdrs[..] else { panic!("{:?}", bench.cdrs) };
    assert_eq!(cdr.reason, EndReason::HungUp);
    assert_eq!(cdr.caller_codec, cdr.callee_codec, "nothing is transcoded");
}

#[test]
fn a_refused_update_is_not_repeated_and_the_call_is_answered_as_it_was() {
    let (mut bench, caller, bob) = early(able());
    answered_otherwise(&mut bench, caller, bob);
    bench.heard(Event::ReinviteDone { leg: caller, result: Err(491) });
    is_answered(&mut bench, caller);
}

#[test]
fn a_caller_that_never_answers_our_update_is_answered_all_the_same() {
    let (mut bench, caller, bob) = early(able());
    answered_otherwise(&mut bench, caller, bob);
    bench.pass(Duration::from_secs(6));
    is_answered(&mut bench, caller);
    // Late, but it counts.
    bench.heard(Event::ReinviteDone { leg: caller, result: Ok(sdp("pcma")) });
    assert!(bench.sip.is_empty() && bench.cdrs.is_empty());
}

#[test]
fn a_caller_without_100rel_or_update_is_answered_at_once_and_transcoded() {
    let without = |name: &str| able().into_iter().filter(|(n, _)| *n != name).collect::<Headers>();
    for fields in [without("Require"), without("Allow")] {
        let (mut bench, caller, bob) = early(fields);
        bench.heard(Event::Answered { leg: bob, body: sdp("pcma") });
        is_answered(&mut bench, caller);
    }
}
