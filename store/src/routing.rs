//! The table `routing`: documents that calls are routed by, and the count of their changes.

use sqlx::{FromRow, QueryBuilder};

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoutingKind {
    /// A trunk, by its name.
    Trunk,
    /// A route, by any id.
    Route,
    /// A number, as it is written.
    Number,
    /// A ring group, by its name.
    Group,
    /// A block, by any id.
    Block,
    /// A limit, by any id.
    Limit,
}

/// A document and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingDocument {
    /// Unlike that of any other of its kind.
    pub id: String,
    /// JSON.
    pub document: String,
    /// Whose it is; `None`: the node's.
    pub tenant: Option<String>,
    /// When it was changed last.
    pub updated: Timestamp,
}

/// A change of one document.
#[derive(Clone, Copy, Debug)]
pub enum RoutingEdit<'e> {
    /// There has to be none of this id.
    Create(&'e RoutingDocument),
    /// In the place of the one of this id, its tenant included.
    Replace(&'e RoutingDocument),
    /// The one of this id.
    Remove(&'e str),
}

/// Rows in one statement: six parameters each, of the 32,766 that SQLite takes.
const ROWS: usize = 5_000;

impl RoutingDocument {
    /// A document of the node that is written now.
    pub fn new(id: impl Into<String>, document: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            document: document.into(),
            tenant: None,
            updated: Timestamp::now(),
        }
    }
}

impl RoutingKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Trunk,
        Self::Route,
        Self::Number,
        Self::Group,
        Self::Block,
        Self::Limit,
    ];

    /// As in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trunk => "trunk",
            Self::Route => "route",
            Self::Number => "number",
            Self::Group => "group",
            Self::Block => "block",
            Self::Limit => "limit",
        }
    }
}

impl Store {
    /// How often what calls are routed by was changed.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routing_revision(&self) -> Result<i64, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                let query = "SELECT revision FROM revisions WHERE name = 'routing'";
                let revision: i64 = sqlx::query_scalar(query).fetch_one(pool).await?;
                Ok(revision)
            })
        })
        .await
    }

    /// Up to `limit` documents of a kind, by id, from after `after` on; empty for the first ones.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routing(
        &self,
        kind: RoutingKind,
        after: &str,
        limit: u32,
    ) -> Result<Vec<RoutingDocument>, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT id, document, tenant, updated_ms FROM routing WHERE kind = $1 AND id > $2 \
                     ORDER BY id LIMIT $3",
                )
                .bind(kind.name())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
                Ok(rows.into_iter().map(RoutingDocument::from).collect())
            })
        })
        .await
    }

    /// Those of them that are a tenant's.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routing_of_tenant(
        &self,
        kind: RoutingKind,
        tenant: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<RoutingDocument>, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                let rows: Vec<Row> = sqlx::query_as(
                    "SELECT id, document, tenant, updated_ms FROM routing \
                     WHERE tenant = $1 AND kind = $2 AND id > $3 ORDER BY id LIMIT $4",
                )
                .bind(tenant)
                .bind(kind.name())
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
                Ok(rows.into_iter().map(RoutingDocument::from).collect())
            })
        })
        .await
    }

    /// The document of a kind and id.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routing_document(
        &self,
        kind: RoutingKind,
        id: &str,
    ) -> Result<Option<RoutingDocument>, StoreError> {
        within(async {
            on_engine!(self.reader(), pool => {
                let row: Option<Row> = sqlx::query_as(
                    "SELECT id, document, tenant, updated_ms FROM routing WHERE kind = $1 AND id = $2",
                )
                .bind(kind.name())
                .bind(id)
                .fetch_optional(pool)
                .await?;
                Ok(row.map(RoutingDocument::from))
            })
        })
        .await
    }

    /// Makes one change where nothing that calls are routed by was changed since `revision`, and tells
    /// whether it was made: what it was checked against is what it stands beside then.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where there is no such tenant; if the database fails. Nothing was changed
    /// then.
    pub async fn edit_routing(
        &self,
        kind: RoutingKind,
        edit: RoutingEdit<'_>,
        revision: i64,
    ) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                // First, for it makes others wait.
                let counted = sqlx::query(
                    "UPDATE revisions SET revision = revision + 1 \
                     WHERE name = 'routing' AND revision = $1",
                )
                .bind(revision)
                .execute(&mut *transaction)
                .await?;
                let done = match edit {
                    RoutingEdit::Create(new) => {
                        sqlx::query(
                            "INSERT INTO routing (kind, id, document, tenant, updated_ms, owner) \
                             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kind, id) DO NOTHING",
                        )
                        .bind(kind.name())
                        .bind(new.id.as_str())
                        .bind(new.document.as_str())
                        .bind(new.tenant.as_deref())
                        .bind(new.updated.millis())
                        .bind(new.owner(kind))
                        .execute(&mut *transaction)
                        .await?
                        .rows_affected()
                    }
                    RoutingEdit::Replace(new) => {
                        sqlx::query(
                            "UPDATE routing SET document = $1, tenant = $2, updated_ms = $3, \
                             owner = $6 WHERE kind = $4 AND id = $5",
                        )
                        .bind(new.document.as_str())
                        .bind(new.tenant.as_deref())
                        .bind(new.updated.millis())
                        .bind(kind.name())
                        .bind(new.id.as_str())
                        .bind(new.owner(kind))
                        .execute(&mut *transaction)
                        .await?
                        .rows_affected()
                    }
                    RoutingEdit::Remove(id) => {
                        sqlx::query("DELETE FROM routing WHERE kind = $1 AND id = $2")
                            .bind(kind.name())
                            .bind(id)
                            .execute(&mut *transaction)
                            .await?
                            .rows_affected()
                    }
                };
                let is_made = counted.rows_affected() == 1 && done == 1;
                if is_made {
                    transaction.commit().await?;
                } else {
                    transaction.rollback().await?;
                }
                Ok(is_made)
            })
        })
        .await
    }

    /// Writes documents, each id once, all or none; those whose ids are there already are replaced.
    ///
    /// # Errors
    /// If the database fails; nothing was changed then.
    pub async fn put_routing(
        &self,
        kind: RoutingKind,
        documents: &[RoutingDocument],
    ) -> Result<(), StoreError> {
        self.write_routing(kind, documents, REPLACE, false).await?;
        Ok(())
    }

    /// Writes those documents whose ids are not there yet, and tells how many they were.
    ///
    /// # Errors
    /// If the database fails; nothing was changed then.
    pub async fn create_routing(
        &self,
        kind: RoutingKind,
        documents: &[RoutingDocument],
    ) -> Result<u64, StoreError> {
        let keep = " ON CONFLICT (kind, id) DO NOTHING";
        self.write_routing(kind, documents, keep, false).await
    }

    /// Puts these documents, each id once, in the place of all others of their kind, all or none.
    ///
    /// # Errors
    /// If the database fails; nothing was changed then.
    pub async fn replace_routing(
        &self,
        kind: RoutingKind,
        documents: &[RoutingDocument],
    ) -> Result<(), StoreError> {
        self.write_routing(kind, documents, REPLACE, true).await?;
        Ok(())
    }

    /// Removes a document. Tells whether it was there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_routing(&self, kind: RoutingKind, id: &str) -> Result<bool, StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                let mut transaction = pool.begin().await?;
                let done = sqlx::query("DELETE FROM routing WHERE kind = $1 AND id = $2")
                    .bind(kind.name())
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
                let was_there = done.rows_affected() > 0;
                if was_there {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(was_there)
            })
        })
        .await
    }

    /// One transaction, however many documents: each statement in it is waited for by itself.
    async fn write_routing(
        &self,
        kind: RoutingKind,
        documents: &[RoutingDocument],
        conflict: &'static str,
        replace: bool,
    ) -> Result<u64, StoreError> {
        on_engine!(self.writer(), pool => {
            let mut transaction = within(async { Ok(pool.begin().await?) }).await?;
            let mut written = 0;
            if replace {
                within(async {
                    let delete = sqlx::query("DELETE FROM routing WHERE kind = $1");
                    written += delete.bind(kind.name()).execute(&mut *transaction).await?.rows_affected();
                    Ok(())
                })
                .await?;
            }
            for part in documents.chunks(ROWS) {
                let mut query = QueryBuilder::new(
                    "INSERT INTO routing (kind, id, document, tenant, updated_ms, owner) ",
                );
                query.push_values(part, |mut row, document| {
                    row.push_bind(kind.name())
                        .push_bind(document.id.as_str())
                        .push_bind(document.document.as_str())
                        .push_bind(document.tenant.as_deref())
                        .push_bind(document.updated.millis())
                        .push_bind(document.owner(kind));
                });
                query.push(conflict);
                within(async {
                    written += query.build().execute(&mut *transaction).await?.rows_affected();
                    Ok(())
                })
                .await?;
            }
            within(async {
                if written > 0 {
                    sqlx::query(COUNT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            })
            .await?;
            Ok(written)
        })
    }
}

/// What becomes of a row whose id is there.
pub(crate) const REPLACE: &str = " ON CONFLICT (kind, id) DO UPDATE SET document = excluded.document, \
                       tenant = excluded.tenant, updated_ms = excluded.updated_ms, \
                       owner = excluded.owner";

/// One more change of what nodes keep in memory: they read it again.
pub(crate) const COUNT: &str =
    "UPDATE revisions SET revision = revision + 1 WHERE name = 'routing'";

#[derive(FromRow)]
pub(crate) struct Row {
    id: String,
    document: String,
    tenant: Option<String>,
    updated_ms: i64,
}

impl From<Row> for RoutingDocument {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            document: row.document,
            tenant: row.tenant,
            updated: Timestamp::from_millis(row.updated_ms),
        }
    }
}
