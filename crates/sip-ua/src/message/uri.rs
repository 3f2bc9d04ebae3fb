use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use memchr::{memchr, memchr2};

use super::Params;
use super::lex;

/// The kind of a URI.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// `sip:` (RFC 3261 §19.1).
    Sip,
    /// `sips:`.
    Sips,
    /// `tel:` (RFC 3966); the number is the user part, there is no host.
    Tel,
    /// Anything else; kept as it is.
    Other,
}

/// Text that is no URI, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UriError(pub &'static str);

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UriError {}

/// A URI: its text and where the parts are. `==` compares the text; `equivalent` is the comparison of RFC 3261 §19.1.4.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    text: Box<str>,
    parts: Parts,
}

/// What a URI is and where its parts are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Parts {
    pub scheme: Scheme,
    user: Option<Range<usize>>,
    password: Option<Range<usize>>,
    host: Range<usize>,
    port: Option<u16>,
    params: Range<usize>,
    pub headers: Option<Range<usize>>,
}

/// Bytes that stand in no URI: up to the space, DEL, angle brackets, quotes.
const REFUSED: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] =
            b <= b' ' as usize || b == 0x7f || b == b'<' as usize || b == b'>' as usize || b == b'"' as usize;
        b += 1;
    }
    table
};

impl Parts {
    /// Reads a URI without keeping its text.
    pub fn parse(text: &str) -> Result<Parts, UriError> {
        let colon = memchr(b':', text.as_bytes()).ok_or(UriError("a URI needs a scheme"))?;
        let name = &text[..colon];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic())
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Err(UriError("the scheme of the URI is malformed"));
        }
        if text.bytes().any(|b| REFUSED[usize::from(b)]) {
            return Err(UriError("a character of the URI is not allowed"));
        }
        let scheme = match name {
            n if n.eq_ignore_ascii_case("sip") => Scheme::Sip,
            n if n.eq_ignore_ascii_case("sips") => Scheme::Sips,
            n if n.eq_ignore_ascii_case("tel") => Scheme::Tel,
            _ => Scheme::Other,
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => Parts::parse_sip(text, scheme, colon + 1),
            Scheme::Tel => Parts::parse_tel(text, colon + 1),
            Scheme::Other => Ok(Parts::bare(text, scheme)),
        }
    }

    fn bare(text: &str, scheme: Scheme) -> Parts {
        let end = text.len();
        Parts {
            scheme,
            user: None,
            password: None,
            host: end..end,
            port: None,
            params: end..end,
            headers: None,
        }
    }

    fn parse_tel(text: &str, start: usize) -> Result<Parts, UriError> {
        let end = text[start..].find(';').map_or(text.len(), |i| start + i);
        if start == end {
            return Err(UriError("a tel URI needs a number"));
        }
        Ok(Parts { user: Some(start..end), params: end..text.len(), ..Parts::bare(text, Scheme::Tel) })
    }

    fn parse_sip(text: &str, scheme: Scheme, start: usize) -> Result<Parts, UriError> {
        let mut uri = Parts::bare(text, scheme);
        // The user part may hold `;` and `?`, the host part never holds `@` (RFC 4475 §3.1.1.9).
        let host_start = match memchr(b'@', &text.as_bytes()[start..]) {
            Some(at) => {
                let end = start + at;
                let colon = memchr(b':', &text.as_bytes()[start..end]).map(|i| start + i);
                let user_end = colon.unwrap_or(end);
                uri.user = Some(start..user_end);
                uri.password = colon.map(|c| c + 1..end);
                if start == user_end {
                    return Err(UriError("the user part of the URI is empty"));
                }
                end + 1
            }
            None => start,
        };
        let bytes = text.as_bytes();
        let tail = memchr2(b';', b'?', &bytes[host_start..]).map_or(text.len(), |i| host_start + i);
        let question = memchr(b'?', &bytes[tail..]).map(|i| tail + i);
        uri.params = tail..question.unwrap_or(text.len());
        uri.headers = question.map(|q| q + 1..text.len());
        let (host, port) = split_host_port(&text[host_start..tail])?;
        uri.host = host_start..host_start + host.len();
        uri.port = port;
        Ok(uri)
    }
}

impl Uri {
    /// Reads a URI without angle brackets. White space, brackets, quotes and control characters are refused.
    pub fn parse(text: &str) -> Result<Uri, UriError> {
        Ok(Uri { parts: Parts::parse(text)?, text: text.into() })
    }

    /// `sip:user@host:port`; the user part is escaped as needed, an empty one is left out.
    pub fn sip(user: &str, host: &str, port: Option<u16>) -> Result<Uri, UriError> {
        let mut text = String::from("sip:");
        if !user.is_empty() {
            escape_user(user, &mut text);
            text.push('@');
        }
        text.push_str(host);
        if let Some(port) = port {
            text.push_str(&format!(":{port}"));
        }
        Uri::parse(&text)
    }

    /// The same URI with `;name` or `;name=value` added after its parameters.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Result<Uri, UriError> {
        let (before, after) = self.text.split_at(self.parts.params.end);
        let equals = value.map(|v| format!("={v}")).unwrap_or_default();
        Uri::parse(&format!("{before};{name}{equals}{after}"))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its kind.
    pub fn scheme(&self) -> Scheme {
        self.parts.scheme
    }

    /// User part, or the number of a `tel:` URI, as written.
    pub fn user(&self) -> Option<&str> {
        self.parts.user.clone().map(|r| &self.text[r])
    }

    /// User part with `%xx` undone; empty if there is none.
    pub fn user_unescaped(&self) -> String {
        self.user().map(lex::percent_decode).unwrap_or_default()
    }

    /// Password, as written.
    pub fn password(&self) -> Option<&str> {
        self.parts.password.clone().map(|r| &self.text[r])
    }

    /// Host as written, IPv6 in brackets; empty where the scheme has none.
    pub fn host(&self) -> &str {
        &self.text[self.parts.host.clone()]
    }

    /// The host if it is an address.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host())
    }

    /// Port if written.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// Address and port, if the host is an address; without a port 5060, or 5061 for `sips:` (RFC 3263 §4.2).
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let default = if self.parts.scheme == Scheme::Sips { 5061 } else { 5060 };
        Some(SocketAddr::new(self.ip()?, self.parts.port.unwrap_or(default)))
    }

    /// Parameters after host and port.
    pub fn params(&self) -> Params<'_> {
        Params::new(&self.text[self.parts.params.clone()])
    }

    /// A parameter's value; empty if it has none.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().get(name)
    }

    /// `;transport=`, as written.
    pub fn transport(&self) -> Option<&str> {
        self.param("transport")
    }

    /// Whether it is a loose route (RFC 3261 §19.1.1).
    pub fn is_loose_route(&self) -> bool {
        self.params().has("lr")
    }

    /// Text after `?`.
    pub fn headers(&self) -> Option<&str> {
        self.parts.headers.clone().map(|r| &self.text[r])
    }

    /// The first header of this name after `?`, unescaped (RFC 3261 §19.1.1).
    pub fn header(&self, name: &str) -> Option<String> {
        let mut fields = self.headers()?.split('&').map(|h| lex::cut(h, b'='));
        let (_, value) = fields.find(|(n, _)| lex::percent_decode(n).eq_ignore_ascii_case(name))?;
        Some(lex::percent_decode(value.unwrap_or_default()))
    }

    /// The text before `?`.
    pub fn without_headers(&self) -> &str {
        match self.headers() {
            Some(headers) => &self.text[..self.text.len() - headers.len() - 1],
            None => &self.text,
        }
    }

    /// Comparison of RFC 3261 §19.1.4. For `tel:` and other schemes: equal but for case.
    pub fn equivalent(&self, other: &Uri) -> bool {
        if self.parts.scheme != other.parts.scheme {
            return false;
        }
        match self.parts.scheme {
            Scheme::Tel | Scheme::Other => self.text.eq_ignore_ascii_case(&other.text),
            Scheme::Sip | Scheme::Sips => {
                self.parts.user.is_some() == other.parts.user.is_some()
                    && self.user_unescaped() == other.user_unescaped()
                    && self.password().map(lex::percent_decode) == other.password().map(lex::percent_decode)
                    && same_host(self.host(), other.host())
                    && self.parts.port == other.parts.port
                    && params_match(self, other)
                    && params_match(other, self)
                    && sorted_headers(self) == sorted_headers(other)
            }
        }
    }
}

/// More parameters than this are compared as text: the rule's own way takes quadratic time.
const COMPARED_PARAMS: usize = 32;

/// `user`, `ttl`, `method`, `maddr`, `transport` must be in both or neither; others only where both have them.
fn params_match(a: &Uri, b: &Uri) -> bool {
    if a.params().iter().nth(COMPARED_PARAMS).or(b.params().iter().nth(COMPARED_PARAMS)).is_some() {
        return a.params() == b.params();
    }
    a.params().iter().all(|(name, _)| {
        // The first of that name, should it stand twice.
        let value = lex::percent_decode(a.param(name).unwrap_or_default());
        let both =
            ["user", "ttl", "method", "maddr", "transport"].iter().any(|n| n.eq_ignore_ascii_case(name));
        match b.param(name) {
            Some(theirs) => lex::percent_decode(theirs).eq_ignore_ascii_case(&value),
            None => !both,
        }
    })
}

fn sorted_headers(uri: &Uri) -> Vec<String> {
    let decode = |h: &str| {
        let (name, value) = lex::cut(h, b'=');
        let value = lex::percent_decode(value.unwrap_or_default());
        format!("{}={value}", lex::percent_decode(name).to_ascii_lowercase())
    };
    let mut all: Vec<_> = uri.headers().into_iter().flat_map(|h| h.split('&')).map(decode).collect();
    all.sort();
    all
}

fn same_host(a: &str, b: &str) -> bool {
    match (host_ip(a), host_ip(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.eq_ignore_ascii_case(b),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn escape_user(user: &str, out: &mut String) {
    for b in user.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

/// The address in a host, IPv6 with or without brackets.
pub(crate) fn host_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().or_else(|| parse_ipv6(bare).map(IpAddr::V6))
}

/// An IPv6 address; a third colon before an IPv4 part, once allowed by mistake, is ignored (RFC 5118 §4.10).
fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| text.replacen(":::", "::", 1).parse().ok())
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; white space around the colon is allowed, as in Via (RFC 3261 §20.42).
pub(crate) fn split_host_port(text: &str) -> Result<(&str, Option<u16>), UriError> {
    let text = lex::trim(text);
    let end = match text.strip_prefix('[') {
        Some(rest) => {
            let close = rest.find(']').ok_or(UriError("an IPv6 address lacks its closing bracket"))?;
            parse_ipv6(&rest[..close]).ok_or(UriError("the IPv6 address is malformed"))?;
            close + 2
        }
        None => text.find(':').unwrap_or(text.len()),
    };
    let host = lex::trim(&text[..end]);
    if host.is_empty() {
        return Err(UriError("the host is empty"));
    }
    let host_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if !host.starts_with('[') && !host.bytes().all(host_byte) {
        return Err(UriError("the host is malformed"));
    }
    let rest = lex::trim(&text[end..]);
    if rest.is_empty() {
        return Ok((host, None));
    }
    let digits = lex::trim(rest.strip_prefix(':').ok_or(UriError("the port is malformed"))?);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UriError("the port is malformed"));
    }
    Ok((host, Some(digits.parse().map_err(|_| UriError("the port is malformed"))?)))
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
