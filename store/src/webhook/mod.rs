//! The table `webhooks`: who is told of events over HTTP.

mod delivery;

use std::fmt;

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::{self, Keyed},
};

pub use delivery::Delivery;

/// Somebody who is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// A UUID version 7.
    pub id: Uuid,
    /// Whose events it is told; `None`: all of the node's.
    pub tenant: Option<String>,
    /// Where events are posted to.
    pub url: String,
    /// The types of events; all where there is none.
    pub types: Vec<String>,
    /// What is posted is signed with it.
    pub secret: String,
    /// Whether it is told at all.
    pub enabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret, and with no URL, which may have a password.
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("types", &self.types)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Adds a webhook.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where there is no such tenant; if the database fails.
    pub async fn create_webhook(&self, webhook: &Webhook) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query(
                    "INSERT INTO webhooks \
                     (id, tenant, url, types, secret, enabled, created_ms, updated_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .bind(webhook.id.to_string())
                .bind(webhook.tenant.as_deref())
                .bind(webhook.url.as_str())
                .bind(webhook.types.join(","))
                .bind(webhook.secret.as_str())
                .bind(i32::from(webhook.enabled))
                .bind(webhook.created.millis())
                .bind(webhook.updated.millis())
                .execute(pool)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Changes a webhook, but for its tenant, that is as it was at `since`. Tells whether it was.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn change_webhook(
        &self,
        webhook: &Webhook,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "UPDATE webhooks SET url = $1, types = $2, secret = $3, enabled = $4, \
                     updated_ms = $5 WHERE id = $6 AND updated_ms = $7",
                )
                .bind(webhook.url.as_str())
                .bind(webhook.types.join(","))
                .bind(webhook.secret.as_str())
                .bind(i32::from(webhook.enabled))
                .bind(webhook.updated.millis())
                .bind(webhook.id.to_string())
                .bind(since.millis())
                .execute(pool)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Up to `limit` webhooks by id, which is by age, from after `after` on: all, or those of a tenant.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn webhooks(
        &self,
        tenant: Option<&str>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Webhook>, StoreError> {
        self.list(tenant, &keyed::after(after), limit).await
    }

    /// The webhook of this id.
    ///
    /// # Errors
    /// If the database fails, or the row is damaged.
    pub async fn webhook(&self, id: Uuid) -> Result<Option<Webhook>, StoreError> {
        self.find(&id.to_string()).await
    }

    /// Removes a webhook, with what it was not told yet. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_webhook(&self, id: Uuid) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query("DELETE FROM webhooks WHERE id = $1")
                    .bind(id.to_string())
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query("DELETE FROM webhook_deliveries WHERE webhook = $1")
                    .bind(id.to_string())
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

impl Keyed for Webhook {
    type Row = Row;
    const TABLE: &'static str = "webhooks";
    const KEY: &'static str = "id";
}

#[derive(FromRow)]
pub(crate) struct Row {
    id: String,
    tenant: Option<String>,
    url: String,
    types: String,
    secret: String,
    enabled: i32,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for Webhook {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let types = row.types.split(',').filter(|name| !name.is_empty());
        Ok(Self {
            id: keyed::id("webhooks.id", &row.id)?,
            tenant: row.tenant,
            types: types.map(str::to_owned).collect(),
            url: row.url,
            secret: row.secret,
            enabled: row.enabled != 0,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        })
    }
}
