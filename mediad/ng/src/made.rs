//! Descriptions that are made here: offers to who listens to a party, and answers to a party that only sends.

use std::net::{IpAddr, Ipv4Addr};

use sip::sdp::Media;

use crate::codecs::matches;

/// What a stream's description says of its formats: as much as another one of the same media needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Such as `audio`, and `RTP/AVP`.
    kind: Box<str>,
    profile: Box<str>,
    formats: Box<str>,
    /// Whole lines.
    attributes: Box<str>,
}

/// A stream of a description that is made.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its formats.
    pub sketch: &'a Sketch,
    /// Where it is from.
    pub address: IpAddr,
    /// The port for RTP; 0 for a stream that there is not.
    pub rtp: u16,
    /// `sendonly` and the like.
    pub direction: &'static str,
    /// `a=label` (RFC 4574), by which a recorder (RFC 7866) is told whose it is.
    pub label: Option<usize>,
}

/// The longest attributes that are kept of a stream, in bytes: they are kept as long as its call.
const MAX_ATTRIBUTES: usize = 2_048;
/// Formats that are kept of a stream, and the longest one, in bytes.
const MAX_FORMATS: usize = 64;
const MAX_FORMAT: usize = 32;
/// From here on a payload type means what its description says (RFC 3551 section 3).
const DYNAMIC: u8 = 96;
/// Those that speak of the formats. The keys of SDES are the party's own: who has them understands its packets.
const KEPT: [&str; 6] = ["rtpmap", "fmtp", "rtcp-fb", "ptime", "maxptime", "crypto"];
/// Those of one format each, which stands first.
const OF_FORMATS: [&str; 3] = ["rtpmap", "fmtp", "rtcp-fb"];

impl Sketch {
    /// Of all formats.
    pub fn of(media: &Media<'_, '_>) -> Self {
        let formats: Vec<_> = media.formats().collect();
        Self::with(media, &formats)
    }

    /// Of one codec: the first of `wanted` that there is, else the first of all; `None` where there is no format.
    pub fn of_one(media: &Media<'_, '_>, wanted: &[String]) -> Option<Self> {
        let by_name = |name: &String| {
            let mut codecs = media.codecs();
            codecs.find(|codec| matches(name, codec.name, codec.clock_rate))
        };
        let found = wanted.iter().find_map(by_name);
        let found = found.map(|codec| codec.payload_type.to_string());
        let one = found.as_deref().or_else(|| media.formats().next())?;
        Some(Self::with(media, &[one]))
    }

    fn with(media: &Media<'_, '_>, formats: &[&str]) -> Self {
        let formats = formats.get(..MAX_FORMATS).unwrap_or(formats);
        let formats: Vec<_> = formats
            .iter()
            .copied()
            .filter(|format| format.len() <= MAX_FORMAT)
            .collect();
        let mut attributes = String::new();
        for (name, value) in media.attributes().filter(|(name, _)| KEPT.contains(name)) {
            let of = value.split(' ').next().unwrap_or_default();
            let is_of_another = OF_FORMATS.contains(&name) && of != "*" && !formats.contains(&of);
            if is_of_another {
                continue;
            }
            let before = attributes.len();
            attributes += &format!("a={name}:{value}\r\n");
            if attributes.len() > MAX_ATTRIBUTES {
                attributes.truncate(before);
                break;
            }
        }
        Self {
            kind: media.kind().into(),
            profile: media.proto().into(),
            formats: formats.join(" ").into(),
            attributes: attributes.into(),
        }
    }

    /// Such as `audio`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Such as `RTP/AVP`.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// What its party sends to the one of `peer`, with whom it has agreed on the stream: the formats that both have, by the
    /// numbers of the one that takes them (RFC 3264 section 5.1). All of its own where they have no codec in common, as
    /// between a new offer and the answer to the one before.
    #[must_use]
    pub fn towards(&self, peer: &Self) -> Self {
        let theirs: Vec<_> = peer
            .formats()
            .map(|format| (format, peer.map(format)))
            .collect();
        let agreed: Vec<_> = self
            .formats()
            .filter_map(|own| {
                let map = self.map(own);
                let mut same = theirs.iter().filter(|their| is_same((own, map), **their));
                Some((own, same.next()?.0))
            })
            .collect();
        if agreed.iter().all(|(own, _)| self.is_beside(own)) {
            return self.clone();
        }
        let mut attributes = String::new();
        for line in self.attributes.lines() {
            let attribute = line
                .strip_prefix("a=")
                .and_then(|line| line.split_once(':'));
            let of_format = attribute.filter(|(name, _)| OF_FORMATS.contains(name));
            let Some((name, (of, rest))) = of_format
                .and_then(|(name, value)| Some((name, value.split_once(' ')?)))
                .filter(|(_, (of, _))| *of != "*")
            else {
                attributes += &format!("{line}\r\n");
                continue;
            };
            if let Some((_, number)) = agreed.iter().find(|(own, _)| *own == of) {
                attributes += &format!("a={name}:{number} {rest}\r\n");
            }
        }
        let formats: Vec<_> = agreed.iter().map(|(_, number)| *number).collect();
        Self {
            formats: formats.join(" ").into(),
            attributes: attributes.into(),
            ..self.clone()
        }
    }

    /// Whether every codec of it is among those of its answer, by whatever numbers; telephone events and comfort noise do not
    /// count.
    pub fn is_accepted_by(&self, answer: &Self) -> bool {
        self.formats()
            .all(|format| self.is_beside(format) || self.same_of(format, answer).is_some())
    }

    /// The payload types that its answer numbers otherwise: as they were offered, and as whoever answered is to get them
    /// (RFC 3264 section 6.1).
    pub fn numbered_by(&self, answer: &Self) -> Vec<[u8; 2]> {
        let both = self
            .formats()
            .filter_map(|own| Some([own, self.same_of(own, answer)?]));
        let numbers = both.filter_map(|pair| match pair.map(str::parse) {
            [Ok(own), Ok(theirs)] => Some([own, theirs]),
            _ => None,
        });
        numbers.filter(|[own, theirs]| own != theirs).collect()
    }

    /// The format of `answer` that is this one of its own; the one of the same number where there are several.
    fn same_of<'a>(&self, own: &str, answer: &'a Self) -> Option<&'a str> {
        let map = self.map(own);
        let same = |their: &&str| {
            let their_map = answer.map(their);
            // An answer may number without another word what the offer has explained.
            let is_unsaid = own == *their && (map.is_none() || their_map.is_none());
            is_unsaid || is_same((own, map), (their, their_map))
        };
        let mut all = answer.formats().filter(same).peekable();
        let first = all.peek().copied();
        all.find(|their| *their == own).or(first)
    }

    fn formats(&self) -> impl Iterator<Item = &str> {
        self.formats.split_ascii_whitespace()
    }

    /// What its `a=rtpmap` says of a format.
    fn map(&self, format: &str) -> Option<&str> {
        self.attributes.lines().find_map(|line| {
            let map = line.strip_prefix("a=rtpmap:")?.strip_prefix(format)?;
            map.strip_prefix(' ')
        })
    }

    /// Whether it is beside codecs, and none itself.
    fn is_beside(&self, format: &str) -> bool {
        let name = self.map(format).unwrap_or_default().to_ascii_lowercase();
        format == "13" || name.starts_with("telephone-event/") || name.starts_with("cn/")
    }
}

/// Whether two formats, with what is said of them, are the same one.
fn is_same((own, own_map): (&str, Option<&str>), (their, their_map): (&str, Option<&str>)) -> bool {
    let is_dynamic = |format: &str| format.parse::<u8>().is_ok_and(|number| number >= DYNAMIC);
    if !is_dynamic(own) || !is_dynamic(their) {
        return own == their;
    }
    // Name and clock: channels are left out where they are one.
    let start = |map: &str| {
        let mut words = map
            .trim()
            .splitn(3, '/')
            .take(2)
            .map(str::to_ascii_lowercase);
        (words.next(), words.next())
    };
    own_map.is_some() && own_map.map(start) == their_map.map(start)
}

/// A description of these streams, which says nothing of RTCP.
pub fn make(id: u64, version: u64, sections: &[Section<'_>]) -> Vec<u8> {
    let family = |address: IpAddr| if address.is_ipv4() { "IP4" } else { "IP6" };
    let address = sections
        .first()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |section| section.address);
    let mut out = format!(
        "v=0\r\no=- {id} {version} IN {} {address}\r\ns=tandem\r\nt=0 0\r\n",
        family(address)
    );
    for section in sections {
        let Sketch {
            kind,
            profile,
            formats,
            attributes,
        } = section.sketch;
        let (address, family) = (section.address, family(section.address));
        let label = section.label.map(|label| format!("a=label:{label}\r\n"));
        let label = label.unwrap_or_default();
        let (port, direction) = (section.rtp, section.direction);
        out += &format!("m={kind} {port} {profile} {formats}\r\nc=IN {family} {address}\r\n");
        out += &format!("{attributes}a={direction}\r\n{label}");
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use sip::sdp::Sdp;

    use super::*;

    const PHONE: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 8 96 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=candidate:1 1 UDP 1 192.0.2.1 4000 typ host\r\n";

    #[test]
    fn who_listens_is_offered_what_the_party_speaks() {
        let sdp = Sdp::parse(PHONE).unwrap();
        let media = sdp.media();
        let sketch = Sketch::of(&media[0]);
        let section = Section {
            sketch: &sketch,
            address: [198, 51, 100, 1].into(),
            rtp: 20_000,
            direction: "sendonly",
            label: Some(1),
        };
        let made = String::from_utf8(make(7, 2, &[section, section])).unwrap();
        assert!(
            made.starts_with("v=0\r\no=- 7 2 IN IP4 198.51.100.1\r\n"),
            "{made}"
        );
        let one = "m=audio 20000 RTP/AVP 8 96 101\r\nc=IN IP4 198.51.100.1\r\na=rtpmap:96 opus/48000/2\r\n\
            a=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendonly\r\na=label:1\r\n";
        assert_eq!(made.matches(one).count(), 2, "{made}");
        assert!(Sdp::parse(made.as_bytes()).is_ok());
        assert!(sketch.is_accepted_by(&sketch));
        let fewer = String::from_utf8(PHONE.to_vec()).unwrap();
        let without = |format: &str| fewer.replace(format, "");
        let (keyless, speechless) = (without(" 101\r\n"), without(" 96"));
        let accepts = |body: &str| {
            let body = body.replace("RTP/AVP 8a", "RTP/AVP 8\r\na");
            let body = body.replace("RTP/AVP 8 96a", "RTP/AVP 8 96\r\na");
            sketch.is_accepted_by(&Sketch::of(
                &Sdp::parse(body.as_bytes()).unwrap().media()[0],
            ))
        };
        assert!(accepts(&keyless), "{keyless}");
        assert!(!accepts(&speechless), "{speechless}");
    }

    #[test]
    fn what_a_party_sends_is_what_the_other_one_takes() {
        let sdp = Sdp::parse(PHONE).unwrap();
        let offered = Sketch::of(&sdp.media()[0]);
        let of = |formats: &str, more: &str| {
            let body = format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n\
                 m=audio 4000 RTP/AVP {formats}\r\n{more}"
            );
            Sketch::of(&Sdp::parse(body.as_bytes()).unwrap().media()[0])
        };
        let narrow = offered.towards(&of("8 97", "a=rtpmap:97 telephone-event/8000\r\n"));
        assert_eq!(&*narrow.formats, "8 97");
        assert_eq!(
            &*narrow.attributes,
            "a=rtpmap:97 telephone-event/8000\r\na=ptime:20\r\n"
        );
        let other = offered.towards(&of("111 101", "a=rtpmap:111 OPUS/48000/2\r\n"));
        assert_eq!(&*other.formats, "111");
        assert_eq!(
            &*other.attributes,
            "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=ptime:20\r\n"
        );
        // Who answers may number them otherwise, and is sent them so.
        let answer = of(
            "8 111 96",
            "a=rtpmap:111 OPUS/48000/2\r\na=rtpmap:96 telephone-event/8000\r\n",
        );
        assert!(offered.is_accepted_by(&answer) && !offered.is_accepted_by(&of("8 111", "")));
        assert_eq!(offered.numbered_by(&answer), [[96, 111], [101, 96]]);
        assert_eq!(offered.numbered_by(&of("8 96 101", "")), [[0; 2]; 0]);
        // Nothing in common, or nothing that is a codec.
        assert_eq!(offered.towards(&of("0", "")), offered);
        assert_eq!(
            offered.towards(&of("101", "a=rtpmap:101 telephone-event/8000\r\n")),
            offered
        );
        let many: Vec<_> = (0..5_000).map(|number| number.to_string()).collect();
        let many = of(&many.join(" "), "");
        assert_eq!(many.formats().count(), MAX_FORMATS);
        assert!(many.formats().all(|format| format.len() <= MAX_FORMAT));
        assert_eq!(of(&"7".repeat(5_000), "").formats().count(), 0);
    }

    #[test]
    fn one_codec_is_taken_of_a_party_that_only_sends() {
        let sdp = Sdp::parse(PHONE).unwrap();
        let media = sdp.media();
        let formats = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            Sketch::of_one(&media[0], &wanted).unwrap().formats
        };
        assert_eq!(&*formats(&[]), "8");
        assert_eq!(&*formats(&["any"]), "8");
        assert_eq!(&*formats(&["G729", "OPUS/48000"]), "96");
        let opus = Sketch::of_one(&media[0], &["opus".to_owned()]).unwrap();
        assert_eq!(
            &*opus.attributes,
            "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=ptime:20\r\n"
        );
        let long = format!(
            "{}a=fmtp:8 {}\r\n",
            String::from_utf8_lossy(PHONE),
            "x".repeat(5_000)
        );
        let sdp = Sdp::parse(long.as_bytes()).unwrap();
        assert!(Sketch::of(&sdp.media()[0]).attributes.len() < MAX_ATTRIBUTES);
    }
}
