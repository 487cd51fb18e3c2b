//! Bencode as the NG protocol uses it.
//!
//! The clients write dictionaries in whatever order suits them, where the format asks for sorted keys;
//! so keys are taken in any order, and of a key that is there twice the last counts.

use crate::value::{DecodeError, Dictionary, MAX_DEPTH, Value};

/// Reads the one value that `bytes` hold.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    if reader.at < bytes.len() {
        return Err(DecodeError::Trailing);
    }
    Ok(value)
}

/// Appends the bytes of `value` to `out`.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => encode_text(text, out),
        Value::Integer(number) => {
            out.push(b'i');
            if *number < 0 {
                out.push(b'-');
            }
            encode_digits(number.unsigned_abs(), out);
            out.push(b'e');
        }
        Value::List(items) => {
            out.push(b'l');
            items.iter().for_each(|item| encode(item, out));
            out.push(b'e');
        }
        Value::Dictionary(entries) => {
            out.push(b'd');
            for (key, value) in entries {
                encode_text(key, out);
                encode(value, out);
            }
            out.push(b'e');
        }
    }
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    encode_digits(text.len() as u64, out);
    out.push(b':');
    out.extend_from_slice(text);
}

/// Without the machinery of formats: an answer of a call that ends has a hundred of them.
fn encode_digits(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
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
        let value = decode(b"d7:command4:ping4:lastli-3ei0ee2:aadee").unwrap();
        let Value::Dictionary(entries) = &value else {
            panic!("a dictionary");
        };
        assert_eq!(
            entries[b"command".as_slice()].text(),
            Some(b"ping".as_slice())
        );
        let mut out = Vec::new();
        encode(&value, &mut out);
        assert_eq!(out, b"d2:aade7:command4:ping4:lastli-3ei0eee");
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for number in [0, 9, 10, -1, -120, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            encode(&Value::Integer(number), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("i{number}e"));
        }
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
            assert_eq!(decode(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(
            decode("l".repeat(1000).as_bytes()),
            Err(DecodeError::TooDeep)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Ok(value) = decode(&bytes) {
                let mut out = Vec::new();
                encode(&value, &mut out);
                prop_assert_eq!(decode(&out), Ok(value));
            }
        }
    }
}
