//! Values of WWW-Authenticate, Proxy-Authenticate, Authorization and Proxy-Authorization (RFC 3261 §25.1).

use crate::message::lex;

/// The parameters of one `Digest …` challenge or answer.
#[derive(Clone, Debug, Default)]
pub(super) struct DigestFields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> DigestFields<'a> {
    /// All Digest challenges in a value; usually one. Other schemes are skipped.
    pub(super) fn parse_all(value: &'a str) -> Vec<DigestFields<'a>> {
        let mut all: Vec<(bool, DigestFields<'a>)> = Vec::new();
        for piece in lex::Split::list(value).map(lex::trim) {
            let (scheme, rest) = piece.split_once(lex::is_lws).unwrap_or((piece, ""));
            let param = if lex::is_token(scheme) && !rest.trim_start().starts_with('=') {
                let digest = scheme.eq_ignore_ascii_case("Digest");
                all.push((digest, DigestFields::default()));
                rest
            } else {
                piece
            };
            let (name, value) = lex::cut(param, b'=');
            if let (Some((_, fields)), Some(value)) = (all.last_mut(), value) {
                fields.0.push((name, value));
            }
        }
        all.into_iter().filter(|(digest, _)| *digest).map(|(_, fields)| fields).collect()
    }

    /// A parameter without its quotes, escapes resolved.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| lex::unquote(v))
    }

    /// A parameter without its quotes, escapes as they stand: what goes into a hash (RFC 7616 §3.4).
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| lex::strip_quotes(v))
    }
}
