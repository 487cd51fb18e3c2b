//! The `host` of a URI or a Via: a name, an IPv4 address or a bracketed IPv6 reference.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::text::{decimal, trim};

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
        let is_name = !text.is_empty() && text.len() <= LONGEST_NAME;
        (is_name && name_len(text.as_bytes()) == text.len()).then_some(Self::Name(text))
    }

    /// Parses `host [":" port]`, with the white space around the colon that a Via may hold. `name` takes
    /// a name of this length from the front of `utf8`.
    pub(crate) fn parse_with_port(
        utf8: &[u8],
        name: impl Fn(usize) -> &'a str,
    ) -> Option<(Self, Option<u16>)> {
        let address = match utf8.first()? {
            b'[' => {
                let end = utf8.iter().position(|b| *b == b']')? + 1;
                Some((Self::parse(name(end))?, &utf8[end..]))
            }
            b'0'..=b'9' => v4(utf8).map(|(address, rest)| (Self::V4(address), rest)),
            _ => None,
        };
        let (host, rest) = match address {
            Some((host, rest)) if name_len(rest) == 0 => (host, rest),
            _ => {
                let end = name_len(utf8);
                if end == 0 || end > LONGEST_NAME {
                    return None;
                }
                (Self::Name(name(end)), &utf8[end..])
            }
        };
        let rest = trim(rest);
        if rest.is_empty() {
            return Some((host, None));
        }
        let port = decimal(trim(rest.strip_prefix(b":")?))?;
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

const LONGEST_NAME: usize = 255;

/// How many characters of a host name a text begins with.
fn name_len(text: &[u8]) -> usize {
    let end = text.iter().position(|b| !NAME[usize::from(*b)]);
    end.unwrap_or(text.len())
}

/// The characters of a host name. An underscore is no legal one, yet names with one are in use.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0u8;
    while c < 128 {
        table[c as usize] = c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
        c += 1;
    }
    table
};

/// The IPv4 address that a text begins with, and what follows it: four decimal numbers without leading
/// zeros, as the standard library has it, whose parser takes four times as long.
fn v4(text: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let mut octets = [0u8; 4];
    let (mut number, mut start, mut value) = (0, 0, 0u32);
    let mut at = 0;
    loop {
        let byte = text.get(at).copied().unwrap_or(0);
        if byte.is_ascii_digit() {
            value = value * 10 + u32::from(byte - b'0');
            at += 1;
            if at - start > 3 {
                return None;
            }
            continue;
        }
        if at == start || (at - start > 1 && text[start] == b'0') {
            return None;
        }
        octets[number] = u8::try_from(value).ok()?;
        number += 1;
        if number == octets.len() {
            return Some((octets.into(), &text[at..]));
        }
        if byte != b'.' {
            return None;
        }
        at += 1;
        (start, value) = (at, 0);
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
