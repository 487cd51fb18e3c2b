//! Records that are older than anybody wants them to be.

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    steps::in_steps,
};

/// What has an age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aged {
    /// Call detail records, by when the call began, and what there was of programmable calls.
    Cdrs,
    /// Messages for users who are away, by when they came, delivered or not.
    Messages,
    /// The record of changes, by when they were made.
    Audit,
}

impl Aged {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Cdrs, Self::Messages, Self::Audit];

    /// As its table is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cdrs => "cdrs",
            Self::Messages => "messages",
            Self::Audit => "audit",
        }
    }

    const fn time(self) -> &'static str {
        match self {
            Self::Cdrs => "started_ms",
            Self::Messages => "received_ms",
            Self::Audit => "time_ms",
        }
    }
}

impl Store {
    /// Forgets what is from before a time, the oldest first, in steps that keep nobody waiting. Tells how many
    /// there were.
    ///
    /// # Errors
    /// If the database fails; some of it may be forgotten then.
    pub async fn forget_before(&self, what: Aged, time: Timestamp) -> Result<u64, StoreError> {
        let mut done = self.forget(what.name(), "id", what.time(), time).await?;
        if what == Aged::Cdrs {
            for table in ["voice_calls", "voice_streams", "voice_messages"] {
                done += self.forget(table, "sid", "created_ms", time).await?;
            }
        }
        Ok(done)
    }

    async fn forget(
        &self,
        table: &str,
        key: &str,
        column: &str,
        time: Timestamp,
    ) -> Result<u64, StoreError> {
        let delete = format!(
            "DELETE FROM {table} WHERE {key} IN \
             (SELECT {key} FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2)"
        );
        in_steps(self.pace(), |rows| {
            let delete = sqlx::AssertSqlSafe(delete.clone());
            within(async move {
                on_engine!(self.writer(), pool => {
                    let done = sqlx::query(delete)
                        .bind(time.millis())
                        .bind(i64::from(rows))
                        .execute(pool)
                        .await?;
                    Ok(done.rows_affected())
                })
            })
        })
        .await
    }
}
