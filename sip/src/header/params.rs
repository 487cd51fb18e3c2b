//! `;name=value` parameters of URIs and header values.

use std::fmt;

use crate::text::{quoted_end, text, trim, trim_start};

/// A borrowed list of parameters: `;name=value;flag;name="quoted"`. Empty where there is none.
///
/// Names compare without regard to case. The text is parsed at each look-up: a list holds a handful.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Params<'a>(
    /// UTF-8.
    &'a [u8],
);

impl<'a> Params<'a> {
    /// Takes the text from its first `;` on (or without it). What stands there is not judged.
    pub fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// [`Params::new`] of UTF-8.
    pub(crate) fn of(utf8: &'a [u8]) -> Self {
        Self(utf8)
    }

    /// [`Params::of`]. `None` where a quoted string or an angle bracket never
    /// closes: whatever were added behind would be swallowed.
    pub(crate) fn closed(utf8: &'a [u8]) -> Option<Self> {
        Self::checked(utf8, |rest| Some(memchr::memchr(b'>', rest)? + 1))
    }

    /// [`Params::closed`], and `None` where an angle bracket opens outside of a quoted string. Such a
    /// bracket hides commas: taken off with its parameter, it would leave the list with one value
    /// more.
    pub(crate) fn closed_without_brackets(utf8: &'a [u8]) -> Option<Self> {
        Self::checked(utf8, |_| None)
    }

    /// `bracket_end`: the index after the bracket that opens what it is given.
    fn checked(utf8: &'a [u8], bracket_end: fn(&[u8]) -> Option<usize>) -> Option<Self> {
        let mut rest = utf8;
        while let Some(open) = memchr::memchr2(b'"', b'<', rest) {
            rest = &rest[open..];
            let end = match rest[0] {
                b'"' => quoted_end(rest)?,
                _ => bracket_end(rest)?,
            };
            rest = &rest[end..];
        }
        Some(Self(utf8))
    }

    /// The text as it was received.
    pub fn as_str(&self) -> &'a str {
        text(self.0)
    }

    /// The octets of [`Params::as_str`].
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The parameters in order: name, and value where there is one. A quoted value keeps its quotes.
    pub fn iter(&self) -> ParamsIter<'a> {
        ParamsIter(self.raw())
    }

    /// [`Params::iter`] in octets.
    pub(crate) fn raw(&self) -> RawParams<'a> {
        RawParams {
            rest: self.0.strip_prefix(b";").unwrap_or(self.0),
        }
    }

    /// The value of the first parameter of this name: `""` for a flag without a value.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|value| text(value.unwrap_or_default()))
    }

    /// Whether a parameter of this name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The first parameter of this name: its value, where there is one.
    pub(crate) fn find(&self, name: &str) -> Option<Option<&'a [u8]>> {
        // Compared where it would stand: to look for the end of each name takes longer.
        let (name, mut rest) = (name.as_bytes(), self.raw().rest);
        while !rest.is_empty() {
            if let Some((start, behind)) = trim_start(rest).split_at_checked(name.len())
                && start.eq_ignore_ascii_case(name)
            {
                match trim_start(behind) {
                    [] | [b';', ..] => return Some(None),
                    [b'=', value @ ..] => return Some(Some(trim(&value[..param_end(value, 0)]))),
                    _ => {}
                }
            }
            rest = rest.get(param_end(rest, 0) + 1..).unwrap_or_default();
        }
        None
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Params").field(&self.as_str()).finish()
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
pub struct ParamsIter<'a>(RawParams<'a>);

impl<'a> Iterator for ParamsIter<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.next()?;
        Some((text(name), value.map(text)))
    }
}

/// Iterator of [`Params::raw`].
#[derive(Debug, Clone)]
pub(crate) struct RawParams<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RawParams<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            // A name is a few bytes long, for which a plain loop is the quickest.
            let mark = self.rest.iter().position(|b| MARK[usize::from(*b)]);
            let (end, equals) = match mark.map(|at| (at, self.rest[at])) {
                Some((at, b'=')) => (param_end(self.rest, at + 1), Some(at)),
                // A string where none belongs.
                Some((at, b'"')) => {
                    let end = param_end(self.rest, at);
                    let equals = self.rest[..end].iter().position(|b| *b == b'=');
                    (end, equals)
                }
                Some((at, _)) => (at, None),
                None => (self.rest.len(), None),
            };
            let param = &self.rest[..end];
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if let Some(equals) = equals {
                return Some((trim(&param[..equals]), Some(trim(&param[equals + 1..]))));
            }
            let name = trim(param);
            if !name.is_empty() {
                return Some((name, None));
            }
        }
        None
    }
}

/// What may end the name of a parameter.
const MARK: [bool; 256] = {
    let mut table = [false; 256];
    table[b';' as usize] = true;
    table[b'=' as usize] = true;
    table[b'"' as usize] = true;
    table
};

/// The index of the `;` that ends the parameter which goes on at `at`, quoted strings skipped, or the
/// length.
fn param_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(hit) = bytes
        .get(at..)
        .and_then(|rest| memchr::memchr2(b';', b'"', rest))
    {
        at += hit;
        if bytes[at] == b';' {
            return at;
        }
        let Some(len) = quoted_end(&bytes[at..]) else {
            break;
        };
        at += len;
    }
    bytes.len()
}
