//! What is done to an SDP beyond its addresses and ports, which are [`sip`]'s business.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{DefaultHasher, Hasher},
    net::IpAddr,
};

use sip::sdp::{Direction, Sdp};

use crate::options::{Mux, Options, RtcpAttribute};

/// What a stream's receiver is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The address of `c=`.
    pub address: IpAddr,
    /// The port for RTP.
    pub rtp: u16,
    /// The port for RTCP where it does not mux.
    pub rtcp: u16,
    /// Whether it may send RTCP on RTP's port.
    pub mux: bool,
}

/// What a party was shown before, as far as later descriptions have to agree with it.
#[derive(Clone, Debug, Default)]
pub struct Face {
    /// User, id and address of the first `o=`.
    origin: Option<[String; 3]>,
    /// The first `s=` line.
    session_name: Option<Vec<u8>>,
    version: Option<u64>,
    /// Of all but the version of the last one: whole descriptions of every call would be much to keep.
    last: u64,
}

impl Mux {
    /// Whether the answerer is offered to mux.
    pub const fn to_answerer(self, offered: bool) -> bool {
        !self.demux && (self.offer || self.require || offered)
    }

    /// Whether the offerer may mux. `self` holds the words of both the offer and the answer.
    pub const fn to_offerer(self, offered: bool, answered: bool) -> bool {
        offered && !self.reject && (self.accept || self.demux || answered)
    }

    /// The words of either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self {
            offer: self.offer || other.offer,
            require: self.require || other.require,
            demux: self.demux || other.demux,
            accept: self.accept || other.accept,
            reject: self.reject || other.reject,
        }
    }
}

/// Completes `rewritten`, which is `sdp` led to this server. `streams` has one entry for each `m=` line, `None` for one
/// that is let pass as it came. `mark` is the attribute by which [`is_marked`] knows a description again.
pub fn finish(
    sdp: &Sdp<'_>,
    rewritten: &[u8],
    options: &Options,
    streams: &[Option<Shown>],
    face: &mut Face,
    mark: Option<&str>,
) -> Vec<u8> {
    let mut writer = Writer {
        options,
        out: Vec::with_capacity(rewritten.len() + 64),
    };
    let sections = sections(rewritten);
    let mut sections = sections.into_iter();
    let origin_at = writer.session(sdp, sections.next().unwrap_or_default(), face, mark);
    let media = sdp.media();
    for ((section, media), shown) in sections.zip(&media).zip(streams) {
        match shown {
            Some(shown) => writer.stream(media, section, *shown),
            None => writer.out.extend_from_slice(&section.concat()),
        }
    }
    let mut out = writer.out;
    if !options.attributes.is_empty() {
        out = edited(&out, &media, options);
    }
    let origin = origin(sdp, rewritten, options, face, &out);
    out.splice(origin_at..origin_at, origin);
    out
}

/// With what is wanted of the attributes. Where the `o=` line belongs stays, as none stands before it.
fn edited(out: &[u8], media: &[sip::sdp::Media<'_, '_>], options: &Options) -> Vec<u8> {
    let mut edited = Vec::with_capacity(out.len() + 64);
    for (at, lines) in sections(out).into_iter().enumerate() {
        let of = at.checked_sub(1);
        let of = of.and_then(|index| Some((media.get(index)?.kind(), index)));
        let mut lines: Vec<_> = lines.into_iter().map(<[u8]>::to_vec).collect();
        // A body may end without the end of its last line.
        if let Some(last) = lines.last_mut().filter(|last| !last.ends_with(b"\n")) {
            last.truncate(last.trim_ascii_end().len());
            last.extend_from_slice(b"\r\n");
        }
        options.attributes.apply(of, &mut lines);
        edited.extend(lines.concat());
    }
    edited
}

/// `body` with the `m=` lines of these kinds, in small letters, refused as by who offers them no more (RFC 3264 section 8.2):
/// the others keep their places.
pub fn without<'b>(body: &'b [u8], kinds: &[String]) -> Cow<'b, [u8]> {
    if kinds.is_empty() {
        return Cow::Borrowed(body);
    }
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        match refused_line(line, kinds) {
            Some(refused) => out.extend_from_slice(refused.as_bytes()),
            None => out.extend_from_slice(line),
        }
    }
    Cow::Owned(out)
}

/// An `m=` line of one of these kinds, with port 0.
fn refused_line(line: &[u8], kinds: &[String]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    let (kind, rest) = line.strip_prefix("m=")?.split_once(' ')?;
    let is_named = kinds.iter().any(|named| named.eq_ignore_ascii_case(kind));
    let (_port, rest) = rest.split_once(' ').filter(|_| is_named)?;
    Some(format!("m={kind} 0 {rest}"))
}

/// Whether `sdp` bears this mark of [`finish`].
pub fn is_marked(sdp: &Sdp<'_>, mark: &str) -> bool {
    sdp.attributes()
        .any(|(name, value)| name == MARK && value == mark)
}

/// The attribute by which rtpengine knows its own descriptions.
const MARK: &str = "rtpengine";

/// Lines with their ends: those of the session, and of each stream.
fn sections(body: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut sections = vec![Vec::new()];
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        // Empty ones are at the end only, and nothing could stand after them.
        if line.trim_ascii().is_empty() {
            continue;
        }
        if line.starts_with(b"m=") {
            sections.push(Vec::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push(line);
        }
    }
    sections
}

/// The `o=` line.
fn origin(
    sdp: &Sdp<'_>,
    rewritten: &[u8],
    options: &Options,
    face: &mut Face,
    rest: &[u8],
) -> Vec<u8> {
    let own = sdp.origin();
    let relay = Sdp::parse(rewritten);
    let relay = relay
        .as_ref()
        .map_or(own.address, |sdp| sdp.origin().address);
    let replace = options.replace;
    let address = if replace.origin { relay } else { own.address };
    let now = [own.username, own.session_id, address].map(str::to_owned);
    let first = face
        .origin
        .get_or_insert_with(|| now.each_ref().map(|word| bounded(word).to_owned()));
    let [username, id, address] = match (replace.origin_full, replace.username) {
        (true, _) => first.clone(),
        (false, true) => {
            let [_, id, address] = now;
            [first[0].clone(), id, address]
        }
        (false, false) => now,
    };
    let mut version = own.version.to_owned();
    if replace.version || replace.forced_version || replace.origin_full {
        let counted = face
            .version
            .unwrap_or_else(|| own.version.parse().unwrap_or(1));
        let mut hasher = DefaultHasher::new();
        hasher.write(rest);
        let digest = hasher.finish();
        let is_new = replace.forced_version || face.last != digest;
        let changed = face.version.is_some() && is_new;
        let counted = counted.wrapping_add(u64::from(changed));
        face.version = Some(counted);
        face.last = digest;
        version = counted.to_string();
    }
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    format!("o={username} {id} {version} IN {family} {address}\r\n").into_bytes()
}

struct Writer<'o> {
    options: &'o Options,
    out: Vec<u8>,
}

impl Writer<'_> {
    /// Writes all but the `o=` line; where that belongs.
    fn session(
        &mut self,
        sdp: &Sdp<'_>,
        lines: Vec<&[u8]>,
        face: &mut Face,
        mark: Option<&str>,
    ) -> usize {
        let mut origin_at = 0;
        let zeros = self.options.replace.zero_address && has_zeros(&lines);
        for line in lines {
            match line {
                [b'o', b'=', ..] => origin_at = self.out.len(),
                [b's', b'=', ..] => {
                    let first = face.session_name.get_or_insert_with(|| bounded_line(line));
                    match self.options.replace.session_name {
                        true => self.out.extend_from_slice(first),
                        false => self.out.extend_from_slice(line),
                    }
                }
                // Each stream has its own, with a real address.
                [b'c', b'=', ..] if zeros => {}
                _ if self.options.strip_extmap && is_attribute(line, "extmap") => {}
                _ if is_attribute(line, "rtcp-mux") => {}
                _ => self.out.extend_from_slice(line),
            }
        }
        if let Some(mark) = mark.filter(|mark| !is_marked(sdp, mark)) {
            self.add(&format!("a={MARK}:{mark}"));
        }
        origin_at
    }

    fn stream(&mut self, media: &sip::sdp::Media<'_, '_>, lines: Vec<&[u8]>, shown: Shown) {
        let kept = self.options.codecs.kept(media);
        let gone: HashSet<&str> = match &kept {
            Some(kept) => media
                .formats()
                .filter(|format| !kept.contains(format))
                .collect(),
            None => HashSet::new(),
        };
        let unheld = self.options.replace.zero_address
            && media
                .address()
                .is_ok_and(|address| address.is_unspecified());
        let family = if shown.address.is_ipv4() {
            "IP4"
        } else {
            "IP6"
        };
        let address = format!("IN {family} {}", shown.address);
        let mut lines = lines.into_iter();
        match (lines.next(), &kept) {
            (Some(line), Some(kept)) => self.formats(line, kept),
            (Some(line), None) => self.out.extend_from_slice(line),
            (None, _) => {}
        }
        let mut connection = unheld.then(|| format!("c={address}"));
        // Who said by zeros that it hears nothing says it so.
        let held = match media.direction() {
            Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
            Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
        };
        let mut directed = false;
        for line in lines {
            if !line.starts_with(b"i=")
                && let Some(line) = connection.take()
            {
                self.add(&line);
            }
            let direction = attribute(line).and_then(Direction::parse);
            let is_held = direction == Some(held);
            directed |= is_held;
            let is_gone = ["rtpmap", "fmtp", "rtcp-fb"].iter().any(|name| {
                let value =
                    attribute(line).and_then(|value| value.strip_prefix(name)?.strip_prefix(':'));
                value
                    .and_then(|value| value.split(' ').next())
                    .is_some_and(|format| gone.contains(format))
            });
            let is_void = is_gone
                || is_attribute(line, "rtcp")
                || is_attribute(line, "rtcp-mux")
                || (self.options.strip_extmap && is_attribute(line, "extmap"))
                || (unheld && line.starts_with(b"c="))
                || (unheld && direction.is_some() && !is_held);
            if !is_void {
                self.out.extend_from_slice(line);
            }
        }
        if let Some(line) = connection {
            self.add(&line);
        }
        if unheld && !directed {
            self.add(&format!("a={}", held.as_str()));
        }
        if media.is_rtp() {
            let rtcp = if shown.mux { shown.rtp } else { shown.rtcp };
            match self.options.rtcp_attribute {
                RtcpAttribute::Port => self.add(&format!("a=rtcp:{rtcp}")),
                RtcpAttribute::Full => self.add(&format!("a=rtcp:{rtcp} {address}")),
                RtcpAttribute::None => {}
            }
            if shown.mux {
                self.add("a=rtcp-mux");
            }
        }
    }

    /// The `m=` line with these formats.
    fn formats(&mut self, line: &[u8], kept: &[&str]) {
        let words = line.splitn(4, |byte| *byte == b' ');
        for word in words.take(3) {
            self.out.extend_from_slice(word);
            self.out.push(b' ');
        }
        self.out.extend_from_slice(kept.join(" ").as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A line of our own.
    fn add(&mut self, line: &str) {
        // A body may be cut off within its last line end.
        match self.out.last() {
            Some(b'\n') | None => {}
            Some(b'\r') => self.out.push(b'\n'),
            Some(_) => self.out.extend_from_slice(b"\r\n"),
        }
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The longest word of an `o=` line, and the longest `s=` line, that is kept of a description: each is as long as its call.
/// A shorter one of a longer one is as good, as no more is asked of it than to stay the same (RFC 8866 section 5.2).
const MAX_KEPT: usize = 255;

fn bounded(word: &str) -> &str {
    &word[..word.floor_char_boundary(MAX_KEPT)]
}

fn bounded_line(line: &[u8]) -> Vec<u8> {
    let text = line.trim_ascii_end();
    if text.len() <= MAX_KEPT {
        return line.to_vec();
    }
    // What is no UTF-8 is cut where it is.
    let is_start = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let at = (MAX_KEPT - 3..=MAX_KEPT).rev().find(is_start);
    let kept = text.get(..at.unwrap_or(MAX_KEPT)).unwrap_or(text);
    [kept, b"\r\n"].concat()
}

fn has_zeros(lines: &[&[u8]]) -> bool {
    let zeros: [&[u8]; 2] = [b"c=IN IP4 0.0.0.0", b"c=IN IP6 ::"];
    lines
        .iter()
        .any(|line| zeros.contains(&line.trim_ascii_end()))
}

/// What stands after `a=`.
fn attribute(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line.strip_prefix(b"a=")?)
        .ok()
        .map(str::trim_end)
}

fn is_attribute(line: &[u8], name: &str) -> bool {
    let rest = attribute(line).and_then(|text| text.strip_prefix(name));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[cfg(test)]
mod tests;
