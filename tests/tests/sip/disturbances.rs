//! One peer behaves badly, everyone else notices nothing: a slow reader, half a message, a connection that died without a
//! word, a header without end.

use e2e::bystanders::Bystanders;
use e2e::gateway::{Gateway, PASSWORD, Setup};
use e2e::process::wait_for;
use e2e::rawsip::unique;
use e2e::trunk::Trunk;
use e2e::ws::Ws;
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message as Frame;

/// Generous: the gateway's own deadlines for one write (5 s) and one message (32 s) lie below it.
const LIMIT: Duration = Duration::from_secs(60);

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn quiet() -> (Gateway, Bystanders) {
    let trunk = Trunk::start();
    let gateway = Gateway::run(&Setup::with_trunk(trunk.port));
    let others = Bystanders::talking(gateway.http, trunk);
    (gateway, others)
}

/// A connection whose receive buffer is small, so that not reading is noticed soon.
fn narrow(port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&at(port).into()).expect("the gateway listens");
    socket.into()
}

fn options(to: u16, more: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:127.0.0.1:{to} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch={}\r\nMax-Forwards: 70\r\n\
         From: <sip:x@127.0.0.1>;tag=x\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {}\r\nCSeq: 1 OPTIONS\r\n{more}\
         Content-Length: 0\r\n\r\n",
        unique("z9hG4bK"),
        unique("slow")
    )
    .into_bytes()
}

/// Sends until the gateway closes; fails when it never does.
fn until_closed(stream: &mut TcpStream, mut message: impl FnMut() -> Vec<u8>) {
    stream.set_write_timeout(Some(Duration::from_millis(100))).expect("timeout");
    let until = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < until, "still open after {LIMIT:?}");
        match stream.write_all(&message()) {
            Ok(()) => {}
            // Cut in the middle of a message: only the gateway's reset can end it now.
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => {}
            Err(_) => return,
        }
    }
}

/// Lets somebody send without reading until the gateway closes the connection, while others are watched.
fn slow_reader_is_closed(slow: impl FnOnce(&Gateway) + Send) {
    let (gateway, mut others) = quiet();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| slow(&gateway));
        others.must_notice_nothing();
        while !slow.is_finished() {
            others.must_notice_nothing();
        }
        slow.join().expect("the slow reader is shown out");
    });
    others.hang_up();
}

#[test]
fn a_tcp_peer_that_sends_and_never_reads_loses_its_connection_and_nobody_else_notices() {
    slow_reader_is_closed(|gateway| {
        let sip = gateway.sip;
        until_closed(&mut narrow(sip), || options(sip, "").repeat(20));
    });
}

#[test]
fn a_browser_that_sends_and_never_reads_loses_its_connection_and_nobody_else_notices() {
    slow_reader_is_closed(|gateway| {
        let http = gateway.http;
        let mut ws = Ws::over_stream(narrow(http), at(http));
        let welcome = ws.hello("carol", PASSWORD);
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        let ping = Frame::text(json!({ "type": "ping" }).to_string());
        let until = Instant::now() + LIMIT;
        while ws.send_unread(ping.clone()) {
            assert!(Instant::now() < until, "still open after {LIMIT:?}");
        }
    });
}

/// RFC 3261 §18.3: without its end a message is none; the connection is closed after 32 seconds.
#[test]
fn connections_with_half_a_message_are_closed_in_time_and_nobody_else_notices() {
    let (gateway, mut others) = quiet();
    let begun = Instant::now();
    let half = options(gateway.sip, "");
    let mut open: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(at(gateway.sip)).expect("open")).collect();
    for stream in &mut open {
        stream.write_all(&half[..half.len() / 2]).expect("half a message");
        stream.set_nonblocking(true).expect("nonblocking");
    }
    others.must_notice_nothing();
    let closed = |stream: &mut TcpStream| match stream.read(&mut [0; 16]) {
        Ok(0) => true,
        Ok(_) => panic!("half a message is not answered"),
        Err(e) => e.kind() != ErrorKind::WouldBlock,
    };
    let all = || open.iter_mut().all(closed).then_some(());
    wait_for(LIMIT, "all of them closed", all);
    assert!(begun.elapsed() > Duration::from_secs(30), "after {:?}", begun.elapsed());
    others.must_notice_nothing();
    others.hang_up();
}

/// RFC 3261 §18.3, §21.5.14: 513, then the connection is closed.
#[test]
fn a_header_of_64_kilobytes_and_a_message_beyond_get_513_and_nobody_else_notices() {
    let (gateway, mut others) = quiet();
    let ask = |message: &[u8]| {
        let mut stream = TcpStream::connect(at(gateway.sip)).expect("open");
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        stream.write_all(message).expect("the gateway reads");
        let mut answer = vec![0; 65_536];
        let size = stream.read(&mut answer).expect("an answer");
        let text = String::from_utf8_lossy(&answer[..size]).into_owned();
        (text.lines().next().unwrap_or_default().to_owned(), stream)
    };
    let header = |size: usize| format!("X-Filler: {}\r\n", "x".repeat(size));
    let (start, _) = ask(&options(gateway.sip, &header(60 * 1024)));
    assert_eq!(start, "SIP/2.0 200 OK", "60 kB are a message like any other");
    let (start, mut stream) = ask(&options(gateway.sip, &header(64 * 1024)));
    assert!(start.starts_with("SIP/2.0 513 "), "{start}");
    let rest = stream.read_to_end(&mut Vec::new());
    assert!(rest.is_ok(), "closed without a reset: {rest:?}");
    // A body that is announced and need not even be sent.
    let huge = String::from_utf8(options(gateway.sip, "")).expect("text");
    let (start, _) = ask(huge.replace("Content-Length: 0", "Content-Length: 70000").as_bytes());
    assert!(start.starts_with("SIP/2.0 513 "), "{start}");
    others.must_notice_nothing();
    // By UDP the largest datagram there is.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("timeout");
    let via = format!("127.0.0.1:{};rport", socket.local_addr().expect("bound").port());
    let message = String::from_utf8(options(gateway.sip, &header(60 * 1024))).expect("text");
    let message = message.replace("/TCP 127.0.0.1:9", &format!("/UDP {via}"));
    socket.send_to(message.as_bytes(), at(gateway.sip)).expect("a datagram");
    let mut answer = [0; 2048];
    let size = socket.recv(&mut answer).expect("an answer");
    assert!(answer[..size].starts_with(b"SIP/2.0 200 "));
    others.hang_up();
}

/// A peer whose machine is gone says nothing more, not even that: what is sent to it piles up and is given up.
#[test]
fn connections_that_nobody_reads_or_closes_do_not_keep_others_from_calling() {
    let (gateway, mut others) = quiet();
    let silent: Vec<TcpStream> = (0..50).map(|_| narrow(gateway.sip)).collect();
    for stream in &silent {
        SockRef::from(stream).set_tcp_nodelay(true).expect("nodelay");
        let mut stream = stream;
        stream.write_all(&options(gateway.sip, "").repeat(10)).expect("ten requests");
    }
    others.must_notice_nothing();
    drop(silent);
    others.must_notice_nothing();
    others.hang_up();
}
