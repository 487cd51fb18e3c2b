//! Names of keys and flags, which clients write with spaces, dashes and underscores, and in either case.

use crate::Value;

/// A name in small letters, with dashes.
pub(crate) fn plain(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let mut plain = String::with_capacity(name.len());
    plain.extend(name.trim().chars().map(plain_letter));
    plain
}

/// Whether `plain` is the plain form of `name`, which has no space around it.
pub(crate) fn is_plain_of(plain: &str, name: &str) -> bool {
    plain.chars().eq(name.chars().map(plain_letter))
}

const fn plain_letter(letter: char) -> char {
    match letter {
        ' ' | '_' => '-',
        other => other.to_ascii_lowercase(),
    }
}

/// Whether a key's value says that it is not wanted.
pub(crate) fn is_off(value: &Value) -> bool {
    let words = ["no", "none", "off", "false", "0", "disable", "disabled"];
    match value {
        Value::Text(text) => words.contains(&plain(text).as_str()),
        Value::Integer(number) => *number == 0,
        Value::List(items) => items.iter().all(is_off),
        Value::Dictionary(entries) => entries.is_empty(),
    }
}
