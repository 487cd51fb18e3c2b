//! A message while it is written, together with its index: a proxy changes a few lines of many, and to
//! look for what was just written takes longer than to note it.

use std::{ops::Range, sync::OnceLock};

use bytes::Bytes;

use super::{
    Limits, Message, ParseErrorKind, Start,
    fields::{Field, Fields},
    parse::pos,
};
use crate::{
    header::{HeaderName, Name},
    text::{decimal, put_decimal, trim_end, trim_start},
};

/// What is written so far, and where its fields are.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    out: Vec<u8>,
    fields: Fields,
}

impl Draft {
    pub(super) fn with_capacity(octets: usize) -> Self {
        Self {
            out: Vec::with_capacity(octets),
            fields: Fields::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Writes what is no field, as the start line, or the begin of one.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    /// [`Draft::text`] of a number.
    pub(super) fn decimal(&mut self, number: u64) {
        put_decimal(&mut self.out, number);
    }

    /// Writes a field, whose name and value are known to be safe.
    pub(super) fn field(&mut self, name: Name<'_>, value: &[u8]) {
        let (known, text) = (known(name), name.as_str());
        self.out.reserve(text.len() + value.len() + 4);
        let start = self.out.len();
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b": ");
        self.value(known, start, value);
    }

    /// Writes the field that says how long the body is.
    pub(super) fn content_length(&mut self, octets: usize) {
        let (name, start) = (HeaderName::ContentLength, self.out.len());
        self.out.extend_from_slice(name.as_str().as_bytes());
        self.out.extend_from_slice(b": ");
        let value_at = self.out.len();
        put_decimal(&mut self.out, octets as u64);
        self.end_field(Some(name), start, value_at);
    }

    /// Writes the value of a field whose name and colon stand from `start` on, and ends its line.
    pub(super) fn value(&mut self, name: Option<HeaderName>, start: usize, value: &[u8]) {
        let value_at = self.out.len();
        self.out.extend_from_slice(value);
        self.end_field(name, start, value_at);
    }

    fn end_field(&mut self, name: Option<HeaderName>, start: usize, value_at: usize) {
        let value = trim_start(&self.out[value_at..]);
        let value_start = self.out.len() - value.len();
        let value_end = value_start + trim_end(value).len();
        self.out.extend_from_slice(b"\r\n");
        self.fields.push(Field {
            name,
            start: pos(start),
            value_start: pos(value_start),
            value_end: pos(value_end),
        });
    }

    /// Copies octets of another message, and with them the fields that they hold.
    pub(super) fn copy(&mut self, from: &Message, octets: Range<usize>, fields: Range<usize>) {
        if octets.is_empty() {
            return;
        }
        let at = self.out.len();
        self.fields.copy(&from.fields, fields, octets.clone(), at);
        self.out.extend_from_slice(&from.raw[octets]);
    }

    /// Adds the fields of another draft, which holds nothing else.
    pub(super) fn append(&mut self, other: &Self) {
        let (at, octets) = (self.out.len(), 0..other.out.len());
        self.fields
            .copy(&other.fields, 0..other.fields.len(), octets, at);
        self.out.extend_from_slice(&other.out);
    }

    /// Whether it holds a field of this name.
    pub(super) fn has(&self, name: HeaderName) -> bool {
        self.fields.position(name, 0).is_some()
    }

    /// Ends the header section, whose start line is `start`, and adds the body. `is_whole`: nothing
    /// but the start line and what was noted stands in it.
    pub(super) fn finish(
        mut self,
        start: Start,
        is_whole: bool,
        body: &[u8],
    ) -> Result<Message, ParseErrorKind> {
        let limits = Limits {
            message: usize::MAX,
            ..Limits::default()
        };
        let fields_end = pos(self.out.len());
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        let first = self.fields.iter().next();
        let message = Message {
            raw: self.out.into(),
            start,
            fields_at: first.map_or(fields_end, |first| first.start),
            fields_end,
            fields: self.fields,
            is_whole: true,
            core: OnceLock::new(),
        };
        let parse = |raw: Bytes| Message::parse_with(raw, &limits).map_err(|e| e.kind);
        if is_whole && message.is_surely_within(&limits) {
            debug_assert!(
                parse(message.raw.clone()).is_ok_and(|parsed| parsed.is_indexed_as(&message))
            );
            return Ok(message);
        }
        parse(message.raw)
    }
}

impl Message {
    /// This message, made of one whose core headers may be found already. `is_new`: whether the first
    /// field of a name may be another one than it was there.
    pub(super) fn made_of(self, old: &Self, is_new: impl Fn(HeaderName) -> bool) -> Self {
        // What was framed of no message may lack fields that parsing finds in what was written.
        if let Some(core) = old.core.get().filter(|_| old.is_whole) {
            let core = core.carried(&self, is_new);
            let _ = self.core.set(core);
        }
        self
    }

    /// Whether parsing a message that was written field by field would find no fault in it: no line can
    /// be too long, the fields are not too many, and the body is as long as it is said to be.
    fn is_surely_within(&self, limits: &Limits) -> bool {
        let length = u64::try_from(self.body().len()).ok();
        let mut lengths = self.fields_named(HeaderName::ContentLength);
        self.fields_end as usize <= limits.header
            && self.fields.len() <= limits.headers
            && lengths.all(|value| decimal(value) == length)
    }
}

/// What a name to write will be read as.
pub(super) fn known(name: Name<'_>) -> Option<HeaderName> {
    match name {
        Name::Known(name) => Some(name),
        Name::Other(text) => HeaderName::parse(text.as_bytes()),
    }
}
