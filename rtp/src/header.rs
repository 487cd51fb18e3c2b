//! The RTP header (RFC 3550 section 5.1), read where it lies and written in front of a payload.

use thiserror::Error;

/// Length of the fixed header.
const FIXED: usize = 12;
const VERSION: u8 = 2;

/// Why a datagram is not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Shorter than its header says, or than any header.
    #[error("{len} octets are too few for the RTP header, which takes {needed}")]
    Truncated {
        /// Length of the datagram.
        len: usize,
        /// What its header would take.
        needed: usize,
    },
    /// Another version than 2.
    #[error("RTP version {0} is not 2")]
    Version(u8),
    /// The padding counter is 0, or larger than the payload.
    #[error("padding of {padding} octets does not fit a payload of {available}")]
    Padding {
        /// What the last octet says.
        padding: u8,
        /// Octets after the header.
        available: usize,
    },
}

/// A view of an RTP packet. Every accessor is cheap; the lengths were checked when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    fixed: &'a [u8; FIXED],
    csrc: &'a [u8],
    extension: Option<(u16, &'a [u8])>,
    payload: &'a [u8],
    padding: u8,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`HeaderError`] for what is not a whole RTP packet of version 2.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, HeaderError> {
        let truncated = |needed| HeaderError::Truncated {
            len: datagram.len(),
            needed,
        };
        let Some((fixed, rest)) = datagram.split_first_chunk::<FIXED>() else {
            return Err(truncated(FIXED));
        };
        let version = fixed[0] >> 6;
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let csrc_len = usize::from(fixed[0] & 0x0f) * 4;
        let mut needed = FIXED + csrc_len;
        let (csrc, mut rest) = rest
            .split_at_checked(csrc_len)
            .ok_or_else(|| truncated(needed))?;
        let mut extension = None;
        if fixed[0] & 0x10 != 0 {
            needed += 4;
            let (head, after) = rest
                .split_first_chunk::<4>()
                .ok_or_else(|| truncated(needed))?;
            let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
            needed += len;
            let (data, after) = after
                .split_at_checked(len)
                .ok_or_else(|| truncated(needed))?;
            extension = Some((u16::from_be_bytes([head[0], head[1]]), data));
            rest = after;
        }
        let mut padding = 0;
        if fixed[0] & 0x20 != 0 {
            padding = rest.last().copied().unwrap_or(0);
            let kept = rest
                .len()
                .checked_sub(usize::from(padding))
                .filter(|_| padding != 0);
            let Some(kept) = kept else {
                return Err(HeaderError::Padding {
                    padding,
                    available: rest.len(),
                });
            };
            rest = rest.split_at(kept).0;
        }
        Ok(Self {
            fixed,
            csrc,
            extension,
            payload: rest,
            padding,
        })
    }

    /// The marker bit, whose meaning the profile gives: for audio, the first packet after silence.
    #[must_use]
    pub const fn marker(&self) -> bool {
        self.fixed[1] & 0x80 != 0
    }

    /// Payload type, 0 to 127.
    #[must_use]
    pub const fn payload_type(&self) -> u8 {
        self.fixed[1] & 0x7f
    }

    /// Sequence number.
    #[must_use]
    pub const fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// Timestamp, in units of the payload's clock.
    #[must_use]
    pub const fn timestamp(&self) -> u32 {
        let fixed = self.fixed;
        u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])
    }

    /// Synchronisation source.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        let fixed = self.fixed;
        u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])
    }

    /// Contributing sources, 0 to 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (quads, _) = self.csrc.as_chunks::<4>();
        quads.iter().map(|quad| u32::from_be_bytes(*quad))
    }

    /// The header extension: its profile-defined number and its data (RFC 3550 section 5.3.1).
    #[must_use]
    pub const fn extension(&self) -> Option<(u16, &'a [u8])> {
        self.extension
    }

    /// The payload without padding.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Octets of padding after the payload, its counter included.
    #[must_use]
    pub const fn padding(&self) -> u8 {
        self.padding
    }
}

/// Writes a fixed header: no CSRC, no extension, no padding.
pub(crate) fn write(
    out: &mut Vec<u8>,
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
) {
    out.push(VERSION << 6);
    out.push(u8::from(marker) << 7 | (payload_type & 0x7f));
    out.extend(sequence.to_be_bytes());
    out.extend(timestamp.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// CC 2, extension of one word, 3 octets of padding.
    const RICH: [u8; 35] = [
        0xb2, 0x88, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef, // fixed
        0, 0, 0, 1, 0, 0, 0, 2, // CSRC
        0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0, // extension
        1, 2, 3, 4, // payload
        0, 0, 3, // padding
    ];

    #[test]
    fn every_field_is_found() {
        let packet = Packet::parse(&RICH).unwrap();
        assert!(packet.marker());
        assert_eq!(packet.payload_type(), 8);
        assert_eq!(packet.sequence(), 0x1234);
        assert_eq!(packet.timestamp(), 160);
        assert_eq!(packet.ssrc(), 0xdead_beef);
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(packet.extension(), Some((0xbede, &[0x10, 0xff, 0, 0][..])));
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        assert_eq!(packet.padding(), 3);
    }

    #[test]
    fn what_is_cut_short_is_refused_with_the_length_it_needs() {
        for len in 0..28 {
            let error = Packet::parse(&RICH[..len]).unwrap_err();
            assert!(
                matches!(error, HeaderError::Truncated { len: l, needed } if l == len && needed > len),
                "{len}: {error}"
            );
        }
    }

    #[test]
    fn other_versions_and_impossible_padding_are_refused() {
        let mut packet = RICH;
        packet[0] = 0x72;
        assert_eq!(Packet::parse(&packet), Err(HeaderError::Version(1)));
        for padding in [0, 8, 255] {
            packet = RICH;
            packet[34] = padding;
            assert_eq!(
                Packet::parse(&packet),
                Err(HeaderError::Padding {
                    padding,
                    available: 7
                })
            );
        }
        packet[34] = 7;
        assert_eq!(Packet::parse(&packet).unwrap().payload(), []);
    }

    proptest! {
        #[test]
        fn no_octets_panic_and_the_parts_add_up(datagram in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::parse(&datagram) {
                let extension = packet.extension().map_or(0, |(_, data)| 4 + data.len());
                let total = FIXED + packet.csrcs().count() * 4 + extension
                    + packet.payload().len() + usize::from(packet.padding());
                prop_assert_eq!(total, datagram.len());
            }
        }

        #[test]
        fn what_is_written_is_read(
            marker: bool, pt in 0_u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut out = Vec::new();
            write(&mut out, marker, pt, sequence, timestamp, ssrc);
            out.extend(&payload);
            let packet = Packet::parse(&out).unwrap();
            prop_assert_eq!(packet.marker(), marker);
            prop_assert_eq!(packet.payload_type(), pt);
            prop_assert_eq!(packet.sequence(), sequence);
            prop_assert_eq!(packet.timestamp(), timestamp);
            prop_assert_eq!(packet.ssrc(), ssrc);
            prop_assert_eq!(packet.payload(), payload);
        }
    }
}
