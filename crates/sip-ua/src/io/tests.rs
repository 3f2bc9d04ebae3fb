//! Real sockets on loopback. Where a deadline matters the clock is paused: it moves when nothing else does.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc::Receiver;
use types::limits;

use super::{Inbound, SendError, Sockets, TlsSetup};
use crate::{Flow, Target, Transport};

const OPTIONS: &str = "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\n\
    From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

fn bind(transport: Transport, address: &str) -> (Sockets, Receiver<Inbound>, SocketAddr) {
    let (sockets, inbound) =
        Sockets::bind(&[(transport, address.parse().unwrap())], TlsSetup::default()).unwrap();
    let local = sockets.local_addrs().next().unwrap().1;
    (sockets, inbound, local)
}

async fn message(inbound: &mut Receiver<Inbound>) -> (Flow, Vec<u8>) {
    match inbound.recv().await {
        Some(Inbound::Message { flow, bytes }) => (flow, bytes),
        other => panic!("expected a message, got {other:?}"),
    }
}

async fn closed(inbound: &mut Receiver<Inbound>) -> (Flow, String) {
    match inbound.recv().await {
        Some(Inbound::Closed { flow, why }) => (flow, why),
        other => panic!("expected a closed connection, got {other:?}"),
    }
}

fn wire(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn tcp(remote: SocketAddr) -> Target {
    Target::Address { transport: Transport::Tcp, remote, local: None }
}

#[tokio::test]
async fn a_wildcard_socket_answers_from_the_address_it_was_reached_on() {
    let (sockets, mut inbound, local) = bind(Transport::Udp, "0.0.0.0:0");
    let reached: SocketAddr = format!("127.0.0.2:{}", local.port()).parse().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // A connected socket hears this one address only.
    client.connect(reached).await.unwrap();
    client.send(OPTIONS.as_bytes()).await.unwrap();
    let (flow, bytes) = message(&mut inbound).await;
    assert_eq!(bytes, OPTIONS.as_bytes());
    let remote = client.local_addr().unwrap();
    assert_eq!(flow, Flow { transport: Transport::Udp, local: reached, remote, connection: None });

    sockets.send(Target::Flow(flow), Some(flow.local), wire("one")).unwrap();
    sockets.send(Target::Flow(flow), None, wire("two")).unwrap();
    let target = Target::Address { transport: Transport::Udp, remote, local: None };
    sockets.send(target, Some(reached), wire("three")).unwrap();
    let mut buffer = [0; 100];
    for expected in ["one", "two", "three"] {
        let n = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], expected.as_bytes());
    }
}

#[tokio::test]
async fn datagrams_of_any_size_pass_and_keep_alives_do_not() {
    let (sockets, mut inbound, local) = bind(Transport::Udp, "127.0.0.1:0");
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(local).await.unwrap();
    for keep_alive in [&b""[..], b"\r\n\r\n", b"\0\0\0\0", b"\0\x01\0\0STUN"] {
        client.send(keep_alive).await.unwrap();
    }
    let large = vec![b'x'; 9000];
    client.send(&large).await.unwrap();
    let (flow, bytes) = message(&mut inbound).await;
    assert_eq!(bytes, large);
    sockets.send(Target::Flow(flow), None, bytes.into()).unwrap();
    let mut buffer = vec![0; 10_000];
    assert_eq!(client.recv(&mut buffer).await.unwrap(), 9000);
}

#[tokio::test]
async fn a_stun_request_on_the_sip_port_is_answered_from_the_address_it_came_to() {
    // RFC 5626 §3.5.2.
    for (bound, reached) in [("0.0.0.0:0", "127.0.0.2"), ("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let (_sockets, _inbound, local) = bind(Transport::Udp, bound);
        let ip: std::net::IpAddr = reached.parse().unwrap();
        let own = if ip.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let client = UdpSocket::bind(own).await.unwrap();
        client.connect(SocketAddr::new(ip, local.port())).await.unwrap();
        client.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl").await.unwrap();
        let mut buffer = [0; 100];
        let n = client.recv(&mut buffer).await.unwrap();
        assert_eq!((n, &buffer[..2]), (if ip.is_ipv4() { 32 } else { 44 }, &[1, 1][..]));
        let port = u16::from_be_bytes([buffer[26] ^ 0x21, buffer[27] ^ 0x12]);
        assert_eq!(port, client.local_addr().unwrap().port());
    }
}

#[tokio::test]
async fn a_stream_brings_messages_however_it_is_cut_and_answers_pings() {
    // RFC 3261 §18.3, RFC 5626 §3.5.1.
    let (sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    let mut peer = TcpStream::connect(local).await.unwrap();
    let (head, tail) = OPTIONS.split_at(30);
    peer.write_all(format!("{OPTIONS}\r\n\r\n{OPTIONS}{head}").as_bytes()).await.unwrap();
    let (flow, first) = message(&mut inbound).await;
    assert_eq!((flow.local, flow.remote), (local, peer.local_addr().unwrap()));
    assert_eq!(first, OPTIONS.as_bytes());
    assert_eq!(message(&mut inbound).await, (flow, OPTIONS.as_bytes().to_vec()));
    peer.write_all(tail.as_bytes()).await.unwrap();
    assert_eq!(message(&mut inbound).await, (flow, OPTIONS.as_bytes().to_vec()));

    sockets.send(Target::Flow(flow), None, wire("answer")).unwrap();
    let mut buffer = [0; 8];
    peer.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"\r\nanswer");

    drop(peer);
    assert_eq!(closed(&mut inbound).await.0, flow);
    assert_eq!(sockets.connections(), 0);
    let sent = sockets.send(Target::Flow(flow), None, wire("late"));
    assert!(matches!(sent, Err(SendError::Gone)), "{sent:?}");
}

#[tokio::test]
async fn pongs_are_told_where_a_ping_was_sent_and_only_there() {
    // RFC 5626 §3.5.1.
    let (sockets, mut inbound, _) = bind(Transport::Udp, "127.0.0.1:0");
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = tcp(peer.local_addr().unwrap());
    let nothing = sockets.send(target, None, wire("\r\n"));
    assert!(matches!(nothing, Err(SendError::Gone)), "a keep-alive opens nothing: {nothing:?}");
    sockets.send(target, None, wire("one")).unwrap();
    let (mut stream, _) = peer.accept().await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
    stream.write_all(OPTIONS.as_bytes()).await.unwrap();
    let (flow, _) = message(&mut inbound).await;
    for before in ["one", ""] {
        sockets.send(target, None, wire("\r\n\r\n")).unwrap();
        let mut came = vec![0; before.len() + 4];
        stream.read_exact(&mut came).await.unwrap();
        assert_eq!(came, format!("{before}\r\n\r\n").as_bytes());
        stream.write_all(b"\r\n").await.unwrap();
        let pong = Inbound::KeepAlive { flow, bytes: b"\r\n".to_vec() };
        assert_eq!(inbound.recv().await, Some(pong));
    }
    sockets.close(target);
    assert_eq!(closed(&mut inbound).await.0, flow);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn answers_by_stun_are_told() {
    let (_sockets, mut inbound, local) = bind(Transport::Udp, "127.0.0.1:0");
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let answer = b"\x01\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
    peer.send_to(answer, local).await.unwrap();
    match inbound.recv().await {
        Some(Inbound::KeepAlive { flow, bytes }) => {
            assert_eq!((flow.remote, &bytes[..]), (peer.local_addr().unwrap(), &answer[..]));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_is_opened_once_and_used_again_both_ways() {
    let (sockets, mut inbound, _) = bind(Transport::Udp, "127.0.0.1:0");
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = tcp(peer.local_addr().unwrap());
    sockets.send(target, None, wire("one")).unwrap();
    sockets.send(target, None, wire("two")).unwrap();
    let (mut stream, _) = peer.accept().await.unwrap();
    sockets.send(target, None, wire("three")).unwrap();
    let mut buffer = [0; 11];
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"onetwothree");
    assert_eq!(sockets.connections(), 1);
    stream.write_all(OPTIONS.as_bytes()).await.unwrap();
    let (flow, _) = message(&mut inbound).await;
    assert_eq!(flow.remote, peer.local_addr().unwrap());

    // Closed by the peer: the next message opens a new one.
    drop(stream);
    closed(&mut inbound).await;
    sockets.send(target, None, wire("four")).unwrap();
    let (mut stream, _) = peer.accept().await.unwrap();
    stream.read_exact(&mut buffer[..4]).await.unwrap();
    assert_eq!(&buffer[..4], b"four");
}

#[tokio::test]
async fn a_refused_connection_is_reported_with_its_target() {
    let (sockets, mut inbound, _) = bind(Transport::Udp, "127.0.0.1:0");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    sockets.send(tcp(nobody), None, wire("hello")).unwrap();
    match inbound.recv().await {
        Some(Inbound::Unreachable { target, .. }) => assert_eq!(target, tcp(nobody)),
        other => panic!("{other:?}"),
    }
    assert_eq!(sockets.connections(), 0);
}

#[tokio::test]
async fn a_peer_that_never_reads_loses_its_connection_and_nobody_else_waits() {
    let (sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    let mut deaf = TcpStream::connect(local).await.unwrap();
    deaf.write_all(OPTIONS.as_bytes()).await.unwrap();
    let (deaf_flow, _) = message(&mut inbound).await;
    let mut good = TcpStream::connect(local).await.unwrap();
    good.write_all(OPTIONS.as_bytes()).await.unwrap();
    let (good_flow, _) = message(&mut inbound).await;

    let large: Arc<[u8]> = vec![b'x'; limits::SIP_MESSAGE_BYTES].into();
    let mut buffer = [0; 2];
    // The kernel's buffers first, then the queue; each round the other peer is served.
    for round in 0.. {
        assert!(round < 10_000, "the queue has no bound");
        match sockets.send(Target::Flow(deaf_flow), None, large.clone()) {
            Ok(()) => {
                sockets.send(Target::Flow(good_flow), None, wire("ok")).unwrap();
                good.read_exact(&mut buffer).await.unwrap();
            }
            Err(SendError::TooSlow) => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert_eq!(closed(&mut inbound).await.0, deaf_flow);
    sockets.send(Target::Flow(good_flow), None, wire("ok")).unwrap();
    good.read_exact(&mut buffer).await.unwrap();
    assert_eq!(sockets.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_gets_nowhere_ends_at_its_deadline() {
    let (sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    let mut deaf = TcpStream::connect(local).await.unwrap();
    deaf.write_all(OPTIONS.as_bytes()).await.unwrap();
    let (flow, _) = message(&mut inbound).await;
    // More than the kernel takes, in few messages: the queue is not full.
    let large: Arc<[u8]> = vec![b'x'; 64 << 20].into();
    let started = tokio::time::Instant::now();
    sockets.send(Target::Flow(flow), None, large).unwrap();
    assert_eq!(closed(&mut inbound).await, (flow, "the peer does not read".to_owned()));
    assert!(started.elapsed() >= limits::SIP_WRITE_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_soon_before_its_first_message_and_late_after() {
    let (_sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    for (said, limit) in [
        ("", limits::SIP_MESSAGE_DEADLINE),
        ("OPTIONS", limits::SIP_MESSAGE_DEADLINE),
        (OPTIONS, limits::SIP_IDLE),
    ] {
        let started = tokio::time::Instant::now();
        let mut peer = TcpStream::connect(local).await.unwrap();
        peer.write_all(said.as_bytes()).await.unwrap();
        if said == OPTIONS {
            message(&mut inbound).await;
        }
        assert_eq!(closed(&mut inbound).await.1, "silent too long");
        let waited = started.elapsed();
        assert!(waited >= limit && waited < limit * 2, "{said:?}: {waited:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_framed_is_refused_in_words_and_the_connection_closed() {
    let (sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    for (length, status) in [("l: 99999999", "513"), ("l: -1", "400"), ("Subject: none", "400")] {
        let mut peer = TcpStream::connect(local).await.unwrap();
        peer.write_all(OPTIONS.replace("Content-Length: 0", length).as_bytes()).await.unwrap();
        sockets.release(&closed(&mut inbound).await.0);
        let mut answer = String::new();
        peer.shutdown().await.unwrap();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{length}: {answer}");
    }
    // Not SIP: closed without a word.
    let mut peer = TcpStream::connect(local).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(&mut inbound).await;
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "");
}

#[tokio::test]
async fn answers_to_what_came_before_a_framing_error_are_written_before_its_own() {
    // RFC 3261 §18.3: the error concerns the one message.
    let (sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    let mut peer = TcpStream::connect(local).await.unwrap();
    let broken = OPTIONS.replace("Content-Length: 0", "Content-Length: x");
    peer.write_all(format!("{OPTIONS}{OPTIONS}{broken}").as_bytes()).await.unwrap();
    // Larger than the kernel takes at once.
    let large = vec![b'x'; 8 << 20];
    for _ in 0..2 {
        let (flow, _) = message(&mut inbound).await;
        sockets.send(Target::Flow(flow), None, large.clone().into()).unwrap();
    }
    sockets.release(&closed(&mut inbound).await.0);
    assert_eq!(sockets.connections(), 0);
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).await.unwrap();
    assert!(heard[..16 << 20].iter().all(|b| *b == b'x'));
    assert!(heard[16 << 20..].starts_with(b"SIP/2.0 400 "));
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_hold_a_refused_connection_no_longer_than_a_write() {
    let (sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    let mut deaf = TcpStream::connect(local).await.unwrap();
    let broken = OPTIONS.replace("Content-Length: 0", "Content-Length: x");
    deaf.write_all(format!("{OPTIONS}{broken}").as_bytes()).await.unwrap();
    let (flow, _) = message(&mut inbound).await;
    sockets.send(Target::Flow(flow), None, vec![b'x'; 64 << 20].into()).unwrap();
    closed(&mut inbound).await;
    let started = tokio::time::Instant::now();
    while sockets.connections() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(started.elapsed() <= limits::SIP_WRITE_DEADLINE * 2);
}

#[tokio::test]
async fn a_port_in_use_is_said_with_transport_and_address() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (_sockets, _inbound, local) = bind(transport, "127.0.0.1:0");
        let error = Sockets::bind(&[(transport, local)], TlsSetup::default()).unwrap_err();
        assert_eq!((error.transport, error.address), (transport, local));
        assert_eq!(error.error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&local.to_string()), "{error}");
    }
}

#[tokio::test]
async fn dropping_the_sockets_closes_their_connections_and_frees_their_ports() {
    let (sockets, mut inbound, local) = bind(Transport::Tcp, "127.0.0.1:0");
    let mut peer = TcpStream::connect(local).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    message(&mut inbound).await;
    drop(sockets);
    assert_eq!(peer.read(&mut [0; 10]).await.unwrap(), 0);
    closed(&mut inbound).await;
    assert!(inbound.recv().await.is_none(), "every task has ended");
    Sockets::bind(&[(Transport::Tcp, local)], TlsSetup::default()).unwrap();
}

#[tokio::test]
async fn the_source_address_is_the_one_the_system_would_use() {
    let remote = "127.0.0.9:5060".parse().unwrap();
    assert_eq!(Sockets::source_towards(remote).unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)).ip());
}
