//! The Via header (RFC 3261 section 20.42, RFC 3581).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{HeaderError, HeaderName, Params};
use crate::{
    text::{Part, is_lws, is_same, is_token, is_utf8, put_decimal, put_ip, text, trim},
    uri::Host,
};

/// The magic cookie that starts every branch of RFC 3261.
pub const BRANCH_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    transport: Transport<'a>,
    host: Host<'a>,
    port: Option<u16>,
    /// UTF-8, as all of it.
    sent_by: &'a [u8],
    params: Params<'a>,
    /// Empty where there is none.
    branch: &'a [u8],
    raw: &'a [u8],
}

/// Where the parts of a [`Via`] are in the value of its field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViaParts {
    /// `None` for one that is a text: `token`.
    transport: Option<Transport<'static>>,
    token: Part,
    /// `None` for a name: `name`.
    host: Option<Host<'static>>,
    name: Part,
    port: Option<u16>,
    sent_by: Part,
    params: Part,
    branch: Part,
    raw: Part,
}

/// The transport of a Via or of a URI's `transport` parameter. Compares without regard to case.
#[derive(Debug, Clone, Copy)]
pub enum Transport<'a> {
    /// UDP
    Udp,
    /// TCP
    Tcp,
    /// TLS over TCP
    Tls,
    /// SCTP
    Sctp,
    /// WebSocket (RFC 7118)
    Ws,
    /// WebSocket over TLS
    Wss,
    /// Any other token.
    Other(&'a str),
}

impl<'a> Via<'a> {
    /// Parses one value: `SIP/2.0/UDP host:port;branch=...`, with white space where it may stand.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        Self::parse_value(trim(value)).ok_or(HeaderError::Malformed(HeaderName::Via))
    }

    fn parse_value(raw: &'a [u8]) -> Option<Self> {
        // Nearly all begin so, and the rest is looked at in detail.
        let rest = match raw.strip_prefix(b"SIP/2.0/") {
            Some(rest) => rest,
            None => after_version(raw)?,
        };
        let rest = trim(rest);
        let (transport, rest) = rest.split_at_checked(rest.iter().position(|b| is_lws(*b))?)?;
        let semicolon = rest.iter().position(|b| *b == b';');
        let (sent_by, params) = rest.split_at_checked(semicolon.unwrap_or(rest.len()))?;
        if !is_utf8(raw) {
            return None;
        }
        let sent_by = trim(sent_by);
        let (host, port) = Host::parse_with_port(sent_by, |len| text(&sent_by[..len]))?;
        let params = Params::closed_without_brackets(params)?;
        Some(Self {
            transport: Transport::parse_token(transport)?,
            host,
            port,
            sent_by,
            params,
            branch: params.find("branch").flatten().unwrap_or_default(),
            raw,
        })
    }

    /// Where its parts are in the `value` that it was parsed from.
    pub(crate) fn parts(&self, value: &[u8]) -> ViaParts {
        let part = |part| Part::of(value, part);
        let (transport, token) = match self.transport.known() {
            Ok(known) => (Some(known), Part::default()),
            Err(token) => (None, part(token.as_bytes())),
        };
        let (host, name) = match self.host {
            Host::Name(name) => (None, part(name.as_bytes())),
            Host::V4(address) => (Some(Host::V4(address)), Part::default()),
            Host::V6(address) => (Some(Host::V6(address)), Part::default()),
        };
        ViaParts {
            transport,
            token,
            host,
            name,
            port: self.port,
            sent_by: part(self.sent_by),
            params: part(self.params.as_bytes()),
            branch: part(self.branch),
            raw: part(self.raw),
        }
    }

    /// The one whose parts these are.
    pub(crate) fn of_parts(value: &'a [u8], parts: &ViaParts) -> Self {
        let transport = parts.transport;
        Self {
            transport: transport
                .unwrap_or_else(|| Transport::Other(text(parts.token.slice(value)))),
            host: match parts.host {
                Some(host) => host,
                None => Host::Name(text(parts.name.slice(value))),
            },
            port: parts.port,
            sent_by: parts.sent_by.slice(value),
            params: Params::of(parts.params.slice(value)),
            branch: parts.branch.slice(value),
            raw: parts.raw.slice(value),
        }
    }

    /// The value as it was received, trimmed.
    pub fn as_str(&self) -> &'a str {
        text(self.raw)
    }

    /// The transport that the sender used.
    pub fn transport(&self) -> Transport<'a> {
        self.transport
    }

    /// The host of `sent-by`.
    pub fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port of `sent-by`, where one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// `sent-by` as it was received; part of a server transaction's key (RFC 3261 section 17.2.3).
    pub fn sent_by(&self) -> &'a str {
        text(self.sent_by)
    }

    /// All parameters.
    pub fn params(&self) -> Params<'a> {
        self.params
    }

    /// The `branch` parameter.
    pub fn branch(&self) -> Option<&'a str> {
        (!self.branch.is_empty()).then(|| text(self.branch))
    }

    /// Whether the branch begins with `z9hG4bK` and goes on: unique by RFC 3261, not computed by
    /// RFC 2543. The bare cookie identifies nothing (RFC 4475 section 3.2.1).
    pub fn has_rfc3261_branch(&self) -> bool {
        let parts = self.branch.split_at_checked(BRANCH_COOKIE.len());
        parts.is_some_and(|(start, unique)| {
            start.eq_ignore_ascii_case(BRANCH_COOKIE.as_bytes()) && !unique.is_empty()
        })
    }

    /// The `received` parameter; an IPv6 address with or without brackets (RFC 5118 section 4.5).
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.get("received")?;
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        bare.parse().ok()
    }

    /// Whether `rport` is there, with or without a value (RFC 3581).
    pub fn has_rport(&self) -> bool {
        self.params.has("rport")
    }

    /// The value of `rport`, once a server has filled it in.
    pub fn rport(&self) -> Option<u16> {
        self.params.get("rport")?.parse().ok()
    }

    /// The `maddr` parameter.
    pub fn maddr(&self) -> Option<Host<'a>> {
        Host::parse(self.params.get("maddr")?)
    }

    /// The `ttl` parameter.
    pub fn ttl(&self) -> Option<u8> {
        self.params.get("ttl")?.parse().ok()
    }

    /// Where a response goes by RFC 3261 section 18.2.2 over an unreliable transport: `maddr`, else
    /// `received` with `rport`, else `sent-by`. The port falls back to the transport's default.
    pub fn response_target(&self) -> (Host<'a>, u16) {
        let port = self.port.unwrap_or_else(|| self.transport.default_port());
        if let Some(maddr) = self.maddr() {
            return (maddr, port);
        }
        match self.received() {
            Some(address) => (Host::from(address), self.rport().unwrap_or(port)),
            None => (self.host, self.rport().unwrap_or(port)),
        }
    }

    /// This value as a server stores it after the request came from `source`: `received` where the
    /// address is not `sent-by` or the client asked for `rport`, and `rport` filled in (RFC 3261
    /// section 18.2.1, RFC 3581 section 4). What the client wrote into either is dropped: only the
    /// server knows. `None` where nothing changes.
    pub fn stamped(&self, source: SocketAddr) -> Option<Vec<u8>> {
        let has_rport = self.has_rport();
        let source_ip = source.ip().to_canonical();
        let wants_received =
            has_rport || self.host.ip().map(|ip| ip.to_canonical()) != Some(source_ip);
        if !wants_received && !self.params.has("received") {
            return None;
        }
        let head = self.raw.len() - self.params.as_bytes().len();
        let mut out = Vec::with_capacity(self.raw.len() + 64);
        out.extend_from_slice(trim(&self.raw[..head]));
        for (name, value) in self.params.raw() {
            if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
                continue;
            }
            out.push(b';');
            out.extend_from_slice(name);
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
        if wants_received {
            out.extend_from_slice(b";received=");
            put_ip(&mut out, source_ip);
        }
        if has_rport {
            out.extend_from_slice(b";rport=");
            put_decimal(&mut out, source.port().into());
        }
        Some(out)
    }
}

impl<'a> Transport<'a> {
    /// Parses a transport token. `None` where it is no token.
    pub fn parse(text: &'a str) -> Option<Self> {
        Self::parse_token(text.as_bytes())
    }

    fn parse_token(token: &'a [u8]) -> Option<Self> {
        const KNOWN: [Transport<'static>; 6] = [
            Transport::Udp,
            Transport::Tcp,
            Transport::Tls,
            Transport::Sctp,
            Transport::Ws,
            Transport::Wss,
        ];
        let is = |known: &&Self| is_same(known.as_str().as_bytes(), token);
        match KNOWN.iter().find(is) {
            Some(known) => Some(*known),
            None => is_token(token).then(|| Self::Other(text(token))),
        }
    }

    /// One that is known; any other's text.
    fn known(self) -> Result<Transport<'static>, &'a str> {
        Ok(match self {
            Self::Udp => Transport::Udp,
            Self::Tcp => Transport::Tcp,
            Self::Tls => Transport::Tls,
            Self::Sctp => Transport::Sctp,
            Self::Ws => Transport::Ws,
            Self::Wss => Transport::Wss,
            Self::Other(text) => return Err(text),
        })
    }

    /// The token as a Via writes it.
    pub const fn as_str(&self) -> &'a str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Sctp => "SCTP",
            Self::Ws => "WS",
            Self::Wss => "WSS",
            Self::Other(text) => text,
        }
    }

    /// 5061 for TLS, 80 and 443 for WebSocket, else 5060.
    pub const fn default_port(&self) -> u16 {
        match self {
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
            _ => 5060,
        }
    }

    /// Whether the transport delivers by itself, so that no request is retransmitted over it.
    /// Unknown ones count as unreliable.
    pub const fn is_reliable(&self) -> bool {
        !matches!(self, Self::Udp | Self::Other(_))
    }
}

/// What stands behind `SIP / 2.0 /`, in whatever way it is written.
fn after_version(raw: &[u8]) -> Option<&[u8]> {
    let mut parts = raw.splitn(3, |b| *b == b'/');
    let (name, version, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_sip = trim(name).eq_ignore_ascii_case(b"SIP") && trim(version) == b"2.0";
    is_sip.then_some(rest)
}

impl PartialEq for Transport<'_> {
    fn eq(&self, other: &Transport<'_>) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for Transport<'_> {}

impl fmt::Display for Transport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
