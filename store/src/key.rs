//! The table `api_keys`: who may use the API, and as what.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Operator, Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::{self, Keyed, known},
    named::named,
};

named! {
    /// What somebody may do; each may do all that those before it may.
    #[derive(PartialOrd, Ord)]
    Role {
        /// Look.
        Viewer = "viewer",
        /// Make calls, send messages, edit applications and webhooks.
        Developer = "developer",
        /// Edit what calls are routed by, and act on calls, registrations and bans.
        Operator = "operator",
        /// Say who may do what, see who did what, and erase.
        Admin = "admin",
    }
}

/// A key without its secret, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// A UUID version 7.
    pub id: Uuid,
    /// Whose things it opens; `None` for all, and the node's own.
    pub tenant: Option<String>,
    /// For people.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it opens nothing; `None` for never.
    pub expires: Option<Timestamp>,
    /// The [`Operator`] who signed in for it; `None` for a key of its own.
    pub operator: Option<String>,
}

impl Store {
    /// Keeps a key, with the SHA-256 of its secret in hex digits.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where there is no such tenant; if the database fails.
    pub async fn create_key(&self, key: &ApiKey, secret_sha256: &str) -> Result<(), StoreError> {
        self.insert_key(key, secret_sha256, None).await
    }

    pub(crate) async fn insert_key(
        &self,
        key: &ApiKey,
        secret_sha256: &str,
        operator: Option<&Operator>,
    ) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query(
                    "INSERT INTO api_keys \
                     (id, tenant, name, role, secret_sha256, created_ms, expires_ms, operator, operator_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                )
                .bind(key.id.to_string())
                .bind(key.tenant.as_deref())
                .bind(key.name.as_str())
                .bind(key.role.name())
                .bind(secret_sha256)
                .bind(key.created.millis())
                .bind(key.expires.map(Timestamp::millis))
                .bind(operator.map(|operator| operator.name.as_str()))
                .bind(operator.map(|operator| operator.updated.millis()))
                .execute(pool)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The key of this id, and the hash of its secret. One that an operator signed in for is there until
    /// anything of the operator is changed.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn key(&self, id: Uuid) -> Result<Option<(ApiKey, String)>, StoreError> {
        let row: Option<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT k.* FROM api_keys k LEFT JOIN operators o ON o.name = k.operator \
                     WHERE k.id = $1 AND (k.operator IS NULL \
                     OR (o.updated_ms = k.operator_ms AND o.disabled = 0))",
                )
                    .bind(id.to_string())
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        row.map(|mut row| {
            let hash = std::mem::take(&mut row.secret_sha256);
            Ok((row.try_into()?, hash))
        })
        .transpose()
    }

    /// Up to `limit` keys by id, which is by age, from after `after` on: those of a tenant, or all. What
    /// operators signed in for is not among them.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn keys(
        &self,
        tenant: Option<&str>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, StoreError> {
        self.list(tenant, &keyed::after(after), limit).await
    }

    /// Removes a key. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_key(&self, id: Uuid) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query("DELETE FROM api_keys WHERE id = $1")
                    .bind(id.to_string())
                    .execute(pool)
                    .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

impl Keyed for ApiKey {
    type Row = Row;
    const TABLE: &'static str = "api_keys";
    const KEY: &'static str = "id";
    const LISTED: &'static str = "operator IS NULL";
}

#[derive(FromRow)]
pub(crate) struct Row {
    id: String,
    tenant: Option<String>,
    name: String,
    role: String,
    secret_sha256: String,
    created_ms: i64,
    expires_ms: Option<i64>,
    operator: Option<String>,
}

impl TryFrom<Row> for ApiKey {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: keyed::id("api_keys.id", &row.id)?,
            role: known("api_keys.role", &row.role, Role::from_name)?,
            tenant: row.tenant,
            name: row.name,
            created: Timestamp::from_millis(row.created_ms),
            expires: row.expires_ms.map(Timestamp::from_millis),
            operator: row.operator,
        })
    }
}
