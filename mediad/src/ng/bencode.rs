//! Bencode as the NG protocol uses it.
//!
//! The clients write dictionaries in whatever order suits them, where the format asks for sorted keys;
//! so keys are taken in any order, and of a key that is there twice the last counts.

use std::collections::BTreeMap;

/// How deep lists and dictionaries may nest.
const MAX_DEPTH: u8 = 16;

/// A bencoded value. Texts are bytes: SDP and tags are passed on as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(Vec<u8>),
    Integer(i64),
    List(Vec<Self>),
    Dictionary(Dictionary),
}

/// A bencoded dictionary.
pub(super) type Dictionary = BTreeMap<Vec<u8>, Value>;

/// Bytes that are not bencode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// The text ends within a value.
    #[error("the bencode is cut off")]
    Truncated,
    /// A byte that cannot stand where it does.
    #[error("there is no bencode at byte {0}")]
    Unexpected(usize),
    /// Nested too deeply.
    #[error("the bencode is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Something follows the value.
    #[error("bytes follow the bencode")]
    Trailing,
}

impl Value {
    /// The text, where this is one.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text of `text`.
    pub(super) fn from_text(text: impl AsRef<[u8]>) -> Self {
        Self::Text(text.as_ref().to_vec())
    }

    /// Reads the one value that `bytes` hold.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        let value = reader.value(0)?;
        if reader.at < bytes.len() {
            return Err(DecodeError::Trailing);
        }
        Ok(value)
    }

    /// Appends the value's bytes to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => encode_text(text, out),
            Self::Integer(number) => out.extend(format!("i{number}e").bytes()),
            Self::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.encode(out));
                out.push(b'e');
            }
            Self::Dictionary(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    encode_text(key, out);
                    value.encode(out);
                }
                out.push(b'e');
            }
        }
    }
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("{}:", text.len()).bytes());
    out.extend(text);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: u8) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.until(b'e').map(Value::Integer)
            }
            b'l' => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.end()? {
                    items.push(self.value(depth + 1)?);
                }
                Ok(Value::List(items))
            }
            b'd' => {
                self.at += 1;
                let mut entries = Dictionary::new();
                while !self.end()? {
                    let key = self.text()?.to_vec();
                    entries.insert(key, self.value(depth + 1)?);
                }
                Ok(Value::Dictionary(entries))
            }
            b'0'..=b'9' => Ok(Value::Text(self.text()?.to_vec())),
            _ => Err(DecodeError::Unexpected(self.at)),
        }
    }

    fn text(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let length =
            usize::try_from(self.until(b':')?).map_err(|_| DecodeError::Unexpected(start))?;
        let end = self.at.checked_add(length).ok_or(DecodeError::Truncated)?;
        let text = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated)?;
        self.at = end;
        Ok(text)
    }

    /// The number up to `stop`, which is passed over.
    fn until(&mut self, stop: u8) -> Result<i64, DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| *byte == stop)
            .ok_or(DecodeError::Truncated)?;
        let number = std::str::from_utf8(&rest[..length])
            .ok()
            .filter(|digits| !digits.starts_with('+'))
            .and_then(|digits| digits.parse().ok())
            .ok_or(DecodeError::Unexpected(self.at))?;
        self.at += length + 1;
        Ok(number)
    }

    fn end(&mut self) -> Result<bool, DecodeError> {
        let ends = self.peek()? == b'e';
        self.at += usize::from(ends);
        Ok(ends)
    }

    fn peek(&self) -> Result<u8, DecodeError> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or(DecodeError::Truncated)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kamailios_ping_is_read_whatever_its_order() {
        let value = Value::decode(b"d7:command4:ping4:lastli-3ei0ee2:aadee").unwrap();
        let Value::Dictionary(entries) = &value else {
            panic!("a dictionary");
        };
        assert_eq!(
            entries[b"command".as_slice()].text(),
            Some(b"ping".as_slice())
        );
        let mut out = Vec::new();
        value.encode(&mut out);
        assert_eq!(out, b"d2:aade7:command4:ping4:lastli-3ei0eee");
    }

    #[test]
    fn what_is_not_bencode_is_refused() {
        for (text, error) in [
            ("", DecodeError::Truncated),
            ("x", DecodeError::Unexpected(0)),
            ("5:abc", DecodeError::Truncated),
            ("-1:abc", DecodeError::Unexpected(0)),
            ("d1:ae", DecodeError::Unexpected(4)),
            ("i+1e", DecodeError::Unexpected(1)),
            ("i1ei2e", DecodeError::Trailing),
            ("99999999999999999999:a", DecodeError::Unexpected(0)),
        ] {
            assert_eq!(Value::decode(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(
            Value::decode("l".repeat(1000).as_bytes()),
            Err(DecodeError::TooDeep)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Ok(value) = Value::decode(&bytes) {
                let mut out = Vec::new();
                value.encode(&mut out);
                prop_assert_eq!(Value::decode(&out), Ok(value));
            }
        }
    }
}
