//! `;name=value` parameters of URIs and header values.

use crate::text::{quoted_end, trim_str};

/// A borrowed list of parameters: `;name=value;flag;name="quoted"`. Empty where there is none.
///
/// Names compare without regard to case. The text is parsed at each look-up: a list holds a handful.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// Takes the text from its first `;` on (or without it). What stands there is not judged.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// `None` where a quoted string or an angle bracket never closes: whatever were added behind would
    /// be swallowed.
    pub(crate) fn closed(text: &'a str) -> Option<Self> {
        Self::checked(text, |rest| Some(memchr::memchr(b'>', rest)? + 1))
    }

    /// `None` where a quoted string never closes, or an angle bracket opens outside of one. Such a
    /// bracket hides commas: taken off with its parameter, it would leave the list with one value
    /// more.
    pub(crate) fn closed_without_brackets(text: &'a str) -> Option<Self> {
        Self::checked(text, |_| None)
    }

    /// `bracket_end`: the index after the bracket that opens what it is given.
    fn checked(text: &'a str, bracket_end: fn(&[u8]) -> Option<usize>) -> Option<Self> {
        let mut rest = text.as_bytes();
        while let Some(open) = memchr::memchr2(b'"', b'<', rest) {
            rest = &rest[open..];
            let end = match rest[0] {
                b'"' => quoted_end(rest)?,
                _ => bracket_end(rest)?,
            };
            rest = &rest[end..];
        }
        Some(Self(text))
    }

    /// The text as it was received.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// The parameters in order: name, and value where there is one. A quoted value keeps its quotes.
    pub fn iter(&self) -> ParamsIter<'a> {
        ParamsIter { rest: self.0 }
    }

    /// The value of the first parameter of this name: `""` for a flag without a value.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let hit = self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        hit.map(|(_, value)| value.unwrap_or(""))
    }

    /// Whether a parameter of this name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = (&'a str, Option<&'a str>);
    type IntoIter = ParamsIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterator of [`Params::iter`].
#[derive(Debug, Clone)]
pub struct ParamsIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for ParamsIter<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (end, equals) = param_end(self.rest.as_bytes());
            let (param, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest.strip_prefix(';').unwrap_or(rest);
            if let Some(parts) = equals.and_then(|at| param.split_at_checked(at)) {
                let (name, value) = (trim_str(parts.0), trim_str(&parts.1[1..]));
                return Some((name, Some(value)));
            }
            let param = trim_str(param);
            if !param.is_empty() {
                return Some((param, None));
            }
        }
    }
}

/// The index of the `;` that ends the first parameter, quoted strings skipped, and that of the first `=`
/// in it.
fn param_end(bytes: &[u8]) -> (usize, Option<usize>) {
    // A name is a few bytes long, for which a plain loop is the quickest.
    let is_mark = |b: &u8| matches!(b, b';' | b'=' | b'"');
    let Some(mut at) = bytes.iter().position(is_mark) else {
        return (bytes.len(), None);
    };
    let equals = |from: usize| {
        let rest = bytes.get(from..)?;
        Some(from + rest.iter().position(|b| *b == b'=')?)
    };
    let first = match bytes[at] {
        b'=' => Some(at),
        b';' => return (at, None),
        _ => equals(at),
    };
    while let Some(hit) = bytes
        .get(at..)
        .and_then(|rest| memchr::memchr2(b';', b'"', rest))
    {
        at += hit;
        if bytes[at] == b';' {
            return (at, first.filter(|equals| *equals < at));
        }
        let Some(len) = quoted_end(&bytes[at..]) else {
            break;
        };
        at += len;
    }
    (bytes.len(), first)
}
