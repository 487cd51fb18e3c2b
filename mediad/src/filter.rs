//! What of a party's RTP is handed on otherwise than it came.

use std::ops::Range;

use control::media::{KeyFilter, MediaFilter};
use rtp::payload::static_format;

use crate::counters::Outcome;
use crate::session::Leg;
use crate::shard::is_secret;

/// What is done to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Pass,
    Drop,
    /// It goes back to where it came from.
    Echo,
    /// These octets of it become this one.
    Fill(Range<usize>, u8),
}

impl Deed {
    /// What is to be done to a packet that the party of `leg` has sent.
    pub(crate) fn of(leg: &Leg, other: &Leg, header: &rtp::Packet<'_>, len: usize) -> Self {
        let filter = leg.handling.filter;
        if filter.is_off() {
            return Self::Pass;
        }
        let payload_type = header.payload_type();
        let end = len.saturating_sub(header.padding().into());
        let payload = end.saturating_sub(header.payload().len())..end;
        let remotes = [leg, other].map(|leg| leg.remote.as_ref());
        let is_secret = || is_secret([leg, other]);
        if filter.media == MediaFilter::Echo {
            return if is_secret() { Self::Drop } else { Self::Echo };
        }
        if remotes
            .into_iter()
            .flatten()
            .any(|remote| remote.is_event(payload_type))
        {
            let event = payload.start..(payload.start + 1).min(payload.end);
            return match filter.keys {
                KeyFilter::Pass => Self::Pass,
                KeyFilter::As(_) | KeyFilter::Random if is_secret() => Self::Drop,
                KeyFilter::As(key) => Self::Fill(event, key),
                KeyFilter::Random => Self::Fill(event, digit(header.timestamp(), leg.local.port())),
                KeyFilter::Drop => Self::Drop,
            };
        }
        match filter.media {
            MediaFilter::Pass => Self::Pass,
            MediaFilter::Echo => Self::Echo,
            MediaFilter::Drop => Self::Drop,
            MediaFilter::Silence => {
                match silence(leg, other, payload_type).filter(|_| !is_secret()) {
                    Some(octet) => Self::Fill(payload, octet),
                    None => Self::Drop,
                }
            }
        }
    }

    /// Does it.
    pub(crate) fn apply(self, packet: &mut [u8]) -> Result<(), Outcome> {
        match self {
            Self::Pass | Self::Echo => Ok(()),
            Self::Drop => Err(Outcome::Filtered),
            Self::Fill(range, octet) => {
                if let Some(place) = packet.get_mut(range) {
                    place.fill(octet);
                }
                Ok(())
            }
        }
    }
}

/// The octet of which this payload type's silence is made.
fn silence(leg: &Leg, other: &Leg, payload_type: u8) -> Option<u8> {
    let of = |name: &str| {
        let known = [("PCMU", 0xff), ("PCMA", 0xd5), ("G722", 0xfa)];
        let mut known = known.into_iter();
        known
            .find(|(codec, _)| codec.eq_ignore_ascii_case(name))
            .map(|(_, octet)| octet)
    };
    if let Some(format) = static_format(payload_type) {
        return of(format.encoding);
    }
    let formats = [leg, other].map(|leg| leg.remote.as_ref().map(|remote| &remote.format));
    let mut formats = formats.into_iter().flatten();
    of(&formats
        .find(|format| format.payload_type == payload_type)?
        .encoding)
}

/// A digit that nobody guesses from the one that was pressed: the same for all packets of an event, which have one
/// timestamp (RFC 4733 section 2.1).
fn digit(timestamp: u32, port: u16) -> u8 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    let hash = KEYS
        .get_or_init(RandomState::new)
        .hash_one((timestamp, port));
    u8::try_from(hash % 10).unwrap_or(0)
}
