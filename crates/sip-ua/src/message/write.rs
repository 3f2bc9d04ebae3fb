use std::fmt::Write as _;

use memchr::memchr2;

use super::name::{Name, full_name};
use super::{Kind, Message, Method};

/// Writes a message into one buffer, field by field. Line breaks in values become spaces, so no value can add a field.
/// Content-Length is written by `finish`, always.
#[derive(Clone, Debug)]
pub struct MessageWriter {
    /// Start line and fields, each ended by CRLF.
    head: String,
    /// Where the first field begins.
    fields_at: usize,
    /// A Content-Length or Content-Type was pushed.
    describes_body: bool,
}

/// Room for start line and fields of most messages; the body is added once its length is known.
const HEAD: usize = 1024;

impl MessageWriter {
    /// A request without any fields.
    pub fn request(method: &Method, uri: &str) -> MessageWriter {
        let mut head = String::with_capacity(HEAD);
        push_clean(&mut head, method.as_str());
        head.push(' ');
        push_clean(&mut head, uri);
        head.push_str(" SIP/2.0\r\n");
        MessageWriter::over(head)
    }

    /// After a start line.
    fn over(head: String) -> MessageWriter {
        MessageWriter { fields_at: head.len(), head, describes_body: false }
    }

    /// A response with Via, From, To, Call-ID and CSeq of the request (RFC 3261 §8.2.6.2), Record-Route for 1xx and 2xx
    /// to a request that makes a dialog (§12.1.1), and Timestamp for 100. An empty `reason` is the standard phrase.
    /// `to_tag` is added where the request's To has none; 100 needs none.
    pub fn response(request: &Message, status: u16, reason: &str, to_tag: Option<&str>) -> MessageWriter {
        MessageWriter::response_via(request, None, (status, reason), to_tag)
    }

    /// The same with `via` in the place of the request's top Via, for what we saw of the sender (RFC 3581 §4).
    pub fn response_via(
        request: &Message,
        via: Option<&str>,
        (status, reason): (u16, &str),
        to_tag: Option<&str>,
    ) -> MessageWriter {
        let reason = if reason.is_empty() { standard_reason(status) } else { reason };
        let mut head = String::with_capacity(HEAD);
        let _ = write!(head, "SIP/2.0 {status} ");
        push_clean(&mut head, reason);
        head.push_str("\r\n");
        let mut writer = MessageWriter::over(head);
        match via {
            Some(via) => {
                writer.push("Via", via);
                request.list("Via").skip(1).for_each(|via| writer.push("Via", via));
            }
            None => writer.copy(request, "Via"),
        }
        writer.copy(request, "From");
        if let Some(to) = request.header("To") {
            let untagged = request.to().is_some_and(|t| t.tag().is_none());
            match to_tag.filter(|_| untagged) {
                Some(tag) => writer.push_parts("To", &[to, ";tag=", tag]),
                None => writer.push("To", to),
            }
        }
        writer.copy(request, "Call-ID");
        writer.copy(request, "CSeq");
        if status == 100 {
            writer.copy(request, "Timestamp");
        } else if status < 300 {
            writer.copy(request, "Record-Route");
        }
        writer
    }

    /// The ACK for a final failure, within the INVITE's transaction (RFC 3261 §17.1.1.3).
    pub fn ack_for(invite: &Message, response: &Message) -> MessageWriter {
        let mut writer = MessageWriter::within(invite, &Method::Ack);
        if let Some(to) = response.header("To") {
            writer.set("To", to);
        }
        writer
    }

    /// The CANCEL for an INVITE that we sent (RFC 3261 §9.1).
    pub fn cancel_for(invite: &Message) -> MessageWriter {
        MessageWriter::within(invite, &Method::Cancel)
    }

    fn within(invite: &Message, method: &Method) -> MessageWriter {
        let uri = match invite.kind() {
            Kind::Request { uri, .. } => uri,
            Kind::Response { .. } => "",
        };
        let mut writer = MessageWriter::request(method, uri);
        if let Some(via) = invite.list("Via").next() {
            writer.push("Via", via);
        }
        for name in ["From", "To", "Call-ID"] {
            writer.copy(invite, name);
        }
        let seq = invite.cseq().map_or(0, |c| c.seq);
        writer.push("CSeq", &format!("{seq} {method}"));
        writer.push("Max-Forwards", "70");
        writer.copy(invite, "Route");
        writer
    }

    /// A copy of a message's start line and fields, without Content-Length: to send it again with changes.
    pub fn copy_of(message: &Message) -> MessageWriter {
        let mut writer = match message.kind() {
            Kind::Request { method, uri } => MessageWriter::request(method, uri),
            Kind::Response { status, reason } => {
                MessageWriter::over(format!("SIP/2.0 {status} {reason}\r\n"))
            }
        };
        for (name, value) in message.fields() {
            if Name::of(name) != Name::ContentLength {
                writer.push(name, value);
            }
        }
        writer
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_parts(name, &[value]);
    }

    /// Adds a field at the end whose value is these parts together.
    pub fn push_parts(&mut self, name: &str, value: &[&str]) {
        self.describes_body |= matches!(Name::of(name), Name::ContentLength | Name::ContentType);
        push_clean(&mut self.head, name);
        self.head.push_str(": ");
        value.iter().for_each(|part| push_clean(&mut self.head, part));
        self.head.push_str("\r\n");
    }

    /// Adds a field at the end, for chains.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> MessageWriter {
        self.push(name, value);
        self
    }

    /// Adds a field before all others: our Via, a Record-Route.
    pub fn prepend(&mut self, name: &str, value: &str) {
        let rest = self.head.split_off(self.fields_at);
        self.push(name, value);
        self.head.push_str(&rest);
    }

    /// Removes all fields of this name.
    pub fn remove(&mut self, name: &str) {
        let fields = self.head.split_off(self.fields_at);
        for line in fields.split_inclusive("\r\n") {
            let theirs = line.split(':').next().unwrap_or_default();
            if !full_name(theirs).eq_ignore_ascii_case(full_name(name)) {
                self.head.push_str(line);
            }
        }
    }

    /// Replaces all fields of this name by one at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.push(name, value);
    }

    /// Copies all fields of this name from a message.
    pub fn copy(&mut self, from: &Message, name: &str) {
        for value in from.headers(name) {
            self.push(name, value);
        }
    }

    /// Ends the message without a body.
    pub fn finish(self) -> Vec<u8> {
        self.finish_with(None)
    }

    /// Ends the message with a body and its type, if there is one.
    pub fn finish_with(mut self, body: Option<&crate::Body>) -> Vec<u8> {
        if self.describes_body {
            self.remove("Content-Length");
        }
        if let Some(body) = body {
            if self.describes_body {
                self.remove("Content-Type");
            }
            self.push("Content-Type", &body.content_type);
        }
        let bytes = body.map_or(&[][..], |b| &b.bytes);
        let _ = write!(self.head, "Content-Length: {}\r\n\r\n", bytes.len());
        let mut out = self.head.into_bytes();
        out.reserve_exact(bytes.len());
        out.extend_from_slice(bytes);
        out
    }
}

fn push_clean(out: &mut String, text: &str) {
    if memchr2(b'\r', b'\n', text.as_bytes()).is_some() {
        out.extend(text.chars().map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c }));
    } else {
        out.push_str(text);
    }
}

/// The phrase that RFC 3261 §21 and later RFCs give a status; a general one for others.
pub fn standard_reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        other => match other / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirect",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}
