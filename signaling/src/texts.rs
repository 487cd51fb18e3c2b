//! Writes messages of applications, and how they are, to the store. No message waits for that.

use std::{collections::HashMap, time::Duration};

use store::{Store, StoreError, VoiceMessageRow};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Messages that wait to be written at most; more are not told of.
const MOST: usize = 100_000;
/// How many are written at once.
const BATCH: usize = 500;
/// Until the store is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the last ones may take when the node stops.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where workers leave what they know of a message. Clones lead to one writer.
#[derive(Clone, Debug)]
pub(crate) struct Texts(mpsc::UnboundedSender<VoiceMessageRow>);

/// Writes it.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Store,
    news: mpsc::UnboundedReceiver<VoiceMessageRow>,
    waiting: HashMap<String, VoiceMessageRow>,
    lost: u64,
}

impl Texts {
    pub(crate) fn new(store: Store) -> (Self, Writer) {
        let (sender, news) = mpsc::unbounded_channel();
        let writer = Writer {
            store,
            news,
            waiting: HashMap::new(),
            lost: 0,
        };
        (Self(sender), writer)
    }

    /// A message is so now.
    pub(crate) fn tell(&self, row: VoiceMessageRow) {
        // The writer is gone when the node has stopped.
        drop(self.0.send(row));
    }
}

impl Writer {
    /// Runs until `shutdown`, and until what is known then is written.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let is_behind = !self.waiting.is_empty();
            tokio::select! {
                () = shutdown.cancelled() => {}
                row = self.news.recv() => match row {
                    Some(row) => self.take(row),
                    None => break,
                },
                () = sleep(PAUSE), if is_behind => {}
            }
            self.take_all();
            while !self.waiting.is_empty() && self.write().await {
                self.take_all();
            }
        }
        self.take_all();
        let last = async { while !self.waiting.is_empty() && self.write().await {} };
        if tokio::time::timeout(PATIENCE, last).await.is_err() {
            warn!("the store did not take the last states of messages in time");
        }
    }

    fn take_all(&mut self) {
        while let Ok(row) = self.news.try_recv() {
            self.take(row);
        }
    }

    fn take(&mut self, row: VoiceMessageRow) {
        let is_known = self.waiting.contains_key(&row.sid);
        if self.waiting.len() >= MOST && !is_known {
            self.lost += 1;
            if self.lost.is_power_of_two() {
                let lost = self.lost;
                warn!(
                    lost,
                    "the store is behind: messages are not kept for the REST API"
                );
            }
            return;
        }
        // Those of one message come in order.
        self.waiting.insert(row.sid.clone(), row);
    }

    /// Writes some; `false` where the store has to be tried again.
    async fn write(&mut self) -> bool {
        let rows: Vec<_> = self.waiting.values().take(BATCH).cloned().collect();
        let written = self.store.upsert_voice_messages(&rows).await;
        if rows.len() < 2 || !matches!(written, Err(StoreError::Rejected(_))) {
            return self.settle(&rows, written);
        }
        // One of them is bad, and the others may be of other tenants.
        for row in rows.chunks(1) {
            let written = self.store.upsert_voice_messages(row).await;
            if !self.settle(row, written) {
                return false;
            }
        }
        true
    }

    /// Forgets what is written, or never will be; `false` where the store has to be tried again.
    fn settle(&mut self, rows: &[VoiceMessageRow], written: Result<(), StoreError>) -> bool {
        match written {
            Ok(()) => {}
            Err(error @ StoreError::Rejected(_)) => {
                let sid = rows.first().map(|row| &*row.sid);
                warn!(%error, sid, "the store refuses a state of a message");
            }
            Err(error) => {
                warn!(%error, "states of messages cannot be written yet");
                return false;
            }
        }
        for row in rows {
            self.waiting.remove(&row.sid);
        }
        true
    }
}
