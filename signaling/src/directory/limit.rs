//! How much of something may be used at once and in a second.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What bounds a call: a bound on what it shares with others, and their common count. Clones share
/// the count.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Whose it is, for people: `number 15550100`, `trunk carrier-a`.
    pub(crate) name: Arc<str>,
    /// Calls at once.
    pub(crate) calls: Option<u32>,
    /// Calls that begin within a second.
    pub(crate) cps: Option<u32>,
    pub(crate) meter: Arc<Meter>,
}

/// What is counted. Outlives the directory that it was made for.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    calls: AtomicU32,
    /// The leaky bucket of beginnings: when it will be empty.
    empty_at: Mutex<Option<Instant>>,
}

/// A place within a limit; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    meter: Arc<Meter>,
    /// What the beginning has added to the bucket.
    begun: Option<Duration>,
}

/// Which bound of a limit was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// As in [`Limit::name`].
    pub(crate) name: Arc<str>,
    pub(crate) bound: Bound,
}

/// What was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Calls at once.
    Calls(u32),
    /// Calls a second.
    Cps(u32),
}

impl Limit {
    /// Takes a place for a call that begins.
    pub(crate) fn take(&self, now: Instant) -> Result<Hold, Exceeded> {
        let exceeded = |bound| Exceeded {
            name: self.name.clone(),
            bound,
        };
        if let Some(calls) = self.calls
            && !self.meter.has_room(calls)
        {
            return Err(exceeded(Bound::Calls(calls)));
        }
        let mut hold = Hold {
            meter: self.meter.clone(),
            begun: None,
        };
        if self.calls.is_none() {
            self.meter.calls.fetch_add(1, Relaxed);
        }
        if let Some(cps) = self.cps {
            // The hold that is dropped here gives the place back.
            let begun = self.meter.begin(now, cps);
            hold.begun = Some(begun.ok_or_else(|| exceeded(Bound::Cps(cps)))?);
        }
        Ok(hold)
    }
}

impl Meter {
    /// Calls that hold a place.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// Counts one more where fewer than `most` are there.
    fn has_room(&self, most: u32) -> bool {
        let more = |calls: u32| (calls < most).then_some(calls + 1);
        self.calls.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Lets one more begin now, if it may, and tells what it adds to the bucket. A second's worth may
    /// begin at once, and none is saved for later.
    fn begin(&self, now: Instant, cps: u32) -> Option<Duration> {
        let each = Duration::from_secs(1).checked_div(cps)?;
        let mut empty_at = self.empty_at();
        let filled = empty_at.map_or(now, |at| at.max(now)) + each;
        let room = filled.saturating_duration_since(now) <= Duration::from_secs(1);
        room.then(|| *empty_at = Some(filled))?;
        Some(each)
    }

    fn empty_at(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nothing panics while it holds the lock.
        self.empty_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Gives the place back as if it had never been taken: no call has begun.
    pub(crate) fn undo(self) {
        if let Some(each) = self.begun {
            let mut empty_at = self.meter.empty_at();
            *empty_at = empty_at.and_then(|at| at.checked_sub(each));
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.meter.calls.fetch_sub(1, Relaxed);
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound {
            Bound::Calls(most) => write!(f, "{} has {most} calls, its limit", self.name),
            Bound::Cps(most) => write!(f, "{} began {most} calls a second, its limit", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(calls: Option<u32>, cps: Option<u32>) -> Limit {
        Limit {
            name: "test".into(),
            calls,
            cps,
            meter: Arc::default(),
        }
    }

    #[test]
    fn a_place_is_given_back() {
        let (limit, now) = (limit(Some(2), None), Instant::now());
        let first = limit.take(now).unwrap();
        let _second = limit.take(now).unwrap();
        assert_eq!(limit.take(now).unwrap_err().bound, Bound::Calls(2));
        drop(first);
        limit.take(now).unwrap();
        assert_eq!(limit.meter.calls(), 1);
    }

    #[test]
    fn beginnings_are_spread_over_the_second() {
        let (limit, start) = (limit(None, Some(10)), Instant::now());
        let begun = (0..30).filter(|_| limit.take(start).is_ok()).count();
        assert_eq!(begun, 10, "a second's worth at once");
        assert_eq!(limit.take(start).unwrap_err().bound, Bound::Cps(10));
        assert_eq!(limit.meter.calls(), 0, "a refused call holds nothing");
        let later = start + Duration::from_millis(100);
        assert!(limit.take(later).is_ok());
        assert!(limit.take(later).is_err());
    }

    #[test]
    fn a_beginning_that_was_none_is_not_counted() {
        let (limit, now) = (limit(Some(9), Some(2)), Instant::now());
        for _ in 0..10 {
            limit.take(now).unwrap().undo();
        }
        let _calls = [limit.take(now).unwrap(), limit.take(now).unwrap()];
        assert_eq!(limit.take(now).unwrap_err().bound, Bound::Cps(2));
        assert_eq!(limit.meter.calls(), 2);
    }

    #[test]
    fn nothing_is_allowed_by_a_limit_of_none() {
        let now = Instant::now();
        assert!(limit(Some(0), None).take(now).is_err());
        assert!(limit(None, Some(0)).take(now).is_err());
    }
}
