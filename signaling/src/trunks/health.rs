//! Whether a host of a trunk answers, as all workers see it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a host that gave a call no sign of life is tried last, where nothing probes it.
pub(crate) const PENALTY: Duration = Duration::from_secs(30);

/// What is known of one host. It outlives the directories that name the host.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Until when it is tried last, since it gave a call no sign of life.
    silent: Option<Instant>,
}

/// That a host went down or came back: told once, to be logged once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Health {
    /// Whether it is to be tried last.
    pub(crate) fn is_down(&self, now: Instant) -> bool {
        self.known().silent.is_some_and(|until| until > now)
    }

    /// A call got no sign of life from it.
    pub(crate) fn on_silence(&self, now: Instant) -> Option<Change> {
        let was = self.known().silent.replace(now + PENALTY);
        was.is_none().then_some(Change::Down)
    }

    /// It answered a call.
    pub(crate) fn on_answer(&self) -> Option<Change> {
        self.known().silent.take().map(|_| Change::Up)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_for_a_while_and_ends_with_an_answer() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(!health.is_down(now));
        assert_eq!(health.on_silence(now), Some(Change::Down));
        assert_eq!(health.on_silence(now), None);
        assert!(health.is_down(now));
        assert!(!health.is_down(now + PENALTY));
        assert_eq!(health.on_answer(), Some(Change::Up));
        assert_eq!(health.on_answer(), None);
        assert!(!health.is_down(now));
    }
}
