//! Sign-in and registration: who may, for how long, and what wrong passwords cost.

use std::time::Duration;

use crate::rig::*;
use b2bua::{FLOW_GRACE, SignalIn};
use sip_ua::digest::Algorithm;
use sip_ua::message::Method;
use sip_ua::{
    Command as Sip, ConnectionId, Event, Flow, Headers, LegEnd, RequestToken, SipLeg, Target, Transport,
};
use types::{SessionId, UserName, limits};
use webrtc_peer::signalling::{FromBrowser, ToBrowser};

const PHONE: &str = "192.0.2.50:5070";

fn contact(text: &str) -> Headers {
    vec![("Contact", text.to_owned())]
}

fn value<'a>(headers: &'a Headers, name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.as_str()).collect()
}

#[test]
fn a_phone_registers_with_digest_and_is_listed() {
    let mut bench = Bench::new();
    let (status, headers) = bench.register("bob", PHONE, contact("<sip:bob@10.0.0.5:5070>;expires=600"));
    assert_eq!(status, 200);
    assert_eq!(value(&headers, "Contact"), ["<sip:bob@10.0.0.5:5070>;expires=600"]);
    let binding = &bench.switch.registrar().bindings(&UserName::new("bob"))[0];
    // The contact says 10.0.0.5; calls go back to where the REGISTER came from (RFC 3581, RFC 5626).
    assert_eq!(binding.flow, flow(PHONE));
}

#[test]
fn the_challenge_is_the_same_for_known_and_unknown_users() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, name: &str| {
        let (status, headers) = bench.register_raw(name, PHONE, contact("<sip:x@192.0.2.50>"));
        (status, headers.len(), headers.iter().map(|(n, _)| *n).collect::<Vec<_>>())
    };
    let known = ask(&mut bench, "bob");
    let unknown = ask(&mut bench, "mallory");
    assert_eq!(known, unknown);
    assert_eq!(known.0, 401);
    let wrong = |bench: &mut Bench, name: &str| {
        let (_, challenge) = bench.register_raw(name, PHONE, Vec::new());
        let fields = bench.credentials(name, "wrong", &challenge, &Method::Register, "sip:example.com");
        assert_eq!(bench.register_raw(name, PHONE, fields).0, 0, "the answer waits");
        bench.pass(Duration::from_millis(200));
        match bench.sip_command() {
            Sip::Respond { status, headers, .. } => (status, headers.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wrong(&mut bench, "bob"), wrong(&mut bench, "mallory"));
}

#[test]
fn a_user_registers_only_themselves_and_only_here() {
    let mut bench = Bench::new();
    let (_, challenge) = bench.register_raw("alice", PHONE, Vec::new());
    let fields = bench.credentials("bob", "bob-pw", &challenge, &Method::Register, "sip:example.com");
    assert_eq!(bench.register_raw("alice", PHONE, fields).0, 403);
    let fields = vec![
        ("From", "<sip:bob@elsewhere.example>;tag=1".to_owned()),
        ("To", "<sip:bob@elsewhere.example>".to_owned()),
    ];
    let request = bench.request("REGISTER sip:elsewhere.example", &fields, "");
    bench.heard(Event::Register { token: RequestToken(1), request, flow: flow(PHONE) });
    assert!(matches!(bench.sip_command(), Sip::Respond { status: 404, .. }));
}

#[test]
fn expiry_is_negotiated_within_bounds() {
    let mut bench = Bench::new();
    let (status, headers) = bench.register("bob", PHONE, contact("<sip:bob@192.0.2.50>;expires=59"));
    assert_eq!((status, value(&headers, "Min-Expires")), (423, vec!["60"]));
    let (_, headers) = bench.register("bob", PHONE, contact("<sip:bob@192.0.2.50>;expires=99999"));
    assert_eq!(value(&headers, "Contact"), ["<sip:bob@192.0.2.50>;expires=3600"]);
    let mut fields = contact("<sip:bob@192.0.2.50>");
    fields.push(("Expires", "120".into()));
    let (_, headers) = bench.register("bob", PHONE, fields);
    assert_eq!(value(&headers, "Contact"), ["<sip:bob@192.0.2.50>;expires=120"]);
}

#[test]
fn contacts_expire_by_themselves() {
    let mut bench = Bench::new();
    bench.register("bob", PHONE, contact("<sip:bob@192.0.2.50>;expires=60"));
    bench.register("bob", PHONE, contact("<sip:bob@192.0.2.51>;expires=600"));
    let left = |bench: &Bench| bench.switch.registrar().iter().count();
    bench.pass(Duration::from_secs(59));
    assert_eq!(left(&bench), 2);
    bench.pass(Duration::from_secs(2));
    assert_eq!(left(&bench), 1);
    bench.pass(Duration::from_secs(600));
    assert_eq!(left(&bench), 0);
    assert_eq!(bench.switch.registrar().poll_timeout(), None);
}

#[test]
fn contacts_are_removed_one_by_one_and_by_star() {
    let mut bench = Bench::new();
    for host in ["192.0.2.50", "192.0.2.51", "192.0.2.52"] {
        bench.register("bob", PHONE, contact(&format!("<sip:bob@{host}>")));
    }
    let (_, headers) = bench.register("bob", PHONE, contact("<sip:bob@192.0.2.51>;expires=0"));
    assert_eq!(value(&headers, "Contact").len(), 2);
    let (status, _) = bench.register("bob", PHONE, contact("*"));
    assert_eq!(status, 400, "a star needs Expires: 0 (RFC 3261 §10.2.2)");
    let mut fields = contact("*");
    fields.push(("Expires", "0".into()));
    let (status, headers) = bench.register("bob", PHONE, fields);
    assert_eq!((status, value(&headers, "Contact").len()), (200, 0));
    assert_eq!(bench.switch.registrar().iter().count(), 0);
}

#[test]
fn a_register_without_contact_lists_them() {
    let mut bench = Bench::new();
    bench.phone("bob", PHONE);
    let (status, headers) = bench.register("bob", PHONE, Vec::new());
    assert_eq!((status, value(&headers, "Contact").len()), (200, 1));
}

#[test]
fn an_older_register_changes_nothing() {
    // RFC 3261 §10.3 step 7: same Call-ID, lower CSeq.
    let mut bench = Bench::new();
    let (_, challenge) = bench.register_raw("bob", PHONE, Vec::new());
    let mut fields = bench.credentials("bob", "bob-pw", &challenge, &Method::Register, "sip:example.com");
    fields.push(("Contact", "<sip:bob@192.0.2.50:5070>;expires=0".into()));
    let aor = "<sip:bob@example.com>";
    fields.extend([("From", format!("{aor};tag=1")), ("To", aor.to_owned())]);
    let old = bench.request("REGISTER sip:example.com", &fields, "");
    bench.phone("bob", PHONE);
    bench.heard(Event::Register { token: RequestToken(5), request: old, flow: flow(PHONE) });
    assert!(matches!(bench.sip_command(), Sip::Respond { status: 500, .. }));
    assert_eq!(bench.switch.registrar().iter().count(), 1);
}

#[test]
fn an_eleventh_device_is_refused_but_the_same_instance_replaces_itself() {
    let mut bench = Bench::new();
    for n in 0..limits::CONTACTS_PER_USER {
        let text = format!("<sip:bob@192.0.2.{n}>;+sip.instance=\"<urn:uuid:{n}>\"");
        assert_eq!(bench.register("bob", PHONE, contact(&text)).0, 200);
    }
    assert_eq!(bench.register("bob", PHONE, contact("<sip:bob@198.51.100.1>")).0, 403);
    let again = "<sip:bob@203.0.113.99>;+sip.instance=\"<urn:uuid:3>\"";
    assert_eq!(bench.register("bob", PHONE, contact(again)).0, 200);
    let bob = UserName::new("bob");
    let hosts: Vec<_> =
        bench.switch.registrar().bindings(&bob).iter().map(|b| b.uri.host().to_owned()).collect();
    assert_eq!(hosts.len(), limits::CONTACTS_PER_USER);
    assert!(hosts.contains(&"203.0.113.99".to_owned()) && !hosts.contains(&"192.0.2.3".to_owned()));
}

/// A connection of a device.
fn connection(n: u64) -> Flow {
    let connection = Some(ConnectionId(n));
    Flow { transport: Transport::Ws, connection, ..flow("192.0.2.60:40000") }
}

/// REGISTER over such a connection, as JsSIP and SIP.js write it (RFC 7118 §8, RFC 5626 §4.2); the fields of the 200.
fn register_over(bench: &mut Bench, over: Flow, contact: &str) -> Headers {
    let (_, challenge) = bench.register_raw("bob", PHONE, Vec::new());
    let mut fields = bench.credentials("bob", "bob-pw", &challenge, &Method::Register, "sip:example.com");
    let aor = "<sip:bob@example.com>";
    fields.extend([("From", format!("{aor};tag=1")), ("To", aor.to_owned())]);
    fields.extend([("Contact", contact.to_owned()), ("Supported", "path,gruu,outbound".to_owned())]);
    let request = bench.request("REGISTER sip:example.com", &fields, "");
    bench.heard(Event::Register { token: RequestToken(5), request, flow: over });
    match bench.sip_command() {
        Sip::Respond { status: 200, headers, .. } => headers,
        other => panic!("{other:?}"),
    }
}

fn page(host: &str, instance: u8, reg_id: u32) -> String {
    format!("<sip:bob@{host}.invalid;transport=ws>;+sip.instance=\"<urn:uuid:{instance}>\";reg-id={reg_id}")
}

fn callable(bench: &Bench) -> Vec<String> {
    let bob = UserName::new("bob");
    bench.switch.registrar().callable(&bob).map(|b| b.uri.host().to_owned()).collect()
}

#[test]
fn a_closed_connection_suspends_its_contacts_at_once_and_removes_them_after_a_grace_time() {
    // RFC 5626 §6, field problem 25.
    let mut bench = Bench::new();
    bench.phone("bob", PHONE);
    register_over(&mut bench, connection(4), &page("abc", 1, 1));
    assert_eq!(callable(&bench).len(), 2);
    bench.heard(Event::FlowClosed { flow: connection(4) });
    assert_eq!(callable(&bench).len(), 1, "not rung any more");
    assert_eq!(bench.switch.registrar().iter().count(), 2, "but remembered");
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "101");
    let (_, invite) = bench.invite();
    assert_eq!(invite.target, Target::Flow(flow(PHONE)));
    assert!(bench.sip.iter().all(|s| !matches!(s, Sip::Invite(..))), "the phone alone rings");
    bench.pass(FLOW_GRACE + Duration::from_secs(1));
    assert_eq!(bench.switch.registrar().iter().count(), 1);
}

#[test]
fn the_same_device_on_a_new_connection_takes_its_suspended_contact_s_place() {
    let mut bench = Bench::new();
    register_over(&mut bench, connection(4), &page("abc", 1, 1));
    bench.heard(Event::FlowClosed { flow: connection(4) });
    assert!(callable(&bench).is_empty());
    let headers = register_over(&mut bench, connection(5), &page("def", 1, 1));
    assert_eq!(callable(&bench), ["def.invalid"]);
    assert_eq!(bench.switch.registrar().iter().count(), 1);
    // RFC 5626 §6: the answer to a device that asks for outbound.
    assert_eq!((value(&headers, "Require"), value(&headers, "Flow-Timer")), (vec!["outbound"], vec!["120"]));
    assert_eq!(value(&headers, "Contact").len(), 1);
    // The old connection's end, heard late, does not concern the new one.
    bench.heard(Event::FlowClosed { flow: connection(4) });
    assert_eq!(callable(&bench), ["def.invalid"]);
}

#[test]
fn of_several_flows_of_one_device_only_the_newest_that_lives_rings() {
    // RFC 5626 §5.3.
    let mut bench = Bench::new();
    register_over(&mut bench, connection(4), &page("abc", 1, 1));
    bench.pass(Duration::from_secs(1));
    register_over(&mut bench, connection(5), &page("abc", 1, 2));
    assert_eq!(bench.switch.registrar().iter().count(), 2);
    let flow_of = |bench: &Bench| {
        let all: Vec<_> = bench.switch.registrar().callable(&UserName::new("bob")).map(|b| b.flow).collect();
        all
    };
    assert_eq!(flow_of(&bench), [connection(5)]);
    bench.heard(Event::FlowClosed { flow: connection(5) });
    assert_eq!(flow_of(&bench), [connection(4)]);
}

#[test]
fn pages_reloaded_again_and_again_never_keep_a_user_from_registering() {
    let mut bench = Bench::new();
    for n in 1..=2 * limits::CONTACTS_PER_USER as u64 {
        register_over(&mut bench, connection(n), &page("abc", n as u8, 1).replace("abc", &format!("p{n}")));
        assert_eq!(callable(&bench).len(), 1);
        bench.heard(Event::FlowClosed { flow: connection(n) });
    }
    assert_eq!(bench.switch.registrar().iter().count(), limits::CONTACTS_PER_USER);
}

#[test]
fn wrong_passwords_of_a_browser_are_slowed_down_and_the_right_one_elsewhere_is_not() {
    let mut bench = Bench::new();
    bench.open(ALICE);
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.hello(ALICE, "alice", "guess");
        let before = bench.now;
        while bench.said.is_empty() {
            bench.pass(Duration::from_millis(100));
        }
        waits.push((bench.now - before).as_millis());
        let said = bench.take_said(ALICE);
        assert!(matches!(&said[..], [ToBrowser::Error { code, .. }] if code == "wrong-password"), "{said:?}");
    }
    assert_eq!(waits, [200, 400, 800, 1600, 3000, 3000]);
    bench.hello(ALICE, "alice", "guess");
    assert!(bench.said.is_empty(), "waiting");
    let elsewhere = "203.0.113.200".parse().unwrap();
    bench.signal(ALICE_TAB, SignalIn::Opened { source: elsewhere });
    bench.hello(ALICE_TAB, "alice", "alice-pw");
    assert!(matches!(bench.take_said(ALICE_TAB).as_slice(), [ToBrowser::Welcome { .. }]));
}

#[test]
fn parallel_guesses_gain_nothing() {
    let mut bench = Bench::new();
    for n in 100..140 {
        bench.open(SessionId(n));
        bench.hello(SessionId(n), "alice", "guess");
    }
    // A right password among them is looked at only in its turn, and those beyond the waiting room never.
    bench.open(SessionId(200));
    bench.hello(SessionId(200), "alice", "alice-pw");
    bench.pass(Duration::from_secs(60));
    let welcome = bench.said.iter().any(|(_, m)| matches!(m, ToBrowser::Welcome { .. }));
    assert!(!welcome);
    assert_eq!(bench.said.len(), 41, "everyone is answered");
    bench.hello(SessionId(200), "alice", "alice-pw");
    assert!(matches!(bench.take_said(SessionId(200)).last(), Some(ToBrowser::Welcome { .. })));
}

#[test]
fn a_browser_signs_in_first_and_once() {
    let mut bench = Bench::new();
    bench.open(ALICE);
    bench.call(ALICE, "bob");
    bench.browser(ALICE, FromBrowser::Hello { version: 9, username: "alice".into(), password: "x".into() });
    bench.hello(ALICE, "alice", "alice-pw");
    bench.hello(ALICE, "alice", "alice-pw");
    bench.browser(ALICE, FromBrowser::Ping {});
    let said = bench.take_said(ALICE);
    let words: Vec<_> = said
        .iter()
        .map(|m| match m {
            ToBrowser::Error { code, .. } => code.as_str(),
            ToBrowser::Welcome { extension, .. } => extension.as_deref().unwrap(),
            ToBrowser::Pong {} => "pong",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(words, ["not-signed-in", "unsupported-version", "100", "already-signed-in", "pong"]);
}

#[test]
fn relays_are_told_after_the_sign_in_and_anew_before_their_credentials_expire() {
    let mut config = config();
    let ttl = Duration::from_secs(3_600);
    config.turn = Some(webrtc_peer::turn::Turn::new(vec!["turn:turn.example.com".into()], "north", ttl));
    let mut bench = Bench::with(config);
    let seconds = |bench: &Bench| bench.wall.seconds();
    let expiry = |said: &ToBrowser| match said {
        ToBrowser::Turn { username, .. } => {
            let (at, user) = username.split_once(':').unwrap();
            assert_eq!(user, "alice");
            at.parse::<u64>().unwrap()
        }
        other => panic!("{other:?}"),
    };
    bench.open(ALICE);
    assert!(bench.said.is_empty(), "nothing to whom nobody knows");
    bench.hello(ALICE, "alice", "alice-pw");
    let said = bench.take_said(ALICE);
    assert!(matches!(said[0], ToBrowser::Welcome { .. }) && said.len() == 2, "{said:?}");
    assert_eq!(expiry(&said[1]), seconds(&bench) + 3_600);
    bench.pass(Duration::from_secs(1_799));
    assert!(bench.said.is_empty());
    bench.pass(Duration::from_secs(2));
    let said = bench.take_said(ALICE);
    assert_eq!(said.len(), 1);
    assert!(expiry(&said[0]) >= seconds(&bench) + 3_590);
    bench.signal(ALICE, SignalIn::Closed);
    bench.pass(Duration::from_secs(7_200));
    assert_eq!(bench.switch.poll_timeout(), None, "nobody is there to be told");
}

#[test]
fn hashed_secrets_sign_in_like_passwords() {
    let mut config = config();
    let hash = sip_ua::digest::ha1(sip_ua::digest::Hash::Sha256, "alice", "example.com", "alice-pw");
    let mut users = config.users.to_vec();
    users[0].secret = b2bua::Secret::Hashed { md5: None, sha256: Some(hash) };
    config.users = users.into();
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.phone("alice", PHONE);
    bench.open(ALICE_TAB);
    bench.hello(ALICE_TAB, "alice", "wrong");
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.take_said(ALICE_TAB).as_slice(), [ToBrowser::Error { .. }]));
}

#[test]
fn challenges_come_strongest_first_over_every_transport() {
    // RFC 8760 §2.3; of several JsSIP and SIP.js see the last, and know MD5 alone.
    let mut config = config();
    config.digest = ["MD5", "SHA-512-256", "SHA-256"].map(|a| Algorithm::parse(a).unwrap()).to_vec();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
        let mut bench = Bench::with(config.clone());
        let (from, to) = ("<sip:alice@example.com>;tag=t", "<sip:bob@example.com>");
        let fields = [("From", from), ("To", to), ("Contact", "<sip:alice@192.0.2.50>")];
        let fields = fields.map(|(n, v)| (n, v.to_owned())).to_vec();
        let request = bench.request("INVITE sip:bob@example.com", &fields, "pcmu");
        let flow = Flow { transport, ..flow(PHONE) };
        bench.heard(Event::Invite { leg: SipLeg::incoming(1), request, flow, replaces: None });
        let Sip::Reject { headers, status: 401, .. } = bench.sip_command() else { panic!() };
        let name = |v: &str| v.split("algorithm=").nth(1).unwrap().split(',').next().unwrap().to_owned();
        let offered: Vec<_> = headers.iter().map(|(_, v)| name(v)).collect();
        assert_eq!(offered, ["SHA-512-256", "SHA-256", "MD5"]);
    }
}

#[test]
fn a_phones_wrong_password_gets_no_call_and_its_cancel_while_waiting_leaves_nothing() {
    let mut bench = Bench::new();
    bench.sign_in(BOB, "bob");
    let attempt = |bench: &mut Bench, password: &str| -> SipLeg {
        let (from, to) = ("sip:alice@example.com", "sip:bob@example.com");
        let first = bench.invited(from, to, PHONE, Vec::new(), "pcmu");
        let Sip::Reject { headers, .. } = bench.sip_command() else { panic!() };
        bench.heard(Event::Ended { leg: first, end: LegEnd::Local });
        let fields = bench.credentials("alice", password, &headers, &Method::Invite, to);
        bench.invited(from, to, PHONE, fields, "pcmu")
    };
    attempt(&mut bench, "wrong");
    assert!(bench.sip.is_empty(), "its 401 waits");
    let waiting = attempt(&mut bench, "alice-pw");
    bench.heard(Event::Ended { leg: waiting, end: LegEnd::Cancelled { reason: None } });
    bench.pass(Duration::from_secs(5));
    assert!(matches!(bench.sip_command(), Sip::Reject { status: 401, .. }));
    assert!(bench.take_said(BOB).is_empty());
    bench.assert_over(0);
    attempt(&mut bench, "alice-pw");
    bench.incoming(BOB);
}

#[test]
fn trunks_register_when_their_address_is_known_and_move_with_it() {
    let mut config = config();
    let target = config.trunks[1].targets.remove(0);
    config.trunks[1].registration = Some(b2bua::TrunkRegistration {
        registrar: "sip:backup.example".into(),
        aor: "sip:4930@backup.example".into(),
        expires: 600,
        instance: None,
    });
    let mut bench = Bench::with(config);
    assert!(bench.sip.is_empty());
    bench.switch.set_trunk_targets("backup", vec![target]);
    bench.drain();
    let Sip::Register(id, register) = bench.sip_command() else { panic!() };
    assert_eq!((register.registrar.as_str(), register.expires), ("sip:backup.example", 600));
    bench.heard(Event::Registration { id, state: sip_ua::RegistrationState::Registered { expires: 600 } });
    let status = bench.switch.trunks().nth(1).unwrap();
    assert!(matches!(status.registration, Some(sip_ua::RegistrationState::Registered { .. })));
    bench.switch.set_trunk_targets("backup", vec![target]);
    bench.drain();
    assert!(bench.sip.is_empty(), "nothing moved");
    let moved = b2bua::TrunkTarget::only(udp("203.0.113.7:5060"));
    bench.switch.set_trunk_targets("backup", vec![moved]);
    bench.drain();
    assert!(matches!(bench.sip_command(), Sip::Unregister(old) if old == id));
    assert!(matches!(bench.sip_command(), Sip::Register(new, _) if new != id));
    let (now, wall) = (bench.now, bench.wall);
    bench.switch.shut_down(now, wall);
    bench.drain();
    assert!(matches!(bench.sip_command(), Sip::Unregister(_)));
}

#[test]
fn a_trunk_without_address_is_unreachable() {
    let mut config = config();
    config.trunks[0].targets.clear();
    config.trunks[1].targets.clear();
    let mut bench = Bench::with(config);
    bench.sign_in(ALICE, "alice");
    bench.call(ALICE, "+12025550100");
    assert_eq!(bench.cdrs[0].reason, types::EndReason::TrunkUnreachable);
}
