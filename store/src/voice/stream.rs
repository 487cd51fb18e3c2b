//! The table `voice_streams`.

use sqlx::{FromRow, QueryBuilder};

use super::{ROWS, Stated, latest};
use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
};

/// Rows of one call that are listed at most.
const MOST: i64 = 1_000;

/// A stream of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceStreamRow {
    /// `MZ` and 32 hex digits.
    pub sid: String,
    /// The account's SID.
    pub account: String,
    /// The call's SID.
    pub call: String,
    /// What its author calls it; its SID where he does not.
    pub name: String,
    /// It goes on, and is not `stopped`.
    pub is_up: bool,
    /// When it began.
    pub created: Timestamp,
    /// When it was so.
    pub updated: Timestamp,
    /// Of two states that one counts which has the larger number.
    pub sequence: u64,
}

impl Store {
    /// Writes what is known of streams. Of each that state stays which has the largest number.
    /// `node` is the one that has them.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the database refuses one of them for good; if it fails.
    pub async fn upsert_voice_streams(
        &self,
        node: Option<&str>,
        streams: &[VoiceStreamRow],
    ) -> Result<(), StoreError> {
        let streams = latest(streams);
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                for streams in streams.chunks(ROWS) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO voice_streams (sid, account, call, name, status, created_ms, \
                         updated_ms, sequence, node) ",
                    );
                    query.push_values(streams, |mut row, stream| {
                        row.push_bind(stream.sid.as_str())
                            .push_bind(stream.account.as_str())
                            .push_bind(stream.call.as_str())
                            .push_bind(stream.name.as_str())
                            .push_bind(if stream.is_up { UP } else { DOWN })
                            .push_bind(stream.created.millis())
                            .push_bind(stream.updated.millis())
                            .push_bind(stream.sequence())
                            .push_bind(node);
                    });
                    query.push(
                        " ON CONFLICT (sid) DO UPDATE SET status = excluded.status, \
                         updated_ms = excluded.updated_ms, sequence = excluded.sequence, node = excluded.node \
                         WHERE excluded.sequence > voice_streams.sequence",
                    );
                    query.build().execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
        })
        .await
    }

    /// The streams of a call, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn voice_streams(&self, call: &str) -> Result<Vec<VoiceStreamRow>, StoreError> {
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                let query = sqlx::query_as(
                    "SELECT * FROM voice_streams WHERE call = $1 ORDER BY created_ms, sid LIMIT $2",
                );
                Ok(query.bind(call).bind(MOST).fetch_all(pool).await?)
            })
        })
        .await?;
        rows.into_iter().map(VoiceStreamRow::try_from).collect()
    }
}

const UP: &str = "in-progress";
const DOWN: &str = "stopped";

impl Stated for VoiceStreamRow {
    type Row = Row;
    const TABLE: &str = "voice_streams";
    const PREFIX: &str = "MZ";

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
    name: String,
    status: String,
    created_ms: i64,
    updated_ms: i64,
    sequence: i64,
}

impl TryFrom<Row> for VoiceStreamRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            sid: row.sid,
            account: row.account,
            call: row.call,
            name: row.name,
            is_up: row.status == UP,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
            sequence: row.sequence.unsigned_abs(),
        })
    }
}
