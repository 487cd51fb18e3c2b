//! Static payload types (RFC 3551 tables 4 and 5).

/// An RTP payload format, as far as its timing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Encoding name, as in `a=rtpmap`.
    pub encoding: &'static str,
    /// RTP clock in Hz. G.722 says 8000 for historical reasons (RFC 3551 section 4.5.2).
    pub clock_rate: u32,
    /// Audio channels; 0 for video.
    pub channels: u8,
}

/// The format that a payload type means without an `a=rtpmap`; `None` for the dynamic, reserved and
/// unassigned ones.
#[must_use]
pub const fn static_format(payload_type: u8) -> Option<Format> {
    let (encoding, clock_rate, channels) = match payload_type {
        0 => ("PCMU", 8_000, 1),
        3 => ("GSM", 8_000, 1),
        4 => ("G723", 8_000, 1),
        5 => ("DVI4", 8_000, 1),
        6 => ("DVI4", 16_000, 1),
        7 => ("LPC", 8_000, 1),
        8 => ("PCMA", 8_000, 1),
        9 => ("G722", 8_000, 1),
        10 => ("L16", 44_100, 2),
        11 => ("L16", 44_100, 1),
        12 => ("QCELP", 8_000, 1),
        13 => ("CN", 8_000, 1),
        14 => ("MPA", 90_000, 1),
        15 => ("G728", 8_000, 1),
        16 => ("DVI4", 11_025, 1),
        17 => ("DVI4", 22_050, 1),
        18 => ("G729", 8_000, 1),
        25 => ("CelB", 90_000, 0),
        26 => ("JPEG", 90_000, 0),
        28 => ("nv", 90_000, 0),
        31 => ("H261", 90_000, 0),
        32 => ("MPV", 90_000, 0),
        33 => ("MP2T", 90_000, 0),
        34 => ("H263", 90_000, 0),
        _ => return None,
    };
    Some(Format {
        encoding,
        clock_rate,
        channels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telephone_codecs_are_where_rfc_3551_puts_them() {
        assert_eq!(
            static_format(0).map(|f| (f.encoding, f.clock_rate)),
            Some(("PCMU", 8_000))
        );
        assert_eq!(
            static_format(8).map(|f| (f.encoding, f.clock_rate)),
            Some(("PCMA", 8_000))
        );
        assert_eq!(
            static_format(9).map(|f| (f.encoding, f.clock_rate)),
            Some(("G722", 8_000))
        );
        assert_eq!(
            static_format(18).map(|f| (f.encoding, f.clock_rate)),
            Some(("G729", 8_000))
        );
    }

    #[test]
    fn nothing_dynamic_or_of_rtcp_is_static() {
        for payload_type in (35..=255).chain([1, 2, 19, 27]) {
            assert_eq!(static_format(payload_type), None, "{payload_type}");
        }
    }
}
