//! What the REST API tells of programmable calls and messages: their rows in the store, and those of streams and
//! recordings. No call and no message waits for that.
//!
//! Before anything is written a node ends what it has left behind: no row is under way whose node has died.

use std::{collections::HashMap, time::Duration};

use store::{
    Recording, Store, StoreError, Timestamp, Uuid, VoiceCallRow, VoiceLeft, VoiceMessageRow,
    VoiceRecordingRow, VoiceStreamRow,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Rows that wait to be written at most; more are not told of.
const MOST: usize = 100_000;
/// How many are written at once.
const BATCH: usize = 500;
/// Until the store is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is noted that the node lives, beside what it tells.
const LIVES: Duration = Duration::from_secs(10);
/// How long the last ones may take when the node stops.
const PATIENCE: Duration = Duration::from_secs(3);

/// How something is now.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Call(VoiceCallRow),
    Stream(VoiceStreamRow),
    Recording {
        row: VoiceRecordingRow,
        /// Once it is whole.
        file: Option<Box<Recording>>,
    },
    /// A file that is whole though its recording was given up.
    File(Box<Recording>),
    Message(VoiceMessageRow),
}

/// Where workers leave what they know of a call or a message. Clones lead to one writer.
#[derive(Clone, Debug)]
pub(crate) struct Rows(mpsc::UnboundedSender<Row>);

/// Writes it. Of what has changed meanwhile its latest state is written alone.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Store,
    /// Whose rows they are: an id that the node keeps.
    node: String,
    /// What people call it.
    name: String,
    news: mpsc::UnboundedReceiver<Row>,
    waiting: HashMap<String, Row>,
    lost: u64,
    /// When it was last noted that the node lives.
    noted: Option<Instant>,
}

impl Row {
    fn sid(&self) -> &str {
        match self {
            Self::Call(row) => &row.sid,
            Self::Stream(row) => &row.sid,
            Self::Recording { row, .. } => &row.sid,
            Self::File(file) => &file.file,
            Self::Message(row) => &row.sid,
        }
    }

    fn sequence(&self) -> u64 {
        match self {
            Self::Call(row) => row.sequence,
            Self::Stream(row) => row.sequence,
            Self::Recording { row, .. } => row.sequence,
            Self::File(_) => 0,
            Self::Message(row) => row.sequence,
        }
    }
}

impl Rows {
    /// `node` is the id that this one keeps, and `name` what people call it.
    pub(crate) fn new(store: Store, node: Uuid, name: String) -> (Self, Writer) {
        let (sender, news) = mpsc::unbounded_channel();
        let writer = Writer {
            store,
            node: node.to_string(),
            name,
            news,
            waiting: HashMap::new(),
            lost: 0,
            noted: None,
        };
        (Self(sender), writer)
    }

    /// Something is so now.
    pub(crate) fn tell(&self, row: Row) {
        // The writer is gone when the node has stopped.
        drop(self.0.send(row));
    }
}

impl Writer {
    /// Runs until `shutdown`, and until what is known then is written.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        // What comes later is this node's own, and up.
        while !self.end_left().await && !shutdown.is_cancelled() {
            pause(&shutdown).await;
            self.take_all();
        }
        while !shutdown.is_cancelled() {
            self.note_life().await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = sleep(LIVES) => {}
                row = self.news.recv() => match row {
                    Some(row) => self.take(row),
                    None => break,
                },
            }
            self.take_all();
            while !self.waiting.is_empty() && !shutdown.is_cancelled() {
                if !self.write().await {
                    pause(&shutdown).await;
                }
                self.note_life().await;
                self.take_all();
            }
        }
        self.take_all();
        let last = async { while !self.waiting.is_empty() && self.write().await {} };
        if tokio::time::timeout(PATIENCE, last).await.is_err() {
            warn!("the store did not take the last states of programmable calls in time");
        }
    }

    /// Notes from time to time that the node lives, however much there is to be written.
    async fn note_life(&mut self) {
        if self.noted.is_some_and(|at| at.elapsed() < LIVES) {
            return;
        }
        self.noted = Some(Instant::now());
        let (node, name) = (&self.node, &self.name);
        let noted = self.store.note_voice_node(node, name, Timestamp::now());
        if let Err(error) = noted.await {
            warn!(%error, "it cannot be noted that the node lives");
        }
    }

    /// Ends what the node had under way when it was killed; `false` where the store has to be tried again.
    async fn end_left(&self) -> bool {
        match self
            .store
            .end_left_voice(&self.node, Timestamp::now())
            .await
        {
            Ok(VoiceLeft {
                calls: 0,
                streams: 0,
                recordings: 0,
                messages: 0,
            }) => {}
            Ok(VoiceLeft {
                calls,
                streams,
                recordings,
                messages,
            }) => info!(
                node = self.name,
                id = self.node,
                calls,
                streams,
                recordings,
                messages,
                "ended what was under way of applications when its node was killed"
            ),
            Err(error) => {
                // What it refuses now it refuses later too, and what is to be written does not wait for that.
                let is_over = matches!(error, StoreError::Rejected(_) | StoreError::Corrupt { .. });
                warn!(
                    %error,
                    again = !is_over,
                    "what the node had under way before cannot be ended"
                );
                return is_over;
            }
        }
        true
    }

    fn take_all(&mut self) {
        while let Ok(row) = self.news.try_recv() {
            self.take(row);
        }
    }

    fn take(&mut self, row: Row) {
        let has_room = self.waiting.len() < MOST;
        match self.waiting.get_mut(row.sid()) {
            Some(before) if before.sequence() < row.sequence() => *before = row,
            Some(_) => {}
            None if has_room => {
                self.waiting.insert(row.sid().to_owned(), row);
            }
            None => {
                self.lost += 1;
                if self.lost.is_power_of_two() {
                    warn!(
                        lost = self.lost,
                        "the store is behind: states of programmable calls and messages are not kept for the REST API"
                    );
                }
            }
        }
    }

    /// Writes some; `false` where the store has to be tried again.
    async fn write(&mut self) -> bool {
        let rows: Vec<_> = self.waiting.values().take(BATCH).cloned().collect();
        let written = self.upsert(&rows).await;
        if rows.len() < 2 || !matches!(written, Err(StoreError::Rejected(_))) {
            return self.settle(&rows, written);
        }
        // One of them is bad, and the others may be of other tenants.
        for row in rows.chunks(1) {
            let written = self.upsert(row).await;
            if !self.settle(row, written) {
                return false;
            }
        }
        true
    }

    /// Forgets what is written, or never will be; `false` where the store has to be tried again.
    fn settle(&mut self, rows: &[Row], written: Result<(), StoreError>) -> bool {
        match written {
            Ok(()) => {}
            Err(error @ StoreError::Rejected(_)) => {
                let sid = rows.first().map(Row::sid);
                warn!(%error, sid, "the store refuses a state of a programmable call or message");
            }
            Err(error) => {
                warn!(%error, "states of programmable calls and messages cannot be written yet");
                return false;
            }
        }
        for row in rows {
            // What has changed since waits on.
            if self
                .waiting
                .get(row.sid())
                .is_some_and(|now| now.sequence() == row.sequence())
            {
                self.waiting.remove(row.sid());
            }
        }
        true
    }

    async fn upsert(&self, rows: &[Row]) -> Result<(), StoreError> {
        let (mut calls, mut streams, mut recordings) = (Vec::new(), Vec::new(), Vec::new());
        let mut messages = Vec::new();
        for row in rows {
            match row {
                Row::Call(row) => calls.push(row.clone()),
                Row::Stream(row) => streams.push(row.clone()),
                Row::Recording { row, file } => {
                    // Before it is said that it can be fetched.
                    if let Some(file) = file {
                        self.store.insert_recording(file).await?;
                    }
                    recordings.push(row.clone());
                }
                Row::File(file) => self.store.insert_recording(file).await?,
                Row::Message(row) => messages.push(row.clone()),
            }
        }
        let (store, node) = (&self.store, Some(&*self.node));
        store.upsert_voice_calls(node, &calls).await?;
        store.upsert_voice_streams(node, &streams).await?;
        store.upsert_voice_recordings(node, &recordings).await?;
        store.upsert_voice_messages(node, &messages).await
    }
}

async fn pause(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(PAUSE) => {}
    }
}
