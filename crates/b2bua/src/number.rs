//! Dialled numbers, the patterns that match them and how routes rewrite them.

/// Longest number or name that can be dialled. Longer: `InvalidNumber`.
pub const DIALLED_CHARS: usize = 128;

/// Brings what a person typed into the form that routes compare: visual separators of phone numbers go away,
/// names and addresses stay.
pub fn clean(dialled: &str) -> Option<String> {
    let text = dialled.trim();
    let text = ["sip:", "sips:", "tel:"].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
    let separator = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}');
    let phone = text.chars().any(|c| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#') || separator(c));
    let out: String = if phone { text.chars().filter(|c| !separator(*c)).collect() } else { text.into() };
    let valid = !out.is_empty()
        && out.chars().count() <= DIALLED_CHARS
        && !out.chars().any(|c| c.is_control() || c.is_whitespace());
    valid.then_some(out)
}

/// Whether two phone numbers are the same apart from a leading `+` (carriers differ in it).
pub fn same_number(a: &str, b: &str) -> bool {
    let bare = |s: &str| s.strip_prefix('+').unwrap_or(s).to_owned();
    a == b || (a.chars().any(|c| c.is_ascii_digit()) && bare(a) == bare(b))
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Literal(char),
    Digit,
    OneOf(Vec<char>),
    Rest,
}

/// Which numbers a route takes: `x` is any one digit, `[2-9]` one of a set, a final `*` any rest (also none),
/// `\` takes the next character as it is, everything else is itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

impl Pattern {
    /// Reads a pattern; the sentence says what is wrong.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' if chars.peek().is_none() => Piece::Rest,
                '*' => return Err(format!("`{text}`: `*` stands only at the end; write `\\*` for the key")),
                'x' | 'X' => Piece::Digit,
                '\\' => Piece::Literal(chars.next().ok_or_else(|| format!("`{text}` ends in `\\`"))?),
                '[' => Piece::OneOf(set(text, &mut chars)?),
                other => Piece::Literal(other),
            });
        }
        if pieces.is_empty() {
            return Err("a pattern cannot be empty; `*` takes every number".into());
        }
        Ok(Pattern { text: text.into(), pieces })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it takes one number only: whoever writes it down means that number.
    pub fn is_exact(&self) -> bool {
        self.pieces.iter().all(|p| matches!(p, Piece::Literal(_)))
    }

    /// Whether it takes the number; gives what stands where the first wildcard begins.
    pub fn matches<'a>(&self, number: &'a str) -> Option<&'a str> {
        let mut chars = number.char_indices();
        let mut tail = None;
        for piece in &self.pieces {
            let rest = chars.as_str();
            if !matches!(piece, Piece::Literal(_)) {
                tail.get_or_insert(rest);
            }
            let c = match piece {
                Piece::Rest => return tail,
                Piece::Literal(_) | Piece::Digit | Piece::OneOf(_) => chars.next()?.1,
            };
            let fits = match piece {
                Piece::Literal(l) => *l == c,
                Piece::Digit => c.is_ascii_digit(),
                Piece::OneOf(set) => set.contains(&c),
                Piece::Rest => true,
            };
            if !fits {
                return None;
            }
        }
        chars.as_str().is_empty().then(|| tail.unwrap_or(""))
    }
}

fn set(text: &str, chars: &mut impl Iterator<Item = char>) -> Result<Vec<char>, String> {
    let inside: Vec<char> = chars.by_ref().take_while(|c| *c != ']').collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < inside.len() {
        if inside.get(i + 1) == Some(&'-') && i + 2 < inside.len() {
            out.extend(inside[i]..=inside[i + 2]);
            i += 3;
        } else {
            out.push(inside[i]);
            i += 1;
        }
    }
    if out.is_empty() { Err(format!("`{text}`: empty set, write e.g. [2-9]")) } else { Ok(out) }
}

/// A new form of the number: a final `*` stands for what matched from the pattern's first wildcard on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    text: String,
}

impl Rewrite {
    /// Reads e.g. `+49*`; the sentence says what is wrong.
    pub fn parse(text: &str) -> Result<Rewrite, String> {
        match text.find('*') {
            Some(at) if at + 1 != text.len() => Err(format!("`{text}`: `*` stands only at the end")),
            Some(_) | None if text.is_empty() => Err("a rewrite cannot be empty".into()),
            Some(_) | None => Ok(Rewrite { text: text.into() }),
        }
    }

    /// The number to send, `tail` being what `Pattern::matches` gave.
    pub fn apply(&self, tail: &str) -> String {
        match self.text.strip_suffix('*') {
            Some(head) => format!("{head}{tail}"),
            None => self.text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_separators_go_away_and_names_stay() {
        assert_eq!(clean(" +1 (202) 555-0100 ").as_deref(), Some("+12025550100"));
        assert_eq!(clean("anna-lena.k").as_deref(), Some("anna-lena.k"));
        assert_eq!(clean("*43#").as_deref(), Some("*43#"));
        assert_eq!(clean("sip:bob").as_deref(), Some("bob"));
        assert_eq!(clean("  "), None);
        assert_eq!(clean("a b"), None);
        assert_eq!(clean(&"1".repeat(DIALLED_CHARS + 1)), None);
    }

    #[test]
    fn patterns_take_what_they_say() {
        let takes = |p: &str, n: &str| Pattern::parse(p).unwrap().matches(n).map(str::to_owned);
        assert_eq!(takes("+1*", "+12025550100").as_deref(), Some("2025550100"));
        assert_eq!(takes("+1*", "+442079460000"), None);
        assert_eq!(takes("1xx", "107").as_deref(), Some("07"));
        assert_eq!(takes("1xx", "1077"), None);
        assert_eq!(takes("0[1-9]*", "0301234").as_deref(), Some("301234"));
        assert_eq!(takes("0[1-9]*", "00491"), None);
        assert_eq!(takes("*", "anything").as_deref(), Some("anything"));
        assert_eq!(takes("\\*43", "*43").as_deref(), Some(""));
        assert_eq!(takes("112", "112").as_deref(), Some(""));
    }

    #[test]
    fn a_rewrite_puts_the_country_before_a_national_number() {
        let pattern = Pattern::parse("0[1-9]*").unwrap();
        let tail = pattern.matches("0301234").unwrap();
        assert_eq!(Rewrite::parse("+49*").unwrap().apply(tail), "+49301234");
        assert_eq!(Rewrite::parse("100").unwrap().apply(tail), "100");
    }

    #[test]
    fn wrong_patterns_are_refused_with_a_sentence() {
        assert!(Pattern::parse("").unwrap_err().contains("empty"));
        assert!(Pattern::parse("0*1").unwrap_err().contains("only at the end"));
        assert!(Pattern::parse("[]").unwrap_err().contains("empty set"));
        assert!(Rewrite::parse("+49*0").unwrap_err().contains("only at the end"));
    }

    #[test]
    fn numbers_compare_without_their_plus_but_names_do_not() {
        assert!(same_number("+12025550110", "12025550110"));
        assert!(!same_number("+12025550110", "12025550111"));
        assert!(!same_number("+alice", "alice"));
    }
}
