//! New requests and responses.

use bytes::Bytes;

use super::{
    Message, Method, ParseErrorKind, Start,
    draft::Draft,
    edit::{is_safe_name, is_safe_value},
    parse::pos,
};
use crate::header::{HeaderName, Name};

/// Why a message cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name, value, URI or reason phrase holds a CR or LF, or a name is no token.
    #[error("a header, URI or reason to write holds a line end, or a name is no token")]
    Injection,
    /// The result is no message within the [`Limits`](super::Limits).
    #[error("what was built is no valid message: {0}")]
    Unparseable(ParseErrorKind),
}

/// Writes a new request. Headers stand in the order of the calls, Content-Length comes by itself.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build()"]
pub struct RequestBuilder {
    start: Start,
    parts: Parts,
}

/// Writes a response to a request (RFC 3261 section 8.2.6).
///
/// Via, From, To, Call-ID and CSeq are copied byte for byte, Timestamp into a 100, and Record-Route
/// where the response may set up a dialog (section 12.1.1).
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build()"]
pub struct ResponseBuilder<'m> {
    request: &'m Message,
    status: u16,
    reason: Option<String>,
    to_tag: Option<String>,
    parts: Parts,
}

/// What both builders write after the start line.
#[derive(Debug, Clone)]
struct Parts {
    draft: Draft,
    body: Bytes,
    injection: bool,
}

impl RequestBuilder {
    /// Begins a request.
    pub fn new(method: &Method, uri: impl AsRef<[u8]>) -> Self {
        let uri = uri.as_ref();
        let mut parts = Parts::new(1024);
        parts.injection = uri.is_empty() || uri.iter().any(u8::is_ascii_whitespace);
        let mut put = |text: &[u8]| {
            parts.draft.text(text);
            pos(parts.draft.len())
        };
        let start = put(method.as_str().as_bytes()) + 1;
        put(b" ");
        let uri = (start, put(uri));
        let version = (uri.1 + 1, put(b" SIP/2.0"));
        put(b"\r\n");
        let start = Start::Request {
            method: method.clone(),
            uri,
            version,
        };
        Self { start, parts }
    }

    /// Adds a field.
    pub fn header<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        self.parts.field(name.into(), value.as_ref());
        self
    }

    /// Copies every field of this name from another message.
    pub fn copy(mut self, from: &Message, name: HeaderName) -> Self {
        self.parts.copy(from, name);
        self
    }

    /// Copies the first value of a header, as ACK and CANCEL do with the topmost Via.
    pub fn copy_first(mut self, from: &Message, name: HeaderName) -> Self {
        if let Some(value) = from.values(name).next() {
            self.parts.field(name.into(), value);
        }
        self
    }

    /// Sets the body and adds its Content-Type.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.parts.body(content_type, body.into());
        self
    }

    /// Writes the request.
    pub fn build(self) -> Result<Message, BuildError> {
        // What a method of other text is read as is left to the parser.
        let is_plain = match &self.start {
            Start::Request { method, .. } => !matches!(method, Method::Other(_)),
            Start::Response { .. } => false,
        };
        self.parts.build(self.start, is_plain)
    }
}

impl<'m> ResponseBuilder<'m> {
    pub(super) fn new(request: &'m Message, status: u16) -> Self {
        Self {
            request,
            status,
            reason: None,
            to_tag: None,
            parts: Parts::new(0),
        }
    }

    /// Another reason phrase than the registered one.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The tag to add to To where the request's has none. Wanted in every response but 100.
    pub fn to_tag(mut self, tag: impl Into<String>) -> Self {
        self.to_tag = Some(tag.into());
        self
    }

    /// Adds a field.
    pub fn header<'n>(mut self, name: impl Into<Name<'n>>, value: impl AsRef<[u8]>) -> Self {
        self.parts.field(name.into(), value.as_ref());
        self
    }

    /// Sets the body and adds its Content-Type.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.parts.body(content_type, body.into());
        self
    }

    /// Writes the response.
    pub fn build(self) -> Result<Message, BuildError> {
        let request = self.request;
        let reason = self
            .reason
            .as_deref()
            .unwrap_or_else(|| reason_phrase(self.status));
        let mut head = Parts::new(1024);
        head.injection = self.parts.injection || reason.contains(['\r', '\n']);
        head.draft.text(b"SIP/2.0 ");
        head.draft.decimal(self.status.into());
        head.draft.text(b" ");
        let reason_at = head.draft.len();
        head.draft.text(reason.as_bytes());
        let start = Start::Response {
            status: self.status,
            reason: (pos(reason_at), pos(head.draft.len())),
            version: (0, 7),
        };
        head.draft.text(b"\r\n");

        head.copy(request, HeaderName::Via);
        head.copy(request, HeaderName::From);
        if let Some(to) = request.header(HeaderName::To) {
            match &self.to_tag {
                Some(tag) if request.to().is_ok_and(|to| to.tag().is_none()) => {
                    let value = [to.value(), b";tag=", tag.as_bytes()].concat();
                    head.field(HeaderName::To.into(), &value);
                }
                _ => head.field(HeaderName::To.into(), to.value()),
            }
        }
        head.copy(request, HeaderName::CallId);
        head.copy(request, HeaderName::CSeq);
        if self.status == 100 {
            head.copy(request, HeaderName::Timestamp);
        }
        let forms_dialog = request.method().is_some_and(Method::forms_dialog);
        if forms_dialog && (101..300).contains(&self.status) {
            head.copy(request, HeaderName::RecordRoute);
        }
        let more = self.parts.draft;
        head.draft.append(&more);
        head.body = self.parts.body;
        let message = head.build(start, (100..700).contains(&self.status))?;
        let is_new = |name| more.has(name) || (name == HeaderName::To && self.to_tag.is_some());
        Ok(message.made_of(request, is_new))
    }
}

impl Parts {
    fn new(octets: usize) -> Self {
        Self {
            draft: Draft::with_capacity(octets),
            body: Bytes::new(),
            injection: false,
        }
    }

    fn field(&mut self, name: Name<'_>, value: &[u8]) {
        self.injection |= !is_safe_value(value) || !is_safe_name(name);
        self.draft.field(name, value);
    }

    fn copy(&mut self, from: &Message, name: HeaderName) {
        for value in from.fields_named(name) {
            // What was framed is safe to write.
            self.draft.field(name.into(), value);
        }
    }

    fn body(&mut self, content_type: &str, body: Bytes) {
        self.field(HeaderName::ContentType.into(), content_type.as_bytes());
        self.body = body;
    }

    /// `is_plain`: the start line is read as `start`.
    fn build(mut self, start: Start, is_plain: bool) -> Result<Message, BuildError> {
        if self.injection {
            return Err(BuildError::Injection);
        }
        self.draft.content_length(self.body.len());
        let message = self.draft.finish(start, is_plain, &self.body);
        message.map_err(BuildError::Unparseable)
    }
}

/// The reason phrase that the RFCs give to a status; the class's own for an unknown one.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        // RFC 3261 section 8.1.3.2: an unknown status means what its class's x00 means.
        unknown => match unknown / 100 {
            1 => "Session Progress",
            2 => "OK",
            3 => "Multiple Choices",
            4 => "Bad Request",
            5 => "Server Internal Error",
            _ => "Decline",
        },
    }
}
