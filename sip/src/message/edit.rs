//! Changed copies of a message: what is not named stays as it was, byte for byte.

mod index;

use bytes::Bytes;

use super::{Limits, Message, Start, fields::Field};
use crate::{
    header::{HeaderName, ListValues, Name, value_end},
    text::{is_token, trim},
};

/// Collects changes to a [`Message`] and writes the changed one into a single new buffer.
///
/// Changes apply to the fields of the original; what was pushed is not seen by `remove` and
/// `replace`. The body changes with [`Edit::body`] only, which also corrects Content-Length.
///
/// ```
/// # use sip::{header::HeaderName, message::Message};
/// # let raw = "BYE sip:b@192.0.2.2 SIP/2.0\r\nMax-Forwards: 70\r\nX-Any:  kept\r\n\r\n";
/// # let message = Message::parse(raw.into()).unwrap();
/// let forwarded = message
///     .edit()
///     .push_top(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
///     .replace(HeaderName::MaxForwards, "69")
///     .finish()
///     .unwrap();
/// # assert_eq!(&forwarded.as_bytes()[..],
/// #     b"BYE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
/// #       Max-Forwards: 69\r\nX-Any:  kept\r\n\r\n");
/// ```
#[derive(Debug, Clone)]
#[must_use = "an Edit does nothing until finish()"]
pub struct Edit<'m> {
    message: &'m Message,
    uri: Option<Vec<u8>>,
    /// Whole lines for the top, the last one first.
    top: Vec<Vec<u8>>,
    /// Whole lines for the bottom.
    bottom: Vec<u8>,
    changes: Vec<(usize, Change)>,
    body: Option<Bytes>,
    error: Option<EditError>,
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    /// A new value for the whole field.
    Value(Vec<u8>),
}

/// Why an edit cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A name, value or URI holds a CR or LF, or a name is no token: it would forge header lines.
    #[error("a header or URI to write holds a line end, or a name is no token")]
    Injection,
    /// A new Request-URI for a response.
    #[error("a response has no Request-URI to replace")]
    NotARequest,
    /// The result is no message within the [`Limits`].
    #[error("the changed message is no longer a valid one: {0}")]
    Unparseable(super::ParseErrorKind),
}

impl<'m> Edit<'m> {
    pub(super) fn new(message: &'m Message) -> Self {
        Self {
            message,
            uri: None,
            top: Vec::new(),
            bottom: Vec::new(),
            changes: Vec::new(),
            body: None,
            error: None,
        }
    }

    /// Replaces the Request-URI.
    pub fn request_uri(mut self, uri: impl AsRef<[u8]>) -> Self {
        let uri = uri.as_ref();
        if !self.message.is_request() {
            self.fail(EditError::NotARequest);
        }
        if uri.is_empty() || uri.iter().any(u8::is_ascii_whitespace) {
            self.fail(EditError::Injection);
        }
        self.uri = Some(uri.to_vec());
        self
    }

    /// Inserts a field above all others. A later call stands above an earlier one.
    pub fn push_top<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        let mut line = Vec::new();
        self.write_field(&mut line, name.into(), value.as_ref());
        self.top.push(line);
        self
    }

    /// Adds a field below all others.
    pub fn push<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        let mut bottom = std::mem::take(&mut self.bottom);
        self.write_field(&mut bottom, name.into(), value.as_ref());
        self.bottom = bottom;
        self
    }

    /// Removes every field of this name.
    pub fn remove<'n>(mut self, name: impl Into<Name<'n>>) -> Self {
        let name = name.into();
        for at in 0..self.message.fields.len() {
            if self.is(at, name) {
                self.change(at, Change::Remove);
            }
        }
        self
    }

    /// Removes the first value of a header: one of several on a line, or the field with it. May be
    /// called again for the next value.
    pub fn remove_first(mut self, name: HeaderName) -> Self {
        if let Some((at, value)) = self.first_value(name) {
            let rest = if name.is_list() {
                after_first(&value)
            } else {
                Vec::new()
            };
            let change = if rest.is_empty() {
                Change::Remove
            } else {
                Change::Value(rest)
            };
            self.change(at, change);
        }
        self
    }

    /// Replaces the first value of a header; others on its line stay. Adds the header below all
    /// others where there is none.
    pub fn replace_first(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.check_value(value);
        let Some((at, old)) = self.first_value(name) else {
            return self.push(name, value);
        };
        let mut new = value.to_vec();
        let rest = if name.is_list() {
            after_first(&old)
        } else {
            Vec::new()
        };
        if !rest.is_empty() {
            new.extend_from_slice(b", ");
            new.extend_from_slice(&rest);
        }
        self.change(at, Change::Value(new));
        self
    }

    /// Replaces all values of a header by one, where its first field stood (below all others where
    /// there was none).
    pub fn replace<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        let name = name.into();
        let value = value.as_ref();
        self.check_value(value);
        let Some(first) = (0..self.message.fields.len()).find(|at| self.is(*at, name)) else {
            return self.push(name, value);
        };
        self = self.remove(name);
        self.change(first, Change::Value(value.to_vec()));
        self
    }

    /// Replaces the body and corrects Content-Length. Content-Type stays as it is.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = body.len().to_string();
        self.body = Some(body);
        self.replace(HeaderName::ContentLength, length)
    }

    /// [`Edit::body`] with a new Content-Type.
    pub fn body_of(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.replace(HeaderName::ContentType, content_type)
            .body(body)
    }

    /// Writes the changed message.
    pub fn finish(self) -> Result<Message, EditError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let limits = Limits {
            message: usize::MAX,
            ..Limits::default()
        };
        let raw = self.write();
        let parse = || Message::parse_with(raw.clone(), &limits);
        if let Some(message) = self.index(&raw, &limits) {
            debug_assert!(parse().is_ok_and(|parsed| parsed.is_indexed_as(&message)));
            return Ok(message);
        }
        parse().map_err(|e| EditError::Unparseable(e.kind))
    }

    fn write(&self) -> Bytes {
        let message = self.message;
        let raw = &message.raw[..];
        let fields_at = message.fields_at as usize;
        let fields_end = message.fields_end as usize;
        let added: usize = self.top.iter().map(Vec::len).sum::<usize>() + self.bottom.len();
        let body = self
            .body
            .as_ref()
            .map_or_else(|| message.body(), |body| &body[..]);
        let changed = self.changes.iter().map(|(_, change)| match change {
            Change::Remove => 0,
            Change::Value(value) => value.len() + 1,
        });
        let uri = self.uri.as_ref().map_or(0, Vec::len);
        let size = fields_end + uri + added + changed.sum::<usize>() + 2 + body.len();
        let mut out = Vec::with_capacity(size);
        match (&self.uri, &message.start) {
            (Some(new), Start::Request { uri, .. }) => {
                out.extend_from_slice(&raw[..uri.0 as usize]);
                out.extend_from_slice(new);
                out.extend_from_slice(&raw[uri.1 as usize..fields_at]);
            }
            _ => out.extend_from_slice(&raw[..fields_at]),
        }
        for line in self.top.iter().rev() {
            out.extend_from_slice(line);
        }
        let mut copied = fields_at;
        for (at, change) in &self.changes {
            let field = message.fields.at(*at);
            let end = field.end(raw);
            match change {
                Change::Remove => {
                    out.extend_from_slice(&raw[copied..field.start as usize]);
                    copied = end;
                }
                Change::Value(value) => {
                    let until = field.value_start as usize;
                    out.extend_from_slice(&raw[copied..until]);
                    if until > 0 && raw[until - 1] == b':' {
                        out.extend_from_slice(b" ");
                    }
                    out.extend_from_slice(value);
                    copied = end - 2;
                }
            }
        }
        out.extend_from_slice(&raw[copied..fields_end]);
        out.extend_from_slice(&self.bottom);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        out.into()
    }

    /// The first value that is left of a header: its field, and the field's value as changed so far.
    fn first_value(&self, name: HeaderName) -> Option<(usize, Vec<u8>)> {
        let fields = self.message.fields.iter().enumerate();
        for (at, field) in fields.filter(|(_, field)| field.name == Some(name)) {
            let value = match self.changes.binary_search_by_key(&at, |(at, _)| *at) {
                Ok(i) => match &self.changes[i].1 {
                    Change::Remove => continue,
                    Change::Value(value) => value,
                },
                Err(_) => self.value(field),
            };
            // A field of a list may hold no value at all, which is not the first one.
            if !name.is_list() || ListValues::new(value).next().is_some() {
                return Some((at, value.to_vec()));
            }
        }
        None
    }

    fn value(&self, field: Field) -> &'m [u8] {
        self.message.slice((field.value_start, field.value_end))
    }

    fn is(&self, at: usize, name: Name<'_>) -> bool {
        let field = self.message.fields.at(at);
        match name {
            Name::Known(name) => field.name == Some(name),
            Name::Other(_) => self.message.view(field).is(name),
        }
    }

    /// Keeps `changes` sorted by field, so that writing is one pass.
    fn change(&mut self, at: usize, change: Change) {
        match self.changes.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(i) => self.changes[i].1 = change,
            Err(i) => self.changes.insert(i, (at, change)),
        }
    }

    fn write_field(&mut self, out: &mut Vec<u8>, name: Name<'_>, value: &[u8]) {
        if !is_safe_name(name) {
            self.fail(EditError::Injection);
        }
        self.check_value(value);
        put_field(out, name, value);
    }

    fn check_value(&mut self, value: &[u8]) {
        if !is_safe_value(value) {
            self.fail(EditError::Injection);
        }
    }

    fn fail(&mut self, error: EditError) {
        self.error = self.error.or(Some(error));
    }
}

/// Whether a name is a token.
pub(super) fn is_safe_name(name: Name<'_>) -> bool {
    match name {
        Name::Known(_) => true,
        Name::Other(text) => is_token(text.as_bytes()),
    }
}

/// Whether a value cannot end its field: a line end in it has to be a fold, as in a value copied
/// from another message.
pub(super) fn is_safe_value(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(hit) = memchr::memchr2(b'\r', b'\n', rest) {
        match rest[hit..] {
            [b'\r', b'\n', b' ' | b'\t', ..] => rest = &rest[hit + 3..],
            _ => return false,
        }
    }
    true
}

pub(super) fn put_field(out: &mut Vec<u8>, name: Name<'_>, value: &[u8]) {
    out.reserve(name.as_str().len() + value.len() + 4);
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What is left of a list without its first value; empty where no value is left.
fn after_first(value: &[u8]) -> Vec<u8> {
    let mut rest = value;
    loop {
        let end = value_end(rest);
        let first = trim(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
        if !first.is_empty() || rest.is_empty() {
            break;
        }
    }
    if ListValues::new(rest).next().is_none() {
        return Vec::new();
    }
    trim(rest).to_vec()
}
