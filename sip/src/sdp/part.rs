//! Where in a message the SDP is: the whole body, or one part of a multipart body (RFC 5621).

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem;

use super::SdpError;
use crate::{
    header::{ContentType, HeaderName},
    message::Message,
    text::trim,
};

/// Multipart bodies within multipart bodies are followed this deep.
const MAX_DEPTH: u8 = 3;

/// Finds the SDP in a message's body. `None` where the body holds none.
///
/// A body without a Content-Type that begins like SDP counts as SDP: passing it on unread would let
/// media around the relay.
pub fn locate(message: &Message) -> Result<Option<Range<usize>>, SdpError> {
    let body = message.body();
    if body.is_empty() {
        return Ok(None);
    }
    let content_type = match message.header(HeaderName::ContentType) {
        Some(header) => header.value(),
        None if body.starts_with(b"v=") => b"application/sdp",
        None => return Ok(None),
    };
    let found = locate_in(content_type, body)?;
    let encoding = message.header(HeaderName::ContentEncoding);
    let is_plain = encoding.is_none_or(|e| e.value().eq_ignore_ascii_case(b"identity"));
    if found.is_some() && !is_plain {
        return Err(SdpError::Encoded);
    }
    Ok(found)
}

/// [`locate`] with the Content-Type's value and the body given.
pub fn locate_in(content_type: &[u8], body: &[u8]) -> Result<Option<Range<usize>>, SdpError> {
    locate_at(content_type, body, MAX_DEPTH)
}

/// The body with the SDP at `range` replaced; all else is copied.
pub fn splice(body: &[u8], range: &Range<usize>, sdp: &[u8]) -> Bytes {
    let before = body.get(..range.start).unwrap_or_default();
    let after = body.get(range.end..).unwrap_or_default();
    let mut out = BytesMut::with_capacity(before.len() + sdp.len() + after.len());
    out.put_slice(before);
    out.put_slice(sdp);
    out.put_slice(after);
    out.freeze()
}

fn locate_at(
    content_type: &[u8],
    body: &[u8],
    depth: u8,
) -> Result<Option<Range<usize>>, SdpError> {
    let content_type = ContentType::parse(content_type).map_err(|_| SdpError::Multipart)?;
    if content_type.is("application", "sdp") {
        return Ok(Some(0..body.len()));
    }
    if !content_type.kind.eq_ignore_ascii_case("multipart") {
        return Ok(None);
    }
    let depth = depth.checked_sub(1).ok_or(SdpError::Multipart)?;
    let boundary = content_type
        .params
        .get("boundary")
        .unwrap_or_default()
        .trim_matches('"');
    let mut found = None;
    for part in parts(body, boundary)? {
        let Some(part) = locate_in_part(body, part, depth)? else {
            continue;
        };
        if found.replace(part).is_some() {
            return Err(SdpError::Encoded);
        }
    }
    Ok(found)
}

/// Looks into one part: its headers, an empty line, its content.
fn locate_in_part(
    body: &[u8],
    part: Range<usize>,
    depth: u8,
) -> Result<Option<Range<usize>>, SdpError> {
    let bytes = &body[part.clone()];
    let (head, content_at) = match memmem::find(bytes, b"\r\n\r\n") {
        _ if bytes.starts_with(b"\r\n") => (&bytes[..0], 2),
        Some(end) => (&bytes[..end], end + 4),
        None => return Err(SdpError::Multipart),
    };
    let Some(content_type) = part_header(head, HeaderName::ContentType) else {
        return Ok(None);
    };
    let found = locate_at(content_type, &bytes[content_at..], depth)?;
    let is_plain = [
        part_encoding(head),
        part_header(head, HeaderName::ContentEncoding),
    ]
    .into_iter()
    .flatten()
    .all(|e| {
        [&b"binary"[..], b"8bit", b"7bit", b"identity"]
            .iter()
            .any(|p| is(e, p))
    });
    if found.is_some() && !is_plain {
        return Err(SdpError::Encoded);
    }
    let base = part.start + content_at;
    Ok(found.map(|range| base + range.start..base + range.end))
}

/// The parts between the boundary's lines (RFC 2046 section 5.1.1).
fn parts(body: &[u8], boundary: &str) -> Result<Vec<Range<usize>>, SdpError> {
    if boundary.is_empty() || boundary.len() > 70 {
        return Err(SdpError::Multipart);
    }
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    for at in memmem::find_iter(body, delimiter.as_bytes()) {
        let at_line_start = at == 0 || body[..at].ends_with(b"\r\n");
        let after = &body[at + delimiter.len()..];
        let closes = after.starts_with(b"--");
        let rest_of_line = memmem::find(after, b"\r\n");
        let is_blank = |line: &[u8]| line.iter().all(|b| matches!(b, b' ' | b'\t'));
        let is_delimiter = closes || rest_of_line.is_some_and(|end| is_blank(&after[..end]));
        if !at_line_start || !is_delimiter {
            continue;
        }
        if let Some(start) = open {
            // The line end in front of a delimiter belongs to the delimiter.
            parts.push(start..at.saturating_sub(2).max(start));
        }
        if closes {
            return Ok(parts);
        }
        open = rest_of_line.map(|end| at + delimiter.len() + end + 2);
    }
    // The closing delimiter is missing: the body was cut.
    Err(SdpError::Multipart)
}

fn part_header(head: &[u8], name: HeaderName) -> Option<&[u8]> {
    part_field(head, name.as_str().as_bytes())
}

fn part_encoding(head: &[u8]) -> Option<&[u8]> {
    part_field(head, b"Content-Transfer-Encoding")
}

fn part_field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut at = 0;
    while at < head.len() {
        let mut end = at;
        loop {
            end = memmem::find(&head[end..], b"\r\n").map_or(head.len(), |hit| end + hit);
            match head.get(end + 2) {
                Some(b' ' | b'\t') => end += 2,
                _ => break,
            }
        }
        let line = &head[at..end];
        at = end + 2;
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        if is(trim(&line[..colon]), name) {
            return Some(trim(&line[colon + 1..]));
        }
    }
    None
}

fn is(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}
