//! How records are looked for.

use std::{marker::PhantomData, sync::Arc};

use sqlx::{Database, Encode, QueryBuilder, Sqlite, Type};

use super::table::{key, text, user};
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
        // Those first that the fewest records have, as a rule.
        let equal = [
            ("call_id", self.call_id.as_deref().map(key)),
            ("from_user", self.from.as_deref().map(user_of)),
            ("to_user", self.to.as_deref().map(user_of)),
            ("callee_user", self.callee_user.as_deref().map(key)),
            ("origin", self.origin.as_deref().map(key)),
            ("tenant", self.tenant.as_deref()),
            ("trunk", self.trunk.as_deref()),
            ("from_uri", self.from.as_deref().filter(|from| is_uri(from))),
            ("to_uri", self.to.as_deref().filter(|to| is_uri(to))),
        ];
        let mut and = By::<DB>::new();
        for (column, value) in equal {
            if let Some(value) = value {
                query.push(and.next()).push(column).push(" = ");
                query.push_bind(text(value));
            }
        }
        if let Some(status) = self.status {
            query.push(and.next()).push("status = ");
            query.push_bind(i32::from(status));
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

/// Which index is taken. PostgreSQL knows how many records have a value; SQLite takes all columns for alike, and is
/// told: a `+` before a column hides its index.
struct By<DB> {
    is_first: bool,
    engine: PhantomData<DB>,
}

impl<DB: Database> By<DB> {
    const fn new() -> Self {
        Self {
            is_first: true,
            engine: PhantomData,
        }
    }

    /// What comes before the next column.
    fn next(&mut self) -> &'static str {
        let is_first = std::mem::replace(&mut self.is_first, false);
        match is_first || DB::NAME != Sqlite::NAME {
            true => " AND ",
            false => " AND +",
        }
    }
}

fn is_uri(party: &str) -> bool {
    party.contains(':')
}

/// The user of a party that may be written as a URI, for only the user has an index.
fn user_of(party: &str) -> &str {
    key(if is_uri(party) { user(party) } else { party })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        assert!(
            first_step(pool, &by_id)
                .await
                .contains("cdrs_by_call_id (call_id=?")
        );
    }

    /// Of two filters that one's index is taken that fewer records match, as a rule.
    #[tokio::test]
    async fn of_two_filters_the_narrower_ones_index_is_taken() {
        let store = Store::open("sqlite::memory:", Path::new("/proc/nonexistent"));
        let store = store.await.unwrap();
        let Pool::Sqlite(pool) = store.reader() else {
            unreachable!("SQLite");
        };
        type Set = fn(&mut CdrFilter);
        let set: [(&str, Set); 8] = [
            ("call_id", |filter| filter.call_id = Some("x".into())),
            ("from_user", |filter| filter.from = Some("sip:x@y".into())),
            ("to_user", |filter| filter.to = Some("x".into())),
            ("callee_user", |filter| {
                filter.callee_user = Some("x".into());
            }),
            ("origin", |filter| filter.origin = Some("x".into())),
            ("tenant", |filter| filter.tenant = Some("x".into())),
            ("trunk", |filter| filter.trunk = Some("x".into())),
            ("status", |filter| filter.status = Some(200)),
        ];
        for (at, (narrow, first)) in set.iter().enumerate() {
            for (_, second) in &set[at + 1..] {
                let mut filter = CdrFilter {
                    since: Some(Timestamp::from_millis(1)),
                    ..CdrFilter::default()
                };
                first(&mut filter);
                second(&mut filter);
                let step = first_step(pool, &filter).await;
                assert!(
                    step.contains(&format!("cdrs_by_{narrow} ({narrow}=?")),
                    "{filter:?}: {step}"
                );
            }
        }
    }

    async fn first_step(pool: &sqlx::SqlitePool, filter: &CdrFilter) -> String {
        let text = filter.select::<Sqlite>(101, None).into_string();
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(pool).await.unwrap();
        steps[0].3.clone()
    }
}
