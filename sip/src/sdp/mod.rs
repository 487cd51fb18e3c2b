//! SDP (RFC 8866) as a relay needs it: found in a message, read in place, rewritten line by line.
//!
//! Lines that a relay does not act upon are kept verbatim, unknown ones included. What it acts upon
//! (`o=`, `c=`, `m=`, `a=rtcp`, directions) has to make sense, or the description is refused.
//!
//! ```
//! # use sip::sdp::{Relay, Sdp};
//! let body = b"v=0\r\no=a 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
//!     m=audio 4000 RTP/AVP 8\r\na=sendonly\r\n";
//! let sdp = Sdp::parse(body).unwrap();
//! assert_eq!(sdp.media()[0].rtp().unwrap().to_string(), "192.0.2.9:4000");
//! let relay = Relay { address: [198, 51, 100, 1].into(), rtp: 20_000, rtcp: 20_001 };
//! let rewritten = sdp.rewrite(&[Some(relay)]).unwrap();
//! # assert_eq!(rewritten, b"v=0\r\no=a 1 1 IN IP4 198.51.100.1\r\ns=-\r\n\
//! #     c=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\na=sendonly\r\n");
//! ```

mod media;
mod part;
mod rewrite;

use std::{fmt, net::IpAddr, ops::Range};

pub use media::{Codec, Direction, Keying, Media};
pub use part::{locate, locate_in, splice};
pub use rewrite::Relay;

/// The most `m=` lines that a description may have: each one that is relayed costs four ports.
pub const MAX_MEDIA: usize = 32;

/// A session description, over the bytes that it came in.
#[derive(Debug, Clone)]
pub struct Sdp<'a> {
    body: &'a [u8],
    lines: Vec<Line>,
    media: Vec<MediaLine<'a>>,
    origin: usize,
    connection: Option<Connection>,
    direction: Option<Direction>,
}

/// One line: `kind=value` and its end.
#[derive(Debug, Clone, Copy)]
struct Line {
    kind: u8,
    start: usize,
    value_end: usize,
    /// After the line's CR LF (or LF, or nothing at the very end).
    end: usize,
}

/// What an `m=` line says, with the lines of its section.
#[derive(Debug, Clone)]
struct MediaLine<'a> {
    kind: &'a str,
    port: u16,
    proto: &'a str,
    formats: &'a str,
    /// Where the port's digits (and a `/1`) are in the body.
    port_at: Range<usize>,
    /// Indexes into the lines, the `m=` line first.
    lines: Range<usize>,
    connection: Option<Connection>,
}

/// A `c=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Address(IpAddr),
    /// A domain name, which only a resolver could turn into an address.
    Name,
    Multicast,
}

/// Why a description cannot be read or relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// A line is not `letter=value`, or one that matters is malformed. Counted from 1.
    #[error("line {0} of the SDP is malformed")]
    Line(usize),
    /// The description does not begin with `v=0`.
    #[error("the SDP does not begin with v=0")]
    Version,
    /// `o=` is missing or there are two.
    #[error("the SDP needs exactly one o= line")]
    Origin,
    /// There is no `m=` line where one is needed.
    #[error("the SDP has no m= line")]
    NoMedia,
    /// More than [`MAX_MEDIA`] `m=` lines.
    #[error("the SDP has too many m= lines")]
    TooManyMedia,
    /// A stream has no `c=`, neither of its own nor from the session.
    #[error("a media stream of the SDP has no c= line")]
    NoConnection,
    /// A `c=` line names a host instead of an address.
    #[error("a c= line holds a host name; only addresses can be relayed")]
    HostName,
    /// A multicast address, or several ports on one `m=` line.
    #[error("multicast and port ranges cannot be relayed")]
    Multicast,
    /// A stream over a transport other than UDP is to be relayed.
    #[error("a media stream is not over UDP and cannot be relayed")]
    Transport,
    /// The number of relays given is not the number of `m=` lines.
    #[error("the relay count differs from the number of m= lines")]
    RelayCount,
    /// A multipart body is malformed or its boundary missing.
    #[error("the multipart body is malformed")]
    Multipart,
    /// The SDP is compressed, transfer-encoded or there are several in one body.
    #[error("the SDP is encoded, or one of several in the body")]
    Encoded,
}

impl SdpError {
    /// The status that a request with this body is owed: 400 where it breaks the grammar, 488 where
    /// it is well formed but cannot be relayed.
    pub fn status(&self) -> u16 {
        match self {
            Self::Line(_) | Self::Version | Self::Origin | Self::Multipart => 400,
            _ => 488,
        }
    }
}

/// An `o=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The user name, `-` where there is none.
    pub username: &'a str,
    /// The session's id.
    pub session_id: &'a str,
    /// The description's version: a change of the description raises it (RFC 3264 section 8).
    pub version: &'a str,
    /// The originator's address as written: not where media goes.
    pub address: &'a str,
}

impl<'a> Sdp<'a> {
    /// Reads a description.
    pub fn parse(body: &'a [u8]) -> Result<Self, SdpError> {
        let lines = split_lines(body)?;
        let is_version = lines
            .first()
            .is_some_and(|line| text(body, line) == Some("0"));
        if !is_version || lines[0].kind != b'v' {
            return Err(SdpError::Version);
        }
        let first_media = lines
            .iter()
            .position(|line| line.kind == b'm')
            .unwrap_or(lines.len());
        let mut sdp = Self {
            body,
            lines,
            media: Vec::new(),
            origin: 0,
            connection: None,
            direction: None,
        };
        sdp.read_session(first_media)?;
        sdp.read_media(first_media)?;
        Ok(sdp)
    }

    /// The `o=` line.
    pub fn origin(&self) -> Origin<'a> {
        // The line was checked when it was read.
        let line = text(self.body, &self.lines[self.origin]).unwrap_or_default();
        origin(line).unwrap_or(Origin {
            username: "-",
            session_id: "",
            version: "",
            address: "",
        })
    }

    /// The media sections in order, refused ones (port 0) included.
    pub fn media(&self) -> Vec<Media<'_, 'a>> {
        self.media
            .iter()
            .map(|line| Media::new(self, line))
            .collect()
    }

    /// Session-level attributes: name, and value after the colon (empty for a flag).
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.attributes_in(0..self.session_lines())
    }

    /// Whether any section has ICE credentials: the sender is an ICE agent (RFC 8839).
    pub fn has_ice(&self) -> bool {
        self.attribute_in(0..self.lines.len(), "ice-ufrag")
            .is_some()
    }

    /// Writes the description with each stream led to a relay; see [`Relay`].
    ///
    /// `relays` has one entry for each `m=` line: `None` leaves a stream as it is. A refused stream
    /// (port 0) is left alone whatever its entry says.
    pub fn rewrite(&self, relays: &[Option<Relay>]) -> Result<Vec<u8>, SdpError> {
        rewrite::rewrite(self, relays)
    }

    fn read_session(&mut self, end: usize) -> Result<(), SdpError> {
        let mut origin_at = None;
        for at in 0..end {
            let line = self.lines[at];
            match line.kind {
                b'o' => {
                    let ok = text(self.body, &line).and_then(origin).is_some();
                    ok.then_some(()).ok_or(SdpError::Line(at + 1))?;
                    if origin_at.replace(at).is_some() {
                        return Err(SdpError::Origin);
                    }
                }
                b'c' => {
                    let parsed = self.connection_line(at)?;
                    if self.connection.replace(parsed).is_some() {
                        return Err(SdpError::Line(at + 1));
                    }
                }
                b'a' => {
                    let direction = text(self.body, &line).and_then(Direction::parse);
                    self.direction = self.direction.or(direction);
                }
                _ => {}
            }
        }
        self.origin = origin_at.ok_or(SdpError::Origin)?;
        Ok(())
    }

    fn read_media(&mut self, first: usize) -> Result<(), SdpError> {
        let mut at = first;
        while at < self.lines.len() {
            if self.media.len() == MAX_MEDIA {
                return Err(SdpError::TooManyMedia);
            }
            let next = self.lines[at + 1..]
                .iter()
                .position(|line| line.kind == b'm');
            let end = next.map_or(self.lines.len(), |next| at + 1 + next);
            let mut media = self.media_line(at, end).ok_or(SdpError::Line(at + 1))?;
            for line in at + 1..end {
                if self.lines[line].kind == b'c' {
                    // Several c= lines are legal for layered multicast only.
                    let parsed = self.connection_line(line)?;
                    let several = media.connection.replace(parsed).is_some();
                    if several {
                        media.connection = Some(Connection::Multicast);
                    }
                }
            }
            self.media.push(media);
            at = end;
        }
        Ok(())
    }

    /// `m=kind port[/count] proto format ...`
    fn media_line(&self, at: usize, end: usize) -> Option<MediaLine<'a>> {
        let line = &self.lines[at];
        let value = text(self.body, line)?;
        let (kind, rest) = value.split_once(' ')?;
        let (ports, rest) = rest.split_once(' ')?;
        let (proto, formats) = rest.split_once(' ')?;
        let (port, count) = ports.split_once('/').unwrap_or((ports, "1"));
        let port_start = line.start + 2 + kind.len() + 1;
        let formats = formats.trim_matches(' ');
        if kind.is_empty() || proto.is_empty() || formats.is_empty() {
            return None;
        }
        let count: u16 = number(count)?;
        let mut media = MediaLine {
            kind,
            port: number(port)?,
            proto,
            formats,
            port_at: port_start..port_start + ports.len(),
            lines: at..end,
            connection: None,
        };
        if count != 1 {
            media.connection = Some(Connection::Multicast);
        }
        Some(media)
    }

    /// `c=IN IP4|IP6 address`
    fn connection_line(&self, at: usize) -> Result<Connection, SdpError> {
        let value = text(self.body, &self.lines[at]);
        value.and_then(connection).ok_or(SdpError::Line(at + 1))
    }

    /// The value of the first attribute of this name; `""` for a flag. Text is made of that one only.
    /// Lines before the first media section.
    fn session_lines(&self) -> usize {
        let first = self.media.first();
        first.map_or(self.lines.len(), |media| media.lines.start)
    }

    fn attribute_in(&self, lines: Range<usize>, name: &str) -> Option<&'a str> {
        let mut lines = self.lines[lines].iter().filter(|line| {
            let value = &self.body[line.start + 2..line.value_end];
            line.kind == b'a' && is_attribute(value, name.as_bytes())
        });
        let value = lines.find_map(|line| text(self.body, line))?;
        Some(value.get(name.len() + 1..).unwrap_or_default())
    }

    fn attributes_in(&self, lines: Range<usize>) -> impl Iterator<Item = (&'a str, &'a str)> {
        let body = self.body;
        let lines = self.lines[lines].iter().filter(|line| line.kind == b'a');
        let values = lines.filter_map(move |line| text(body, line));
        values.map(|value| value.split_once(':').unwrap_or((value, "")))
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.username, self.session_id, self.version)
    }
}

/// The lines of a body. Line ends are CR LF, or LF alone as RFC 8866 section 5 lets parsers accept;
/// empty lines are let pass at the end only.
fn split_lines(body: &[u8]) -> Result<Vec<Line>, SdpError> {
    let mut lines = Vec::with_capacity(32);
    let mut at = 0;
    let mut blank = false;
    while at < body.len() {
        let newline = memchr::memchr(b'\n', &body[at..]);
        let end = newline.map_or(body.len(), |newline| at + newline + 1);
        let mut value_end = newline.map_or(body.len(), |newline| at + newline);
        if value_end > at && body[value_end - 1] == b'\r' {
            value_end -= 1;
        }
        let line = &body[at..value_end];
        match line {
            [] => blank = true,
            [kind, b'=', value @ ..] if kind.is_ascii_lowercase() && !blank => {
                if memchr::memchr2(b'\r', 0, value).is_some() {
                    return Err(SdpError::Line(lines.len() + 1));
                }
                lines.push(Line {
                    kind: *kind,
                    start: at,
                    value_end,
                    end,
                });
            }
            _ => return Err(SdpError::Line(lines.len() + 1)),
        }
        at = end;
    }
    Ok(lines)
}

/// A line's value, where it is UTF-8.
fn text<'a>(body: &'a [u8], line: &Line) -> Option<&'a str> {
    std::str::from_utf8(&body[line.start + 2..line.value_end]).ok()
}

/// Whether an attribute has this name.
fn is_attribute(value: &[u8], name: &[u8]) -> bool {
    value
        .strip_prefix(name)
        .is_some_and(|rest| matches!(rest.first(), None | Some(b':')))
}

/// `username id version IN IP4|IP6 address`
fn origin(value: &str) -> Option<Origin<'_>> {
    let mut words = value.split_ascii_whitespace();
    let (username, session_id, version) = (words.next()?, words.next()?, words.next()?);
    let (net, family, address) = (words.next()?, words.next()?, words.next()?);
    let known = net == "IN" && matches!(family, "IP4" | "IP6") && words.next().is_none();
    known.then_some(Origin {
        username,
        session_id,
        version,
        address,
    })
}

fn connection(value: &str) -> Option<Connection> {
    let mut words = value.split_ascii_whitespace();
    let (net, family, address) = (words.next()?, words.next()?, words.next()?);
    if net != "IN" || words.next().is_some() {
        return None;
    }
    let (address, is_scoped) = match address.split_once('/') {
        Some((address, _)) => (address, true),
        None => (address, false),
    };
    let connection = match (family, address.parse::<IpAddr>()) {
        ("IP4", Ok(ip @ IpAddr::V4(_))) | ("IP6", Ok(ip @ IpAddr::V6(_))) => {
            Connection::Address(ip)
        }
        ("IP4" | "IP6", Err(_)) if is_host_name(address) => Connection::Name,
        _ => return None,
    };
    match connection {
        Connection::Address(ip) if ip.is_multicast() || is_scoped => Some(Connection::Multicast),
        connection => Some(connection),
    }
}

fn is_host_name(text: &str) -> bool {
    // A name of digits and dots is a mistyped address.
    text.bytes().any(|b| b.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

/// A decimal of digits only.
fn number(text: &str) -> Option<u16> {
    crate::text::decimal(text.as_bytes()).and_then(|n| u16::try_from(n).ok())
}

#[cfg(test)]
mod tests;
