//! Which of an SDP's codecs are kept.

use sip::sdp::Media;

/// What is done to the codecs of an SDP. A name is as in `a=rtpmap`, with or without its clock: `PCMU`, `opus/48000`;
/// case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codecs {
    /// Taken out; `all` and `full` for every one.
    pub strip: Vec<String>,
    /// Kept all the same.
    pub except: Vec<String>,
    /// Kept all the same; where every codec is stripped, in this order and before others.
    pub offer: Vec<String>,
    /// Of a publisher's, the first of these that there is; its first one where there is none.
    pub accept: Vec<String>,
    /// One codec only, with telephone events and comfort noise beside it.
    pub single: bool,
}

impl Codecs {
    /// The formats of `media` that stay, in their order; `None` where that is all of them, or would be none.
    pub(crate) fn kept<'a>(&self, media: &Media<'_, 'a>) -> Option<Vec<&'a str>> {
        self.left(media).filter(|left| !left.is_empty())
    }

    /// Whether no codec of `media` would be left: it keeps all of them then.
    pub fn leave_none(&self, media: &Media<'_, '_>) -> bool {
        self.left(media).is_some_and(|left| left.is_empty())
    }

    /// Those that are left; `None` where that is all of them.
    fn left<'a>(&self, media: &Media<'_, 'a>) -> Option<Vec<&'a str>> {
        if (self.strip.is_empty() && !self.single) || !media.is_rtp() {
            return None;
        }
        let all = self
            .strip
            .iter()
            .any(|name| ["all", "full"].contains(&name.to_ascii_lowercase().as_str()));
        let mut kept: Vec<_> = media
            .formats()
            .filter_map(|format| {
                let codec = format.parse().ok().and_then(|number| media.codec(number));
                let is_any = |names: &[String]| {
                    codec.is_some_and(|codec| {
                        names
                            .iter()
                            .any(|name| matches(name, codec.name, codec.clock_rate))
                    })
                };
                let spared = is_any(&self.except) || is_any(&self.offer);
                let gone = (all || is_any(&self.strip)) && !spared;
                let place = codec.and_then(|codec| {
                    self.offer
                        .iter()
                        .position(|name| matches(name, codec.name, codec.clock_rate))
                });
                (!gone).then_some((place.filter(|_| all).unwrap_or(usize::MAX), format))
            })
            .collect();
        kept.sort_by_key(|(place, _)| *place);
        let mut kept: Vec<_> = kept.into_iter().map(|(_, format)| format).collect();
        if self.single {
            let is_beside = |format: &str| {
                let codec = format.parse().ok().and_then(|number| media.codec(number));
                let is_named =
                    |name: &str| codec.is_some_and(|codec| codec.name.eq_ignore_ascii_case(name));
                is_named("telephone-event") || is_named("CN")
            };
            let first = kept.iter().position(|format| !is_beside(format));
            let mut at = 0..;
            kept.retain(|format| at.next() == first || is_beside(format));
        }
        let same = kept.iter().copied().eq(media.formats());
        (!same).then_some(kept)
    }
}

pub(crate) fn matches(wanted: &str, name: &str, clock: u32) -> bool {
    let mut parts = wanted.split('/');
    let named = parts
        .next()
        .is_some_and(|wanted| wanted.eq_ignore_ascii_case(name));
    named
        && parts
            .next()
            .is_none_or(|wanted| wanted.parse() == Ok(clock))
}
