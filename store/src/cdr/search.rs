//! How records are looked for.

use std::sync::Arc;

use sqlx::{Database, Encode, QueryBuilder, Type};

use super::table::{text, user};
use crate::{Cursor, Timestamp};

/// Which calls to list. What is `None` does not narrow the list; the rest is combined with "and".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrFilter {
    /// The Call-ID.
    pub call_id: Option<String>,
    /// The caller: the user part of From, such as `+15550100`, or with a colon in it the whole URI.
    pub from: Option<String>,
    /// The callee, likewise of To.
    pub to: Option<String>,
    /// Who called: the trunk's name, or the user's address.
    pub origin: Option<String>,
    /// The user who was called.
    pub callee_user: Option<String>,
    /// Whose call it was.
    pub tenant: Option<String>,
    /// The trunk's name.
    pub trunk: Option<String>,
    /// The final status.
    pub status: Option<u16>,
    /// Calls that began at this time or later.
    pub since: Option<Timestamp>,
    /// Calls that began before this time.
    pub until: Option<Timestamp>,
}

impl CdrFilter {
    /// The statement that reads so many records, newest first, from `cursor` on.
    pub(super) fn select<DB>(&self, count: i64, cursor: Option<Cursor>) -> QueryBuilder<DB>
    where
        DB: Database,
        Arc<str>: for<'q> Encode<'q, DB> + Type<DB>,
        String: for<'q> Encode<'q, DB> + Type<DB>,
        i64: for<'q> Encode<'q, DB> + Type<DB>,
        i32: for<'q> Encode<'q, DB> + Type<DB>,
    {
        let mut query = QueryBuilder::new("SELECT * FROM cdrs WHERE 1 = 1");
        let equal = [
            ("call_id", self.call_id.as_deref()),
            ("from_user", self.from.as_deref().map(user_of)),
            ("from_uri", self.from.as_deref().filter(|from| is_uri(from))),
            ("to_user", self.to.as_deref().map(user_of)),
            ("to_uri", self.to.as_deref().filter(|to| is_uri(to))),
            ("origin", self.origin.as_deref()),
            ("callee_user", self.callee_user.as_deref()),
            ("tenant", self.tenant.as_deref()),
            ("trunk", self.trunk.as_deref()),
        ];
        for (column, value) in equal {
            if let Some(value) = value {
                query.push(" AND ").push(column).push(" = ");
                query.push_bind(text(value));
            }
        }
        if let Some(status) = self.status {
            query.push(" AND status = ").push_bind(i32::from(status));
        }
        if let Some(since) = self.since {
            query.push(" AND started_ms >= ").push_bind(since.millis());
        }
        if let Some(until) = self.until {
            query.push(" AND started_ms < ").push_bind(until.millis());
        }
        if let Some(cursor) = cursor {
            query.push(" AND (started_ms, id) < (");
            query.push_bind(cursor.time.millis()).push(", ");
            query.push_bind(cursor.id.to_string()).push(")");
        }
        query.push(" ORDER BY started_ms DESC, id DESC LIMIT ");
        query.push_bind(count);
        query
    }
}

fn is_uri(party: &str) -> bool {
    party.contains(':')
}

/// The user of a party that may be written as a URI, for only the user has an index.
fn user_of(party: &str) -> &str {
    if is_uri(party) { user(party) } else { party }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::Sqlite;
    use uuid::Uuid;

    use super::*;
    use crate::{Store, engine::Pool};

    /// Each filter is looked up in an index that has the calls in their order: neither all of them are read, nor all
    /// that match are put in order.
    #[tokio::test]
    async fn every_filter_has_an_index_in_the_order_of_the_list() {
        let store = Store::open("sqlite::memory:", Path::new("/proc/nonexistent"));
        let store = store.await.unwrap();
        let Pool::Sqlite(pool) = store.reader() else {
            unreachable!("SQLite");
        };
        let some = || Some("x".to_owned());
        let none = CdrFilter::default;
        let cursor = Cursor {
            time: Timestamp::from_millis(5),
            id: Uuid::nil(),
        };
        for (filter, index) in [
            (none(), "cdrs_by_time"),
            (
                CdrFilter {
                    from: some(),
                    ..none()
                },
                "cdrs_by_from_user (from_user=?",
            ),
            (
                CdrFilter {
                    from: Some("sip:a@b".into()),
                    ..none()
                },
                "cdrs_by_from_user (from_user=?",
            ),
            (
                CdrFilter {
                    to: some(),
                    ..none()
                },
                "cdrs_by_to_user (to_user=?",
            ),
            (
                CdrFilter {
                    to: Some("tel:1".into()),
                    ..none()
                },
                "cdrs_by_to_user (to_user=?",
            ),
            (
                CdrFilter {
                    origin: some(),
                    ..none()
                },
                "cdrs_by_origin (origin=?",
            ),
            (
                CdrFilter {
                    callee_user: some(),
                    ..none()
                },
                "cdrs_by_callee_user (callee_user=?",
            ),
            (
                CdrFilter {
                    tenant: some(),
                    ..none()
                },
                "cdrs_by_tenant (tenant=?",
            ),
            (
                CdrFilter {
                    trunk: some(),
                    ..none()
                },
                "cdrs_by_trunk (trunk=?",
            ),
            (
                CdrFilter {
                    status: Some(486),
                    ..none()
                },
                "cdrs_by_status (status=?",
            ),
        ] {
            let in_time = CdrFilter {
                since: Some(Timestamp::from_millis(1)),
                until: Some(Timestamp::from_millis(9)),
                ..filter.clone()
            };
            for (filter, cursor) in [(&filter, None), (&filter, Some(cursor)), (&in_time, None)] {
                let text = filter.select::<Sqlite>(101, cursor).into_string();
                let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
                let steps: Vec<(i64, i64, i64, String)> =
                    sqlx::query_as(explain).fetch_all(pool).await.unwrap();
                assert!(steps[0].3.contains(index), "{filter:?}: {steps:?}");
                // The few calls of one millisecond are.
                let sorts = steps[1..].iter().all(|step| {
                    step.3.contains("LAST TERM OF ORDER BY")
                        || step.3.contains("RIGHT PART OF ORDER BY")
                });
                assert!(sorts, "{filter:?}: {steps:?}");
            }
        }
        let by_id = CdrFilter {
            call_id: some(),
            ..none()
        };
        let text = by_id.select::<Sqlite>(101, None).into_string();
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(pool).await.unwrap();
        assert!(
            steps[0].3.contains("cdrs_by_call_id (call_id=?"),
            "{steps:?}"
        );
    }
}
