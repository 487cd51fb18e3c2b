//! How much strangers may ask: token buckets by address and by network, in a table that never grows.
//!
//! A bucket is one number (the generic cell rate algorithm): when the next token would have been due.
//! The table has a fixed number of places; a newcomer takes the place of the one that has been quiet
//! for longest among a few. So a flood from forged addresses costs neither memory nor a search, and at
//! worst gives others full buckets again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Neighbouring places that one hash may have.
const WAYS: usize = 4;
/// Seconds' worth of requests that a stranger may send at once.
const BURST: u64 = 2;
/// Seconds' worth that one of ours may send at once beyond that: phones behind one address come back
/// together.
const GOOD_BURST: u64 = 10;
/// How much more a whole network may ask.
pub(super) const NETWORK: u64 = 8;
/// How much more a source may ask that is one of ours.
const GOOD: u64 = 20;
/// Refusals in a second, and in how many seconds in a row, that make a flood. Phones behind one address that
/// have no answer send again ever later, so that they make none, however many they are.
const FLOOD: (u32, u32) = (300, 3);

/// Which bucket a request is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Register,
    Invite,
    /// Any other request outside of a dialog.
    Other,
    /// Within a dialog, as far as its sender's word goes.
    Within,
}

const CLASSES: usize = 4;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

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

/// Whose buckets.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The whole hash; 0 for a free place.
    tag: u64,
    /// When each bucket is full again, in nanoseconds of the engine's time.
    full: [u64; CLASSES],
    /// Refusals in the second that began then, and how many seconds with enough of them came before it.
    strikes: u32,
    since: u64,
    before: u32,
}

/// One bucket that all share, without a lock.
#[derive(Debug)]
pub(crate) struct Cap {
    full: AtomicU64,
    /// Nanoseconds; zero for no limit.
    interval: u64,
}

impl Cap {
    /// `rate` in tokens a second; zero for no limit.
    pub(crate) const fn new(rate: u32) -> Self {
        Self {
            full: AtomicU64::new(0),
            interval: match rate {
                0 => 0,
                rate => SECOND / rate as u64,
            },
        }
    }

    /// Takes a token, if there is one. `now` in nanoseconds.
    pub(crate) fn take(&self, now: u64) -> bool {
        let next = |full: u64| full.max(now) + self.interval;
        let fits = |full: u64| Some(next(full)).filter(|next| next - now <= BURST * SECOND);
        self.full.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }
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

    /// Other rates from now on; what was taken is not given back.
    pub(super) const fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// Takes a token from the bucket of `hash`, that holds `share` times a single source's. `now` in
    /// nanoseconds.
    pub(super) fn take(
        &mut self,
        now: u64,
        hash: u64,
        class: Class,
        share: u64,
        is_known: bool,
    ) -> Taken {
        let rate = u64::from(self.rates[class as usize]) * share;
        if rate == 0 {
            return Taken::Within;
        }
        let place = self.place(now, hash);
        let interval = SECOND / rate;
        let full = &mut place.full[class as usize];
        let next = (*full).max(now) + interval;
        if next - now <= BURST * SECOND {
            *full = next;
            return Taken::Within;
        }
        if is_known {
            // Beyond the bucket of a stranger it has one that is as much deeper and fills as much faster.
            let next = (*full).max(now) + interval / GOOD;
            if next - now <= (BURST + GOOD_BURST) * SECOND {
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
        let (most, seconds) = FLOOD;
        let age = now.saturating_sub(self.since);
        if age >= SECOND {
            if self.strikes >= most && age < 2 * SECOND {
                self.before += 1;
                self.since += SECOND;
            } else {
                self.before = 0;
                self.since = now;
            }
            self.strikes = 0;
        }
        self.strikes += 1;
        if self.strikes < most || self.before + 1 < seconds {
            return Taken::Over;
        }
        (self.strikes, self.before) = (0, 0);
        Taken::Flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets() -> Buckets {
        Buckets::new(16, [10, 5, 0, 100])
    }

    fn taken(buckets: &mut Buckets, now: u64, class: Class, tries: usize, good: bool) -> usize {
        (0..tries)
            .filter(|_| buckets.take(now, 7, class, 1, good) == Taken::Within)
            .count()
    }

    #[test]
    fn a_burst_and_then_the_rate_and_each_class_apart() {
        let mut buckets = buckets();
        let mut all = |now, class| taken(&mut buckets, now, class, 900, false);
        assert_eq!(all(SECOND, Class::Register), 20);
        assert_eq!(all(SECOND, Class::Invite), 10);
        assert_eq!(all(2 * SECOND, Class::Register), 10);
        assert_eq!(all(60 * SECOND, Class::Register), 20);
        assert_eq!(all(SECOND, Class::Other), 900);
    }

    #[test]
    fn one_of_ours_may_ask_much_more_and_never_floods() {
        let mut buckets = buckets();
        let all = taken(&mut buckets, SECOND, Class::Register, 10_000, true);
        assert_eq!(all, 20 + 20 * 100);
        assert_eq!(
            buckets.take(SECOND, 7, Class::Register, 1, true),
            Taken::Over
        );
    }

    #[test]
    fn what_all_share_has_a_rate_too() {
        let cap = Cap::new(1_000);
        let taken = |now| (0..5_000).filter(|_| cap.take(now)).count();
        assert_eq!(taken(SECOND), 2_000);
        assert_eq!(taken(SECOND), 0);
        assert_eq!(taken(2 * SECOND), 1_000);
        let none = Cap::new(0);
        assert!((0..5_000).all(|_| none.take(SECOND)));
    }

    fn floods(times: impl Iterator<Item = u64>) -> usize {
        let mut buckets = buckets();
        let is_flood = |now: &u64| {
            let taken = buckets.take(SECOND + now, 7, Class::Register, 1, false);
            taken == Taken::Flood
        };
        times.filter(is_flood).count()
    }

    #[test]
    fn refusals_for_seconds_on_end_are_a_flood_and_slow_ones_are_not() {
        assert_eq!(floods((0..10_000).map(|n| n * SECOND / 1_000)), 4);
        assert_eq!(floods((0..10_000).map(|n| n * SECOND / 250)), 0);
    }

    /// Timer E (RFC 3261 section 17.1.2.2), of 20,000 phones behind one address that nobody answers.
    #[test]
    fn phones_that_send_again_are_no_flood() {
        let waves = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500];
        let times = waves.into_iter().flat_map(|wave| {
            let phone = move |n| wave * SECOND / 1_000 + n * SECOND / 50_000;
            (0..20_000).map(phone)
        });
        assert_eq!(floods(times), 0);
    }

    #[test]
    fn forged_addresses_take_no_memory_and_push_out_the_quiet_ones_first() {
        let mut buckets = buckets();
        assert_eq!(taken(&mut buckets, SECOND, Class::Register, 300, false), 20);
        let places = buckets.places.len();
        for forged in 1_000..101_000_u64 {
            buckets.take(2 * SECOND, forged << 8, Class::Invite, 1, false);
        }
        assert_eq!(buckets.places.len(), places);
        // It is in another set than those, and still empty but for a second's worth.
        assert_eq!(
            taken(&mut buckets, 2 * SECOND, Class::Register, 300, false),
            10
        );
    }
}
