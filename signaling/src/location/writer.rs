//! Between the table and the store: what was registered before the start, and what changes since.

use std::{sync::Arc, time::Duration};

use store::{Bound, Store, StoreError, Timestamp};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Location;
use crate::net::Local;

/// Users in one transaction at most.
const BATCH: usize = 2_000;
/// How long changes gather before they are written: a user who changes again is written once, and a
/// transaction costs as much as a hundred users.
const GATHER: Duration = Duration::from_secs(1);
/// The wait after a failure, the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How long the last changes may take to be written when the node stops.
const LAST: Duration = Duration::from_secs(2);
/// How often rows that are over are deleted.
const PURGE: Duration = Duration::from_secs(600);

/// Reads what this node had registered. Tells how many bindings there are.
///
/// # Errors
/// If the database fails, or holds what this version does not understand.
pub(crate) async fn load(
    location: &Location,
    store: &Store,
    node: &str,
    locals: &[Local],
) -> Result<usize, StoreError> {
    let now = Timestamp::now();
    let mut cursor = None;
    loop {
        let (page, next) = store.bindings(node, now, cursor.as_ref()).await?;
        location.restore(now, &page, locals);
        cursor = next;
        if cursor.is_none() {
            return Ok(location.len());
        }
    }
}

/// Takes out what is over, once a second, until the node stops.
pub(crate) async fn expire(location: Arc<Location>) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        location.expire(Timestamp::now());
    }
}

/// Writes what changes until the node stops, and then what is left.
pub(crate) async fn run(
    location: Arc<Location>,
    store: Store,
    node: String,
    stop: CancellationToken,
) {
    let writer = Writer {
        location,
        store,
        node,
    };
    stop.run_until_cancelled(writer.work()).await;
    if timeout(LAST, writer.flush()).await.is_err() {
        warn!("the last registrations did not reach the database; phones will register again");
    }
}

struct Writer {
    location: Arc<Location>,
    store: Store,
    node: String,
}

impl Writer {
    async fn work(&self) {
        let (mut wait, longest) = BACKOFF;
        let mut purged = Instant::now();
        loop {
            let batch = self.location.take_changed(BATCH);
            let full = batch.len() == BATCH;
            match self.write(batch).await {
                Ok(()) => {
                    if let Some(outage) = self.location.outage.ended() {
                        let seconds = outage.as_secs();
                        info!(seconds, "registrations reach the database again");
                        wait = BACKOFF.0;
                    }
                    if full {
                        continue;
                    }
                    if purged.elapsed() > PURGE {
                        purged = Instant::now();
                        self.purge().await;
                    }
                    // A purge is due now and then without a change too.
                    drop(timeout(PURGE, self.location.changed.notified()).await);
                    sleep(GATHER).await;
                }
                Err(error) => {
                    if self.location.outage.failed() {
                        warn!(%error, "registrations do not reach the database, they wait in memory");
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(longest);
                }
            }
        }
    }

    async fn flush(&self) {
        loop {
            let batch = self.location.take_changed(BATCH);
            if batch.is_empty() {
                return;
            }
            if self.write(batch).await.is_err() {
                sleep(BACKOFF.0).await;
            }
        }
    }

    /// Writes a batch, or puts it back. One row that the database refuses must not hold up others: it
    /// is found by writing them one by one, and left out.
    async fn write(&self, batch: Vec<Bound>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        // Put back also where this future is dropped in the middle of it.
        let mut batch = Unwritten {
            location: &self.location,
            batch,
        };
        match self.store.write_bindings(&self.node, &batch.batch).await {
            Ok(()) => batch.batch.clear(),
            Err(error) if error.is_rejection() => {
                while let Some(one) = batch.batch.last() {
                    match self
                        .store
                        .write_bindings(&self.node, std::slice::from_ref(one))
                        .await
                    {
                        Err(error) if error.is_rejection() => {
                            error!(user = %one.name, domain = %one.domain, %error,
                                "registrations of a user are not kept over a restart");
                        }
                        written => written?,
                    }
                    batch.batch.pop();
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn purge(&self) {
        // What this run still has is over in memory too.
        if let Err(error) = self.store.purge_bindings(Timestamp::now()).await {
            warn!(%error, "cannot delete old registrations from the database");
        }
    }
}

struct Unwritten<'a> {
    location: &'a Location,
    batch: Vec<Bound>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        self.location.put_back(&self.batch);
    }
}
