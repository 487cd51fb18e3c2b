//! Lists that are read a page at a time, newest first.

use std::{fmt, str::FromStr};

use serde::Serialize;
use uuid::Uuid;

use crate::Timestamp;

/// The most items that one page has.
pub const MAX_PAGE: u32 = 1000;

/// A part of a list, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<Cursor>,
}

/// A place in a list: after the record of this time and id. Callers treat its text as opaque.
///
/// It names a record, not a count, so records that come in meanwhile shift nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the last record of the page before began.
    pub(crate) time: Timestamp,
    /// Its id.
    pub(crate) id: Uuid,
}

/// A cursor that the store did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: repeat the text of 'next' from the page before, unchanged")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.time.millis(), self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (time, id) = text.split_once('-').ok_or(CursorError)?;
        let time = i64::from_str_radix(time, 16).map_err(|_| CursorError)?;
        let id = Uuid::try_parse(id).map_err(|_| CursorError)?;
        let time = Timestamp::from_millis(time);
        Ok(Self { time, id })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor {
            time: Timestamp::from_millis(1_763_700_000_123),
            id: Uuid::now_v7(),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "-", "1", "xyz-0", "1-2", "-1-018f", "12-' OR 1=1 --"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
