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
    down: Option<Down>,
    /// Probes in a row that failed, or that succeeded, since the last other one.
    failed: u32,
    succeeded: u32,
    last_error: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Down {
    /// It gave a call no sign of life: until then, or until it gives one.
    Silent(Instant),
    /// Until a probe succeeds.
    Probed,
}

/// That a host went down or came back: told once, to be logged once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// What it takes to believe the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    /// Failures in a row until a host is down.
    pub(crate) down: u32,
    /// Successes in a row until it is up again.
    pub(crate) up: u32,
}

impl Health {
    /// Whether it is to be tried last.
    pub(crate) fn is_down(&self, now: Instant) -> bool {
        self.known().down.is_some_and(|down| match down {
            Down::Silent(until) => until > now,
            Down::Probed => true,
        })
    }

    /// A call got no sign of life from it. `probed` where probes will tell when it is back.
    pub(crate) fn on_silence(&self, now: Instant, probed: bool) -> Option<Change> {
        let mut known = self.known();
        known.last_error = Some("no answer to a call in time".to_owned());
        known.succeeded = 0;
        let was = known.down;
        match was {
            Some(Down::Probed) => {}
            _ if probed => known.down = Some(Down::Probed),
            _ => known.down = Some(Down::Silent(now + PENALTY)),
        }
        was.is_none().then_some(Change::Down)
    }

    /// It answered a call. What probes say of it stands: an answer such as 503 is one too.
    pub(crate) fn on_answer(&self) -> Option<Change> {
        let mut known = self.known();
        let silent = matches!(known.down, Some(Down::Silent(_)));
        if silent {
            known.down = None;
        }
        silent.then_some(Change::Up)
    }

    /// A probe ended: well, or with the error.
    pub(crate) fn on_probe(
        &self,
        outcome: Result<(), String>,
        thresholds: Thresholds,
    ) -> Option<Change> {
        let mut known = self.known();
        match outcome {
            Ok(()) => {
                known.failed = 0;
                known.succeeded = known.succeeded.saturating_add(1);
                let back = known.succeeded >= thresholds.up;
                (back && known.down.take().is_some()).then_some(Change::Up)
            }
            Err(error) => {
                known.last_error = Some(error);
                known.succeeded = 0;
                known.failed = known.failed.saturating_add(1);
                if known.failed < thresholds.down {
                    return None;
                }
                let was = known.down.replace(Down::Probed);
                was.is_none().then_some(Change::Down)
            }
        }
    }

    /// Nothing probes it any more: what only a probe could end is over.
    pub(crate) fn forget_probes(&self) {
        let mut known = self.known();
        (known.failed, known.succeeded) = (0, 0);
        if matches!(known.down, Some(Down::Probed)) {
            known.down = None;
        }
    }

    /// What went wrong last.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.known().last_error.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWICE: Thresholds = Thresholds { down: 2, up: 2 };

    #[test]
    fn silence_counts_for_a_while_and_ends_with_an_answer() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(!health.is_down(now));
        assert_eq!(health.on_silence(now, false), Some(Change::Down));
        assert_eq!(health.on_silence(now, false), None);
        assert!(health.is_down(now));
        assert!(!health.is_down(now + PENALTY));
        assert_eq!(health.on_answer(), Some(Change::Up));
        assert_eq!(health.on_answer(), None);
        assert!(!health.is_down(now));
    }

    #[test]
    fn probes_count_from_their_thresholds_on() {
        let (health, now) = (Health::default(), Instant::now());
        let fail = || Err("408".to_owned());
        assert_eq!(health.on_probe(fail(), TWICE), None);
        assert_eq!(health.on_probe(Ok(()), TWICE), None);
        assert_eq!(health.on_probe(fail(), TWICE), None);
        assert!(!health.is_down(now));
        assert_eq!(health.on_probe(fail(), TWICE), Some(Change::Down));
        assert!(health.is_down(now + 10 * PENALTY));
        // That it rejects calls in time does not make it well.
        assert_eq!(health.on_answer(), None);
        assert_eq!(health.on_probe(Ok(()), TWICE), None);
        assert!(health.is_down(now));
        assert_eq!(health.on_probe(Ok(()), TWICE), Some(Change::Up));
        assert!(!health.is_down(now));
        assert_eq!(health.last_error().as_deref(), Some("408"));
    }

    #[test]
    fn silence_towards_a_call_waits_for_a_probe_where_there_are_probes() {
        let (health, now) = (Health::default(), Instant::now());
        assert_eq!(health.on_silence(now, true), Some(Change::Down));
        assert!(health.is_down(now + 10 * PENALTY));
        assert_eq!(
            health.on_probe(Ok(()), Thresholds { down: 1, up: 1 }),
            Some(Change::Up)
        );
        assert_eq!(health.on_silence(now, true), Some(Change::Down));
        health.forget_probes();
        assert!(!health.is_down(now));
    }
}
