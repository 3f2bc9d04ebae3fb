//! Who may call where, and what a refusal says.

mod rig;

use b2bua::{RouteFrom, RouteTo};
use rig::{Bench, TRUNK_B, addr, config, sdp};
use sip_ua::{Command as Sip, Event, LegEnd, Target};
use types::EndReason;

#[test]
fn a_trunk_reaches_a_trunk_only_by_a_route_that_names_it() {
    let mut bench = Bench::new();
    let leg = bench.trunk_calls("+12025550100", "pcmu");
    let Sip::Reject { status, reason, .. } = bench.sip_command() else { panic!() };
    assert_eq!((status, reason.as_str()), (403, "You are not allowed to call this number"));
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].reason, EndReason::Forbidden);
}

#[test]
fn a_route_from_a_trunk_to_a_trunk_carries_the_call_through() {
    let mut config = config();
    config.routes[1].from = vec![RouteFrom::Trunk("carrier".into())];
    config.routes[1].to = vec![RouteTo::Trunk("backup".into())];
    let mut bench = Bench::with(config);
    let caller = bench.trunk_calls("+12025550100", "pcma,pcmu");
    let (callee, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:+12025550100@backup.example");
    assert_eq!(invite.from, "<sip:+12025550177@backup.example>");
    assert!(matches!(invite.target, Target::Address { remote, .. } if remote == addr(TRUNK_B)));
    bench.heard(Event::Answered { leg: callee, body: sdp("pcmu") });
    assert!(
        matches!(bench.sip_command(), Sip::Answer { leg, body } if leg == caller && body.bytes == b"pcmu")
    );
    bench.heard(Event::Ended { leg: callee, end: LegEnd::Bye { q850: None } });
    assert!(matches!(bench.sip_command(), Sip::HangUp { leg, .. } if leg == caller));
    bench.heard(Event::Ended { leg: caller, end: LegEnd::Local });
    bench.assert_over(1);
}
