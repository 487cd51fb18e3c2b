//! Values that name someone: From, To, Contact, Route, Record-Route and their like.

use std::borrow::Cow;

use super::{HeaderError, HeaderName, Params};
use crate::{
    text::{Part, is_same, is_utf8, quoted_end, text, trim},
    uri::{Uri, UriError, is_legal},
};

/// `["display"] <uri> ;params`, or a bare `uri ;params` (RFC 3261 section 20.10).
///
/// The URI's text is found, not parsed: a proxy forwards many that it never has to understand.
#[derive(Debug, Clone, Copy)]
pub struct NameAddr<'a> {
    raw: &'a [u8],
    display: &'a [u8],
    /// UTF-8.
    uri: &'a [u8],
    params: Params<'a>,
    bracketed: bool,
}

/// Where the parts of a [`NameAddr`] are in the value of its field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameAddrParts {
    raw: Part,
    display: Part,
    uri: Part,
    params: Part,
    bracketed: bool,
    tag: Part,
}

impl NameAddrParts {
    /// The `tag` parameter; see [`NameAddr::tag`].
    pub(crate) fn tag<'a>(&self, value: &'a [u8]) -> Option<&'a str> {
        let tag = self.tag.slice(value);
        (!tag.is_empty()).then(|| text(tag))
    }
}

impl<'a> NameAddr<'a> {
    /// Parses one value of the header `name`, which is only for the error.
    ///
    /// Without brackets, what follows the first `;` belongs to the header, and a `?` or a comma in
    /// the URI is an error (RFC 3261 section 20.10).
    pub fn parse(name: HeaderName, value: &'a [u8]) -> Result<Self, HeaderError> {
        Self::parse_value(trim(value)).ok_or(HeaderError::Malformed(name))
    }

    fn parse_value(raw: &'a [u8]) -> Option<Self> {
        let after_quotes = match raw.first()? {
            b'"' => quoted_end(raw)?,
            _ => 0,
        };
        let Some(open) = memchr::memchr(b'<', &raw[after_quotes..]) else {
            return Self::parse_bare(raw, after_quotes);
        };
        let open = after_quotes + open;
        let close = open + memchr::memchr(b'>', &raw[open..])?;
        let display = trim(&raw[..open]);
        if after_quotes > 0 && display.len() != after_quotes {
            return None;
        }
        let (uri, params) = (&raw[open + 1..close], trim(&raw[close + 1..]));
        let is_bordered = params.is_empty() || params.starts_with(b";");
        if uri.is_empty() || !is_bordered || !is_utf8(&raw[open + 1..]) {
            return None;
        }
        Some(Self {
            raw,
            display,
            uri,
            params: Params::closed(params)?,
            bracketed: true,
        })
    }

    fn parse_bare(raw: &'a [u8], after_quotes: usize) -> Option<Self> {
        if after_quotes > 0 {
            return None;
        }
        let semicolon = raw.iter().position(|b| *b == b';');
        let (uri, params) = raw.split_at_checked(semicolon.unwrap_or(raw.len()))?;
        let uri = trim(uri);
        let needs_brackets = memchr::memchr2(b'?', b',', uri).is_some();
        if uri.is_empty() || needs_brackets || !is_utf8(raw) {
            return None;
        }
        Some(Self {
            raw,
            display: b"",
            uri,
            params: Params::closed(params)?,
            bracketed: false,
        })
    }

    /// Where its parts are in the `value` that it was parsed from.
    pub(crate) fn parts(&self, value: &[u8]) -> NameAddrParts {
        let part = |part| Part::of(value, part);
        NameAddrParts {
            raw: part(self.raw),
            display: part(self.display),
            uri: part(self.uri),
            params: part(self.params.as_bytes()),
            bracketed: self.bracketed,
            tag: part(self.raw_tag().unwrap_or_default()),
        }
    }

    /// The one whose parts these are.
    pub(crate) fn of_parts(value: &'a [u8], parts: &NameAddrParts) -> Self {
        Self {
            raw: parts.raw.slice(value),
            display: parts.display.slice(value),
            uri: parts.uri.slice(value),
            params: Params::of(parts.params.slice(value)),
            bracketed: parts.bracketed,
        }
    }

    /// The whole value as it was received, trimmed.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The display name as received, with its quotes if it had any. Empty where there is none.
    pub fn display_raw(&self) -> &'a [u8] {
        self.display
    }

    /// The display name without quotes and quoting backslashes, bytes that are not UTF-8 replaced.
    pub fn display(&self) -> Cow<'a, str> {
        let Some(inner) = self
            .display
            .strip_prefix(b"\"")
            .and_then(|d| d.strip_suffix(b"\""))
        else {
            return String::from_utf8_lossy(self.display);
        };
        if !inner.contains(&b'\\') {
            return String::from_utf8_lossy(inner);
        }
        let mut plain = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter();
        while let Some(byte) = bytes.next() {
            let byte = if *byte == b'\\' {
                bytes.next().unwrap_or(byte)
            } else {
                byte
            };
            plain.push(*byte);
        }
        Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
    }

    /// The URI's text, without brackets; white space in them, which is illegal, is kept.
    pub fn uri_str(&self) -> &'a str {
        text(self.uri)
    }

    /// The URI, parsed now.
    pub fn uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri_str())
    }

    /// Whether the URI holds no character that none may hold.
    pub(crate) fn has_legal_uri(&self) -> bool {
        is_legal(self.uri)
    }

    /// Whether the URI stood in angle brackets.
    pub fn is_bracketed(&self) -> bool {
        self.bracketed
    }

    /// The header's parameters, those after the brackets.
    pub fn params(&self) -> Params<'a> {
        self.params
    }

    /// The `tag` parameter of From and To. An empty one, as some clients send in a first request,
    /// counts as none, and does not hide the one that was added behind it.
    pub fn tag(&self) -> Option<&'a str> {
        self.raw_tag().map(text)
    }

    fn raw_tag(&self) -> Option<&'a [u8]> {
        let tags = self.params.raw().filter(|(name, _)| is_same(name, b"tag"));
        let mut tags = tags.filter_map(|(_, tag)| tag);
        tags.find(|tag| !tag.is_empty())
    }

    /// The `expires` parameter of a Contact, in seconds. Too large a number is capped; `None` where
    /// it is missing or no number, for which RFC 3261 section 10.3 substitutes a default.
    pub fn expires(&self) -> Option<u32> {
        let text = self.params.get("expires")?;
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(text.parse().unwrap_or(u32::MAX))
    }

    /// The `q` parameter of a Contact in thousandths, 0 to 1000. `None` where missing or malformed.
    pub fn q(&self) -> Option<u16> {
        let text = self.params.get("q")?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let thousandths = format!("{fraction:0<3}").parse().ok()?;
        match (whole, thousandths) {
            ("0", thousandths) => Some(thousandths),
            ("1", 0) => Some(1000),
            _ => None,
        }
    }
}
