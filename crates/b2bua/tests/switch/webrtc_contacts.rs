//! SIP devices whose media is WebRTC: JsSIP and SIP.js over WebSocket.

use std::time::Duration;

use crate::rig::*;
use media_bridge::control::{Bandwidth, Codec, Command as Media, Event as MediaEvent, LegKind, LegParams};
use sip_ua::message::Method;
use sip_ua::{Command as Sip, ConnectionId, Event, Flow, RequestToken, SipLeg, Target, Transport};
use types::{CallId, LegId};

const PAGE: &str = "192.0.2.60:40000";
/// Words of the rig behind a line that says what they travel by.
const DTLS: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\n,opus,pcmu";

fn websocket() -> Flow {
    Flow { transport: Transport::Ws, connection: Some(ConnectionId(9)), ..flow(PAGE) }
}

/// Bob's page registers.
fn register(bench: &mut Bench) {
    let (_, challenge) = bench.register_raw("bob", PAGE, Vec::new());
    let mut fields = bench.credentials("bob", "bob-pw", &challenge, &Method::Register, "sip:example.com");
    let aor = "<sip:bob@example.com>";
    fields.extend([("From", format!("{aor};tag=1")), ("To", aor.to_owned())]);
    fields.push(("Contact", "<sip:bob@df7jal23ls0d.invalid;transport=ws>".into()));
    let request = bench.request("REGISTER sip:example.com", &fields, "");
    bench.heard(Event::Register { token: RequestToken(5), request, flow: websocket() });
    assert!(matches!(bench.sip_command(), Sip::Respond { status: 200, .. }));
}

/// Bob calls the carrier over this flow, with digest.
fn calls_over(bench: &mut Bench, over: Flow, offer: &str) {
    let (from, uri) = ("sip:bob@example.com", "sip:+12025550100@example.com");
    bench.invited(from, uri, PAGE, Vec::new(), offer);
    let Sip::Reject { status: 401, headers, .. } = bench.sip_command() else { panic!("no challenge") };
    let mut fields = bench.credentials("bob", "bob-pw", &headers, &Method::Invite, uri);
    fields.extend([("From", format!("<{from}>;tag=t")), ("To", format!("<{uri}>"))]);
    fields.push(("Contact", "<sip:x@df7jal23ls0d.invalid;transport=ws>".into()));
    let request = bench.request(&format!("INVITE {uri}"), &fields, offer);
    bench.heard(Event::Invite { leg: SipLeg::incoming(77), request, flow: over, replaces: None });
}

/// How the media plane was asked to make each leg, in order.
fn asked(bench: &Bench) -> Vec<(LegId, LegParams)> {
    let params = |command: &Media| match command {
        Media::Answer { leg, params, .. } | Media::Offer { leg, params } => Some((*leg, params.clone())),
        _ => None,
    };
    bench.plane.commands.iter().filter_map(|(_, c)| params(&c.command)).collect()
}

#[test]
fn a_contact_over_websocket_is_offered_dtls_srtp_over_its_own_connection() {
    let mut bench = Bench::new();
    register(&mut bench);
    bench.trunk_calls("+12025550111", "pcmu,pcma");
    let (_, invite) = bench.invite();
    // RFC 7118 §5.2: nobody can open a connection to a host in .invalid.
    assert_eq!(invite.target, Target::Flow(websocket()));
    assert_eq!(invite.uri, "sip:bob@df7jal23ls0d.invalid;transport=ws");
    let (_, page) = asked(&bench).pop().unwrap();
    assert_eq!(
        (page.kind, page.codecs[0], page.bandwidth),
        (LegKind::WebRtc, Codec::Opus, Bandwidth::Narrow)
    );
}

#[test]
fn the_caller_is_connected_once_the_page_has_its_audio_and_not_before() {
    // Field problem 10.
    let mut bench = Bench::new();
    register(&mut bench);
    bench.trunk_calls("+12025550111", "pcmu,pcma");
    let (leg, _) = bench.invite();
    bench.sip.clear();
    bench.heard(Event::Answered { leg, body: sdp("opus") });
    let answered = |bench: &Bench| bench.sip.iter().any(|s| matches!(s, Sip::Answer { .. }));
    assert!(!answered(&bench));
    bench.media(CallId(1), MediaEvent::Connected { leg: LegId(1) });
    assert!(answered(&bench));
}

#[test]
fn a_page_whose_audio_takes_too_long_is_connected_all_the_same() {
    let mut bench = Bench::new();
    register(&mut bench);
    bench.trunk_calls("+12025550111", "pcmu,pcma");
    let (leg, _) = bench.invite();
    bench.heard(Event::Answered { leg, body: sdp("opus") });
    bench.pass(b2bua::ANSWER_MEDIA + Duration::from_millis(1));
    assert!(bench.sip.iter().any(|s| matches!(s, Sip::Answer { .. })));
}

#[test]
fn a_caller_s_offer_says_what_its_media_is_whatever_brought_it() {
    for (transport, offer, kind) in [
        (Transport::Ws, DTLS, LegKind::WebRtc),
        (Transport::Tcp, DTLS, LegKind::WebRtc),
        (Transport::Ws, "m=audio 4000 RTP/AVP 0\n,pcmu", LegKind::Rtp),
    ] {
        let mut bench = Bench::new();
        let over = Flow { transport, ..websocket() };
        calls_over(&mut bench, over, offer);
        let (caller, params) = asked(&bench).remove(0);
        assert_eq!((caller, params.kind), (LegId::CALLER, kind), "{transport:?} {offer}");
        let (_, trunk) = asked(&bench).pop().unwrap();
        assert_eq!(trunk.kind, LegKind::Rtp);
    }
}

#[test]
fn a_page_that_wants_our_offer_gets_one_for_webrtc() {
    // RFC 3261 §13.2.1: an INVITE without a description.
    let mut bench = Bench::new();
    calls_over(&mut bench, websocket(), "");
    let (_, params) = asked(&bench).remove(0);
    assert_eq!(params.kind, LegKind::WebRtc);
}

#[test]
fn a_page_that_closed_while_it_rang_is_out_of_the_race() {
    let mut bench = Bench::new();
    register(&mut bench);
    bench.trunk_calls("+12025550111", "pcmu,pcma");
    let (leg, _): (SipLeg, _) = bench.invite();
    bench.heard(Event::FlowClosed { flow: websocket() });
    bench.heard(Event::Ended { leg, end: sip_ua::LegEnd::Unreachable { why: None } });
    assert!(bench.sip.iter().any(|s| matches!(s, Sip::Reject { status: 480, .. })), "{:?}", bench.sip);
}
