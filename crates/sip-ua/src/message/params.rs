use super::lex::{self, Split};

/// Parameters after a header value or URI: `;name=value;name`. Names compare without case, empty ones are skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// Over the text after the value; a leading semicolon is optional.
    pub fn new(text: &'a str) -> Params<'a> {
        Params(text)
    }

    /// The text as it stands.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// All parameters in order, quotes around values kept.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        Split::params(self.0).map(|p| lex::cut(p, b'=')).filter(|(name, _)| !name.is_empty())
    }

    /// The value without its quotes; empty for a parameter without value.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let found = self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(lex::strip_quotes(found.1.unwrap_or_default()))
    }

    /// Whether the parameter is there, with or without value.
    pub fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }
}
