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
/// Those that speak of the formats. The keys of SDES are the party's own: who has them understands its packets.
const KEPT: [&str; 6] = ["rtpmap", "fmtp", "rtcp-fb", "ptime", "maxptime", "crypto"];

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
        let mut attributes = String::new();
        for (name, value) in media.attributes().filter(|(name, _)| KEPT.contains(name)) {
            let of = value.split(' ').next().unwrap_or_default();
            let is_of_another = ["rtpmap", "fmtp", "rtcp-fb"].contains(&name)
                && of != "*"
                && !formats.contains(&of);
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

    /// Whether every codec of it is among those of `media`; telephone events and comfort noise do not count.
    pub fn is_accepted_by(&self, media: &Media<'_, '_>) -> bool {
        let accepted: Vec<_> = media.formats().collect();
        let is_beside = |format: &str| {
            let map = format!("a=rtpmap:{format} ");
            let mut lines = self.attributes.lines();
            let name = lines.find_map(|line| line.strip_prefix(map.as_str()));
            let name = name.unwrap_or_default().to_ascii_lowercase();
            format == "13" || name.starts_with("telephone-event/") || name.starts_with("cn/")
        };
        let mut formats = self.formats.split_ascii_whitespace();
        formats.all(|format| accepted.contains(&format) || is_beside(format))
    }
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
        assert!(sketch.is_accepted_by(&media[0]));
        let fewer = String::from_utf8(PHONE.to_vec()).unwrap();
        let without = |format: &str| fewer.replace(format, "");
        let (keyless, speechless) = (without(" 101\r\n"), without(" 96"));
        let accepts = |body: &str| {
            let body = body.replace("RTP/AVP 8a", "RTP/AVP 8\r\na");
            let body = body.replace("RTP/AVP 8 96a", "RTP/AVP 8 96\r\na");
            sketch.is_accepted_by(&Sdp::parse(body.as_bytes()).unwrap().media()[0])
        };
        assert!(accepts(&keyless), "{keyless}");
        assert!(!accepts(&speechless), "{speechless}");
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
