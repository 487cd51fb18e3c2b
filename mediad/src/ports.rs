//! The UDP ports of a shard: pairs of an even RTP port and the odd RTCP port above it
//! (RFC 3550 section 11).

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Hands out pairs, least recently used first, so that packets of a call that has ended do not meet
/// the next one.
#[derive(Debug)]
pub struct PortPool {
    /// The even port of pair 0.
    first: u16,
    pairs: Vec<Pair>,
    queue: VecDeque<u16>,
    used: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    taken: bool,
    queued: bool,
}

impl PortPool {
    /// A pool of the whole pairs within `ports`.
    #[must_use]
    pub fn new(ports: &RangeInclusive<u16>) -> Self {
        let first = ports.start().next_multiple_of(2);
        let end = u32::from(*ports.end()) + 1;
        let count = end.saturating_sub(u32::from(first)) / 2;
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        Self {
            first,
            pairs: vec![
                Pair {
                    taken: false,
                    queued: true
                };
                usize::from(count)
            ],
            queue: (0..count).collect(),
            used: 0,
        }
    }

    /// Ports in use, two for each pair.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used as u32 * 2
    }

    /// Ports in all.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.pairs.len() * 2
    }

    /// Takes the even port of the next free pair.
    pub fn take(&mut self) -> Option<u16> {
        loop {
            let index = self.queue.pop_front()?;
            let pair = self.pairs.get_mut(usize::from(index))?;
            pair.queued = false;
            // Taken by its number while it was queued.
            if !pair.taken {
                pair.taken = true;
                self.used += 1;
                return Some(self.port(index));
            }
        }
    }

    /// Takes the pair of a certain even port; `false` if it is not of this pool or not free.
    pub fn take_this(&mut self, port: u16) -> bool {
        let Some(pair) = self.pair(port) else {
            return false;
        };
        if pair.taken {
            return false;
        }
        pair.taken = true;
        self.used += 1;
        true
    }

    /// Gives a pair back.
    pub fn give(&mut self, port: u16) {
        let Some(index) = self.index(port) else {
            return;
        };
        let Some(pair) = self.pairs.get_mut(usize::from(index)) else {
            return;
        };
        if !pair.taken {
            return;
        }
        pair.taken = false;
        self.used -= 1;
        if !pair.queued {
            pair.queued = true;
            self.queue.push_back(index);
        }
    }

    fn pair(&mut self, port: u16) -> Option<&mut Pair> {
        let index = self.index(port)?;
        self.pairs.get_mut(usize::from(index))
    }

    const fn index(&self, port: u16) -> Option<u16> {
        if !port.is_multiple_of(2) {
            return None;
        }
        match port.checked_sub(self.first) {
            Some(offset) => Some(offset / 2),
            None => None,
        }
    }

    const fn port(&self, index: u16) -> u16 {
        self.first + index * 2
    }
}

/// Splits a range into `shards` contiguous parts of whole pairs, of sizes as equal as can be. Parts
/// are fewer where there are not enough pairs.
#[must_use]
pub fn split(ports: &RangeInclusive<u16>, shards: u16) -> Vec<RangeInclusive<u16>> {
    let first = u32::from(ports.start().next_multiple_of(2));
    let pairs = (u32::from(*ports.end()) + 1).saturating_sub(first) / 2;
    // A session takes two pairs; a shard without room for one is of no use.
    let shards = u32::from(shards).clamp(1, (pairs / 2).max(1));
    let bound = |n: u32| first + pairs * n / shards * 2;
    (0..shards)
        .filter_map(|n| {
            let (from, to) = (bound(n), bound(n + 1));
            let to = to.checked_sub(1).filter(|to| *to >= from)?;
            Some(u16::try_from(from).ok()?..=u16::try_from(to).ok()?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_even_and_within_the_range() {
        let mut pool = PortPool::new(&(20_001..=20_008));
        assert_eq!(pool.capacity(), 6);
        assert_eq!(
            [pool.take(), pool.take(), pool.take(), pool.take()],
            [Some(20_002), Some(20_004), Some(20_006), None]
        );
        assert_eq!(pool.used(), 6);
    }

    #[test]
    fn the_least_recently_used_pair_is_next() {
        let mut pool = PortPool::new(&(100..=107));
        let first = pool.take().unwrap();
        pool.give(first);
        pool.give(first);
        assert_eq!(pool.take(), Some(102));
        assert_eq!(
            (0..4).map(|_| pool.take()).collect::<Vec<_>>(),
            [Some(104), Some(106), Some(100), None]
        );
    }

    #[test]
    fn a_certain_pair_can_be_had_once() {
        let mut pool = PortPool::new(&(100..=107));
        assert!(pool.take_this(104));
        assert!(!pool.take_this(104));
        assert!(!pool.take_this(105), "RTP ports are even");
        assert!(!pool.take_this(98));
        assert!(!pool.take_this(108));
        assert_eq!(
            (0..4).map(|_| pool.take()).collect::<Vec<_>>(),
            [Some(100), Some(102), Some(106), None]
        );
        pool.give(104);
        assert_eq!(pool.take(), Some(104));
    }

    proptest! {
        #[test]
        fn no_pair_is_lost_or_handed_out_twice(ops in prop::collection::vec(any::<u8>(), 1..300)) {
            let mut pool = PortPool::new(&(100..=131));
            let mut held: Vec<u16> = Vec::new();
            for op in ops {
                match op % 4 {
                    0 | 1 => if let Some(port) = pool.take() {
                        prop_assert!(!held.contains(&port));
                        held.push(port);
                    } else {
                        prop_assert_eq!(held.len(), 16);
                    },
                    2 => {
                        let port = 100 + u16::from(op / 4 % 16) * 2;
                        prop_assert_eq!(pool.take_this(port), !held.contains(&port));
                        if !held.contains(&port) { held.push(port); }
                    }
                    _ => if !held.is_empty() {
                        pool.give(held.remove(usize::from(op) % held.len()));
                    },
                }
                prop_assert_eq!(pool.used() as usize, held.len() * 2);
            }
        }

        #[test]
        fn parts_cover_the_range_in_order(first in 1024_u16..60_000, len in 4_u16..5000, shards in 1_u16..64) {
            let range = first..=first + len;
            let parts = split(&range, shards);
            prop_assert!(!parts.is_empty() && parts.len() <= usize::from(shards));
            let mut next = first.next_multiple_of(2);
            for part in &parts {
                prop_assert_eq!(*part.start(), next);
                prop_assert!(PortPool::new(part).capacity() >= 2);
                next = part.end() + 1;
            }
            prop_assert!(next >= first + len, "at most the odd port at the end is left over");
        }
    }
}
