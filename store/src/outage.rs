//! Since when what waits to be written does not reach the database.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A write that fails and reaches the database when it is repeated is nothing to tell of.
const SHORT: Duration = Duration::from_secs(2);

/// What a writer in the background knows of its database, for those who ask how the node is: a database
/// that cannot be written to, for its disk is full or it is in recovery, answers all the same.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// A write failed, and will be repeated. Tells whether the one before had not.
    pub fn failed(&self) -> bool {
        let mut since = self.since();
        let first = since.is_none();
        since.get_or_insert_with(Instant::now);
        first
    }

    /// The database took a write. Tells for how long it had not, if the one before failed.
    pub fn ended(&self) -> Option<Duration> {
        self.since().take().map(|since| since.elapsed())
    }

    /// For how long writes have failed; `None` while they do not, or began to less than 2 s ago.
    pub fn lasts(&self) -> Option<Duration> {
        let lasts = self.since().map(|since| since.elapsed());
        lasts.filter(|lasts| *lasts >= SHORT)
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_no_outage() {
        let outage = Outage::default();
        assert_eq!((outage.lasts(), outage.ended()), (None, None));
        assert!(outage.failed());
        advance(Duration::from_secs(1)).await;
        assert!(!outage.failed());
        assert_eq!(outage.lasts(), None);
        assert_eq!(outage.ended(), Some(Duration::from_secs(1)));

        assert!(outage.failed());
        advance(SHORT).await;
        assert!(!outage.failed());
        assert_eq!(outage.lasts(), Some(SHORT));
        assert_eq!(outage.ended(), Some(SHORT));
        assert_eq!((outage.lasts(), outage.ended()), (None, None));
    }
}
