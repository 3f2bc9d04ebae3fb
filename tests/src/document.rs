//! Sections of `docs/QUALITY.md` that tests write under `make docs`, each a heading, words and one table.

use crate::ports::root;

/// One section. Others follow after a heading of the same level or a comment.
pub struct Section {
    /// Its line with `## `.
    pub heading: &'static str,
    /// What the table shows and how it came about.
    pub words: &'static str,
    /// The first two lines of its table.
    pub columns: &'static str,
    /// How many cells name a row.
    pub key: usize,
    /// Whether the others are the same each time, and `make test` looks for them too.
    pub exact: bool,
}

/// Where a section that begins with `heading` is in the page.
fn place(page: &str, heading: &str) -> Option<std::ops::Range<usize>> {
    let begin = page.find(heading)?;
    let inside = begin + heading.len();
    let end = ["\n## ", "\n<!--"].iter().filter_map(|mark| page[inside..].find(mark)).min();
    Some(begin..end.map_or(page.len(), |end| inside + end))
}

/// The first cells of a row.
fn cells(row: &str, count: usize) -> Vec<&str> {
    row.split('|').skip(1).take(count).map(str::trim).collect()
}

impl Section {
    /// Puts the rows into the page, each in the place of the one of its name; without `make docs` panics where the page
    /// does not know one.
    pub fn put(&self, rows: &[String]) {
        let file = root().join("docs/QUALITY.md");
        let page = std::fs::read_to_string(&file).expect("docs/QUALITY.md");
        let place = place(&page, self.heading).unwrap_or(page.len()..page.len());
        let of_table = |line: &&str| line.starts_with("| ") && !self.columns.contains(*line);
        let mut all: Vec<&str> = page[place.clone()].lines().filter(of_table).collect();
        let same = |line: &str, row: &str| cells(line, self.key) == cells(row, self.key);
        if std::env::var_os("WEBTRUNK_WRITE_DOCS").is_none() {
            let known = |row: &&String| all.iter().any(|line| line == row || !self.exact && same(line, row));
            let missing: Vec<&String> = rows.iter().filter(|row| !known(row)).collect();
            assert!(
                missing.is_empty(),
                "docs/QUALITY.md does not know them, `make docs` writes it: {missing:?}"
            );
            return;
        }
        for row in rows {
            match all.iter_mut().find(|line| same(line, row)) {
                Some(line) => *line = row,
                None => all.push(row),
            }
        }
        let (before, after) = (page[..place.start].trim_end(), page[place.end..].trim_start());
        let Section { heading, words, columns, .. } = self;
        let rest = if after.is_empty() { String::new() } else { format!("\n{after}") };
        let text = format!("{before}\n\n{heading}\n\n{words}\n\n{columns}\n{}\n{rest}", all.join("\n"));
        std::fs::write(&file, text).expect("docs/QUALITY.md written");
    }
}
