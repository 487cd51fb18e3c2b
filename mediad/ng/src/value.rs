//! Values, whichever way they are written.

use std::collections::BTreeMap;

use crate::{bencode, json};

/// How deep lists and dictionaries may nest.
pub(crate) const MAX_DEPTH: u8 = 16;

/// A value of a message. Texts are bytes: SDP and tags are passed on as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Vec<u8>),
    /// A whole number.
    Integer(i64),
    /// A list.
    List(Vec<Self>),
    /// A dictionary.
    Dictionary(Dictionary),
}

/// A dictionary of a message.
pub type Dictionary = BTreeMap<Vec<u8>, Value>;

/// How a message's dictionary is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// BitTorrent's.
    Bencode,
    /// JSON (RFC 8259).
    Json,
}

/// Bytes that hold no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text ends within a value.
    #[error("the bencode is cut off")]
    Truncated,
    /// A byte that cannot stand where it does.
    #[error("there is no bencode at byte {0}")]
    Unexpected(usize),
    /// Nested too deeply.
    #[error("the message is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Something follows the value.
    #[error("bytes follow the bencode")]
    Trailing,
    /// Not JSON; the line and the column where it ceases to be, from 1.
    #[error("there is no JSON at line {line}, column {column}")]
    Json {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
}

impl Encoding {
    /// How `body` is written, by its first byte.
    pub fn of(body: &[u8]) -> Self {
        match body.first() {
            Some(b'{') => Self::Json,
            _ => Self::Bencode,
        }
    }

    /// Reads the one value that `body` holds.
    ///
    /// # Errors
    /// [`DecodeError`], with the place where that is known.
    pub fn decode(self, body: &[u8]) -> Result<Value, DecodeError> {
        match self {
            Self::Bencode => bencode::decode(body),
            Self::Json => json::decode(body),
        }
    }

    /// Appends `value` to `out`. JSON has no bytes that are not UTF-8: those become U+FFFD there.
    pub fn encode(self, value: &Value, out: &mut Vec<u8>) {
        match self {
            Self::Bencode => bencode::encode(value, out),
            Self::Json => json::encode(value, out),
        }
    }
}

impl Value {
    /// A text of `text`.
    pub fn from_text(text: impl AsRef<[u8]>) -> Self {
        Self::Text(text.as_ref().to_vec())
    }

    /// A number of `number`; the largest there is where it does not fit.
    pub fn from_number(number: impl TryInto<i64>) -> Self {
        Self::Integer(number.try_into().unwrap_or(i64::MAX))
    }

    /// The text, where this is one.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, where this is one or a text of one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
            _ => None,
        }
    }

    /// The texts of a list, or the one text that stands in the place of a list.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let items = match self {
            Self::List(items) => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        items.iter().filter_map(Self::text)
    }

    /// For a message to a human: what it says, cut where it is long.
    pub fn shown(&self) -> String {
        match self {
            Self::Text(text) => {
                let text = String::from_utf8_lossy(text);
                text.chars().take(60).flat_map(char::escape_debug).collect()
            }
            Self::Integer(number) => number.to_string(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().take(8).map(Self::shown).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Dictionary(_) => "{…}".to_owned(),
        }
    }
}

/// A dictionary of these entries.
pub fn dictionary<const N: usize>(entries: [(&str, Value); N]) -> Dictionary {
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.as_bytes().to_vec(), value))
        .collect()
}
