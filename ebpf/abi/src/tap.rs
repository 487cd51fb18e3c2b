//! What the program copies for recordings and for round-trip times: frames as they came, in a ring; and what sources have
//! sent that have ended.

/// The ring's length in octets: a power of two of pages. A quarter of a second of 1,000 recorded calls.
pub const TAP_BYTES: u32 = 1 << 23;

/// Octets of frame in the smallest entry: 20 ms of G.711 over IPv6 with a VLAN tag fit. The kernel wants sizes that are
/// constants, so there are three.
pub const SMALL: usize = 248;
/// In the middle one.
pub const MEDIUM: usize = 504;
/// In the largest one; of longer frames the rest is left out.
pub const LARGE: usize = 2032;

/// The bits of [`TapHead::flags`].
pub mod tap_flags {
    /// It is RTCP, not RTP.
    pub const RTCP: u16 = 1 << 0;
    /// It is no frame: a source of the port has ended, and what follows is the [`Flow`](crate::Flow) as it was.
    pub const SOURCE: u16 = 1 << 1;
}

/// What stands before each frame in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TapHead {
    /// When the frame came: CLOCK_MONOTONIC, in nanoseconds.
    pub arrival: u64,
    /// The local port that it came to.
    pub port: u16,
    /// Where the UDP payload starts in the frame.
    pub payload: u16,
    /// The frame's length, which may be more than what was copied.
    pub len: u16,
    /// See [`tap_flags`].
    pub flags: u16,
}

const _: () = assert!(size_of::<TapHead>() == 16);

impl TapHead {
    /// The head and the frame of an entry of the ring; `None` for what the program does not write.
    #[must_use]
    pub fn split(entry: &[u8]) -> Option<(Self, &[u8])> {
        let (head, frame) = entry.split_first_chunk::<16>()?;
        let [arrival @ .., _, _, _, _, _, _, _, _] = head;
        let word = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let head = Self {
            arrival: u64::from_ne_bytes(*arrival),
            port: word(8),
            payload: word(10),
            len: word(12),
            flags: word(14),
        };
        let frame = frame.get(..usize::from(head.len).min(frame.len()))?;
        (usize::from(head.payload) <= frame.len()).then_some((head, frame))
    }

    /// Whether it is no frame, but what a port had received when its source ended.
    #[must_use]
    pub const fn is_source(&self) -> bool {
        self.flags & tap_flags::SOURCE != 0
    }

    /// Whether it is RTCP.
    #[must_use]
    pub const fn is_rtcp(&self) -> bool {
        self.flags & tap_flags::RTCP != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: u16, len: u16, octets: usize) -> Vec<u8> {
        let mut entry = 5_u64.to_ne_bytes().to_vec();
        for word in [30_000, payload, len, tap_flags::RTCP] {
            entry.extend(word.to_ne_bytes());
        }
        entry.resize(16 + octets, 7);
        entry
    }

    #[test]
    fn an_entry_is_a_head_and_what_was_copied_of_the_frame() {
        let entry_of_60 = entry(42, 60, SMALL);
        let (head, frame) = TapHead::split(&entry_of_60).unwrap();
        assert_eq!((head.arrival, head.port, head.payload), (5, 30_000, 42));
        assert!(head.is_rtcp());
        assert_eq!(frame, [7; 60]);
        // Longer than what fits.
        let long = entry(42, 3_000, LARGE);
        assert_eq!(TapHead::split(&long).unwrap().1.len(), LARGE);
        for bad in [&entry(61, 60, SMALL)[..], &entry_of_60[..15], &[]] {
            assert_eq!(TapHead::split(bad), None);
        }
    }
}
