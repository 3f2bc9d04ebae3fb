//! What a person and a CI system read.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// How a case went.
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub shows: String,
    /// What went wrong, one sentence each; empty: good.
    pub wrong: Vec<String>,
    /// Its messages.
    pub ladder: String,
    /// Where its files are, if something went wrong.
    pub dir: PathBuf,
    /// How long it ran.
    pub took: Duration,
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Its line of the table.
    pub fn line(&self, width: usize) -> String {
        let verdict = if self.is_good() { "pass" } else { "FAIL" };
        let line =
            format!("{verdict}  {:width$}  {:6.2} s  {}", self.name, self.took.as_secs_f64(), self.shows);
        line.trim_end().to_owned()
    }

    /// Everything about a failure; nothing for a good case.
    pub fn failure(&self) -> String {
        if self.is_good() {
            return String::new();
        }
        let mut text = format!("\n--- {} ({})\n", self.name, self.dir.display());
        self.wrong.iter().for_each(|sentence| {
            let _ = writeln!(text, "{sentence}");
        });
        text + "\n" + &self.ladder
    }
}

/// The last line of the table.
pub fn summary(outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
    format!("{} cases: {} passed, {failed} failed", outcomes.len(), outcomes.len() - failed)
}

/// JUnit XML as CI systems read it.
pub fn junit(outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.is_good()).count();
    let total = outcomes.len();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
         <testsuite name=\"webtrunk sipp\" tests=\"{total}\" failures=\"{failed}\">\n"
    );
    for outcome in outcomes {
        let (name, time) = (escaped(&outcome.name), outcome.took.as_secs_f64());
        let _ = write!(xml, "<testcase classname=\"sipp\" name=\"{name}\" time=\"{time:.3}\"");
        let _ = if outcome.is_good() {
            writeln!(xml, "/>")
        } else {
            let first = outcome.wrong.first().map(|sentence| escaped(sentence)).unwrap_or_default();
            writeln!(
                xml,
                "><failure message=\"{first}\">{}</failure></testcase>",
                escaped(&outcome.failure())
            )
        };
    }
    xml + "</testsuite>\n</testsuites>\n"
}

/// Text as it may stand in XML; characters that XML 1.0 has no form for become `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(wrong: &[&str]) -> Outcome {
        Outcome {
            name: "busy".into(),
            shows: "RFC 3261 §21.4.21".into(),
            wrong: wrong.iter().map(|&sentence| sentence.into()).collect(),
            ladder: "a <-- b\n".into(),
            dir: "kept".into(),
            took: Duration::from_millis(1250),
        }
    }

    #[test]
    fn junit_counts_failures_and_escapes_what_they_say() {
        let xml = junit(&[outcome(&[]), outcome(&["got \"<500>\" & not 486\u{1}"])]);
        assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
        assert!(xml.contains("message=\"got &quot;&lt;500&gt;&quot; &amp; not 486?\""), "{xml}");
        assert!(xml.contains("a &lt;-- b"), "{xml}");
    }

    #[test]
    fn a_line_tells_verdict_time_and_what_was_shown() {
        assert_eq!(outcome(&[]).line(6), "pass  busy      1.25 s  RFC 3261 §21.4.21");
        assert!(outcome(&["x"]).line(4).starts_with("FAIL  busy "));
    }
}
