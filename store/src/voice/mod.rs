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

use uuid::Uuid;

pub use call::{VoiceCallFilter, VoiceCallRow, VoiceDirection, VoiceStatus};
pub use left::VoiceLeft;
pub use message::{VoiceMessageDirection, VoiceMessageFilter, VoiceMessageRow, VoiceMessageStatus};
pub use recording::{VoiceRecordingFilter, VoiceRecordingRow};
pub use stream::VoiceStreamRow;

use crate::{Cursor, Page, StoreError, Timestamp, keyed::known};

/// Rows of one statement: twenty-one parameters each at most, of the 32,766 that SQLite takes.
const ROWS: usize = 200;

/// A row that has states.
trait Stated {
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

/// Time and SID behind which a page begins.
fn place(after: Option<Cursor>, prefix: &str) -> (i64, String) {
    after.map_or((i64::MAX, String::new()), |cursor| {
        let sid = format!("{prefix}{}", cursor.id.simple());
        (cursor.time.millis(), sid)
    })
}

/// A page of rows, of which one more than `limit` was asked for.
fn page<R, T>(rows: Vec<R>, limit: u32) -> Result<Page<T>, StoreError>
where
    T: Stated + TryFrom<R, Error = StoreError>,
{
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
