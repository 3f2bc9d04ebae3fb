use crate::message::{Params, lex};

/// The dialog that an INVITE takes over (RFC 3891 §6.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of whoever gets the INVITE.
    pub to_tag: String,
    /// The tag of their peer.
    pub from_tag: String,
    /// Only while it is not answered.
    pub early_only: bool,
}

impl Replaces {
    /// Reads a field's value; none where a part is missing or a tag stands twice.
    pub fn parse(text: &str) -> Option<Replaces> {
        let (call_id, params) = text.split_once(';')?;
        let params = Params::new(params);
        let tag = |name: &str| {
            let mut found = params.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            let value = found.next()?.1.filter(|v| !v.is_empty())?;
            found.next().is_none().then(|| value.to_owned())
        };
        let call_id = lex::trim(call_id);
        Some(Replaces {
            call_id: (!call_id.is_empty()).then(|| call_id.to_owned())?,
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_replaces_are_read_in_any_order() {
        // RFC 3891 §6.1.
        let text = "98732@sip.example.com;from-tag=r33th4x0r;early-only;to-tag=ff87ff";
        let replaces = Replaces::parse(text).unwrap();
        assert_eq!(replaces.call_id, "98732@sip.example.com");
        assert_eq!((replaces.to_tag.as_str(), replaces.from_tag.as_str()), ("ff87ff", "r33th4x0r"));
        assert!(replaces.early_only);
    }

    #[test]
    fn replaces_without_a_tag_or_with_one_twice_is_nothing() {
        for text in [
            "a@b",
            "a@b;to-tag=1",
            "a@b;from-tag=1",
            ";to-tag=1;from-tag=2",
            "a;to-tag=1;to-tag=2;from-tag=3",
        ] {
            assert_eq!(Replaces::parse(text), None, "{text}");
        }
    }
}
