//! What was told of a stream that several send into, as of one sender's.

/// How much a stream's sender was said to have sent. Each source counts its own packets and octets; who hears the stream
/// has one count, which never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    packets: u32,
    octets: u32,
    /// By how much the stream's own count is off, of one that was begun by who counted otherwise.
    off: u32,
    /// What the latest source had counted then: its SSRC, packets and octets.
    source: Option<[u32; 3]>,
}

impl Told {
    /// The most octets that a packet has.
    const LARGEST: u32 = 0xffff;

    /// The packets and octets (modulo 2^32) of a stream that has had so many `packets`, when one of its sources has counted
    /// this much of its own. Octets are told by how large that one's packets were since it was told of last.
    #[must_use]
    pub fn tell(&mut self, packets: u32, source: u32, [counted, octets]: [u32; 2]) -> [u32; 2] {
        // Fewer than none, as of a stream that an earlier process has begun with another number: what its source has counted is
        // the best guess.
        if self.source.is_none() && packets.cast_signed() < 0 {
            self.off = counted.wrapping_sub(packets);
        }
        let packets = packets.wrapping_add(self.off);
        let more = packets.wrapping_sub(self.packets).cast_signed().max(0);
        let more = more.cast_unsigned();
        let before = self.source.filter(|[ssrc, ..]| *ssrc == source);
        let since = before.map(|[_, packets, before]| {
            [counted.wrapping_sub(packets), octets.wrapping_sub(before)]
        });
        // One that has begun anew counts from its beginning.
        let is_usable = |[packets, octets]: &[u32; 2]| {
            *packets != 0 && u64::from(*octets) <= u64::from(*packets) * u64::from(Self::LARGEST)
        };
        let is_near = |[packets, _]: &[u32; 2]| packets.cast_signed() >= 0;
        let mut counts = since.filter(is_near).into_iter().chain([[counted, octets]]);
        if let Some([packets, octets]) = counts.find(is_usable) {
            let sized = u64::from(more) * u64::from(octets) / u64::from(packets);
            #[expect(clippy::cast_possible_truncation, reason = "it is counted modulo 2^32")]
            let sized = sized as u32;
            self.octets = self.octets.wrapping_add(sized);
        }
        self.packets = self.packets.wrapping_add(more);
        self.source = Some([source, counted, octets]);
        [self.packets, self.octets]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_whoever_sends() {
        let mut told = Told::default();
        // 160 octets in each packet; of one before it was heard nothing is told.
        assert_eq!(told.tell(50, 1, [50, 8_000]), [50, 8_000]);
        assert_eq!(told.tell(150, 1, [150, 24_000]), [150, 24_000]);
        // Another one, who has sent elsewhere before, 20 octets in each.
        assert_eq!(told.tell(160, 2, [9_010, 180_200]), [160, 24_200]);
        assert_eq!(told.tell(260, 2, [9_110, 182_200]), [260, 26_200]);
        // The first one's last report, late: nothing new.
        assert_eq!(told.tell(260, 1, [155, 24_800]), [260, 26_200]);
        assert_eq!(told.tell(270, 2, [9_120, 182_400]), [270, 26_400]);
        // It restarts, under the same name.
        assert_eq!(told.tell(280, 2, [10, 1_600]), [280, 28_000]);
    }

    #[test]
    fn nonsense_neither_goes_back_nor_leaps() {
        let mut told = Told::default();
        assert_eq!(told.tell(10, 1, [0, 700]), [10, 0]);
        assert_eq!(told.tell(20, 1, [1, u32::MAX]), [20, 0]);
        // A stream that is counted anew, as by a process that knows of no earlier count.
        assert_eq!(told.tell(5, 1, [2, 100]), [20, 0]);
        assert_eq!(told.tell(21, 1, [4, 300]), [21, 100]);
    }

    #[test]
    fn a_stream_that_began_otherwise_is_counted_by_its_source() {
        let mut told = Told::default();
        let below = |packets: u32| packets.wrapping_sub(30_000);
        assert_eq!(told.tell(below(100), 1, [100, 16_000]), [100, 16_000]);
        assert_eq!(told.tell(below(150), 1, [150, 24_000]), [150, 24_000]);
        assert_eq!(told.tell(below(160), 2, [10, 1_600]), [160, 25_600]);
        // Also where the numbers come to where they should have begun.
        assert_eq!(told.tell(50, 2, [29_900, 4_784_000])[0], 30_050);
    }

    #[test]
    fn counts_wrap() {
        let mut told = Told::default();
        let mut expected = [0_u32, 0];
        for turn in 1..=300_u32 {
            let packets = turn.wrapping_mul(1 << 24);
            expected = [packets, packets.wrapping_mul(160)];
            assert_eq!(told.tell(packets, 1, expected), expected);
        }
        assert_eq!(expected[0], 44 << 24);
    }
}
