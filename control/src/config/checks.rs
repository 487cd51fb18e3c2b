//! What the checks of several sections share.

use std::{fmt, marker::PhantomData, ops::RangeInclusive};

use serde::{Deserialize, Deserializer, de};

/// Errors that are collected, so that all are told at once.
pub(super) trait Checks {
    /// Adds an error where a number is out of bounds.
    fn bound(&mut self, of: &str, value: u32, bounds: RangeInclusive<u32>);
}

impl Checks for Vec<String> {
    fn bound(&mut self, of: &str, value: u32, bounds: RangeInclusive<u32>) {
        if !bounds.contains(&value) {
            let (least, most) = bounds.into_inner();
            self.push(format!("{of} = {value}: must be {least} to {most}"));
        }
    }
}

/// Why a text cannot be the name of a trunk or a group: it appears in logs, metrics and URLs.
pub(super) fn bad_name(name: &str) -> Option<&'static str> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (name.is_empty() || name.len() > 63 || !name.bytes().all(good))
        .then_some("use 1 to 63 letters, digits, '-', '_' and '.'")
}

/// Why a text cannot be a number that is called.
pub(super) fn bad_number(number: &str) -> Option<&'static str> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"*#-_.".contains(&b);
    let bare = number.strip_prefix('+').unwrap_or(number);
    (bare.is_empty() || bare.len() > 63 || !bare.bytes().all(good))
        .then_some("write it as it is called, such as \"+15550100\" or \"100\"")
}

/// Reads a value that is either a text or a table, with the errors of whichever was written.
pub(super) fn text_or_table<'de, D, T, L>(
    deserializer: D,
    text: impl FnOnce(&str) -> Result<T, String>,
    table: impl FnOnce(L) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    L: Deserialize<'de>,
{
    struct Either<F, G, T, L>(F, G, PhantomData<(T, L)>);

    impl<'de, F, G, T, L> de::Visitor<'de> for Either<F, G, T, L>
    where
        F: FnOnce(&str) -> Result<T, String>,
        G: FnOnce(L) -> T,
        L: Deserialize<'de>,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a table")
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
            (self.0)(value).map_err(E::custom)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            L::deserialize(de::value::MapAccessDeserializer::new(map)).map(self.1)
        }
    }

    deserializer.deserialize_any(Either(text, table, PhantomData))
}
