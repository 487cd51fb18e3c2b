//! Messages to and from the crate [`rsip`] 0.4, for code that moves from it step by step.
//!
//! Only with the feature `rsip`. What stands in a message is carried over in both directions: the start
//! line, every header field in its order, the body byte for byte. What `rsip` cannot hold is refused and
//! never changed in silence: a method that it does not know, a Request-URI that it reads otherwise (an IPv6
//! address, `tel:`), a header that is not UTF-8. Three things are written anew, none of which means
//! anything else: compact names become long ones, folded fields one line, and the reason phrase of a status
//! that `rsip` has a name for becomes that of the RFC.
//!
//! ```
//! use sip::message::Message;
//!
//! let text = "OPTIONS sip:node.example.test SIP/2.0\r\n\
//!     v: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds\r\n\
//!     Max-Forwards: 70\r\n\
//!     From: <sip:alice@example.test>;tag=1928301774\r\n\
//!     To: <sip:node.example.test>\r\n\
//!     Call-ID: a84b4c76e66710\r\n\
//!     CSeq: 1 OPTIONS\r\n\
//!     Content-Length: 0\r\n\r\n";
//! let message = Message::parse(text.into())?;
//!
//! let theirs = rsip::SipMessage::try_from(&message)?;
//! assert_eq!(theirs.to_string(), text.replace("v: ", "Via: "));
//!
//! let ours = Message::try_from(&theirs)?;
//! assert_eq!(ours.via()?.branch(), message.via()?.branch());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt::Write as _;

use ::rsip::{Header, SipMessage, StatusCode, Version, message::HasHeaders as _};

use crate::{
    header::HeaderName,
    message::{Message, Method, ParseError, StartLine, reason_phrase},
    text::is_token,
    uri::Uri,
};

/// Why a message is not carried over.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// A method that `rsip` has no name for.
    #[error("rsip has no method {0}")]
    Method(Box<str>),
    /// Another version of SIP than 2.0.
    #[error("the message is not of SIP/2.0")]
    Version,
    /// A header whose bytes are no text, which `rsip` holds all headers as.
    #[error("the header {0} is not UTF-8")]
    NotUtf8(Box<str>),
    /// A Request-URI that would be another one on the other side.
    #[error("the Request-URI {0} cannot be carried over")]
    RequestUri(Box<str>),
    /// What `rsip` says of a message that it cannot read.
    #[error("rsip cannot read the message")]
    Rsip(#[source] ::rsip::Error),
    /// A name, value or reason phrase that would be read as something else once it is written: it has a line
    /// end in it, or the name is no token.
    #[error("{0:?} would be read as something else once it is written")]
    Broken(Box<str>),
    /// Content-Length does not say how long the body is.
    #[error("Content-Length differs from the length of the body")]
    ContentLength,
    /// What was written is no message that this crate takes.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

impl TryFrom<&Message> for SipMessage {
    type Error = ConversionError;

    fn try_from(message: &Message) -> Result<Self, Self::Error> {
        if !message.version().eq_ignore_ascii_case(b"SIP/2.0") {
            return Err(ConversionError::Version);
        }
        // `rsip` reads it as it should have been written; the body, which may be any bytes, is not for it
        // to look at.
        let head = plain_head(message)?;
        let mut theirs = Self::try_from(head.as_bytes()).map_err(ConversionError::Rsip)?;
        if let Self::Request(request) = &theirs
            && !is_same(message, &request.uri)
        {
            let uri = String::from_utf8_lossy(message.request_uri_raw());
            return Err(ConversionError::RequestUri(uri.into()));
        }
        *theirs.body_mut() = message.body().to_vec();
        Ok(theirs)
    }
}

impl TryFrom<&SipMessage> for Message {
    type Error = ConversionError;

    fn try_from(theirs: &SipMessage) -> Result<Self, Self::Error> {
        if *theirs.version() != Version::V2 {
            return Err(ConversionError::Version);
        }
        let mut raw = match theirs {
            SipMessage::Request(request) => {
                let uri = request.uri.to_string();
                if uri.contains(char::is_whitespace) {
                    return Err(ConversionError::RequestUri(uri.into()));
                }
                format!("{} {uri} SIP/2.0\r\n", request.method)
            }
            SipMessage::Response(response) => {
                let code = response.status_code.code();
                let reason = match &response.status_code {
                    StatusCode::Other(_, reason) => one_line(reason)?,
                    _ => reason_phrase(code),
                };
                format!("SIP/2.0 {code} {reason}\r\n")
            }
        };
        for header in theirs.headers().iter() {
            if let Header::Other(name, _) = header
                && !is_token(name.as_bytes())
            {
                return Err(ConversionError::Broken(name.as_str().into()));
            }
            raw += one_line(&header.to_string())?;
            raw += "\r\n";
        }
        raw += "\r\n";
        let mut raw = raw.into_bytes();
        raw.extend_from_slice(theirs.body());
        let message = Self::parse(raw.into())?;
        if message.body() != theirs.body() {
            return Err(ConversionError::ContentLength);
        }
        Ok(message)
    }
}

/// The start line and the header section with long names, each field on one line.
fn plain_head(message: &Message) -> Result<String, ConversionError> {
    let mut head = match message.start_line() {
        StartLine::Request {
            method: Method::Other(method),
            ..
        } => return Err(ConversionError::Method(method.clone())),
        StartLine::Request { method, uri } => {
            format!("{method} {} SIP/2.0\r\n", String::from_utf8_lossy(uri))
        }
        StartLine::Response { status, .. } => format!("SIP/2.0 {status} {}\r\n", message.reason()),
    };
    for header in message.headers() {
        let known = header.known().map(HeaderName::as_str);
        let name = known.unwrap_or_else(|| header.name());
        if std::str::from_utf8(header.value()).is_err() {
            return Err(ConversionError::NotUtf8(name.into()));
        }
        // Writing to a String cannot fail.
        let _ = write!(head, "{name}: {}\r\n", header.text());
    }
    head += "\r\n";
    Ok(head)
}

/// Whether `rsip` has read a Request-URI as what it is. It takes what it does not know for a part of the
/// host or of a parameter, and would write it as it was.
fn is_same(message: &Message, theirs: &::rsip::Uri) -> bool {
    let written = theirs.to_string();
    let (Ok(ours), Ok(written)) = (message.request_uri(), Uri::parse(&written)) else {
        return false;
    };
    let host = ours.host().map(|host| host.to_string());
    ours == written
        && ours.is_sip()
        && ours.headers().next().is_none()
        && host.is_some_and(|host| host.eq_ignore_ascii_case(&theirs.host().to_string()))
        && ours.user() == theirs.user()
        && ours.port() == theirs.port().map(|port| *port.value())
}

fn one_line(text: &str) -> Result<&str, ConversionError> {
    match text.contains(['\r', '\n']) {
        true => Err(ConversionError::Broken(text.into())),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests;
