//! A carrier of the tests' own: one UDP socket that speaks just enough SIP (RFC 3261) to be called, to call, and to be
//! asked afterwards what was said. No line of it is shared with the gateway. It answers BYE, CANCEL and OPTIONS by itself.

use crate::ports::free_ports;
use crate::process::wait_for;
use crate::rtp::RtpParty;
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the gateway may take for an answer.
const SOON: Duration = Duration::from_secs(30);

/// A SIP message that arrived.
#[derive(Clone, Debug)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// SDP, or nothing.
    pub body: String,
    /// Who sent it.
    pub from: SocketAddr,
}

impl Message {
    /// Reads one message; none if it is not text with a head.
    pub fn parse(bytes: &[u8], from: SocketAddr) -> Option<Message> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().into())).collect();
        Some(Message { start, headers, body: body.to_owned(), from })
    }

    /// First value of a header; empty without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|header| header.0 == name).map_or("", |header| &header.1)
    }

    /// Status of a response; none for a request.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// Whether it is this request.
    pub fn is(&self, method: &str) -> bool {
        self.start.split(' ').next() == Some(method)
    }

    /// User part of the Request-URI.
    pub fn number(&self) -> &str {
        self.start.split(' ').nth(1).and_then(|uri| uri.split([':', '@']).nth(1)).unwrap_or("")
    }

    /// Where its SDP wants audio.
    pub fn audio(&self) -> SocketAddr {
        let value = |begin: &str| self.body.lines().find_map(|line| line.strip_prefix(begin));
        let ip = value("c=IN IP4 ").or_else(|| value("c=IN IP6 ")).expect("c= with an address");
        let ip = ip.trim().parse().expect("an address");
        let port = value("m=audio ").and_then(|rest| rest.split(' ').next()).expect("m=audio");
        SocketAddr::new(ip, port.parse().expect("a port"))
    }

    fn reply(&self, status: &str, tag: &str, contact: u16, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in &self.headers {
            match name.as_str() {
                "via" | "from" | "call-id" | "cseq" | "record-route" => {
                    text += &format!("{name}: {value}\r\n")
                }
                "to" if value.contains("tag=") => text += &format!("to: {value}\r\n"),
                "to" => text += &format!("to: {value};tag={tag}\r\n"),
                _ => {}
            }
        }
        text + &ending(contact, body)
    }
}

fn ending(contact: u16, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let length = body.len();
    format!("Contact: <sip:carrier@127.0.0.1:{contact}>\r\n{kind}Content-Length: {length}\r\n\r\n{body}")
}

/// How a party puts a call on hold, or how it is when it does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Media {
    /// Both ways.
    Both,
    /// `a=sendonly` (RFC 3264 §8.4).
    SendOnly,
    /// `a=inactive`.
    Inactive,
    /// `c=0.0.0.0` for the session, as RFC 2543 did it.
    NullSession,
    /// The same below the `m=` line.
    NullMedia,
}

impl Media {
    /// Every form of hold.
    pub const HOLDS: [Media; 4] = [Media::SendOnly, Media::Inactive, Media::NullSession, Media::NullMedia];

    /// A later description of the party on this port.
    fn described(self, rtp_port: u16, version: u32) -> String {
        let talk = sdp(rtp_port).replace("o=carrier 1 1 ", &format!("o=carrier 1 {version} "));
        match self {
            Media::Both => talk + "a=sendrecv\r\n",
            Media::SendOnly => talk + "a=sendonly\r\n",
            Media::Inactive => talk + "a=inactive\r\n",
            Media::NullSession => talk.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"),
            Media::NullMedia => talk.replace("a=rtpmap:0 ", "c=IN IP4 0.0.0.0\r\na=rtpmap:0 "),
        }
    }
}

fn sdp(rtp_port: u16) -> String {
    format!(
        "v=0\r\no=carrier 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {rtp_port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\na=ptime:20\r\n"
    )
}

fn uri_of(contact: &str) -> &str {
    contact.split(['<', '>']).nth(1).unwrap_or(contact)
}

/// The carrier.
pub struct Trunk {
    /// Its SIP port on 127.0.0.1.
    pub port: u16,
    line: Line,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    taken: usize,
}

#[derive(Clone)]
struct Line {
    socket: Arc<UdpSocket>,
    seen: Arc<Mutex<Vec<Message>>>,
    port: u16,
}

impl Line {
    fn send(&self, text: &str, to: SocketAddr) {
        self.socket.send_to(text.as_bytes(), to).expect("a datagram on loopback");
    }

    fn seen(&self) -> Vec<Message> {
        self.seen.lock().expect("reader").clone()
    }

    fn branch() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        format!("z9hG4bKe2e{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    fn tag(&self) -> String {
        format!("e2e{}", self.port)
    }

    /// What must be answered whatever the test is doing.
    fn answer_by_itself(&self, message: &Message) {
        if message.is("BYE") || message.is("CANCEL") || message.is("OPTIONS") {
            self.send(&message.reply("200 OK", &self.tag(), self.port, ""), message.from);
        }
        if message.is("CANCEL") {
            let seen = self.seen();
            let call = message.header("call-id");
            let invite = seen.iter().find(|one| one.is("INVITE") && one.header("call-id") == call);
            if let Some(invite) = invite {
                let text = invite.reply("487 Request Terminated", &self.tag(), self.port, "");
                self.send(&text, message.from);
            }
        }
    }
}

impl Trunk {
    /// Listens on a free port.
    pub fn start() -> Trunk {
        let port = free_ports(2);
        let socket = UdpSocket::bind(("127.0.0.1", port)).expect("free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        let line = Line { socket: Arc::new(socket), seen: Arc::new(Mutex::new(Vec::new())), port };
        let stop = Arc::new(AtomicBool::new(false));
        let (reading, until) = (line.clone(), stop.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while !until.load(Ordering::Relaxed) {
                let Ok((size, from)) = reading.socket.recv_from(&mut buffer) else { continue };
                let Some(message) = Message::parse(&buffer[..size], from) else { continue };
                reading.answer_by_itself(&message);
                reading.seen.lock().expect("reader").push(message);
            }
        });
        Trunk { port, line, stop, reader: Some(reader), taken: 0 }
    }

    /// Everything that arrived.
    pub fn seen(&self) -> Vec<Message> {
        self.line.seen()
    }

    /// Waits for the next new call and says 100.
    pub fn wait_call(&mut self, limit: Duration) -> Call {
        let next = || {
            let mut calls: Vec<Message> = Vec::new();
            for invite in self.line.seen().into_iter().filter(|one| one.is("INVITE")) {
                if calls.iter().all(|known| known.header("call-id") != invite.header("call-id")) {
                    calls.push(invite);
                }
            }
            calls.get(self.taken).cloned()
        };
        let invite = wait_for(limit, "an INVITE at the carrier", next);
        self.taken += 1;
        let (line, call_id) = (self.line.clone(), invite.header("call-id").into());
        let call = Call { line, call_id, invite, cseq: Cell::new(0) };
        call.reply("100 Trying", "");
        call
    }

    /// Calls `number` at the gateway on this SIP port, as a caller with this display name and number.
    pub fn call(&self, sip: u16, number: &str, from: (&str, &str), rtp_port: u16) -> Outgoing {
        self.call_with(sip, number, from, &sdp(rtp_port))
    }

    /// The same without a description (field problem 15).
    pub fn call_without_offer(&self, sip: u16, number: &str, from: (&str, &str)) -> Outgoing {
        self.call_with(sip, number, from, "")
    }

    fn call_with(&self, sip: u16, number: &str, from: (&str, &str), offer: &str) -> Outgoing {
        let to = SocketAddr::from(([127, 0, 0, 1], sip));
        let call = Outgoing {
            line: self.line.clone(),
            gateway: to,
            call_id: format!("{}@e2e", Line::branch()),
            branch: Line::branch(),
            uri: format!("sip:{number}@127.0.0.1:{sip}"),
            from: format!("\"{}\" <sip:{}@127.0.0.1:{}>;tag={}", from.0, from.1, self.port, self.line.tag()),
            cseq: 1,
        };
        let to_header = format!("<{}>", call.uri);
        let invite = call.request("INVITE", &call.uri, &to_header, &call.branch, offer);
        self.line.send(&invite, to);
        call
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        if std::thread::panicking() {
            for message in self.line.seen() {
                eprintln!("carrier saw {} {}", message.start, message.header("cseq"));
            }
        }
    }
}

/// A call that the gateway made to the carrier.
pub struct Call {
    /// The INVITE as it first came.
    pub invite: Message,
    line: Line,
    call_id: String,
    cseq: Cell<u32>,
}

impl Call {
    /// A request of ours within the call, with the next number or the last one.
    fn request(&self, method: &str, body: &str) -> String {
        let invite = &self.invite;
        if method != "ACK" {
            self.cseq.set(self.cseq.get() + 1);
        }
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{};branch={}\r\nMax-Forwards: 70\r\nFrom: {};tag={}\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n{}",
            uri_of(invite.header("contact")),
            self.line.port,
            Line::branch(),
            invite.header("to"),
            self.line.tag(),
            invite.header("from"),
            self.call_id,
            self.cseq.get(),
            ending(self.line.port, body)
        )
    }

    /// A re-INVITE with this description; waits for its 200, acknowledges it, and returns it.
    pub fn reinvite(&self, party: &RtpParty, media: Media) -> Message {
        let offer = media.described(party.port, 2 + self.cseq.get());
        self.line.send(&self.request("INVITE", &offer), self.invite.from);
        let answer = self.wait_answer();
        self.line.send(&self.request("ACK", ""), self.invite.from);
        answer
    }

    /// A re-INVITE without a description: the offer in its 200 is answered with this in the ACK (RFC 3261 §14.2).
    pub fn reinvite_without_offer(&self, party: &RtpParty, media: Media) -> Message {
        self.line.send(&self.request("INVITE", ""), self.invite.from);
        let offer = self.wait_answer();
        let answer = media.described(party.port, 2 + self.cseq.get());
        self.line.send(&self.request("ACK", &answer), self.invite.from);
        offer
    }

    fn wait_answer(&self) -> Message {
        let cseq = format!("{} INVITE", self.cseq.get());
        let fits = |one: &Message| {
            one.status() == Some(200)
                && one.header("call-id") == self.call_id
                && one.header("cseq") == cseq
                && one.header("from").contains(&self.line.tag())
        };
        wait_for(SOON, "200 for the re-INVITE", || self.line.seen().into_iter().find(fits))
    }

    fn reply(&self, status: &str, body: &str) {
        let text = self.invite.reply(status, &self.line.tag(), self.line.port, body);
        self.line.send(&text, self.invite.from);
    }

    /// A response of one of several phones behind the carrier, each with a To-tag of its own (RFC 3261 §19.3).
    pub fn fork(&self, tag: &str, status: &str, party: &mut RtpParty) {
        party.peer = Some(self.invite.audio());
        self.line.send(&self.invite.reply(status, tag, self.line.port, &sdp(party.port)), self.invite.from);
    }

    /// Waits for a request in the dialog of this fork.
    pub fn wait_fork(&self, method: &str, tag: &str) -> Message {
        let fits = |one: &Message| {
            one.is(method)
                && one.header("call-id") == self.call_id
                && one.header("to").ends_with(&format!("tag={tag}"))
        };
        wait_for(SOON, &format!("{method} for {tag}"), || self.line.seen().into_iter().find(fits))
    }

    /// 180 without media.
    pub fn ring(&self) {
        self.reply("180 Ringing", "");
    }

    /// 183 with SDP: the party's audio is to be heard before the answer.
    pub fn early_media(&self, party: &mut RtpParty) {
        party.peer = Some(self.invite.audio());
        self.reply("183 Session Progress", &sdp(party.port));
    }

    /// 200 with SDP; waits for the ACK.
    pub fn answer(&self, party: &mut RtpParty) {
        party.peer = Some(self.invite.audio());
        self.reply("200 OK", &sdp(party.port));
        self.wait("ACK", SOON);
    }

    /// A final refusal, e.g. `486 Busy Here`; waits for the ACK.
    pub fn refuse(&self, status: &str) {
        self.reply(status, "");
        self.wait("ACK", SOON);
    }

    /// Waits until the gateway has sent this request within the call.
    pub fn wait(&self, method: &str, limit: Duration) -> Message {
        let fits = |one: &Message| one.is(method) && one.header("call-id") == self.call_id;
        wait_for(limit, &format!("{method} at the carrier"), || self.line.seen().into_iter().find(fits))
    }

    /// BYE; waits for its 200.
    pub fn hang_up(&self) {
        let text = self.request("BYE", "");
        self.line.send(&text, self.invite.from);
        wait_status(&self.line, &self.call_id, "BYE", 200, SOON);
    }
}

fn wait_status(line: &Line, call_id: &str, method: &str, status: u16, limit: Duration) -> Message {
    let fits = |one: &Message| {
        one.status() == Some(status)
            && one.header("call-id") == call_id
            && one.header("cseq").ends_with(method)
    };
    wait_for(limit, &format!("{status} for {method} at the carrier"), || line.seen().into_iter().find(fits))
}

/// A call that the carrier made to the gateway.
pub struct Outgoing {
    line: Line,
    gateway: SocketAddr,
    call_id: String,
    branch: String,
    uri: String,
    from: String,
    cseq: u32,
}

impl Outgoing {
    fn request(&self, method: &str, uri: &str, to: &str, branch: &str, body: &str) -> String {
        let (port, from, call_id, cseq) = (self.line.port, &self.from, &self.call_id, self.cseq);
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{}",
            ending(port, body)
        )
    }

    /// Waits for this response to the INVITE.
    pub fn wait(&self, status: u16, limit: Duration) -> Message {
        wait_status(&self.line, &self.call_id, "INVITE", status, limit)
    }

    /// Waits for the answer and acknowledges it.
    pub fn wait_answer(&self, party: &mut RtpParty, limit: Duration) -> Message {
        let answer = self.wait(200, limit);
        party.peer = Some(answer.audio());
        let (uri, to) = (uri_of(answer.header("contact")), answer.header("to"));
        self.line.send(&self.request("ACK", uri, to, &Line::branch(), ""), self.gateway);
        answer
    }

    /// Waits for the 200 that holds the gateway's offer, and answers it in the ACK (RFC 3261 §13.2.2.4).
    pub fn wait_offer(&self, party: &mut RtpParty, limit: Duration) -> Message {
        let offer = self.wait(200, limit);
        party.peer = Some(offer.audio());
        let (uri, to) = (uri_of(offer.header("contact")), offer.header("to"));
        let ack = self.request("ACK", uri, to, &Line::branch(), &sdp(party.port));
        self.line.send(&ack, self.gateway);
        offer
    }

    /// Waits for this refusal and acknowledges it.
    pub fn wait_refusal(&self, status: u16, limit: Duration) -> Message {
        let refusal = self.wait(status, limit);
        self.line.send(&self.request("ACK", &self.uri, refusal.header("to"), &self.branch, ""), self.gateway);
        refusal
    }

    /// Gives up while it rings; waits for the 487.
    pub fn cancel(&self) {
        let to = format!("<{}>", self.uri);
        self.line.send(&self.request("CANCEL", &self.uri, &to, &self.branch, ""), self.gateway);
        self.wait_refusal(487, SOON);
    }

    /// Hangs up after the answer; waits for the 200.
    pub fn hang_up(&mut self) {
        let answer = self.wait(200, SOON);
        self.cseq += 1;
        let (uri, to) = (uri_of(answer.header("contact")), answer.header("to"));
        self.line.send(&self.request("BYE", uri, to, &Line::branch(), ""), self.gateway);
        wait_status(&self.line, &self.call_id, "BYE", 200, SOON);
    }

    /// Waits until the gateway hangs up.
    pub fn wait_bye(&self, limit: Duration) -> Message {
        let fits = |one: &Message| one.is("BYE") && one.header("call-id") == self.call_id;
        wait_for(limit, "BYE at the carrier", || self.line.seen().into_iter().find(fits))
    }
}
