//! What a trunk's profile makes of a call: who it is told calls, in which form, and what is believed of it.

use crate::rig::{ALICE, Bench, CALLER, TRUNK, config, country, route, sdp};
use b2bua::{
    Countries, ForwardHeader, IdentityHeader, NumberFormat, PrivateFrom, RouteFrom, RouteTo, TrunkProfile,
};
use media_bridge::control::{DtmfMode, Event as MediaEvent};
use sip_ua::{Body, Command as Sip, Event, Headers, LegEnd, Refresher, Reliable100, SessionTimer};
use types::{CallId, LegId};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

fn bench(profile: TrunkProfile) -> Bench {
    let mut config = config();
    config.trunks[0].profile = profile;
    Bench::with(config)
}

/// From and the further fields of the INVITE that a profile makes of alice's call.
fn called_by_alice(profile: TrunkProfile) -> (String, Headers) {
    let mut bench = bench(profile);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (_, invite) = bench.invite();
    (invite.from, invite.headers)
}

fn identity(identity: IdentityHeader) -> TrunkProfile {
    TrunkProfile { identity, ..TrunkProfile::default() }
}

#[test]
fn without_an_identity_header_from_says_who_calls() {
    let (from, headers) = called_by_alice(TrunkProfile::default());
    assert_eq!(from, "<sip:+12025550110@carrier.example>");
    assert_eq!(headers, []);
}

#[test]
fn each_identity_header_carries_the_callers_number_beside_a_fixed_from() {
    let number = "<sip:+12025550110@carrier.example>";
    let rpid = format!("{number};party=calling;screen=no;privacy=off");
    for (header, name, value) in [
        (IdentityHeader::Pai, "P-Asserted-Identity", number.to_owned()),
        (IdentityHeader::Ppi, "P-Preferred-Identity", number.to_owned()),
        (IdentityHeader::Rpid, "Remote-Party-ID", rpid),
    ] {
        let profile = TrunkProfile { from_user: Some("account".into()), ..identity(header) };
        let (from, headers) = called_by_alice(profile);
        assert_eq!(from, "<sip:account@carrier.example>");
        assert_eq!(headers, [(name, value)]);
    }
}

#[test]
fn numbers_are_written_as_the_trunk_wants_them() {
    let profile = TrunkProfile {
        number_format: NumberFormat::E164WithoutPlus,
        from_domain: Some("own.example".into()),
        ..identity(IdentityHeader::Ppi)
    };
    let mut bench = bench(profile);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (_, invite) = bench.invite();
    assert_eq!(invite.uri, "sip:12025550100@carrier.example");
    assert_eq!(invite.from, "<sip:12025550110@own.example>");
    assert_eq!(invite.headers[0].1, "<sip:12025550110@own.example>");
}

#[test]
fn route_and_policies_reach_the_invite() {
    let timer = SessionTimer::On { interval: 600, min_se: 120, refresher: Some(Refresher::Us) };
    let mut bench = bench(TrunkProfile {
        route: Some("<sip:proxy.example;lr>".into()),
        reliable: Reliable100::Off,
        session_timer: timer,
        ..TrunkProfile::default()
    });
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (_, invite) = bench.invite();
    assert_eq!(invite.routes, ["<sip:proxy.example;lr>"]);
    assert_eq!((invite.reliable, invite.timer), (Reliable100::Off, timer));
    let leg = bench.trunk_calls("+12025550111", "pcmu");
    assert!(matches!(bench.sip_command(), Sip::SetTimer { leg: of, timer: t } if of == leg && t == timer));
}

/// The INVITE that alice's phone makes with `Privacy: id` (RFC 3323 §4.2).
fn called_privately(profile: TrunkProfile) -> (String, Headers) {
    let mut bench = bench(profile);
    let uri = "sip:+12025550100@example.com";
    let first = bench.invited("sip:alice@example.com", uri, PHONE_A, Vec::new(), "pcmu");
    let Sip::Reject { leg, status, headers, .. } = bench.sip_command() else { panic!("no challenge") };
    assert_eq!(status, 401, "{headers:?}");
    assert_eq!(leg, first);
    let mut fields = bench.credentials("alice", "alice-pw", &headers, &sip_ua::message::Method::Invite, uri);
    fields.push(("Privacy", "id".into()));
    bench.invited("sip:alice@example.com", uri, PHONE_A, fields, "pcmu");
    let (_, invite) = bench.invite();
    (invite.from, without_hops(invite.headers))
}

/// Without what every call that passes us has.
fn without_hops(headers: Headers) -> Headers {
    headers.into_iter().filter(|(name, _)| *name != "Max-Forwards").collect()
}

const PHONE_A: &str = "192.0.2.50:5060";
const HIDDEN: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

#[test]
fn a_private_callers_number_goes_to_a_trusted_trunk_only() {
    // RFC 3325 §7, RFC 3323 §4.1.1.3, and RFC 5876 §3.1: a user agent asserts it to a peer it trusts.
    let (from, headers) = called_privately(identity(IdentityHeader::Pai));
    assert_eq!(from, HIDDEN);
    assert_eq!(headers, [("Privacy", "id".to_owned())]);
    let (from, headers) = called_privately(TrunkProfile { trusted: true, ..identity(IdentityHeader::Pai) });
    assert_eq!(from, HIDDEN);
    let number = "<sip:+12025550110@carrier.example>".to_owned();
    assert_eq!(headers, [("P-Asserted-Identity", number), ("Privacy", "id".to_owned())]);
}

#[test]
fn a_trunk_that_knows_its_accounts_by_from_keeps_it_for_private_callers() {
    // RFC 3323 §4.2: Privacy asks the carrier to hide what From must say.
    let profile = TrunkProfile {
        from_user: Some("account".into()),
        private_from: PrivateFrom::Account,
        ..TrunkProfile::default()
    };
    let (from, headers) = called_privately(profile);
    assert_eq!(from, "<sip:account@carrier.example>");
    assert_eq!(headers, [("Privacy", "id".to_owned())]);
}

/// What alice's page shows of a call from the trunk with these fields.
fn shown(trusted: bool, from: &str, fields: Headers) -> (String, String) {
    let mut bench = bench(TrunkProfile { trusted, ..TrunkProfile::default() });
    bench.sign_in(ALICE, "alice");
    bench.invited(from, "sip:+12025550110@192.0.2.1", TRUNK, fields, "pcmu");
    let said = bench.take_said(ALICE);
    let [ToBrowser::Incoming { from, name, .. }] = said.as_slice() else { panic!("{said:?}") };
    (from.clone(), name.clone())
}

#[test]
fn an_asserted_identity_is_believed_only_from_a_trusted_trunk() {
    // RFC 3325 §5.
    let from = "sip:account@carrier.example";
    let pai = || vec![("P-Asserted-Identity", "\"Carol\" <sip:+12025550133@carrier.example>".to_owned())];
    assert_eq!(shown(true, from, pai()), ("+12025550133".into(), "Carol".into()));
    assert_eq!(shown(false, from, pai()).0, "account");
    let rpid = vec![("Remote-Party-ID", "<sip:+12025550144@carrier.example>;party=calling".to_owned())];
    assert_eq!(shown(true, from, rpid).0, "+12025550144");
}

#[test]
fn a_private_caller_of_a_trunk_is_anonymous_to_browsers_and_phones_whatever_is_asserted() {
    // RFC 3325 §9.3, RFC 3323 §4.2.
    let pai = ("P-Asserted-Identity", "<sip:+12025550133@carrier.example>".to_owned());
    let private = vec![pai, ("Privacy", "id".to_owned())];
    assert_eq!(
        shown(true, "sip:+12025550133@carrier.example", private.clone()),
        ("anonymous".into(), "Anonymous".into())
    );
    let hidden = "sip:anonymous@anonymous.invalid";
    assert_eq!(shown(false, hidden, Vec::new()), ("anonymous".into(), "Anonymous".into()));
    let mut bench = bench(TrunkProfile { trusted: true, ..TrunkProfile::default() });
    bench.phone("alice", PHONE_A);
    bench.invited("sip:+12025550133@c.example", "sip:+12025550110@192.0.2.1", TRUNK, private, "pcmu");
    let (_, invite) = bench.invite();
    assert_eq!(invite.from, HIDDEN);
    assert!(!format!("{invite:?}").contains("12025550133"));
}

#[test]
fn numbers_of_a_trunk_without_plus_are_read_as_international() {
    let profile =
        TrunkProfile { inbound_number_format: NumberFormat::E164WithoutPlus, ..TrunkProfile::default() };
    let mut bench = bench(profile);
    bench.sign_in(ALICE, "alice");
    bench.invited("sip:12025550177@carrier.example", "sip:12025550110@192.0.2.1", TRUNK, Vec::new(), "pcmu");
    let said = bench.take_said(ALICE);
    assert!(matches!(&said[..], [ToBrowser::Incoming { from, .. }] if from == "+12025550177"), "{said:?}");
}

#[test]
fn a_trunk_that_writes_as_its_country_dials_is_read_and_written_so() {
    let national = TrunkProfile {
        number_format: NumberFormat::National,
        inbound_number_format: NumberFormat::National,
        ..identity(IdentityHeader::Pai)
    };
    let mut config = config();
    config.trunks[0].profile = national;
    config.trunks[0].country = Some(country("DE"));
    config.routes[0] = route("+*", &[RouteTo::Trunk("carrier".into())]);
    config.routes[0].countries = Countries::All;
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    for (dialled, uri) in [("+493012345678", "sip:03012345678"), ("+442079460000", "sip:00442079460000")] {
        bench.call(ALICE, dialled);
        let (leg, invite) = bench.invite();
        assert_eq!(invite.uri, format!("{uri}@carrier.example"));
        assert_eq!(invite.from, "<sip:0012025550110@carrier.example>");
        assert_eq!(invite.headers, [("P-Asserted-Identity", "<sip:0012025550110@carrier.example>".into())]);
        bench.browser(ALICE, FromBrowser::Bye { call: "c1".into() });
        bench.heard(Event::Ended { leg, end: LegEnd::Local });
        bench.sip.clear();
    }
    bench.take_said(ALICE);
    let leg =
        bench.invited("sip:03012345678@c.example", "sip:0012025550110@192.0.2.1", TRUNK, Vec::new(), "pcmu");
    let said = bench.take_said(ALICE);
    assert!(matches!(&said[..], [ToBrowser::Incoming { from, .. }] if from == "+493012345678"), "{said:?}");
    bench.heard(Event::Ended { leg, end: LegEnd::Cancelled { reason: None } });
    let record = bench.cdrs.last().unwrap();
    assert_eq!(
        (record.from_e164.as_deref(), record.to_e164.as_deref()),
        (Some("+493012345678"), Some("+12025550110"))
    );
}

#[test]
fn a_forwarded_call_says_who_forwards_in_the_header_that_the_trunk_wants() {
    // RFC 5806 §4, RFC 7044 §5.
    for (forwarded, name, value) in [
        (ForwardHeader::Diversion, "Diversion", "<sip:+12025550100@backup.example>;reason=unconditional"),
        (
            ForwardHeader::HistoryInfo,
            "History-Info",
            "<sip:+12025550100@backup.example>;index=1, <sip:+12025550100@backup.example;cause=302>;index=1.1;mp=1",
        ),
    ] {
        let mut config = config();
        config.routes[1].from = vec![RouteFrom::Trunk("carrier".into())];
        config.routes[1].to = vec![RouteTo::Trunk("backup".into())];
        config.trunks[1].profile.forwarded = forwarded;
        let mut bench = Bench::with(config);
        bench.trunk_calls("+12025550100", "pcmu");
        let (_, invite) = bench.invite();
        assert_eq!(without_hops(invite.headers), [(name, value.to_owned())]);
    }
}

#[test]
fn digits_for_a_trunk_that_wants_info_go_by_info_and_count() {
    let mut bench = bench(TrunkProfile { dtmf: DtmfMode::Info, ..TrunkProfile::default() });
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("pcmu") });
    let duration = std::time::Duration::from_millis(120);
    bench.media(CallId(1), MediaEvent::Dtmf { leg: CALLER, digit: '5', duration });
    let Sip::Info { leg: to, body } = bench.sip_command() else { panic!("no INFO") };
    assert_eq!((to, body.content_type.as_str()), (leg, "application/dtmf-relay"));
    assert_eq!(body.bytes, b"Signal=5\r\nDuration=120\r\n");
    bench.media(CallId(1), MediaEvent::Dtmf { leg: LegId(1), digit: '7', duration });
    assert!(bench.sip.is_empty(), "its own digits do not come back");
    // It uses the other form itself.
    let body = Body { content_type: "application/dtmf".into(), bytes: b"7\r\n".to_vec() };
    bench.heard(Event::Info { leg, body });
    for digit in "0123456789*#ABCD".chars() {
        bench.media(CallId(1), MediaEvent::Dtmf { leg: CALLER, digit, duration });
        let Sip::Info { body, .. } = bench.sip_command() else { panic!("no INFO") };
        assert_eq!(
            (body.content_type.as_str(), body.bytes),
            ("application/dtmf", digit.to_string().into_bytes())
        );
    }
    bench.heard(Event::Ended { leg, end: LegEnd::Bye { q850: None } });
    assert_eq!(bench.cdrs[0].digits, 18);
}
