//! What the program has counted.

use ebpf_abi::{COUNTERS_LEN, Counter, CounterKind};

/// A reading of all counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; COUNTERS_LEN]);

impl Counters {
    /// Adds up the readings of each CPU.
    pub(super) fn sum<'a>(per_cpu: impl Iterator<Item = &'a [u64; COUNTERS_LEN]>) -> Self {
        let mut sum = [0_u64; COUNTERS_LEN];
        for values in per_cpu {
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum = sum.wrapping_add(*value);
            }
        }
        Self(sum)
    }

    /// One of them.
    #[must_use]
    pub const fn of(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL
            .iter()
            .map(|counter| (*counter, self.of(*counter)))
    }

    /// The sum of all of one kind.
    #[must_use]
    pub fn total(&self, kind: CounterKind) -> u64 {
        self.iter()
            .filter(|(counter, _)| counter.kind() == kind)
            .map(|(_, value)| value)
            .sum()
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.0;
        for (value, before) in difference.iter_mut().zip(earlier.0) {
            *value = value.wrapping_sub(before);
        }
        Self(difference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_added_up_and_kinds_kept_apart() {
        let mut first = [0; COUNTERS_LEN];
        first[Counter::RtpTx as usize] = 5;
        first[Counter::DropSource as usize] = 1;
        let mut second = [0; COUNTERS_LEN];
        second[Counter::RtpTx as usize] = 7;
        second[Counter::PassStun as usize] = 2;
        let earlier = Counters::sum([&first].into_iter());
        let counters = Counters::sum([&first, &second].into_iter());
        assert_eq!(counters.of(Counter::RtpTx), 12);
        assert_eq!(counters.total(CounterKind::Forwarded), 12);
        assert_eq!(counters.total(CounterKind::Passed), 2);
        assert_eq!(counters.total(CounterKind::Dropped), 1);
        assert_eq!(counters.since(&earlier).of(Counter::RtpTx), 7);
    }
}
