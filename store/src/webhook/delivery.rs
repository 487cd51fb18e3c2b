//! The table `webhook_deliveries`: what webhooks have not been told yet.

use std::sync::LazyLock;

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError, Timestamp,
    bulk::{Bulk, Marks},
    engine::{Pool, on_engine, within},
    keyed,
};

/// An event that a webhook is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// A UUID version 7, the same for each attempt.
    pub id: Uuid,
    /// Who is told.
    pub webhook: Uuid,
    /// The node that tells.
    pub node: String,
    /// JSON: the event.
    pub body: String,
    /// When it happened.
    pub created: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is to be tried; `None` where it is given up.
    pub next: Option<Timestamp>,
    /// What went wrong with the last attempt; empty before it.
    pub error: String,
}

const INSERT: &str = "INSERT INTO webhook_deliveries \
    (id, webhook, node, body, created_ms, attempts, next_ms, error) VALUES ";

static SQLITE: LazyLock<Bulk> = LazyLock::new(|| inserts(Marks::Plain));
static POSTGRES: LazyLock<Bulk> = LazyLock::new(|| inserts(Marks::Numbered));

fn inserts(marks: Marks) -> Bulk {
    Bulk::new(marks, INSERT, 8, "")
}

impl Store {
    /// Keeps what is to be told, all of it or nothing.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let inserts: &'static Bulk = match self.writer() {
            Pool::Sqlite(_) => &SQLITE,
            Pool::Postgres(_) => &POSTGRES,
        };
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                for (text, part) in inserts.parts(deliveries) {
                    let mut query = sqlx::query(text);
                    for delivery in part {
                        query = query
                            .bind(delivery.id.to_string())
                            .bind(delivery.webhook.to_string())
                            .bind(delivery.node.as_str())
                            .bind(delivery.body.as_str())
                            .bind(delivery.created.millis())
                            .bind(small(delivery.attempts))
                            .bind(delivery.next.map(Timestamp::millis))
                            .bind(delivery.error.as_str());
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
        })
        .await
    }

    /// What a node is to tell a webhook at `now`: `limit` at most, what is due longest first.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn due_deliveries(
        &self,
        node: &str,
        webhook: Uuid,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT * FROM webhook_deliveries \
                     WHERE node = $1 AND webhook = $2 AND next_ms <= $3 \
                     ORDER BY next_ms, id LIMIT $4",
                )
                .bind(node)
                .bind(webhook.to_string())
                .bind(now.millis())
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?)
            })
        })
        .await?;
        rows.into_iter().map(Delivery::try_from).collect()
    }

    /// How many a node has to tell yet, those that are given up not included.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn count_deliveries(&self, node: &str) -> Result<u64, StoreError> {
        let count: i64 = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_scalar(
                    "SELECT COUNT(*) FROM webhook_deliveries \
                     WHERE node = $1 AND next_ms IS NOT NULL",
                )
                .bind(node)
                .fetch_one(pool)
                .await?)
            })
        })
        .await?;
        Ok(count.unsigned_abs())
    }

    /// It was told: forgets it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn end_delivery(&self, id: Uuid) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query("DELETE FROM webhook_deliveries WHERE id = $1")
                    .bind(id.to_string())
                    .execute(pool)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// An attempt failed: it is tried again at `next`, or given up.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn put_off_delivery(
        &self,
        id: Uuid,
        attempts: u32,
        next: Option<Timestamp>,
        error: &str,
    ) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query(
                    "UPDATE webhook_deliveries SET attempts = $1, next_ms = $2, error = $3 \
                     WHERE id = $4",
                )
                .bind(small(attempts))
                .bind(next.map(Timestamp::millis))
                .bind(error)
                .bind(id.to_string())
                .execute(pool)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Up to `limit` of those that a webhook was not told and that are given up, by age, from after `after` on.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn dead_deliveries(
        &self,
        webhook: Uuid,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let after = after.map_or(String::new(), |after| after.to_string());
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT * FROM webhook_deliveries \
                     WHERE webhook = $1 AND id > $2 AND next_ms IS NULL ORDER BY id LIMIT $3",
                )
                .bind(webhook.to_string())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?)
            })
        })
        .await?;
        rows.into_iter().map(Delivery::try_from).collect()
    }

    /// Tries one of those that are given up again, or all of a webhook's. Tells how many.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn revive_deliveries(
        &self,
        webhook: Uuid,
        id: Option<Uuid>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "UPDATE webhook_deliveries SET attempts = 0, next_ms = $1 \
                     WHERE webhook = $2 AND next_ms IS NULL \
                     AND (CAST($3 AS TEXT) IS NULL OR id = $3)",
                )
                .bind(now.millis())
                .bind(webhook.to_string())
                .bind(id.map(|id| id.to_string()))
                .execute(pool)
                .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }

    /// Forgets what happened before a time and is given up, or is for a webhook that is gone. Tells how many.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_deliveries_before(&self, time: Timestamp) -> Result<u64, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "DELETE FROM webhook_deliveries WHERE created_ms < $1 \
                     AND (next_ms IS NULL OR webhook NOT IN (SELECT id FROM webhooks))",
                )
                .bind(time.millis())
                .execute(pool)
                .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}

/// As a column of attempts has it.
fn small(attempts: u32) -> i32 {
    i32::try_from(attempts).unwrap_or(i32::MAX)
}

#[derive(FromRow)]
struct Row {
    id: String,
    webhook: String,
    node: String,
    body: String,
    created_ms: i64,
    attempts: i32,
    next_ms: Option<i64>,
    error: String,
}

impl TryFrom<Row> for Delivery {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: keyed::id("webhook_deliveries.id", &row.id)?,
            webhook: keyed::id("webhook_deliveries.webhook", &row.webhook)?,
            node: row.node,
            body: row.body,
            created: Timestamp::from_millis(row.created_ms),
            attempts: row.attempts.unsigned_abs(),
            next: row.next_ms.map(Timestamp::from_millis),
            error: row.error,
        })
    }
}
