//! Reads TOML tables key by key and collects every problem with its place, so that a person sees all at once.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use super::sounds::SoundFile;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong in a configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key concerned, e.g. `trunks[0].server`; empty for syntax errors.
    pub key: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The text under examination and what was found wrong in it.
pub struct Findings<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    /// Files named so far.
    pub sounds: Vec<SoundFile>,
}

impl<'t> Findings<'t> {
    pub fn new(text: &'t str) -> Self {
        Findings { text, problems: Vec::new(), sounds: Vec::new() }
    }

    pub fn add(&mut self, span: &Range<usize>, key: impl Into<String>, message: impl Into<String>) {
        let problem = self.problem(span, key, message);
        self.problems.push(problem);
    }

    /// The same without adding it.
    pub fn problem(
        &self,
        span: &Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        let before = &self.text[..span.start.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.into(),
            message: message.into(),
        }
    }

    /// All problems in the order of the file.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| (p.line, p.column));
        self.problems
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub value: T,
    pub span: Range<usize>,
    /// Full key, for messages.
    pub key: String,
}

impl<T> Located<T> {
    /// Turns the value into another, or reports why not.
    pub fn parse<U>(
        &self,
        found: &mut Findings<'_>,
        parse: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<U> {
        match parse(&self.value) {
            Ok(value) => Some(value),
            Err(message) => {
                found.add(&self.span, &self.key, message);
                None
            }
        }
    }
}

/// An item of a list that holds strings and tables.
pub enum Item<'d, 'i> {
    Text(Located<String>),
    Table(Section<'d, 'i>),
}

/// One table being read. Every key asked for counts as known; `finish` reports the rest.
pub struct Section<'d, 'i> {
    path: String,
    table: &'d DeTable<'i>,
    /// Where keys are looked for that the table has not, and the place in the file that says so.
    preset: Option<(&'d DeTable<'i>, Range<usize>)>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'d, 'i> Section<'d, 'i> {
    pub fn new(path: impl Into<String>, table: &'d DeTable<'i>, span: Range<usize>) -> Self {
        Section { path: path.into(), table, preset: None, span, known: Vec::new() }
    }

    /// Where the table stands.
    pub fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// The full name of a key in this table.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn get(&mut self, key: &'static str) -> Option<(&'d DeValue<'i>, Range<usize>)> {
        self.known.push(key);
        let own = find(self.table, key).map(|v| (v.get_ref(), v.span()));
        own.or_else(|| {
            self.preset.as_ref().and_then(|(t, span)| Some((find(t, key)?.get_ref(), span.clone())))
        })
    }

    /// Takes keys that this table has not from another.
    pub fn fall_back_on(&mut self, preset: &'d DeTable<'i>, span: Range<usize>) {
        self.preset = Some((preset, span));
    }

    fn wrong_type(
        &self,
        found: &mut Findings<'_>,
        key: &str,
        span: &Range<usize>,
        want: &str,
        got: &DeValue<'_>,
    ) {
        found.add(span, self.key(key), format!("expected {want}, found {}", name_of(got)));
    }

    pub fn string(&mut self, found: &mut Findings<'_>, key: &'static str) -> Option<Located<String>> {
        let (value, span) = self.get(key)?;
        match value.as_str() {
            Some(text) => Some(Located { value: text.to_owned(), span, key: self.key(key) }),
            None => {
                self.wrong_type(found, key, &span, "a string in quotes", value);
                None
            }
        }
    }

    pub fn required(
        &mut self,
        found: &mut Findings<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<Located<String>> {
        if !self.has(key) {
            self.known.push(key);
            found.add(&self.span, self.key(key), format!("is missing; for example: {key} = {example}"));
            return None;
        }
        self.string(found, key)
    }

    /// Whether the key is there at all.
    pub fn has(&self, key: &str) -> bool {
        find(self.table, key).is_some() || self.preset.as_ref().is_some_and(|(t, _)| find(t, key).is_some())
    }

    /// Whether the file itself has the key, not only the preset.
    pub fn has_own(&self, key: &str) -> bool {
        find(self.table, key).is_some()
    }

    pub fn integer(
        &mut self,
        found: &mut Findings<'_>,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let (value, span) = self.get(key)?;
        let Some(number) = value.as_integer() else {
            self.wrong_type(found, key, &span, "a whole number", value);
            return None;
        };
        let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| range.contains(n));
        if parsed.is_none() {
            let message = format!("{number} is outside {} to {}", range.start(), range.end());
            found.add(&span, self.key(key), message);
        }
        parsed
    }

    pub fn boolean(&mut self, found: &mut Findings<'_>, key: &'static str) -> Option<bool> {
        let (value, span) = self.get(key)?;
        if value.as_bool().is_none() {
            self.wrong_type(found, key, &span, "true or false", value);
        }
        value.as_bool()
    }

    /// A list of strings; a single string counts as a list of one.
    pub fn strings(&mut self, found: &mut Findings<'_>, key: &'static str) -> Option<Vec<Located<String>>> {
        let (value, span) = self.get(key)?;
        if let Some(text) = value.as_str() {
            return Some(vec![Located { value: text.to_owned(), span, key: self.key(key) }]);
        }
        let Some(array) = value.as_array() else {
            self.wrong_type(found, key, &span, "a list of strings", value);
            return None;
        };
        let mut out = Vec::new();
        for (i, item) in array.iter().enumerate() {
            let key = format!("{}[{i}]", self.key(key));
            match item.get_ref().as_str() {
                Some(text) => out.push(Located { value: text.to_owned(), span: item.span(), key }),
                None => found.add(
                    &item.span(),
                    key,
                    format!("expected a string in quotes, found {}", name_of(item.get_ref())),
                ),
            }
        }
        Some(out)
    }

    /// A list of strings and tables.
    pub fn items(&mut self, found: &mut Findings<'_>, key: &'static str) -> Option<Vec<Item<'d, 'i>>> {
        let (value, span) = self.get(key)?;
        let Some(array) = value.as_array() else {
            self.wrong_type(found, key, &span, "a list", value);
            return None;
        };
        let mut out = Vec::new();
        for (i, item) in array.iter().enumerate() {
            let key = format!("{}[{i}]", self.key(key));
            match (item.get_ref().as_str(), item.get_ref().as_table()) {
                (Some(text), _) => {
                    out.push(Item::Text(Located { value: text.to_owned(), span: item.span(), key }));
                }
                (None, Some(table)) => out.push(Item::Table(Section::new(key, table, item.span()))),
                (None, None) => {
                    let message =
                        format!("expected a string or {{ host = … }}, found {}", name_of(item.get_ref()));
                    found.add(&item.span(), key, message);
                }
            }
        }
        Some(out)
    }

    /// A table of strings by keys that people choose.
    pub fn pairs(
        &mut self,
        found: &mut Findings<'_>,
        key: &'static str,
    ) -> Vec<(Located<String>, Located<String>)> {
        let Some((value, span)) = self.get(key) else { return Vec::new() };
        let Some(table) = value.as_table() else {
            self.wrong_type(found, key, &span, "a table of strings", value);
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, value) in table.iter() {
            let key = format!("{}.{:?}", self.key(key), name.get_ref());
            let located = |value: &str, span| Located { value: value.to_owned(), span, key: key.clone() };
            match value.get_ref().as_str() {
                Some(text) => out.push((located(name.get_ref(), name.span()), located(text, value.span()))),
                None => {
                    let message = format!("expected a string in quotes, found {}", name_of(value.get_ref()));
                    found.add(&value.span(), key, message);
                }
            }
        }
        out
    }

    /// A sub-table such as `[sip]`.
    pub fn table(&mut self, found: &mut Findings<'_>, key: &'static str) -> Option<Section<'d, 'i>> {
        let (value, span) = self.get(key)?;
        match value.as_table() {
            Some(table) => Some(Section::new(self.key(key), table, span)),
            None => {
                self.wrong_type(found, key, &span, &format!("a section [{key}]"), value);
                None
            }
        }
    }

    /// An array of tables such as `[[users]]`.
    pub fn tables(&mut self, found: &mut Findings<'_>, key: &'static str) -> Vec<Section<'d, 'i>> {
        let Some((value, span)) = self.get(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.wrong_type(found, key, &span, &format!("sections [[{key}]]"), value);
            return Vec::new();
        };
        let mut out = Vec::new();
        for (i, item) in array.iter().enumerate() {
            match item.get_ref().as_table() {
                Some(table) => out.push(Section::new(format!("{}[{i}]", self.key(key)), table, item.span())),
                None => {
                    self.wrong_type(found, key, &item.span(), &format!("a section [[{key}]]"), item.get_ref())
                }
            }
        }
        out
    }

    /// Reports every key that nobody asked for, with the nearest that exists.
    pub fn finish(self, found: &mut Findings<'_>) {
        let preset = self.preset.iter().flat_map(|(table, _)| table.iter());
        for (key, _) in self.table.iter().chain(preset) {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self.known.iter().min_by_key(|k| distance(k, name));
            let message = match nearest {
                Some(near) if distance(near, name) <= 3 => format!("unknown key; did you mean `{near}`?"),
                _ => format!("unknown key; valid here: {}", self.known.join(", ")),
            };
            found.add(&key.span(), self.key(name), message);
        }
    }
}

fn find<'d, 'i>(table: &'d DeTable<'i>, key: &str) -> Option<&'d Spanned<DeValue<'i>>> {
    table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true/false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("listen", "lisen"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("server", "sever"), 1);
    }
}
