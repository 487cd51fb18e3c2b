//! One media section: a stream's addresses, direction and codecs.

use std::net::{IpAddr, SocketAddr};

use super::{Connection, MediaLine, Sdp, SdpError, number};

/// A view of one `m=` section.
#[derive(Debug, Clone, Copy)]
pub struct Media<'s, 'a> {
    sdp: &'s Sdp<'a>,
    line: &'s MediaLine<'a>,
}

/// Which way media flows, as the sender of the description sees it (RFC 8866 section 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both ways; the default.
    #[default]
    SendRecv,
    /// The describer only sends: the other side is on hold.
    SendOnly,
    /// The describer only receives.
    RecvOnly,
    /// Neither way.
    Inactive,
}

/// By what the describer is ready to encrypt a stream, whatever the `m=` line says: in `RTP/AVP` it happens where both
/// can (RFC 8643).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keying {
    /// SDES: `a=crypto` (RFC 4568).
    pub sdes: bool,
    /// DTLS: `a=fingerprint` (RFC 5763).
    pub dtls: bool,
    /// ZRTP: `a=zrtp-hash` (RFC 6189 section 8).
    pub zrtp: bool,
}

/// What a payload type means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec<'a> {
    /// The RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// The encoding's name, as `PCMU`.
    pub name: &'a str,
    /// The RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Audio channels.
    pub channels: u8,
}

/// Static payload types that are still met without an `a=rtpmap` (RFC 3551 section 6).
const STATIC: [(u8, &str, u32); 9] = [
    (0, "PCMU", 8000),
    (3, "GSM", 8000),
    (4, "G723", 8000),
    (8, "PCMA", 8000),
    (9, "G722", 8000),
    (13, "CN", 8000),
    (15, "G728", 8000),
    (18, "G729", 8000),
    (34, "H263", 90_000),
];

impl<'s, 'a> Media<'s, 'a> {
    pub(super) fn new(sdp: &'s Sdp<'a>, line: &'s MediaLine<'a>) -> Self {
        Self { sdp, line }
    }

    /// The kind of media, as `audio`.
    pub fn kind(&self) -> &'a str {
        self.line.kind
    }

    /// The port of the `m=` line; 0 where the stream is refused.
    pub fn port(&self) -> u16 {
        self.line.port
    }

    /// The protocol, as `RTP/AVP`.
    pub fn proto(&self) -> &'a str {
        self.line.proto
    }

    /// The formats of the `m=` line; RTP's payload types.
    pub fn formats(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.line.formats.split_ascii_whitespace()
    }

    /// Whether the stream is refused or ended: port 0 (RFC 3264 section 6).
    pub fn is_refused(&self) -> bool {
        self.line.port == 0
    }

    /// Whether the stream is RTP over UDP, secured or not.
    pub fn is_rtp(&self) -> bool {
        self.is_udp() && self.line.proto.to_ascii_uppercase().contains("RTP/")
    }

    /// Whether the stream is SRTP, keyed by SDES or DTLS.
    pub fn is_srtp(&self) -> bool {
        self.is_udp() && self.line.proto.to_ascii_uppercase().contains("SAVP")
    }

    /// How the sender could agree on keys for SRTP, by the section's attributes and the session's.
    pub fn keying(&self) -> Keying {
        let end = self.sdp.session_lines();
        let has =
            |name| self.attribute(name).is_some() || self.sdp.attribute_in(0..end, name).is_some();
        Keying {
            sdes: has("crypto"),
            dtls: has("fingerprint"),
            zrtp: has("zrtp-hash"),
        }
    }

    /// Whether the stream goes over UDP: RTP, `udp`, and T.38's `udptl`.
    pub fn is_udp(&self) -> bool {
        let proto = self.line.proto.to_ascii_uppercase();
        ["RTP/", "UDP"].iter().any(|start| proto.starts_with(start))
    }

    /// The address that the sender wants media at, from its own `c=` or the session's. Unspecified
    /// (`0.0.0.0`, `::`) where it put the stream on hold in the way of RFC 2543.
    pub fn address(&self) -> Result<IpAddr, SdpError> {
        match self.line.connection.or(self.sdp.connection) {
            Some(Connection::Address(address)) => Ok(address),
            Some(Connection::Name) => Err(SdpError::HostName),
            Some(Connection::Multicast) => Err(SdpError::Multicast),
            None => Err(SdpError::NoConnection),
        }
    }

    /// Where the sender wants RTP.
    pub fn rtp(&self) -> Result<SocketAddr, SdpError> {
        Ok(SocketAddr::new(self.address()?, self.line.port))
    }

    /// Where the sender wants RTCP: `a=rtcp` (RFC 3605), else the port above RTP's. With
    /// [`Media::rtcp_mux`] agreed on by both sides it is RTP's own.
    pub fn rtcp(&self) -> Result<SocketAddr, SdpError> {
        let address = self.address()?;
        let Some(value) = self.attribute("rtcp") else {
            return Ok(SocketAddr::new(address, self.line.port.wrapping_add(1)));
        };
        let at = self.line.lines.start + 1;
        let (port, place) = value.split_once(' ').unwrap_or((value, ""));
        let port = number(port).ok_or(SdpError::Line(at))?;
        if place.is_empty() {
            return Ok(SocketAddr::new(address, port));
        }
        match super::connection(place) {
            Some(Connection::Address(address)) => Ok(SocketAddr::new(address, port)),
            Some(Connection::Name) => Err(SdpError::HostName),
            Some(Connection::Multicast) => Err(SdpError::Multicast),
            None => Err(SdpError::Line(at)),
        }
    }

    /// Whether the sender can take RTCP on the RTP port (RFC 5761).
    pub fn rtcp_mux(&self) -> bool {
        self.attribute("rtcp-mux").is_some()
    }

    /// The direction: the stream's own attribute, else the session's, else both ways.
    pub fn direction(&self) -> Direction {
        let own = self
            .attributes()
            .find_map(|(name, _)| Direction::parse(name));
        own.or(self.sdp.direction).unwrap_or_default()
    }

    /// Whether the sender put the stream on hold: it does not want to receive, by its direction or
    /// by an unspecified address (RFC 3264 section 8.4).
    pub fn is_held(&self) -> bool {
        let unspecified = self.address().is_ok_and(|address| address.is_unspecified());
        unspecified || matches!(self.direction(), Direction::SendOnly | Direction::Inactive)
    }

    /// The codecs in order of preference: those with `a=rtpmap` and the well-known static ones.
    pub fn codecs(&self) -> impl Iterator<Item = Codec<'a>> + use<'s, 'a> {
        // The maps are collected first: looking them up for each format is quadratic, and a
        // description may have thousands of both.
        let mut maps = [None; 256];
        for (payload_type, encoding) in self.maps() {
            maps[usize::from(payload_type)].get_or_insert(encoding);
        }
        self.formats().filter_map(move |format| {
            let payload_type: u8 = format.parse().ok()?;
            Codec::new(payload_type, maps[usize::from(payload_type)])
        })
    }

    /// What a payload type means here.
    pub fn codec(&self, payload_type: u8) -> Option<Codec<'a>> {
        let mut maps = self.maps();
        let mapped = maps.find(|(number, _)| *number == payload_type);
        Codec::new(payload_type, mapped.map(|(_, encoding)| encoding))
    }

    /// The `a=rtpmap` lines: payload type and encoding.
    fn maps(&self) -> impl Iterator<Item = (u8, &'a str)> + use<'s, 'a> {
        let maps = self.attributes().filter(|(name, _)| *name == "rtpmap");
        maps.filter_map(|(_, map)| {
            let (number, encoding) = map.split_once(' ')?;
            Some((number.parse().ok()?, encoding.trim()))
        })
    }

    /// `a=ptime`: the packet's length in milliseconds that the sender would like to receive.
    pub fn ptime(&self) -> Option<u16> {
        self.attribute("ptime").and_then(number)
    }

    /// The value of the section's first attribute of this name; `""` for a flag.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.sdp.attribute_in(self.line.lines.clone(), name)
    }

    /// The section's attributes: name, and value after the colon (empty for a flag).
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'s, 'a> {
        self.sdp.attributes_in(self.line.lines.clone())
    }
}

impl Keying {
    /// Whether both parties of a stream know the same way to keys: it may be SRTP.
    #[must_use]
    pub const fn agrees(self, other: Self) -> bool {
        self.sdes && other.sdes || self.dtls && other.dtls || self.zrtp && other.zrtp
    }
}

impl<'a> Codec<'a> {
    /// From what `a=rtpmap` says, or from the static types where there is none.
    fn new(payload_type: u8, mapped: Option<&'a str>) -> Option<Self> {
        let Some(encoding) = mapped else {
            let (_, name, clock_rate) = STATIC.into_iter().find(|(n, ..)| *n == payload_type)?;
            return Some(Self {
                payload_type,
                name,
                clock_rate,
                channels: 1,
            });
        };
        let mut words = encoding.split('/');
        Some(Self {
            payload_type,
            name: words.next()?,
            clock_rate: words.next()?.parse().ok()?,
            channels: words.next().and_then(|n| n.parse().ok()).unwrap_or(1),
        })
    }
}

impl Direction {
    /// The direction that an attribute's name says.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ];
        all.into_iter().find(|direction| direction.as_str() == name)
    }

    /// The attribute's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same flow as the other side sees it.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }
}
