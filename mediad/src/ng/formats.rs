//! How the parties of a stream number its formats, and where one numbers them otherwise than the other; and how each could
//! agree on keys for it.

use control::media::{EventFormat, Remote, TypePair};
use sip::sdp::{Keying, Media};

/// Telephone events of a stream that are looked at, and other formats.
const MAX_EVENTS: usize = 8;
const MAX_DYNAMIC: usize = 16;
/// From here on a payload type means what its description says (RFC 3551 section 3).
const DYNAMIC: u8 = 96;

/// What an `m=` line numbers by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Formats {
    /// Telephone events (RFC 4733): payload type and clock.
    events: Vec<(u8, u32)>,
    /// Others: payload type, clock and name.
    dynamic: Vec<(u8, u32, String)>,
    keying: Keying,
}

impl Formats {
    pub(super) fn of(media: &Media<'_, '_>) -> Self {
        let mut formats = Self {
            keying: media.keying(),
            ..Self::default()
        };
        for codec in media.codecs().filter(|_| media.is_rtp()) {
            let (number, rate) = (codec.payload_type, codec.clock_rate);
            if codec.name.eq_ignore_ascii_case("telephone-event") {
                if formats.events.len() < MAX_EVENTS {
                    formats.events.push((number, rate));
                }
            } else if number >= DYNAMIC && formats.dynamic.len() < MAX_DYNAMIC {
                formats.dynamic.push((number, rate, codec.name.to_owned()));
            }
        }
        formats
    }

    /// How the party takes telephone events beside audio of this clock: by the same clock, where it has one.
    pub(super) fn events(&self, audio_rate: u32) -> Option<EventFormat> {
        let same = self.events.iter().find(|(_, rate)| *rate == audio_rate);
        let (payload_type, clock_rate) = *same.or_else(|| self.events.first())?;
        Some(EventFormat {
            payload_type,
            clock_rate,
            audio_rate,
        })
    }

    /// The payload types of all its telephone events, as [`Remote::more_events`] has them.
    pub(super) fn event_types(&self) -> u128 {
        let bits = self.events.iter();
        let bits = bits.filter_map(|(number, _)| 1_u128.checked_shl((*number).into()));
        bits.fold(0, |all, bit| all | bit)
    }

    /// What `peer` numbers otherwise than this party. Each is to send what the other one has named. Where one does not, and
    /// sends its own numbers, they are put right where they are those of no format of this party: there is no mistaking
    /// them.
    fn types(&self, peer: &Self) -> Vec<TypePair> {
        let events = self.events.iter().flat_map(|(own, rate)| {
            let same = peer.events.iter().filter(move |(_, other)| other == rate);
            same.map(|(theirs, _)| (*theirs, *own))
        });
        let others = self.dynamic.iter().flat_map(|(own, rate, name)| {
            let same = peer.dynamic.iter().filter(move |(_, other, theirs)| {
                other == rate && theirs.eq_ignore_ascii_case(name)
            });
            same.map(|(theirs, ..)| (*theirs, *own))
        });
        let pairs = events
            .chain(others)
            .filter(|(theirs, _)| !self.names(*theirs));
        let pairs = pairs.map(|(theirs, own)| TypePair { theirs, own });
        pairs.collect()
    }

    fn names(&self, number: u8) -> bool {
        let events = self.events.iter().map(|(own, _)| own);
        let others = self.dynamic.iter().map(|(own, ..)| own);
        events.chain(others).any(|own| *own == number)
    }
}

/// Tells the engine of two who have agreed on a stream what of it they number differently, and whether it may be SRTP though
/// the profile is another one (RFC 8643).
pub(super) fn pair([one, other]: [&mut Remote; 2], [own, theirs]: [&Formats; 2]) {
    for (remote, formats) in [(&mut *one, own), (&mut *other, theirs)] {
        remote.secure |= own.keying.agrees(theirs.keying);
        remote.more_events = match remote.events {
            Some(_) => formats.event_types(),
            None => 0,
        };
    }
    one.types = own.types(theirs);
    other.types = theirs.types(own);
}

#[cfg(test)]
mod tests {
    use sip::sdp::Sdp;

    use super::*;

    /// Of `number name/clock`.
    fn formats(maps: &[&str]) -> Formats {
        let numbers: Vec<_> = maps
            .iter()
            .filter_map(|map| map.split(' ').next())
            .collect();
        let mut body = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP {}\r\n",
            numbers.join(" ")
        );
        for map in maps {
            body += &format!("a=rtpmap:{map}\r\n");
        }
        Formats::of(&Sdp::parse(body.as_bytes()).unwrap().media()[0])
    }

    fn types(one: &Formats, other: &Formats) -> [Vec<(u8, u8)>; 2] {
        let plain = |types: Vec<TypePair>| {
            let types = types.iter().map(|pair| (pair.theirs, pair.own));
            types.collect()
        };
        [plain(one.types(other)), plain(other.types(one))]
    }

    #[test]
    fn events_of_two_clocks_are_not_mixed_up() {
        let phone = formats(&[
            "96 opus/48000/2",
            "8 PCMA/8000",
            "110 telephone-event/48000",
            "101 telephone-event/8000",
        ]);
        let trunk = formats(&["8 PCMA/8000", "101 telephone-event/8000"]);
        assert_eq!(types(&phone, &trunk), [vec![], vec![]]);
        assert_eq!(
            phone.events(8_000).map(|events| events.payload_type),
            Some(101)
        );
        assert_eq!(
            phone.events(48_000).map(|events| events.payload_type),
            Some(110)
        );
        // Where audio has another clock there are events all the same.
        let events = trunk.events(48_000).unwrap();
        assert_eq!((events.payload_type, events.clock_rate), (101, 8_000));
        assert_eq!(events.audio_rate, 48_000);
        let other = formats(&["8 PCMA/8000", "97 telephone-event/8000"]);
        assert_eq!(types(&phone, &other), [vec![(97, 101)], vec![(101, 97)]]);
    }

    #[test]
    fn a_number_that_the_hearer_has_named_is_never_changed() {
        let one = formats(&["96 opus/48000/2", "101 telephone-event/8000"]);
        let other = formats(&["111 OPUS/48000/2", "96 telephone-event/8000"]);
        assert_eq!(types(&one, &other), [vec![(111, 96)], vec![(101, 96)]]);
        let many: Vec<_> = (96..127)
            .map(|number| format!("{number} x{number}/8000"))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(formats(&many).dynamic.len(), MAX_DYNAMIC);
    }
}
