//! Writes CDRs in the background, so that no call ever waits for the database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tracing::{error, info, warn};

use super::{CallRecord, spill::Spill};
use crate::{Outage, Store, StoreError};

/// How a [`CdrWriter`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Records that may wait while the database is away; more are dropped. One waits in about 1 KB.
    pub backlog: usize,
    /// Records that may wait with how their calls sounded, which is up to 5 KB more; of others that is dropped.
    pub detailed: u64,
    /// Records in one transaction at most.
    pub batch: usize,
    /// How long the first record of a transaction waits for others. A transaction costs SQLite an
    /// `fsync` and the last page of each index by time: one for each record would take as long as the
    /// call itself. Nobody waits for it, for the end of the writer does not.
    pub linger: Duration,
    /// The wait after the first failure, and the longest; it doubles in between.
    pub backoff: (Duration, Duration),
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            backlog: 65_536,
            detailed: 8_192,
            batch: 1024,
            linger: Duration::from_secs(1),
            backoff: (Duration::from_millis(100), Duration::from_secs(5)),
        }
    }
}

/// The kind of the entry that is left out first.
const QUALITY: &str = "quality";

/// Takes CDRs to be written. Clones feed the same queue.
#[derive(Clone, Debug)]
pub struct CdrWriter {
    queue: mpsc::Sender<CallRecord>,
    /// As in [`WriterOptions::detailed`].
    detailed: u64,
    shared: Arc<Shared>,
}

/// The task behind a [`CdrWriter`].
#[derive(Debug)]
pub struct WriterTask {
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<u64>,
}

/// What a writer has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterCounts {
    /// Records that wait, those in the transaction under way included.
    pub queued: u64,
    /// Records in the database.
    pub written: u64,
    /// Records that are lost: the queue was full, or the database refused them.
    pub dropped: u64,
    /// Transactions that failed and were, or will be, repeated.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Shared {
    submitted: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    outage: Outage,
}

impl CdrWriter {
    /// Starts a writer to `store`, which begins with what an earlier one left in the data directory.
    /// Must be called inside a tokio runtime, and once for a data directory.
    pub fn start(store: Store, options: WriterOptions) -> (Self, WriterTask) {
        let spill = Spill::at(&store.data_dir);
        Self::start_to(store, spill, options)
    }

    fn start_to(sink: impl Sink, spill: Spill, options: WriterOptions) -> (Self, WriterTask) {
        let (queue, incoming) = mpsc::channel(options.backlog.max(1));
        let (stop, stopped) = watch::channel(None);
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            sink,
            spill,
            options,
            incoming,
            stopped,
            shared: shared.clone(),
        };
        let detailed = worker.options.detailed;
        let task = tokio::spawn(worker.run());
        let writer = Self {
            queue,
            detailed,
            shared,
        };
        (writer, WriterTask { stop, task })
    }

    /// Hands over a record, with what happened to the call; never waits. Where the queue is full the record is counted
    /// as dropped, and logged as a whole so that it can be entered by hand.
    pub fn submit(&self, record: impl Into<CallRecord>) {
        let mut record = record.into();
        if self.counts().queued >= self.detailed {
            record.events.retain(|event| event.kind != QUALITY);
        }
        self.shared.submitted.fetch_add(1, Relaxed);
        let Err(refused) = self.queue.try_send(record) else {
            return;
        };
        let (record, reason) = match refused {
            mpsc::error::TrySendError::Full(record) => (record, "too many wait for the database"),
            mpsc::error::TrySendError::Closed(record) => (record, "the writer has stopped"),
        };
        self.shared.drop_record(&record, reason);
    }

    /// What was done so far.
    pub fn counts(&self) -> WriterCounts {
        // Those that left the queue are read first: a record that leaves meanwhile still counts as
        // queued, and the difference cannot go below zero.
        let written = self.shared.written.load(Relaxed);
        let dropped = self.shared.dropped.load(Relaxed);
        let submitted = self.shared.submitted.load(Relaxed);
        WriterCounts {
            queued: submitted.saturating_sub(written + dropped),
            written,
            dropped,
            failures: self.shared.failures.load(Relaxed),
        }
    }

    /// For how long records have not reached the database, as [`Outage::lasts`] has it.
    pub fn outage(&self) -> Option<Duration> {
        self.shared.outage.lasts()
    }
}

impl WriterTask {
    /// Takes no more records, and writes those that wait, for `patience` at most. What the database
    /// has not taken by then is kept in a file in the data directory, for the next start. Tells how
    /// many could not be kept either; each is in the log.
    pub async fn stop(self, patience: Duration) -> u64 {
        self.stop.send_replace(Some(Instant::now() + patience));
        self.task.await.unwrap_or_else(|error| {
            error!(%error, "the CDR writer failed");
            0
        })
    }
}

impl Shared {
    fn drop_record(&self, record: &CallRecord, reason: &str) {
        self.dropped.fetch_add(1, Relaxed);
        let (cdr, events) = (&record.cdr, record.events.len());
        let recordings = &record.recordings;
        error!(id = %cdr.id, reason, record = ?cdr, events, ?recordings, "CDR lost");
    }
}

/// Where a writer writes to.
trait Sink: Send + Sync + 'static {
    fn insert(&self, records: &[CallRecord])
    -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Sink for Store {
    fn insert(
        &self,
        records: &[CallRecord],
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.insert_cdrs(records)
    }
}

struct Worker<S> {
    sink: S,
    spill: Spill,
    options: WriterOptions,
    incoming: mpsc::Receiver<CallRecord>,
    stopped: watch::Receiver<Option<Instant>>,
    shared: Arc<Shared>,
}

impl<S: Sink> Worker<S> {
    /// Returns how many records the end lost.
    async fn run(mut self) -> u64 {
        let mut batch = self.spill.load();
        let kept = batch.len() as u64;
        self.shared.submitted.fetch_add(kept, Relaxed);
        let stopped = self.stopped.clone();
        tokio::select! {
            () = self.work(&mut batch) => return 0,
            () = expired(stopped) => {}
        }
        // A transaction that was cut off may have reached the database all the same; writing one of
        // its records again does no harm.
        self.incoming.close();
        while let Ok(cdr) = self.incoming.try_recv() {
            batch.push(cdr);
        }
        let Err(error) = self.spill.save(&batch) else {
            return 0;
        };
        let reason = format!("the database was away until the end, and the file fails: {error}");
        for cdr in &batch {
            self.shared.drop_record(cdr, &reason);
        }
        batch.len() as u64
    }

    /// Writes whatever comes, until the queue is closed and empty.
    async fn work(&mut self, batch: &mut Vec<CallRecord>) {
        if !batch.is_empty() {
            self.write(batch).await;
            self.spill.clear();
        }
        loop {
            tokio::select! {
                // All that wait are taken at once: the slower the database, the larger the batch.
                taken = self.incoming.recv_many(batch, self.options.batch) => {
                    if taken == 0 {
                        return;
                    }
                    self.linger(batch).await;
                    self.write(batch).await;
                }
                _ = stop(&mut self.stopped), if !self.incoming.is_closed() => self.incoming.close(),
            }
        }
    }

    /// Waits for records to join those in `batch`, unless there are enough or the end has come.
    async fn linger(&mut self, batch: &mut Vec<CallRecord>) {
        if batch.len() >= self.options.batch || self.incoming.is_closed() {
            return;
        }
        tokio::select! {
            () = sleep(self.options.linger) => {}
            _ = stop(&mut self.stopped) => self.incoming.close(),
        }
        while batch.len() < self.options.batch
            && let Ok(cdr) = self.incoming.try_recv()
        {
            batch.push(cdr);
        }
    }

    /// Writes `batch` in transactions of the usual size, however long it takes, and empties it.
    async fn write(&self, batch: &mut Vec<CallRecord>) {
        let (mut wait, longest) = self.options.backoff;
        let mut size = self.options.batch.max(1);
        while !batch.is_empty() {
            size = size.min(batch.len());
            match self.sink.insert(&batch[..size]).await {
                Ok(()) => {
                    batch.drain(..size);
                    self.shared.written.fetch_add(size as u64, Relaxed);
                    self.reached();
                }
                // One bad record must not hold up the others: find it by writing them one by one.
                Err(error) if error.is_rejection() && size > 1 => size = 1,
                Err(error) if error.is_rejection() => {
                    self.reached();
                    for cdr in batch.drain(..size) {
                        self.shared.drop_record(&cdr, &error.to_string());
                    }
                }
                Err(error) => {
                    self.shared.failures.fetch_add(1, Relaxed);
                    if self.shared.outage.failed() {
                        warn!(%error, "CDRs do not reach the database, they wait in memory");
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(longest);
                }
            }
        }
    }

    /// The database has decided on a record, for or against it.
    fn reached(&self) {
        if let Some(outage) = self.shared.outage.ended() {
            let seconds = outage.as_secs();
            info!(seconds, "CDRs reach the database again");
        }
    }
}

/// Waits until the writer is told to stop, and tells by when.
async fn stop(stopped: &mut watch::Receiver<Option<Instant>>) -> Instant {
    loop {
        if let Some(deadline) = *stopped.borrow_and_update() {
            return deadline;
        }
        if stopped.changed().await.is_err() {
            // The task's handle is gone; the writer then ends with the last one who may submit.
            return std::future::pending().await;
        }
    }
}

/// Waits until the writer is told to stop and the time for it is over.
async fn expired(mut stopped: watch::Receiver<Option<Instant>>) {
    sleep_until(stop(&mut stopped).await).await;
}

#[cfg(test)]
pub(super) mod tests;
