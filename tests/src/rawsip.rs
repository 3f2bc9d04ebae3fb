//! SIP by hand over UDP from any address: registers with digest (RFC 7616, MD5), is called, and says what a test wants.

use crate::trunk::Message;
use md5::{Digest as _, Md5};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest time for what should come at once.
const SOON: Duration = Duration::from_secs(30);

/// One UDP socket.
pub struct RawSip {
    socket: UdpSocket,
    /// Where it is.
    pub local: SocketAddr,
    peer: SocketAddr,
    waiting: VecDeque<Message>,
}

fn hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token that no other call of this function gives.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A parameter of a challenge, without its quotes.
fn parameter<'a>(challenge: &'a str, name: &str) -> &'a str {
    let found = challenge.split([',', ' ']).find_map(|one| one.trim().strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or("").trim_matches('"')
}

impl RawSip {
    /// Binds `local` (port 0: any) to talk to `peer`.
    pub fn bind(local: SocketAddr, peer: SocketAddr) -> RawSip {
        let socket = UdpSocket::bind(local).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let local = socket.local_addr().expect("bound");
        RawSip { socket, local, peer, waiting: VecDeque::new() }
    }

    /// Any port of this address.
    pub fn at(ip: IpAddr, peer: SocketAddr) -> RawSip {
        RawSip::bind(SocketAddr::new(ip, 0), peer)
    }

    /// The same socket, talking to another peer.
    pub fn towards(self, peer: SocketAddr) -> RawSip {
        RawSip { peer, ..self }
    }

    /// The socket itself, for what is no SIP.
    pub fn socket(&self) -> UdpSocket {
        self.socket.try_clone().expect("the same socket")
    }

    /// Sends these bytes as one datagram.
    pub fn send(&self, bytes: &[u8]) {
        self.send_to(bytes, self.peer);
    }

    /// Sends these bytes as one datagram somewhere else.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        self.socket.send_to(bytes, to).expect("a datagram");
    }

    /// Waits for the first message that fits, among those not taken yet, and takes it.
    pub fn wait(&mut self, what: &str, limit: Duration, fits: impl Fn(&Message) -> bool) -> Message {
        let until = Instant::now() + limit;
        let mut buffer = [0; 8192];
        loop {
            if let Some(at) = self.waiting.iter().position(&fits) {
                return self.waiting.remove(at).expect("found");
            }
            let seen: Vec<&str> = self.waiting.iter().map(|message| message.start.as_str()).collect();
            assert!(Instant::now() < until, "no {what} within {limit:?}, but {seen:?}");
            if let Ok((size, from)) = self.socket.recv_from(&mut buffer)
                && let Some(message) = Message::parse(&buffer[..size], from)
            {
                self.waiting.push_back(message);
            }
        }
    }

    /// Waits for a request of this method.
    pub fn wait_request(&mut self, method: &str) -> Message {
        self.wait(method, SOON, |message| message.is(method))
    }

    /// Answers a request, in a dialog of ours, with these further header lines.
    pub fn reply(&self, request: &Message, status: &str, headers: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in &request.headers {
            match name.as_str() {
                "via" | "from" | "call-id" | "cseq" => text += &format!("{name}: {value}\r\n"),
                "to" if value.contains("tag=") => text += &format!("to: {value}\r\n"),
                "to" => text += &format!("to: {value};tag=raw{}\r\n", self.local.port()),
                _ => {}
            }
        }
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        text += &format!("{headers}{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        self.send(text.as_bytes());
    }

    /// A REGISTER for `user`, with these further header lines.
    pub fn register_text(&self, user: &str, call_id: &str, cseq: u32, headers: &str) -> String {
        let (local, host) = (self.local, self.peer);
        format!(
            "REGISTER sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{host}>;tag=r{cseq}\r\nTo: <sip:{user}@{host}>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:{user}@{local}>\r\nExpires: 60\r\n{headers}Content-Length: 0\r\n\r\n",
            unique("z9hG4bK")
        )
    }

    /// The digest answer to a 401, as a header line.
    pub fn authorization(&self, refusal: &Message, user: &str, password: &str) -> String {
        let challenges = refusal.headers.iter().filter(|header| header.0 == "www-authenticate");
        let md5 = |value: &&str| matches!(parameter(value, "algorithm"), "" | "MD5");
        let challenge = challenges.map(|header| header.1.as_str()).find(md5).expect("a challenge for MD5");
        let (realm, nonce) = (parameter(challenge, "realm"), parameter(challenge, "nonce"));
        let uri = format!("sip:{}", self.peer);
        let (ha1, ha2) = (hex(&format!("{user}:{realm}:{password}")), hex(&format!("REGISTER:{uri}")));
        let response = hex(&format!("{ha1}:{nonce}:00000001:c0ffee:auth:{ha2}"));
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c0ffee\", response=\"{response}\"\r\n"
        )
    }

    /// Registers; the last answer, and how long it took after the digest was sent.
    pub fn register(&mut self, user: &str, password: &str) -> (Message, Duration) {
        let call_id = unique("raw");
        self.send(self.register_text(user, &call_id, 1, "").as_bytes());
        let refusal = self.wait("401", SOON, |m| m.status() == Some(401) && m.header("call-id") == call_id);
        let digest = self.authorization(&refusal, user, password);
        let begun = Instant::now();
        self.send(self.register_text(user, &call_id, 2, &digest).as_bytes());
        let last = |m: &Message| m.status().is_some_and(|s| s >= 200) && m.header("cseq").starts_with('2');
        let answer =
            self.wait("an answer to the digest", SOON, |m| last(m) && m.header("call-id") == call_id);
        (answer, begun.elapsed())
    }
}
