//! How fast accounts may begin calls by the REST API: each so many a second, the others wait in order.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::IntGauge;

/// Calls of an account that wait at most.
pub(super) const MOST: u32 = 10_000;
/// Accounts that are remembered before those are forgotten that have nobody waiting.
const MANY: usize = 1_024;

/// When the next call of each account may begin. All workers share it.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<HashMap<String, Instant>>);

/// A call that waits for its turn, and is counted among those that do for as long as this is there.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) at: Instant,
    waiting: IntGauge,
}

impl Turn {
    pub(super) fn new(at: Instant, waiting: &IntGauge) -> Self {
        waiting.inc();
        Self {
            at,
            waiting: waiting.clone(),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

impl Pace {
    /// How long a call has to wait for those before it. `None` where too many wait.
    pub(super) fn admit(&self, now: Instant, account: &str, a_second: u32) -> Option<Duration> {
        let step = Duration::from_secs(1) / a_second.max(1);
        let mut all = self.0.lock();
        if all.len() >= MANY {
            all.retain(|_, next| *next > now);
        }
        let begins = all.get(account).copied().unwrap_or(now).max(now);
        let wait = begins - now;
        if wait > step * (MOST - 1) {
            return None;
        }
        all.insert(account.to_owned(), begins + step);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_an_account_begin_one_after_another() {
        let (pace, now) = (Pace::default(), Instant::now());
        let ms = Duration::from_millis;
        let waits = [(); 3].map(|()| pace.admit(now, "a", 10));
        assert_eq!(waits, [Some(ms(0)), Some(ms(100)), Some(ms(200))]);
        // Another account has a rate of its own.
        assert_eq!(pace.admit(now, "b", 1), Some(ms(0)));
        assert_eq!(pace.admit(now + ms(250), "a", 10), Some(ms(50)));
        assert_eq!(pace.admit(now + ms(1_000), "a", 10), Some(ms(0)));
        // One that was made faster is so for those who come then.
        assert_eq!(pace.admit(now, "b", 100), Some(ms(1_000)));
        assert_eq!(pace.admit(now, "b", 100), Some(ms(1_010)));
    }

    #[test]
    fn a_queue_has_an_end_and_is_forgotten_when_it_is_empty() {
        let (pace, now) = (Pace::default(), Instant::now());
        for _ in 0..MOST {
            assert!(pace.admit(now, "a", 1).is_some());
        }
        assert_eq!(pace.admit(now, "a", 1), None);
        assert!(pace.admit(now + Duration::from_secs(1), "a", 1).is_some());
        for number in 0..MANY * 2 {
            let later = now + Duration::from_secs(2 * 3600 * 24);
            pace.admit(
                later + Duration::from_secs(number as u64),
                &number.to_string(),
                1,
            );
        }
        assert!(pace.0.lock().len() <= MANY);
    }
}
