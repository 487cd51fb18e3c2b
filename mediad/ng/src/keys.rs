//! Names of keys and flags, which clients write with spaces, dashes and underscores, and in either case.

use crate::Value;

/// A name in small letters, with dashes.
pub(crate) fn plain(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let letters = name.trim().chars().map(|letter| match letter {
        ' ' | '_' => '-',
        other => other.to_ascii_lowercase(),
    });
    letters.collect()
}

/// Whether a key's value says that it is not wanted.
pub(crate) fn is_off(value: &Value) -> bool {
    let words = ["no", "off", "false", "0", "disable", "disabled"];
    match value {
        Value::Text(text) => words.contains(&plain(text).as_str()),
        Value::Integer(number) => *number == 0,
        Value::List(items) => items.iter().all(is_off),
        Value::Dictionary(entries) => entries.is_empty(),
    }
}
