//! Addresses as they are written in the configuration.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
};

use serde::Deserialize;

/// A value that is not written as its key wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {wanted}")]
pub struct ParseError {
    text: String,
    wanted: &'static str,
}

impl ParseError {
    pub(super) fn new(text: &str, wanted: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            wanted,
        }
    }
}

macro_rules! from_string {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = ParseError;

            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }
    )*};
}

from_string!(Listen, Host, Cidr, MediaAddress, PortRange);

/// What SIP travels over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP (RFC 3261 18).
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP (RFC 3261 26.2).
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// As a URI's `transport` parameter, which has one word for both kinds of WebSocket (RFC 7118
    /// section 5.2.4).
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Wss => "ws",
            other => other.name(),
        }
    }

    /// The port that is meant where none is written.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether it delivers by itself, so that nothing is sent again over it.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether it is encrypted, as a `sips:` URI wants.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether only the peer can open a connection: a browser listens nowhere.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Transport {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|transport| text.eq_ignore_ascii_case(transport.name()))
            .ok_or_else(|| ParseError::new(text, "a transport: udp, tcp, tls, ws or wss"))
    }
}

/// Where SIP is received: `udp:10.0.0.1:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen {
    /// Over what.
    pub transport: Transport,
    /// On which address; port 0 takes a free one.
    pub address: SocketAddr,
}

impl FromStr for Listen {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "TRANSPORT:IP:PORT, such as udp:10.0.0.1:5060");
        let (transport, address) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            transport: transport.parse()?,
            address: address.parse().map_err(|_| wrong())?,
        })
    }
}

impl Listen {
    /// Whether only one of the two can be had. With port 0 each gets one of its own.
    pub(super) fn collides(self, other: Self) -> bool {
        let is_udp = |listen: Self| listen.transport == Transport::Udp;
        self.address == other.address && self.address.port() != 0 && is_udp(self) == is_udp(other)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}

/// A trunk's host: `192.0.2.1`, `192.0.2.1:5060`, `[2001:db8::1]:5060`, `gw.example.com`, any of them
/// after `udp:`, `tcp:`, `tls:` or `sip:`, and `;transport=tls` after a `sip:` one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Host {
    /// Over what; UDP where nothing was said.
    pub transport: Transport,
    /// Whether the transport was written. Where it was not, a request that is too long for UDP goes
    /// over TCP.
    pub explicit: bool,
    /// A name or an address; IPv6 without brackets.
    pub name: String,
    /// The port; `None` where it was not written: that of the transport then.
    pub port: Option<u16>,
}

impl Host {
    /// The address, where the host was written as one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }

    /// The port, written or the default.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or_else(|| self.transport.default_port())
    }
}

impl FromStr for Host {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong =
            || ParseError::new(text, "a host, such as 192.0.2.1:5060 or sip:gw.example.com");
        let (mut rest, mut transport) = (text, None);
        if let Some(uri) = text.strip_prefix("sip:") {
            rest = uri;
            if let Some((host, parameters)) = uri.split_once(';') {
                rest = host;
                for parameter in parameters.split(';') {
                    let named = parameter.strip_prefix("transport=").ok_or_else(wrong)?;
                    transport = Some(named.parse()?);
                }
            }
        } else if let Some((prefix, plain)) = text.split_once(':')
            && let Ok(named) = prefix.parse()
        {
            (rest, transport) = (plain, Some(named));
        }
        if transport.is_some_and(Transport::is_websocket) {
            return Err(ParseError::new(
                text,
                "reachable: over WebSocket only a client can connect (udp, tcp, tls)",
            ));
        }
        let (name, port) = split_port(rest).ok_or_else(wrong)?;
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !is_name && name.parse::<IpAddr>().is_err() {
            return Err(wrong());
        }
        Ok(Self {
            transport: transport.unwrap_or(Transport::Udp),
            explicit: transport.is_some(),
            name: name.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]", self.name)?;
        } else {
            f.write_str(&self.name)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if self.transport != Transport::Udp {
            write!(f, ";transport={}", self.transport)?;
        }
        Ok(())
    }
}

fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (name, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((name, None)),
            _ => Some((name, Some(parse_port(rest.strip_prefix(':')?)?))),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((name, port)) => Some((name, Some(parse_port(port)?))),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A block of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The block of `address` that shares its `prefix` leading bits; more bits than the address has
    /// count as all of them.
    pub const fn new(address: IpAddr, prefix: u8) -> Self {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = if prefix > most { most } else { prefix };
        Self { address, prefix }
    }

    /// The same block by its first address, so that two spellings of one are equal.
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                IpAddr::V4((u32::from(address) & !host).into())
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                IpAddr::V6((u128::from(address) & !host).into())
            }
        };
        Self { address, ..self }
    }

    /// An address in the block, as it was written.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count, 0 to 32 or 128.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in the block; an IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differ = u32::from(ours) ^ u32::from(theirs);
                differ.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differ = u128::from(ours) ^ u128::from(theirs);
                differ
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "an address block, such as 192.0.2.0/24");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(wrong)?,
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// mediad's address: `10.0.0.1`, or `10.0.0.1/203.0.113.1` where the peers see another one; an IPv4
/// and an IPv6 one may stand side by side after a comma.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MediaAddress(Vec<(IpAddr, IpAddr)>);

impl MediaAddress {
    /// Pairs of the address to bind and the one to tell the peers; one of each family at most.
    pub fn pairs(&self) -> &[(IpAddr, IpAddr)] {
        &self.0
    }

    /// Takes the other's addresses in beside its own.
    ///
    /// # Errors
    /// Both have one of the same family; nothing has changed.
    pub fn join(&mut self, other: Self) -> Result<(), Self> {
        let is_new =
            |pair: &(IpAddr, IpAddr)| self.0.iter().all(|own| own.0.is_ipv4() != pair.0.is_ipv4());
        if !other.0.iter().all(is_new) {
            return Err(other);
        }
        self.0.extend(other.0);
        Ok(())
    }
}

impl Default for MediaAddress {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self(vec![(loopback, loopback)])
    }
}

impl FromStr for MediaAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || {
            ParseError::new(
                text,
                "IP or IP/PUBLIC_IP, or one of each family with a comma between",
            )
        };
        let mut pairs: Vec<(IpAddr, IpAddr)> = Vec::new();
        for item in text.split(',').map(str::trim) {
            let (bound, told) = item.split_once('/').unwrap_or((item, item));
            let bound: IpAddr = bound.trim().parse().map_err(|_| wrong())?;
            let told: IpAddr = told.trim().parse().map_err(|_| wrong())?;
            let usable = !bound.is_unspecified() && !bound.is_multicast() && !told.is_unspecified();
            let fresh = pairs.iter().all(|pair| pair.0.is_ipv4() != bound.is_ipv4());
            if !usable || !fresh || bound.is_ipv4() != told.is_ipv4() {
                return Err(wrong());
            }
            pairs.push((bound, told));
        }
        Ok(Self(pairs))
    }
}

impl fmt::Display for MediaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (bound, told)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{bound}")?;
            if bound != told {
                write!(f, "/{told}")?;
            }
        }
        Ok(())
    }
}

/// UDP ports for media, both ends included: `20000-59999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports.
    pub const fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl Default for PortRange {
    fn default() -> Self {
        Self {
            first: 20_000,
            last: 59_999,
        }
    }
}

impl FromStr for PortRange {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let range = text.split_once('-').and_then(|(first, last)| {
            Some(Self {
                first: first.trim().parse().ok()?,
                last: last.trim().parse().ok()?,
            })
        });
        range
            // A session takes four ports.
            .filter(|range| range.first >= 1024 && range.last >= range.first.saturating_add(3))
            .ok_or_else(|| {
                ParseError::new(text, "FROM-TO with ports from 1024 to 65535, four at least")
            })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
