//! The thread that calls the workers when time has come for something.
//!
//! Time goes by steps. A transaction has several timers, most of them to forget it, and a wake for each
//! would cost as much as its messages: what is due within one step is done together. The thread comes at
//! the step's end, so that who comes with a message before it has done most of that on the way.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::vitals::Vitals;

/// How late a timer may be: 20 ms.
const STEP_NANOS: u64 = 20_000_000;
/// No step.
pub(crate) const NEVER: u64 = u64::MAX;

/// Who is called.
pub(crate) trait Timed: Send + Sync + 'static {
    /// The clock that it goes by.
    fn clock(&self) -> &Clock;
    /// The first step at which something is due, or [`NEVER`].
    fn next(&self) -> u64;
    /// Does what is due at `step` or before.
    fn fire(&self, step: u64);
}

/// What the thread and those who set timers share.
#[derive(Debug)]
pub(crate) struct Clock {
    begin: Instant,
    /// The step that the thread sleeps until; [`NEVER`] also while it looks for one, so that whoever
    /// has one then lets it look again.
    armed: AtomicU64,
    thread: OnceLock<Thread>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            armed: AtomicU64::new(NEVER),
            thread: OnceLock::new(),
        }
    }

    /// The first step at or after `at`.
    pub(crate) fn step_after(&self, at: Instant) -> u64 {
        self.nanos(at).div_ceil(STEP_NANOS)
    }

    /// Has the thread look again, where it would sleep past `step`. That `step` is what
    /// [`Timed::next`] tells has to be so before.
    pub(crate) fn wake_before(&self, step: u64) {
        if step < self.armed.load(SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn step(&self, now: Instant) -> u64 {
        self.nanos(now) / STEP_NANOS
    }

    fn time_to(&self, step: u64, now: Instant) -> Duration {
        let nanos = step.saturating_mul(STEP_NANOS);
        Duration::from_nanos(nanos.saturating_sub(self.nanos(now)))
    }

    /// Nanoseconds since the begin: 584 years fit.
    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.begin).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// Starts the thread, which runs until the node stops and may spawn into the present runtime.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start<T: Timed>(timed: Arc<T>, vitals: &Vitals) -> io::Result<()> {
    let (waker, stopped) = (timed.clone(), vitals.stop.clone());
    let stop = stopped.clone();
    vitals.thread("sip-clock".into(), move || run(&*timed, &stop))?;
    vitals.tracker.spawn(async move {
        stopped.cancelled().await;
        waker.clock().wake();
    });
    Ok(())
}

fn run<T: Timed>(timed: &T, stop: &CancellationToken) {
    let clock = timed.clock();
    // It is set once: there is one thread.
    let _set = clock.thread.set(thread::current());
    while !stop.is_cancelled() {
        clock.armed.store(NEVER, SeqCst);
        let next = timed.next();
        clock.armed.store(next, SeqCst);
        let now = Instant::now();
        let step = clock.step(now);
        if next <= step {
            timed.fire(step);
        } else if next == NEVER {
            thread::park();
        } else {
            thread::park_timeout(clock.time_to(next, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    struct Bed {
        clock: Clock,
        due: AtomicU64,
        fired: Mutex<mpsc::Sender<u64>>,
    }

    impl Timed for Bed {
        fn clock(&self) -> &Clock {
            &self.clock
        }

        fn next(&self) -> u64 {
            self.due.load(SeqCst)
        }

        fn fire(&self, step: u64) {
            let due = self.due.swap(NEVER, SeqCst);
            assert!(due <= step);
            self.fired.lock().unwrap().send(due).unwrap();
        }
    }

    impl Bed {
        fn set(&self, step: u64) {
            self.due.store(step, SeqCst);
            self.clock.wake_before(step);
        }
    }

    #[test]
    fn a_step_begins_at_its_time_and_not_before() {
        let clock = Clock::new();
        let at = |millis| clock.begin + Duration::from_millis(millis);
        assert_eq!(
            [0, 1, 20, 21].map(|ms| clock.step_after(at(ms))),
            [0, 1, 1, 2]
        );
        assert_eq!([19, 20, 39, 40].map(|ms| clock.step(at(ms))), [0, 1, 1, 2]);
        assert_eq!(clock.time_to(3, at(21)), Duration::from_millis(39));
        assert_eq!(clock.time_to(1, at(21)), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_is_due_is_done_also_where_it_comes_before_what_was_waited_for() {
        let (fired, done) = mpsc::channel();
        let bed = Arc::new(Bed {
            clock: Clock::new(),
            due: AtomicU64::new(NEVER),
            fired: Mutex::new(fired),
        });
        let vitals = Vitals::default();
        start(bed.clone(), &vitals).unwrap();
        let patience = Duration::from_secs(10);
        for _ in 0..20 {
            let soon = bed.clock.step(Instant::now()) + 2;
            // Hours from now, and then a step that comes first.
            bed.set(soon + 1_000_000);
            thread::sleep(Duration::from_millis(1));
            bed.set(soon);
            assert_eq!(done.recv_timeout(patience).unwrap(), soon);
        }
        vitals.stop.cancel();
        vitals.tracker.close();
        tokio::time::timeout(patience, vitals.tracker.wait())
            .await
            .unwrap();
    }
}
