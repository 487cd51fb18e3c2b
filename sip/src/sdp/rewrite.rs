//! Leading a description's streams to a relay.

use std::net::IpAddr;

use super::{Connection, Line, Media, MediaLine, Sdp, SdpError, is_attribute};
use crate::text::{put_decimal, put_ip};

/// Where one stream is to be sent instead: an address and two ports of the relay.
///
/// What changes: the ports of `m=`, every `c=` and `a=rtcp` of the stream, the address of `o=`. The
/// relay is no ICE agent, so ICE's attributes go; each stream has ports of its own, so those of
/// BUNDLE (RFC 9143) go too. An unspecified address (`0.0.0.0`) stays one: it
/// puts the other side on hold. All else is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// The relay's address as this stream's receiver reaches it.
    pub address: IpAddr,
    /// The port for RTP.
    pub rtp: u16,
    /// The port for RTCP.
    pub rtcp: u16,
}

/// Attributes that speak of ICE (RFC 8839, RFC 8840): meaningless once addresses are the relay's.
const ICE: [&[u8]; 9] = [
    b"candidate",
    b"end-of-candidates",
    b"ice-lite",
    b"ice-mismatch",
    b"ice-options",
    b"ice-pacing",
    b"ice-pwd",
    b"ice-ufrag",
    b"remote-candidates",
];

/// The group of streams that share one port; other groups (`LS`, `FID`) do not care for ports.
const BUNDLE: &[u8] = b"group:BUNDLE";

pub(super) fn rewrite(sdp: &Sdp<'_>, relays: &[Option<Relay>]) -> Result<Vec<u8>, SdpError> {
    if sdp.media.is_empty() {
        return Err(SdpError::NoMedia);
    }
    if relays.len() != sdp.media.len() {
        return Err(SdpError::RelayCount);
    }
    let active =
        |(media, relay): (&MediaLine<'_>, &Option<Relay>)| relay.filter(|_| media.port > 0);
    let relays: Vec<_> = sdp.media.iter().zip(relays).map(active).collect();
    let mut writer = Writer {
        sdp,
        out: Vec::with_capacity(sdp.body.len() + 128),
    };
    let Some(session) = relays.iter().flatten().next() else {
        return Ok(sdp.body.to_vec());
    };
    let session = session.address;
    writer.session(session);
    for (line, relay) in sdp.media.iter().zip(&relays) {
        match relay {
            Some(relay) => writer.relayed(line, relay, session)?,
            None => writer.untouched(line, session),
        }
    }
    let end = sdp.lines.last().map_or(0, |line| line.end);
    writer.out.extend_from_slice(&sdp.body[end..]);
    Ok(writer.out)
}

struct Writer<'s, 'a> {
    sdp: &'s Sdp<'a>,
    out: Vec<u8>,
}

impl Writer<'_, '_> {
    fn session(&mut self, relay: IpAddr) {
        let end = self.sdp.media[0].lines.start;
        for at in 0..end {
            let line = self.sdp.lines[at];
            match line.kind {
                b'o' => self.origin(&line, relay),
                // A name or a group is used by streams that are left alone only: others are refused.
                b'c' if matches!(self.sdp.connection, Some(Connection::Address(_))) => {
                    let address = self.session_address(relay);
                    self.connection(&line, address);
                }
                b'a' if self.is_void(&line) => {}
                _ => self.copy(&line),
            }
        }
    }

    fn relayed(
        &mut self,
        media: &MediaLine<'_>,
        relay: &Relay,
        session: IpAddr,
    ) -> Result<(), SdpError> {
        let view = Media::new(self.sdp, media);
        let asked = view.address()?;
        let asked_rtcp = view.rtcp()?;
        if !view.is_udp() {
            return Err(SdpError::Transport);
        }
        let address = hold(asked, relay.address);
        // RTCP on the RTP port (RFC 5761) stays there.
        let rtcp = if asked_rtcp.port() == media.port {
            relay.rtp
        } else {
            relay.rtcp
        };

        let m = self.sdp.lines[media.lines.start];
        self.out
            .extend_from_slice(&self.sdp.body[m.start..media.port_at.start]);
        put_decimal(&mut self.out, relay.rtp.into());
        self.out
            .extend_from_slice(&self.sdp.body[media.port_at.end..m.end]);
        let own = media.connection.is_some();
        let mut missing = !own && self.session_address(session) != address;
        for at in media.lines.start + 1..media.lines.end {
            let line = self.sdp.lines[at];
            // A c= line stands after i= and before all else.
            if missing && line.kind != b'i' {
                self.new_connection(&m, address);
                missing = false;
            }
            match line.kind {
                b'c' => self.connection(&line, address),
                b'a' if self.is_void(&line) => {}
                b'a' if is_attribute(self.value(&line), b"rtcp") => {
                    self.rtcp(&line, rtcp, address);
                }
                _ => self.copy(&line),
            }
        }
        if missing {
            self.new_connection(&m, address);
        }
        if view.attribute("rtcp").is_none() && rtcp != relay.rtp.wrapping_add(1) {
            self.end_line(&m);
            self.put("a=rtcp:");
            put_decimal(&mut self.out, rtcp.into());
            self.line_end(&m);
        }
        Ok(())
    }

    /// A stream that is not relayed keeps the address that it had, even if the session's changed.
    fn untouched(&mut self, media: &MediaLine<'_>, session: IpAddr) {
        let m = self.sdp.lines[media.lines.start];
        self.copy(&m);
        let inherited = match (media.connection, self.sdp.connection) {
            (None, Some(Connection::Address(address))) if media.port > 0 => Some(address),
            _ => None,
        };
        let mut missing = inherited.filter(|address| self.session_address(session) != *address);
        for at in media.lines.start + 1..media.lines.end {
            let line = self.sdp.lines[at];
            if line.kind != b'i'
                && let Some(address) = missing.take()
            {
                self.new_connection(&m, address);
            }
            self.copy(&line);
        }
        if let Some(address) = missing {
            self.new_connection(&m, address);
        }
    }

    /// The address that the session's `c=` line gets.
    fn session_address(&self, relay: IpAddr) -> IpAddr {
        match self.sdp.connection {
            Some(Connection::Address(asked)) => hold(asked, relay),
            _ => relay,
        }
    }

    fn origin(&mut self, line: &Line, relay: IpAddr) {
        let origin = self.sdp.origin();
        self.put("o=");
        for part in [origin.username, origin.session_id, origin.version] {
            self.put(part);
            self.put(" ");
        }
        self.address(relay);
        self.line_end(line);
    }

    fn connection(&mut self, line: &Line, address: IpAddr) {
        self.put("c=");
        self.address(address);
        self.line_end(line);
    }

    /// A `c=` line where there was none, ended like the line `like`.
    fn new_connection(&mut self, like: &Line, address: IpAddr) {
        self.end_line(like);
        self.connection(like, address);
    }

    /// `a=rtcp:port [IN IP4 address]`, with an address where there was one.
    fn rtcp(&mut self, line: &Line, port: u16, address: IpAddr) {
        self.put("a=rtcp:");
        put_decimal(&mut self.out, port.into());
        if self.value(line).contains(&b' ') {
            self.put(" ");
            self.address(address);
        }
        self.line_end(line);
    }

    /// Whether an attribute speaks of places or ports that are the relay's now.
    fn is_void(&self, line: &Line) -> bool {
        let value = self.value(line);
        let bundles = value
            .get(..BUNDLE.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(BUNDLE));
        bundles
            || is_attribute(value, b"bundle-only")
            || ICE.iter().any(|name| is_attribute(value, name))
    }

    fn value(&self, line: &Line) -> &[u8] {
        &self.sdp.body[line.start + 2..line.value_end]
    }

    fn copy(&mut self, line: &Line) {
        self.out
            .extend_from_slice(&self.sdp.body[line.start..line.end]);
    }

    fn line_end(&mut self, like: &Line) {
        self.out
            .extend_from_slice(&self.sdp.body[like.value_end..like.end]);
    }

    /// Ends the last line of a body that lacks its final line end, before another is added.
    fn end_line(&mut self, like: &Line) {
        match self.out.last() {
            Some(b'\n') | None => {}
            // The body was cut within its last line end.
            Some(b'\r') => self.out.push(b'\n'),
            Some(_) => {
                let end = &self.sdp.body[like.value_end..like.end];
                let is_whole = end.ends_with(b"\n");
                self.out
                    .extend_from_slice(if is_whole { end } else { b"\r\n" });
            }
        }
    }

    /// `IN IP4 address`
    fn address(&mut self, address: IpAddr) {
        self.put(if address.is_ipv4() {
            "IN IP4 "
        } else {
            "IN IP6 "
        });
        put_ip(&mut self.out, address);
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// The relay's address, or its family's unspecified one where the sender asked for hold by that.
fn hold(asked: IpAddr, relay: IpAddr) -> IpAddr {
    if !asked.is_unspecified() {
        return relay;
    }
    match relay {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}
