//! Header fields: names, and typed views that borrow a field's value and are parsed on demand.

mod list;
mod name;
mod name_addr;
mod params;
mod via;

pub use list::ListValues;
pub(crate) use list::value_end;
pub use name::{HeaderName, Name};
pub use name_addr::NameAddr;
pub(crate) use name_addr::NameAddrParts;
pub use params::{Params, ParamsIter};
pub(crate) use via::ViaParts;
pub use via::{BRANCH_COOKIE, Transport, Via};

use crate::{
    message::Method,
    text::{decimal, is_lws, trim, trim_str},
};

/// Why a header has no typed view. An element that needs it owes 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The message lacks this header.
    #[error("the message has no {0}")]
    Missing(HeaderName),
    /// The header's value does not follow its grammar.
    #[error("the {0} header is malformed")]
    Malformed(HeaderName),
}

impl HeaderError {
    /// The header that the error is about.
    pub fn name(&self) -> HeaderName {
        match self {
            Self::Missing(name) | Self::Malformed(name) => *name,
        }
    }
}

/// A CSeq value (RFC 3261 section 20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number, below 2^31.
    pub number: u32,
    /// The method of the request.
    pub method: Method,
}

impl CSeq {
    /// Parses `number method`.
    pub fn parse(value: &[u8]) -> Result<Self, HeaderError> {
        Self::parse_value(trim(value)).ok_or(HeaderError::Malformed(HeaderName::CSeq))
    }

    fn parse_value(value: &[u8]) -> Option<Self> {
        let gap = value.iter().position(|b| is_lws(*b))?;
        let number = decimal(&value[..gap]).filter(|number| *number < 1 << 31)?;
        let method = Method::parse(trim(&value[gap..]))?;
        Some(Self {
            number: u32::try_from(number).ok()?,
            method,
        })
    }
}

/// A Content-Type value (RFC 3261 section 20.15).
#[derive(Debug, Clone, Copy)]
pub struct ContentType<'a> {
    /// The type, as `application` in `application/sdp`.
    pub kind: &'a str,
    /// The subtype, as `sdp` in `application/sdp`.
    pub subtype: &'a str,
    /// The parameters, as `boundary`.
    pub params: Params<'a>,
}

impl<'a> ContentType<'a> {
    /// Parses `type/subtype;params`.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let text = HeaderName::ContentType.text(value)?;
        let (media, params) = match text.find(';') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (kind, subtype) = media
            .split_once('/')
            .ok_or(HeaderError::Malformed(HeaderName::ContentType))?;
        let (kind, subtype) = (trim_str(kind), trim_str(subtype));
        if kind.is_empty() || subtype.is_empty() {
            return Err(HeaderError::Malformed(HeaderName::ContentType));
        }
        Ok(Self {
            kind,
            subtype,
            params: Params::new(params),
        })
    }

    /// Whether this is `kind/subtype`, without regard to case and parameters.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }
}

impl HeaderName {
    /// A value of this header as trimmed text; malformed where it is not UTF-8.
    pub(crate) fn text(self, value: &[u8]) -> Result<&str, HeaderError> {
        let text = std::str::from_utf8(value).map_err(|_| HeaderError::Malformed(self))?;
        Ok(trim_str(text))
    }
}

#[cfg(test)]
mod tests;
