//! The table `cdrs`.

use std::{
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use sqlx::{FromRow, SqliteConnection};
use uuid::Uuid;

use super::{Cause, Cdr, CdrFilter, EndedBy, MediaFlow, Recorded, columns, event};
use crate::{
    Cursor, MAX_PAGE, Page, Store, StoreError, Timestamp,
    bulk::{Bulk, Marks},
    engine::{Pool, on_engine, within},
    keyed::{self, known},
    recording,
};

/// In the order in which values are given.
pub(super) const COLUMNS: &str = "id, call_id, from_uri, from_user, to_uri, to_user, request_uri, source, transport, origin, \
    callee_user, tenant, trunk, route, started_ms, ringing_ms, answered_ms, ended_ms, status, \
    reason, ended_by, cause, datapath, from_caller_packets, from_caller_bytes, from_caller_lost, \
    from_caller_jitter_ms, from_caller_mos, from_caller_rtt_ms, from_caller_burst_ratio, from_caller_late, \
    from_caller_longest_gap_ms, from_caller_duplicates, from_caller_reordered, from_caller_sources, \
    from_callee_packets, from_callee_bytes, from_callee_lost, from_callee_jitter_ms, from_callee_mos, \
    from_callee_rtt_ms, from_callee_burst_ratio, from_callee_late, from_callee_longest_gap_ms, \
    from_callee_duplicates, from_callee_reordered, from_callee_sources";

static SQLITE: LazyLock<Bulk> = LazyLock::new(|| {
    let head = format!("INSERT INTO cdrs ({COLUMNS}) VALUES ");
    Bulk::new(Marks::Plain, &head, 47, " ON CONFLICT (id) DO NOTHING")
});

impl Store {
    /// Writes `records` all or none, with what happened to the calls. One whose id is there already is left as
    /// it is, so a call that was cut off may be repeated.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the database refuses one of them for good.
    pub async fn insert_cdrs<R: Recorded>(&self, records: &[R]) -> Result<(), StoreError> {
        let events = event::of(records);
        let recordings: Vec<_> = records.iter().flat_map(R::recordings).collect();
        within(async {
            match self.writer() {
                Pool::Sqlite(pool) => {
                    let mut transaction = pool.begin().await?;
                    insert_sqlite(&mut transaction, records).await?;
                    event::insert_sqlite(&mut transaction, &events).await?;
                    for recording in recordings {
                        recording::insert(&mut *transaction, recording).await?;
                    }
                    transaction.commit().await?;
                }
                // One statement is a transaction of its own.
                Pool::Postgres(pool) if events.is_empty() && recordings.is_empty() => {
                    columns::insert(pool, records).await?;
                }
                Pool::Postgres(pool) => {
                    let mut transaction = pool.begin().await?;
                    columns::insert(&mut *transaction, records).await?;
                    event::insert_postgres(&mut transaction, &events).await?;
                    for recording in recordings {
                        recording::insert(&mut *transaction, recording).await?;
                    }
                    transaction.commit().await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The call of this id.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn cdr(&self, id: Uuid) -> Result<Option<Cdr>, StoreError> {
        let row: Option<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as("SELECT * FROM cdrs WHERE id = $1")
                    .bind(id.to_string())
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        row.map(Cdr::try_from).transpose()
    }

    /// A page of the calls that `filter` lets through, newest first by the time when they began:
    /// `limit` of them at most (1 to [`MAX_PAGE`]), from `cursor` on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn cdrs(
        &self,
        filter: &CdrFilter,
        limit: u32,
        cursor: Option<Cursor>,
    ) -> Result<Page<Cdr>, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                // One more than asked for tells whether there is a next page.
                let mut query = filter.select(i64::from(limit) + 1, cursor);
                // PostgreSQL plans it for these values: half of all calls may be from one trunk, and a
                // handful from another.
                Ok(query.build_query_as().persistent(false).fetch_all(pool).await?)
            })
        })
        .await?;

        let limit = limit as usize;
        let more = rows.len() > limit;
        let items = rows.into_iter().take(limit).map(Cdr::try_from);
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let next = items.last().filter(|_| more).map(|last| Cursor {
            time: last.started,
            id: last.id,
        });
        Ok(Page { items, next })
    }
}

async fn insert_sqlite<R: Recorded>(
    connection: &mut SqliteConnection,
    records: &[R],
) -> sqlx::Result<()> {
    for (insert, part) in SQLITE.parts(records) {
        let mut query = sqlx::query(insert);
        for cdr in part.iter().map(R::cdr) {
            query = query
                .bind(cdr.id.to_string())
                .bind(text(key(&cdr.call_id)))
                .bind(text(&cdr.from_uri))
                .bind(text(key(user(&cdr.from_uri))))
                .bind(text(&cdr.to_uri))
                .bind(text(key(user(&cdr.to_uri))))
                .bind(text(&cdr.request_uri))
                .bind(cdr.source.to_string())
                .bind(text(&cdr.transport))
                .bind(cdr.origin.as_deref().map(key).map(text))
                .bind(cdr.callee_user.as_deref().map(key).map(text))
                .bind(cdr.tenant.as_deref().map(text))
                .bind(cdr.trunk.as_deref().map(text))
                .bind(cdr.route.as_deref().map(text))
                .bind(cdr.started.millis())
                .bind(cdr.ringing.map(Timestamp::millis))
                .bind(cdr.answered.map(Timestamp::millis))
                .bind(cdr.ended.millis())
                .bind(i32::from(cdr.status))
                .bind(text(&cdr.reason))
                .bind(text(cdr.ended_by.name()))
                .bind(text(cdr.cause.name()))
                .bind(cdr.datapath.as_deref().map(text));
            for flow in [&cdr.from_caller, &cdr.from_callee] {
                query = query
                    .bind(flow.map(|flow| count(flow.packets)))
                    .bind(flow.map(|flow| count(flow.bytes)))
                    .bind(flow.map(|flow| count(flow.lost)))
                    .bind(flow.map(|flow| finite(flow.jitter_ms).unwrap_or(0.0)))
                    .bind(flow.and_then(|flow| flow.mos).and_then(finite))
                    .bind(flow.and_then(|flow| flow.rtt_ms).and_then(finite))
                    .bind(flow.and_then(|flow| flow.burst_ratio).and_then(finite))
                    .bind(flow.and_then(|flow| flow.late).map(count))
                    .bind(flow.and_then(|flow| flow.longest_gap_ms).map(count))
                    .bind(flow.and_then(|flow| flow.duplicates).map(count))
                    .bind(flow.and_then(|flow| flow.reordered).map(count))
                    .bind(flow.and_then(|flow| flow.sources).map(count));
            }
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// What a row holds, in the types that both engines have.
#[derive(FromRow)]
struct Row {
    id: String,
    call_id: String,
    from_uri: String,
    to_uri: String,
    request_uri: String,
    source: String,
    transport: String,
    origin: Option<String>,
    callee_user: Option<String>,
    tenant: Option<String>,
    trunk: Option<String>,
    route: Option<String>,
    started_ms: i64,
    ringing_ms: Option<i64>,
    answered_ms: Option<i64>,
    ended_ms: i64,
    status: i32,
    reason: String,
    ended_by: String,
    cause: String,
    datapath: Option<String>,
    #[sqlx(flatten)]
    from_caller: CallerRow,
    #[sqlx(flatten)]
    from_callee: CalleeRow,
}

/// What a row holds of one direction; sqlx takes no prefix for the names of columns.
macro_rules! flow_row {
    ($row:ident, $packets:literal, $bytes:literal, $lost:literal, $jitter:literal, $mos:literal, $rtt:literal,
     $burst:literal, $late:literal, $gap:literal, $duplicates:literal, $reordered:literal, $sources:literal) => {
        #[derive(FromRow)]
        struct $row {
            #[sqlx(rename = $packets)]
            packets: Option<i64>,
            #[sqlx(rename = $bytes)]
            bytes: Option<i64>,
            #[sqlx(rename = $lost)]
            lost: Option<i64>,
            #[sqlx(rename = $jitter)]
            jitter_ms: Option<f64>,
            #[sqlx(rename = $mos)]
            mos: Option<f64>,
            #[sqlx(rename = $rtt)]
            rtt_ms: Option<f64>,
            #[sqlx(rename = $burst)]
            burst_ratio: Option<f64>,
            #[sqlx(rename = $late)]
            late: Option<i64>,
            #[sqlx(rename = $gap)]
            longest_gap_ms: Option<i64>,
            #[sqlx(rename = $duplicates)]
            duplicates: Option<i64>,
            #[sqlx(rename = $reordered)]
            reordered: Option<i64>,
            #[sqlx(rename = $sources)]
            sources: Option<i64>,
        }

        impl From<$row> for Option<MediaFlow> {
            fn from(row: $row) -> Self {
                let counted = |value: Option<i64>| value.map(i64::unsigned_abs);
                Some(MediaFlow {
                    packets: counted(row.packets)?,
                    bytes: counted(row.bytes).unwrap_or(0),
                    lost: counted(row.lost).unwrap_or(0),
                    jitter_ms: row.jitter_ms.unwrap_or(0.0),
                    mos: row.mos,
                    rtt_ms: row.rtt_ms,
                    burst_ratio: row.burst_ratio,
                    late: counted(row.late),
                    longest_gap_ms: counted(row.longest_gap_ms),
                    duplicates: counted(row.duplicates),
                    reordered: counted(row.reordered),
                    sources: counted(row.sources),
                })
            }
        }
    };
}

flow_row!(
    CallerRow,
    "from_caller_packets",
    "from_caller_bytes",
    "from_caller_lost",
    "from_caller_jitter_ms",
    "from_caller_mos",
    "from_caller_rtt_ms",
    "from_caller_burst_ratio",
    "from_caller_late",
    "from_caller_longest_gap_ms",
    "from_caller_duplicates",
    "from_caller_reordered",
    "from_caller_sources"
);
flow_row!(
    CalleeRow,
    "from_callee_packets",
    "from_callee_bytes",
    "from_callee_lost",
    "from_callee_jitter_ms",
    "from_callee_mos",
    "from_callee_rtt_ms",
    "from_callee_burst_ratio",
    "from_callee_late",
    "from_callee_longest_gap_ms",
    "from_callee_duplicates",
    "from_callee_reordered",
    "from_callee_sources"
);

impl TryFrom<Row> for Cdr {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: keyed::id("id", &row.id)?,
            call_id: row.call_id,
            from_uri: row.from_uri,
            to_uri: row.to_uri,
            request_uri: row.request_uri,
            source: known("source", &row.source, |source| {
                SocketAddr::from_str(source).ok()
            })?,
            transport: row.transport,
            origin: row.origin,
            callee_user: row.callee_user,
            tenant: row.tenant,
            trunk: row.trunk,
            route: row.route,
            started: Timestamp::from_millis(row.started_ms),
            ringing: row.ringing_ms.map(Timestamp::from_millis),
            answered: row.answered_ms.map(Timestamp::from_millis),
            ended: Timestamp::from_millis(row.ended_ms),
            status: known("status", &row.status.to_string(), |status| {
                status.parse().ok()
            })?,
            reason: row.reason,
            ended_by: known("ended_by", &row.ended_by, EndedBy::from_name)?,
            cause: known("cause", &row.cause, Cause::from_name)?,
            datapath: row.datapath,
            from_caller: row.from_caller.into(),
            from_callee: row.from_callee.into(),
        })
    }
}

/// PostgreSQL's text cannot hold a NUL, and a SIP message may: it is shown as U+FFFD. The type is the
/// one that the driver of SQLite need not copy.
pub(super) fn text(text: &str) -> Arc<str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// Octets of a value that is looked for by an index.
const KEY: usize = 255;

/// As much of a value as an index takes: PostgreSQL refuses a row whose places in it are too long together, and nobody
/// but an attacker has such a Call-ID or number.
pub(super) fn key(value: &str) -> &str {
    let end = value.floor_char_boundary(KEY);
    &value[..end]
}

pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Neither engine orders or stores NaN and infinity alike.
pub(super) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The user part of a SIP URI, or the number of a `tel:` one, without parameters or password; empty
/// where there is none. It serves the filters only, so an odd URI need not be refused here.
pub(super) fn user(uri: &str) -> &str {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return "";
    };
    let user = if scheme.eq_ignore_ascii_case("tel") {
        rest
    } else {
        rest.split_once('@').map_or("", |(user, _)| user)
    };
    let end = user.find([';', ':']).unwrap_or(user.len());
    &user[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_uri_is_found() {
        for (uri, expected) in [
            ("sip:alice@example.test", "alice"),
            (
                "sips:+15550100;phone-context=x:secret@example.test;user=phone",
                "+15550100",
            ),
            ("SIP:alice:secret@[2001:db8::1]:5060", "alice"),
            ("tel:+1-555-0100;ext=2", "+1-555-0100"),
            ("sip:example.test", ""),
            ("nonsense", ""),
            ("", ""),
        ] {
            assert_eq!(user(uri), expected, "{uri}");
        }
    }
}
