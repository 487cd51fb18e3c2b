//! URIs as SIP uses them (RFC 3261 section 19): `sip`, `sips`, `tel`, and any other scheme opaquely.

mod compare;
mod host;

use std::{borrow::Cow, fmt};

pub use host::Host;

use crate::{
    header::Params,
    text::{split_before, split_once},
};

/// A parsed URI that borrows its text.
///
/// Parsing is lenient where the meaning is plain: an illegal character in a user part (a PBX's `#`)
/// or a stray `%` is kept. White space, angle brackets, quotes and control characters are refused.
#[derive(Debug, Clone, Copy)]
pub struct Uri<'a> {
    raw: &'a str,
    scheme: Scheme<'a>,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: Option<Host<'a>>,
    port: Option<u16>,
    params: Params<'a>,
    headers: &'a str,
}

/// The scheme of a [`Uri`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Any other; a Request-URI with one is owed 416 by an element that has to resolve it.
    Other(&'a str),
}

/// Why a text is no URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// There is no `scheme:` in front.
    #[error("the URI has no scheme")]
    NoScheme,
    /// White space, an angle bracket, a quote or a control character in the URI.
    #[error("the URI holds a character that none may hold")]
    Character,
    /// The host of a sip or sips URI is missing or no host; an IPv6 address needs brackets.
    #[error("the URI's host or port is malformed")]
    Host,
    /// The number of a `tel` URI is missing.
    #[error("the tel URI has no number")]
    Number,
    /// The URI is not UTF-8.
    #[error("the URI is not UTF-8")]
    NotUtf8,
}

impl<'a> Uri<'a> {
    /// Parses a URI from its text, without angle brackets.
    pub fn parse(raw: &'a str) -> Result<Self, UriError> {
        // Nearly all begin so, and the rest is looked at in detail.
        if let Some(rest) = raw.strip_prefix("sip:") {
            return Self::parse_sip(raw, Scheme::Sip, rest);
        }
        if !is_legal(raw.as_bytes()) {
            return Err(UriError::Character);
        }
        let (scheme, rest) = split_once(raw, b':').ok_or(UriError::NoScheme)?;
        if !is_scheme(scheme) {
            return Err(UriError::NoScheme);
        }
        let scheme = Scheme::from_text(scheme);
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::parse_sip(raw, scheme, rest),
            Scheme::Tel => Self::parse_tel(raw, rest),
            Scheme::Other(_) => Ok(Self::opaque(raw, scheme)),
        }
    }

    /// [`Uri::parse`] of bytes as received.
    pub fn from_bytes(raw: &'a [u8]) -> Result<Self, UriError> {
        let text = std::str::from_utf8(raw).map_err(|_| UriError::NotUtf8)?;
        Self::parse(text)
    }

    /// The text as it was received.
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme<'a> {
        self.scheme
    }

    /// Whether the scheme is `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// Whether this is a service URN (RFC 5031), as `urn:service:sos` that a phone calls for help.
    pub fn is_service(&self) -> bool {
        let prefix = "urn:service:";
        let start = self.raw.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            && self.raw.len() > prefix.len()
    }

    /// The user part as received, escapes included, without the password. For `tel` the number.
    pub fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The user part with its escapes resolved.
    pub fn user_unescaped(&self) -> Option<Cow<'a, [u8]>> {
        self.user.map(unescape)
    }

    /// The password after the user's colon. Never log it.
    pub fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// The host. `None` for `tel` and unknown schemes.
    pub fn host(&self) -> Option<Host<'a>> {
        self.host
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI's parameters (`;transport=tcp;lr`).
    pub fn params(&self) -> Params<'a> {
        self.params
    }

    /// Whether the `lr` parameter is there: a loose router (RFC 3261 section 16.12).
    pub fn is_loose_router(&self) -> bool {
        self.params.has("lr")
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<&'a str> {
        self.params.get("transport")
    }

    /// The headers after `?`: name and value as received, escapes included.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let fields = self.headers.split('&').filter(|field| !field.is_empty());
        fields.map(|field| field.split_once('=').unwrap_or((field, "")))
    }

    /// The text without the headers, which no Request-URI may hold (RFC 3261 section 19.1.1).
    pub(crate) fn without_headers(&self) -> &'a str {
        if !self.is_sip() {
            return self.raw;
        }
        let plain = self.raw.strip_suffix(self.headers);
        let plain = plain.and_then(|plain| plain.strip_suffix('?'));
        plain.unwrap_or(self.raw)
    }

    fn parse_sip(raw: &'a str, scheme: Scheme<'a>, rest: &'a str) -> Result<Self, UriError> {
        let marks = Marks::of(rest.as_bytes()).ok_or(UriError::Character)?;
        let (userinfo, rest) = match marks.at.and_then(|at| rest.split_at_checked(at)) {
            Some((userinfo, rest)) => (Some(userinfo), &rest[1..]),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|info| (info, split_once(info, b':'))) {
            None => (None, None),
            Some((_, Some((user, password)))) => (Some(user), Some(password)),
            Some((user, None)) => (Some(user), None),
        };
        let (rest, headers) = match marks.question.and_then(|at| rest.split_at_checked(at)) {
            Some((rest, headers)) => (rest, &headers[1..]),
            None => (rest, ""),
        };
        let semicolon = marks.semicolon.unwrap_or(rest.len());
        let (hostport, params) = rest.split_at_checked(semicolon).unwrap_or((rest, ""));
        let host = |len| hostport.get(..len).unwrap_or_default();
        let (host, port) =
            Host::parse_with_port(hostport.as_bytes(), host).ok_or(UriError::Host)?;
        Ok(Self {
            user,
            password,
            host: Some(host),
            port,
            params: Params::new(params),
            headers,
            ..Self::opaque(raw, scheme)
        })
    }

    fn parse_tel(raw: &'a str, rest: &'a str) -> Result<Self, UriError> {
        let (number, params) = split_before(rest, b';');
        if number.is_empty() {
            return Err(UriError::Number);
        }
        let params = Params::new(params);
        Ok(Self {
            user: Some(number),
            params,
            ..Self::opaque(raw, Scheme::Tel)
        })
    }

    fn opaque(raw: &'a str, scheme: Scheme<'a>) -> Self {
        Self {
            raw,
            scheme,
            user: None,
            password: None,
            host: None,
            port: None,
            params: Params::default(),
            headers: "",
        }
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw)
    }
}

/// Equality is RFC 3261 section 19.1.4, not that of the text. It is not transitive (a parameter
/// that one side lacks is ignored), so there is no `Eq` and no `Hash`.
impl PartialEq for Uri<'_> {
    fn eq(&self, other: &Uri<'_>) -> bool {
        compare::equivalent(self, other)
    }
}

/// Where the parts of a SIP URI meet.
#[derive(Default)]
struct Marks {
    /// The end of the user part. A raw `@` is legal only there; that part may hold `;` and `?`.
    at: Option<usize>,
    /// The first `?` behind it, from there on.
    question: Option<usize>,
    /// The first `;` in front of that.
    semicolon: Option<usize>,
}

impl Marks {
    /// Of what stands behind the scheme; `None` where that holds an illegal character.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (mut marks, mut from) = (Self::default(), 0);
        for (index, byte) in bytes.iter().enumerate() {
            let class = CLASS[usize::from(*byte)];
            if class == PLAIN {
                continue;
            }
            match class {
                b'@' if marks.at.is_none() => {
                    from = index + 1;
                    marks = Self {
                        at: Some(index),
                        ..Self::default()
                    };
                }
                b'?' if marks.question.is_none() => marks.question = Some(index - from),
                b';' if marks.question.is_none() && marks.semicolon.is_none() => {
                    marks.semicolon = Some(index - from);
                }
                ILLEGAL => return None,
                _ => {}
            }
        }
        Some(marks)
    }
}

impl<'a> Scheme<'a> {
    fn from_text(text: &'a str) -> Self {
        if text.eq_ignore_ascii_case("sip") {
            Self::Sip
        } else if text.eq_ignore_ascii_case("sips") {
            Self::Sips
        } else if text.eq_ignore_ascii_case("tel") {
            Self::Tel
        } else {
            Self::Other(text)
        }
    }
}

/// Whether no character is one that no URI may hold.
pub(crate) fn is_legal(uri: &[u8]) -> bool {
    !uri.iter().any(|b| CLASS[usize::from(*b)] == ILLEGAL)
}

/// What a character is to a URI: one of the two below, or itself where parts may meet at it.
const CLASS: [u8; 256] = {
    let mut table = [PLAIN; 256];
    let mut c = 0u8;
    while c < 128 {
        table[c as usize] = match c {
            b'@' | b';' | b'?' => c,
            b'<' | b'>' | b'"' | 0x7F => ILLEGAL,
            c if c <= b' ' => ILLEGAL,
            _ => PLAIN,
        };
        c += 1;
    }
    table
};

const PLAIN: u8 = 0;
/// White space, control characters, angle brackets and quotes: no URI may hold them.
const ILLEGAL: u8 = 1;

/// Resolves `%HH` escapes. A `%` that is not followed by two hex digits stays as it is.
pub fn unescape(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = match bytes[i..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            out.push(high << 4 | low);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    Cow::Owned(out)
}

/// Escapes a text for the user part of a URI (RFC 3261 section 25.1, `user`).
pub fn escape_user(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b'&' | b'=' | b'+'
            )
            || matches!(b, b'$' | b',' | b';' | b'?' | b'/')
    };
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(out)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests;
