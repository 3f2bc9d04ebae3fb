//! Brings a description into the form that the strict parser takes, keeping only the lines that matter to us.

/// Descriptions longer than this are refused (bytes): a browser's with video and all candidates has a fourth of it.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// A description that the parser will not trip over, and the `o=` line as it came.
pub(super) struct Repaired {
    pub text: String,
    pub origin: String,
}

/// Keeps `v`, `c`, `m` and `a` lines; any line end; bytes that are not UTF-8 replaced; runs of blanks in `m=` and `c=`
/// made one. `o=` is taken out: numbers above 64 bits in it are common, and it is only ever compared whole.
pub(super) fn repair(data: &[u8]) -> Repaired {
    let text = String::from_utf8_lossy(data);
    let mut out = String::with_capacity(text.len() + 16);
    let mut origin = String::new();
    let mut connection_seen = false;
    for line in text.split(['\n', '\r']) {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let (Some(key), Some(value)) = (line.get(..2), line.get(2..)) else { continue };
        match key {
            "v=" if out.is_empty() => push(&mut out, key, value.trim()),
            "o=" if origin.is_empty() => origin = value.trim().to_owned(),
            // A second connection line on one level is an error to the parser; the first one counts.
            "c=" if !connection_seen => {
                connection_seen = true;
                push(&mut out, key, &squeeze(value, 3));
            }
            "m=" => {
                connection_seen = false;
                push(&mut out, key, &squeeze(value, usize::MAX));
            }
            "a=" => push(&mut out, key, &value.replace('\0', "")),
            _ => {}
        }
    }
    Repaired { text: out, origin }
}

fn push(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push_str(value);
    out.push_str("\r\n");
}

fn squeeze(value: &str, fields: usize) -> String {
    let mut out = String::with_capacity(value.len());
    for word in value.split_whitespace().take(fields) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word.replace('\0', ""));
    }
    out
}
