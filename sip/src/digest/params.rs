//! `auth-param`s: the comma-separated parameters of challenges and credentials.

use std::borrow::Cow;

use super::DigestError;
use crate::text::{is_lws, is_token, quoted_end, trim};

/// More parameters than any client or server writes.
const MOST: usize = 64;

/// A value as written: a token, or the text between quotes with its backslashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) raw: &'a str,
    quoted: bool,
}

impl<'a> Value<'a> {
    /// The text that is meant: quoting backslashes resolved.
    pub(super) fn text(&self) -> Cow<'a, str> {
        if !self.quoted || !self.raw.contains('\\') {
            return Cow::Borrowed(self.raw);
        }
        let mut plain = String::with_capacity(self.raw.len());
        let mut chars = self.raw.chars();
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
#[derive(Debug, Clone, Default)]
pub(super) struct AuthParams<'a> {
    list: Vec<(&'a str, Value<'a>)>,
}

impl<'a> AuthParams<'a> {
    /// The value of a parameter.
    pub(super) fn find(&self, name: &str) -> Option<Value<'a>> {
        let hit = self
            .list
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        hit.map(|(_, value)| *value)
    }

    pub(super) fn need(&self, name: &'static str) -> Result<Value<'a>, DigestError> {
        self.find(name).ok_or(DigestError::Missing(name))
    }
}

/// A scheme and its parameters.
#[derive(Debug, Clone)]
pub(super) struct Scheme<'a> {
    pub(super) name: &'a str,
    /// `Err` where they are malformed or repeat themselves, or are none (`Bearer` with its token).
    pub(super) params: Result<AuthParams<'a>, DigestError>,
}

impl Scheme<'_> {
    pub(super) fn is_digest(&self) -> bool {
        self.name.eq_ignore_ascii_case("Digest")
    }
}

/// Every scheme of a header field's value. A comma separates parameters, and a comma and a token
/// without `=` behind begin the next scheme (RFC 9110 section 11.6.1 allows several in one field).
pub(super) fn schemes(value: &[u8]) -> Result<Vec<Scheme<'_>>, DigestError> {
    let text = std::str::from_utf8(value).map_err(|_| DigestError::Malformed)?;
    let mut found: Vec<Scheme<'_>> = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let end = element_end(rest);
        let element = trim(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
        if element.is_empty() {
            continue;
        }
        // `Digest realm="x"`: a scheme before its first parameter.
        let gap = element.iter().position(|b| is_lws(*b));
        let head = &element[..gap.unwrap_or(element.len())];
        let tail = gap.map(|gap| trim(&element[gap..])).unwrap_or_default();
        let opens = is_token(head) && !tail.starts_with(b"=");
        let param = if opens {
            found.push(Scheme {
                name: text_of(head),
                params: Ok(AuthParams::default()),
            });
            tail
        } else {
            element
        };
        let Some(scheme) = found.last_mut() else {
            return Err(DigestError::Malformed);
        };
        if !param.is_empty() {
            add(scheme, param);
        }
        if found.len() > MOST {
            return Err(DigestError::Malformed);
        }
    }
    Ok(found)
}

fn add<'a>(scheme: &mut Scheme<'a>, element: &'a [u8]) {
    let Ok(params) = &mut scheme.params else {
        return;
    };
    match parameter(element) {
        None => scheme.params = Err(DigestError::Malformed),
        Some((name, _)) if params.find(name).is_some() => {
            scheme.params = Err(DigestError::Repeated);
        }
        Some(_) if params.list.len() >= MOST => scheme.params = Err(DigestError::Malformed),
        Some(parameter) => params.list.push(parameter),
    }
}

fn parameter(element: &[u8]) -> Option<(&str, Value<'_>)> {
    let equals = memchr::memchr(b'=', element)?;
    let (name, value) = (trim(&element[..equals]), trim(&element[equals + 1..]));
    if !is_token(name) {
        return None;
    }
    if value.first() == Some(&b'"') {
        let closes = quoted_end(value)? == value.len();
        let inner = value.get(1..value.len() - 1)?;
        let value = Value {
            raw: text_of(inner),
            quoted: true,
        };
        return closes.then_some((text_of(name), value));
    }
    // Lenient: some clients leave quotes off values that hold more than token characters.
    let legal = |b: &u8| !is_lws(*b) && *b != b'"';
    let value = value.iter().all(legal).then_some(value)?;
    Some((
        text_of(name),
        Value {
            raw: text_of(value),
            quoted: false,
        },
    ))
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

/// Parts of a text that are cut at ASCII characters stay UTF-8.
fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A text for a quoted string. `None` where it holds a control character: no escape hides one.
pub(super) fn quote(text: &str) -> Option<Cow<'_, str>> {
    if text.chars().any(char::is_control) {
        return None;
    }
    if !text.contains(['"', '\\']) {
        return Some(Cow::Borrowed(text));
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
