//! Typed header field values. They borrow from the message.

use std::net::IpAddr;

use types::EndReason;

use super::lex::{self, Split};
use super::uri::{host_ip, split_host_port};
use super::{Method, Params, Uri, UriError};

/// A malformed header value, and what is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldError(pub &'static str);

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for FieldError {}

impl From<UriError> for FieldError {
    fn from(e: UriError) -> FieldError {
        FieldError(e.0)
    }
}

/// One Via value (RFC 3261 §20.42).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, `WS` …, as written.
    pub transport: &'a str,
    /// Host of sent-by, IPv6 in brackets.
    pub host: &'a str,
    /// Port of sent-by.
    pub port: Option<u16>,
    /// branch, received, rport …
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one value, without its neighbours in the list.
    pub fn parse(text: &'a str) -> Result<Via<'a>, FieldError> {
        let text = lex::trim(text);
        // As nearly everyone writes it; white space around the slashes is allowed.
        let rest = match text.strip_prefix("SIP/2.0/") {
            Some(rest) => lex::trim(rest),
            None => Via::after_version(text)?,
        };
        let space = rest.find(lex::is_lws).ok_or(FieldError("Via has no sent-by"))?;
        let (transport, rest) = rest.split_at(space);
        if !lex::is_token(transport) {
            return Err(FieldError("the transport of Via is malformed"));
        }
        let end = rest.find(';').unwrap_or(rest.len());
        let (host, port) = split_host_port(&rest[..end])?;
        Ok(Via { transport, host, port, params: Params::new(&rest[end..]) })
    }

    fn after_version(text: &str) -> Result<&str, FieldError> {
        let mut parts = text.splitn(3, '/');
        let name = lex::trim(parts.next().unwrap_or_default());
        let version = lex::trim(parts.next().unwrap_or_default());
        if !name.eq_ignore_ascii_case("SIP") || !lex::is_token(version) {
            return Err(FieldError("Via does not begin with SIP/2.0"));
        }
        Ok(lex::trim(parts.next().unwrap_or_default()))
    }

    /// The branch, if any; requests of RFC 3261 begin it with `z9hG4bK`.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch")
    }

    /// Whether the branch is one of RFC 3261: the magic cookie and something behind it (RFC 4475 §3.2.1).
    pub fn has_rfc3261_branch(&self) -> bool {
        self.branch().is_some_and(|b| b.len() > 7 && b.as_bytes()[..7].eq_ignore_ascii_case(b"z9hG4bK"))
    }

    /// `received=`, with or without brackets around IPv6 (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        host_ip(self.params.get("received")?)
    }

    /// `rport=`: none if absent, `Some(None)` if asked for without value (RFC 3581).
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|v| v.parse().ok())
    }

    /// Host and port of sent-by as written.
    pub fn sent_by(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_owned(),
        }
    }
}

/// A From, To, Contact, Route … value: `"display" <uri>;params` (RFC 3261 §20.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameAddr<'a> {
    /// Display name as written, quotes kept; empty if there is none.
    pub display: &'a str,
    /// The URI's text.
    pub uri_text: &'a str,
    /// Header parameters.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value, without its neighbours in the list. The URI itself is read by `uri`.
    pub fn parse(text: &'a str) -> Result<NameAddr<'a>, FieldError> {
        let text = lex::trim(text);
        let (display, rest) = match text.strip_prefix('"') {
            Some(_) => {
                let len = lex::quoted_len(text).ok_or(FieldError("a quoted string is not closed"))?;
                let rest = lex::trim(&text[len..]);
                if !rest.starts_with('<') {
                    return Err(FieldError("an address in angle brackets must follow the display name"));
                }
                (&text[..len], rest)
            }
            None => match text.find('<') {
                Some(at) => (lex::trim(&text[..at]), &text[at..]),
                None => return NameAddr::parse_addr_spec(text),
            },
        };
        // Strictly only tokens; accept what cannot be confused, such as umlauts.
        if !display.starts_with('"') && display.contains([',', ';', '"', '>']) {
            return Err(FieldError("the display name needs quotes"));
        }
        let close = rest.find('>').ok_or(FieldError("an angle bracket is not closed"))?;
        let params = lex::trim(&rest[close + 1..]);
        if !params.is_empty() && !params.starts_with(';') {
            return Err(FieldError("text after the address is no parameter"));
        }
        Ok(NameAddr { display, uri_text: &rest[1..close], params: Params::new(params) })
    }

    /// Without brackets `;` starts header parameters, `?` and `,` are not allowed (RFC 3261 §20).
    fn parse_addr_spec(text: &'a str) -> Result<NameAddr<'a>, FieldError> {
        let end = text.find(';').unwrap_or(text.len());
        let uri_text = lex::trim(&text[..end]);
        if uri_text.contains(['?', ',']) {
            return Err(FieldError("an address with ? or , needs angle brackets"));
        }
        Ok(NameAddr { display: "", uri_text, params: Params::new(&text[end..]) })
    }

    /// Its URI.
    pub fn uri(&self) -> Result<Uri, UriError> {
        Uri::parse(self.uri_text)
    }

    /// Display name without quotes and escapes; empty if there is none.
    pub fn display_name(&self) -> String {
        lex::unquote(self.display)
    }

    /// The tag (RFC 3261 §19.3).
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag").filter(|t| !t.is_empty())
    }
}

/// One Contact value, or the star (RFC 3261 §20.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contact<'a> {
    /// `*`: all of them, only with `Expires: 0` in REGISTER (RFC 3261 §10.2.2).
    Star,
    /// An address.
    Address(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value.
    pub fn parse(text: &'a str) -> Result<Contact<'a>, FieldError> {
        match lex::trim(text) {
            "*" => Ok(Contact::Star),
            address => NameAddr::parse(address).map(Contact::Address),
        }
    }

    /// The address, unless it is the star.
    pub fn address(&self) -> Option<NameAddr<'a>> {
        match self {
            Contact::Star => None,
            Contact::Address(address) => Some(*address),
        }
    }
}

impl<'a> NameAddr<'a> {
    /// Contact: `;expires=` in seconds; too large a number is the largest.
    pub fn expires(&self) -> Option<u32> {
        lex::saturating_u32(self.params.get("expires")?)
    }

    /// Contact: `;q=` in thousandths, 0-1000; 1000 where it is absent or malformed.
    pub fn q(&self) -> u16 {
        let parsed = self.params.get("q").and_then(|q| q.parse::<f32>().ok());
        parsed.filter(|q| (0.0..=1.0).contains(q)).map_or(1000, |q| (q * 1000.0).round() as u16)
    }

    /// Contact: `+sip.instance`, usually `<urn:uuid:…>` (RFC 5626 §4.1).
    pub fn instance(&self) -> Option<&'a str> {
        self.params.get("+sip.instance")
    }

    /// Contact: `reg-id`, which of a device's flows this is (RFC 5626 §4.2): 1 to 2^31 - 1; none where it is malformed.
    pub fn reg_id(&self) -> Option<u32> {
        let id: u32 = self.params.get("reg-id")?.parse().ok()?;
        (1..1 << 31).contains(&id).then_some(id)
    }
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CSeq {
    /// Below 2^31.
    pub seq: u32,
    /// The request's method.
    pub method: Method,
}

impl CSeq {
    /// Reads the value. Numbers from 2^31 are refused (RFC 3261 §8.1.1.5).
    pub fn parse(text: &str) -> Result<CSeq, FieldError> {
        let mut parts = text.split(lex::is_lws).filter(|p| !p.is_empty());
        let (Some(seq), Some(method), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(FieldError("CSeq needs a number and a method"));
        };
        if !seq.bytes().all(|b| b.is_ascii_digit()) || !lex::is_token(method) {
            return Err(FieldError("CSeq is malformed"));
        }
        match seq.parse::<u32>() {
            Ok(seq) if seq < 1 << 31 => Ok(CSeq { seq, method: Method::from(method) }),
            Ok(_) | Err(_) => Err(FieldError("the number in CSeq is too large")),
        }
    }
}

/// One Reason value (RFC 3326).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850` …
    pub protocol: &'a str,
    /// cause, text.
    pub params: Params<'a>,
}

impl<'a> Reason<'a> {
    /// Reads one value.
    pub fn parse(text: &'a str) -> Reason<'a> {
        let end = text.find(';').unwrap_or(text.len());
        Reason { protocol: lex::trim(&text[..end]), params: Params::new(&text[end..]) }
    }

    /// `cause=`.
    pub fn cause(&self) -> Option<u16> {
        self.params.get("cause")?.parse().ok()
    }
}

/// The values of a Reason field that may hold several.
pub fn reasons(value: &str) -> impl Iterator<Item = Reason<'_>> {
    list(value).map(Reason::parse)
}

/// The Q.850 cause in a Reason field, or what a SIP status in it means in Q.850.
pub fn q850(value: &str) -> Option<u8> {
    let of = |protocol: &str| {
        reasons(value).find(|r| r.protocol.eq_ignore_ascii_case(protocol)).and_then(|r| r.cause())
    };
    let status = || of("SIP").filter(|status| (400..700).contains(status));
    of("Q.850").and_then(|c| u8::try_from(c).ok()).or_else(|| status().map(EndReason::q850_of_status))
}

/// The elements of list fields, trimmed; empty ones are skipped.
pub(crate) fn list(value: &str) -> impl Iterator<Item = &str> {
    Split::list(value).map(lex::trim).filter(|e| !e.is_empty())
}
