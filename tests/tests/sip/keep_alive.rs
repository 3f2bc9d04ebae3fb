//! Our own keep-alives towards registrars made by hand (RFC 5626 §3.5 and §4.4, RFC 6223).

use e2e::gateway::{Gateway, Setup};
use e2e::rawsip::RawSip;
use e2e::trunk::Message;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// A gateway that registers at this server; these keys stand in the trunk's table.
fn registering(server: &str, keys: &str) -> Gateway {
    let toml = format!(
        "[[trunks]]\nname = \"carrier\"\nserver = \"{server}\"\nusername = \"u\"\npassword = \"p\"\nregister = true\n{keys}\n"
    );
    Gateway::run(&Setup { toml, ..Setup::default() })
}

/// 200 to a REGISTER with these lines; `keep`: the value that the Via parameter gets.
fn accepted(register: &Message, keep: &str, lines: &str) -> String {
    let field = |name: &str| register.header(name).to_owned();
    let via = field("via").replace(";keep", &format!(";keep{keep}"));
    format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {}\r\nTo: {};tag=r\r\nCall-ID: {}\r\nCSeq: {}\r\nExpires: 600\r\n{lines}\
         Content-Length: 0\r\n\r\n",
        field("from"),
        field("to"),
        field("call-id"),
        field("cseq")
    )
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(LIMIT)).expect("timeout");
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(end) {
        let size = stream.read(&mut byte).expect("more within the limit");
        assert_eq!(size, 1, "closed after {:?}", String::from_utf8_lossy(&all));
        all.push(byte[0]);
    }
    all
}

fn register_over(listener: &TcpListener) -> (TcpStream, Message) {
    let (mut stream, from) = listener.accept().expect("the gateway connects");
    let text = read_until(&mut stream, b"\r\n\r\n");
    let register = Message::parse(&text, from).expect("a message");
    assert!(register.is("REGISTER"), "{register:?}");
    (stream, register)
}

/// Takes ten seconds: so long has a pong (RFC 5626 §4.4.1).
#[test]
fn a_registrar_over_tcp_that_stops_answering_pings_is_registered_with_over_a_new_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let _gateway = registering(&format!("tcp:127.0.0.1:{port}"), "outbound = true");
    let (mut stream, register) = register_over(&listener);
    let agreed = accepted(&register, "", "Require: outbound\r\nFlow-Timer: 2\r\n");
    stream.write_all(agreed.as_bytes()).expect("written");
    for _ in 0..2 {
        assert_eq!(read_until(&mut stream, b"\r\n\r\n"), b"\r\n\r\n");
        stream.write_all(b"\r\n").expect("a pong");
    }
    assert_eq!(read_until(&mut stream, b"\r\n\r\n"), b"\r\n\r\n");
    let asked = Instant::now();
    assert_eq!(stream.read(&mut [0]).expect("closed"), 0, "closed by the gateway");
    assert!(asked.elapsed() > Duration::from_secs(9), "after {:?}", asked.elapsed());
    let (_again, renewed) = register_over(&listener);
    assert_eq!(renewed.header("call-id"), register.header("call-id"));
}

#[test]
fn a_registrar_over_tcp_that_agreed_to_nothing_hears_line_ends_and_owes_no_answer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let _gateway = registering(&format!("tcp:127.0.0.1:{port}"), "keep_alive = 1");
    let (mut stream, register) = register_over(&listener);
    stream.write_all(accepted(&register, "", "").as_bytes()).expect("written");
    for _ in 0..3 {
        assert_eq!(read_until(&mut stream, b"\r\n"), b"\r\n");
    }
}

#[test]
fn a_registrar_over_udp_is_asked_by_stun_where_it_agreed_and_hears_line_ends_where_not() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for (keep, stun) in [("=2", true), ("", false)] {
        let mut carrier = RawSip::at(Ipv4Addr::LOCALHOST.into(), any);
        let socket = carrier.socket();
        let gateway = registering(&carrier.local.to_string(), "keep_alive = 1");
        let register = carrier.wait_request("REGISTER");
        let us = SocketAddr::from((Ipv4Addr::LOCALHOST, gateway.sip));
        carrier.send_to(accepted(&register, keep, "").as_bytes(), us);
        drop(carrier);
        for _ in 0..2 {
            let (bytes, from) = datagram(&socket);
            assert_eq!(from, us);
            if stun {
                assert_eq!(bytes[..8], [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
                socket.send_to(&bound(&bytes, us), us).expect("an answer");
            } else {
                assert_eq!(bytes, b"\r\n");
            }
        }
    }
}

fn datagram(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    socket.set_read_timeout(Some(LIMIT)).expect("timeout");
    let mut buffer = [0; 2048];
    let (size, from) = socket.recv_from(&mut buffer).expect("a keep-alive");
    (buffer[..size].to_vec(), from)
}

/// A success response with XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
fn bound(request: &[u8], at: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(at) = at else { panic!("127.0.0.1 is IPv4") };
    let cookie = [0x21, 0x12, 0xa4, 0x42];
    let masked = |bytes: &[u8]| bytes.iter().zip(cookie).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
    let (port, ip) = (masked(&at.port().to_be_bytes()), masked(&at.ip().octets()));
    [&[1, 1, 0, 12], &request[4..20], &[0, 0x20, 0, 8, 0, 1], &port[..], &ip[..]].concat()
}
