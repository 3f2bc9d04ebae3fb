//! Bencode, which rtpengine's ng protocol is written in: strings, numbers, lists, dictionaries.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
    /// A list.
    List(Vec<Value>),
    /// A dictionary; its keys are written in their order.
    Dict(BTreeMap<Vec<u8>, Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(texts: [&str; N]) -> Value {
        Value::List(texts.into_iter().map(Value::from).collect())
    }
}

/// A dictionary of these.
pub fn dict<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Dict(pairs.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)).collect())
}

impl Value {
    /// What a dictionary has under this key, as text.
    pub fn text(&self, key: &str) -> Option<&str> {
        let Value::Dict(pairs) = self else { return None };
        let Value::Text(bytes) = pairs.get(key.as_bytes())? else { return None };
        std::str::from_utf8(bytes).ok()
    }

    /// Appends it as it is sent.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Text(bytes) => write_text(bytes, out),
            Value::Number(number) => out.extend(format!("i{number}e").into_bytes()),
            Value::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.write(out));
                out.push(b'e');
            }
            Value::Dict(pairs) => {
                out.push(b'd');
                for (key, value) in pairs {
                    write_text(key, out);
                    value.write(out);
                }
                out.push(b'e');
            }
        }
    }

    /// Reads one that fills all of `bytes`.
    pub fn read(bytes: &[u8]) -> Option<Value> {
        let mut rest = bytes;
        let value = read(&mut rest)?;
        rest.is_empty().then_some(value)
    }
}

fn write_text(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("{}:", bytes.len()).into_bytes());
    out.extend(bytes);
}

fn read(rest: &mut &[u8]) -> Option<Value> {
    match rest.first()? {
        b'i' => {
            *rest = &rest[1..];
            number(rest, b'e').map(Value::Number)
        }
        b'l' => {
            *rest = &rest[1..];
            let mut items = Vec::new();
            while *rest.first()? != b'e' {
                items.push(read(rest)?);
            }
            *rest = &rest[1..];
            Some(Value::List(items))
        }
        b'd' => {
            *rest = &rest[1..];
            let mut pairs = BTreeMap::new();
            while *rest.first()? != b'e' {
                let key = text(rest)?;
                pairs.insert(key, read(rest)?);
            }
            *rest = &rest[1..];
            Some(Value::Dict(pairs))
        }
        _ => text(rest).map(Value::Text),
    }
}

fn number(rest: &mut &[u8], end: u8) -> Option<i64> {
    let length = rest.iter().position(|byte| *byte == end)?;
    let number = std::str::from_utf8(&rest[..length]).ok()?.parse().ok()?;
    *rest = &rest[length + 1..];
    Some(number)
}

fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(number(rest, b':')?).ok()?;
    let bytes = rest.get(..length)?.to_vec();
    *rest = &rest[length..];
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_written_in_the_order_of_its_keys_and_read_back() {
        let value = dict([
            ("sdp", "v=0\r\n".into()),
            ("command", "offer".into()),
            ("flags", ["a", "bc"].into()),
            ("number", Value::Number(-7)),
        ]);
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        assert_eq!(bytes, b"d7:command5:offer5:flagsl1:a2:bce6:numberi-7e3:sdp5:v=0\r\ne");
        assert_eq!(Value::read(&bytes), Some(value.clone()));
        assert_eq!(value.text("command"), Some("offer"));
        assert_eq!((value.text("flags"), value.text("none")), (None, None));
    }

    #[test]
    fn what_is_cut_off_or_has_something_behind_it_is_not_read() {
        for bytes in [&b"d3:ab"[..], b"5:abc", b"i7", b"l1:a", b"", b"x", b"i7ei8e", b"d1:ae", b"-1:"] {
            assert_eq!(Value::read(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
