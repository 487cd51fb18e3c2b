//! What each synchronisation source of a port has sent, beyond the present one.
//!
//! A [`Flow`] counts whatever comes to its port. What one source has sent is the difference between two readings of it:
//! when the source ended, and when the one before it did. A reading that is missed costs no packet: then the difference
//! is of several sources, and counts among the others.

use crate::{Flow, burst_ratio, flow};

/// Sources of a port that are kept apart, those that ended last; earlier ones are one sum.
pub const KEPT_SOURCES: usize = 8;

/// What one source has sent, or several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Source {
    /// Packets received, repeated ones included.
    pub packets: u64,
    /// Octets of UDP payload in them.
    pub octets: u64,
    /// Packets that should have come.
    pub expected: u64,
    /// When the first one came: CLOCK_MONOTONIC, ns.
    pub began: u64,
    /// When the last one came.
    pub last: u64,
    /// The synchronisation source.
    pub ssrc: u32,
    /// Interarrival jitter in the end (RFC 3550 section 6.4.1), in ns.
    pub jitter: u32,
    /// The highest sequence number, extended to 32 bits.
    pub highest: u32,
    /// The longest time between two packets, in units of 2^10 ns.
    pub longest_gap: u32,
    /// Packets that came again.
    pub duplicates: u32,
    /// Packets that came after a later one.
    pub reordered: u32,
    /// Packets that came too late to be played.
    pub late: u32,
    /// Runs of packets that did not come.
    pub gaps: u32,
}

/// The earlier sources of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sources {
    /// The sum of all that have ended.
    ended: Source,
    /// Those that are not kept apart.
    others: Source,
    /// How many these are; one that came back between others counts each time.
    others_count: u32,
    /// As [`Flow::changes`], of what is accounted for.
    changes: u32,
    /// How many of `kept` there are.
    len: u32,
    /// Zero, for a later use.
    reserved: u32,
    /// Oldest first.
    kept: [Source; KEPT_SOURCES],
}

const _: () = {
    assert!(size_of::<Source>() == 72);
    assert!(size_of::<Sources>() == 16 + 72 * (2 + KEPT_SOURCES));
};

impl Source {
    /// Packets that were expected and did not come.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        let received = self.packets.saturating_sub(self.duplicates as u64);
        self.expected.saturating_sub(received)
    }

    /// As [`Flow::burst_ratio`].
    #[must_use]
    pub fn burst_ratio(&self) -> f64 {
        burst_ratio(self.expected, self.lost(), u64::from(self.gaps))
    }

    /// The longest time between two packets, in milliseconds.
    #[must_use]
    pub const fn longest_gap_ms(&self) -> u32 {
        flow::gap_ms(self.longest_gap)
    }

    /// All that a flow has counted, with the marks of its present source.
    const fn all_of(flow: &Flow) -> Self {
        Self {
            packets: flow.packets,
            octets: flow.octets,
            expected: flow.expected(),
            began: flow.began,
            last: flow.last_arrival,
            ssrc: flow.ssrc,
            jitter: flow.jitter,
            highest: flow.highest,
            longest_gap: flow.longest_gap,
            duplicates: flow.duplicates,
            reordered: flow.reordered,
            late: flow.late,
            gaps: flow.gaps,
        }
    }

    /// What is left when `before` is taken away.
    fn since(self, before: &Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            octets: self.octets.saturating_sub(before.octets),
            expected: self.expected.saturating_sub(before.expected),
            duplicates: self.duplicates.wrapping_sub(before.duplicates),
            reordered: self.reordered.wrapping_sub(before.reordered),
            late: self.late.wrapping_sub(before.late),
            // A late packet may have closed a gap of the source before.
            gaps: self.gaps.saturating_sub(before.gaps),
            ..self
        }
    }

    /// Takes in what the same source, or another one, has sent later.
    fn add(&mut self, later: &Self) {
        if self.packets == 0 {
            *self = *later;
            return;
        }
        *self = Self {
            packets: self.packets + later.packets,
            octets: self.octets + later.octets,
            expected: self.expected + later.expected,
            began: self.began.min(later.began),
            longest_gap: self.longest_gap.max(later.longest_gap),
            duplicates: self.duplicates.wrapping_add(later.duplicates),
            reordered: self.reordered.wrapping_add(later.reordered),
            late: self.late.wrapping_add(later.late),
            gaps: self.gaps.wrapping_add(later.gaps),
            ..*later
        };
    }
}

impl Sources {
    /// Takes note of what `flow` was when its source ended. What was accounted for already changes nothing.
    pub fn end(&mut self, flow: &Flow) {
        let missed = flow.changes.wrapping_sub(self.changes).cast_signed();
        if missed < 0 || flow.window == 0 {
            return;
        }
        let all = Source::all_of(flow);
        let source = all.since(&self.ended);
        if missed == 0 && source.packets != 0 {
            self.keep(source);
        } else {
            self.others.add(&source);
            let count = missed.cast_unsigned().saturating_add(1);
            self.others_count = self.others_count.saturating_add(count);
        }
        self.ended = all;
        self.changes = flow.changes.wrapping_add(1);
    }

    /// Whether a source of `flow` has ended that was not told of.
    #[must_use]
    pub const fn is_behind(&self, flow: &Flow) -> bool {
        flow.changes.wrapping_sub(self.changes).cast_signed() > 0
    }

    /// Counts what was not told among the others, and with it what the present source has sent so far. How many sources
    /// that were.
    pub fn catch_up(&mut self, flow: &Flow) -> u32 {
        if !self.is_behind(flow) {
            return 0;
        }
        let missed = flow.changes.wrapping_sub(self.changes);
        let all = Source::all_of(flow);
        self.others.add(&all.since(&self.ended));
        self.others_count = self.others_count.saturating_add(missed);
        self.ended = all;
        self.changes = flow.changes;
        missed
    }

    /// The sources of `flow` that are known apart: those that have ended, oldest first, and the present one. One that
    /// came back is told once.
    pub fn of(&self, flow: &Flow) -> impl Iterator<Item = Source> + '_ {
        let mut present = (flow.window != 0).then(|| Source::all_of(flow).since(&self.ended));
        let is_present = |source: &Source| source.ssrc == flow.ssrc && flow.window != 0;
        if let Some(present) = &mut present
            && let Some(earlier) = self.kept().iter().find(|source| is_present(source))
        {
            let mut both = *earlier;
            both.add(present);
            *present = both;
        }
        let (has, ssrc) = (flow.window != 0, flow.ssrc);
        let ended = self.kept().iter().copied();
        ended
            .filter(move |source| !has || source.ssrc != ssrc)
            .chain(present)
    }

    /// The sum of the others, and how many they are.
    #[must_use]
    pub fn others(&self) -> Option<(&Source, u32)> {
        (self.others_count != 0).then_some((&self.others, self.others_count))
    }

    fn kept(&self) -> &[Source] {
        self.kept.get(..self.len as usize).unwrap_or(&self.kept)
    }

    fn keep(&mut self, source: Source) {
        let len = self.kept().len();
        let known = self.kept.iter_mut().take(len);
        if let Some(same) = { known }.find(|known| known.ssrc == source.ssrc) {
            same.add(&source);
            return;
        }
        if len == KEPT_SOURCES {
            self.others.add(&self.kept[0]);
            self.others_count = self.others_count.saturating_add(1);
            self.kept.rotate_left(1);
            self.kept[KEPT_SOURCES - 1] = source;
        } else {
            self.kept[len] = source;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rtp, tick};

    const MS: u64 = 1_000_000;

    /// A port, and who is told of its sources.
    #[derive(Default)]
    struct Port {
        flow: Flow,
        sources: Sources,
        now: u64,
        sequence: u16,
    }

    impl Port {
        /// Packets of `ssrc`, without every tenth; `told`: of an end.
        fn receive(&mut self, ssrc: u32, packets: u16, told: bool) {
            for nth in 0..packets {
                self.now += 20 * MS;
                self.sequence = self.sequence.wrapping_add(1);
                if nth % 10 == 5 {
                    continue;
                }
                let rtp = Rtp {
                    sequence: self.sequence,
                    timestamp: u32::from(self.sequence) * 160,
                    ssrc,
                };
                if told && self.flow.is_ended_by(ssrc) {
                    self.sources.end(&self.flow);
                }
                self.flow.record_rtp(rtp, 172, self.now, tick(8_000));
            }
        }

        fn told(&self) -> Vec<(u32, u64, u64)> {
            let told = |source: Source| (source.ssrc, source.packets, source.lost());
            self.sources.of(&self.flow).map(told).collect()
        }

        /// Nothing is counted twice or forgotten.
        fn check_sums(&self) {
            let others = self.sources.others().map_or((0, 0, 0), |(others, _)| {
                (others.packets, others.octets, others.lost())
            });
            let sum = self.sources.of(&self.flow).fold(others, |sum, source| {
                let (packets, octets, lost) = sum;
                (
                    packets + source.packets,
                    octets + source.octets,
                    lost + source.lost(),
                )
            });
            assert_eq!(
                sum,
                (self.flow.packets, self.flow.octets, self.flow.lost()),
                "{:?}",
                self.told()
            );
        }
    }

    #[test]
    fn each_source_has_its_own_figures() {
        let mut port = Port::default();
        assert_eq!(port.told(), []);
        port.receive(1, 100, true);
        assert_eq!(port.told(), [(1, 90, 10)]);
        port.now += 700 * MS;
        port.receive(2, 50, true);
        port.receive(1, 10, true);
        // Who comes back is told once, where it is now.
        assert_eq!(port.told(), [(2, 45, 5), (1, 99, 11)]);
        port.check_sums();
        let [second, first] = *port.sources.of(&port.flow).collect::<Vec<_>>() else {
            panic!("there are two");
        };
        assert_eq!(first.began, 20 * MS);
        assert_eq!(second.last, first.last - 10 * 20 * MS);
        // The pause between two sources is neither's.
        assert_eq!((first.longest_gap_ms(), second.longest_gap_ms()), (39, 39));
        assert!(first.burst_ratio() >= 1.0);
        assert_eq!(port.sources.others(), None);
    }

    #[test]
    fn the_last_ones_are_kept_and_the_sum_of_the_others() {
        let mut port = Port::default();
        for ssrc in 1..=20 {
            port.receive(ssrc, 20, true);
            port.check_sums();
        }
        let told: Vec<_> = port.told().iter().map(|told| told.0).collect();
        assert_eq!(told, (12..=20).collect::<Vec<_>>());
        let (others, count) = port.sources.others().unwrap();
        assert_eq!((count, others.packets), (11, 11 * 18));
    }

    #[test]
    fn what_nobody_told_of_is_in_the_sum() {
        let mut port = Port::default();
        port.receive(1, 20, true);
        port.receive(2, 20, false);
        assert!(port.sources.is_behind(&port.flow));
        // The next one that is told ends two.
        port.receive(3, 20, true);
        port.check_sums();
        assert_eq!(port.told(), [(3, 18, 2)]);
        assert_eq!(port.sources.others().unwrap().1, 2);
        port.receive(4, 20, false);
        assert_eq!(port.sources.catch_up(&port.flow), 1);
        port.receive(4, 10, true);
        port.check_sums();
        assert_eq!(port.told(), [(4, 9, 1)]);
        assert_eq!(port.sources.others().unwrap().1, 3);
        // One that has sent nothing since then is one of them.
        port.receive(5, 20, false);
        assert_eq!(port.sources.catch_up(&port.flow), 1);
        port.receive(6, 20, true);
        port.check_sums();
        assert_eq!(port.told(), [(6, 18, 2)]);
        assert_eq!(port.sources.others().unwrap().1, 5);
        // What was late on its way says nothing new.
        let before = port.sources;
        port.sources.end(&Flow {
            changes: 1,
            ..port.flow
        });
        assert_eq!(port.sources, before);
    }

    #[test]
    fn a_flood_of_sources_is_told_at_a_bounded_rate_and_counted_whole() {
        let mut port = Port::default();
        let mut told = 0;
        for ssrc in 1..=1_000 {
            port.now += MS;
            let ends = port.flow.is_ended_by(ssrc);
            if ends && port.flow.admits_telling(port.now) {
                told += 1;
                port.sources.end(&port.flow);
            }
            let rtp = Rtp {
                sequence: 7,
                timestamp: 7,
                ssrc,
            };
            port.flow.record_rtp(rtp, 172, port.now, tick(8_000));
        }
        port.sources.catch_up(&port.flow);
        port.check_sums();
        assert!((16..=33).contains(&told), "{told}");
        assert_eq!(port.flow.changes, 999);
        let (kept, others) = (port.told().len(), port.sources.others().unwrap().1);
        assert_eq!(kept + others as usize, 1_000);
    }
}
