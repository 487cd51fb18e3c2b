//! JSON as the NG protocol uses it: what bencode has, in other words.
//!
//! A message that says `true`, `false` or a fraction is taken as the text of it, and a `null` as if its key were
//! not there.

use serde_json::{Map, Number, Value as Json};

use crate::value::{DecodeError, Dictionary, MAX_DEPTH, Value};

/// Reads the one value that `bytes` hold.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let json: Json = serde_json::from_slice(bytes).map_err(|error| DecodeError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    Ok(value(json, 0)?.unwrap_or_else(|| Value::from_text("")))
}

/// Appends the bytes of `value` to `out`.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    out.extend(json(value).to_string().bytes());
}

fn value(json: Json, depth: u8) -> Result<Option<Value>, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    Ok(Some(match json {
        Json::Null => return Ok(None),
        Json::Bool(is) => Value::from_text(if is { "yes" } else { "no" }),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None => Value::from_text(number.to_string()),
        },
        Json::String(text) => Value::Text(text.into_bytes()),
        Json::Array(items) => {
            let items = items.into_iter();
            let items = items.filter_map(|item| value(item, depth + 1).transpose());
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let mut dictionary = Dictionary::new();
            for (key, entry) in entries {
                if let Some(entry) = value(entry, depth + 1)? {
                    dictionary.insert(key.into_bytes(), entry);
                }
            }
            Value::Dictionary(dictionary)
        }
    }))
}

fn json(value: &Value) -> Json {
    match value {
        Value::Text(text) => Json::String(String::from_utf8_lossy(text).into_owned()),
        Value::Integer(number) => Json::Number(Number::from(*number)),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Dictionary(entries) => {
            let entries = entries.iter();
            let entries = entries
                .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), json(value)));
            Json::Object(entries.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["{", "{\"a\":}", "{} {}", "{\"a\":1", "{\"a\":\"\\ud800\"}"] {
            let error = decode(text.as_bytes()).unwrap_err();
            assert!(matches!(error, DecodeError::Json { .. }), "{text}: {error}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
        assert_eq!(decode(deep.as_bytes()), Err(DecodeError::TooDeep));
    }

    #[test]
    fn words_that_bencode_lacks_are_texts() {
        let text = r#"{"a":true,"b":null,"c":1.5,"d":["x",null],"e":7}"#;
        let Value::Dictionary(entries) = decode(text.as_bytes()).unwrap() else {
            panic!("a dictionary");
        };
        assert_eq!(entries[b"a".as_slice()], Value::from_text("yes"));
        assert!(!entries.contains_key(b"b".as_slice()));
        assert_eq!(entries[b"c".as_slice()], Value::from_text("1.5"));
        let list = vec![Value::from_text("x")];
        assert_eq!(entries[b"d".as_slice()], Value::List(list));
        assert_eq!(entries[b"e".as_slice()], Value::Integer(7));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut body = b"{\"a\":".to_vec();
            body.extend(&bytes);
            drop(decode(&body));
            let mut out = Vec::new();
            encode(&Value::Text(bytes), &mut out);
            prop_assert!(serde_json::from_slice::<Json>(&out).is_ok());
        }
    }
}
