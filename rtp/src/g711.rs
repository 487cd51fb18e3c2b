//! G.711 A-law and µ-law (ITU-T G.711), between octets and 16-bit linear samples.

/// Octet of silence in A-law.
pub const ALAW_SILENCE: u8 = 0xd5;
/// Octet of silence in µ-law.
pub const ULAW_SILENCE: u8 = 0xff;

/// µ-law adds this before it finds the segment (33 of 14 bits).
const ULAW_BIAS: i32 = 33 << 2;
/// The largest magnitude that µ-law tells from larger ones, in 16 bits.
const ULAW_CLIP: i32 = 0x7fff - ULAW_BIAS;

/// Encodes a sample as A-law.
#[must_use]
pub const fn encode_alaw(sample: i16) -> u8 {
    // 13 bits with sign; negative values are ones' complement, so that -1 is the first negative one.
    let linear = (sample as i32) >> 3;
    let (sign, magnitude) = if linear >= 0 {
        (0x80, linear)
    } else {
        (0, !linear)
    };
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = magnitude.ilog2() as i32 - 4;
        segment << 4 | (magnitude >> segment & 0x0f)
    };
    // Even bits are inverted on the wire.
    octet(sign | code) ^ 0x55
}

/// Decodes an A-law octet.
#[must_use]
pub const fn decode_alaw(octet: u8) -> i16 {
    let code = (octet ^ 0x55) as i16;
    let segment = (code & 0x70) >> 4;
    let step = (code & 0x0f) << 4;
    let magnitude = match segment {
        0 => step + 8,
        _ => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// Encodes a sample as µ-law.
#[must_use]
pub const fn encode_ulaw(sample: i16) -> u8 {
    let sample = sample as i32;
    let (sign, magnitude) = if sample >= 0 {
        (0, sample)
    } else {
        (0x80, -sample)
    };
    let magnitude = if magnitude > ULAW_CLIP {
        ULAW_CLIP
    } else {
        magnitude
    };
    let biased = magnitude + ULAW_BIAS;
    let segment = biased.ilog2() as i32 - 7;
    let step = biased >> (segment + 3) & 0x0f;
    !octet(sign | segment << 4 | step)
}

/// Decodes a µ-law octet.
#[must_use]
pub const fn decode_ulaw(octet: u8) -> i16 {
    let code = !octet as i32;
    let segment = (code & 0x70) >> 4;
    let magnitude = ((((code & 0x0f) << 3) + ULAW_BIAS) << segment) - ULAW_BIAS;
    #[expect(clippy::cast_possible_truncation, reason = "at most 32124")]
    let magnitude = magnitude as i16;
    if code & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "8 bits, positive"
)]
const fn octet(code: i32) -> u8 {
    code as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_the_tables_in_g711() {
        // Decoder outputs at the ends and around zero, scaled to 16 bits.
        assert_eq!(decode_alaw(0xd5), 8);
        assert_eq!(decode_alaw(0x55), -8);
        assert_eq!(decode_alaw(0xaa), 32256);
        assert_eq!(decode_alaw(0x2a), -32256);
        assert_eq!(decode_ulaw(0xff), 0);
        assert_eq!(decode_ulaw(0x7f), 0);
        assert_eq!(decode_ulaw(0x80), 32124);
        assert_eq!(decode_ulaw(0x00), -32124);
        assert_eq!(encode_alaw(0), ALAW_SILENCE);
        assert_eq!(encode_ulaw(0), ULAW_SILENCE);
        assert_eq!(encode_alaw(i16::MAX), 0xaa);
        assert_eq!(encode_alaw(i16::MIN), 0x2a);
        assert_eq!(encode_ulaw(i16::MAX), 0x80);
        assert_eq!(encode_ulaw(i16::MIN), 0x00);
    }

    #[test]
    fn every_octet_comes_back() {
        for octet in 0..=255 {
            assert_eq!(encode_alaw(decode_alaw(octet)), octet, "A-law {octet:#x}");
            // µ-law has two zeros.
            if octet != 0x7f {
                assert_eq!(encode_ulaw(decode_ulaw(octet)), octet, "µ-law {octet:#x}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_error_is_at_most_half_a_step(sample: i16) {
            let magnitude = i32::from(sample).abs();
            for decoded in [decode_alaw(encode_alaw(sample)), decode_ulaw(encode_ulaw(sample))] {
                let error = (i32::from(decoded) - i32::from(sample)).abs();
                // Steps are 1/16 to 1/32 of the value, 16 (A-law) near zero; both clip near the end.
                prop_assert!(error <= (magnitude / 31).max(16) + 4, "{sample} -> {decoded}");
            }
        }
    }
}
