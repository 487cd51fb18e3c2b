//! The tables `voice_calls`, `voice_streams`, `voice_recordings` and `voice_messages`: what there was of programmable
//! calls and messages.
//!
//! A row is the latest state that is known of a thing: whoever writes counts the states, and of two that one stays
//! which has the larger number, in whatever order they come.

mod call;
mod left;
mod message;
mod recording;
mod stream;

use sqlx::{AssertSqlSafe, FromRow, QueryBuilder, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

pub use call::{VoiceCallFilter, VoiceCallRow, VoiceDirection, VoiceStatus};
pub use left::VoiceLeft;
pub use message::{VoiceMessageDirection, VoiceMessageFilter, VoiceMessageRow, VoiceMessageStatus};
pub use recording::{VoiceRecordingFilter, VoiceRecordingRow};
pub use stream::VoiceStreamRow;

use crate::{
    Cursor, Page, Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed::known,
};

/// Rows of one statement: twenty-one parameters each at most, of the 32,766 that SQLite takes.
const ROWS: usize = 200;

/// A row of something that an account has, which has states.
trait Stated: TryFrom<Self::Row, Error = StoreError> {
    /// What a row holds, in the types that both engines have.
    type Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin;
    /// What its table is called.
    const TABLE: &'static str;
    /// What its SIDs begin with.
    const PREFIX: &'static str;

    fn sid(&self) -> &str;
    fn sequence(&self) -> i64;
    fn created(&self) -> Timestamp;
}

/// The latest state of each: PostgreSQL changes no row twice in one statement.
fn latest<T: Stated>(rows: &[T]) -> Vec<&T> {
    let mut latest: Vec<&T> = rows.iter().collect();
    latest.sort_by(|a, b| (a.sid(), b.sequence()).cmp(&(b.sid(), a.sequence())));
    latest.dedup_by(|later, first| later.sid() == first.sid());
    latest
}

/// What of a row is wanted: a column and what it is compared by, and with what; all where that is `None`.
type Wanted<'a, T> = (&'static str, Option<T>);

impl Store {
    /// The row of this SID.
    async fn voice_row<T: Stated>(&self, sid: &str) -> Result<Option<T>, StoreError> {
        let select = format!("SELECT * FROM {} WHERE sid = $1", T::TABLE);
        let row: Option<T::Row> = within(async {
            on_engine!(self.reader(), pool => {
                let query = sqlx::query_as(AssertSqlSafe(select));
                Ok(query.bind(sid).fetch_optional(pool).await?)
            })
        })
        .await?;
        row.map(T::try_from).transpose()
    }

    /// A page of the rows of an account that are so, newest first.
    async fn voice_page<T: Stated>(
        &self,
        account: &str,
        texts: &[Wanted<'_, &str>],
        times: &[Wanted<'_, Timestamp>],
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page<T>, StoreError> {
        let before = after.map_or((i64::MAX, String::new()), |cursor| {
            let sid = format!("{}{}", T::PREFIX, cursor.id.simple());
            (cursor.time.millis(), sid)
        });
        let rows: Vec<T::Row> = within(async {
            on_engine!(self.reader(), pool => {
                let mut query = QueryBuilder::new("SELECT * FROM ");
                query.push(T::TABLE).push(" WHERE account = ").push_bind(account);
                query.push(" AND (created_ms, sid) < (").push_bind(before.0);
                query.push(", ").push_bind(before.1.as_str()).push(")");
                for (is, text) in texts {
                    if let Some(text) = text {
                        query.push(" AND ").push(is).push_bind(*text);
                    }
                }
                for (is, time) in times {
                    if let Some(time) = time {
                        query.push(" AND ").push(is).push_bind(time.millis());
                    }
                }
                query.push(" ORDER BY created_ms DESC, sid DESC LIMIT ");
                query.push_bind(i64::from(limit) + 1);
                Ok(query.build_query_as().fetch_all(pool).await?)
            })
        })
        .await?;
        page(rows, limit)
    }
}

/// A page of rows, of which one more than `limit` was asked for.
fn page<T: Stated>(rows: Vec<T::Row>, limit: u32) -> Result<Page<T>, StoreError> {
    let has_more = rows.len() > limit as usize;
    let items = rows.into_iter().take(limit as usize);
    let items: Vec<T> = items.map(T::try_from).collect::<Result<_, _>>()?;
    let next = match items.last().filter(|_| has_more) {
        Some(last) => {
            let digits = last.sid().get(2..).unwrap_or_default();
            let id = known("sid", digits, |digits| Uuid::try_parse(digits).ok())?;
            let time = last.created();
            Some(Cursor { time, id })
        }
        None => None,
    };
    Ok(Page { items, next })
}
