//! The threads and tasks that the node is no use without.
//!
//! None of them ends before the node does, but by a panic: then a socket is read no more, or no timer runs
//! out any more, while all else seems well, and what the panic left half done is with its worker for good.
//! So the node ends too, with BYE to its calls and with their records, and whoever watches over it starts
//! another one.

use std::{io, thread};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

/// Starts them, and knows when one is lost. Clones share all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals {
    pub(crate) tracker: TaskTracker,
    /// Ends the node.
    pub(crate) stop: CancellationToken,
    lost: CancellationToken,
}

impl Vitals {
    /// Runs a task until the node stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.spawn_to_end(async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }

    /// Runs a task that looks at `stop` by itself, and has something to do then.
    pub(crate) fn spawn_to_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        let pulse = self.pulse();
        self.tracker.spawn(async move {
            task.await;
            drop(pulse);
        });
    }

    /// Runs a thread, which looks at `stop` by itself. To be called inside a runtime, which the thread's work
    /// may spawn into.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn thread(
        &self,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let (pulse, token, runtime) = (self.pulse(), self.tracker.token(), Handle::current());
        let work = move || {
            let _inside = runtime.enter();
            work();
            drop((pulse, token));
        };
        thread::Builder::new().name(name).spawn(work).map(drop)
    }

    /// Waits until one of them is lost.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    fn pulse(&self) -> Pulse {
        Pulse(self.lost.clone())
    }
}

/// Is dropped with the thread or task that holds it.
struct Pulse(CancellationToken);

impl Drop for Pulse {
    fn drop(&mut self) {
        if thread::panicking() && !self.0.is_cancelled() {
            error!("a part of signaling has panicked, which is a defect of it: the node ends");
            self.0.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_task_or_a_thread_that_panics_is_told_and_one_that_ends_is_not() {
        let vitals = Vitals::default();
        vitals.spawn(async {});
        vitals.thread("ends".into(), || ()).unwrap();
        vitals.spawn(std::future::pending());
        vitals.stop.cancel();
        vitals.tracker.close();
        timeout(PATIENCE, vitals.tracker.wait()).await.unwrap();
        assert!(!vitals.lost.is_cancelled());

        let vitals = Vitals::default();
        vitals.spawn(async {
            tokio::task::yield_now().await;
            panic!("as the test wants");
        });
        timeout(PATIENCE, vitals.lost()).await.unwrap();

        let vitals = Vitals::default();
        vitals
            .thread("panics".into(), || panic!("as the test wants"))
            .unwrap();
        timeout(PATIENCE, vitals.lost()).await.unwrap();
        vitals.tracker.close();
        timeout(PATIENCE, vitals.tracker.wait()).await.unwrap();
    }
}
