//! The few lexical rules that all header fields share (RFC 3261 §25.1).

use memchr::{memchr, memchr2};

/// Bytes that may stand in a token: one look-up each.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"-.!%*_+`'~";
    let mut b = 0;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

/// Whether a byte may stand in a token.
pub(crate) fn is_token_byte(b: u8) -> bool {
    TOKEN[usize::from(b)]
}

/// Whether the text is a token: not empty, token characters only.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Linear white space once folding is undone.
pub(crate) fn is_lws(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Cuts white space from both ends.
pub(crate) fn trim(text: &str) -> &str {
    let lws = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    // Nearly always there is none at the ends.
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|b| !lws(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !lws(b)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// The position of the first `stop` outside quoted strings and, if asked, outside `<…>`.
fn find_outside(text: &str, stop: u8, angles: bool) -> Option<usize> {
    let first = memchr(stop, text.as_bytes())?;
    let before = &text.as_bytes()[..first];
    let opened = if angles { memchr2(b'"', b'<', before) } else { memchr(b'"', before) };
    if opened.is_none() { Some(first) } else { find_outside_slowly(text, stop, angles) }
}

fn find_outside_slowly(text: &str, stop: u8, angles: bool) -> Option<usize> {
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    for (i, b) in text.bytes().enumerate() {
        if quoted {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match b {
            b'<' if angles => inside = true,
            b'>' if angles => inside = false,
            _ if inside => {}
            _ if b == stop => return Some(i),
            b'"' => quoted = true,
            _ => {}
        }
    }
    None
}

/// The pieces of `text` between `stop`, not trimmed; quoted strings and `<…>` are not cut.
#[derive(Clone, Debug)]
pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
    stop: u8,
}

impl<'a> Split<'a> {
    /// Elements of a comma-separated field (RFC 3261 §7.3.1).
    pub(crate) fn list(text: &'a str) -> Split<'a> {
        Split { rest: Some(text), stop: b',' }
    }

    /// Parameters between semicolons.
    pub(crate) fn params(text: &'a str) -> Split<'a> {
        Split { rest: Some(text), stop: b';' }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        match find_outside(rest, self.stop, true) {
            Some(at) => {
                self.rest = Some(&rest[at + 1..]);
                Some(&rest[..at])
            }
            None => {
                self.rest = None;
                Some(rest)
            }
        }
    }
}

/// Splits at the first `stop` outside quoted strings; both halves trimmed.
pub(crate) fn cut(text: &str, stop: u8) -> (&str, Option<&str>) {
    match find_outside(text, stop, false) {
        Some(at) => (trim(&text[..at]), Some(trim(&text[at + 1..]))),
        None => (trim(text), None),
    }
}

/// Length of the quoted string that `text` begins with, both quotes included; none if it is not closed.
pub(crate) fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(i + 1),
            _ => {}
        }
    }
    None
}

/// The inside of a quoted string as it stands (escapes kept), or the text itself if it is not quoted.
pub(crate) fn strip_quotes(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

/// The inside of a quoted string with `\x` resolved, or the text itself if it is not quoted.
pub(crate) fn unquote(text: &str) -> String {
    let inner = strip_quotes(text);
    if inner.len() == text.len() || !inner.contains('\\') {
        return inner.to_owned();
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            other => out.push(other),
        }
    }
    out
}

/// A quoted string of `text`, with `"` and `\` escaped.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Undoes `%xx`. Bytes that are no UTF-8 afterwards become U+FFFD; a broken escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| bytes.get(i + 1..i + 3)).flatten();
        match hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(b) => {
                out.push(b);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A decimal number; digits only. Too large a number is the largest (RFC 4475 §3.1.2.4 of Expires).
pub(crate) fn saturating_u32(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.bytes().fold(0u32, |n, b| n.saturating_mul(10).saturating_add(u32::from(b - b'0'))))
}
