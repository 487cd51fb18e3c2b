//! Records as PostgreSQL takes many of them most cheaply: column by column, in one statement.
//!
//! A parameter for each value of each row has to be described, sent and planned by itself; an array for each
//! column is one parameter, however many rows there are.

use std::sync::LazyLock;

use sqlx::PgExecutor;

use super::{
    Cdr, MediaFlow, Recorded,
    table::{COLUMNS, count, finite, key, text, user},
};
use crate::Timestamp;

/// The columns' types, as [`COLUMNS`] has them.
const TYPES: [&str; 47] = [
    "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT",
    "TEXT", "TEXT", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "INTEGER", "TEXT", "TEXT", "TEXT",
    "TEXT", "BIGINT", "BIGINT", "BIGINT", "FLOAT8", "FLOAT8", "FLOAT8", "FLOAT8", "BIGINT",
    "BIGINT", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "FLOAT8", "FLOAT8",
    "FLOAT8", "FLOAT8", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "BIGINT",
];

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let arrays = (1..).zip(TYPES);
    let arrays: Vec<_> = arrays.map(|(at, of)| format!("${at}::{of}[]")).collect();
    format!(
        "INSERT INTO cdrs ({COLUMNS}) SELECT * FROM UNNEST({}) ON CONFLICT (id) DO NOTHING",
        arrays.join(", ")
    )
});

/// Writes all of them or none. One whose id is there already is left as it is.
pub(super) async fn insert<'c, R: Recorded>(
    executor: impl PgExecutor<'c>,
    cdrs: &[R],
) -> sqlx::Result<()> {
    let mut query = sqlx::query(INSERT.as_str())
        .bind(column(cdrs, |cdr| cdr.id.to_string()))
        .bind(column(cdrs, |cdr| written(key(&cdr.call_id))))
        .bind(column(cdrs, |cdr| written(&cdr.from_uri)))
        .bind(column(cdrs, |cdr| written(key(user(&cdr.from_uri)))))
        .bind(column(cdrs, |cdr| written(&cdr.to_uri)))
        .bind(column(cdrs, |cdr| written(key(user(&cdr.to_uri)))))
        .bind(column(cdrs, |cdr| written(&cdr.request_uri)))
        .bind(column(cdrs, |cdr| cdr.source.to_string()))
        .bind(column(cdrs, |cdr| written(&cdr.transport)))
        .bind(column(cdrs, |cdr| {
            cdr.origin.as_deref().map(key).map(written)
        }))
        .bind(column(cdrs, |cdr| {
            cdr.callee_user.as_deref().map(key).map(written)
        }))
        .bind(column(cdrs, |cdr| cdr.tenant.as_deref().map(written)))
        .bind(column(cdrs, |cdr| cdr.trunk.as_deref().map(written)))
        .bind(column(cdrs, |cdr| cdr.route.as_deref().map(written)))
        .bind(column(cdrs, |cdr| cdr.started.millis()))
        .bind(column(cdrs, |cdr| cdr.ringing.map(Timestamp::millis)))
        .bind(column(cdrs, |cdr| cdr.answered.map(Timestamp::millis)))
        .bind(column(cdrs, |cdr| cdr.ended.millis()))
        .bind(column(cdrs, |cdr| i32::from(cdr.status)))
        .bind(column(cdrs, |cdr| written(&cdr.reason)))
        .bind(column(cdrs, |cdr| cdr.ended_by.name()))
        .bind(column(cdrs, |cdr| cdr.cause.name()))
        .bind(column(cdrs, |cdr| cdr.datapath.as_deref().map(written)));
    let sides: [fn(&Cdr) -> Option<MediaFlow>; 2] = [|cdr| cdr.from_caller, |cdr| cdr.from_callee];
    for of in sides {
        query = query
            .bind(column(cdrs, |cdr| of(cdr).map(|flow| count(flow.packets))))
            .bind(column(cdrs, |cdr| of(cdr).map(|flow| count(flow.bytes))))
            .bind(column(cdrs, |cdr| of(cdr).map(|flow| count(flow.lost))))
            .bind(column(cdrs, |cdr| {
                of(cdr).map(|flow| finite(flow.jitter_ms).unwrap_or(0.0))
            }))
            .bind(column(cdrs, |cdr| {
                of(cdr).and_then(|flow| flow.mos).and_then(finite)
            }));
        let ratios: [fn(MediaFlow) -> Option<f64>; 2] =
            [|flow| flow.rtt_ms, |flow| flow.burst_ratio];
        for ratio in ratios {
            query = query.bind(column(cdrs, |cdr| of(cdr).and_then(ratio).and_then(finite)));
        }
        let counts: [fn(MediaFlow) -> Option<u64>; 5] = [
            |flow| flow.late,
            |flow| flow.longest_gap_ms,
            |flow| flow.duplicates,
            |flow| flow.reordered,
            |flow| flow.sources,
        ];
        for counted in counts {
            query = query.bind(column(cdrs, |cdr| of(cdr).and_then(counted).map(count)));
        }
    }
    query.execute(executor).await.map(drop)
}

fn column<R: Recorded, T>(records: &[R], of: impl Fn(&Cdr) -> T) -> Vec<T> {
    records.iter().map(|record| of(record.cdr())).collect()
}

fn written(value: &str) -> String {
    text(value).as_ref().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_its_type() {
        assert_eq!(COLUMNS.split(',').count(), TYPES.len());
        assert!(INSERT.contains("$47::BIGINT[]"), "{}", *INSERT);
    }
}
