//! The table `audit`: what was changed, by whom.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Cursor, Page, Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed,
};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// A UUID version 7.
    pub id: Uuid,
    /// When.
    pub time: Timestamp,
    /// Whose thing it was; `None` for the node's own.
    pub tenant: Option<String>,
    /// Who did it: `admin-key`, `key:ID`, or `cli:NAME` at the machine itself.
    pub actor: String,
    /// `create`, `update`, `delete`, or what else was done.
    pub action: String,
    /// What kind of thing, as in its path: `users`.
    pub kind: String,
    /// Which one.
    pub target: String,
    /// The address that the request came from.
    pub source: String,
    /// The request's id, as in the log.
    pub request_id: String,
    /// JSON: what was asked for, without secrets.
    pub detail: String,
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this tenant; `None` for all.
    pub tenant: Option<String>,
    /// Of this actor.
    pub actor: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this target.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

impl Store {
    /// Writes an entry.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                sqlx::query(
                    "INSERT INTO audit (id, time_ms, tenant, actor, action, kind, target, source, \
                     request_id, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                )
                .bind(entry.id.to_string())
                .bind(entry.time.millis())
                .bind(entry.tenant.as_deref())
                .bind(entry.actor.as_str())
                .bind(entry.action.as_str())
                .bind(entry.kind.as_str())
                .bind(entry.target.as_str())
                .bind(entry.source.as_str())
                .bind(entry.request_id.as_str())
                .bind(entry.detail.as_str())
                .execute(pool)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// A page of entries, newest first.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn audit_entries(
        &self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let before = after.map_or((i64::MAX, String::new()), |cursor| {
            (cursor.time.millis(), cursor.id.to_string())
        });
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT * FROM audit WHERE (time_ms, id) < ($1, $2) \
                     AND (CAST($3 AS TEXT) IS NULL OR tenant = $3) \
                     AND (CAST($4 AS TEXT) IS NULL OR actor = $4) \
                     AND (CAST($5 AS TEXT) IS NULL OR kind = $5) \
                     AND (CAST($6 AS TEXT) IS NULL OR target = $6) \
                     AND time_ms >= $7 AND time_ms < $8 \
                     ORDER BY time_ms DESC, id DESC LIMIT $9",
                )
                .bind(before.0)
                .bind(before.1)
                .bind(filter.tenant.as_deref())
                .bind(filter.actor.as_deref())
                .bind(filter.kind.as_deref())
                .bind(filter.target.as_deref())
                .bind(filter.since.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.until.map_or(i64::MAX, Timestamp::millis))
                .bind(i64::from(limit) + 1)
                .fetch_all(pool)
                .await?)
            })
        })
        .await?;
        let more = rows.len() > limit as usize;
        let items: Result<Vec<AuditEntry>, StoreError> = rows
            .into_iter()
            .take(limit as usize)
            .map(AuditEntry::try_from)
            .collect();
        let items = items?;
        let next = items.last().filter(|_| more).map(|last| Cursor {
            time: last.time,
            id: last.id,
        });
        Ok(Page { items, next })
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    time_ms: i64,
    tenant: Option<String>,
    actor: String,
    action: String,
    kind: String,
    target: String,
    source: String,
    request_id: String,
    detail: String,
}

impl TryFrom<Row> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: keyed::id("audit.id", &row.id)?,
            time: Timestamp::from_millis(row.time_ms),
            tenant: row.tenant,
            actor: row.actor,
            action: row.action,
            kind: row.kind,
            target: row.target,
            source: row.source,
            request_id: row.request_id,
            detail: row.detail,
        })
    }
}
