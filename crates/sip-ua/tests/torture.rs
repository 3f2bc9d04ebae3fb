//! The torture tests of RFC 4475 and RFC 5118: one verdict for each message, and what is read out of the hard ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sip_ua::message::{
    Contact, Kind, Message, MessageWriter, Method, ParseError, Scheme, Verdict, validate_request,
    validate_response,
};

/// What the message layer does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    /// Usable; some are refused further up, for reasons that the message layer cannot know.
    Accept,
    /// Answer with this status.
    Refuse(u16),
    /// A response that nobody may use.
    Drop,
}

use Expect::{Accept, Drop, Refuse};

const VERDICTS: &[(&str, Expect)] = &[
    ("rfc4475/wsinv", Accept),
    ("rfc4475/intmeth", Accept),
    ("rfc4475/esc01", Accept),
    ("rfc4475/escnull", Accept),
    ("rfc4475/esc02", Accept),
    ("rfc4475/lwsdisp", Accept),
    ("rfc4475/longreq", Accept),
    ("rfc4475/dblreq", Accept),
    ("rfc4475/semiuri", Accept),
    ("rfc4475/transports", Accept),
    ("rfc4475/mpart01", Accept),
    ("rfc4475/unreason", Accept),
    ("rfc4475/noreason", Accept),
    ("rfc4475/badinv01", Refuse(400)),
    ("rfc4475/clerr", Refuse(400)),
    ("rfc4475/ncl", Refuse(400)),
    ("rfc4475/scalar02", Refuse(400)),
    ("rfc4475/scalarlg", Drop),
    ("rfc4475/quotbal", Refuse(400)),
    ("rfc4475/ltgtruri", Refuse(400)),
    ("rfc4475/lwsruri", Refuse(400)),
    ("rfc4475/lwsstart", Refuse(400)),
    ("rfc4475/trws", Refuse(400)),
    ("rfc4475/escruri", Refuse(400)),
    // §3.1.2.12: the Date may be ignored.
    ("rfc4475/baddate", Accept),
    ("rfc4475/regbadct", Refuse(400)),
    ("rfc4475/badaspec", Refuse(400)),
    ("rfc4475/baddn", Refuse(400)),
    ("rfc4475/badvers", Refuse(505)),
    ("rfc4475/mismatch01", Refuse(400)),
    ("rfc4475/mismatch02", Refuse(400)),
    ("rfc4475/bigcode", Drop),
    ("rfc4475/badbranch", Accept),
    ("rfc4475/insuf", Refuse(400)),
    ("rfc4475/unkscm", Refuse(416)),
    ("rfc4475/novelsc", Refuse(416)),
    ("rfc4475/unksm2", Refuse(400)),
    ("rfc4475/bext01", Refuse(420)),
    // 415 is the dialog layer's, 401 the registrar's.
    ("rfc4475/invut", Accept),
    ("rfc4475/regaut01", Accept),
    ("rfc4475/multi01", Refuse(400)),
    ("rfc4475/mcl01", Refuse(400)),
    // Dropped above: no transaction of ours has that branch.
    ("rfc4475/bcast", Accept),
    // §3.3.11: we are the target of an OPTIONS and answer it.
    ("rfc4475/zeromf", Accept),
    ("rfc4475/cparam01", Accept),
    ("rfc4475/cparam02", Accept),
    ("rfc4475/regescrt", Accept),
    // 406 is the dialog layer's.
    ("rfc4475/sdp01", Accept),
    ("rfc4475/inv2543", Accept),
    ("rfc5118/4.1-ipv6-good", Accept),
    ("rfc5118/4.2-ipv6-bad", Refuse(400)),
    ("rfc5118/4.3-port-ambiguous", Accept),
    ("rfc5118/4.4-port-unambiguous", Accept),
    ("rfc5118/4.5-via-received-param-with-delim", Accept),
    ("rfc5118/4.5-via-received-param-no-delim", Accept),
    ("rfc5118/4.6-ipv6-in-sdp", Accept),
    ("rfc5118/4.7-mult-ip-in-header", Accept),
    ("rfc5118/4.8-mult-ip-in-sdp", Accept),
    ("rfc5118/4.9-ipv4-mapped-ipv6", Accept),
    // §4.10: the third colon may be ignored.
    ("rfc5118/4.10-ipv6-bug-abnf-3-colons", Accept),
    ("rfc5118/4.10-ipv6-correct-abnf-2-colons", Accept),
];

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(vectors().join(format!("{name}.dat"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn parse(name: &str) -> Message {
    Message::parse(bytes(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The verdict, the refusal if it is one, and what could be read.
fn judge(bytes: Vec<u8>) -> (Expect, Option<Verdict>, Option<Message>) {
    match Message::parse(bytes) {
        Err(ParseError::NotSip(_) | ParseError::BadResponse(_)) => (Drop, None, None),
        Err(ParseError::BadRequest { verdict, message }) => {
            (Refuse(verdict.status), Some(verdict), Some(*message))
        }
        Ok(message) if message.is_request() => match validate_request(&message, &[]) {
            Ok(()) => (Accept, None, Some(message)),
            Err(verdict) => (Refuse(verdict.status), Some(verdict), Some(message)),
        },
        Ok(message) => match validate_response(&message) {
            Ok(()) => (Accept, None, Some(message)),
            Err(_) => (Drop, None, Some(message)),
        },
    }
}

#[test]
fn every_torture_message_gets_the_verdict_of_its_rfc() {
    let wrong: Vec<_> = VERDICTS
        .iter()
        .map(|(name, expected)| (name, expected, judge(bytes(name))))
        .filter(|(_, expected, (got, _, _))| got != *expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_vector_has_a_verdict() {
    let mut files = BTreeSet::new();
    for dir in ["rfc4475", "rfc5118"] {
        for entry in fs::read_dir(vectors().join(dir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            files.insert(format!("{dir}/{}", name.trim_end_matches(".dat")));
        }
    }
    let named: BTreeSet<_> = VERDICTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named, files);
    assert_eq!(named.len(), VERDICTS.len());
}

#[test]
fn every_refused_request_can_be_answered_with_what_it_brought() {
    for (name, expected) in VERDICTS {
        let Refuse(status) = *expected else { continue };
        let (_, verdict, message) = judge(bytes(name));
        let (request, verdict) = (message.unwrap(), verdict.unwrap());
        let mut writer = MessageWriter::response(&request, verdict.status, verdict.reason, Some("t"));
        for (field, value) in &verdict.headers {
            writer.push(field, value);
        }
        let answer = Message::parse(writer.finish()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(answer.status(), Some(status), "{name}");
        for field in ["Via", "From", "Call-ID", "CSeq"] {
            assert!(answer.headers(field).eq(request.headers(field)), "{name} {field}");
        }
    }
}

#[test]
fn an_unknown_extension_is_named_in_unsupported() {
    // RFC 4475 §3.3.5; Proxy-Require does not concern us.
    let (_, verdict, _) = judge(bytes("rfc4475/bext01"));
    let headers = verdict.unwrap().headers;
    assert_eq!(headers, [("Unsupported", "nothingSupportsThis, nothingSupportsThisEither".to_owned())]);
}

#[test]
fn wsinv_is_read_through_all_its_white_space() {
    // RFC 4475 §3.1.1.1.
    let m = parse("rfc4475/wsinv");
    assert_eq!(m.to().unwrap().tag(), Some("1918181833n"));
    let from = m.from().unwrap();
    assert_eq!((from.display_name().as_str(), from.tag()), (r#"J Rosenberg \""#, Some("98asjd8")));
    assert_eq!(m.max_forwards(), Some(68));
    let cseq = m.cseq().unwrap();
    assert_eq!((cseq.seq, cseq.method), (9, Method::Invite));
    let vias: Vec<_> = m.vias().map(|v| v.unwrap()).collect();
    let seen: Vec<_> = vias.iter().map(|v| (v.transport, v.host, v.branch().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("UDP", "192.0.2.2", "390skdjuw"),
            ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
            ("UDP", "192.168.255.111", "z9hG4bK30239"),
        ]
    );
    assert_eq!(m.header("Subject"), Some(""));
    assert_eq!(m.header("newfangledheader"), Some("newfangled value   continued newfangled value"));
    assert_eq!(m.header("UnknownHeaderWithUnusualValue"), Some(";;,,;;,;"));
    assert!(m.routes().next().unwrap().uri().unwrap().is_loose_route());
    let contact = m.contacts().next().unwrap().unwrap().address().unwrap();
    assert_eq!(contact.display_name(), r#"Quoted string """#);
    assert_eq!((contact.params.get("newparam"), contact.q()), (Some("newvalue"), 330));
    assert!(contact.params.has("secondparam"));
    assert_eq!(m.body().len(), 150);
}

#[test]
fn escapes_are_undone_in_users_only_and_method_names_are_left_alone() {
    // RFC 4475 §3.1.1.3-5.
    let esc01 = parse("rfc4475/esc01");
    assert_eq!(esc01.request_uri().unwrap().user_unescaped(), "sips:user@example.com");
    assert_eq!(esc01.request_uri().unwrap().host(), "example.net");
    assert_eq!(esc01.to().unwrap().uri().unwrap().user_unescaped(), "user");
    assert_eq!(esc01.from().unwrap().uri().unwrap().user_unescaped(), "I have spaces");
    let escnull = parse("rfc4475/escnull");
    let users: Vec<_> =
        escnull.contacts().map(|c| c.unwrap().address().unwrap().uri().unwrap().user_unescaped()).collect();
    assert_eq!(users, ["\0", "\0\0"]);
    let esc02 = parse("rfc4475/esc02");
    assert_eq!(esc02.method(), Some(&Method::Other("RE%47IST%45R".into())));
    assert_eq!(esc02.contacts().count(), 2);
    assert_eq!(esc02.to().unwrap().display_name(), "%Z%45");
}

#[test]
fn unusual_characters_survive_where_they_are_allowed() {
    // RFC 4475 §3.1.1.2, 9, 12, 13.
    let m = parse("rfc4475/intmeth");
    let Kind::Request { method, uri } = m.kind() else { panic!("a request") };
    assert_eq!(method.as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert!(uri.starts_with("sip:1_unusual.URI~(to-be!sure)"));
    let uri = m.request_uri().unwrap();
    assert_eq!(uri.user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(m.to().unwrap().display_name(), "BEL:\x07 NUL:\0 DEL:\x7f");
    assert_eq!(m.from().unwrap().tag(), Some("_token~1'+`*%!-."));
    assert_eq!(m.header("extensionHeader-!.%*+_`'~"), Some("\u{feff}大停電"));
    let semi = parse("rfc4475/semiuri").request_uri().unwrap();
    assert_eq!(semi.user_unescaped(), "user;par=u@example.net");
    assert_eq!(semi.params().iter().count(), 0);
    let reason = "= 2**3 * 5**2 но сто девяносто девять - простое";
    assert_eq!(parse("rfc4475/unreason").kind(), Kind::Response { status: 200, reason });
    assert_eq!(parse("rfc4475/noreason").kind(), Kind::Response { status: 100, reason: "" });
}

#[test]
fn bodies_end_where_content_length_says_and_stay_as_they_are() {
    // RFC 4475 §3.1.1.8, 11.
    assert_eq!(parse("rfc4475/dblreq").body(), b"");
    let raw = bytes("rfc4475/mpart01");
    let m = parse("rfc4475/mpart01");
    assert!(raw.ends_with(m.body()) && m.body().len() == 553, "{}", m.body().len());
    assert!(std::str::from_utf8(m.body()).is_err(), "a binary part");
    assert_eq!(m.content_type(), Some("multipart/mixed"));
}

#[test]
fn a_branch_of_the_cookie_alone_is_none_of_rfc3261() {
    // RFC 4475 §3.2.1.
    assert!(!parse("rfc4475/badbranch").top_via().unwrap().has_rfc3261_branch());
    assert!(parse("rfc4475/semiuri").top_via().unwrap().has_rfc3261_branch());
    assert_eq!(parse("rfc4475/transports").vias().count(), 5);
    assert_eq!(parse("rfc4475/transports").vias().nth(3).unwrap().unwrap().transport, "UNKNOWN");
}

#[test]
fn parameters_belong_to_the_field_or_the_uri_as_the_brackets_say() {
    // RFC 4475 §3.3.12-14.
    let first = |m: &Message| match m.contacts().next().unwrap().unwrap() {
        Contact::Address(a) => (a.params.has("unknownparam"), a.uri().unwrap()),
        Contact::Star => panic!("no star"),
    };
    let (on_field, uri) = first(&parse("rfc4475/cparam01"));
    assert!(on_field && !uri.params().has("unknownparam"));
    let (on_field, uri) = first(&parse("rfc4475/cparam02"));
    assert!(!on_field && uri.params().has("unknownparam"));
    let (_, uri) = first(&parse("rfc4475/regescrt"));
    assert_eq!(uri.headers(), Some("Route=%3Csip:sip.example.com%3E"));
}

#[test]
fn ipv6_is_read_wherever_it_stands() {
    // RFC 5118 §4.3-4.5.
    let ambiguous = parse("rfc5118/4.3-port-ambiguous").request_uri().unwrap();
    assert_eq!((ambiguous.host(), ambiguous.port()), ("[2001:db8::10:5070]", None));
    let plain = parse("rfc5118/4.4-port-unambiguous").request_uri().unwrap();
    assert_eq!((plain.host(), plain.port()), ("[2001:db8::10]", Some(5070)));
    assert_eq!(plain.socket_addr(), Some("[2001:db8::10]:5070".parse().unwrap()));
    for name in ["with", "no"] {
        let m = parse(&format!("rfc5118/4.5-via-received-param-{name}-delim"));
        assert_eq!(m.top_via().unwrap().received(), Some("2001:db8::9:255".parse().unwrap()));
    }
    let three = parse("rfc5118/4.10-ipv6-bug-abnf-3-colons").request_uri().unwrap();
    assert_eq!(three.ip(), Some("2001:db8::192.0.2.1".parse().unwrap()));
    assert_eq!(three.scheme(), Scheme::Sip);
}
