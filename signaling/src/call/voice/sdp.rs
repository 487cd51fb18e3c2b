//! What this node says and hears of media where it is a party itself (RFC 3264): one stream of G.711, with telephone
//! events.

use std::{fmt::Write as _, net::SocketAddr};

use ::control::media::{EventFormat, Format, Remote, TypePair};
use sip::sdp::{Direction, Media, Sdp};

/// The payload type of telephone events in our offers.
const EVENTS: u8 = 101;

/// Who our descriptions are by.
#[derive(Debug)]
pub(super) struct Origin {
    id: u64,
    version: u32,
}

/// A party's description, as far as it is taken.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    /// Kind, protocol and formats of each stream.
    lines: Vec<(String, String, String)>,
    /// Which of them it is.
    at: usize,
    payload_type: u8,
    encoding: &'static str,
    events: Option<u8>,
    direction: Direction,
    remote: Remote,
}

impl Agreed {
    /// Takes the first stream that can be taken, or says why there is none.
    pub(super) fn of(description: &[u8]) -> Result<Self, String> {
        let description = Sdp::parse(description).map_err(|error| error.to_string())?;
        let media = description.media();
        let line = |media: &Media<'_, '_>| {
            let formats: Vec<_> = media.formats().collect();
            (
                media.kind().to_owned(),
                media.proto().to_owned(),
                formats.join(" "),
            )
        };
        let lines = media.iter().map(line).collect();
        let is_plain = |media: &&Media<'_, '_>| {
            let is_audio = media.kind() == "audio" && !media.is_refused();
            is_audio && media.is_rtp() && !media.is_srtp() && media.proto().starts_with("RTP/AVP")
        };
        if !media.iter().any(|media| is_plain(&media)) {
            return Err("there is no audio over plain RTP (RTP/AVP)".to_owned());
        }
        let usable = media.iter().enumerate().filter(|(_, one)| is_plain(one));
        let mut usable = usable.filter_map(|(at, media)| Some((at, media, codec_of(media)?)));
        let (at, media, (payload_type, encoding)) = usable
            .next()
            .ok_or_else(|| "there is neither PCMU nor PCMA".to_owned())?;
        let events = media.codecs().find(|codec| {
            codec.name.eq_ignore_ascii_case("telephone-event") && codec.clock_rate == 8000
        });
        let events = events.map(|codec| codec.payload_type);
        let (rtp, rtcp) = (media.rtp(), media.rtcp());
        let (rtp, rtcp) = rtp
            .and_then(|rtp| Ok((rtp, rtcp?)))
            .map_err(|error| error.to_string())?;
        let direction = media.direction();
        let remote = Remote {
            rtp,
            rtcp,
            rtcp_mux: false,
            sends: matches!(direction, Direction::SendRecv | Direction::SendOnly),
            receives: !media.is_held(),
            format: Format {
                payload_type,
                encoding: encoding.to_owned(),
                clock_rate: 8000,
                ptime_ms: media.ptime().unwrap_or(20),
            },
            events: events.map(|payload_type| EventFormat {
                payload_type,
                clock_rate: 8000,
                audio_rate: 8000,
            }),
            types: Vec::new(),
            more_events: 0,
            secure: false,
        };
        Ok(Self {
            lines,
            at,
            payload_type,
            encoding,
            events,
            direction: direction.reversed(),
            remote,
        })
    }

    /// Where the party is, and what it takes.
    pub(super) const fn party(&self) -> &Remote {
        &self.remote
    }

    /// The same for mediad, where the party hears `other`, who may number its formats otherwise: each was asked by itself.
    pub(super) fn hearing(&self, other: Option<&Self>) -> Remote {
        let codec = other.filter(|other| other.encoding == self.encoding);
        let codec = codec.map(|other| (other.payload_type, self.payload_type));
        let events = other.and_then(|other| other.events).zip(self.events);
        let pairs = [codec, events].into_iter().flatten();
        let pairs = pairs.filter(|(theirs, own)| theirs != own);
        Remote {
            types: pairs
                .map(|(theirs, own)| TypePair { theirs, own })
                .collect(),
            ..self.remote.clone()
        }
    }

    /// An offer of the same for somebody else, so that each has what the other one sends.
    pub(super) fn offer(&self, local: SocketAddr, origin: &mut Origin) -> Vec<u8> {
        let mut offer = origin.head(local);
        self.write(local, "RTP/AVP", Direction::SendRecv, &mut offer);
        offer.into_bytes()
    }

    /// The answer to it, with where we hear.
    pub(super) fn answer(&self, local: SocketAddr, origin: &mut Origin) -> Vec<u8> {
        let mut answer = origin.head(local);
        for (at, (kind, proto, formats)) in self.lines.iter().enumerate() {
            if at != self.at {
                // Writing to a String cannot fail.
                let _ = write!(answer, "m={kind} 0 {proto} {formats}\r\n");
                continue;
            }
            self.write(local, proto, self.direction, &mut answer);
        }
        answer.into_bytes()
    }

    fn write(&self, local: SocketAddr, proto: &str, direction: Direction, to: &mut String) {
        let taken = self.payload_type;
        let _ = write!(to, "m=audio {} {proto} {taken}", local.port());
        if let Some(events) = self.events {
            let _ = write!(to, " {events}");
        }
        let _ = write!(to, "\r\na=rtpmap:{taken} {}/8000\r\n", self.encoding);
        if let Some(events) = self.events {
            to.push_str(&event_lines(events));
        }
        let _ = write!(to, "a=ptime:20\r\na={}\r\n", direction.as_str());
    }
}

impl Origin {
    pub(super) const fn new(id: u64) -> Self {
        // RFC 4566 wants a number that fits in 63 bits.
        Self {
            id: id >> 1,
            version: 0,
        }
    }

    /// An offer of all that we take.
    pub(super) fn offer(&mut self, local: SocketAddr) -> Vec<u8> {
        let mut offer = self.head(local);
        let port = local.port();
        let _ = write!(
            offer,
            "m=audio {port} RTP/AVP 0 8 {EVENTS}\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n{}\
             a=ptime:20\r\na=sendrecv\r\n",
            event_lines(EVENTS)
        );
        offer.into_bytes()
    }

    fn head(&mut self, local: SocketAddr) -> String {
        self.version = self.version.saturating_add(1);
        let family = if local.is_ipv6() { "IP6" } else { "IP4" };
        let (id, version, ip) = (self.id, self.version, local.ip());
        format!(
            "v=0\r\no=- {id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n"
        )
    }
}

/// The first format of a stream that this node speaks.
fn codec_of(media: &Media<'_, '_>) -> Option<(u8, &'static str)> {
    media.formats().find_map(|format| {
        let payload_type = format.parse().ok()?;
        let codec = media.codec(payload_type)?;
        let is_plain = codec.clock_rate == 8000 && codec.channels <= 1;
        let mut known = ["PCMU", "PCMA"].into_iter();
        let name = known.find(|name| codec.name.eq_ignore_ascii_case(name));
        name.filter(|_| is_plain).map(|name| (payload_type, name))
    })
}

fn event_lines(payload_type: u8) -> String {
    format!("a=rtpmap:{payload_type} telephone-event/8000\r\na=fmtp:{payload_type} 0-16\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str =
        "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n";

    fn answer(media: &str) -> Result<String, String> {
        let agreed = Agreed::of(format!("{OFFER}{media}").as_bytes())?;
        let local = "198.51.100.1:20000".parse().unwrap();
        let answer = agreed.answer(local, &mut Origin::new(8));
        let answer = String::from_utf8(answer).unwrap();
        Ok(answer.split_once("t=0 0\r\n").unwrap().1.to_owned())
    }

    #[test]
    fn the_partys_favourite_of_what_is_spoken_here_is_taken() {
        let offer = "m=video 5000 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 9 8 0 97\r\n\
                     a=rtpmap:97 telephone-event/8000\r\na=sendonly\r\n";
        assert_eq!(
            answer(offer).unwrap(),
            "m=video 0 RTP/AVP 96\r\nm=audio 20000 RTP/AVP 8 97\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-16\r\na=ptime:20\r\na=recvonly\r\n"
        );
    }

    #[test]
    fn what_cannot_be_spoken_is_refused_with_the_reason() {
        let why = |offer| answer(offer).unwrap_err();
        assert!(why("m=audio 4000 RTP/AVP 9\r\n").contains("PCMU"));
        assert!(why("m=audio 4000 RTP/SAVP 0\r\n").contains("plain RTP"));
        assert!(why("m=audio 0 RTP/AVP 0\r\n").contains("plain RTP"));
    }

    #[test]
    fn each_party_has_its_own_numbers_for_what_both_have() {
        let of = |media: &str| Agreed::of(format!("{OFFER}{media}").as_bytes()).unwrap();
        let alice = of("m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n");
        let bob = of("m=audio 5000 RTP/AVP 98 101\r\na=rtpmap:98 PCMA/8000\r\n\
                      a=rtpmap:101 telephone-event/8000\r\n");
        let types = |remote: Remote| {
            let pairs = remote.types.iter();
            pairs
                .map(|pair| (pair.theirs, pair.own))
                .collect::<Vec<_>>()
        };
        assert_eq!(types(alice.hearing(Some(&bob))), [(98, 8), (101, 96)]);
        assert_eq!(types(bob.hearing(Some(&alice))), [(8, 98), (96, 101)]);
        assert_eq!(types(alice.hearing(Some(&alice))), []);
        assert_eq!(alice.hearing(None), *alice.party());
        let deaf = of("m=audio 5000 RTP/AVP 0\r\n");
        assert_eq!(types(alice.hearing(Some(&deaf))), []);
    }

    #[test]
    fn what_we_offer_can_be_taken_by_ourselves() {
        let offer = Origin::new(8).offer("[2001:db8::1]:20000".parse().unwrap());
        let agreed = Agreed::of(&offer).unwrap();
        assert_eq!(agreed.party().rtp.to_string(), "[2001:db8::1]:20000");
        assert_eq!((agreed.payload_type, agreed.events), (0, Some(EVENTS)));
    }
}
