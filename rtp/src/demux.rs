//! Telling the protocols apart that share a media port (RFC 7983, RFC 5761).

/// What a datagram on a media port is, by its first octets. Only a closer look tells whether it is
/// well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// STUN, first octet 0 to 3.
    Stun,
    /// ZRTP, first octet 16 to 19.
    Zrtp,
    /// DTLS, first octet 20 to 63.
    Dtls,
    /// A TURN channel, first octet 64 to 79.
    TurnChannel,
    /// RTP: version 2, and not of an RTCP packet type.
    Rtp,
    /// RTCP: version 2 and a packet type of 192 to 223 (RFC 5761 section 4).
    Rtcp,
    /// None of these, or too short to tell.
    Unknown,
}

/// Classifies a datagram.
#[must_use]
pub const fn classify(datagram: &[u8]) -> Kind {
    let [first, second, ..] = *datagram else {
        return Kind::Unknown;
    };
    match first {
        0..=3 => Kind::Stun,
        16..=19 => Kind::Zrtp,
        20..=63 => Kind::Dtls,
        64..=79 => Kind::TurnChannel,
        128..=191 => match second {
            192..=223 => Kind::Rtcp,
            _ => Kind::Rtp,
        },
        _ => Kind::Unknown,
    }
}

/// Whether a datagram of a kind other than RTP and RTCP (which have parsers of their own) carries
/// that protocol's marks: what a relay should check before it passes on what it does not read.
///
/// STUN has its magic cookie (RFC 8489 section 5), DTLS a version (RFC 6347 section 4.1) and ZRTP its
/// name (RFC 6189 section 5). TURN channels run between a client and its server, never here.
#[must_use]
pub fn is_whole(kind: Kind, datagram: &[u8]) -> bool {
    match kind {
        Kind::Stun => datagram.len() >= 20 && datagram.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42]),
        Kind::Dtls => datagram.len() >= 13 && datagram.get(1) == Some(&0xfe),
        Kind::Zrtp => datagram.get(4..8) == Some(b"ZRTP"),
        Kind::TurnChannel | Kind::Rtp | Kind::Rtcp | Kind::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_tell_a_protocol_from_its_first_octet() {
        let mut stun = [0; 20];
        stun[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        let dtls = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let zrtp = b"\x10\0\0\x01ZRTP";
        for (kind, whole) in [
            (Kind::Stun, &stun[..]),
            (Kind::Dtls, &dtls[..]),
            (Kind::Zrtp, &zrtp[..]),
        ] {
            assert_eq!(classify(whole), kind);
            assert!(is_whole(kind, whole));
            assert!(!is_whole(kind, &whole[..7]));
        }
        let http = b"GET / HTTP/1.1";
        assert!(!is_whole(classify(http), http));
    }

    #[test]
    fn first_octets_name_the_protocol() {
        let table = [
            (&[0, 1][..], Kind::Stun),
            (&[3, 0], Kind::Stun),
            (&[4, 0], Kind::Unknown),
            (&[16, 0], Kind::Zrtp),
            (&[20, 0], Kind::Dtls),
            (&[63, 0], Kind::Dtls),
            (&[64, 0], Kind::TurnChannel),
            (&[79, 0], Kind::TurnChannel),
            (&[80, 0], Kind::Unknown),
            (&[127, 0], Kind::Unknown),
            (&[128, 0], Kind::Rtp),
            (&[191, 0x80], Kind::Rtp),
            (&[192, 0], Kind::Unknown),
            (&[128, 191], Kind::Rtp),
            (&[128, 192], Kind::Rtcp),
            (&[128, 200], Kind::Rtcp),
            (&[129, 223], Kind::Rtcp),
            (&[128, 224], Kind::Rtp),
            (&[128], Kind::Unknown),
            (&[], Kind::Unknown),
        ];
        for (datagram, kind) in table {
            assert_eq!(classify(datagram), kind, "{datagram:?}");
        }
    }
}
