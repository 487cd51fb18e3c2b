//! What a node has left behind: it was killed, or lost power, and nobody ended what it had under way.

use tracing::warn;

use super::recording::Row as RecordingRow;
use crate::{
    Store, StoreError, Timestamp, VoiceRecordingRow,
    engine::{on_engine, within},
};

/// How long a row waits for its node, in milliseconds: the API writes one before the node does, and one that has told
/// nothing for so long does not come back.
const GONE: i64 = 86_400_000;
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

/// What is under way and of no node that lives: `$1` is the node that starts, `$2` the time before which what is no
/// node's was made, and others told something for the last time. Its sequence stays: the next state of one that lives
/// after all counts.
macro_rules! left {
    ({ $($what:tt)* }, $table:literal, $under_way:literal) => {
        concat!(
            $($what)*,
            " WHERE ",
            $under_way,
            " AND (node = $1 OR (created_ms < $2 AND NOT EXISTS \
             (SELECT 1 FROM voice_nodes WHERE voice_nodes.node = ",
            $table,
            ".node AND lived_ms >= $2)))"
        )
    };
}

/// Until when the node of a call is known to have lived, and the call with it.
macro_rules! lived {
    () => {
        "COALESCE((SELECT lived_ms FROM voice_nodes WHERE voice_nodes.node = voice_calls.node \
         AND lived_ms > voice_calls.updated_ms), updated_ms)"
    };
}

const LIVES: &str = "INSERT INTO voice_nodes (node, name, lived_ms) VALUES ($1, $2, $3) \
     ON CONFLICT (node) DO UPDATE SET name = excluded.name, lived_ms = excluded.lived_ms";
/// One that was up is over as if it had been hung up; one that was not never was.
const CALLS: &str = left!(
    {
        "UPDATE voice_calls SET updated_ms = $3, \
         status = CASE status WHEN 'in-progress' THEN 'completed' ELSE 'failed' END, ended_ms = ",
        lived!(),
        ", duration = CASE WHEN status = 'in-progress' AND started_ms IS NOT NULL THEN (",
        lived!(),
        " - started_ms) / 1000 ELSE 0 END"
    },
    "voice_calls",
    "ended_ms IS NULL"
);
const STREAMS: &str = left!(
    { "UPDATE voice_streams SET updated_ms = $3, status = 'stopped'" },
    "voice_streams",
    "status = 'in-progress'"
);
const RECORDINGS: &str = left!(
    { "SELECT * FROM voice_recordings" },
    "voice_recordings",
    "status NOT IN ('completed', 'absent')"
);
/// Unless it has told something more meanwhile.
const RECORDING: &str = "UPDATE voice_recordings SET status = $1, duration_ms = $2, updated_ms = $3 \
     WHERE sid = $4 AND sequence = $5";
const MESSAGES: &str = left!(
    { "UPDATE voice_messages SET updated_ms = $3, status = 'failed', error = $4" },
    "voice_messages",
    "status IN ('queued', 'sending')"
);

impl Store {
    /// Notes that a node lives, under what it is called by people. `node` is an id that it keeps.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn note_voice_node(
        &self,
        node: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let query = sqlx::query(LIVES).bind(node).bind(name).bind(now.millis());
                query.execute(pool).await?;
                Ok(())
            })
        })
        .await
    }

    /// Ends what this node had under way, before it has anything under way again, and what is of no node that has told
    /// anything for a day. Calls that were up are `completed` and others `failed`, at the latest time at which their node
    /// is known to have lived; streams are `stopped`; recordings are `completed` where their file is whole, else `absent`;
    /// messages are `failed`.
    ///
    /// # Errors
    /// If the database fails. It may be done again then.
    pub async fn end_left_voice(
        &self,
        node: &str,
        now: Timestamp,
    ) -> Result<VoiceLeft, StoreError> {
        let (now_ms, before) = (now.millis(), now.millis().saturating_sub(GONE));
        let (mut left, unfinished) = within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let calls = sqlx::query(CALLS).bind(node).bind(before).bind(now_ms);
                let calls = calls.execute(&mut *transaction).await?;
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
        for row in unfinished {
            left.recordings += self.end_recording(&row.try_into()?, now).await?;
        }
        // Only now: until then they say what is left of whom.
        within(async {
            on_engine!(self.writer(), pool => {
                let query = sqlx::query("DELETE FROM voice_nodes WHERE lived_ms < $1 AND node <> $2");
                query.bind(before).bind(node).execute(pool).await?;
                Ok(())
            })
        })
        .await?;
        Ok(left)
    }

    /// Ends a recording whose node told nothing more of it.
    async fn end_recording(
        &self,
        row: &VoiceRecordingRow,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        // It is told of once it is whole.
        let file = match row.id() {
            Some(id) => self.recording(id).await,
            None => Ok(None),
        };
        let file = match file {
            // What cannot be read never can be, and the others do not wait for it.
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Rejected(_))) => {
                warn!(%error, recording = row.sid, "the file of a recording that was under way is not found");
                None
            }
            other => other?,
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
        let length = length.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let sequence = i64::try_from(row.sequence).unwrap_or(i64::MAX);
        within(async {
            on_engine!(self.writer(), pool => {
                let query = sqlx::query(RECORDING).bind(status).bind(length).bind(now.millis());
                let query = query.bind(row.sid.as_str()).bind(sequence);
                Ok(query.execute(pool).await?.rows_affected())
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::Recording;

    #[tokio::test]
    async fn one_damaged_row_keeps_nothing_else_from_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", dir.path()).await.unwrap();
        let at = Timestamp::from_millis;
        let row = |id: Uuid| VoiceRecordingRow {
            sid: format!("RE{}", id.simple()),
            account: "AC1".into(),
            call: "CA1".into(),
            channels: 1,
            source: "RecordVerb".into(),
            track: "both".into(),
            status: "in-progress".into(),
            started: at(1),
            duration_ms: None,
            error: None,
            created: at(1),
            updated: at(1),
            sequence: 1,
        };
        let rows = [1, 2].map(|id| row(Uuid::from_u128(id)));
        let node = Some("n1");
        store.upsert_voice_recordings(node, &rows).await.unwrap();
        for row in &rows {
            let file = Recording {
                id: row.id().unwrap(),
                call: Uuid::now_v7(),
                tenant: None,
                started: at(1),
                ended: at(2),
                channels: 1,
                bytes: HEADER + 1_000 * PER_MS,
                node: "x".into(),
                file: format!("{}.wav", row.sid),
            };
            store.insert_recording(&file).await.unwrap();
        }
        let damage = "UPDATE recordings SET call = 'x' WHERE id = $1";
        let first = rows[0].id().unwrap().to_string();
        let damaged: Result<_, StoreError> = async {
            on_engine!(store.writer(), pool => {
                Ok(sqlx::query(damage).bind(first).execute(pool).await?.rows_affected())
            })
        }
        .await;
        assert_eq!(damaged.unwrap(), 1);
        let left = store.end_left_voice("n1", at(9)).await.unwrap();
        assert_eq!(left.recordings, 2);
        let mut ends = Vec::new();
        for row in &rows {
            let row = store.voice_recording(&row.sid).await.unwrap().unwrap();
            ends.push((row.status, row.duration_ms));
        }
        assert_eq!(ends[0], ("absent".to_owned(), None));
        assert_eq!(ends[1], ("completed".to_owned(), Some(1_000)));
    }
}
