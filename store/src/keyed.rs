//! Tables of things that have a key, in whose order they are listed, and the time of their last change.

use std::convert::Infallible;

use sqlx::{FromRow, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
    routing::COUNT,
};

/// One of such a table.
pub(crate) trait Keyed: TryFrom<Self::Row, Error: Into<StoreError>> {
    /// What a row holds, in the types that both engines have.
    type Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin;
    /// What the table is called.
    const TABLE: &'static str;
    /// The column that is the key.
    const KEY: &'static str;
    /// Which are listed: a condition.
    const LISTED: &'static str = "TRUE";
    /// Whether nodes keep them in memory, and read them again where one is changed.
    const IS_IN_MEMORY: bool = false;
}

impl Store {
    /// The one of this key.
    pub(crate) async fn find<T: Keyed>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let select = format!("SELECT * FROM {} WHERE {} = $1", T::TABLE, T::KEY);
        let row: Option<T::Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(sqlx::AssertSqlSafe(select))
                    .bind(key)
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        row.map(T::try_from).transpose().map_err(Into::into)
    }

    /// Up to `limit` of them by their keys, from after `after` on: those of a tenant, or all.
    pub(crate) async fn list<T: Keyed>(
        &self,
        tenant: Option<&str>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<T>, StoreError> {
        // Not every such table has tenants.
        let of_tenant = if tenant.is_some() {
            " AND tenant = $3"
        } else {
            ""
        };
        let (table, key, listed) = (T::TABLE, T::KEY, T::LISTED);
        let select = format!(
            "SELECT * FROM {table} WHERE {key} > $1 AND {listed}{of_tenant} ORDER BY {key} LIMIT $2"
        );
        let rows: Vec<T::Row> = within(async {
            on_engine!(self.reader(), pool => {
                let mut query = sqlx::query_as(sqlx::AssertSqlSafe(select))
                    .bind(after)
                    .bind(i64::from(limit));
                if let Some(tenant) = tenant {
                    query = query.bind(tenant);
                }
                Ok(query.fetch_all(pool).await?)
            })
        })
        .await?;
        let things = rows.into_iter().map(T::try_from);
        things.collect::<Result<_, _>>().map_err(Into::into)
    }

    /// Removes the one of this key, where it was last changed at `unchanged_since`. `false` where it was not, or
    /// is not there.
    pub(crate) async fn remove<T: Keyed>(
        &self,
        key: &str,
        unchanged_since: Timestamp,
    ) -> Result<bool, StoreError> {
        let delete = format!(
            "DELETE FROM {} WHERE {} = $1 AND updated_ms = $2",
            T::TABLE,
            T::KEY
        );
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query(sqlx::AssertSqlSafe(delete))
                    .bind(key)
                    .bind(unchanged_since.millis())
                    .execute(&mut *transaction)
                    .await?;
                let was_there = done.rows_affected() == 1;
                if was_there && T::IS_IN_MEMORY {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(was_there)
            })
        })
        .await
    }
}

impl From<Infallible> for StoreError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What stands in a column, where it makes sense to this version.
pub(crate) fn known<T>(
    column: &'static str,
    value: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    parse(value).ok_or_else(|| StoreError::Corrupt {
        column,
        value: value.to_owned(),
    })
}

/// The same of an id.
pub(crate) fn id(column: &'static str, value: &str) -> Result<Uuid, StoreError> {
    known(column, value, |id| Uuid::try_parse(id).ok())
}

/// The place in a list after an id; that of the first ones where there is none.
pub(crate) fn after(id: Option<Uuid>) -> String {
    id.map_or_else(String::new, |id| id.to_string())
}
