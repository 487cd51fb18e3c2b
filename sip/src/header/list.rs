//! Comma-separated values of one header field.

use crate::text::{quoted_end, trim};

/// Splits at the commas outside quotes and angle brackets; values are trimmed, empty ones skipped.
///
/// A quote or bracket that never closes takes the rest of the field with it: parsing that value then
/// fails, and nothing is split where the sender saw no border.
#[derive(Debug, Clone)]
pub struct ListValues<'a> {
    rest: &'a [u8],
}

impl<'a> ListValues<'a> {
    /// Splits this field value.
    pub fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for ListValues<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = value_end(self.rest);
            let value = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !value.is_empty() {
                return Some(value);
            }
        }
        None
    }
}

/// The index of the comma that ends the first value, or the length.
pub(crate) fn value_end(bytes: &[u8]) -> usize {
    let mut i = 0;
    while let Some(hit) = bytes
        .get(i..)
        .and_then(|rest| memchr::memchr3(b',', b'"', b'<', rest))
    {
        let hit = i + hit;
        let skip = match bytes[hit] {
            b',' => return hit,
            b'"' => quoted_end(&bytes[hit..]),
            _ => memchr::memchr(b'>', &bytes[hit..]).map(|end| end + 1),
        };
        let Some(skip) = skip else { break };
        i = hit + skip;
    }
    bytes.len()
}
