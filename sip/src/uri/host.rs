//! The `host` of a URI or a Via: a name, an IPv4 address or a bracketed IPv6 reference.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::text::trim_str;

/// A host as RFC 3261 writes it.
///
/// Equality is that of section 19.1.4: names without regard to case, addresses by value.
#[derive(Debug, Clone, Copy)]
pub enum Host<'a> {
    /// A domain name.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; it stands in brackets on the wire.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Parses a host alone, IPv6 in brackets. `None` where it is no host.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']')?;
            return address
                .parse()
                .ok()
                .or_else(|| three_colons(address))
                .map(Self::V6);
        }
        if let Ok(address) = text.parse() {
            return Some(Self::V4(address));
        }
        // An underscore is no legal host character, yet names with one are in use.
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_name = !text.is_empty() && text.len() <= 255 && text.bytes().all(legal);
        is_name.then_some(Self::Name(text))
    }

    /// Parses `host [":" port]`, with the white space around the colon that a Via may hold.
    pub fn parse_with_port(text: &'a str) -> Option<(Self, Option<u16>)> {
        let split = match text.strip_prefix('[') {
            Some(_) => text.find(']')? + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(split);
        let host = Self::parse(trim_str(host))?;
        let rest = trim_str(rest);
        if rest.is_empty() {
            return Some((host, None));
        }
        let digits = trim_str(rest.strip_prefix(':')?);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number {
            return None;
        }
        Some((host, Some(digits.parse().ok()?)))
    }

    /// The address, where the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

/// The grammar of RFC 3261 yields `2001:db8:::192.0.2.1`, which RFC 5118 section 4.10 asks parsers to
/// take for `2001:db8::192.0.2.1`.
fn three_colons(address: &str) -> Option<Ipv6Addr> {
    let (head, tail) = address.split_once(":::")?;
    let tail: Ipv4Addr = tail.parse().ok()?;
    format!("{head}::{tail}").parse().ok()
}

impl From<IpAddr> for Host<'static> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::V4(a), Host::V4(b)) => a == b,
            (Self::V6(a), Host::V6(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}
