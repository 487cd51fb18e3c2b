//! The table `tenants`: who shares a node without seeing each other.

use sqlx::FromRow;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::Keyed,
};

/// Whose everything is where nobody says otherwise.
pub const DEFAULT_TENANT: &str = "default";

/// One of those who share a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Unlike any other's; stays.
    pub id: String,
    /// For people.
    pub name: String,
    /// When it was added.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

impl Store {
    /// Adds a tenant. `false` where there is one of this id.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn create_tenant(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "INSERT INTO tenants (id, name, created_ms, updated_ms) \
                     VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
                )
                .bind(tenant.id.as_str())
                .bind(tenant.name.as_str())
                .bind(tenant.created.millis())
                .bind(tenant.updated.millis())
                .execute(pool)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Gives a tenant another name, where it was last changed at `unchanged_since`. `false` where it was not,
    /// or is not there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn rename_tenant(
        &self,
        tenant: &Tenant,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(
                    "UPDATE tenants SET name = $1, updated_ms = $2 WHERE id = $3 AND updated_ms = $4",
                )
                .bind(tenant.name.as_str())
                .bind(tenant.updated.millis())
                .bind(tenant.id.as_str())
                .bind(unchanged_since.millis())
                .execute(pool)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Removes a tenant that has nothing any more, where it was last changed at `unchanged_since`. `false`
    /// where it was not, or is not there.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where something is still its own; if the database fails.
    pub async fn remove_tenant(
        &self,
        id: &str,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        self.remove::<Tenant>(id, unchanged_since).await
    }

    /// The tenant of this id.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tenant(&self, id: &str) -> Result<Option<Tenant>, StoreError> {
        self.find(id).await
    }

    /// Up to `limit` tenants by id, from after `after` on; empty for the first ones.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tenants(&self, after: &str, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        self.list(None, after, limit).await
    }
}

impl Keyed for Tenant {
    type Row = Row;
    const TABLE: &'static str = "tenants";
    const KEY: &'static str = "id";
}

#[derive(FromRow)]
pub(crate) struct Row {
    id: String,
    name: String,
    created_ms: i64,
    updated_ms: i64,
}

impl From<Row> for Tenant {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        }
    }
}
