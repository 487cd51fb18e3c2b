//! Records that are older than anybody wants them to be.

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    steps::in_steps,
};

/// What has an age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aged {
    /// Call detail records, by when the call began.
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
        let (table, column) = (what.name(), what.time());
        let delete = format!(
            "DELETE FROM {table} WHERE id IN \
             (SELECT id FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2)"
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
