//! The table `voice_recordings`.

use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::{ROWS, Stated, latest};
use crate::{
    Cursor, Page, Store, StoreError, Timestamp,
    engine::{on_engine, within},
};

/// What there is to say of a recording, beside the file that [`Recording`](crate::Recording) is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceRecordingRow {
    /// `RE` and 32 hex digits, which are those of [`Recording::id`](crate::Recording::id).
    pub sid: String,
    /// The account's SID.
    pub account: String,
    /// The call's SID.
    pub call: String,
    /// 1 or 2.
    pub channels: u8,
    /// `RecordVerb`, `DialVerb`, `OutboundAPI` or `StartCallRecordingAPI`.
    pub source: String,
    /// `inbound`, `outbound` or `both`.
    pub track: String,
    /// `in-progress`, `paused`, `processing`, `completed` or `absent`.
    pub status: String,
    /// When it begins.
    pub started: Timestamp,
    /// Its length in milliseconds; `None` until it is over.
    pub duration_ms: Option<u64>,
    /// Why it is absent.
    pub error: Option<u32>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it was so.
    pub updated: Timestamp,
    /// Of two states that one counts which has the larger number.
    pub sequence: u64,
}

impl VoiceRecordingRow {
    /// The id of its [`Recording`](crate::Recording).
    pub fn id(&self) -> Option<Uuid> {
        Uuid::try_parse(self.sid.get(2..)?).ok()
    }
}

/// Which recordings are wanted; all of what is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoiceRecordingFilter {
    /// Of this account.
    pub account: String,
    /// Of this call.
    pub call: Option<String>,
    /// Asked for not before.
    pub since: Option<Timestamp>,
    /// Asked for before.
    pub until: Option<Timestamp>,
}

impl Store {
    /// Writes what is known of recordings. Of each that state stays which has the largest number.
    /// `node` is the one that has them.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the database refuses one of them for good; if it fails.
    pub async fn upsert_voice_recordings(
        &self,
        node: Option<&str>,
        recordings: &[VoiceRecordingRow],
    ) -> Result<(), StoreError> {
        let recordings = latest(recordings);
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                for recordings in recordings.chunks(ROWS) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO voice_recordings (sid, account, call, channels, source, track, status, \
                         started_ms, duration_ms, error, created_ms, updated_ms, sequence, node) ",
                    );
                    query.push_values(recordings, |mut row, recording| {
                        let duration = recording.duration_ms;
                        row.push_bind(recording.sid.as_str())
                            .push_bind(recording.account.as_str())
                            .push_bind(recording.call.as_str())
                            .push_bind(i32::from(recording.channels))
                            .push_bind(recording.source.as_str())
                            .push_bind(recording.track.as_str())
                            .push_bind(recording.status.as_str())
                            .push_bind(recording.started.millis())
                            .push_bind(duration.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)))
                            .push_bind(recording.error.map(|code| i32::try_from(code).unwrap_or(i32::MAX)))
                            .push_bind(recording.created.millis())
                            .push_bind(recording.updated.millis())
                            .push_bind(recording.sequence())
                            .push_bind(node);
                    });
                    query.push(
                        " ON CONFLICT (sid) DO UPDATE SET status = excluded.status, \
                         started_ms = excluded.started_ms, duration_ms = excluded.duration_ms, \
                         error = excluded.error, updated_ms = excluded.updated_ms, \
                         sequence = excluded.sequence, node = excluded.node \
                         WHERE excluded.sequence > voice_recordings.sequence",
                    );
                    query.build().execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
        })
        .await
    }

    /// The recording of this SID.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn voice_recording(
        &self,
        sid: &str,
    ) -> Result<Option<VoiceRecordingRow>, StoreError> {
        self.voice_row(sid).await
    }

    /// A page of the recordings that `filter` lets through, newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn voice_recordings(
        &self,
        filter: &VoiceRecordingFilter,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page<VoiceRecordingRow>, StoreError> {
        let texts = [("call = ", filter.call.as_deref())];
        let times = [
            ("created_ms >= ", filter.since),
            ("created_ms < ", filter.until),
        ];
        self.voice_page(&filter.account, &texts, &times, limit, after)
            .await
    }

    /// Forgets a recording of an account, and has its file go. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails; it may be done again then.
    pub async fn remove_voice_recording(
        &self,
        recording: &VoiceRecordingRow,
    ) -> Result<bool, StoreError> {
        // First: without the row nobody would find the file again.
        if let Some(id) = recording.id() {
            self.condemn_recording(id).await?;
        }
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query("DELETE FROM voice_recordings WHERE sid = $1")
                    .bind(recording.sid.as_str())
                    .execute(pool)
                    .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

impl Stated for VoiceRecordingRow {
    type Row = Row;
    const TABLE: &str = "voice_recordings";
    const PREFIX: &str = "RE";

    fn sid(&self) -> &str {
        &self.sid
    }

    fn sequence(&self) -> i64 {
        i64::try_from(self.sequence).unwrap_or(i64::MAX)
    }

    fn created(&self) -> Timestamp {
        self.created
    }
}

#[derive(FromRow)]
pub(super) struct Row {
    sid: String,
    account: String,
    call: String,
    channels: i32,
    source: String,
    track: String,
    status: String,
    started_ms: i64,
    duration_ms: Option<i64>,
    error: Option<i32>,
    created_ms: i64,
    updated_ms: i64,
    sequence: i64,
}

impl TryFrom<Row> for VoiceRecordingRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            sid: row.sid,
            account: row.account,
            call: row.call,
            channels: u8::try_from(row.channels).unwrap_or(1),
            source: row.source,
            track: row.track,
            status: row.status,
            started: Timestamp::from_millis(row.started_ms),
            duration_ms: row.duration_ms.map(i64::unsigned_abs),
            error: row.error.map(i32::unsigned_abs),
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
            sequence: row.sequence.unsigned_abs(),
        })
    }
}
