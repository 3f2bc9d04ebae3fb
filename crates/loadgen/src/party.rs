//! The SIP side of all SIP parties: one UDP socket that answers every INVITE at once.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use crate::Fallible;
use crate::sdp::{self, Codec};

/// The parties' SIP.
pub struct Parties {
    socket: UdpSocket,
    port: u16,
}

/// A call that arrived.
pub struct Invited {
    /// The number that was called.
    pub number: String,
    /// Where the party's media goes, and with which payload type.
    pub media: (SocketAddrV4, u8),
}

impl Parties {
    /// Listens.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Fallible<Parties> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        Ok(Parties { socket, port })
    }

    /// Their SIP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers what is there; calls that arrived. Each is answered with this media.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn turn(&self, media: SocketAddrV4, codec: Codec) -> Fallible<Vec<Invited>> {
        let mut arrived = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let (size, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(arrived),
                Err(error) => return Err(error.into()),
            };
            let Some(request) = std::str::from_utf8(&buffer[..size]).ok().and_then(Request::parse) else {
                continue;
            };
            let answer = match request.method {
                "INVITE" => {
                    arrived.extend(request.invited());
                    Some(request.answer(self.port, &sdp::party(media, codec)))
                }
                "ACK" => None,
                _ => Some(request.answer(self.port, "")),
            };
            if let Some(answer) = answer {
                self.send(&answer, from);
            }
        }
    }

    fn send(&self, text: &str, to: SocketAddr) {
        // What the gateway does not hear it asks for again.
        let _ = self.socket.send_to(text.as_bytes(), to);
    }
}

struct Request<'a> {
    method: &'a str,
    uri: &'a str,
    head: &'a str,
    body: &'a str,
}

impl<'a> Request<'a> {
    fn parse(text: &'a str) -> Option<Request<'a>> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut words = head.lines().next()?.split(' ');
        let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
        (version == "SIP/2.0").then_some(Request { method, uri, head, body })
    }

    fn lines(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_ascii_lowercase();
        self.head.lines().filter(move |line| {
            line.split_once(':').is_some_and(|(field, _)| field.trim().to_ascii_lowercase() == name)
        })
    }

    fn invited(&self) -> Option<Invited> {
        let number = self.uri.strip_prefix("sip:")?.split(['@', ';']).next()?.to_owned();
        Some(Invited { number, media: sdp::read_party(self.body)? })
    }

    /// 200 (RFC 3261 §8.2.6).
    fn answer(&self, port: u16, body: &str) -> String {
        let mut text = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"] {
            for line in self.lines(name) {
                text += line;
                if name == "To" && !line.contains("tag=") {
                    text += ";tag=party";
                }
                text += "\r\n";
            }
        }
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        text + &format!(
            "Contact: <sip:party@127.0.0.1:{port}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_is_answered_with_its_own_headers_and_tells_where_media_goes() {
        let media = sdp::party(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000), Codec::Pcmu);
        let text = format!(
            "INVITE sip:+12025550107@127.0.0.1:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n{media}"
        );
        let request = Request::parse(&text).expect("a request");
        let invited = request.invited().expect("a call");
        assert_eq!(invited.number, "+12025550107");
        assert_eq!(invited.media, (SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000), 0));
        let answer = request.answer(7, "");
        assert!(answer.contains("To: <sip:c@d>;tag=party\r\n"), "{answer}");
        assert!(
            answer.contains("branch=z9hG4bK1\r\n") && answer.ends_with("Content-Length: 0\r\n\r\n"),
            "{answer}"
        );
    }
}
