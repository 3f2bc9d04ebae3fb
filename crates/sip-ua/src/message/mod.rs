//! SIP messages: reading lazily over the bytes, writing into one buffer (RFC 3261 §7, §20, §25).

mod fields;
pub(crate) mod lex;
mod method;
mod name;
mod params;
mod parse;
mod replaces;
mod uri;
mod validate;
mod write;

use std::fmt;
use std::ops::Range;

use name::{Name, full_name};

pub use fields::{CSeq, Contact, FieldError, NameAddr, Reason, Via, q850, reasons};
pub use lex::quote;
pub use method::Method;
pub use params::Params;
pub use parse::ParseError;
pub use replaces::Replaces;
pub use uri::{Scheme, Uri, UriError};
pub use validate::{Verdict, validate_request, validate_response};
pub use write::{MessageWriter, standard_reason};

/// A parsed message. Header values stay text until asked for; folding is undone, the rest is as it came.
#[derive(Clone)]
pub struct Message {
    /// Start line and header fields. Latin-1 where the sender did not use UTF-8.
    head: String,
    body: Vec<u8>,
    start: Start,
    fields: Vec<Field>,
    /// Names of which there is more than one field.
    repeated: u32,
    /// Content-Length promised more bytes than came.
    truncated: bool,
}

#[derive(Clone, Debug)]
enum Start {
    Request { method: Method, uri: Range<usize> },
    Response { status: u16, reason: Range<usize> },
}

#[derive(Clone, Copy, Debug)]
struct Field {
    number: Name,
    name: Span,
    value: Span,
}

/// A part of the head.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
        // A head is shorter than twice `limits::SIP_MESSAGE_BYTES`.
        Span { start: start as u32, end: end as u32 }
    }

    fn of(self, head: &str) -> &str {
        &head[self.start as usize..self.end as usize]
    }
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'a> {
    /// A request.
    Request {
        /// Its method.
        method: &'a Method,
        /// Its Request-URI as written.
        uri: &'a str,
    },
    /// A response.
    Response {
        /// 100-699.
        status: u16,
        /// Reason phrase, perhaps empty.
        reason: &'a str,
    },
}

impl Message {
    /// Request or response, with the start line's parts.
    pub fn kind(&self) -> Kind<'_> {
        match &self.start {
            Start::Request { method, uri } => Kind::Request { method, uri: &self.head[uri.clone()] },
            Start::Response { status, reason } => {
                Kind::Response { status: *status, reason: &self.head[reason.clone()] }
            }
        }
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI, if this is a request and it can be read.
    pub fn request_uri(&self) -> Option<Uri> {
        match self.kind() {
            Kind::Request { uri, .. } => Uri::parse(uri).ok(),
            Kind::Response { .. } => None,
        }
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// All header fields in order: name as written, value without folding and outer white space.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|f| (f.name.of(&self.head), f.value.of(&self.head)))
    }

    /// Each value of the named field, in order. Case and compact forms do not matter.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let number = Name::of(name);
        let head = self.head.as_str();
        let same = move |f: &&Field| {
            let known = number != Name::Other;
            f.number == number && (known || full_name(f.name.of(head)).eq_ignore_ascii_case(full_name(name)))
        };
        self.fields.iter().filter(same).map(move |f| f.value.of(head))
    }

    /// The first value of the named field.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// Each element of a comma-separated field, over all its lines (RFC 3261 §7.3.1). Not for
    /// WWW-Authenticate and its kin, whose commas separate parameters.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers(name).flat_map(fields::list)
    }

    /// Whether a comma-separated field has this token, case ignored: `has_token("Supported", "100rel")`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|t| t.eq_ignore_ascii_case(token))
    }

    /// The topmost Via, unless absent or malformed.
    pub fn top_via(&self) -> Option<Via<'_>> {
        Via::parse(self.list("Via").next()?).ok()
    }

    /// All Vias, top first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, FieldError>> {
        self.list("Via").map(Via::parse)
    }

    /// From, unless absent or malformed.
    pub fn from(&self) -> Option<NameAddr<'_>> {
        NameAddr::parse(self.header("From")?).ok()
    }

    /// To, unless absent or malformed.
    pub fn to(&self) -> Option<NameAddr<'_>> {
        NameAddr::parse(self.header("To")?).ok()
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&str> {
        self.header("Call-ID")
    }

    /// CSeq, unless absent or malformed.
    pub fn cseq(&self) -> Option<CSeq> {
        CSeq::parse(self.header("CSeq")?).ok()
    }

    /// All Contacts in order.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'_>, FieldError>> {
        self.list("Contact").map(Contact::parse)
    }

    /// The URI of the first Contact: a dialog's remote target.
    pub fn contact_uri(&self) -> Option<Uri> {
        self.contacts().next()?.ok()?.address()?.uri().ok()
    }

    /// Route values, top first, those that can be read.
    pub fn routes(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.list("Route").filter_map(|r| NameAddr::parse(r).ok())
    }

    /// Record-Route values, top first, those that can be read.
    pub fn record_routes(&self) -> impl Iterator<Item = NameAddr<'_>> {
        self.list("Record-Route").filter_map(|r| NameAddr::parse(r).ok())
    }

    /// Max-Forwards; too large a number is the largest.
    pub fn max_forwards(&self) -> Option<u32> {
        lex::saturating_u32(self.header("Max-Forwards")?)
    }

    /// Expires in seconds; too large a number is the largest.
    pub fn expires(&self) -> Option<u32> {
        lex::saturating_u32(self.header("Expires")?)
    }

    /// Content-Type without its parameters, as written; compare without case.
    pub fn content_type(&self) -> Option<&str> {
        self.header("Content-Type").map(|v| lex::cut(v, b';').0)
    }

    /// Seconds of Retry-After; comment and parameters are ignored.
    pub fn retry_after(&self) -> Option<u32> {
        let value = self.header("Retry-After")?;
        lex::saturating_u32(value.split(|c: char| !c.is_ascii_digit()).next()?)
    }

    /// All Reason values (RFC 3326) as one field.
    pub fn reason_values(&self) -> Option<String> {
        let all: Vec<&str> = self.list("Reason").collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// The Q.850 cause of the Reason fields, if any.
    pub fn q850_cause(&self) -> Option<u8> {
        q850(&self.reason_values()?)
    }

    /// The body with its type, if there is a body. Without Content-Type it is taken for SDP.
    pub fn typed_body(&self) -> Option<crate::Body> {
        let content_type = self.content_type().unwrap_or("application/sdp").to_ascii_lowercase();
        (!self.body.is_empty()).then(|| crate::Body { content_type, bytes: self.body.clone() })
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.head.lines().next().unwrap_or_default();
        write!(f, "Message({first:?}, {} fields, {} body bytes)", self.fields.len(), self.body.len())
    }
}
