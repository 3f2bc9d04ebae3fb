//! Who may call where, and what a refusal says.

#![allow(clippy::wildcard_enum_match_arm, reason = "one kind of command is looked for")]

use std::time::Duration;

use crate::rig::*;
use b2bua::{Countries, Did, Pattern, RouteFrom, RouteTo, SwitchConfig, UserConfig, explain};
use sip_ua::{Command as Sip, Event, LegEnd, Target};
use types::{EndReason, UserName, limits};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

#[test]
fn a_trunk_reaches_a_trunk_only_by_a_route_that_names_it() {
    let mut bench = Bench::new();
    let leg = bench.trunk_calls("+12025550100", "pcmu");
    let Sip::Reject { status, reason, .. } = bench.sip_command() else { panic!() };
    assert_eq!((status, reason.as_str()), (403, "Route 2 does not name this trunk in from"));
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
    // RFC 7332 §4: what runs in circles between two gateways ends.
    assert_eq!(invite.headers, [("Max-Forwards", "69".to_owned())]);
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

fn carrier() -> Vec<RouteTo> {
    vec![RouteTo::Trunk("carrier".into())]
}

/// The rig's people and trunks in this country, with one route to `carrier`.
fn in_country(code: &str, pattern: &str) -> SwitchConfig {
    let mut config = config();
    let here = |u: &UserConfig| UserConfig { country: Some(country(code)), ..u.clone() };
    config.users = config.users.iter().map(here).collect::<Vec<_>>().into();
    config.trunks.iter_mut().for_each(|t| t.country = Some(country(code)));
    config.routes = vec![route(pattern, &carrier())];
    config
}

/// The Request-URI that alice's call gets, or the sentence that refuses it.
fn alice_dials(config: SwitchConfig, number: &str) -> Result<String, String> {
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, number);
    match bench.sip.pop_front() {
        Some(Sip::Invite(_, invite)) => Ok(invite.uri),
        Some(other) => panic!("{other:?}"),
        None => Err(bench
            .take_said(ALICE)
            .into_iter()
            .find_map(|m| if let ToBrowser::Ended { text, .. } = m { Some(text) } else { None })
            .unwrap_or_default()),
    }
}

#[test]
fn numbers_are_read_once_by_the_callers_country_and_the_record_has_both_forms() {
    for (dialled, sent) in [
        ("030 12345678", "+493012345678"),
        ("+493012345678", "+493012345678"),
        ("0049 30 12345678", "+493012345678"),
    ] {
        let uri = format!("sip:{sent}@carrier.example");
        assert_eq!(alice_dials(in_country("DE", "+49*"), dialled), Ok(uri), "{dialled}");
    }
    let mut bench = Bench::with(in_country("DE", "+49*"));
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "030/12345678");
    let (leg, _) = bench.invite();
    bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
    bench.heard(Event::Ended { leg, end: LegEnd::Local });
    bench.assert_over(1);
    assert_eq!(bench.cdrs[0].to, "030/12345678");
    assert_eq!(bench.cdrs[0].to_e164.as_deref(), Some("+493012345678"));
    assert_eq!(bench.cdrs[0].from, "100");
    assert_eq!(bench.cdrs[0].from_e164.as_deref(), Some("+12025550110"), "alice's own number");
    // Patterns for what people dial go on working.
    assert!(alice_dials(in_country("DE", "0[1-9]*"), "03012345678").is_ok());
}

#[test]
fn no_call_leaves_the_country_unless_the_route_names_where_to() {
    let refused = |number: &str| alice_dials(in_country("US", "+*"), number).unwrap_err();
    assert_eq!(refused("+442079460000"), "Route 1 does not allow calls to the country GB.");
    assert_eq!(refused("011442079460000"), "Route 1 does not allow calls to the country GB.");
    // The country code of the caller, another country.
    assert_eq!(refused("+18762345678"), "Route 1 does not allow calls to the country JM.");
    assert_eq!(refused("+99912345678"), "Route 1 does not allow calls to numbers of no known country.");
    assert!(alice_dials(in_country("US", "+*"), "+12025550100").is_ok());
    let mut config = in_country("US", "+*");
    config.routes[0].countries = Countries::Named(vec![country("GB")]);
    assert!(alice_dials(config.clone(), "+442079460000").is_ok());
    assert!(alice_dials(config.clone(), "+12025550100").is_ok());
    assert!(alice_dials(config.clone(), "+493012345678").is_err());
    config.routes[0].countries = Countries::All;
    assert!(alice_dials(config, "+99912345678").is_ok());
    assert!(
        alice_dials(in_country("US", "+442079460000"), "+442079460000").is_ok(),
        "an exact number names itself"
    );
}

#[test]
fn what_a_rewrite_makes_of_the_number_counts_not_what_was_dialled() {
    let mut config = in_country("US", "9*");
    config.routes[0].rewrite = Some(b2bua::Rewrite::parse("*").unwrap());
    assert!(alice_dials(config.clone(), "92025550100").is_ok());
    assert_eq!(
        alice_dials(config, "9011442079460000"),
        Err("Route 1 does not allow calls to the country GB.".into())
    );
}

#[test]
fn premium_rate_needs_a_route_that_says_so() {
    let mut config = in_country("DE", "+*");
    assert_eq!(
        alice_dials(config.clone(), "0900 1234567"),
        Err("Route 1 does not allow premium rate numbers.".into())
    );
    config.routes[0].premium = true;
    assert!(alice_dials(config, "0900 1234567").is_ok());
}

#[test]
fn an_emergency_call_goes_past_limits_and_takes_a_trunk_though_no_route_takes_it() {
    let mut config = in_country("DE", "+49*");
    let one = |u: &UserConfig| UserConfig { max_calls: Some(1), ..u.clone() };
    config.users = config.users.iter().map(one).collect::<Vec<_>>().into();
    config.trunks[0].max_calls = Some(1);
    config.trunks[0].calls_per_second = Some(1);
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+493012345678");
    let (first, _) = bench.invite();
    bench.browser(ALICE, FromBrowser::Call { call: "c2".into(), to: "112".into(), sdp: "opus".into() });
    let (second, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:112@carrier.example", "as dialled");
    // Whatever a trunk says, the next one is asked: here the ones that no route names.
    let end = LegEnd::Refused { status: 403, reason: String::new(), q850: None, retry_after: None };
    bench.heard(Event::Ended { leg: second, end });
    let (third, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:112@backup.example");
    assert!(
        bench.logs.iter().any(|(level, _, text)| *level == b2bua::Level::Warn && text == "an emergency call")
    );
    for (call, leg) in [("c1", first), ("c2", third)] {
        bench.browser(ALICE, FromBrowser::Bye { call: call.into() });
        bench.heard(Event::Ended { leg, end: LegEnd::Local });
    }
    bench.assert_over(2);
    assert_eq!(bench.cdrs.iter().filter(|c| c.emergency).count(), 1);
}

#[test]
fn a_call_for_help_from_a_pbx_goes_past_the_limit_of_its_trunk() {
    let mut config = in_country("DE", "*");
    config.routes[0].from = vec![RouteFrom::Trunk("pbx".into())];
    let pbx = config.trunks.iter_mut().find(|t| t.name == "pbx").unwrap();
    pbx.max_calls = Some(1);
    let mut bench = Bench::with(config);
    bench.invited(
        "sip:10@pbx.example",
        "sip:+493012345678@192.0.2.1",
        "198.51.100.9:5060",
        Vec::new(),
        "pcmu",
    );
    bench.invite();
    bench.invited(
        "sip:11@pbx.example",
        "sip:+493012345679@192.0.2.1",
        "198.51.100.9:5060",
        Vec::new(),
        "pcmu",
    );
    let refused = bench.sip_command();
    assert!(
        matches!(&refused, Sip::Reject { status: 486, reason, .. } if reason == "The limit of simultaneous calls is reached"),
        "{refused:?}"
    );
    bench.invited("sip:12@pbx.example", "sip:110@192.0.2.1", "198.51.100.9:5060", Vec::new(), "pcmu");
    assert_eq!(bench.invite().1.uri, "sip:110@carrier.example");
}

#[test]
fn room_is_kept_for_calls_for_help_when_the_gateway_is_full() {
    let mut bench = Bench::with(in_country("DE", "+49*"));
    bench.sign_in(ALICE, "alice");
    // Refused, and not over until the carrier has confirmed it.
    let from_trunk = |bench: &mut Bench| {
        bench.invited("sip:+12025550177@c.example", "sip:+12025550111@192.0.2.1", TRUNK, Vec::new(), "pcmu")
    };
    for _ in 0..limits::CALLS {
        from_trunk(&mut bench);
    }
    from_trunk(&mut bench);
    let refused = bench.sip.pop_back().unwrap();
    assert!(matches!(refused, Sip::Reject { status: 503, .. }), "{refused:?}");
    bench.sip.clear();
    bench.take_said(ALICE);
    bench.browser(
        ALICE,
        FromBrowser::Call { call: "c1".into(), to: "+493012345678".into(), sdp: "opus".into() },
    );
    let said = bench.take_said(ALICE);
    assert!(matches!(&said[..], [ToBrowser::Error { code, .. }] if code == "busy-gateway"), "{said:?}");
    bench.browser(ALICE, FromBrowser::Call { call: "c2".into(), to: "110".into(), sdp: "opus".into() });
    assert_eq!(bench.invite().1.uri, "sip:110@carrier.example");
    bench.phone_calls("bob", "112", "192.0.2.90:5060", "pcmu");
    assert_eq!(bench.invite().1.uri, "sip:112@carrier.example");
}

#[test]
fn a_browser_with_as_many_calls_as_it_may_have_still_calls_for_help() {
    let mut bench = Bench::with(in_country("DE", "+49*"));
    bench.sign_in(ALICE, "alice");
    let dial = |bench: &mut Bench, id: String, to: &str| {
        bench.browser(ALICE, FromBrowser::Call { call: id, to: to.into(), sdp: "opus".into() });
    };
    for n in 0..limits::CALLS_PER_SESSION {
        dial(&mut bench, format!("c{n}"), "+493012345678");
        bench.invite();
    }
    bench.take_said(ALICE);
    dial(&mut bench, "more".into(), "+493012345678");
    let said = bench.take_said(ALICE);
    assert!(matches!(&said[..], [ToBrowser::Error { code, .. }] if code == "too-many-calls"), "{said:?}");
    dial(&mut bench, "help".into(), "112");
    assert_eq!(bench.invite().1.uri, "sip:112@carrier.example");
}

#[test]
fn calls_per_second_are_a_bucket_of_one_second_and_the_next_trunk_takes_the_rest() {
    let mut config = config();
    config.trunks[0].calls_per_second = Some(2);
    config.trunks[1].calls_per_second = Some(1);
    let mut bench = Bench::with(config);
    let at = |bench: &mut Bench, n: u32| {
        let phone = bench.phone_calls("alice", "+12025550100", &format!("192.0.2.{n}:5060"), "pcmu");
        match bench.sip_command() {
            Sip::Invite(leg, invite) => {
                let end =
                    LegEnd::Refused { status: 486, reason: String::new(), q850: None, retry_after: None };
                bench.heard(Event::Ended { leg, end });
                let _ = bench.sip_command();
                bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
                invite.uri.split_once('@').unwrap().1.to_owned()
            }
            Sip::Reject { status, .. } => {
                bench.heard(Event::Ended { leg: phone, end: LegEnd::Local });
                status.to_string()
            }
            other => panic!("{other:?}"),
        }
    };
    let went: Vec<String> = (60..64).map(|n| at(&mut bench, n)).collect();
    assert_eq!(went, ["carrier.example", "carrier.example", "backup.example", "503"]);
    assert_eq!(bench.cdrs.last().unwrap().reason, EndReason::RateLimited);
    bench.pass(Duration::from_millis(500));
    assert_eq!(at(&mut bench, 65), "carrier.example", "half a second is one call more");
    bench.pass(Duration::from_secs(3600));
    let went: Vec<String> = (70..73).map(|n| at(&mut bench, n)).collect();
    assert_eq!(
        went,
        ["carrier.example", "carrier.example", "backup.example"],
        "never more than a second's worth"
    );
}

#[test]
fn a_trunks_numbers_lead_where_it_says() {
    let mut config = config();
    let did = |number: &str, to: RouteTo| Did { number: Pattern::parse(number).unwrap(), to };
    config.trunks[0].dids = vec![
        did("+12025550120", RouteTo::User(UserName::new("bob"))),
        did("+1202555013x", RouteTo::Trunk("pbx".into())),
    ];
    let mut bench = Bench::with(config);
    bench.sign_in(BOB, "bob");
    // As this carrier writes it.
    bench.trunk_calls("12025550120", "pcmu");
    bench.incoming(BOB);
    bench.sip.clear();
    bench.trunk_calls("+12025550135", "pcmu");
    assert_eq!(bench.invite().1.uri, "sip:+12025550135@pbx.example");
}

#[test]
fn a_carrier_whose_call_nobody_takes_reads_why_rule_by_rule() {
    let mut config = config();
    config.routes.push(route("+49*", &carrier()));
    config.routes[2].from.push(RouteFrom::User(UserName::new("bob")));
    let mut bench = Bench::with(config);
    bench.trunk_calls("+493012345678", "pcmu");
    let Sip::Reject { status, headers, .. } = bench.sip_command() else { panic!() };
    assert_eq!(status, 403);
    let warning = &headers.iter().find(|(name, _)| *name == "Warning").unwrap().1;
    for part in [
        "399 example.com",
        "dids of trunk carrier: 0, none is this number",
        "users: 2, none has it as caller_id or extension",
        "route 1: other numbers",
        "route 3: not from trunk carrier",
    ] {
        assert!(warning.contains(part), "{part} is not in {warning}");
    }
    assert!(!warning.contains("3012345678"));
    assert!(bench.logs.iter().any(|(_, _, text)| text.contains("route 3: not from trunk carrier")));
}

#[test]
fn route_explain_names_country_premium_and_help() {
    let alice = RouteFrom::User(UserName::new("alice"));
    let mut config = in_country("DE", "+*");
    let last = |config: &SwitchConfig, number: &str| {
        let told = explain(config, number, &alice);
        (told.found, told.lines.join("\n"))
    };
    let (found, text) = last(&config, "00442079460000");
    assert!(!found && text.contains("is a number of GB"), "{text}");
    assert!(text.contains("route 1 (match \"+*\"): does not allow GB; countries = [\"GB\"] would"), "{text}");
    assert!(text.ends_with("goes nowhere (403): Route 1 does not allow calls to the country GB."), "{text}");
    let (_, text) = last(&config, "09001234567");
    assert!(text.contains("at premium rate") && text.contains("premium = true would allow it"), "{text}");
    let (found, text) = last(&config, "110");
    assert!(found && text.contains("calls for help") && text.contains("every trunk is tried"), "{text}");
    config.trunks[0].dids =
        vec![Did { number: Pattern::parse("+4930*").unwrap(), to: RouteTo::User(UserName::new("bob")) }];
    let told = explain(&config, "+493012345678", &RouteFrom::Trunk("carrier".into()));
    assert!(told.lines[1].contains("of the dids of trunk carrier"), "{told:?}");
}
