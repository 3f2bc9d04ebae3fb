use std::fmt;
use std::ops::Range;

use memchr::{memchr, memchr_iter};
use types::limits;

use super::name::Name;
use super::{Field, Message, Method, Span, Start, Verdict, lex};

/// Why bytes are no usable message, and whose turn it is now.
#[derive(Clone, Debug)]
pub enum ParseError {
    /// Not SIP at all: drop silently.
    NotSip(&'static str),
    /// A response that cannot be used: drop it (RFC 3261 §18.1.2).
    BadResponse(&'static str),
    /// A request that cannot be used: answer with the verdict, from the fields that could be read.
    BadRequest {
        /// What to answer.
        verdict: Verdict,
        /// What could be read. Without a usable Via there is no way back: drop.
        message: Box<Message>,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::NotSip(why) => write!(f, "not SIP: {why}"),
            ParseError::BadResponse(why) => write!(f, "unusable response: {why}"),
            ParseError::BadRequest { verdict, .. } => {
                write!(f, "unusable request: {} {}", verdict.status, verdict.reason)
            }
        }
    }
}

impl std::error::Error for ParseError {}

/// The first defect found; reading goes on, so that the answer can carry what there is.
type Defect = Option<Verdict>;

impl Message {
    /// Reads one message. Surplus bytes after Content-Length are ignored (RFC 3261 §18.3), empty lines in front too
    /// (§7.5). Only the form is judged here; `validate_request` judges the fields.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Message, ParseError> {
        let begin = bytes.iter().position(|b| !b"\r\n".contains(b)).unwrap_or(bytes.len());
        let section = Section::find(&bytes, begin);
        let mut defect: Defect = None;
        let oversize = bytes.len() > limits::SIP_MESSAGE_BYTES;
        if oversize {
            defect = Some(Verdict::new(513, "Message Too Large"));
        }
        let (head, body) = split(bytes, begin, section);
        let line_end = memchr(b'\n', head.as_bytes()).unwrap_or(head.len());
        let line_range = 0..head[..line_end].trim_end_matches('\r').len();
        let start = parse_start(&head, line_range, &mut defect)?;
        let is_request = matches!(start, Start::Request { .. });
        let (fields, repeated) = parse_fields(&head, (line_end + 1).min(head.len()), &mut defect);
        let mut message = Message { head, body, start, fields, repeated, truncated: false };
        message.apply_content_length();
        match defect {
            None => Ok(message),
            Some(verdict) if is_request => {
                Err(ParseError::BadRequest { verdict, message: Box::new(message) })
            }
            Some(verdict) => Err(ParseError::BadResponse(verdict.reason)),
        }
    }

    /// Cuts the body to Content-Length where that can be read; otherwise `validate` complains.
    fn apply_content_length(&mut self) {
        if let Some(Ok(length)) = self.content_length() {
            self.truncated = length > self.body.len();
            self.body.truncate(length);
        }
    }

    /// Content-Length: none if absent, an error if malformed or given twice with different values.
    pub(crate) fn content_length(&self) -> Option<Result<usize, &'static str>> {
        let mut values = self.headers("Content-Length");
        let first = values.next()?;
        if values.any(|v| v != first) {
            return Some(Err("Content-Length is given twice"));
        }
        let digits = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
        Some(digits.then(|| first.parse().ok()).flatten().ok_or("Content-Length is malformed"))
    }

    /// Whether any of these names stands more than once.
    pub(crate) fn repeats(&self, names: &[Name]) -> bool {
        names.iter().any(|name| self.repeated & name.bit() != 0)
    }
}

/// The header section of a message.
#[derive(Clone, Copy)]
struct Section {
    /// Where its last line ends.
    end: usize,
    body: usize,
    /// A line begins with white space (RFC 3261 §7.3.1).
    folded: bool,
}

impl Section {
    fn find(bytes: &[u8], begin: usize) -> Section {
        let mut folded = false;
        for newline in memchr_iter(b'\n', &bytes[begin..]) {
            let next = begin + newline + 1;
            match bytes.get(next) {
                Some(b'\n') => return Section { end: next, body: next + 1, folded },
                Some(b'\r') if bytes.get(next + 1) == Some(&b'\n') => {
                    return Section { end: next, body: next + 2, folded };
                }
                Some(b' ' | b'\t') => folded = true,
                Some(_) | None => {}
            }
        }
        Section { end: bytes.len(), body: bytes.len(), folded }
    }
}

/// Head as text with folding undone, and body. Bytes that are no UTF-8 make the head Latin-1: old PBXs
/// send such display names.
fn split(mut bytes: Vec<u8>, begin: usize, section: Section) -> (String, Vec<u8>) {
    let body = bytes[section.body..].to_vec();
    bytes.truncate(section.end.min(begin + limits::SIP_MESSAGE_BYTES));
    if begin > 0 {
        bytes.drain(..begin);
    }
    if section.folded {
        unfold(&mut bytes);
    }
    let head = String::from_utf8(bytes)
        .unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect::<String>());
    (head, body)
}

/// RFC 3261 §7.3.1: a line end before white space is white space. The start line is never folded.
fn unfold(bytes: &mut [u8]) {
    for i in 1..bytes.len() {
        if matches!(bytes[i], b' ' | b'\t') && bytes[i - 1] == b'\n' {
            bytes[i - 1] = b' ';
            if i >= 2 && bytes[i - 2] == b'\r' {
                bytes[i - 2] = b' ';
            }
        }
    }
}

fn bad(defect: &mut Defect, reason: &'static str) {
    if defect.is_none() {
        *defect = Some(Verdict::new(400, reason));
    }
}

fn parse_start(head: &str, line: Range<usize>, defect: &mut Defect) -> Result<Start, ParseError> {
    let text = &head[line.clone()];
    if text.get(..4).is_some_and(|t| t.eq_ignore_ascii_case("SIP/")) {
        return parse_status_line(text);
    }
    let Some(method_end) = text.find(' ') else { return Err(ParseError::NotSip("no start line")) };
    let trimmed = text.trim_end_matches(' ');
    let Some(version_start) = trimmed.rfind(' ').map(|i| i + 1) else {
        return Err(ParseError::NotSip("no start line"));
    };
    let (method, version) = (&text[..method_end], &trimmed[version_start..]);
    if !lex::is_token(method) || !version.get(..4).is_some_and(|t| t.eq_ignore_ascii_case("SIP/")) {
        return Err(ParseError::NotSip("no start line"));
    }
    let uri = (method_end + 1).min(version_start)..version_start.saturating_sub(1).max(method_end + 1);
    let uri = if uri.start <= uri.end && uri.end <= text.len() { uri } else { method_end..method_end };
    let uri_text = &text[uri.clone()];
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        *defect = Some(Verdict::new(505, "Version Not Supported"));
    } else if uri_text.is_empty() || uri_text.contains([' ', '\t']) || trimmed.len() != text.len() {
        bad(defect, "Malformed Request-Line");
    }
    Ok(Start::Request { method: Method::from(method), uri })
}

fn parse_status_line(text: &str) -> Result<Start, ParseError> {
    let mut parts = text.splitn(3, ' ');
    let version = parts.next().unwrap_or_default();
    let code = parts.next().unwrap_or_default();
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err(ParseError::BadResponse("unknown version"));
    }
    let digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
    match digits.then(|| code.parse().ok()).flatten() {
        Some(status) if (100..700).contains(&status) => {
            let reason = parts.next().unwrap_or_default();
            Ok(Start::Response { status, reason: text.len() - reason.len()..text.len() })
        }
        Some(_) | None => Err(ParseError::BadResponse("malformed status code")),
    }
}

/// The fields, and the names that stand more than once.
fn parse_fields(head: &str, from: usize, defect: &mut Defect) -> (Vec<Field>, u32) {
    let mut fields: Vec<Field> = Vec::with_capacity(24);
    let (mut seen, mut repeated) = (0, 0);
    let mut at = from;
    while at < head.len() {
        let end = memchr(b'\n', &head.as_bytes()[at..]).map_or(head.len(), |i| at + i);
        let line = &head[at..end];
        let start = at;
        at = end + 1;
        if lex::trim(line).is_empty() {
            continue;
        }
        if fields.len() == limits::SIP_HEADERS {
            bad(defect, "Too Many Header Fields");
            break;
        }
        match parse_field(line, start) {
            Some(field) => {
                // A line end that is none (RFC 3261 §25.1): whoever reads on might take it for one.
                if memchr(b'\r', field.value.of(head).as_bytes()).is_some() {
                    bad(defect, "Malformed Header Field");
                }
                repeated |= seen & field.number.bit();
                seen |= field.number.bit();
                fields.push(field);
            }
            None => bad(defect, "Malformed Header Field"),
        }
    }
    (fields, repeated)
}

/// One line that begins at `start` of the head.
fn parse_field(line: &str, start: usize) -> Option<Field> {
    let colon = memchr(b':', line.as_bytes())?;
    let name = line[..colon].trim_end_matches([' ', '\t']);
    if !lex::is_token(name) {
        return None;
    }
    let raw = &line[colon + 1..];
    let value = lex::trim(raw);
    let lead = value.as_ptr() as usize - raw.as_ptr() as usize;
    let value_start = start + colon + 1 + lead;
    Some(Field {
        number: Name::of(name),
        name: Span::new(start, start + name.len()),
        value: Span::new(value_start, value_start + value.len()),
    })
}
