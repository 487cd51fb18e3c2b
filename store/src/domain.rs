//! The table `domains`: whose users those of a SIP domain are.

use sqlx::FromRow;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::Keyed,
    routing::COUNT,
};

/// A SIP domain and its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// In lower case.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// When it was given to a tenant first.
    pub created: Timestamp,
    /// When it was last.
    pub updated: Timestamp,
}

impl Store {
    /// Gives a domain to a tenant, and its calls from then on, where it was last given to one at `unchanged_since`, or never for `None`.
    /// Tells whether that is so.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where there is no such tenant; if the database fails.
    pub async fn put_domain(
        &self,
        domain: &Domain,
        unchanged_since: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                // First, for it makes others wait.
                sqlx::query(COUNT).execute(&mut *transaction).await?;
                let query = match unchanged_since {
                    None => sqlx::query(
                        "INSERT INTO domains (name, tenant, updated_ms, created_ms) \
                         VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING",
                    ),
                    Some(_) => sqlx::query(
                        "UPDATE domains SET tenant = $2, updated_ms = $3 \
                         WHERE name = $1 AND updated_ms = $4",
                    ),
                };
                let fourth = unchanged_since.unwrap_or(domain.created);
                let done = query
                    .bind(domain.name.as_str())
                    .bind(domain.tenant.as_str())
                    .bind(domain.updated.millis())
                    .bind(fourth.millis())
                    .execute(&mut *transaction)
                    .await?;
                let is_done = done.rows_affected() == 1;
                if is_done {
                    transaction.commit().await?;
                } else {
                    transaction.rollback().await?;
                }
                Ok(is_done)
            })
        })
        .await
    }

    /// Gives a domain back to the tenant [`DEFAULT_TENANT`](crate::DEFAULT_TENANT), where it was last given
    /// to one at `unchanged_since`. Tells whether it was.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_domain(
        &self,
        name: &str,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                sqlx::query(COUNT).execute(&mut *transaction).await?;
                let done = sqlx::query("DELETE FROM domains WHERE name = $1 AND updated_ms = $2")
                    .bind(name)
                    .bind(unchanged_since.millis())
                    .execute(&mut *transaction)
                    .await?;
                let is_done = done.rows_affected() == 1;
                if is_done {
                    transaction.commit().await?;
                } else {
                    transaction.rollback().await?;
                }
                Ok(is_done)
            })
        })
        .await
    }

    /// The domain of this name, where it was given to a tenant.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn domain(&self, name: &str) -> Result<Option<Domain>, StoreError> {
        self.find(name).await
    }

    /// Up to `limit` domains by name, from after `after` on: those of a tenant, or all that were given to one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn domains(
        &self,
        tenant: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Domain>, StoreError> {
        self.list(tenant, after, limit).await
    }
}

impl Keyed for Domain {
    type Row = Row;
    const TABLE: &'static str = "domains";
    const KEY: &'static str = "name";
}

#[derive(FromRow)]
pub(crate) struct Row {
    name: String,
    tenant: String,
    created_ms: i64,
    updated_ms: i64,
}

impl From<Row> for Domain {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            tenant: row.tenant,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        }
    }
}
