//! SIP messages: an index over one buffer, read in place and edited without touching the rest.
//!
//! [`Message::parse`] finds where things are and judges nothing else: a proxy has to forward what it
//! does not understand (RFC 3261 sections 16.3 and 16.6). [`Message::validate`] says what an element
//! owes to a request that breaks the rules. Typed views ([`Via`], [`NameAddr`], …) are parsed from
//! the buffer at each call. [`Edit`] writes a changed copy, [`RequestBuilder`] and
//! [`ResponseBuilder`] new messages.

mod build;
mod core;
mod draft;
mod edit;
mod fields;
mod method;
mod parse;
mod validate;

use std::{fmt, ops::Range, sync::OnceLock};

use bytes::Bytes;

pub use build::{BuildError, RequestBuilder, ResponseBuilder, reason_phrase};
pub use edit::{Edit, EditError};
pub use method::Method;
pub(crate) use parse::body_length;
pub use parse::{Limits, ParseError, ParseErrorKind};
pub use validate::Invalid;

use self::{
    core::Core,
    fields::{Field, Fields},
};
use crate::{
    header::{
        CSeq, ContentType, HeaderError, HeaderName, ListValues, Name, NameAddr, NameAddrParts, Via,
    },
    text::{decimal, is_lws, trim},
    uri::{Uri, UriError},
};

/// One request or response, over the bytes that it came in. Reading one allocates nothing, unless it has
/// more than 32 header fields. Cloning copies the index, not the bytes.
#[derive(Clone)]
pub struct Message {
    raw: Bytes,
    start: Start,
    /// The first byte after the start line.
    fields_at: u32,
    /// The empty line that ends the header section.
    fields_end: u32,
    fields: Fields,
    /// Whether every line of the header section is in `fields`: not of what was framed of bytes that are
    /// no message.
    is_whole: bool,
    /// Once somebody has asked.
    core: OnceLock<Core>,
}

/// A position in the buffer: start, end.
type Span = (u32, u32);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    Request {
        method: Method,
        uri: Span,
        version: Span,
    },
    Response {
        status: u16,
        reason: Span,
        version: Span,
    },
}

/// The first line of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// `METHOD uri SIP/2.0`
    Request {
        /// The method.
        method: &'a Method,
        /// The Request-URI as received.
        uri: &'a [u8],
    },
    /// `SIP/2.0 status reason`
    Response {
        /// 100 to 699.
        status: u16,
        /// The reason phrase, in whatever bytes it was written.
        reason: &'a [u8],
    },
}

/// One header field of a message.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    known: Option<HeaderName>,
    /// The name and its colon, with the white space behind either.
    head: &'a [u8],
    value: &'a [u8],
}

/// Iterator of [`Message::values`].
#[derive(Clone)]
struct Values<'a> {
    message: &'a Message,
    name: HeaderName,
    /// The field to go on with.
    next: usize,
    /// What is left of the one before.
    list: ListValues<'a>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(value) = self.list.next() {
                return Some(value);
            }
            let at = self.message.fields.position(self.name, self.next)?;
            self.next = at + 1;
            let value = self.message.value_at(at);
            if !self.name.is_list() {
                return Some(value);
            }
            self.list = ListValues::new(value);
        }
    }
}

impl Message {
    /// Parses a datagram with the default [`Limits`].
    ///
    /// Empty lines in front are skipped. The body ends where Content-Length says (octets after it are
    /// dropped, RFC 3261 section 18.3), or with the datagram where there is none. An error on a
    /// request that could still be answered carries what was framed of it.
    pub fn parse(raw: Bytes) -> Result<Self, ParseError> {
        Self::parse_with(raw, &Limits::default())
    }

    /// [`Message::parse`] with other limits.
    pub fn parse_with(raw: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        parse::parse(raw, limits)
    }

    /// The message as it goes on the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// The message as it goes on the wire, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.raw
    }

    /// The first line.
    pub fn start_line(&self) -> StartLine<'_> {
        match &self.start {
            Start::Request { method, uri, .. } => StartLine::Request {
                method,
                uri: self.slice(*uri),
            },
            Start::Response { status, reason, .. } => StartLine::Response {
                status: *status,
                reason: self.slice(*reason),
            },
        }
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request; `None` for a response (see [`Message::cseq`] for that one's).
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI as received; empty for a response.
    pub fn request_uri_raw(&self) -> &[u8] {
        match &self.start {
            Start::Request { uri, .. } => self.slice(*uri),
            Start::Response { .. } => b"",
        }
    }

    /// The Request-URI, parsed now. [`UriError::NoScheme`] for a response.
    pub fn request_uri(&self) -> Result<Uri<'_>, UriError> {
        Uri::from_bytes(self.request_uri_raw())
    }

    /// The status of a response, 100 to 699.
    pub fn status(&self) -> Option<u16> {
        match &self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(*status),
        }
    }

    /// The reason phrase of a response, bytes that are not UTF-8 replaced; empty for a request.
    pub fn reason(&self) -> std::borrow::Cow<'_, str> {
        match &self.start {
            Start::Request { .. } => "".into(),
            Start::Response { reason, .. } => String::from_utf8_lossy(self.slice(*reason)),
        }
    }

    /// The header fields in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'_>> + DoubleEndedIterator {
        self.fields.iter().map(|field| self.view(field))
    }

    /// The first field of this name.
    pub fn header<'n>(&self, name: impl Into<Name<'n>>) -> Option<Header<'_>> {
        let at = self.position(name.into(), 0)?;
        Some(self.view(self.fields.at(at)))
    }

    /// Every field of this name, in order.
    pub fn headers_named<'s, 'n: 's>(
        &'s self,
        name: impl Into<Name<'n>>,
    ) -> impl Iterator<Item = Header<'s>> + 's {
        let name = name.into();
        let next = move |from| self.position(name, from);
        let found = std::iter::successors(next(0), move |at| next(at + 1));
        found.map(|at| self.view(self.fields.at(at)))
    }

    /// Every value of a header over all its fields, in order: list headers are split at their commas
    /// ([`HeaderName::is_list`]), others give one value for each field.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> + Clone {
        Values {
            message: self,
            name,
            next: 0,
            list: ListValues::new(b""),
        }
    }

    /// Whether an option tag stands in Require, Proxy-Require, Supported or Unsupported.
    pub fn has_option(&self, name: HeaderName, tag: &str) -> bool {
        self.values(name)
            .any(|value| value.eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// The topmost Via.
    pub fn via(&self) -> Result<Via<'_>, HeaderError> {
        let Some(parts) = &self.core().via else {
            let missing = Err(HeaderError::Missing(HeaderName::Via));
            return self.vias().next().unwrap_or(missing);
        };
        let parts = parts.as_ref().map_err(|error| *error)?;
        Ok(Via::of_parts(self.single(HeaderName::Via)?, parts))
    }

    /// All Via values, the topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(HeaderName::Via).map(Via::parse)
    }

    /// From.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.core_address(HeaderName::From, &self.core().from)
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.core_address(HeaderName::To, &self.core().to)
    }

    fn core_address(
        &self,
        name: HeaderName,
        parts: &Result<NameAddrParts, HeaderError>,
    ) -> Result<NameAddr<'_>, HeaderError> {
        let parts = parts.as_ref().map_err(|error| *error)?;
        Ok(NameAddr::of_parts(self.single(name)?, parts))
    }

    /// The tag of From; `None` where it has none, or cannot be read.
    pub fn from_tag(&self) -> Option<&str> {
        let parts = self.core().from.as_ref().ok()?;
        parts.tag(self.single(HeaderName::From).ok()?)
    }

    /// The tag of To; `None` where it has none, or cannot be read.
    pub fn to_tag(&self) -> Option<&str> {
        let parts = self.core().to.as_ref().ok()?;
        parts.tag(self.single(HeaderName::To).ok()?)
    }

    /// Call-ID, byte for byte: it compares with regard to case.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        self.core().call_id?;
        HeaderName::CallId.text(self.single(HeaderName::CallId)?)
    }

    fn read_call_id(&self) -> Result<&str, HeaderError> {
        let id = HeaderName::CallId.text(self.single(HeaderName::CallId)?)?;
        let legal = !id.is_empty() && !id.bytes().any(is_lws);
        legal
            .then_some(id)
            .ok_or(HeaderError::Malformed(HeaderName::CallId))
    }

    /// CSeq.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.core().cseq.clone()
    }

    fn core(&self) -> &Core {
        self.core.get_or_init(|| Core::find(self))
    }

    /// Max-Forwards, 0 to 255; `None` where it is missing.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Ok(value) = self.single(HeaderName::MaxForwards) else {
            return Ok(None);
        };
        let hops = decimal(value).and_then(|hops| u8::try_from(hops).ok());
        hops.map(Some)
            .ok_or(HeaderError::Malformed(HeaderName::MaxForwards))
    }

    /// The Expires header in seconds; `None` where it is missing or no number, too large is capped.
    pub fn expires(&self) -> Option<u32> {
        let seconds = decimal(self.single(HeaderName::Expires).ok()?)?;
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Content-Type; `None` where it is missing.
    pub fn content_type(&self) -> Result<Option<ContentType<'_>>, HeaderError> {
        let value = self.single(HeaderName::ContentType).ok();
        value.map(ContentType::parse).transpose()
    }

    /// All Contact values. The `*` of a REGISTER comes as an error: ask [`Message::values`] first.
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.name_addrs(HeaderName::Contact)
    }

    /// All Route values, the next hop first.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.name_addrs(HeaderName::Route)
    }

    /// All Record-Route values, the latest proxy's first.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.name_addrs(HeaderName::RecordRoute)
    }

    /// All values of any header that is a list of addresses.
    pub fn name_addrs(
        &self,
        name: HeaderName,
    ) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name)
            .map(move |value| NameAddr::parse(name, value))
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.raw.get(self.body_range()).unwrap_or_default()
    }

    /// The body, sharing the message's buffer.
    pub fn body_bytes(&self) -> Bytes {
        self.raw.slice(self.body_range())
    }

    /// A changed copy of this message.
    pub fn edit(&self) -> Edit<'_> {
        Edit::new(self)
    }

    /// A response to this request (RFC 3261 section 8.2.6).
    pub fn respond(&self, status: u16) -> ResponseBuilder<'_> {
        ResponseBuilder::new(self, status)
    }

    /// Checks what every element has to check of a message (RFC 3261 sections 8.1.1, 16.3 and 18.3):
    /// `Err` names the status that a request is owed; a response with an error is to be dropped.
    ///
    /// What depends on who answers (405, 415, 420, 483) is not judged here.
    pub fn validate(&self) -> Result<(), Invalid> {
        validate::validate(self)
    }

    /// Whether anything may be answered: not to an ACK (RFC 3261 section 17), nor to a response.
    pub(crate) fn is_answerable(&self) -> bool {
        self.method().is_some_and(|method| *method != Method::Ack)
    }

    /// Whether all is found at the same places as in another message of the same bytes.
    fn is_indexed_as(&self, other: &Self) -> bool {
        (&self.start, self.fields_at, self.fields_end, &self.raw)
            == (&other.start, other.fields_at, other.fields_end, &other.raw)
            && self.fields.iter().eq(other.fields.iter())
    }

    pub(crate) fn version(&self) -> &[u8] {
        match &self.start {
            Start::Request { version, .. } | Start::Response { version, .. } => {
                self.slice(*version)
            }
        }
    }

    /// The index of the first field of this name, from `from` on.
    fn position(&self, name: Name<'_>, from: usize) -> Option<usize> {
        match name {
            Name::Known(name) => self.fields.position(name, from),
            Name::Other(text) => {
                let mut fields = from..self.fields.len();
                fields.find(|at| self.view(self.fields.at(*at)).is_other(text))
            }
        }
    }

    /// The value of every field of this name, in order, as a whole.
    fn fields_named(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> + Clone {
        let next = move |from| self.fields.position(name, from);
        let found = std::iter::successors(next(0), move |at| next(at + 1));
        found.map(|at| self.value_at(at))
    }

    fn single(&self, name: HeaderName) -> Result<&[u8], HeaderError> {
        let at = self.fields.position(name, 0);
        Ok(self.value_at(at.ok_or(HeaderError::Missing(name))?))
    }

    fn value_at(&self, index: usize) -> &[u8] {
        let field = self.fields.at(index);
        self.slice((field.value_start, field.value_end))
    }

    fn view(&self, field: Field) -> Header<'_> {
        Header {
            known: field.name,
            head: self.slice((field.start, field.value_start)),
            value: self.slice((field.value_start, field.value_end)),
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.raw
            .get(span.0 as usize..span.1 as usize)
            .unwrap_or_default()
    }

    fn body_range(&self) -> Range<usize> {
        (self.fields_end as usize + 2).min(self.raw.len())..self.raw.len()
    }
}

/// Two messages are equal where they are the same bytes.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Message {}

/// The first line only: headers hold credentials, and bodies keys.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.slice((0, self.fields_at.saturating_sub(2)));
        write!(
            f,
            "Message({}, {} bytes)",
            String::from_utf8_lossy(line),
            self.raw.len()
        )
    }
}

impl<'a> Header<'a> {
    /// The name as it was written.
    pub fn name(&self) -> &'a str {
        let name = self.head.split(|byte| *byte == b':').next();
        // A name is a token, and so ASCII.
        std::str::from_utf8(trim(name.unwrap_or_default())).unwrap_or_default()
    }

    /// The name, where it is a known one, whatever form it was written in.
    pub fn known(&self) -> Option<HeaderName> {
        self.known
    }

    /// The value as received, trimmed. A folded one keeps its line breaks.
    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    /// The value as text: unfolded, bytes that are not UTF-8 replaced.
    pub fn text(&self) -> std::borrow::Cow<'a, str> {
        if !self.value.contains(&b'\r') {
            return String::from_utf8_lossy(self.value);
        }
        let lines = self.value.split(|b| *b == b'\n').map(trim);
        let unfolded = lines.collect::<Vec<_>>().join(&b' ');
        String::from_utf8_lossy(&unfolded).into_owned().into()
    }

    /// Whether this has a name that is not known, and reads so.
    fn is_other(&self, name: &str) -> bool {
        self.known.is_none() && self.name().eq_ignore_ascii_case(name)
    }
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.name(),
            String::from_utf8_lossy(self.value)
        )
    }
}

#[cfg(test)]
mod tests;
