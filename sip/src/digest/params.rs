//! `auth-param`s: the comma-separated parameters of challenges and credentials.

use std::borrow::Cow;

use super::DigestError;
use crate::text::{is_lws, is_same, is_utf8, quoted_end, text, token_len, trim_start};

/// More parameters than any client or server writes.
const MOST: usize = 64;

/// A value as written: a token, or what stands between quotes with its backslashes. UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a> {
    raw: &'a [u8],
    quoted: bool,
}

impl<'a> Value<'a> {
    /// The value as written.
    pub(super) fn raw(&self) -> &'a str {
        text(self.raw)
    }

    /// Whether it is written so, in any case.
    pub(super) fn is(&self, text: &str) -> bool {
        self.raw.eq_ignore_ascii_case(text.as_bytes())
    }

    /// The text that is meant: quoting backslashes resolved.
    pub(super) fn text(&self) -> Cow<'a, str> {
        if !self.quoted || !self.raw.contains(&b'\\') {
            return Cow::Borrowed(self.raw());
        }
        let mut plain = String::with_capacity(self.raw.len());
        let mut chars = self.raw().chars();
        while let Some(c) = chars.next() {
            plain.push(if c == '\\' {
                chars.next().unwrap_or(c)
            } else {
                c
            });
        }
        Cow::Owned(plain)
    }
}

/// The parameters of one challenge or of one set of credentials, in order.
#[derive(Debug, Clone)]
pub(super) struct AuthParams<'a> {
    list: Vec<(&'a [u8], Value<'a>)>,
}

impl<'a> AuthParams<'a> {
    fn new() -> Self {
        Self {
            // As many as credentials have.
            list: Vec::with_capacity(12),
        }
    }

    /// The value of a parameter.
    pub(super) fn find(&self, name: &str) -> Option<Value<'a>> {
        self.get(name.as_bytes())
    }

    fn get(&self, name: &[u8]) -> Option<Value<'a>> {
        let hit = self.list.iter().find(|(known, _)| is_same(known, name));
        hit.map(|(_, value)| *value)
    }

    pub(super) fn need(&self, name: &'static str) -> Result<Value<'a>, DigestError> {
        self.find(name).ok_or(DigestError::Missing(name))
    }
}

/// A scheme and its parameters.
#[derive(Debug, Clone)]
pub(super) struct Scheme<'a> {
    name: &'a [u8],
    /// `Err` where they are malformed or repeat themselves, or are none (`Bearer` with its token).
    pub(super) params: Result<AuthParams<'a>, DigestError>,
}

impl<'a> Scheme<'a> {
    pub(super) fn is_digest(&self) -> bool {
        self.name.eq_ignore_ascii_case(b"Digest")
    }

    fn add(&mut self, name: &'a [u8], value: Value<'a>) {
        let Ok(params) = &mut self.params else {
            return;
        };
        if params.get(name).is_some() {
            self.params = Err(DigestError::Repeated);
        } else if params.list.len() >= MOST {
            self.params = Err(DigestError::Malformed);
        } else {
            params.list.push((name, value));
        }
    }

    /// What cannot be read is no worse than what was found before.
    fn spoil(&mut self) {
        if self.params.is_ok() {
            self.params = Err(DigestError::Malformed);
        }
    }
}

/// Every scheme of a header field's value. A comma separates parameters, and a comma and a token
/// without `=` behind begin the next scheme (RFC 9110 section 11.6.1 allows several in one field).
pub(super) fn schemes(value: &[u8]) -> Result<Vec<Scheme<'_>>, DigestError> {
    if !is_utf8(value) {
        return Err(DigestError::Malformed);
    }
    let mut found: Vec<Scheme<'_>> = Vec::new();
    let mut rest = trim_start(value);
    while !rest.is_empty() {
        let mut element = rest;
        let mut next = parameter(element);
        // `Digest realm="x"`: a scheme before its first parameter.
        if next.is_none()
            && let Some((name, tail)) = scheme(element)
        {
            found.push(Scheme {
                name,
                params: Ok(AuthParams::new()),
            });
            if found.len() > MOST {
                return Err(DigestError::Malformed);
            }
            element = tail;
            next = parameter(tail);
        }
        rest = match (next, after_comma(element)) {
            (Some((name, value, behind)), _) => {
                let scheme = found.last_mut().ok_or(DigestError::Malformed)?;
                scheme.add(name, value);
                behind
            }
            (None, Some(behind)) => behind,
            (None, None) => {
                found.last_mut().ok_or(DigestError::Malformed)?.spoil();
                element.get(element_end(element) + 1..).unwrap_or_default()
            }
        };
        rest = trim_start(rest);
    }
    Ok(found)
}

/// The name of a scheme that the next element opens, and what stands behind it.
fn scheme(element: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, behind) = element.split_at_checked(token_len(element))?;
    let tail = trim_start(behind);
    let is_parted = tail.len() < behind.len() || matches!(tail, [] | [b',', ..]);
    (!name.is_empty() && is_parted && !tail.starts_with(b"=")).then_some((name, tail))
}

/// `name = value` and what stands behind its comma; `None` where the next element is none.
fn parameter(element: &[u8]) -> Option<(&[u8], Value<'_>, &[u8])> {
    let (name, behind) = element.split_at_checked(token_len(element))?;
    let behind = trim_start(trim_start(behind).strip_prefix(b"=")?);
    if name.is_empty() {
        return None;
    }
    let quoted = behind.starts_with(b"\"");
    let (raw, behind) = if quoted {
        let end = quoted_end(behind)?;
        (&behind[1..end - 1], &behind[end..])
    } else {
        // Lenient: some clients leave quotes off values that hold more than token characters.
        let end = behind
            .iter()
            .position(|b| is_lws(*b) || matches!(b, b',' | b'"'));
        behind.split_at_checked(end.unwrap_or(behind.len()))?
    };
    after_comma(trim_start(behind)).map(|behind| (name, Value { raw, quoted }, behind))
}

/// What stands behind a comma, or behind the last element.
fn after_comma(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [b',', behind @ ..] => Some(behind),
        _ => None,
    }
}

/// The index of the comma that ends the first element, quoted strings skipped.
fn element_end(bytes: &[u8]) -> usize {
    let mut i = 0;
    while let Some(hit) = bytes
        .get(i..)
        .and_then(|rest| memchr::memchr2(b',', b'"', rest))
    {
        let hit = i + hit;
        if bytes[hit] == b',' {
            return hit;
        }
        let Some(len) = quoted_end(&bytes[hit..]) else {
            break;
        };
        i = hit + len;
    }
    bytes.len()
}

/// A text for a quoted string. `None` where it holds a control character: no escape hides one.
pub(super) fn quote(text: &str) -> Option<Cow<'_, str>> {
    if text.bytes().all(is_plain) {
        return Some(Cow::Borrowed(text));
    }
    if text.chars().any(char::is_control) {
        return None;
    }
    let mut quoted = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    Some(Cow::Owned(quoted))
}

/// A text that is as it stands between quotes already. `None` where it would end them early or late, or
/// holds a control character.
pub(super) fn written(text: &str) -> Option<&str> {
    if text.bytes().all(is_plain) {
        return Some(text);
    }
    let mut chars = text.chars();
    while let Some(first) = chars.next() {
        let meant = match first {
            '"' => return None,
            '\\' => chars.next()?,
            other => other,
        };
        if meant.is_control() {
            return None;
        }
    }
    Some(text)
}

/// Whether a character stands in a quoted string as itself; others are looked at in detail.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}
