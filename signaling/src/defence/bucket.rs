//! How much strangers may ask: token buckets by address and by network, in a table that never grows.
//!
//! A bucket is one number (the generic cell rate algorithm): when the next token would have been due.
//! The table has a fixed number of places; a newcomer takes the place of the one that has been quiet
//! for longest among a few. So a flood from forged addresses costs neither memory nor a search, and at
//! worst gives others full buckets again.

use std::time::Duration;

/// Neighbouring places that one hash may have.
const WAYS: usize = 4;
/// Seconds' worth of requests that may come at once: phones behind one address come back together.
const BURST: u64 = 10;
/// How much more a whole network may ask.
pub(super) const NETWORK: u64 = 8;
/// How much more a source may ask that is one of ours.
const GOOD: u64 = 20;
/// Refusals within [`STRIKES`] that make a flood.
const FLOOD: u32 = 500;
/// The time in which they are counted.
const STRIKES: Duration = Duration::from_secs(10);

/// Which bucket a request is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Register,
    Invite,
    /// Any other request outside of a dialog.
    Other,
    /// Within a dialog, or so it says.
    Within,
}

const CLASSES: usize = 4;

/// A rate in tokens a second; zero for no limit.
pub(super) type Rates = [u32; CLASSES];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Within,
    /// Too many.
    Over,
    /// Too many, and that for a while: reported once in a while.
    Flood,
}

/// Whose buckets; `good` is asked only when they would be empty.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The whole hash; 0 for a free place.
    tag: u64,
    /// When each bucket is full again, in nanoseconds of the engine's time.
    full: [u64; CLASSES],
    strikes: u32,
    strikes_since: u64,
}

/// A part of all buckets.
#[derive(Debug)]
pub(super) struct Buckets {
    places: Vec<Place>,
    rates: Rates,
}

impl Buckets {
    /// `sets` times four places; a power of two.
    pub(super) fn new(sets: usize, rates: Rates) -> Self {
        Self {
            places: vec![Place::default(); sets * WAYS],
            rates,
        }
    }

    /// Takes a token from the bucket of `hash`, that holds `share` times a single source's. `now` in
    /// nanoseconds.
    pub(super) fn take(
        &mut self,
        now: u64,
        hash: u64,
        class: Class,
        share: u64,
        is_good: impl FnOnce() -> bool,
    ) -> Taken {
        let rate = u64::from(self.rates[class as usize]) * share;
        if rate == 0 {
            return Taken::Within;
        }
        let place = self.place(now, hash);
        let interval = 1_000_000_000 / rate;
        let full = &mut place.full[class as usize];
        let next = (*full).max(now) + interval;
        if next - now <= BURST * 1_000_000_000 {
            *full = next;
            return Taken::Within;
        }
        if is_good() {
            // Beyond the bucket of a stranger it has one that is as much deeper and fills as much faster.
            let next = (*full).max(now) + interval / GOOD;
            if next - now <= 2 * BURST * 1_000_000_000 {
                *full = next;
                return Taken::Within;
            }
            return Taken::Over;
        }
        place.strike(now)
    }

    fn place(&mut self, now: u64, hash: u64) -> &mut Place {
        let sets = self.places.len() / WAYS;
        let set = usize::try_from(hash).unwrap_or(0) & (sets - 1);
        let ways = &mut self.places[set * WAYS..][..WAYS];
        let tag = hash.max(1);
        let at = ways.iter().position(|place| place.tag == tag);
        let at = at.unwrap_or_else(|| {
            let quiet = ways.iter().enumerate().min_by_key(|(_, place)| {
                (place.tag != 0, place.full.into_iter().max().unwrap_or(now))
            });
            let at = quiet.map_or(0, |(at, _)| at);
            ways[at] = Place {
                tag,
                ..Place::default()
            };
            at
        });
        &mut ways[at]
    }
}

impl Place {
    fn strike(&mut self, now: u64) -> Taken {
        let window = u64::try_from(STRIKES.as_nanos()).unwrap_or(u64::MAX);
        if now.saturating_sub(self.strikes_since) > window {
            self.strikes = 0;
            self.strikes_since = now;
        }
        self.strikes += 1;
        if self.strikes < FLOOD {
            return Taken::Over;
        }
        self.strikes = 0;
        self.strikes_since = now;
        Taken::Flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn buckets() -> Buckets {
        Buckets::new(16, [10, 5, 0, 100])
    }

    fn taken(buckets: &mut Buckets, now: u64, class: Class, tries: usize, good: bool) -> usize {
        (0..tries)
            .filter(|_| buckets.take(now, 7, class, 1, || good) == Taken::Within)
            .count()
    }

    #[test]
    fn a_burst_and_then_the_rate_and_each_class_apart() {
        let mut buckets = buckets();
        assert_eq!(
            taken(&mut buckets, SECOND, Class::Register, 300, false),
            100
        );
        assert_eq!(taken(&mut buckets, SECOND, Class::Invite, 300, false), 50);
        assert_eq!(
            taken(&mut buckets, 3 * SECOND, Class::Register, 300, false),
            20
        );
        assert_eq!(
            taken(&mut buckets, 60 * SECOND, Class::Register, 300, false),
            100
        );
        assert_eq!(taken(&mut buckets, SECOND, Class::Other, 900, false), 900);
    }

    #[test]
    fn one_of_ours_may_ask_much_more_and_never_floods() {
        let mut buckets = buckets();
        let all = taken(&mut buckets, SECOND, Class::Register, 10_000, true);
        assert_eq!(all, 100 + 20 * 100);
        assert_eq!(
            buckets.take(SECOND, 7, Class::Register, 1, || true),
            Taken::Over
        );
    }

    #[test]
    fn refusals_in_a_row_are_a_flood_and_slow_ones_are_not() {
        let mut fast = buckets();
        let flood = |buckets: &mut Buckets, step: u64| {
            (0..2_000_u64)
                .filter(|n| {
                    let now = SECOND + n * step;
                    buckets.take(now, 7, Class::Register, 1, || false) == Taken::Flood
                })
                .count()
        };
        assert_eq!(flood(&mut fast, SECOND / 1_000), 3);
        assert_eq!(flood(&mut buckets(), SECOND / 20), 0);
    }

    #[test]
    fn forged_addresses_take_no_memory_and_push_out_the_quiet_ones_first() {
        let mut buckets = buckets();
        assert_eq!(
            taken(&mut buckets, SECOND, Class::Register, 300, false),
            100
        );
        let places = buckets.places.len();
        for forged in 1_000..101_000_u64 {
            buckets.take(2 * SECOND, forged << 8, Class::Invite, 1, || false);
        }
        assert_eq!(buckets.places.len(), places);
        // It is in another set than those, and still empty but for a second's worth.
        assert_eq!(
            taken(&mut buckets, 2 * SECOND, Class::Register, 300, false),
            10
        );
    }
}
