//! Sources that showed lately that they are ours. Pure: the time comes with each call.
//!
//! In a table of its own: what is held against others, however many they are, pushes nobody out of it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Source;

/// How long a source counts as one of ours: phones register again within the hour.
const LENGTH: Duration = Duration::from_secs(3_900);
/// A source that was noted less than this ago is not noted again: phones answer often.
const STEP: Duration = Duration::from_secs(60);

/// A part of all known sources, in two generations: once the younger has its half of the room, the
/// older is forgotten. Whoever is heard of stays.
#[derive(Debug)]
pub(super) struct Known {
    half: usize,
    recent: HashMap<Source, Seen>,
    older: HashMap<Source, Seen>,
}

/// What is known of one.
#[derive(Clone, Copy, Debug)]
struct Seen {
    until: Instant,
    /// Somebody has registered from there.
    has_phones: bool,
}

impl Known {
    /// For `most` sources.
    pub(super) fn new(most: usize) -> Self {
        Self {
            half: (most / 2).max(1),
            recent: HashMap::new(),
            older: HashMap::new(),
        }
    }

    /// `source` has shown that it is one of ours, by a phone that registers where `has_phones`.
    pub(super) fn see(&mut self, now: Instant, source: Source, has_phones: bool) {
        let until = now + LENGTH;
        if let Some(seen) = self.recent.get_mut(&source) {
            seen.has_phones |= has_phones;
            if until.saturating_duration_since(seen.until) >= STEP {
                seen.until = until;
            }
            return;
        }
        let before = self.older.remove(&source);
        if self.recent.len() >= self.half {
            self.older = std::mem::take(&mut self.recent);
        }
        let has_phones = has_phones || before.is_some_and(|seen| seen.has_phones);
        self.recent.insert(source, Seen { until, has_phones });
    }

    /// Whether it has, and not too long ago.
    pub(super) fn has(&self, now: Instant, source: Source) -> bool {
        self.seen(now, source).is_some()
    }

    /// Whether phones registered from there, and it is known since.
    pub(super) fn has_phones(&self, now: Instant, source: Source) -> bool {
        self.seen(now, source).is_some_and(|seen| seen.has_phones)
    }

    fn seen(&self, now: Instant, source: Source) -> Option<&Seen> {
        let seen = self.recent.get(&source).or_else(|| self.older.get(&source));
        seen.filter(|seen| seen.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        Source::of(std::net::IpAddr::V4(number.into()))
    }

    #[test]
    fn whoever_is_heard_of_stays_and_the_table_does_not_grow() {
        let mut known = Known::new(100);
        let now = Instant::now();
        for number in 0..10_000 {
            known.see(now, source(1), number == 0);
            known.see(now, source(number + 2), false);
            assert!(known.has_phones(now, source(1)), "{number}");
            assert!(!known.has_phones(now, source(number + 2)));
            assert!(known.recent.len() + known.older.len() <= 100);
        }
        assert!(known.has(now, source(10_001)) && !known.has(now, source(2)));
    }

    #[test]
    fn an_hour_of_silence_makes_a_stranger() {
        let mut known = Known::new(100);
        let start = Instant::now();
        known.see(start, source(1), false);
        known.see(start + STEP, source(1), false);
        assert!(known.has(start + LENGTH, source(1)));
        assert!(!known.has(start + LENGTH + STEP, source(1)));
    }
}
