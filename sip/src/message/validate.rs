//! What a framed message may still be owed: 400, 416 or 505.

use super::{Message, Method, Start};
use crate::{
    header::{HeaderError, HeaderName, NameAddr, Via},
    text::decimal,
    uri::{Scheme, UriError},
};

/// Why a message is refused. A response is dropped instead of answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The version is not SIP/2.0. Owed 505.
    #[error("the SIP version is not 2.0")]
    Version,
    /// White space where the start line may hold none. Owed 400.
    #[error("the start line holds stray white space")]
    StartLine,
    /// The Request-URI is malformed. Owed 400.
    #[error("the Request-URI is malformed: {0}")]
    RequestUri(#[from] UriError),
    /// The Request-URI holds headers, which none may (RFC 3261 section 19.1.1). Owed 400.
    #[error("the Request-URI holds headers")]
    RequestUriHeaders,
    /// A header is missing or malformed. Owed 400.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// A header that may stand once stands more often. Owed 400.
    #[error("the message has more than one {0}")]
    Repeated(HeaderName),
    /// The CSeq's method is not the request's. Owed 400.
    #[error("the CSeq's method is not the request's")]
    CSeqMethod,
    /// The Request-URI's scheme is none that can be routed. Owed 416. Judged last, so that an element
    /// that knows the scheme may pass over it.
    #[error("the Request-URI's scheme is not supported")]
    Scheme,
}

impl Invalid {
    /// The status that a request is owed.
    pub fn status(&self) -> u16 {
        match self {
            Self::Version => 505,
            Self::Scheme => 416,
            _ => 400,
        }
    }
}

/// Headers that stand once at most and that the core acts upon, each by its bit.
const SINGLE: u128 = bit(HeaderName::From)
    | bit(HeaderName::To)
    | bit(HeaderName::CallId)
    | bit(HeaderName::CSeq)
    | bit(HeaderName::MaxForwards)
    | bit(HeaderName::ContentLength)
    | bit(HeaderName::ContentType);

const fn bit(name: HeaderName) -> u128 {
    1 << name as u32
}

pub(super) fn validate(message: &Message) -> Result<(), Invalid> {
    let version = message.version();
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let blank = version.last().is_some_and(u8::is_ascii_whitespace);
        return Err(if blank {
            Invalid::StartLine
        } else {
            Invalid::Version
        });
    }
    once(message)?;
    message.via()?;
    for via in message.values(HeaderName::Via).skip(1) {
        Via::parse(via)?;
    }
    for (name, value) in [
        (HeaderName::From, message.from()),
        (HeaderName::To, message.to()),
    ] {
        // Their tags are read here, their URIs by the far end: white space and the like, which would
        // have another parser see another address, are all that is judged.
        if !plain(name, value?)?.has_legal_uri() {
            return Err(HeaderError::Malformed(name).into());
        }
    }
    message.call_id()?;
    let cseq = message.cseq()?;
    message.max_forwards()?;
    addresses(message, HeaderName::Route)?;
    match &message.start {
        Start::Request { method, .. } => request(message, method, &cseq.method),
        Start::Response { .. } => Ok(()),
    }
}

/// What only a registrar reads; on other requests it is the far end's to judge (RFC 3261 section
/// 16.3: a proxy checks the parts that it has to understand).
fn registration(message: &Message) -> Result<(), Invalid> {
    message.content_type()?;
    if message.to()?.uri().is_err() {
        return Err(HeaderError::Malformed(HeaderName::To).into());
    }
    addresses(message, HeaderName::Contact)?;
    let mut expires = message.headers_named(HeaderName::Expires);
    if let Some(expires) = expires.next() {
        // RFC 3261 section 20.19: a decimal below 2^32.
        let seconds = decimal(expires.value()).and_then(|seconds| u32::try_from(seconds).ok());
        seconds.ok_or(HeaderError::Malformed(HeaderName::Expires))?;
    }
    match expires.next() {
        Some(_) => Err(Invalid::Repeated(HeaderName::Expires)),
        None => Ok(()),
    }
}

fn once(message: &Message) -> Result<(), Invalid> {
    let mut seen = 0;
    for name in message.headers().filter_map(|header| header.known()) {
        let bit = bit(name) & SINGLE;
        if seen & bit != 0 {
            return Err(Invalid::Repeated(name));
        }
        seen |= bit;
    }
    Ok(())
}

fn request(message: &Message, method: &Method, cseq: &Method) -> Result<(), Invalid> {
    if method != cseq {
        return Err(Invalid::CSeqMethod);
    }
    let uri = message.request_uri()?;
    if uri.headers().next().is_some() {
        return Err(Invalid::RequestUriHeaders);
    }
    if *method == Method::Register {
        registration(message)?;
    }
    match uri.scheme() {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => Ok(()),
        Scheme::Other(_) if uri.is_service() => Ok(()),
        Scheme::Other(_) => Err(Invalid::Scheme),
    }
}

/// Addresses whose URIs this element has to read.
fn addresses(message: &Message, name: HeaderName) -> Result<(), HeaderError> {
    let mut values = message.values(name).filter(|value| *value != b"*");
    values.try_for_each(
        |value| match plain(name, NameAddr::parse(name, value)?)?.uri() {
            Ok(_) => Ok(()),
            Err(_) => Err(HeaderError::Malformed(name)),
        },
    )
}

/// This address, where its display name hides no other value.
fn plain(name: HeaderName, address: NameAddr<'_>) -> Result<NameAddr<'_>, HeaderError> {
    // Without quotes a display name is tokens. What could not change the meaning is let pass.
    let display = address.display_raw();
    let separator = |b: &u8| matches!(b, b',' | b';' | b'<' | b'>' | b'"' | b'\\');
    if !display.starts_with(b"\"") && display.iter().any(separator) {
        return Err(HeaderError::Malformed(name));
    }
    Ok(address)
}
