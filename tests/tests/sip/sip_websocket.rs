//! `/sip`, RFC 7118, spoken by hand: what a handshake must have, what frames may be, and what a bad peer costs others.

use e2e::gateway::{Gateway, Setup};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

const LIMIT: Duration = Duration::from_secs(30);

fn address(gateway: &Gateway) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], gateway.http))
}

/// A handshake with these header fields: the WebSocket, or status and sentence of its refusal.
fn try_open(
    gateway: &Gateway,
    fields: &[(&'static str, &str)],
) -> Result<WebSocket<TcpStream>, (u16, String)> {
    let to = address(gateway);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // So that a peer that does not read is full soon.
    socket.set_recv_buffer_size(4096).expect("a buffer");
    socket.connect(&to.into()).expect("the HTTP port is open");
    let mut request = format!("ws://{to}/sip").into_client_request().expect("a request");
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    match tungstenite::client(request, TcpStream::from(socket)) {
        Ok((socket, _)) => {
            socket.get_ref().set_read_timeout(Some(LIMIT)).expect("timeout");
            socket.get_ref().set_write_timeout(Some(LIMIT)).expect("timeout");
            Ok(socket)
        }
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            let body = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
            Err((answer.status().as_u16(), body))
        }
        Err(other) => panic!("{other}"),
    }
}

fn open(gateway: &Gateway) -> WebSocket<TcpStream> {
    try_open(gateway, &[("Sec-WebSocket-Protocol", "sip")]).expect("a WebSocket")
}

fn options(call_id: &str) -> String {
    format!(
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{call_id}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:x@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\n\r\n"
    )
}

fn is_answered(socket: &mut WebSocket<TcpStream>, call_id: &str) {
    let Message::Text(text) = socket.read().expect("an answer") else { panic!("text is answered by text") };
    assert!(text.starts_with("SIP/2.0 200 ") && text.contains(&format!("Call-ID: {call_id}\r\n")), "{text}");
    assert!(text.contains("SIP/2.0/WS df7jal23ls0d.invalid;"), "{text}");
}

/// The close code that comes, or none where the connection just ended.
fn close_code(socket: &mut WebSocket<TcpStream>) -> Option<u16> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map(|f| f.code.into()),
            Ok(_) => {}
            Err(tungstenite::Error::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("still open")
            }
            Err(_) => return None,
        }
    }
}

/// RFC 7118 §4.1; another page's script must not speak SIP in its visitor's name.
#[test]
fn a_handshake_needs_the_subprotocol_sip_our_own_origin_and_host() {
    let gateway = Gateway::run(&Setup::default());
    for fields in [&[][..], &[("Sec-WebSocket-Protocol", "webtrunk.v1")][..]] {
        let (status, sentence) = try_open(&gateway, fields).expect_err("refused");
        assert!(status == 400 && sentence.contains("subprotocol `sip`"), "{status} {sentence}");
    }
    let own = format!("http://127.0.0.1:{}", gateway.http);
    let sip = ("Sec-WebSocket-Protocol", "sip");
    assert!(try_open(&gateway, &[sip, ("Origin", &own)]).is_ok());
    let foreign = try_open(&gateway, &[sip, ("Origin", "http://evil.example")]).expect_err("refused");
    assert!(foreign.0 == 403 && foreign.1.contains("those that [http] origins names"), "{foreign:?}");
    let rebound = try_open(&gateway, &[sip, ("Host", "evil.example")]).expect_err("refused");
    assert_eq!(rebound.0, 421, "{}", rebound.1);
}

/// RFC 6455 §10.2, RFC 6454 §6.2: a page on another server, with JsSIP or SIP.js, where the file names it.
#[test]
fn a_page_of_another_origin_that_the_file_names_speaks_sip_and_signalling() {
    let http_keys = "origins = [\"https://Phone.example:443\"]".to_owned();
    let gateway = Gateway::run(&Setup { http_keys, ..Setup::default() });
    let (sip, named) = (("Sec-WebSocket-Protocol", "sip"), ("Origin", "https://phone.example"));
    let mut socket = try_open(&gateway, &[sip, named]).expect("a WebSocket");
    socket.send(Message::text(options("one"))).expect("sent");
    is_answered(&mut socket, "one");
    for other in ["http://phone.example", "https://phone.example:8443", "https://evil.example"] {
        let refused = try_open(&gateway, &[sip, ("Origin", other)]).expect_err("refused");
        assert_eq!(refused.0, 403, "{other}: {}", refused.1);
    }
    let to = address(&gateway);
    assert_eq!(e2e::http::upgrade(to, &to.to_string(), Some(named.1)).status, 101);
    assert_eq!(e2e::http::upgrade(to, &to.to_string(), Some("https://evil.example")).status, 403);
}

/// RFC 7118 §5, RFC 5626 §3.5.1: a message needs no Content-Length, its frame says where it ends.
#[test]
fn text_and_binary_frames_are_one_message_each_and_a_double_crlf_is_answered() {
    let gateway = Gateway::run(&Setup::default());
    let mut socket = open(&gateway);
    socket.send(Message::text(options("one"))).expect("sent");
    is_answered(&mut socket, "one");
    socket.send(Message::binary(options("two").into_bytes())).expect("sent");
    is_answered(&mut socket, "two");
    socket.send(Message::text("\r\n\r\n")).expect("sent");
    assert_eq!(socket.read().expect("a pong"), Message::text("\r\n"));
    socket.send(Message::text("no SIP at all")).expect("sent");
    socket.send(Message::text(options("three"))).expect("sent");
    is_answered(&mut socket, "three");
}

/// Limits hold for each connection alone.
#[test]
fn a_message_too_large_and_a_peer_that_never_reads_end_their_own_connections_only() {
    let gateway = Gateway::run(&Setup::default());
    let mut bystander = open(&gateway);
    let mut large = open(&gateway);
    large.send(Message::text(format!("{}{}", options("large"), "x".repeat(70_000)))).expect("sent");
    assert!(matches!(close_code(&mut large), Some(1009) | None));
    let mut deaf = open(&gateway);
    let until = Instant::now() + LIMIT;
    let pad = "p".repeat(6_000);
    let mut slowest = Duration::ZERO;
    for n in 0.. {
        if deaf.send(Message::text(options(&format!("{pad}{n}")))).is_err() {
            break;
        }
        assert!(
            Instant::now() < until,
            "the gateway still reads after {n} messages whose answers nobody takes"
        );
        if n % 200 == 0 {
            let (begun, call_id) = (Instant::now(), format!("bystander{n}"));
            bystander.send(Message::text(options(&call_id))).expect("sent");
            is_answered(&mut bystander, &call_id);
            slowest = slowest.max(begun.elapsed());
        }
    }
    assert!(slowest < Duration::from_secs(2), "a bystander waited {slowest:?}");
    bystander.send(Message::text(options("after"))).expect("sent");
    is_answered(&mut bystander, "after");
}

/// RFC 6455 §5.5.2: a peer that is gone without a word is found out, so that its contact does not stay.
#[test]
fn connections_that_say_nothing_or_answer_no_ping_are_closed_in_time() {
    let gateway = Gateway::run(&Setup::default());
    let silent = open(&gateway);
    let mut gone = open(&gateway);
    gone.send(Message::text(options("last"))).expect("sent");
    // Neither reads, so neither answers a ping. What the gateway sent is read only at the end.
    for (socket, what) in [(silent, "never spoke"), (gone, "answers no ping")] {
        let stream = socket.get_ref();
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
        let mut bytes = Vec::new();
        let ended = std::io::Read::read_to_end(&mut { stream }, &mut bytes);
        assert!(ended.is_ok(), "the connection that {what} is still open");
    }
}
