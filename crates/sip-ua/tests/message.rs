//! Reading, writing and judging messages: the cases that a rule or a field report names.

use sip_ua::Body;
use sip_ua::framer::{Frame, FrameError, Framer};
use sip_ua::message::{
    Contact, Kind, Message, MessageWriter, Method, ParseError, Scheme, Uri, validate_request,
    validate_response,
};
use types::limits;

const REQUEST: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;rport, SIP/2.0/TCP [2001:db8::1]:5070;branch=z9hG4bKb;received=192.0.2.7\r\n\
    f: \"A. \\\"B\\\"\" <sip:alice@example.com>;tag=f1\r\n\
    t: <sip:bob@example.com>\r\n\
    i: abc@host\r\n\
    CSeq: 7 INVITE\r\n\
    Max-Forwards: 70\r\n\
    Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n\
    m: <sip:alice@192.0.2.1:5062>;expires=60;q=0.5;+sip.instance=\"<urn:uuid:1>\"\r\n\
    k: timer, 100rel\r\n\
    Reason: SIP;cause=487, Q.850;cause=16;text=\"bye; bye\"\r\n\
    c: application/sdp; charset=utf-8\r\n\
    l: 4\r\n\r\nbody";

fn parse(text: &str) -> Message {
    Message::parse(text.as_bytes().to_vec()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The status that refuses this request, or 200.
fn verdict(text: &str) -> u16 {
    match Message::parse(text.as_bytes().to_vec()) {
        Ok(message) => validate_request(&message, &["timer"]).map_or_else(|v| v.status, |()| 200),
        Err(ParseError::BadRequest { verdict, .. }) => verdict.status,
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_carriage_return_alone_in_a_field_is_refused() {
    // RFC 3261 §25.1: TEXT-UTF8 has none; a reader that took it for a line end would see another field.
    assert_eq!(verdict(REQUEST), 200);
    assert_eq!(verdict(&REQUEST.replace("i: abc@host", "i: abc@host\rRequire: x")), 400);
    assert_eq!(verdict(&REQUEST.replace("k: timer, 100rel", "Subject: a\rb")), 400);
}

#[test]
fn a_request_uri_beyond_4096_bytes_is_too_long() {
    // RFC 3261 §21.4.12.
    let with = |length: usize| {
        let user = "b".repeat(length - "sip:@example.com".len());
        verdict(&REQUEST.replacen("sip:bob@", &format!("sip:{user}@"), 1))
    };
    assert_eq!((with(4096), with(4097)), (200, 414));
}

#[test]
fn compact_forms_and_lists_are_read_like_long_forms_and_lines() {
    // RFC 3261 §7.3.1, §7.3.3.
    let m = parse(REQUEST);
    assert_eq!(m.header("call-id"), Some("abc@host"));
    assert_eq!(m.header("I"), Some("abc@host"));
    assert_eq!(m.from().unwrap().display_name(), r#"A. "B""#);
    let vias: Vec<_> = m.vias().map(|v| v.unwrap()).collect();
    assert_eq!((vias[0].rport(), vias[0].sent_by().as_str()), (Some(None), "192.0.2.1"));
    assert_eq!((vias[1].rport(), vias[1].sent_by().as_str()), (None, "[2001:db8::1]:5070"));
    assert_eq!(vias[1].received(), Some("192.0.2.7".parse().unwrap()));
    let routes: Vec<_> = m.record_routes().map(|r| r.uri().unwrap().host().to_owned()).collect();
    assert_eq!(routes, ["p1.example.com", "p2.example.com"]);
    assert!(m.has_token("Supported", "100REL") && !m.has_token("Supported", "path"));
    assert_eq!(m.content_type(), Some("application/sdp"));
    assert_eq!(m.typed_body(), Some(Body::sdp(b"body".to_vec())));
    assert_eq!(m.q850_cause(), Some(16));
    let reasons = m.reason_values().unwrap();
    assert_eq!(sip_ua::message::reasons(&reasons).nth(1).unwrap().params.get("text"), Some("bye; bye"));
    let Contact::Address(contact) = m.contacts().next().unwrap().unwrap() else { panic!("an address") };
    assert_eq!((contact.expires(), contact.q(), contact.instance()), (Some(60), 500, Some("<urn:uuid:1>")));
    assert_eq!(m.contact_uri().unwrap().port(), Some(5062));
}

#[test]
fn a_contact_without_q_ranks_first_and_the_star_is_no_address() {
    let m = parse(&REQUEST.replace("m: <", "m: *, <").replace(";q=0.5", ";expires=99999999999"));
    let contacts: Vec<_> = m.contacts().map(|c| c.unwrap()).collect();
    assert_eq!(contacts[0], Contact::Star);
    let address = contacts[1].address().unwrap();
    // The first of two `expires`, and 1.0 without q.
    assert_eq!((address.expires(), address.q()), (Some(60), 1000));
}

#[test]
fn old_phones_that_send_latin1_or_bare_line_feeds_are_understood() {
    let mut bytes = REQUEST.replace("A. ", "M#ller ").into_bytes();
    let at = bytes.iter().position(|b| *b == b'#').unwrap();
    bytes[at] = 0xfc;
    let m = Message::parse(bytes).unwrap();
    assert_eq!(m.from().unwrap().display_name(), r#"Müller "B""#);
    let m = parse(&REQUEST.replace("\r\n", "\n"));
    assert_eq!((m.fields().count(), m.body()), (parse(REQUEST).fields().count(), &b"body"[..]));
}

#[test]
fn uris_compare_as_the_rfc_lists_them() {
    // RFC 3261 §19.1.4.
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("sip:a@b;x=1;x=2", "sip:a@b;x=1;x=2"),
    ] {
        assert!(uri(a).equivalent(&uri(b)) && uri(b).equivalent(&uri(a)), "{a} = {b}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:b", "sip:a@b"),
    ] {
        assert!(!uri(a).equivalent(&uri(b)) && !uri(b).equivalent(&uri(a)), "{a} != {b}");
    }
}

#[test]
fn uris_are_built_with_escapes_and_taken_apart_again() {
    let built = Uri::sip("a b@c:1", "example.com", Some(5070)).unwrap();
    assert_eq!(built.as_str(), "sip:a%20b%40c%3A1@example.com:5070");
    assert_eq!(built.user_unescaped(), "a b@c:1");
    let routed = uri("sip:h?x=y").with_param("transport", Some("tcp")).unwrap();
    assert_eq!(routed.as_str(), "sip:h;transport=tcp?x=y");
    assert_eq!((routed.transport(), routed.headers()), (Some("tcp"), Some("x=y")));
    let tel = uri("tel:+1-202-555-0100;phone-context=x");
    assert_eq!((tel.scheme(), tel.user(), tel.host()), (Scheme::Tel, Some("+1-202-555-0100"), ""));
    assert_eq!(tel.param("phone-context"), Some("x"));
    assert_eq!(uri("urn:service:sos").scheme(), Scheme::Other);
    for bad in
        ["", "example.com", "sip:", "sip:@h", "sip:a@h:x", "sip:a@h:70000", "sip:a@[::1", "sip:a b@h", "tel:"]
    {
        assert!(Uri::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn requests_are_refused_for_what_the_message_layer_can_know() {
    assert_eq!(verdict(REQUEST), 200);
    for (from, to, status) in [
        ("CSeq: 7 INVITE", "CSeq: 7 BYE", 400),
        ("CSeq: 7 INVITE", "CSeq: 2147483648 INVITE", 400),
        ("CSeq: 7 INVITE", "X: y", 400),
        ("i: abc@host", "X: y", 400),
        ("i: abc@host", "i: a b", 400),
        ("t: <sip:bob@example.com>", "X: y", 400),
        ("l: 4", "l: 5", 400),
        ("l: 4", "l: 4\r\nContent-Length: 3", 400),
        ("l: 4", "l: 4\r\nContent-Length: 4", 200),
        ("i: abc", "no field\r\ni: abc", 400),
        ("Max-Forwards: 70", "Max-Forwards: 0", 483),
        ("Max-Forwards: 70", "Max-Forwards: -1", 400),
        ("Max-Forwards: 70", "X: y", 200),
        ("m: <", "m: <sip:nowhere@>, <", 400),
        ("f: \"A. \\\"B\\\"\" <", "f: alice@example.com <", 200),
        ("f: \"A. \\\"B\\\"\" <", "f: A, B <", 400),
        ("k: timer, 100rel", "Require: Timer", 200),
        ("k: timer, 100rel", "Require: timer, path", 420),
        ("k: timer, 100rel", "Proxy-Require: path", 200),
        ("INVITE sip:bob@example.com SIP/2.0", "INVITE sip:bob@example.com SIP/3.0", 505),
        ("INVITE sip:bob@example.com SIP/2.0", "INVITE http://example.com SIP/2.0", 416),
        ("INVITE sip:bob@example.com SIP/2.0", "INVITE tel:+12025550100 SIP/2.0", 200),
        ("INVITE sip:bob@example.com SIP/2.0", "INVITE sip:bob@ SIP/2.0", 400),
    ] {
        assert!(REQUEST.contains(from), "{from}");
        assert_eq!(verdict(&REQUEST.replacen(from, to, 1)), status, "{to}");
    }
}

#[test]
fn an_ack_is_not_asked_for_extensions_and_an_options_may_have_no_hops_left() {
    // RFC 3261 §8.2.2.3, §11.
    let ack = REQUEST.replace("INVITE", "ACK").replace("k: timer", "Require: path");
    assert_eq!(verdict(&ack), 200);
    let bye = REQUEST.replace("INVITE", "BYE").replace("m: <", "m: <sip:nowhere@>, <");
    assert_eq!(verdict(&bye), 200, "nobody needs the Contact of a BYE");
    assert_eq!(
        verdict(&REQUEST.replace("INVITE", "OPTIONS").replace("Max-Forwards: 70", "Max-Forwards: 0")),
        200
    );
}

#[test]
fn limits_are_answered_and_not_exceeded() {
    let many = REQUEST.replacen("i: abc", &format!("{}i: abc", "X: y\r\n".repeat(limits::SIP_HEADERS)), 1);
    assert_eq!(verdict(&many), 400);
    let large = format!("{REQUEST}{}", "x".repeat(limits::SIP_MESSAGE_BYTES));
    assert_eq!(verdict(&large), 513);
    let long_field = REQUEST.replacen("i: abc", &format!("X: {}\r\ni: abc", "y".repeat(60_000)), 1);
    assert_eq!(verdict(&long_field), 200);
}

#[test]
fn what_is_not_sip_is_told_from_what_is_bad_sip() {
    let kind = |text: &str| match Message::parse(text.as_bytes().to_vec()) {
        Err(ParseError::NotSip(_)) => "not SIP",
        Err(ParseError::BadResponse(_)) => "bad response",
        Err(ParseError::BadRequest { .. }) => "bad request",
        Ok(_) => "good",
    };
    for text in [
        "",
        "\r\n\r\n",
        "hello",
        "GET / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1} SIP/2.0",
        "INVITE SIP/2.0",
        "a: b c",
    ] {
        assert!(matches!(kind(text), "not SIP" | "bad request"), "{text:?} is {}", kind(text));
    }
    assert_eq!(kind("GET / HTTP/1.1\r\n\r\n"), "not SIP");
    assert_eq!(kind("SIP/2.0 99 x\r\n\r\n"), "bad response");
    assert_eq!(kind("SIP/2.0 700 x\r\n\r\n"), "bad response");
    assert_eq!(kind("SIP/3.0 200 OK\r\n\r\n"), "bad response");
    assert_eq!(kind("SIP/2.0 200 OK\r\nbroken\r\n\r\n"), "bad response");
    assert_eq!(kind("SIP/2.0 200\r\n\r\n"), "good");
    assert!(validate_response(&parse("SIP/2.0 200 OK\r\n\r\n")).is_err(), "no Via");
}

#[test]
fn responses_copy_what_they_must_and_tag_to_once() {
    // RFC 3261 §8.2.6.2, §12.1.1.
    let request = parse(&REQUEST.replace("k: timer", "Timestamp: 54"));
    let build = |status, tag| {
        parse(&String::from_utf8(MessageWriter::response(&request, status, "", tag).finish()).unwrap())
    };
    let trying = build(100, None);
    assert_eq!((trying.to().unwrap().tag(), trying.header("Timestamp")), (None, Some("54, 100rel")));
    assert_eq!(trying.header("Record-Route"), None);
    let ok = build(200, Some("t1"));
    assert_eq!(ok.kind(), Kind::Response { status: 200, reason: "OK" });
    assert_eq!(ok.to().unwrap().tag(), Some("t1"));
    assert_eq!((ok.record_routes().count(), ok.vias().count(), ok.header("Timestamp")), (2, 2, None));
    assert_eq!(ok.header("Content-Length"), Some("0"));
    assert_eq!(build(486, Some("t1")).header("Record-Route"), None);
}

#[test]
fn ack_and_cancel_belong_to_the_transaction_of_their_invite() {
    // RFC 3261 §17.1.1.3, §9.1.
    let invite = parse(&REQUEST.replacen("i: abc", "Route: <sip:r1;lr>\r\nRoute: <sip:r2;lr>\r\ni: abc", 1));
    let busy =
        parse(&String::from_utf8(MessageWriter::response(&invite, 486, "", Some("t9")).finish()).unwrap());
    for (writer, method, to_tag) in [
        (MessageWriter::ack_for(&invite, &busy), Method::Ack, Some("t9")),
        (MessageWriter::cancel_for(&invite), Method::Cancel, None),
    ] {
        let m = Message::parse(writer.finish()).unwrap();
        assert_eq!(m.kind(), Kind::Request { method: &method, uri: "sip:bob@example.com" });
        assert_eq!(m.vias().count(), 1);
        assert_eq!(m.top_via().unwrap().branch(), Some("z9hG4bKa"));
        assert_eq!(m.cseq().map(|c| (c.seq, c.method)), Some((7, method)));
        assert_eq!((m.routes().count(), m.to().unwrap().tag()), (2, to_tag));
        assert_eq!(validate_request(&m, &[]), Ok(()));
    }
}

#[test]
fn a_writer_changes_single_fields_and_counts_the_body() {
    let mut writer = MessageWriter::copy_of(&parse(REQUEST));
    writer.prepend("Via", "SIP/2.0/UDP me;branch=z9hG4bKnew");
    writer.set("Contact", "<sip:me>");
    writer.remove("Supported");
    let m = Message::parse(writer.finish_with(Some(&Body::sdp(b"v=0\r\n".to_vec())))).unwrap();
    assert_eq!(m.top_via().unwrap().host, "me");
    assert_eq!(m.vias().count(), 3);
    assert_eq!(m.headers("m").collect::<Vec<_>>(), ["<sip:me>"]);
    assert_eq!(m.header("k"), None);
    assert_eq!(m.headers("Content-Type").collect::<Vec<_>>(), ["application/sdp"]);
    assert_eq!((m.headers("l").collect::<Vec<_>>(), m.body()), (vec!["5"], &b"v=0\r\n"[..]));
}

#[test]
fn two_line_ends_are_a_ping_and_one_is_nothing() {
    // RFC 5626 §3.5.1, RFC 3261 §7.5.
    let mut framer = Framer::new();
    let message = REQUEST.as_bytes();
    for (bytes, frames) in [
        (&b"\r\n\r\n"[..], vec![Frame::Ping]),
        (b"\r\n", vec![]),
        (b"\r", vec![]),
        (b"\n", vec![Frame::Ping]),
        (b"\r\n", vec![]),
        (message, vec![Frame::Message(message.to_vec())]),
        (b"\r\n\r\n\r\n\r\n", vec![Frame::Ping]),
    ] {
        framer.push(bytes);
        let mut got = Vec::new();
        while let Some(frame) = framer.next_frame().unwrap() {
            got.push(frame);
        }
        assert_eq!(got, frames, "{bytes:?}");
    }
}

#[test]
fn a_stream_that_cannot_be_cut_says_why_and_keeps_saying_it() {
    for (length, error) in [
        ("X: y", FrameError::NoContentLength),
        ("l: x", FrameError::BadContentLength),
        ("l: 1\r\nl: 2", FrameError::BadContentLength),
        ("l: 99999999999999999999999", FrameError::BadContentLength),
        ("l: 18446744073709551615", FrameError::TooLarge),
        ("l: 65536", FrameError::TooLarge),
    ] {
        let mut framer = Framer::new();
        framer.push(REQUEST.replace("l: 4", length).as_bytes());
        assert_eq!(framer.next_frame(), Err(error), "{length}");
        framer.push(REQUEST.as_bytes());
        assert_eq!(framer.next_frame(), Err(error), "{length}");
        assert!(framer.into_rest().starts_with(b"INVITE"));
    }
    let mut endless = Framer::new();
    endless.push(&vec![b'x'; limits::SIP_MESSAGE_BYTES + 1]);
    assert_eq!(endless.next_frame(), Err(FrameError::TooLarge));
}

#[test]
fn the_first_line_end_after_a_ping_of_ours_is_its_pong_and_the_rest_are_theirs() {
    // RFC 5626 §3.5.1: both sides may ping at once.
    for (pieces, expected) in [
        (&["\r\n"][..], vec![Frame::Pong]),
        (&["\r", "\n"], vec![Frame::Pong]),
        (&["\r\n\r\n\r\n"], vec![Frame::Pong, Frame::Ping]),
        (&["\r\n\r\n", "\r\n"], vec![Frame::Pong, Frame::Ping]),
        (&["\r\n", "\r\n\r\n"], vec![Frame::Pong, Frame::Ping]),
    ] {
        let mut framer = Framer::new();
        framer.expect_pong();
        let mut frames = Vec::new();
        for piece in pieces {
            framer.push(piece.as_bytes());
            while let Some(frame) = framer.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, expected, "{pieces:?}");
    }
    // One pong a ping: two answers in a row are no ping of theirs.
    let mut framer = Framer::new();
    for _ in 0..3 {
        framer.expect_pong();
        framer.push(b"\r\n");
        assert_eq!(framer.next_frame(), Ok(Some(Frame::Pong)));
        assert_eq!(framer.next_frame(), Ok(None));
    }
}
