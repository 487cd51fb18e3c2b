//! Descriptions as they are carried from one leg to the other (RFC 3264, RFC 3725).

use std::fmt::Write as _;

use sip::{
    message::Message,
    sdp::{self, Media, Sdp},
};

/// Who a description is by, as one party is told: the same through the whole call, whosever media it is.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    id: u64,
    version: u32,
}

impl Origin {
    pub(super) const fn new(id: u64) -> Self {
        // RFC 4566 wants a number that fits in 63 bits.
        Self {
            id: id >> 1,
            version: 0,
        }
    }

    /// A description in this name, one version further.
    pub(super) fn sign(&mut self, description: &[u8]) -> Vec<u8> {
        self.version = self.version.saturating_add(1);
        let mut signed = Vec::with_capacity(description.len() + 24);
        for line in description.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(b"o=") {
                Some(origin) => signed.extend_from_slice(self.line(origin).as_bytes()),
                None => signed.extend_from_slice(line),
            }
        }
        signed
    }

    /// `o=` with the address that was there.
    fn line(&self, before: &[u8]) -> String {
        let before = String::from_utf8_lossy(before);
        let mut words = before.split_ascii_whitespace().skip(3);
        let mut word = |default| words.next().unwrap_or(default).to_owned();
        let (net, family, address) = (word("IN"), word("IP4"), word("0.0.0.0"));
        let (id, version) = (self.id, self.version);
        format!("o=- {id} {version} {net} {family} {address}\r\n")
    }
}

/// What a message describes.
pub(in crate::call) fn of(message: &Message) -> Option<Vec<u8>> {
    let range = sdp::locate(message).ok()??;
    message.body().get(range).map(<[u8]>::to_vec)
}

/// Whether only whoever has the other end's keys can answer an offer (SDES, DTLS).
pub(super) fn is_secure(offer: &[u8]) -> bool {
    Sdp::parse(offer).is_ok_and(|offer| {
        let media = offer.media();
        let mut open = media.iter().filter(|media| !media.is_refused());
        open.any(|media| media.proto().contains("SAVP"))
    })
}

/// An answer for the while in which nobody is there yet: it takes the streams, and sends and wants
/// nothing. `None` where there is no stream to take.
pub(super) fn held(offer: &[u8]) -> Option<Vec<u8>> {
    let offer = Sdp::parse(offer).ok()?;
    let media = offer.media();
    if !media.iter().any(is_plain) {
        return None;
    }
    let mut answer =
        String::from("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n");
    for media in &media {
        let formats: Vec<_> = media.formats().collect();
        // The port of discard, which is never used.
        let port = if is_plain(media) { 9 } else { 0 };
        let (kind, proto, formats) = (media.kind(), media.proto(), formats.join(" "));
        // Writing to a String cannot fail.
        let _ = write!(answer, "m={kind} {port} {proto} {formats}\r\n");
        if port == 0 {
            continue;
        }
        let said = media.attributes();
        for (name, value) in said.filter(|(name, _)| matches!(*name, "rtpmap" | "fmtp")) {
            let _ = write!(answer, "a={name}:{value}\r\n");
        }
        answer.push_str("a=inactive\r\n");
    }
    Some(answer.into_bytes())
}

/// How many streams a description has a line for.
pub(super) fn lines(description: &[u8]) -> usize {
    Sdp::parse(description).map_or(0, |sdp| sdp.media().len())
}

/// A description with the lines that another one has beside its own, refused: what two have agreed on once
/// keeps its line (RFC 3264 section 8).
pub(super) fn with_lines_of(description: &[u8], other: &[u8]) -> Vec<u8> {
    let mut full = description.to_vec();
    let (Ok(own), Ok(other)) = (Sdp::parse(description), Sdp::parse(other)) else {
        return full;
    };
    for media in other.media().iter().skip(own.media().len()) {
        if !full.ends_with(b"\n") {
            full.extend_from_slice(b"\r\n");
        }
        let formats: Vec<_> = media.formats().collect();
        let (kind, proto, formats) = (media.kind(), media.proto(), formats.join(" "));
        full.extend_from_slice(format!("m={kind} 0 {proto} {formats}\r\n").as_bytes());
    }
    full
}

/// A description without the streams beyond the first `count` ones.
pub(super) fn first_lines(description: &[u8], count: usize) -> &[u8] {
    let (mut at, mut seen) = (0, 0);
    for line in description.split_inclusive(|byte| *byte == b'\n') {
        seen += usize::from(line.starts_with(b"m="));
        if seen > count {
            break;
        }
        at += line.len();
    }
    description.get(..at).unwrap_or(description)
}

/// Whether two descriptions of one party lead its media to the same places, in the same directions. Streams
/// that are refused lead nowhere, and at the end may be left out.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Ok(one), Ok(other)) = (Sdp::parse(one), Sdp::parse(other)) else {
        return false;
    };
    let place = |media: &Media<'_, '_>| {
        let open = !media.is_refused();
        open.then(|| (media.rtp().ok(), media.direction()))
    };
    let places = |sdp: &Sdp<'_>| {
        let mut places: Vec<_> = sdp.media().iter().map(place).collect();
        while places.pop_if(|place| place.is_none()).is_some() {}
        places
    };
    places(&one) == places(&other)
}

fn is_plain(media: &Media<'_, '_>) -> bool {
    !media.is_refused() && matches!(media.proto(), "RTP/AVP" | "RTP/AVPF")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &[u8] = b"v=0\r\no=alice 7 7 IN IP4 192.0.2.10\r\ns=x\r\nc=IN IP4 192.0.2.10\r\n\
        t=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=sendrecv\r\nm=application 0 TCP/X *\r\n";

    #[test]
    fn one_origin_signs_whatever_is_said() {
        let mut origin = Origin::new(10);
        let first = String::from_utf8(origin.sign(OFFER)).unwrap();
        assert!(
            first.contains("\r\no=- 5 1 IN IP4 192.0.2.10\r\ns=x\r\n"),
            "{first}"
        );
        let second = String::from_utf8(origin.sign(OFFER)).unwrap();
        assert!(second.contains("o=- 5 2 IN IP4 192.0.2.10\r\n"), "{second}");
    }

    #[test]
    fn an_answer_for_the_while_takes_plain_streams_alone() {
        let answer = String::from_utf8(held(OFFER).unwrap()).unwrap();
        assert_eq!(
            answer,
            "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
             m=audio 9 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=inactive\r\nm=application 0 TCP/X *\r\n"
        );
        let secure = String::from_utf8_lossy(OFFER).replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
        assert!(is_secure(secure.as_bytes()) && !is_secure(OFFER));
        assert_eq!(held(secure.as_bytes()), None);
        assert_eq!(held(b"nonsense"), None);
    }

    #[test]
    fn an_offer_keeps_what_was_agreed_on_and_an_answer_has_no_more_than_it_was_offered() {
        let audio = first_lines(OFFER, 1);
        assert_eq!((lines(audio), lines(OFFER), lines(b"nonsense")), (1, 2, 0));
        assert!(audio.ends_with(b"a=sendrecv\r\n"));
        assert_eq!(with_lines_of(audio, OFFER), OFFER);
        assert_eq!(with_lines_of(OFFER, audio), OFFER);
        assert_eq!(first_lines(OFFER, 2), OFFER);
        assert!(is_same(audio, OFFER) && is_same(OFFER, audio));
        let cut = audio.strip_suffix(b"\r\n").unwrap();
        assert_eq!(with_lines_of(cut, OFFER), OFFER);
        let open = String::from_utf8_lossy(OFFER).replace("application 0", "application 9");
        assert_eq!(with_lines_of(audio, open.as_bytes()), OFFER);
        assert!(!is_same(audio, open.as_bytes()));
    }

    #[test]
    fn places_are_compared_and_not_words() {
        let text = String::from_utf8_lossy(OFFER);
        let named = text.replace("s=x", "s=y").replace("8 101", "8");
        assert!(is_same(OFFER, named.as_bytes()));
        for (from, to) in [
            ("4000", "4002"),
            ("a=sendrecv", "a=sendonly"),
            ("audio 4000", "audio 0"),
        ] {
            assert!(!is_same(OFFER, text.replace(from, to).as_bytes()), "{to}");
        }
    }
}
