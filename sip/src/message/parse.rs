//! The framing pass: where the start line, each header field and the body are.

use std::sync::OnceLock;

use bytes::{Buf as _, Bytes};

use super::{
    Message, Method, Span, Start,
    fields::{Field, Fields},
};
use crate::{
    header::HeaderName,
    text::{decimal, find_near, is_lws, is_token, trim_end, trim_start},
};

/// Bounds on what is parsed; beyond them a request is owed 513, or 414.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Header fields in a message. 256 unless told.
    pub headers: usize,
    /// Bytes of one header field or of the start line. 8192 unless told. Via, Route, Record-Route and
    /// Path, which grow with each hop and may stand on one line, get four times as much.
    pub header: usize,
    /// Bytes of a message, body included. 65536 unless told.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers: 256,
            header: 8192,
            message: 65_536,
        }
    }
}

/// Bytes that are no SIP message, or one that cannot be framed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// What was framed of a request that may still be answered: it has no defective header line in
    /// it, and perhaps less body or fewer headers than were sent.
    pub partial: Option<Box<Message>>,
}

/// What is wrong with bytes that [`Message::parse`] refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Nothing but line ends: a keepalive.
    #[error("no message, only line ends (a keepalive)")]
    Empty,
    /// The first line is no SIP start line.
    #[error("the first line is no SIP request or status line")]
    NotSip,
    /// The status line's code is not one of 100 to 699.
    #[error("the status code is not in 100 to 699")]
    StatusCode,
    /// A line that is no `name: value`.
    #[error("a header line is not \"name: value\"")]
    HeaderLine,
    /// A CR or LF that is not part of a CR LF. Others might see a line end there.
    #[error("a CR or LF stands alone in the header section")]
    BareLineEnd,
    /// The bytes end before the empty line after the headers.
    #[error("the message ends within its header section")]
    Truncated,
    /// Content-Length is no number, or there are two that differ.
    #[error("Content-Length is malformed or contradicts itself")]
    ContentLength,
    /// The body is shorter than Content-Length.
    #[error("the body is shorter than Content-Length says")]
    BodyTooShort,
    /// More header fields than [`Limits::headers`].
    #[error("the message has too many header fields")]
    TooManyHeaders,
    /// A header field longer than [`Limits::header`].
    #[error("a header field is too long")]
    HeaderTooLong,
    /// A start line longer than [`Limits::header`], as it is by its Request-URI.
    #[error("the Request-URI is too long")]
    UriTooLong,
    /// More bytes than [`Limits::message`].
    #[error("the message is too large")]
    TooLarge,
}

impl ParseError {
    /// The status that the request is owed; `None` where nothing can or may be answered. What is in
    /// order and merely more than the limits allow is no bad request (RFC 3261 section 21.5.7).
    pub fn status(&self) -> Option<u16> {
        self.partial.as_ref()?;
        Some(match self.kind {
            ParseErrorKind::UriTooLong => 414,
            ParseErrorKind::TooLarge
            | ParseErrorKind::TooManyHeaders
            | ParseErrorKind::HeaderTooLong => 513,
            _ => 400,
        })
    }
}

impl From<ParseErrorKind> for ParseError {
    fn from(kind: ParseErrorKind) -> Self {
        Self {
            kind,
            partial: None,
        }
    }
}

pub(super) fn parse(mut raw: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    let empty_lines = raw
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    raw.advance(empty_lines);
    if raw.is_empty() {
        return Err(ParseErrorKind::Empty.into());
    }
    let mut first_error = None;
    if raw.len() > limits.message {
        first_error = Some(ParseErrorKind::TooLarge);
        raw.truncate(limits.message);
    }
    // Positions are kept in 32 bits.
    raw.truncate(u32::MAX as usize);

    let line_end = match next_line_end(&raw, 0) {
        LineEnd::At(end) => end,
        LineEnd::Bare(_) | LineEnd::Missing => return Err(ParseErrorKind::NotSip.into()),
    };
    let start = start_line(&raw[..line_end])?;
    if line_end > limits.header {
        first_error = first_error.or(Some(ParseErrorKind::UriTooLong));
    }
    let mut section = Section {
        raw: &raw,
        limits,
        error: first_error,
        content_length: None,
    };
    let mut fields = Fields::new();
    let fields_end = section.fields(&mut fields, line_end + 2);
    let Section {
        mut error,
        content_length,
        ..
    } = section;

    let body_at = (fields_end + 2).min(raw.len());
    if let Some(length) = content_length {
        let available = raw.len() - body_at;
        match usize::try_from(length) {
            Ok(length) if length <= available => raw.truncate(body_at + length),
            _ => error = error.or(Some(ParseErrorKind::BodyTooShort)),
        }
    }
    let message = Message {
        raw,
        start,
        fields_at: pos(line_end + 2),
        fields_end: pos(fields_end),
        fields,
        is_whole: error.is_none(),
        core: OnceLock::new(),
    };
    match error {
        None => Ok(message),
        Some(kind) => {
            let partial = message.is_answerable().then(|| Box::new(message));
            Err(ParseError { kind, partial })
        }
    }
}

/// The Content-Length of a whole header section on a stream; an error where its border, and with it
/// the body's, is in doubt. A line that is no header does not hide the border.
pub(crate) fn body_length(head: &[u8], limits: &Limits) -> Result<Option<u64>, ParseErrorKind> {
    let LineEnd::At(line_end) = next_line_end(head, 0) else {
        return Err(ParseErrorKind::NotSip);
    };
    match start_line(&head[..line_end]) {
        Ok(_) | Err(ParseErrorKind::StatusCode) => {}
        Err(kind) => return Err(kind),
    }
    let mut section = Section {
        raw: head,
        limits,
        error: None,
        content_length: None,
    };
    section.fields(&mut Fields::new(), line_end + 2);
    match section.error {
        None | Some(ParseErrorKind::HeaderLine) => Ok(section.content_length),
        Some(kind) => Err(kind),
    }
}

/// The header section while it is walked. The first error is kept and the walk goes on, so that an
/// answer to the request has the headers it needs.
struct Section<'a> {
    raw: &'a [u8],
    limits: &'a Limits,
    error: Option<ParseErrorKind>,
    content_length: Option<u64>,
}

impl Section<'_> {
    /// Finds the fields from `at` on; where the empty line after them begins.
    fn fields(&mut self, fields: &mut Fields, mut at: usize) -> usize {
        loop {
            let Some((end, is_clean)) = field_end(self.raw, at) else {
                self.fail(ParseErrorKind::Truncated);
                return self.raw.len();
            };
            if end == at {
                return at;
            }
            if !is_clean {
                self.fail(ParseErrorKind::BareLineEnd);
            } else if end - at > self.limits.header && !self.may_be_long(at, end) {
                self.fail(ParseErrorKind::HeaderTooLong);
            } else if fields.len() == self.limits.headers {
                self.fail(ParseErrorKind::TooManyHeaders);
            } else if let Some(field) = field(self.raw, at, end) {
                self.note_content_length(&field);
                fields.push(field);
            } else {
                self.fail(ParseErrorKind::HeaderLine);
            }
            at = end + 2;
        }
    }

    /// Whether the field is one that names a hop after the other, and not too long for that.
    fn may_be_long(&self, at: usize, end: usize) -> bool {
        let name = field(self.raw, at, end).and_then(|field| field.name);
        let names_hops = matches!(
            name,
            Some(HeaderName::Via | HeaderName::Route | HeaderName::RecordRoute | HeaderName::Path)
        );
        names_hops && end - at <= self.limits.header.saturating_mul(4)
    }

    fn note_content_length(&mut self, field: &Field) {
        if field.name != Some(HeaderName::ContentLength) {
            return;
        }
        let value = &self.raw[field.value_start as usize..field.value_end as usize];
        let length = decimal(value);
        if length.is_none()
            || self
                .content_length
                .is_some_and(|first| Some(first) != length)
        {
            self.fail(ParseErrorKind::ContentLength);
        }
        self.content_length = self.content_length.or(length);
    }

    fn fail(&mut self, kind: ParseErrorKind) {
        // A line that is no header is the least of defects: it hides no border.
        if matches!(self.error, None | Some(ParseErrorKind::HeaderLine)) {
            self.error = Some(kind);
        }
    }
}

/// Where the CR LF is that ends the field at `at`, folded lines included, and whether no other CR
/// or LF stands in it. An empty line ends where it begins.
fn field_end(raw: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut from = at;
    let mut is_clean = true;
    loop {
        match next_line_end(raw, from) {
            LineEnd::At(end) if end == at || !matches!(raw.get(end + 2), Some(b' ' | b'\t')) => {
                return Some((end, is_clean));
            }
            LineEnd::At(end) => from = end + 2,
            LineEnd::Bare(hit) => {
                is_clean = false;
                from = hit + 1;
            }
            LineEnd::Missing => return None,
        }
    }
}

enum LineEnd {
    /// A CR LF begins here.
    At(usize),
    /// A CR or LF alone.
    Bare(usize),
    /// The bytes end first.
    Missing,
}

fn next_line_end(raw: &[u8], from: usize) -> LineEnd {
    let Some(hit) = raw
        .get(from..)
        .and_then(|rest| memchr::memchr2(b'\r', b'\n', rest))
    else {
        return LineEnd::Missing;
    };
    let hit = from + hit;
    match raw[hit..] {
        [b'\r', b'\n', ..] => LineEnd::At(hit),
        _ => LineEnd::Bare(hit),
    }
}

/// The field between `at` and `end`; `None` where it is no `name: value`.
#[inline]
fn field(raw: &[u8], at: usize, end: usize) -> Option<Field> {
    let line = &raw[at..end];
    let colon = find_near(line, b':')?;
    let mut name = &line[..colon];
    // White space may stand in front of the colon, and must not hide the name behind it.
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    let known = HeaderName::parse(name);
    if known.is_none() && !is_token(name) {
        return None;
    }
    let value = trim_start(&line[colon + 1..]);
    let value_start = end - value.len();
    Some(Field {
        name: known,
        start: pos(at),
        value_start: pos(value_start),
        value_end: pos(value_start + trim_end(value).len()),
    })
}

/// Finds the three parts of a start line. White space in a Request-URI and a version other than 2.0
/// are left to `validate`, which knows what they are owed.
fn start_line(line: &[u8]) -> Result<Start, ParseErrorKind> {
    let first = memchr::memchr(b' ', line).ok_or(ParseErrorKind::NotSip)?;
    if is_version(&line[..first]) {
        return status_line(line, first);
    }
    let method = Method::parse(&line[..first]).ok_or(ParseErrorKind::NotSip)?;
    let blanks = line.iter().rev().take_while(|b| is_lws(**b)).count();
    let end = line.len() - blanks;
    let last = memchr::memrchr(b' ', &line[..end]).ok_or(ParseErrorKind::NotSip)?;
    if last <= first || !is_version(&line[last + 1..end]) {
        return Err(ParseErrorKind::NotSip);
    }
    // Trailing white space stays in the version: it is an error, and validate shall see it.
    Ok(Start::Request {
        method,
        uri: span(first + 1, last),
        version: span(last + 1, line.len()),
    })
}

fn status_line(line: &[u8], version_end: usize) -> Result<Start, ParseErrorKind> {
    let rest = &line[version_end + 1..];
    let code_end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let status = decimal(&rest[..code_end])
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| code_end == 3 && (100..700).contains(status))
        .ok_or(ParseErrorKind::StatusCode)?;
    let reason = (version_end + 1 + code_end + 1).min(line.len());
    Ok(Start::Response {
        status,
        reason: span(reason, line.len()),
        version: span(0, version_end),
    })
}

fn is_version(text: &[u8]) -> bool {
    text.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
}

fn span(start: usize, end: usize) -> Span {
    (pos(start), pos(end))
}

/// A position in the buffer, whose length was cut to fit.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the buffer was cut to u32::MAX bytes"
)]
pub(super) fn pos(at: usize) -> u32 {
    at as u32
}
