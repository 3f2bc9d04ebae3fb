//! Every message of RFC 4475 and RFC 5118 to the built binary, by UDP and TCP: what comes back on the wire.
//!
//! The machine is a network namespace, so that responses can go where the messages' Vias say (RFC 3261 §18.2.2).

use e2e::gateway::{PASSWORD, binary};
use e2e::launch::{Launched, fresh_dir};
use e2e::netns;
use e2e::ports::root;
use e2e::process::wait_for;
use e2e::rawsip::unique;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const LIMIT: Duration = Duration::from_secs(30);
/// One gateway for each transport: a message that came by the other would be a merged request.
const UDP: u16 = 15_060;
const TCP: u16 = 16_060;
/// The ports that the messages' Vias name, the default one first.
const VIA_PORTS: [u16; 5] = [5060, 5050, 5070, 6050, 19_823];

/// The final response, 0 for none. 401: it was understood, and whoever sends it is asked who they are. 405: understood, and
/// a method that we do not do. 501: one that nobody has heard of. 481: understood, and inside a dialog that does not exist.
const VERDICTS: &[(&str, u16)] = &[
    ("rfc4475/wsinv", 481),
    ("rfc4475/intmeth", 501),
    ("rfc4475/esc01", 401),
    ("rfc4475/escnull", 401),
    ("rfc4475/esc02", 501),
    ("rfc4475/lwsdisp", 200),
    ("rfc4475/longreq", 401),
    ("rfc4475/dblreq", 401),
    ("rfc4475/semiuri", 200),
    ("rfc4475/transports", 200),
    ("rfc4475/mpart01", 405),
    ("rfc4475/unreason", 0),
    ("rfc4475/noreason", 0),
    ("rfc4475/badinv01", 400),
    ("rfc4475/clerr", 400),
    ("rfc4475/ncl", 400),
    ("rfc4475/scalar02", 400),
    ("rfc4475/scalarlg", 0),
    ("rfc4475/quotbal", 400),
    ("rfc4475/ltgtruri", 400),
    ("rfc4475/lwsruri", 400),
    ("rfc4475/lwsstart", 400),
    ("rfc4475/trws", 400),
    ("rfc4475/escruri", 400),
    ("rfc4475/baddate", 401),
    ("rfc4475/regbadct", 400),
    ("rfc4475/badaspec", 400),
    ("rfc4475/baddn", 400),
    ("rfc4475/badvers", 505),
    ("rfc4475/mismatch01", 400),
    ("rfc4475/mismatch02", 400),
    ("rfc4475/bigcode", 0),
    ("rfc4475/badbranch", 200),
    ("rfc4475/insuf", 400),
    ("rfc4475/unkscm", 416),
    ("rfc4475/novelsc", 416),
    ("rfc4475/unksm2", 400),
    ("rfc4475/bext01", 420),
    ("rfc4475/invut", 415),
    ("rfc4475/regaut01", 401),
    ("rfc4475/multi01", 400),
    ("rfc4475/mcl01", 400),
    ("rfc4475/bcast", 0),
    ("rfc4475/zeromf", 200),
    ("rfc4475/cparam01", 401),
    ("rfc4475/cparam02", 401),
    ("rfc4475/regescrt", 401),
    ("rfc4475/sdp01", 406),
    ("rfc4475/inv2543", 401),
    ("rfc5118/4.1-ipv6-good", 401),
    ("rfc5118/4.2-ipv6-bad", 400),
    ("rfc5118/4.3-port-ambiguous", 401),
    ("rfc5118/4.4-port-unambiguous", 401),
    ("rfc5118/4.5-via-received-param-no-delim", 200),
    ("rfc5118/4.5-via-received-param-with-delim", 481),
    ("rfc5118/4.6-ipv6-in-sdp", 401),
    ("rfc5118/4.7-mult-ip-in-header", 481),
    ("rfc5118/4.8-mult-ip-in-sdp", 401),
    ("rfc5118/4.9-ipv4-mapped-ipv6", 401),
    ("rfc5118/4.10-ipv6-bug-abnf-3-colons", 200),
    ("rfc5118/4.10-ipv6-correct-abnf-2-colons", 200),
];

/// Where a stream makes a difference (RFC 3261 §18.3): none where more is waited for, 400 without a Content-Length.
const ON_STREAMS: &[(&str, u16)] = &[("rfc4475/clerr", 0), ("rfc4475/baddn", 0), ("rfc4475/inv2543", 400)];
/// Behind the body of its second request stands what is no message: a stream ends there, answered or not.
const DATAGRAM_ONLY: &str = "rfc4475/dblreq";
/// Those that are not whole on a stream: the gateway waits for the rest.
const CUT_SHORT: [&str; 2] = ["rfc4475/clerr", "rfc4475/baddn"];

fn vectors() -> PathBuf {
    root().join("crates/sip-ua/tests/vectors")
}

/// A message as its RFC prints it, but for branch and Call-ID, which several of them share: to one gateway they would be
/// repetitions and merged requests. A branch that is the cookie alone stays what it is.
fn bytes(name: &str) -> Vec<u8> {
    let mut text =
        std::fs::read(vectors().join(format!("{name}.dat"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    for mark in [&b"branch=z9hG4bK"[..], b"\nCall-ID: "] {
        let found = text.windows(mark.len()).position(|window| window == mark).map(|at| at + mark.len());
        if let Some(at) = found.filter(|at| text.get(*at).is_some_and(u8::is_ascii_alphanumeric)) {
            text.splice(at..at, unique("u").bytes());
        }
    }
    text
}

fn start(machine: &netns::Netns, sip: u16, http: u16) -> Launched {
    let dir = fresh_dir("torture");
    let toml = format!(
        "[http]\nlisten = \"127.0.0.1:{http}\"\n\
         [sip]\ndomain = \"example.com\"\nlisten = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\", \"udp:[::1]:{sip}\", \"tcp:[::1]:{sip}\"]\n\
         [media]\nwebrtc_port = {}\nrtp_ports = \"20000-20039\"\nworkers = 1\n\
         [[users]]\nname = \"alice\"\npassword = \"{PASSWORD}\"\n",
        http + 100
    );
    std::fs::write(dir.join("webtrunk.toml"), toml).expect("configuration written");
    let mut command = machine.command(&binary());
    command.args(["run", "--config"]).arg(dir.join("webtrunk.toml")).current_dir(dir);
    Launched::spawn(&mut command)
}

fn status(response: &str) -> Option<u16> {
    response.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
}

/// An OPTIONS that is always answered: whatever came before it has been answered then.
fn last_word(transport: &str) -> (String, String) {
    let call_id = unique("last");
    let text = format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;branch={};rport\r\n\
         From: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        unique("z9hG4bK")
    );
    (text, call_id)
}

/// What must stand beside a status for a person or a program to act on it.
fn explains_itself(name: &str, response: &str) -> Result<(), String> {
    let field = match status(response) {
        Some(401) => "WWW-Authenticate: ",
        Some(405 | 501) => "Allow: ",
        Some(415) => "Accept: ",
        Some(420) => "Unsupported: ",
        Some(400) if response.starts_with("SIP/2.0 400 Bad Request\r\n") => "a phrase of its own",
        _ => "Via: ",
    };
    let via = name == "rfc4475/badinv01" || response.contains("\r\nVia: ");
    let found = via && response.contains(field);
    found.then_some(()).ok_or_else(|| format!("{name}: no `{field}` in {response}"))
}

/// The new final responses to one datagram.
fn by_udp(sockets: &[UdpSocket], seen: &mut HashSet<String>, message: &[u8]) -> Vec<String> {
    let to = SocketAddr::new(sockets[0].local_addr().expect("bound").ip(), UDP);
    let (last, call_id) = last_word("UDP");
    sockets[0].send_to(message, to).expect("a datagram");
    sockets[0].send_to(last.as_bytes(), to).expect("a datagram");
    let (mut all, until) = (Vec::new(), Instant::now() + LIMIT);
    let mut buffer = vec![0; 65_536];
    let mut done = false;
    while !done {
        assert!(Instant::now() < until, "the gateway answers nothing any more");
        for socket in sockets {
            while let Ok(size) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
                if text.contains(&call_id) {
                    done = true;
                // A final response to an INVITE is repeated until its ACK, which never comes.
                } else if seen.insert(text.clone()) && status(&text).is_some_and(|s| s >= 200) {
                    all.push(text);
                }
            }
        }
    }
    all
}

/// The first final response on a connection; none if only the last word is answered, or nothing.
fn by_tcp(to: IpAddr, message: &[u8], expected: u16, cut_short: bool) -> Vec<String> {
    let mut stream = TcpStream::connect((to, TCP)).expect("the gateway listens");
    let limit = if cut_short { Duration::from_millis(500) } else { LIMIT };
    stream.set_read_timeout(Some(limit)).expect("timeout");
    stream.write_all(message).expect("the gateway reads");
    let (last, call_id) = last_word("TCP");
    if expected == 0 && !cut_short {
        stream.write_all(last.as_bytes()).expect("the gateway reads on");
    }
    let (mut text, mut buffer) = (String::new(), [0; 65_536]);
    loop {
        let starts = text.match_indices("SIP/2.0 ").map(|(at, _)| at);
        let responses = starts.filter(|at| *at == 0 || text[..*at].ends_with("\r\n")).map(|at| &text[at..]);
        let whole = responses
            .filter_map(|one| one.split_once("\r\n\r\n").map(|(head, _)| head.to_owned() + "\r\n\r\n"));
        if let Some(first) = whole.into_iter().find(|one| status(one).is_some_and(|s| s >= 200)) {
            return if first.contains(&call_id) { Vec::new() } else { vec![first] };
        }
        match stream.read(&mut buffer) {
            Ok(size) if size > 0 => text += &String::from_utf8_lossy(&buffer[..size]),
            Ok(_) | Err(_) => return Vec::new(),
        }
    }
}

/// Sockets where responses go.
fn listening(ip: IpAddr) -> [UdpSocket; VIA_PORTS.len()] {
    VIA_PORTS.map(|port| {
        let socket = UdpSocket::bind((ip, port)).expect("a free port: the machine is our own");
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("timeout");
        socket
    })
}

#[test]
fn every_torture_message_of_rfc_4475_and_rfc_5118_gets_its_verdict_on_the_wire() {
    let [machine, _other] = netns::pair();
    let mut gateways = [start(&machine, UDP, 8080), start(&machine, TCP, 8090)];
    let files =
        ["rfc4475", "rfc5118"].map(|dir| std::fs::read_dir(vectors().join(dir)).expect("vectors").count());
    assert_eq!(files.iter().sum::<usize>(), VERDICTS.len(), "a verdict for each message");
    let wrong = machine.inside(|| {
        for port in [UDP, TCP] {
            wait_for(LIMIT, "the gateway listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        }
        let [sockets, sockets_v6] = [V4, V6].map(listening);
        let mut wrong = Vec::new();
        let mut judge = |name: &str, how: &str, expected: u16, responses: Vec<String>| {
            let got: Vec<u16> = responses.iter().filter_map(|one| status(one)).collect();
            let right = if expected == 0 { got.is_empty() } else { got == [expected] };
            if !right {
                wrong.push(format!("{name} by {how}: {got:?}, expected {expected}"));
            }
            wrong.extend(responses.iter().filter_map(|one| explains_itself(name, one).err()));
        };
        let mut seen = HashSet::new();
        for (name, expected) in VERDICTS {
            judge(name, "UDP", *expected, by_udp(&sockets, &mut seen, &bytes(name)));
            if *name == DATAGRAM_ONLY {
                continue;
            }
            let on_stream = ON_STREAMS.iter().find(|one| one.0 == *name);
            let expected = on_stream.map_or(*expected, |one| one.1);
            let cut_short = CUT_SHORT.contains(name);
            judge(name, "TCP", expected, by_tcp(V4, &bytes(name), expected, cut_short));
            if name.starts_with("rfc5118/") {
                judge(name, "UDP over IPv6", expected, by_udp(&sockets_v6, &mut seen, &bytes(name)));
                judge(name, "TCP over IPv6", expected, by_tcp(V6, &bytes(name), expected, cut_short));
            }
        }
        wrong
    });
    assert!(gateways.iter_mut().all(Launched::runs));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
