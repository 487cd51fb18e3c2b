//! Who wants to be woken when.

use std::{collections::BTreeSet, hash::Hash, time::Instant};

use crate::ids::IdMap;

/// One time for each key. Exact: setting a key moves it.
#[derive(Debug)]
pub(super) struct Alarms<K> {
    queue: BTreeSet<(Instant, K)>,
    times: IdMap<K, Instant>,
}

impl<K: Copy + Eq + Hash + Ord> Alarms<K> {
    pub(super) fn new() -> Self {
        Self {
            queue: BTreeSet::new(),
            times: IdMap::default(),
        }
    }

    /// Sets, moves or (with `None`) clears the key's time.
    pub(super) fn set(&mut self, key: K, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.times.insert(key, at),
            None => self.times.remove(&key),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, key));
        }
        if let Some(at) = at {
            self.queue.insert((at, key));
        }
    }

    /// The earliest time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one key whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.set(key, None);
        Some(key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.times.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_has_one_time_and_is_taken_once() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut alarms = Alarms::new();
        alarms.set('a', Some(now));
        alarms.set('b', Some(later));
        alarms.set('a', Some(later + Duration::from_secs(1)));
        assert_eq!(alarms.next(), Some(later));
        assert_eq!(alarms.take_due(now), None);
        assert_eq!(alarms.take_due(later), Some('b'));
        alarms.set('a', None);
        assert!(alarms.is_empty());
    }
}
