//! What each wrong request gets on the wire, over UDP and TCP: the status that its RFC names, the fields that a program
//! needs to do better, and words from which a person sees what is wrong.

use e2e::digest::{Account, authorization};
use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::rawsip::{RawSip, unique};
use e2e::trunk::Message;
use socket2::{Domain, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
/// Where alice and everybody else sits, and the trunk.
const PHONE: [u8; 4] = [127, 0, 0, 1];
const TRUNK: [u8; 4] = [127, 0, 0, 2];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Udp,
    Tcp,
}

/// A request in the making.
#[derive(Clone)]
struct Request {
    method: &'static str,
    uri: String,
    version: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
    from: [u8; 4],
    /// Answers a challenge with alice's password.
    account: bool,
}

impl Request {
    /// A good one to `user` at the gateway.
    fn to(gateway: SocketAddr, method: &'static str, user: &str) -> Request {
        let (uri, at) = (format!("sip:{user}@{gateway}"), format!("sip:alice@{gateway}"));
        let registers = method == "REGISTER";
        let to = if registers { format!("<{at}>") } else { format!("<{uri}>") };
        let headers = vec![
            ("Max-Forwards", "70".into()),
            ("From", format!("<{at}>;tag={}", unique("f"))),
            ("To", to),
            ("Call-ID", unique("bad")),
            ("CSeq", format!("1 {method}")),
            ("Contact", "<sip:alice@127.0.0.1:9>".into()),
        ];
        let uri = if registers { format!("sip:{gateway}") } else { uri };
        let invites = method == "INVITE";
        let body = if invites { SDP.to_owned() } else { String::new() };
        let request =
            Request { method, uri, version: "SIP/2.0", headers, body, from: PHONE, account: registers };
        if invites { request.with("Content-Type", "application/sdp") } else { request }
    }

    /// With this value, in the place of another one.
    fn with(mut self, name: &'static str, value: &str) -> Request {
        self.headers.retain(|(known, _)| *known != name);
        self.also(name, value)
    }

    /// With one more field.
    fn also(mut self, name: &'static str, value: &str) -> Request {
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    fn body(self, kind: &str, body: &str) -> Request {
        Request { body: body.into(), ..self.with("Content-Type", kind) }
    }

    fn by_trunk(self) -> Request {
        Request { from: TRUNK, ..self }
    }

    fn text(&self, by: By, local: SocketAddr) -> String {
        let Request { method, uri, version, headers, body, .. } = self;
        let (branch, via) = (unique("z9hG4bK"), if by == By::Udp { "UDP" } else { "TCP" });
        let mut text =
            format!("{method} {uri} {version}\r\nVia: SIP/2.0/{via} {local};branch={branch};rport\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "Content-Length") {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        format!("{text}\r\n{body}")
    }
}

/// One socket to the gateway.
enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Wire {
    fn open(by: By, from: [u8; 4], gateway: SocketAddr) -> Wire {
        let local = SocketAddr::from((from, 0));
        match by {
            By::Udp => {
                let socket = UdpSocket::bind(local).expect("a free port");
                socket.connect(gateway).expect("the gateway");
                socket.set_read_timeout(Some(LIMIT)).expect("timeout");
                Wire::Udp(socket)
            }
            By::Tcp => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
                socket.bind(&local.into()).expect("a free port");
                socket.connect(&gateway.into()).expect("the gateway listens");
                let stream = TcpStream::from(socket);
                stream.set_read_timeout(Some(LIMIT)).expect("timeout");
                Wire::Tcp(stream, Vec::new())
            }
        }
    }

    fn local(&self) -> SocketAddr {
        match self {
            Wire::Udp(socket) => socket.local_addr().expect("bound"),
            Wire::Tcp(stream, _) => stream.local_addr().expect("bound"),
        }
    }

    fn by(&self) -> By {
        match self {
            Wire::Udp(_) => By::Udp,
            Wire::Tcp(..) => By::Tcp,
        }
    }

    fn send(&mut self, text: &str) {
        match self {
            Wire::Udp(socket) => drop(socket.send(text.as_bytes()).expect("a datagram")),
            Wire::Tcp(stream, _) => stream.write_all(text.as_bytes()).expect("the gateway reads"),
        }
    }

    /// The next message; none when the connection was closed.
    fn next(&mut self) -> Option<Message> {
        let mut buffer = vec![0; 65_536];
        let gateway = SocketAddr::from((PHONE, 0));
        match self {
            Wire::Udp(socket) => {
                let size = socket.recv(&mut buffer).expect("an answer in time");
                Message::parse(&buffer[..size], gateway)
            }
            Wire::Tcp(stream, rest) => loop {
                let text = String::from_utf8_lossy(rest).into_owned();
                if let Some((head, _)) = text.split_once("\r\n\r\n") {
                    let mut message =
                        Message::parse(format!("{head}\r\n\r\n").as_bytes(), gateway).expect("a message");
                    let length: usize = message.header("content-length").parse().expect("Content-Length");
                    let whole = head.len() + 4 + length;
                    if rest.len() >= whole {
                        message.body = text[head.len() + 4..whole].to_owned();
                        rest.drain(..whole);
                        return Some(message);
                    }
                }
                match stream.read(&mut buffer).expect("an answer in time") {
                    0 => return None,
                    size => rest.extend_from_slice(&buffer[..size]),
                }
            },
        }
    }

    /// The final answer to what was sent with this branch.
    fn answer(&mut self, sent: &str) -> Message {
        let branch = sent.split("branch=").nth(1).and_then(|rest| rest.split(';').next()).expect("a branch");
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            let message = self.next().expect("the connection stays open until the answer");
            if message.status().is_some_and(|s| s >= 200) && message.header("via").contains(branch) {
                return message;
            }
        }
        panic!("no final answer to {sent}")
    }

    fn ask(&mut self, request: &Request) -> Message {
        let text = request.text(self.by(), self.local());
        self.send(&text);
        let answer = self.answer(&text);
        if !request.account || answer.status() != Some(401) {
            return answer;
        }
        let account = Account { user: "alice", password: PASSWORD };
        let line = authorization(
            answer.header("www-authenticate"),
            account,
            (request.method, &request.uri, &request.body),
            ("auth", 1),
        );
        let value = line.trim_end().split_once(": ").expect("a field").1;
        let again = Request { account: false, ..request.clone() };
        self.ask(&again.with("CSeq", &format!("2 {}", request.method)).also("Authorization", value))
    }
}

/// What is wrong, and what must come back: status, reason phrase (empty: the standard one), fields with a part of their value.
type Row = (&'static str, Request, u16, &'static str, &'static [(&'static str, &'static str)]);

const ALLOW: &[(&str, &str)] = &[("allow", "INVITE, ACK, CANCEL, BYE, OPTIONS")];

/// What cannot be read or done, whoever asks.
fn unreadable(gateway: SocketAddr) -> Vec<Row> {
    let to = |method, user: &str| Request::to(gateway, method, user);
    let invite = || to("INVITE", "bob");
    let long = format!("sip:{}@{gateway}", "1".repeat(4_100));
    vec![
        ("RFC 3261 §8.1.1: no Call-ID", invite().without("Call-ID"), 400, "Missing Call-ID", &[]),
        ("no To", invite().without("To"), 400, "Missing From Or To", &[]),
        ("no CSeq", invite().without("CSeq"), 400, "Missing CSeq", &[]),
        ("CSeq of another method", invite().with("CSeq", "1 BYE"), 400, "CSeq Method Does Not Match", &[]),
        ("§8.1.1.8: no Contact", invite().without("Contact"), 400, "Missing Contact", &[]),
        ("a Contact that is none", invite().with("Contact", "<<>>"), 400, "Bad Contact", &[]),
        (
            "§7.3.1: two From",
            invite().also("From", "<sip:x@y>;tag=2"),
            400,
            "A Field That May Stand Once Stands Twice",
            &[],
        ),
        ("RFC 3891 §3: two Replaces", replacing(invite(), 2), 400, "Bad Replaces, Or More Than One", &[]),
        ("RFC 3261 §21.4.12", Request { uri: long, ..invite() }, 414, "Request-URI Too Long", &[]),
        ("§8.2.3: a body", invite().body("text/plain", "hello"), 415, "", &[("accept", "application/sdp")]),
        (
            "§8.2.3: its coding",
            invite().with("Content-Encoding", "gzip"),
            415,
            "",
            &[("accept-encoding", "identity")],
        ),
        ("§8.2.2.1", Request { uri: "nobody:knows".into(), ..invite() }, 416, "Unsupported URI Scheme", &[]),
        (
            "§8.2.2.3: extensions",
            invite().with("Require", "100rel, teleport, precondition"),
            420,
            "Bad Extension",
            &[("unsupported", "teleport, precondition")],
        ),
        (
            "RFC 3329 §2.3: security agreement",
            to("REGISTER", "").with("Require", "sec-agree"),
            420,
            "Bad Extension",
            &[("unsupported", "sec-agree")],
        ),
        (
            "RFC 4028 §9: a session interval",
            invite().with("Session-Expires", "30").with("Supported", "timer"),
            422,
            "Session Interval Too Small",
            &[("min-se", "90")],
        ),
        (
            "RFC 3261 §21.4.7: no answer could please",
            invite().with("Accept", "text/plain"),
            406,
            "Not Acceptable: The Answer Is application/sdp",
            &[],
        ),
        ("§16.3: no hop left", invite().with("Max-Forwards", "0"), 483, "Too Many Hops", &[]),
        ("§21.5.6", Request { version: "SIP/7.0", ..invite() }, 505, "", &[]),
    ]
}

fn replacing(invite: Request, times: usize) -> Request {
    let value = "12345@192.0.2.1;to-tag=a;from-tag=b";
    (0..times).fold(invite, |invite, _| invite.also("Replaces", value))
}

/// Methods and dialogs that are not here.
fn misplaced(gateway: SocketAddr) -> Vec<Row> {
    let to = |method, user: &str| Request::to(gateway, method, user);
    let in_dialog = |method| {
        let request = to(method, "bob");
        let tagged = format!("<{}>;tag=nobodys", request.uri);
        request.with("To", &tagged)
    };
    let mut rows: Vec<Row> = vec![
        ("RFC 3261 §8.2.1: a method not done", to("MESSAGE", "bob"), 405, "", ALLOW),
        ("§21.5.2: a method nobody knows", to("DANCE", "bob"), 501, "", ALLOW),
        (
            "RFC 6665 §4.2.1.1: an event package",
            to("SUBSCRIBE", "bob").with("Event", "presence"),
            489,
            "",
            &[("allow-events", "refer")],
        ),
        (
            "RFC 3515 §5.2: REFER of a stranger",
            to("REFER", "bob").with("Refer-To", "<sip:x@example.com>"),
            403,
            "REFER Only Inside A Call",
            &[],
        ),
        ("RFC 3891 §3: Replaces of nothing", replacing(to("INVITE", "bob"), 1), 481, "", &[]),
        ("RFC 3261 §9.2: CANCEL of nothing", to("CANCEL", "bob"), 481, "", &[]),
    ];
    for method in ["BYE", "INFO", "PRACK", "UPDATE", "NOTIFY"] {
        rows.push(("§12.2.2: outside a dialog", to(method, "bob"), 481, "", &[]));
    }
    for method in ["INVITE", "BYE", "INFO", "PRACK", "UPDATE", "NOTIFY", "OPTIONS", "REFER", "SUBSCRIBE"] {
        rows.push(("§12.2.2: in a dialog that is not here", in_dialog(method), 481, "", &[]));
    }
    rows
}

/// Registrations that may not be, and calls that lead nowhere.
fn refused(gateway: SocketAddr) -> Vec<Row> {
    let register = || Request::to(gateway, "REGISTER", "");
    let call = |number: &str| Request::to(gateway, "INVITE", number).by_trunk();
    let anonymous = || Request { account: false, ..register() };
    let unknown_codec = SDP.replace("RTP/AVP 0", "RTP/AVP 97").replace("0 PCMU/8000", "97 speex/32000");
    vec![
        ("RFC 3261 §22.2", anonymous(), 401, "", &[("www-authenticate", "algorithm=MD5, qop=\"auth\"")]),
        (
            "§10.3 step 1: another domain",
            register().with("To", "<sip:alice@elsewhere.example>"),
            404,
            "This domain is not served here",
            &[],
        ),
        (
            "§10.3 step 4: for somebody else",
            register().with("To", &format!("<sip:bob@{gateway}>")),
            403,
            "The user name and the address to register differ",
            &[],
        ),
        (
            "§10.3 step 6: * and time",
            register().with("Contact", "*").with("Expires", "60"),
            400,
            "Contact: * stands alone and with Expires: 0",
            &[],
        ),
        ("§10.3 step 7", register().with("Expires", "5"), 423, "", &[("min-expires", "60")]),
        (
            "§21.4.5: nobody's number",
            call("+12025550155"),
            404,
            "This number does not exist here: no user and no route matches it",
            &[("reason", "Q.850;cause=1")],
        ),
        (
            "§21.4.18: nobody's phone",
            call("+12025550110"),
            480,
            "The person is not signed in on any device",
            &[("reason", "Q.850;cause=20")],
        ),
        (
            "§21.4.22: no number at all",
            call("hello%20there"),
            484,
            "The number is incomplete or not valid",
            &[("reason", "Q.850;cause=28")],
        ),
        (
            "§21.4.26: no codec in common",
            call("+12025550111").body("application/sdp", &unknown_codec),
            488,
            "Both sides have no audio codec in common",
            &[("warning", "305 "), ("reason", "Q.850;cause=65")],
        ),
        (
            "§13.3.1: no session description",
            call("+12025550111").body("application/sdp", "v=1\r\nhello"),
            488,
            "The other side sent a session description that cannot be used",
            &[("warning", "399 ")],
        ),
    ]
}

fn gateway() -> Gateway {
    let toml = "[[trunks]]\nname = \"inward\"\nserver = \"127.0.0.3\"\ninbound_from = [\"127.0.0.2\"]\n";
    Gateway::run(&Setup { toml: toml.into(), ..Setup::default() })
}

#[test]
fn every_wrong_request_gets_its_status_its_fields_and_words_over_udp_and_tcp() {
    let gateway = gateway();
    let at = SocketAddr::from((PHONE, gateway.sip));
    let mut bob = RawSip::bind(SocketAddr::from((PHONE, 0)), at);
    assert_eq!(bob.register("bob", PASSWORD).0.status(), Some(200), "somebody who could be called");
    let mut wrong = Vec::new();
    for by in [By::Udp, By::Tcp] {
        let rows = [unreadable(at), misplaced(at), refused(at)].concat();
        for (name, request, status, phrase, fields) in rows {
            let answer = Wire::open(by, request.from, at).ask(&request);
            let mut complain = |what: String| {
                wrong.push(format!("{} ({name}) by {by:?}: {what} in {answer:?}", request.method));
            };
            if answer.status() != Some(status) {
                complain(format!("expected {status}"));
            }
            if !phrase.is_empty() && answer.start != format!("SIP/2.0 {status} {phrase}") {
                complain(format!("expected the words {phrase:?}"));
            }
            for (field, part) in fields {
                if !answer.header(field).contains(part) {
                    complain(format!("expected {part:?} in {field}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_only_a_datagram_or_only_a_stream_can_do_wrong_is_told_too() {
    let gateway = gateway();
    let at = SocketAddr::from((PHONE, gateway.sip));
    let options = || Request::to(at, "OPTIONS", "bob");
    // RFC 3261 §18.3: a datagram ends before its body does.
    let cut = Wire::open(By::Udp, PHONE, at).ask(&options().with("Content-Length", "999"));
    assert_eq!(cut.start, "SIP/2.0 400 Content-Length Exceeds The Body");
    // RFC 3261 §8.2.2.2: the same request by two ways.
    let mut wire = Wire::open(By::Udp, PHONE, at);
    let twice = options();
    assert_eq!(wire.ask(&twice).status(), Some(200));
    assert_eq!(wire.ask(&twice).start, "SIP/2.0 482 Merged Request: It Came Twice By Different Ways");
    // RFC 3261 §17.1.1.3: an ACK to nothing is not answered, whatever it carries.
    let stray = Request::to(at, "ACK", "bob").text(By::Udp, wire.local());
    wire.send(&stray);
    wire.send(&stray.replace("CSeq: 1 ACK", "CSeq: ACK"));
    let last = options().text(By::Udp, wire.local());
    wire.send(&last);
    let next = wire.next().expect("an answer");
    assert_eq!((next.status(), next.header("cseq")), (Some(200), "1 OPTIONS"));
    // RFC 3261 §20.14 and §21.5.7: a stream without end of the message, or with too much of it.
    let mut wire = Wire::open(By::Tcp, PHONE, at);
    let endless = options().text(By::Tcp, wire.local()).replace("Content-Length: 0\r\n", "");
    wire.send(&endless);
    assert_eq!(wire.answer(&endless).start, "SIP/2.0 400 Content-Length Is Needed On A Stream");
    assert!(wire.next().is_none(), "nobody knows where the next message begins");
    let mut wire = Wire::open(By::Tcp, PHONE, at);
    let large = options().text(By::Tcp, wire.local()).replace("Content-Length: 0", "Content-Length: 70000");
    wire.send(&large);
    assert_eq!(wire.answer(&large).start, "SIP/2.0 513 Message Too Large");
    assert!(wire.next().is_none(), "it is not read to its end");
}

#[test]
fn inside_a_call_old_and_overlapping_requests_are_500_and_the_call_goes_on() {
    let gateway = gateway();
    let at = SocketAddr::from((PHONE, gateway.sip));
    let mut alice = Wire::open(By::Udp, PHONE, at);
    let contact = format!("<sip:alice@{}>", alice.local());
    let registered = alice.ask(&Request::to(at, "REGISTER", "").with("Contact", &contact));
    assert_eq!(registered.status(), Some(200), "{}", registered.start);
    let mut before = String::new();
    for by in [By::Udp, By::Tcp] {
        let mut trunk = Wire::open(by, TRUNK, at);
        let invite = Request::to(at, "INVITE", "+12025550110").with("CSeq", "7 INVITE").by_trunk();
        trunk.send(&invite.text(by, trunk.local()));
        let at_alice = loop {
            let message = alice.next().expect("UDP");
            if message.is("INVITE") && message.header("call-id") != before {
                break message;
            }
        };
        before = at_alice.header("call-id").to_owned();
        let via: Vec<_> = at_alice.headers.iter().filter(|(n, _)| n == "via").collect();
        let ringing = format!(
            "SIP/2.0 180 Ringing\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=rings\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: {contact}\r\nContent-Length: 0\r\n\r\n",
            via[0].1,
            at_alice.header("from"),
            at_alice.header("to"),
            at_alice.header("call-id"),
            at_alice.header("cseq")
        );
        alice.send(&ringing);
        let rings = loop {
            let message = trunk.next().expect("180");
            if message.status() == Some(180) {
                break message;
            }
        };
        let within = |method: &'static str, cseq: u32| {
            let request = Request { method, ..invite.clone() }.with("To", rings.header("to"));
            request.with("CSeq", &format!("{cseq} {method}"))
        };
        // RFC 3261 §12.2.2.
        let old = trunk.ask(&within("INFO", 3).without("Content-Type").body("application/dtmf", "5"));
        assert_eq!(old.start, "SIP/2.0 500 CSeq Out Of Order", "{by:?}");
        // RFC 3261 §14.2: an INVITE while the first has no final response.
        let overlap = trunk.ask(&within("INVITE", 8));
        assert_eq!(overlap.status(), Some(500), "{by:?}: {}", overlap.start);
        let seconds: u32 = overlap.header("retry-after").parse().expect("Retry-After in seconds");
        assert!(seconds <= 10, "{seconds}");
        // RFC 3261 §9.2: the call is still there to be cancelled.
        let mut cancel = Request { method: "CANCEL", body: String::new(), ..invite.clone() };
        cancel = cancel.with("CSeq", "7 CANCEL").without("Content-Type");
        let branch =
            rings.header("via").split("branch=").nth(1).expect("ours").split(';').next().expect("it");
        let text = cancel.text(by, trunk.local());
        let other = text.split("branch=").nth(1).expect("one").split(';').next().expect("it").to_owned();
        trunk.send(&text.replace(&other, branch));
        let ends = loop {
            let message = trunk.next().expect("487");
            if message.header("cseq") == "7 INVITE" && message.status().is_some_and(|s| s >= 200) {
                break message;
            }
        };
        assert_eq!(ends.status(), Some(487), "{by:?}: {}", ends.start);
    }
}
