//! Internet checksums and their incremental update (RFC 1071, RFC 1624 equation 3).
//!
//! Words are taken from memory as they are, in the byte order of the machine: one's complement
//! addition gives the same bytes in either order as long as every word is read alike, and the
//! program then needs no byte swaps.
//!
//! What a slot changes in a packet is known when the slot is written, because its source gate is
//! exact: the old addresses and ports are those of the gate. So a slot carries the whole change as
//! one word, a *delta*, and the program adds it once.

/// Adds `word` to a running one's complement sum.
#[inline(always)]
#[must_use]
pub const fn add(sum: u32, word: u16) -> u32 {
    sum + word as u32
}

/// Folds a sum of up to 65,536 words into 16 bits.
#[inline(always)]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "two folds leave at most 16 bits"
)]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The sum of `bytes` as 16-bit words in memory order, an odd last byte padded with zero, not
/// folded and not complemented. For packets of up to 128 KiB.
#[must_use]
pub fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let sum = words
        .iter()
        .fold(0, |sum, word| add(sum, u16::from_ne_bytes(*word)));
    match rest {
        [last] => add(sum, u16::from_ne_bytes([*last, 0])),
        _ => sum,
    }
}

/// The change from `old` to `new` as a delta for [`apply`]: the folded sum of `~m + m'` over all
/// words. Both must have the same, even length.
#[must_use]
pub fn delta(old: &[u8], new: &[u8]) -> u16 {
    debug_assert!(old.len() == new.len() && old.len().is_multiple_of(2));
    let (old, _) = old.as_chunks::<2>();
    let (new, _) = new.as_chunks::<2>();
    let sum = old.iter().zip(new).fold(0, |sum, (old, new)| {
        add(
            add(sum, !u16::from_ne_bytes(*old)),
            u16::from_ne_bytes(*new),
        )
    });
    fold(sum)
}

/// The delta of one hop: the TTL, the high byte of its header word, goes down by one.
///
/// `~m + (m - 0x0100)` is the same for every word whose TTL is not zero.
pub const TTL_DECREMENT: u16 = u16::from_be(0xfeff);

/// Adds two deltas.
#[inline(always)]
#[must_use]
pub const fn combine(left: u16, right: u16) -> u16 {
    fold(left as u32 + right as u32)
}

/// The delta of one word that becomes another.
#[inline(always)]
#[must_use]
pub const fn replace(old: u16, new: u16) -> u16 {
    fold(!old as u32 + new as u32)
}

/// What one 32-bit word that becomes another adds to a sum for [`fold`].
#[inline(always)]
#[must_use]
pub const fn replace_word(old: u32, new: u32) -> u32 {
    (!old & 0xffff) + (!old >> 16) + (new & 0xffff) + (new >> 16)
}

/// The checksum field after a change: `HC' = ~(~HC + ~m + m')` (RFC 1624 equation 3).
#[inline(always)]
#[must_use]
pub const fn apply(checksum: u16, delta: u16) -> u16 {
    !fold(!checksum as u32 + delta as u32)
}

/// As [`apply`], for a UDP checksum that is not zero: a result of zero is sent as 0xffff, because
/// zero means "no checksum" (RFC 768).
///
/// A checksum of zero on IPv4 stays zero and must not come here; on IPv6 it is illegal (RFC 8200
/// section 8.1).
#[inline(always)]
#[must_use]
pub const fn apply_udp(checksum: u16, delta: u16) -> u16 {
    match apply(checksum, delta) {
        0 => 0xffff,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checksum(bytes: &[u8]) -> u16 {
        !fold(sum(bytes))
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: a header checksum 0xdd2f, and a word that goes from 0x5555 to 0x3285.
        let delta = delta(&0x5555_u16.to_be_bytes(), &0x3285_u16.to_be_bytes());
        assert_eq!(apply(0xdd2f_u16.to_be(), delta), 0);
        assert_eq!(apply_udp(0xdd2f_u16.to_be(), delta), 0xffff);
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), u16::from_be(0xddf2));
    }

    proptest! {
        #[test]
        fn an_update_equals_a_recomputation(
            mut packet in prop::collection::vec(any::<u8>(), 8..1500),
            at in any::<prop::sample::Index>(),
            new in prop::collection::vec(any::<u8>(), 1..4),
        ) {
            let new: Vec<u8> = new.iter().flat_map(|byte| [*byte, byte.wrapping_mul(31)]).collect();
            let at = at.index((packet.len() - new.len()) / 2 + 1) * 2;
            let before = checksum(&packet);
            let delta = delta(&packet[at..at + new.len()], &new);
            packet[at..at + new.len()].copy_from_slice(&new);
            // One's complement has two zeros; on the wire they are told apart only for a sum of
            // nothing but zeros, which no IP header and no pseudo header is.
            let (updated, recomputed) = (apply(before, delta), checksum(&packet));
            prop_assert!(updated == recomputed || packet.iter().all(|byte| *byte == 0));
        }

        #[test]
        fn a_hop_equals_a_recomputation(
            mut header in prop::array::uniform20(any::<u8>()),
            ttl in 1..=255_u8,
        ) {
            header[0] = 0x45;
            header[8] = ttl;
            header[10] = 0;
            header[11] = 0;
            let before = checksum(&header);
            header[8] = ttl - 1;
            prop_assert_eq!(apply(before, TTL_DECREMENT), checksum(&header));
        }

        #[test]
        fn deltas_combine(
            checksum in any::<u16>(),
            a in any::<[u8; 4]>(),
            b in any::<[u8; 4]>(),
            c in any::<[u8; 4]>(),
        ) {
            let first = delta(&a, &b);
            let second = delta(&b, &c);
            let apart = apply(apply(checksum, first), second);
            let together = apply(checksum, combine(first, second));
            let zeros = [0, 0xffff];
            prop_assert!(apart == together || (zeros.contains(&apart) && zeros.contains(&together)));
        }

        #[test]
        fn a_udp_checksum_is_never_zero(checksum in 1..=u16::MAX, delta in any::<u16>()) {
            prop_assert_ne!(apply_udp(checksum, delta), 0);
        }
    }
}
