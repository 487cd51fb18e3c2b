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
pub(super) fn of(message: &Message) -> Option<Vec<u8>> {
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

/// Whether two descriptions of one party lead its media to the same places, in the same directions.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Ok(one), Ok(other)) = (Sdp::parse(one), Sdp::parse(other)) else {
        return false;
    };
    let place = |media: &Media<'_, '_>| {
        let open = !media.is_refused();
        (open, media.rtp().ok().filter(|_| open), media.direction())
    };
    let places = |sdp: &Sdp<'_>| sdp.media().iter().map(place).collect::<Vec<_>>();
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
