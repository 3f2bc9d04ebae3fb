//! Properties of parser and writer over generated and damaged messages, with `rsip` as second opinion.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rsip::message::HasHeaders;
use sip_ua::Body;
use sip_ua::framer::{Frame, Framer};
use sip_ua::message::{
    Contact, Kind, Message, MessageWriter, Method, NameAddr, ParseError, Uri, Via, validate_request,
    validate_response,
};

/// A request as a set of parts, from which text is made.
#[derive(Clone, Debug)]
struct Parts {
    method: String,
    uri: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Parts {
    fn text(&self) -> Vec<u8> {
        let mut text = format!("{} {} SIP/2.0\r\n", self.method, self.uri);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = format!("{text}Content-Length: {}\r\n\r\n", self.body.len()).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn writer(&self) -> MessageWriter {
        let mut writer = MessageWriter::request(&Method::from(self.method.as_str()), &self.uri);
        for (name, value) in &self.fields {
            writer.push(name, value);
        }
        writer
    }
}

fn uri() -> impl Strategy<Value = String> {
    let user =
        prop_oneof!["", "\\+?[a-z][a-z0-9_-]{0,8}@", "[a-z]{1,5}%2[0-9a-f]{1}@", "[a-z]{1,5}:[a-z0-9]{1,5}@"];
    let host =
        prop_oneof!["[a-z]{1,8}\\.example\\.(com|net)", "192\\.0\\.2\\.[1-9]", "\\[2001:db8::[1-9]\\]"];
    let port = prop_oneof!["", ":[1-9][0-9]{3}"];
    let params = prop_oneof!["", ";transport=(udp|tcp)", ";lr", ";x-[a-z]{1,6}=[a-z0-9]{1,6}(;lr)?"];
    (select(vec!["sip:", "sips:"]), user, host, port, params)
        .prop_map(|(s, u, h, p, x)| format!("{s}{u}{h}{p}{x}"))
}

fn name_addr() -> impl Strategy<Value = String> {
    let display = prop_oneof!["", "[A-Z][a-z]{1,8} ", "\"[A-Za-z ,;<>äöü]{0,12}\" "];
    let params = prop_oneof!["", ";tag=[a-z0-9]{1,10}", ";tag=[a-z0-9]{1,4};x=\"[a-z;, ]{0,5}\""];
    (display, uri(), params).prop_map(|(d, u, p)| format!("{d}<{u}>{p}"))
}

fn extra_field() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        (Just("Contact".to_owned()), name_addr()),
        (Just("Record-Route".to_owned()), uri().prop_map(|u| format!("<{u}>"))),
        ("X-[A-Za-z]{1,10}", "[!-~]([ -~é]{0,20}[!-~])?"),
        (Just("Subject".to_owned()), "[a-z]([a-z ]{0,20}[a-z])?"),
        (Just("Max-Forwards".to_owned()), "[1-9][0-9]?"),
    ]
}

prop_compose! {
    fn request()(
        method in prop_oneof!["INVITE|ACK|BYE|CANCEL|OPTIONS|REGISTER|INFO|MESSAGE", "[A-Z]{3,9}"],
        uri in uri(),
        (from, to) in (name_addr(), name_addr()),
        branch in "z9hG4bK[a-z0-9]{1,12}",
        call_id in "[a-z0-9]{1,10}(@[a-z]{1,8})?",
        seq in 0u32..1 << 31,
        extra in vec(extra_field(), 0..6),
        body in prop_oneof![Just(Vec::new()), vec(any::<u8>(), 0..300)],
    ) -> Parts {
        let mut fields: Vec<(String, String)> = vec![
            ("Via".into(), format!("SIP/2.0/UDP 192.0.2.1:5060;branch={branch}")),
            ("From".into(), from),
            ("To".into(), to),
            ("Call-ID".into(), call_id),
            ("CSeq".into(), format!("{seq} {method}")),
        ];
        fields.extend(extra);
        Parts { method, uri, fields, body }
    }
}

fn vectors() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let dirs = ["rfc4475", "rfc5118"].map(|d| fs::read_dir(root.join(d)).expect("the vectors lie there"));
    let mut all: Vec<_> = dirs.into_iter().flatten().map(|e| e.expect("readable").path()).collect();
    all.sort();
    all.into_iter().map(|p| fs::read(p).expect("readable")).collect()
}

#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, usize),
    Repeat(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let special = select(b"\r\n\0 \t:;,<>\"\\@[]%=?*/\xff".to_vec());
    prop_oneof![
        (any::<Index>(), prop_oneof![special.clone(), any::<u8>()]).prop_map(|(i, b)| Damage::Set(i, b)),
        (any::<Index>(), vec(special, 1..6)).prop_map(|(i, b)| Damage::Insert(i, b)),
        (any::<Index>(), 1usize..200).prop_map(|(i, n)| Damage::Cut(i, n)),
        (any::<Index>(), 1usize..200).prop_map(|(i, n)| Damage::Repeat(i, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Set(at, b) => {
            let at = at.index(bytes.len());
            bytes[at] = *b;
        }
        Damage::Insert(at, new) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Damage::Cut(at, n) => {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + n).min(bytes.len()));
        }
        Damage::Repeat(at, n) => {
            let at = at.index(bytes.len());
            let piece = bytes[at..(at + n).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

/// Everything that an application may ask a message.
fn ask_everything(m: &Message) {
    let _ = (m.top_via().map(|v| (v.sent_by(), v.received(), v.rport())), m.cseq(), m.call_id());
    let _ = (m.max_forwards(), m.expires(), m.retry_after(), m.q850_cause(), m.typed_body());
    for via in m.vias().flatten() {
        let _ = (via.has_rfc3261_branch(), via.branch());
    }
    for address in m.routes().chain(m.record_routes()).chain(m.from()).chain(m.to()) {
        let _ = (address.display_name(), address.tag(), address.q(), address.instance());
        if let Ok(uri) = address.uri() {
            let _ = (uri.user_unescaped(), uri.ip(), uri.socket_addr(), uri.is_loose_route());
            assert!(uri.equivalent(&uri));
        }
    }
    for contact in m.contacts().flatten() {
        let _ = contact.address().map(|a| (a.expires(), a.uri()));
    }
    let _ = (validate_request(m, &[]), validate_response(m), m.request_uri(), format!("{m:?}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_rsip_accepts_we_accept_with_the_same_content(parts in request()) {
        let bytes = parts.text();
        let ours = Message::parse(bytes.clone());
        let Ok(theirs) = rsip::Request::try_from(bytes.as_slice()) else {
            // We accept more; never less.
            prop_assert!(ours.is_ok(), "{ours:?}");
            return Ok(());
        };
        let ours = ours.unwrap();
        let Kind::Request { method, .. } = ours.kind() else { panic!("a request") };
        prop_assert_eq!(method.as_str(), theirs.method.to_string());
        let uri = ours.request_uri().unwrap();
        let auth = theirs.uri.auth.as_ref();
        prop_assert_eq!(uri.user(), auth.map(|a| a.user.as_str()));
        prop_assert_eq!(uri.password(), auth.and_then(|a| a.password.as_deref()));
        let their_host = theirs.uri.host().to_string();
        prop_assert_eq!(uri.host().trim_matches(['[', ']']), their_host.trim_matches(['[', ']']));
        prop_assert_eq!(uri.port(), theirs.uri.port().map(|p| *p.value()));
        prop_assert_eq!(uri.params().iter().count(), theirs.uri.params.len());
        let their_fields: Vec<String> = theirs.headers().iter().map(|h| h.to_string()).collect();
        let our_fields: Vec<String> = ours.fields().map(|(n, v)| format!("{n}: {v}")).collect();
        prop_assert_eq!(our_fields, their_fields);
        prop_assert_eq!(ours.body(), &theirs.body);
    }

    #[test]
    fn what_is_written_is_read_back_the_same(parts in request()) {
        let body = Body { content_type: "application/x".into(), bytes: parts.body.clone() };
        let message = Message::parse(parts.writer().finish_with(Some(&body))).unwrap();
        let Kind::Request { method, uri } = message.kind() else { panic!("a request") };
        prop_assert_eq!((method.as_str(), uri), (parts.method.as_str(), parts.uri.as_str()));
        let fields: Vec<_> = message.fields().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        prop_assert_eq!(&fields[..parts.fields.len()], &parts.fields[..]);
        prop_assert_eq!(fields.len(), parts.fields.len() + 2);
        prop_assert_eq!(message.body(), &parts.body);
        let again = MessageWriter::copy_of(&message).finish_with(Some(&body));
        let again = Message::parse(again).unwrap();
        prop_assert!(again.fields().filter(|(n, _)| *n != "Content-Type").eq(
            message.fields().filter(|(n, _)| *n != "Content-Type")));
    }

    #[test]
    fn a_response_carries_back_what_the_request_brought(parts in request()) {
        let request = Message::parse(parts.writer().finish()).unwrap();
        let response = MessageWriter::response(&request, 200, "", Some("ours")).finish();
        let response = Message::parse(response).unwrap();
        prop_assert_eq!(validate_response(&response), Ok(()));
        for name in ["Via", "From", "Call-ID", "CSeq", "Record-Route"] {
            prop_assert!(response.headers(name).eq(request.headers(name)), "{}", name);
        }
        let tag = request.to().unwrap().tag().unwrap_or("ours").to_owned();
        prop_assert_eq!(response.to().unwrap().tag(), Some(tag.as_str()));
    }

    #[test]
    fn no_value_can_smuggle_in_a_field(value in "[a-z\r\n :]{0,40}", name in "[A-Za-z\r\n]{1,10}") {
        let mut writer = MessageWriter::request(&Method::Options, "sip:a@b");
        writer.push("X-First", &value);
        writer.push(&name, "x");
        writer.prepend("X-Zero", &value);
        writer.set("X-First", &value);
        let fields = match Message::parse(writer.finish()) {
            Ok(message) => message.fields().count(),
            Err(ParseError::BadRequest { message, .. }) => message.fields().count(),
            Err(e) => panic!("{e}"),
        };
        prop_assert!(fields <= 4);
    }

    #[test]
    fn damaged_messages_never_panic(
        which in any::<Index>(),
        damages in vec(damage(), 1..8),
        extra in request(),
    ) {
        let vectors = vectors();
        let which = which.index(vectors.len() + 20);
        let mut bytes = vectors.get(which).cloned().unwrap_or_else(|| extra.text());
        damages.iter().for_each(|d| apply(&mut bytes, d));
        match Message::parse(bytes.clone()) {
            Ok(message) => ask_everything(&message),
            Err(ParseError::BadRequest { message, verdict }) => {
                ask_everything(&message);
                let answer = MessageWriter::response(&message, verdict.status, verdict.reason, Some("t"));
                prop_assert!(Message::parse(answer.finish()).is_ok());
            }
            Err(ParseError::NotSip(_) | ParseError::BadResponse(_)) => {}
        }
        let mut framer = Framer::new();
        framer.push(&bytes);
        while let Ok(Some(frame)) = framer.next_frame() {
            prop_assert!(matches!(frame, Frame::Ping | Frame::Message(_)));
        }
    }

    #[test]
    fn values_of_any_text_never_panic(text in "[ -~\t\"<>;,:@\\[\\]é%]{0,40}") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(uri.as_str(), text.as_str());
            prop_assert!(uri.equivalent(&uri.clone()));
        }
        let _ = (NameAddr::parse(&text).map(|a| a.uri()), Via::parse(&text), Contact::parse(&text));
    }

    #[test]
    fn framing_does_not_depend_on_how_the_stream_is_cut(
        messages in vec(request(), 1..4),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let whole: Vec<u8> = messages.iter().flat_map(|m| m.text()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(whole.len() + 1)).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        let mut framer = Framer::new();
        let mut got = Vec::new();
        for pair in cuts.windows(2) {
            framer.push(&whole[pair[0]..pair[1]]);
            while let Some(frame) = framer.next_frame().unwrap() {
                got.push(frame);
            }
        }
        let expected: Vec<Frame> = messages.iter().map(|m| Frame::Message(m.text())).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(framer.buffered(), 0);
    }
}
