//! How much of something may be used at once and in a second.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What bounds a call: a bound on what it shares with others, and their common count. Clones share
/// the count.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Whose it is, for people: `number +15550100`, `trunk carrier-a`.
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
pub(crate) struct Hold(Arc<Meter>);

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
        let hold = Hold(self.meter.clone());
        if self.calls.is_none() {
            self.meter.calls.fetch_add(1, Relaxed);
        }
        match self.cps {
            // The hold that is dropped here gives the place back.
            Some(cps) if !self.meter.may_begin(now, cps) => Err(exceeded(Bound::Cps(cps))),
            _ => Ok(hold),
        }
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

    /// Whether one more may begin now. A second's worth may begin at once, and none is saved for
    /// later.
    fn may_begin(&self, now: Instant, cps: u32) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(cps) else {
            return false;
        };
        // Nothing panics while it holds the lock.
        let mut empty_at = self.empty_at.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = empty_at.map_or(now, |at| at.max(now)) + each;
        let room = filled.saturating_duration_since(now) <= Duration::from_secs(1);
        if room {
            *empty_at = Some(filled);
        }
        room
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Relaxed);
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
    fn nothing_is_allowed_by_a_limit_of_none() {
        let now = Instant::now();
        assert!(limit(Some(0), None).take(now).is_err());
        assert!(limit(None, Some(0)).take(now).is_err());
    }
}
