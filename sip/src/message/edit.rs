//! Changed copies of a message: what is not named stays as it was, byte for byte.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use super::{
    Message, Start,
    draft::{Draft, known},
    fields::Field,
    parse::pos,
};
use crate::{
    header::{HeaderName, ListValues, Name, value_end},
    text::{is_token, put_decimal, trim},
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
    /// All text to write but the body.
    text: Vec<u8>,
    /// The new Request-URI in `text`.
    uri: Option<Range<usize>>,
    /// What changes, by its [place](place), so that writing is one pass.
    changes: Vec<(usize, Change)>,
    body: Option<Bytes>,
    error: Option<EditError>,
}

/// Where a change stands: above all fields, at one of them, or below.
mod place {
    pub(super) const TOP: usize = 0;
    pub(super) const BOTTOM: usize = usize::MAX;

    pub(super) const fn at(field: usize) -> usize {
        field + 1
    }
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    /// A new value for the whole field.
    Value(Range<usize>),
    /// A new field: its name with the colon and the space behind it, and its value.
    Line(Option<HeaderName>, Range<usize>, Range<usize>),
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
    /// The result is no message within the [`Limits`](super::Limits).
    #[error("the changed message is no longer a valid one: {0}")]
    Unparseable(super::ParseErrorKind),
}

impl<'m> Edit<'m> {
    pub(super) fn new(message: &'m Message) -> Self {
        Self {
            message,
            text: Vec::new(),
            uri: None,
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
        self.uri = Some(self.put(&[uri]));
        self
    }

    /// Inserts a field above all others. A later call stands above an earlier one.
    pub fn push_top<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        let line = self.line(name.into(), value.as_ref());
        self.changes.insert(0, (place::TOP, line));
        self
    }

    /// Adds a field below all others.
    pub fn push<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        let line = self.line(name.into(), value.as_ref());
        self.changes.push((place::BOTTOM, line));
        self
    }

    /// Removes every field of this name.
    pub fn remove<'n>(mut self, name: impl Into<Name<'n>>) -> Self {
        let name = name.into();
        let mut from = 0;
        while let Some(at) = self.message.position(name, from) {
            self.change(at, Change::Remove);
            from = at + 1;
        }
        self
    }

    /// Removes the first value of a header: one of several on a line, or the field with it. May be
    /// called again for the next value.
    pub fn remove_first(mut self, name: HeaderName) -> Self {
        if let Some((at, value)) = self.first_value(name) {
            let rest = after_first(name, &value);
            let change = if rest.is_empty() {
                Change::Remove
            } else {
                Change::Value(self.put(&[rest]))
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
        let new = match after_first(name, &old) {
            [] => self.put(&[value]),
            rest => self.put(&[value, b", ", rest]),
        };
        self.change(at, Change::Value(new));
        self
    }

    /// Replaces all values of a header by one, where its first field stood (below all others where
    /// there was none).
    pub fn replace<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        let name = name.into();
        let value = value.as_ref();
        self.check_value(value);
        let Some(first) = self.message.position(name, 0) else {
            return self.push(name, value);
        };
        let new = self.put(&[value]);
        self.change(first, Change::Value(new));
        let mut from = first + 1;
        while let Some(at) = self.message.position(name, from) {
            self.change(at, Change::Remove);
            from = at + 1;
        }
        self
    }

    /// Replaces the body and corrects Content-Length. Content-Type stays as it is.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut length = Vec::with_capacity(20);
        put_decimal(&mut length, body.len() as u64);
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
        let body = self.body.as_deref();
        let body = body.unwrap_or_else(|| self.message.body());
        let draft = self.write(body.len());
        let message = draft.finish(self.start(), self.message.is_whole, body);
        let message = message.map_err(EditError::Unparseable)?;
        Ok(message.made_of(self.message, |name| self.changes_any(name)))
    }

    /// All but the body, for which there is room, and the empty line in front of it.
    fn write(&self, body: usize) -> Draft {
        let message = self.message;
        let raw = &message.raw[..];
        let lines = self.changes.len() * 3 + 2;
        let mut draft =
            Draft::with_capacity(message.fields_end as usize + self.text.len() + lines + body);
        let fields_at = message.fields_at as usize;
        match (&self.uri, &message.start) {
            (Some(new), Start::Request { uri, .. }) => {
                draft.text(&raw[..uri.0 as usize]);
                draft.text(&self.text[new.clone()]);
                draft.text(&raw[uri.1 as usize..fields_at]);
            }
            _ => draft.text(&raw[..fields_at]),
        }
        // How far the old fields are dealt with: octets, and the fields in them.
        let (mut octets, mut fields) = (fields_at, 0);
        for (place, change) in &self.changes {
            let (until, field) = match *place {
                place::TOP => (fields_at, 0),
                place::BOTTOM => (message.fields_end as usize, message.fields.len()),
                _ => (message.fields.at(place - 1).start as usize, place - 1),
            };
            draft.copy(message, octets..until, fields..field);
            (octets, fields) = (until, field);
            let start = draft.len();
            let changed = match change {
                Change::Line(name, head, value) => {
                    draft.text(&self.text[head.clone()]);
                    draft.value(*name, start, &self.text[value.clone()]);
                    continue;
                }
                Change::Remove => message.fields.at(field),
                Change::Value(value) => {
                    let changed = message.fields.at(field);
                    let head = &raw[octets..changed.value_start as usize];
                    draft.text(head);
                    if head.ends_with(b":") {
                        draft.text(b" ");
                    }
                    draft.value(changed.name, start, &self.text[value.clone()]);
                    changed
                }
            };
            (octets, fields) = (changed.end(raw), field + 1);
        }
        let end = message.fields_end as usize;
        draft.copy(message, octets..end, fields..message.fields.len());
        draft
    }

    /// Whether a field of this name comes, goes or changes.
    fn changes_any(&self, name: HeaderName) -> bool {
        self.changes.iter().any(|(place, change)| match change {
            Change::Line(new, ..) => *new == Some(name),
            Change::Remove | Change::Value(_) => {
                self.message.fields.at(place - 1).name == Some(name)
            }
        })
    }

    /// The start line of what is written.
    fn start(&self) -> Start {
        let mut start = self.message.start.clone();
        if let (Some(new), Start::Request { uri, version, .. }) = (&self.uri, &mut start) {
            let end = uri.0 + pos(new.len());
            *version = (version.0 - uri.1 + end, version.1 - uri.1 + end);
            uri.1 = end;
        }
        start
    }

    /// The first value that is left of a header: its field, and the field's value as changed so far.
    fn first_value(&self, name: HeaderName) -> Option<(usize, Cow<'m, [u8]>)> {
        let mut from = 0;
        while let Some(at) = self.message.fields.position(name, from) {
            from = at + 1;
            let value = match self.changed(at) {
                Some(Change::Value(value)) => Cow::Owned(self.text[value.clone()].to_vec()),
                Some(_) => continue,
                None => Cow::Borrowed(self.value(self.message.fields.at(at))),
            };
            // A field of a list may hold no value at all, which is not the first one.
            if !name.is_list() || ListValues::new(&value).next().is_some() {
                return Some((at, value));
            }
        }
        None
    }

    fn changed(&self, field: usize) -> Option<&Change> {
        let found = self.find(field).ok()?;
        Some(&self.changes[found].1)
    }

    /// Where the change of a field is in `changes`, or belongs.
    fn find(&self, field: usize) -> Result<usize, usize> {
        let place = place::at(field);
        self.changes.binary_search_by_key(&place, |(at, _)| *at)
    }

    fn value(&self, field: Field) -> &'m [u8] {
        self.message.slice((field.value_start, field.value_end))
    }

    fn change(&mut self, field: usize, change: Change) {
        match self.find(field) {
            Ok(i) => self.changes[i].1 = change,
            Err(i) => self.changes.insert(i, (place::at(field), change)),
        }
    }

    fn line(&mut self, name: Name<'_>, value: &[u8]) -> Change {
        if !is_safe_name(name) {
            self.fail(EditError::Injection);
        }
        self.check_value(value);
        let head = self.put(&[name.as_str().as_bytes(), b": "]);
        Change::Line(known(name), head, self.put(&[value]))
    }

    /// Keeps a text to write.
    fn put(&mut self, parts: &[&[u8]]) -> Range<usize> {
        if self.text.is_empty() {
            // Enough for what a proxy adds to most requests.
            self.text.reserve(512);
        }
        let start = self.text.len();
        for part in parts {
            self.text.extend_from_slice(part);
        }
        start..self.text.len()
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

/// What is left of a header without its first value; empty where no value is left.
fn after_first(name: HeaderName, value: &[u8]) -> &[u8] {
    if !name.is_list() {
        return b"";
    }
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
        return b"";
    }
    trim(rest)
}
