//! Header field names as numbers, so that looking a field up compares one byte per field.

/// A field name that is asked for often. Compact forms are the same name (RFC 3261 §7.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    RecordRoute,
    Route,
    ContentType,
    ContentLength,
    Supported,
    Require,
    Allow,
    Accept,
    Expires,
    SessionExpires,
    MinSe,
    Reason,
    Authorization,
    /// Compared as text.
    Other,
}

impl Name {
    /// By length first: at most three comparisons.
    pub fn of(name: &str) -> Name {
        let candidates: &[(&str, Name)] = match name.len() {
            1 => return Name::of_letter(name.as_bytes()[0]),
            2 => &[("To", Name::To)],
            3 => &[("Via", Name::Via)],
            4 => &[("From", Name::From), ("CSeq", Name::CSeq)],
            5 => &[("Allow", Name::Allow), ("Route", Name::Route)],
            6 => &[("Accept", Name::Accept), ("Reason", Name::Reason), ("Min-SE", Name::MinSe)],
            7 => &[
                ("Call-ID", Name::CallId),
                ("Contact", Name::Contact),
                ("Expires", Name::Expires),
                ("Require", Name::Require),
            ],
            9 => &[("Supported", Name::Supported)],
            12 => &[
                ("Max-Forwards", Name::MaxForwards),
                ("Content-Type", Name::ContentType),
                ("Record-Route", Name::RecordRoute),
            ],
            13 => &[("Authorization", Name::Authorization)],
            14 => &[("Content-Length", Name::ContentLength)],
            15 => &[("Session-Expires", Name::SessionExpires)],
            _ => &[],
        };
        let found = candidates.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(Name::Other, |(_, number)| *number)
    }

    fn of_letter(letter: u8) -> Name {
        match letter.to_ascii_lowercase() {
            b'c' => Name::ContentType,
            b'f' => Name::From,
            b'i' => Name::CallId,
            b'k' => Name::Supported,
            b'l' => Name::ContentLength,
            b'm' => Name::Contact,
            b't' => Name::To,
            b'v' => Name::Via,
            b'x' => Name::SessionExpires,
            _ => Name::Other,
        }
    }

    /// A bit of its own, for sets of names.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The long form of a compact field name (RFC 3261 §7.3.3 and the IANA registry); other names as they are.
pub(crate) fn full_name(name: &str) -> &str {
    let &[letter] = name.as_bytes() else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => "Accept-Contact",
        b'b' => "Referred-By",
        b'c' => "Content-Type",
        b'd' => "Request-Disposition",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'j' => "Reject-Contact",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b'n' => "Identity-Info",
        b'o' => "Event",
        b'r' => "Refer-To",
        b's' => "Subject",
        b't' => "To",
        b'u' => "Allow-Events",
        b'v' => "Via",
        b'x' => "Session-Expires",
        b'y' => "Identity",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compact_name_has_the_number_of_its_long_form() {
        for letter in b'a'..=b'z' {
            let letter = char::from(letter).to_string();
            assert_eq!(Name::of(&letter), Name::of(full_name(&letter)), "{letter}");
            assert_eq!(Name::of(&letter.to_uppercase()), Name::of(full_name(&letter)), "{letter}");
        }
    }

    #[test]
    fn case_does_not_matter_and_unknown_names_have_no_number() {
        assert_eq!(Name::of("cALL-iD"), Name::CallId);
        assert_eq!(Name::of("MAX-FORWARDS"), Name::MaxForwards);
        assert_eq!(Name::of("X-Forwards"), Name::Other);
        assert_eq!(Name::of(""), Name::Other);
    }
}
