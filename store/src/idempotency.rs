//! The table `idempotency`: what was answered to requests that a client may send again.

use std::time::Duration;

use sqlx::FromRow;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// After so long without an answer, who was to give it is dead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a request came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is the first: answer it, and tell the answer.
    First,
    /// The first one is being answered.
    UnderWay,
    /// Another request came under this name.
    Other,
    /// It was answered so.
    Answered {
        /// The status.
        status: u16,
        /// What was told of the answer; `None` where that must not be kept.
        answer: Option<String>,
    },
}

impl Store {
    /// Notes a request of `owner` under a name of its own choice; `request` tells it from others.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn attempt(
        &self,
        owner: &str,
        name: &str,
        request: &str,
    ) -> Result<Attempt, StoreError> {
        let now = Timestamp::now();
        let before = |age: Duration| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            now.millis().saturating_sub(age)
        };
        within(async {
            on_engine!(self.writer(), pool => {
                let over = "DELETE FROM idempotency WHERE created_ms < $1 \
                            OR (status IS NULL AND created_ms < $2)";
                sqlx::query(over)
                    .bind(before(KEPT))
                    .bind(before(PATIENCE))
                    .execute(pool)
                    .await?;
                let done = sqlx::query(
                    "INSERT INTO idempotency (owner, name, request, created_ms) \
                     VALUES ($1, $2, $3, $4) ON CONFLICT (owner, name) DO NOTHING",
                )
                .bind(owner)
                .bind(name)
                .bind(request)
                .bind(now.millis())
                .execute(pool)
                .await?;
                if done.rows_affected() == 1 {
                    return Ok(Attempt::First);
                }
                let row: Option<Row> = sqlx::query_as(
                    "SELECT request, status, answer FROM idempotency WHERE owner = $1 AND name = $2",
                )
                .bind(owner)
                .bind(name)
                .fetch_optional(pool)
                .await?;
                // Given up between the two statements: as good as under way, the client tries again.
                Ok(row.map_or(Attempt::UnderWay, |row| row.attempt(request)))
            })
        })
        .await
    }

    /// Keeps the answer to a request that was noted.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn answered(
        &self,
        owner: &str,
        name: &str,
        status: u16,
        answer: Option<&str>,
    ) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query(
                    "UPDATE idempotency SET status = $1, answer = $2 WHERE owner = $3 AND name = $4",
                )
                .bind(i32::from(status))
                .bind(answer)
                .bind(owner)
                .bind(name)
                .execute(pool)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets a request that came to nothing: sent again, it is the first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn came_to_nothing(&self, owner: &str, name: &str) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query("DELETE FROM idempotency WHERE owner = $1 AND name = $2")
                    .bind(owner)
                    .bind(name)
                    .execute(pool)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

#[derive(FromRow)]
struct Row {
    request: String,
    status: Option<i32>,
    answer: Option<String>,
}

impl Row {
    fn attempt(self, request: &str) -> Attempt {
        match self.status {
            _ if self.request != request => Attempt::Other,
            None => Attempt::UnderWay,
            Some(status) => Attempt::Answered {
                status: u16::try_from(status).unwrap_or(500),
                answer: self.answer,
            },
        }
    }
}
