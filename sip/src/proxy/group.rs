//! Which targets are tried together, for how long, and after what the next ones are.

use std::time::Duration;

/// Targets that are tried at once, and what holds for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<T> {
    /// Who is tried. All at once, as far as Max-Breadth allows.
    pub targets: Vec<T>,
    /// How long one branch of an INVITE may take to be answered, whatever it says meanwhile.
    /// Then it is cancelled and counts as 408. `None`: timer C alone.
    pub ring_timeout: Option<Duration>,
    /// When the group after this one is tried.
    pub failover: Failover,
}

impl<T> Group<T> {
    /// A group without a ring timeout and with the default failover.
    #[must_use]
    pub fn new(targets: Vec<T>) -> Self {
        Self {
            targets,
            ring_timeout: None,
            failover: Failover::default(),
        }
    }

    /// The same with another ring timeout.
    #[must_use]
    pub fn ring_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.ring_timeout = timeout;
        self
    }

    /// The same with another failover.
    #[must_use]
    pub fn failover(mut self, failover: Failover) -> Self {
        self.failover = failover;
        self
    }
}

impl<T> From<Vec<T>> for Group<T> {
    fn from(targets: Vec<T>) -> Self {
        Self::new(targets)
    }
}

/// When the next group of targets is tried, after every branch of a group has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failover {
    /// Where every branch was out of reach: 503, 408, no answer in time, or a transport error. For
    /// hosts that stand for one another: a busy callee is busy through each of them.
    #[default]
    Unreachable,
    /// Where every branch failed with one of these. No answer in time counts as 408, a transport
    /// error as 503. A 6xx that is listed does not end the search, unlike any other.
    Listed(StatusSet),
    /// After any 3xx to 5xx. For targets that are different places.
    AnyFailure,
}

impl Failover {
    /// Whether this status is named as one after which to go on.
    pub(super) fn lists(&self, status: u16) -> bool {
        matches!(self, Self::Listed(set) if set.contains(status))
    }
}

/// A set of SIP status codes, 100 to 699.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusSet {
    bits: [u64; 10],
}

impl StatusSet {
    /// What says that a carrier cannot carry the call just now, and another one may: 408, 500, 502,
    /// 503 and 504. A callee that is busy (486), unknown (404) or unwilling (603) stays so.
    pub const OUTAGE: Self = Self::new()
        .with(408)
        .with(500)
        .with(502)
        .with(503)
        .with(504);

    /// Whatever is no success, a 6xx included: for places of which none speaks for the others.
    pub const FAILURE: Self = {
        let (mut set, mut status) = (Self::new(), 300);
        while status < 700 {
            set = set.with(status);
            status += 1;
        }
        set
    };

    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { bits: [0; 10] }
    }

    /// The same with one more. A number that is no status is left out.
    #[must_use]
    pub const fn with(mut self, status: u16) -> Self {
        if status >= 100 && status < 700 {
            let index = (status - 100) as usize;
            self.bits[index / 64] |= 1 << (index % 64);
        }
        self
    }

    /// Whether the status is in the set.
    #[must_use]
    pub const fn contains(&self, status: u16) -> bool {
        if status < 100 || status >= 700 {
            return false;
        }
        let index = (status - 100) as usize;
        self.bits[index / 64] & (1 << (index % 64)) != 0
    }

    /// Whether it has nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }
}

impl FromIterator<u16> for StatusSet {
    fn from_iter<I: IntoIterator<Item = u16>>(statuses: I) -> Self {
        statuses.into_iter().fold(Self::new(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_no_more() {
        let set: StatusSet = [100, 408, 503, 699, 700, 99, 0].into_iter().collect();
        let found: Vec<_> = (0..1000).filter(|status| set.contains(*status)).collect();
        assert_eq!(found, [100, 408, 503, 699]);
        assert!(StatusSet::new().is_empty() && !set.is_empty());
        let all = (0..1000).filter(|status| StatusSet::FAILURE.contains(*status));
        assert!(all.eq(300..700));
        assert!(StatusSet::OUTAGE.contains(504) && !StatusSet::OUTAGE.contains(501));
    }
}
