//! What a node has left behind: it was killed, or lost power, and nobody ended what it had under way.

use super::recording::Row as RecordingRow;
use crate::{
    Store, StoreError, Timestamp, VoiceRecordingRow,
    engine::{on_engine, within},
};

/// How long a row waits for its node, in milliseconds: the API writes one before the node does, and no call may be
/// longer.
const UNCLAIMED: i64 = 86_400_000;
/// Why a message was not sent: Twilio's "Unknown error".
const UNKNOWN: i32 = 30_008;
/// Octets of a file before its samples.
const HEADER: u64 = 44;
/// Octets of a channel in a millisecond: 16 bits at 8 kHz.
const PER_MS: u64 = 16;

/// How much a node has left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoiceLeft {
    /// Calls, and legs that they dialled.
    pub calls: u64,
    /// Streams.
    pub streams: u64,
    /// Recordings.
    pub recordings: u64,
    /// Messages.
    pub messages: u64,
}

/// What is under way and of no node that lives: `$1` is the name of the node that starts, `$2` the time before which
/// what is no node's was made.
macro_rules! left {
    ($update:literal, $under_way:literal) => {
        concat!(
            $update,
            " WHERE ",
            $under_way,
            " AND (node = $1 OR (node IS NULL AND created_ms < $2))"
        )
    };
}

/// When each node last told something: until then it has lived, and its calls with it.
const LIVED: &str = "SELECT MAX(updated_ms) FROM (\
     SELECT updated_ms FROM voice_calls WHERE ended_ms IS NULL AND node = $1 \
     UNION ALL SELECT updated_ms FROM voice_streams WHERE status = 'in-progress' AND node = $1 \
     UNION ALL SELECT updated_ms FROM voice_recordings \
         WHERE status NOT IN ('completed', 'absent') AND node = $1 \
     UNION ALL SELECT updated_ms FROM voice_messages \
         WHERE status IN ('queued', 'sending') AND node = $1) AS told";
/// One that was up is over as if it had been hung up; one that was not never was.
const CALLS: &str = left!(
    "UPDATE voice_calls SET updated_ms = $3, sequence = sequence + 1, \
     status = CASE status WHEN 'in-progress' THEN 'completed' ELSE 'failed' END, \
     ended_ms = CASE WHEN node IS NULL THEN updated_ms ELSE $4 END, \
     duration = CASE WHEN status = 'in-progress' AND node IS NOT NULL \
                THEN ($4 - started_ms) / 1000 ELSE 0 END",
    "ended_ms IS NULL"
);
const STREAMS: &str = left!(
    "UPDATE voice_streams SET updated_ms = $3, sequence = sequence + 1, status = 'stopped'",
    "status = 'in-progress'"
);
const RECORDINGS: &str = left!(
    "SELECT * FROM voice_recordings",
    "status NOT IN ('completed', 'absent')"
);
const MESSAGES: &str = left!(
    "UPDATE voice_messages SET updated_ms = $3, sequence = sequence + 1, status = 'failed', error = $4",
    "status IN ('queued', 'sending')"
);

impl Store {
    /// Ends what the node of this name had under way, before it has anything under way again, and what no node has
    /// claimed in a day. Calls that were up are `completed` and others `failed`, at the latest time at which the node is
    /// known to have lived; streams are `stopped`; recordings are `completed` where their file is whole, else `absent`;
    /// messages are `failed`.
    ///
    /// # Errors
    /// If the database fails. It may be done again then.
    pub async fn end_left_voice(
        &self,
        node: &str,
        now: Timestamp,
    ) -> Result<VoiceLeft, StoreError> {
        let (now_ms, before) = (now.millis(), now.millis().saturating_sub(UNCLAIMED));
        let (mut left, unfinished) = within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let lived: Option<i64> =
                    sqlx::query_scalar(LIVED).bind(node).fetch_one(&mut *transaction).await?;
                let calls = sqlx::query(CALLS).bind(node).bind(before).bind(now_ms);
                let calls = calls.bind(lived.unwrap_or(now_ms)).execute(&mut *transaction).await?;
                let streams = sqlx::query(STREAMS).bind(node).bind(before).bind(now_ms);
                let streams = streams.execute(&mut *transaction).await?;
                let messages = sqlx::query(MESSAGES).bind(node).bind(before).bind(now_ms);
                let messages = messages.bind(UNKNOWN).execute(&mut *transaction).await?;
                let unfinished: Vec<RecordingRow> = sqlx::query_as(RECORDINGS)
                    .bind(node)
                    .bind(before)
                    .fetch_all(&mut *transaction)
                    .await?;
                transaction.commit().await?;
                let left = VoiceLeft {
                    calls: calls.rows_affected(),
                    streams: streams.rows_affected(),
                    recordings: 0,
                    messages: messages.rows_affected(),
                };
                Ok((left, unfinished))
            })
        })
        .await?;
        let mut recordings = Vec::with_capacity(unfinished.len());
        for row in unfinished {
            recordings.push(self.ended(VoiceRecordingRow::try_from(row)?, now).await?);
        }
        self.upsert_voice_recordings(Some(node), &recordings)
            .await?;
        left.recordings = u64::try_from(recordings.len()).unwrap_or(u64::MAX);
        Ok(left)
    }

    /// How a recording is whose node told nothing more of it.
    async fn ended(
        &self,
        row: VoiceRecordingRow,
        now: Timestamp,
    ) -> Result<VoiceRecordingRow, StoreError> {
        // It is told of once it is whole.
        let file = match row.id() {
            Some(id) => self.recording(id).await?,
            None => None,
        };
        let length = file.map(|file| {
            let samples = file.bytes.saturating_sub(HEADER);
            samples / (PER_MS * u64::from(file.channels.max(1)))
        });
        let status = if length.is_some() {
            "completed"
        } else {
            "absent"
        };
        Ok(VoiceRecordingRow {
            status: status.to_owned(),
            duration_ms: length,
            updated: now,
            sequence: row.sequence + 1,
            ..row
        })
    }
}
