//! Cutting a byte stream into messages by Content-Length (RFC 3261 §18.3).

use std::fmt;

use types::limits;

/// Why a stream cannot be read any further: the connection is to be closed, after the answer if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// No Content-Length: nobody knows where the next message begins (RFC 3261 §20.14).
    NoContentLength,
    /// Content-Length is no number, or stands twice with different numbers.
    BadContentLength,
    /// The message is larger than we accept.
    TooLarge,
}

impl FrameError {
    /// The status for the request in question, should its head be readable.
    pub fn status(self) -> u16 {
        match self {
            FrameError::NoContentLength | FrameError::BadContentLength => 400,
            FrameError::TooLarge => 513,
        }
    }

    /// The reason phrase beside it.
    pub fn phrase(self) -> &'static str {
        match self {
            FrameError::NoContentLength => "Content-Length Is Needed On A Stream",
            FrameError::BadContentLength => "Bad Content-Length",
            FrameError::TooLarge => "Message Too Large",
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrameError::NoContentLength => "a message on a stream has no Content-Length",
            FrameError::BadContentLength => "a message on a stream has an unusable Content-Length",
            FrameError::TooLarge => "a message on a stream is too large",
        })
    }
}

impl std::error::Error for FrameError {}

/// What a stream brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// One message, head and body.
    Message(Vec<u8>),
    /// A double CRLF between messages: answer with one CRLF (RFC 5626 §3.5.1).
    Ping,
    /// A single CRLF between messages: it answers a ping of ours.
    Pong,
}

/// What line ends between messages are.
struct LineEnds {
    pong: bool,
    ping: bool,
}

/// Holds what has come of the next message; never more than `limits::SIP_MESSAGE_BYTES` and one read.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// How far the end of the head has been looked for.
    searched: usize,
    /// Where head and message end, once the head is complete.
    message_end: Option<usize>,
    /// One line end has come of the two that make a ping.
    half_ping: bool,
    /// We have sent a ping: the next line end answers it.
    pong_expected: bool,
    /// A ping came right behind a pong.
    ping_due: bool,
    failed: Option<FrameError>,
}

impl Framer {
    /// Nothing has come.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes what was read. Then call `next_frame` until it gives nothing.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// We have sent a ping.
    pub fn expect_pong(&mut self) {
        self.pong_expected = true;
    }

    /// Bytes that wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The head that made reading fail, as far as it came: it may name whom to answer.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    /// The next message or keep-alive, if it is complete.
    ///
    /// # Errors
    /// Once an error, always that error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let frame = self.cut();
        if let Err(error) = frame {
            self.failed = Some(error);
        }
        frame
    }

    fn cut(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.message_end.is_none() {
            if std::mem::take(&mut self.ping_due) {
                return Ok(Some(Frame::Ping));
            }
            if self.searched == 0 {
                let LineEnds { pong, ping } = self.skip_line_ends();
                if pong {
                    self.ping_due = ping;
                    return Ok(Some(Frame::Pong));
                }
                if ping {
                    return Ok(Some(Frame::Ping));
                }
            }
            self.find_message_end()?;
        }
        match self.message_end {
            Some(end) if end <= self.buffer.len() => {
                let rest = self.buffer.split_off(end);
                let message = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                self.message_end = None;
                self.half_ping = false;
                Ok(Some(Frame::Message(message)))
            }
            Some(_) => Ok(None),
            None if self.buffer.len() > limits::SIP_MESSAGE_BYTES => Err(FrameError::TooLarge),
            None => Ok(None),
        }
    }

    /// Skips line ends in front of a message (RFC 3261 §7.5); two in a row are a ping, even in two reads. Many at once
    /// are one ping: answering each would cost more than sending it. Where a pong is due the first one is that.
    fn skip_line_ends(&mut self) -> LineEnds {
        let (mut at, mut pairs) = (0, u32::from(self.half_ping));
        loop {
            match &self.buffer[at..] {
                [b'\r', b'\n', ..] => {
                    at += 2;
                    pairs = pairs.saturating_add(1);
                }
                [b'\n', ..] => at += 1,
                _ => break,
            }
        }
        self.buffer.drain(..at);
        let pong = at > 0 && std::mem::take(&mut self.pong_expected);
        pairs -= u32::from(pong).min(pairs);
        self.half_ping = pairs % 2 == 1;
        LineEnds { pong, ping: pairs >= 2 }
    }

    fn find_message_end(&mut self) -> Result<(), FrameError> {
        let from = self.searched.saturating_sub(3);
        let Some(head_end) = head_end(&self.buffer, from) else {
            // A lone CR may be the first half of a line end to skip.
            if self.buffer.first().is_some_and(|b| *b != b'\r') {
                self.searched = self.buffer.len();
            }
            return Ok(());
        };
        let length = content_length(&self.buffer[..head_end])?;
        let end = head_end.checked_add(length).ok_or(FrameError::TooLarge)?;
        if end > limits::SIP_MESSAGE_BYTES {
            return Err(FrameError::TooLarge);
        }
        self.message_end = Some(end);
        Ok(())
    }
}

/// Where the empty line after the head ends.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(newline) = bytes[at..].iter().position(|&b| b == b'\n') {
        let next = at + newline + 1;
        let rest = &bytes[next..];
        if rest.starts_with(b"\r\n") {
            return Some(next + 2);
        }
        if rest.starts_with(b"\n") {
            return Some(next + 1);
        }
        at = next;
    }
    None
}

fn content_length(head: &[u8]) -> Result<usize, FrameError> {
    let mut found: Option<usize> = None;
    for line in head.split(|&b| b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let name = line[..colon].trim_ascii_end();
        if !name.eq_ignore_ascii_case(b"Content-Length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let value = std::str::from_utf8(line[colon + 1..].trim_ascii()).ok();
        let value = value.filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
        let length = value.and_then(|v| v.parse().ok()).ok_or(FrameError::BadContentLength)?;
        if found.is_some_and(|f| f != length) {
            return Err(FrameError::BadContentLength);
        }
        found = Some(length);
    }
    found.ok_or(FrameError::NoContentLength)
}
