//! The `host` of a URI or a Via: a name, an IPv4 address or a bracketed IPv6 reference.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::text::{decimal, split_before, trim_str};

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
        if let Some((address, b"")) = v4(text.as_bytes()) {
            return Some(Self::V4(address));
        }
        // An underscore is no legal host character, yet names with one are in use.
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_name = !text.is_empty() && text.len() <= 255 && text.bytes().all(legal);
        is_name.then_some(Self::Name(text))
    }

    /// Parses `host [":" port]`, with the white space around the colon that a Via may hold.
    pub fn parse_with_port(text: &'a str) -> Option<(Self, Option<u16>)> {
        // Most are this.
        if let Some((address, rest)) = v4(text.as_bytes()) {
            let port = match rest {
                [] => return Some((Self::V4(address), None)),
                [b':', digits @ ..] => decimal(digits),
                _ => None,
            };
            if let Some(port) = port.and_then(|port| u16::try_from(port).ok()) {
                return Some((Self::V4(address), Some(port)));
            }
        }
        let (host, rest) = match text.strip_prefix('[') {
            Some(_) => text.split_at(text.find(']')? + 1),
            None => split_before(text, b':'),
        };
        let host = Self::parse(trim_str(host))?;
        let rest = trim_str(rest);
        if rest.is_empty() {
            return Some((host, None));
        }
        let port = decimal(trim_str(rest.strip_prefix(':')?).as_bytes())?;
        Some((host, Some(u16::try_from(port).ok()?)))
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

/// The IPv4 address that a text begins with, and what follows it: four decimal numbers without leading
/// zeros, as the standard library has it, whose parser takes four times as long.
fn v4(text: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let (mut octets, mut rest) = ([0u8; 4], text);
    for (number, octet) in octets.iter_mut().enumerate() {
        if number > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let mut digits = 0;
        while let [digit @ b'0'..=b'9', after @ ..] = rest {
            if digits > 0 && *octet == 0 {
                return None;
            }
            *octet = octet.checked_mul(10)?.checked_add(digit - b'0')?;
            digits += 1;
            rest = after;
        }
        if digits == 0 {
            return None;
        }
    }
    Some((octets.into(), rest))
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
