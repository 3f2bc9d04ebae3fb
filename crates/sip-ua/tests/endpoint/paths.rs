//! Which address we call ourselves, where requests and responses go: wildcards, advertised addresses, NAT, streams.

use crate::kit;
use std::time::Instant;

use crate::kit::{Party, addr, answer, field, invite, request, sdp};
use sip_ua::{
    Command, ConnectionId, EndpointConfig, Event, Flow, LegEnd, Listener, SipLeg, Target, Transport,
};
use types::Wall;

fn listener(transport: Transport, local: &str, advertise: Option<&str>) -> Listener {
    Listener { transport, local: addr(local), advertise: advertise.map(|a| a.parse().unwrap()) }
}

fn party(listeners: Vec<Listener>) -> Party {
    Party::with(EndpointConfig { user_agent: "test".into(), listeners }, kit::ALICE, 9)
}

fn call(party: &mut Party, target: Target) -> (Target, String) {
    let mut call = invite(kit::BOB);
    call.target = target;
    party.endpoint.handle_command(Command::Invite(SipLeg::outgoing(1), call), Instant::now(), Wall(0));
    let (target, bytes) = party.drain().remove(0);
    (target, String::from_utf8(bytes).unwrap())
}

fn to(transport: Transport, remote: &str, local: Option<&str>) -> Target {
    Target::Address { transport, remote: addr(remote), local: local.map(|l| l.parse().unwrap()) }
}

fn names(message: &str) -> (String, String) {
    let via = field(message, "Via");
    let sent_by = via.split([' ', ';']).nth(1).unwrap().to_owned();
    (sent_by, field(message, "Contact"))
}

#[test]
fn a_wildcard_listener_is_never_named_in_via_or_contact() {
    // Field problems 1 and 27.
    for (target, expected) in [
        (to(Transport::Udp, "198.51.100.9:5060", Some("192.0.2.1")), "192.0.2.1:5062"),
        (to(Transport::Udp, "127.0.0.1:5080", None), "127.0.0.1:5062"),
        (to(Transport::Udp, "[2001:db8::9]:5060", Some("2001:db8::1")), "[2001:db8::1]:5063"),
    ] {
        let mut party = party(vec![
            listener(Transport::Udp, "0.0.0.0:5062", None),
            listener(Transport::Udp, "[::]:5063", None),
        ]);
        let (_, message) = call(&mut party, target);
        let (sent_by, contact) = names(&message);
        assert_eq!(sent_by, expected);
        assert_eq!(contact, format!("<sip:alice@{expected}>"));
    }
}

#[test]
fn an_advertised_address_stands_for_the_bound_one() {
    let mut party = party(vec![listener(Transport::Udp, "0.0.0.0:5062", Some("203.0.113.5"))]);
    let target = to(Transport::Udp, "198.51.100.9:5060", Some("10.0.0.1"));
    let (_, message) = call(&mut party, target);
    assert_eq!(names(&message), ("203.0.113.5:5062".into(), "<sip:alice@203.0.113.5:5062>".into()));
    let flow = kit::flow("10.0.0.1:5062", kit::BOB);
    let text = request("INVITE", 1, "i1", "", "Content-Type: application/sdp\n\nx");
    party.endpoint.handle_message(flow, kit::wire(&text), Instant::now(), Wall(0));
    let leg = party.incoming();
    party.endpoint.handle_command(Command::Answer { leg, body: sdp("a") }, Instant::now(), Wall(0));
    party.drain();
    assert_eq!(field(party.sent.last().unwrap(), "Contact"), "<sip:alice@203.0.113.5:5062>");
}

#[test]
fn a_wildcard_listener_answers_with_the_address_it_was_reached_on() {
    let mut party = party(vec![listener(Transport::Udp, "0.0.0.0:5060", None)]);
    let flow = kit::flow("192.0.2.77:5060", kit::BOB);
    let text = request("INVITE", 1, "i1", "", "Content-Type: application/sdp\n\nx");
    party.endpoint.handle_message(flow, kit::wire(&text), Instant::now(), Wall(0));
    let leg = party.incoming();
    party.endpoint.handle_command(Command::Answer { leg, body: sdp("a") }, Instant::now(), Wall(0));
    for (target, _) in party.drain() {
        assert!(matches!(target, Target::Flow(f) if f.local == addr("192.0.2.77:5060")));
    }
    assert_eq!(field(party.sent.last().unwrap(), "Contact"), "<sip:alice@192.0.2.77:5060>");
}

#[test]
fn of_several_listeners_the_one_that_fits_the_target_speaks() {
    let listeners = vec![
        listener(Transport::Udp, "127.0.0.1:5060", None),
        listener(Transport::Udp, "192.0.2.1:5070", None),
        listener(Transport::Tcp, "192.0.2.1:5080", None),
    ];
    for (target, expected) in [
        (to(Transport::Udp, "127.0.0.1:5090", None), "<sip:alice@127.0.0.1:5060>"),
        (to(Transport::Udp, "198.51.100.9:5060", None), "<sip:alice@192.0.2.1:5070>"),
        (to(Transport::Tcp, "198.51.100.9:5060", None), "<sip:alice@192.0.2.1:5080;transport=tcp>"),
    ] {
        let mut party = party(listeners.clone());
        let (_, message) = call(&mut party, target);
        assert_eq!(field(&message, "Contact"), expected);
    }
}

fn tcp_flow() -> Flow {
    Flow {
        transport: Transport::Tcp,
        local: addr("192.0.2.1:5060"),
        remote: addr("192.0.2.2:40000"),
        connection: Some(ConnectionId(3)),
    }
}

#[test]
fn a_call_over_a_connection_stays_on_it() {
    let mut party = party(vec![listener(Transport::Tcp, "192.0.2.1:5060", None)]);
    let text = request("INVITE", 1, "i1", "", "Content-Type: application/sdp\n\nx");
    let now = Instant::now();
    party.endpoint.handle_message(tcp_flow(), kit::wire(&text), now, Wall(0));
    let leg = party.incoming();
    party.endpoint.handle_command(Command::Answer { leg, body: sdp("a") }, now, Wall(0));
    party.drain();
    let tag = kit::to_tag(party.sent.last().unwrap());
    party.endpoint.handle_message(tcp_flow(), kit::wire(&request("ACK", 1, "a1", &tag, "")), now, Wall(0));
    party.endpoint.handle_command(Command::HangUp { leg, reason: None }, now, Wall(0));
    let (target, bye) = party.drain().remove(0);
    assert!(matches!(target, Target::Flow(flow) if flow == tcp_flow()));
    assert!(String::from_utf8(bye).unwrap().contains("Via: SIP/2.0/TCP 192.0.2.1:5060"));
}

#[test]
fn a_closed_connection_fails_what_waits_for_answers_over_it() {
    let mut party = party(vec![listener(Transport::Tcp, "192.0.2.1:5060", None)]);
    let mut call = invite(kit::BOB);
    call.target = Target::Flow(tcp_flow());
    let now = Instant::now();
    let leg = SipLeg::outgoing(1);
    party.endpoint.handle_command(Command::Invite(leg, call), now, Wall(0));
    party.endpoint.handle_flow_closed(tcp_flow(), now);
    party.drain();
    let why = Some("the connection was closed".to_owned());
    assert_eq!(party.ends(), vec![(leg, LegEnd::Unreachable { why })]);
    assert!(matches!(party.events.last(), Some(Event::FlowClosed { flow }) if *flow == tcp_flow()));
    assert_eq!(party.endpoint.transactions() + party.endpoint.dialogs(), 0);
}

#[test]
fn a_phone_behind_nat_is_reached_by_its_flow_whatever_its_contact_says() {
    // Its Via names another address than its packets come from.
    let mut party = Party::new(kit::ALICE, 1);
    let now = Instant::now();
    let flow = kit::flow(kit::ALICE, "198.51.100.4:31000");
    let text = request("INVITE", 1, "i1", "", "Content-Type: application/sdp\n\nx")
        .replace("192.0.2.2:5060", "192.168.1.5:5060");
    party.endpoint.handle_message(flow, kit::wire(&text), now, Wall(0));
    let leg = party.incoming();
    party.endpoint.handle_command(Command::Answer { leg, body: sdp("a") }, now, Wall(0));
    party.drain();
    let tag = kit::to_tag(party.sent.last().unwrap());
    party.endpoint.handle_message(flow, kit::wire(&request("ACK", 1, "a1", &tag, "")), now, Wall(0));
    party.endpoint.handle_command(Command::HangUp { leg, reason: None }, now, Wall(0));
    let (target, bye) = party.drain().remove(0);
    assert!(matches!(target, Target::Flow(f) if f == flow));
    assert!(bye.starts_with(b"BYE sip:bob@192.168.1.5:5060"));
}

#[test]
fn a_registered_contact_is_called_over_its_flow_and_stays_there() {
    let mut party = Party::new(kit::ALICE, 1);
    let flow = kit::flow(kit::ALICE, "198.51.100.4:31000");
    let (target, invite) = call(&mut party, Target::Flow(flow));
    assert!(matches!(target, Target::Flow(f) if f == flow));
    let ok = answer(&invite, "200 OK", "b1", "Contact: <sip:bob@192.168.1.5:5060>");
    party.endpoint.handle_message(flow, kit::wire(&ok), Instant::now(), Wall(0));
    let (target, ack) = party.drain().remove(0);
    assert!(matches!(target, Target::Flow(f) if f == flow));
    assert!(ack.starts_with(b"ACK sip:bob@192.168.1.5:5060"));
}

/// An INVITE whose body makes it larger than 1,300 bytes; what was sent, as text with its target.
fn large_call(party: &mut Party, leg: u64, now: Instant) -> (Target, String) {
    let mut call = invite(kit::BOB);
    call.target = to(Transport::Udp, kit::BOB, None);
    call.body = Some(sdp(&"x".repeat(1_300)));
    party.endpoint.handle_command(Command::Invite(SipLeg::outgoing(leg), call), now, Wall(0));
    let (target, bytes) = party.drain().remove(0);
    (target, String::from_utf8(bytes).unwrap())
}

#[test]
fn a_request_above_1300_bytes_goes_over_tcp() {
    // RFC 3261 §18.1.1: and its Via says so; what belongs to it follows it.
    let (alice, bob) = (listener(Transport::Udp, kit::ALICE, None), to(Transport::Tcp, kit::BOB, None));
    let mut party = party(vec![alice, listener(Transport::Tcp, "192.0.2.1:5070", None)]);
    let now = Instant::now();
    let (target, message) = large_call(&mut party, 1, now);
    assert_eq!(target, bob);
    assert!(field(&message, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5070;branch="), "{message}");
    let stream = Flow {
        transport: Transport::Tcp,
        local: addr("192.0.2.1:40000"),
        remote: addr(kit::BOB),
        connection: Some(ConnectionId(3)),
    };
    let busy = answer(&message, "486 Busy Here", "b", "");
    party.endpoint.handle_message(stream, kit::wire(&busy), now, Wall(0));
    let (target, ack) = party.drain().remove(0);
    assert_eq!(target, bob);
    assert!(ack.starts_with(b"ACK "));
    assert!(party.endpoint.is_drained());
    // Small ones stay datagrams.
    assert_eq!(call(&mut party, to(Transport::Udp, kit::BOB, None)).0, to(Transport::Udp, kit::BOB, None));
}

#[test]
fn where_tcp_is_refused_the_large_request_becomes_a_datagram_and_later_ones_begin_as_one() {
    // RFC 3261 §18.1.1: a reset or an ICMP error sends it back to UDP.
    let mut party = party(vec![listener(Transport::Udp, kit::ALICE, None)]);
    let (now, udp) = (Instant::now(), to(Transport::Udp, kit::BOB, None));
    let (target, first) = large_call(&mut party, 1, now);
    assert_eq!(target, to(Transport::Tcp, kit::BOB, None));
    party.endpoint.handle_unreachable(target, "Connection refused", now);
    let (target, bytes) = party.drain().remove(0);
    let second = String::from_utf8(bytes).unwrap();
    assert_eq!(target, udp);
    assert_eq!(second, first.replace("SIP/2.0/TCP ", "SIP/2.0/UDP "));
    assert!(party.ends().is_empty());
    // It is repeated by timer A now (RFC 3261 §17.1.1.2).
    let at = party.endpoint.poll_timeout().unwrap();
    assert_eq!(at - now, std::time::Duration::from_millis(500));
    party.endpoint.handle_timeout(at, Wall(0));
    assert_eq!(party.drain()[0].1, second.as_bytes());
    let busy = answer(&second, "486 Busy Here", "b", "");
    party.endpoint.handle_message(kit::flow(kit::ALICE, kit::BOB), kit::wire(&busy), at, Wall(0));
    assert_eq!(party.drain()[0].0, udp, "the ACK goes where the INVITE went");
    assert!(matches!(party.ends()[..], [(_, LegEnd::Refused { status: 486, .. })]));

    assert_eq!(large_call(&mut party, 2, at).0, udp, "it is remembered");
    let later = at + std::time::Duration::from_secs(3601);
    assert_eq!(large_call(&mut party, 3, later).0, to(Transport::Tcp, kit::BOB, None), "for an hour");
    // UDP fails as well: that is the end.
    party.take_events();
    party.endpoint.handle_transport_error(udp, later);
    assert!(matches!(party.drain()[..], []) && party.ends().len() == 1);
}
