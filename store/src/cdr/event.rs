//! The table `call_events`: what happened to a call that is over, as far as its record has no column for it.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, SqliteConnection};
use uuid::Uuid;

use super::Cdr;
use crate::{
    Recording, Store, StoreError, Timestamp,
    bulk::{Bulk, Marks},
    engine::{on_engine, within},
    keyed,
};

/// Something that happened to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallEvent {
    /// The call: [`Cdr::id`].
    pub call: Uuid,
    /// Its place among those of the call, from 0 on.
    pub number: u32,
    /// When.
    pub at: Timestamp,
    /// What: `muted`, `held`, `transfer`, `quality`.
    pub kind: String,
    /// More of it, by the kind, as JSON: it waits as short as it is written.
    pub data: String,
}

/// A call's record, with what else is to be kept of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The record.
    #[serde(flatten)]
    pub cdr: Cdr,
    /// What happened; mostly nothing that is worth a word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<CallEvent>,
    /// What was recorded of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<Recording>,
}

impl From<Cdr> for CallRecord {
    fn from(cdr: Cdr) -> Self {
        Self {
            cdr,
            events: Vec::new(),
            recordings: Vec::new(),
        }
    }
}

/// What is written of a call.
pub trait Recorded: Sync {
    /// The record.
    fn cdr(&self) -> &Cdr;

    /// What happened to the call.
    fn events(&self) -> &[CallEvent];

    /// What was recorded of it.
    fn recordings(&self) -> &[Recording];
}

impl Recorded for Cdr {
    fn cdr(&self) -> &Cdr {
        self
    }

    fn events(&self) -> &[CallEvent] {
        &[]
    }

    fn recordings(&self) -> &[Recording] {
        &[]
    }
}

impl Recorded for CallRecord {
    fn cdr(&self) -> &Cdr {
        &self.cdr
    }

    fn events(&self) -> &[CallEvent] {
        &self.events
    }

    fn recordings(&self) -> &[Recording] {
        &self.recordings
    }
}

const HEAD: &str = "INSERT INTO call_events (call, number, at_ms, kind, data) ";
/// Of a call that is written again, as one that was cut off is.
const TAIL: &str = " ON CONFLICT (call, number) DO NOTHING";

static SQLITE: LazyLock<Bulk> =
    LazyLock::new(|| Bulk::new(Marks::Plain, &format!("{HEAD} VALUES "), 5, TAIL));

impl Store {
    /// What happened to a call, in order: up to `limit` of it from `number` on.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn call_events(
        &self,
        call: Uuid,
        number: u32,
        limit: u32,
    ) -> Result<Vec<CallEvent>, StoreError> {
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT * FROM call_events WHERE call = $1 AND number >= $2 \
                     ORDER BY number LIMIT $3",
                )
                .bind(call.to_string())
                .bind(i64::from(number))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?)
            })
        })
        .await?;
        rows.into_iter().map(CallEvent::try_from).collect()
    }
}

/// All of them, in order.
pub(super) fn of<R: Recorded>(records: &[R]) -> Vec<&CallEvent> {
    records.iter().flat_map(R::events).collect()
}

pub(super) async fn insert_sqlite(
    connection: &mut SqliteConnection,
    events: &[&CallEvent],
) -> sqlx::Result<()> {
    for (insert, part) in SQLITE.parts(events) {
        let mut query = sqlx::query(insert);
        for event in part {
            query = query
                .bind(event.call.to_string())
                .bind(i64::from(event.number))
                .bind(event.at.millis())
                .bind(event.kind.as_str())
                .bind(event.data.as_str());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A column at a time, as records are.
pub(super) async fn insert_postgres(
    connection: &mut PgConnection,
    events: &[&CallEvent],
) -> sqlx::Result<()> {
    const ROWS: &str =
        "SELECT * FROM UNNEST($1::TEXT[], $2::INT4[], $3::INT8[], $4::TEXT[], $5::TEXT[])";
    static INSERT: LazyLock<String> = LazyLock::new(|| format!("{HEAD}{ROWS}{TAIL}"));
    let calls: Vec<_> = events.iter().map(|event| event.call.to_string()).collect();
    let numbers: Vec<_> = events
        .iter()
        .map(|event| i32::try_from(event.number).unwrap_or(i32::MAX))
        .collect();
    let times: Vec<_> = events.iter().map(|event| event.at.millis()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    let data: Vec<_> = events.iter().map(|event| event.data.clone()).collect();
    sqlx::query(INSERT.as_str())
        .bind(calls)
        .bind(numbers)
        .bind(times)
        .bind(kinds)
        .bind(data)
        .execute(connection)
        .await
        .map(drop)
}

#[derive(FromRow)]
struct Row {
    call: String,
    number: i32,
    at_ms: i64,
    kind: String,
    data: String,
}

impl TryFrom<Row> for CallEvent {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            call: keyed::id("call_events.call", &row.call)?,
            number: u32::try_from(row.number).unwrap_or_default(),
            at: Timestamp::from_millis(row.at_ms),
            kind: row.kind,
            data: row.data,
        })
    }
}
