//! Bare HTTP/1.1 requests: with exactly the headers that a test wants, and no other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, as far as it came.
    pub body: String,
}

impl Answer {
    /// First value of a header; empty without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|header| header.0 == name).map_or("", |header| &header.1)
    }
}

/// Sends a GET with these headers and reads the answer; of an upgrade only its head.
pub fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(to).expect("the HTTP port is open");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("the gateway reads");
    let mut answer = Vec::new();
    let mut chunk = [0; 8192];
    while !is_complete(&answer) {
        let size = stream.read(&mut chunk).expect("an answer within 5 s");
        assert!(size > 0, "cut off after {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&chunk[..size]);
    }
    parse(&String::from_utf8_lossy(&answer))
}

/// Whether the head and as many bytes as it announces are there; an upgrade announces none.
fn is_complete(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length = length.map_or(0, |text| text.trim().parse().expect("a length"));
    answer.len() >= end + 4 + length
}

/// GET as a browser at that address does it.
pub fn get_page(to: SocketAddr, path: &str) -> Answer {
    get(to, path, &[("Host", &to.to_string())])
}

/// Asks for a WebSocket; the answer's head.
pub fn upgrade(to: SocketAddr, host: &str, origin: Option<&str>) -> Answer {
    let mut headers = vec![
        ("Host", host),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "webtrunk.v1"),
    ];
    headers.extend(origin.map(|origin| ("Origin", origin)));
    get(to, "/ws", &headers)
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Answer { status: status.expect("a status"), headers, body: body.to_owned() }
}
