//! Reason and Q.850 causes on their way from one side to the other and into the record (RFC 3326, 3398, 8606).

use crate::rig::*;
use sip_ua::{Command as Sip, Event, Headers, LegEnd, SipLeg};
use types::EndReason;

/// Alice's phone is called by the carrier, and it rings.
fn ringing(bench: &mut Bench) -> (SipLeg, SipLeg) {
    bench.phone("alice", "192.0.2.50:5070");
    let trunk = bench.trunk_calls("100", "pcmu");
    let (phone, _) = bench.invite();
    (trunk, phone)
}

fn talking(bench: &mut Bench) -> (SipLeg, SipLeg) {
    let (trunk, phone) = ringing(bench);
    bench.heard(Event::Answered { leg: phone, body: sdp("pcmu") });
    assert!(matches!(bench.sip_command(), Sip::Answer { .. }));
    (trunk, phone)
}

fn reason_of(headers: &Headers) -> &str {
    headers.iter().find(|(name, _)| *name == "Reason").map_or("", |(_, value)| value.as_str())
}

#[test]
fn the_cause_of_a_bye_reaches_the_other_side_and_the_record_in_both_directions() {
    for caller_hangs_up in [true, false] {
        let mut bench = Bench::new();
        let (trunk, phone) = talking(&mut bench);
        let (gone, other) = if caller_hangs_up { (trunk, phone) } else { (phone, trunk) };
        bench.heard(Event::Ended { leg: gone, end: LegEnd::Bye { q850: Some(38) } });
        let Sip::HangUp { leg, reason: Some(reason) } = bench.sip_command() else { panic!() };
        assert_eq!(leg, other);
        assert!(reason.starts_with("Q.850;cause=38;"), "{reason}");
        bench.heard(Event::Ended { leg: other, end: LegEnd::Local });
        assert_eq!(bench.cdrs[0].q850, 38);
        assert_eq!(bench.cdrs[0].reason, EndReason::HungUp);
    }
}

#[test]
fn the_cause_of_a_cancel_reaches_the_ringing_phone_and_the_record() {
    for (value, cause) in [("SIP;cause=487, Q.850;cause=31;text=\"normal\"", 31), ("SIP;cause=503", 41)] {
        let mut bench = Bench::new();
        let (trunk, phone) = ringing(&mut bench);
        bench.heard(Event::Ended { leg: trunk, end: LegEnd::Cancelled { reason: Some(value.into()) } });
        let Sip::HangUp { leg, reason: Some(reason) } = bench.sip_command() else { panic!() };
        assert_eq!(leg, phone);
        assert!(reason.starts_with(&format!("Q.850;cause={cause};")), "{reason}");
        bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
        assert_eq!((bench.cdrs[0].q850, bench.cdrs[0].reason), (cause, EndReason::Cancelled));
    }
}

#[test]
fn answered_elsewhere_is_known_among_several_reasons() {
    // RFC 3326 §3.1.
    let mut bench = Bench::new();
    let (trunk, phone) = ringing(&mut bench);
    let reason = Some("Q.850;cause=26, SIP;cause=200;text=\"Call completed elsewhere\"".into());
    bench.heard(Event::Ended { leg: trunk, end: LegEnd::Cancelled { reason } });
    bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
    assert_eq!(bench.cdrs[0].reason, EndReason::AnsweredElsewhere);
}

/// How a phone that calls out hears a carrier's refusal.
fn refused(status: u16, q850: Option<u8>) -> (u16, String, EndReason, u8) {
    let mut bench = Bench::new();
    let caller = bench.phone_calls("alice", "+12025550100", "192.0.2.50:5070", "pcmu");
    loop {
        match bench.sip_command() {
            Sip::Invite(leg, _) => {
                let end = LegEnd::Refused { status, reason: String::new(), q850, retry_after: None };
                bench.heard(Event::Ended { leg, end });
            }
            Sip::Reject { leg, status, headers, .. } => {
                assert_eq!(leg, caller);
                bench.heard(Event::Ended { leg, end: LegEnd::Local });
                let cdr = &bench.cdrs[0];
                return (status, reason_of(&headers).to_owned(), cdr.reason, cdr.q850);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_cause_beside_a_general_refusal_decides_and_a_clear_status_stands() {
    for (status, q850, wanted, reason) in [
        (503, Some(17), 486, EndReason::Busy),
        (500, Some(1), 404, EndReason::NumberNotInService),
        (480, Some(21), 603, EndReason::Declined),
        (503, Some(28), 484, EndReason::InvalidNumber),
        (503, Some(34), 503, EndReason::TrunkFailed),
        (486, Some(1), 486, EndReason::Busy),
        (404, None, 404, EndReason::NumberNotInService),
    ] {
        let got = refused(status, q850);
        assert_eq!((got.0, got.2), (wanted, reason), "{status} with {q850:?}");
        let cause = q850.unwrap_or(reason.q850());
        assert_eq!(got.3, cause, "the record has the peer's own cause");
        assert!(got.1.starts_with(&format!("Q.850;cause={cause};")), "{}", got.1);
    }
}
