//! The table `recordings`: what of calls is in sound files.
//!
//! A recording that is to go is condemned first: from then on it is shown to nobody, and its row stays for as long
//! as its file does, so that no file is forgotten.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sqlx::{Database, Encode, Executor, FromRow, IntoArguments, Type};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::{
    Cursor, Page, Store, StoreError, Timestamp,
    engine::{on_engine, within},
    keyed,
};

/// Rows that are looked at at a time.
const PAGE: i64 = 200;

/// One sound file of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// A UUID version 7.
    pub id: Uuid,
    /// The call: the id of its record.
    pub call: Uuid,
    /// Whose call it was; `None`: the node's.
    pub tenant: Option<String>,
    /// When it begins.
    pub started: Timestamp,
    /// When it ends.
    pub ended: Timestamp,
    /// 1, or 2: the caller left, the callee right.
    pub channels: u8,
    /// Octets of the file.
    pub bytes: u64,
    /// The node that has the file.
    pub node: String,
    /// The file's name in that node's folder of recordings.
    pub file: String,
}

/// Which recordings are wanted; all of what is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    /// Of this call.
    pub call: Option<Uuid>,
    /// Of this tenant's calls.
    pub tenant: Option<String>,
    /// Begun not before.
    pub since: Option<Timestamp>,
    /// Begun before.
    pub until: Option<Timestamp>,
}

/// What became of condemned recordings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// They are gone, with their files.
    pub removed: u64,
    /// Their files could not be removed: it is tried again.
    pub left: u64,
}

impl Recording {
    /// Where its file is in the folder of recordings; `None` where its name would lead elsewhere.
    pub fn path(&self, folder: &Path) -> Option<PathBuf> {
        let is_name = !self.file.is_empty()
            && !self.file.starts_with('.')
            && !self.file.contains(['/', '\\', '\0']);
        is_name.then(|| folder.join(&self.file))
    }
}

/// One whose id is there already is left as it is.
pub(crate) async fn insert<'e, DB, E>(executor: E, recording: &Recording) -> sqlx::Result<()>
where
    DB: Database,
    E: Executor<'e, Database = DB>,
    for<'q> DB::Arguments: IntoArguments<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    i32: for<'q> Encode<'q, DB> + Type<DB>,
{
    sqlx::query(
        "INSERT INTO recordings (id, call, tenant, started_ms, ended_ms, channels, bytes, node, file, \
         condemned) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0) ON CONFLICT (id) DO NOTHING",
    )
    .bind(recording.id.to_string())
    .bind(recording.call.to_string())
    .bind(recording.tenant.clone())
    .bind(recording.started.millis())
    .bind(recording.ended.millis())
    .bind(i32::from(recording.channels))
    .bind(i64::try_from(recording.bytes).unwrap_or(i64::MAX))
    .bind(recording.node.clone())
    .bind(recording.file.clone())
    .execute(executor)
    .await
    .map(drop)
}

impl Store {
    /// Keeps a recording. One whose id is there already is left as it is.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_recording(&self, recording: &Recording) -> Result<(), StoreError> {
        within(async {
            on_engine!(self.writer(), pool => {
                Ok(insert(pool, recording).await?)
            })
        })
        .await
    }

    /// The recording of this id.
    ///
    /// # Errors
    /// If the database fails, or the row is damaged.
    pub async fn recording(&self, id: Uuid) -> Result<Option<Recording>, StoreError> {
        let row: Option<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as("SELECT * FROM recordings WHERE id = $1 AND condemned = 0")
                    .bind(id.to_string())
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        row.map(Recording::try_from).transpose()
    }

    /// A page of the recordings that `filter` lets through, newest first by when they begin.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn recordings(
        &self,
        filter: &RecordingFilter,
        limit: u32,
        after: Option<Cursor>,
    ) -> Result<Page<Recording>, StoreError> {
        let before = after.map_or((i64::MAX, String::new()), |cursor| {
            (cursor.time.millis(), cursor.id.to_string())
        });
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT * FROM recordings WHERE (started_ms, id) < ($1, $2) AND condemned = 0 \
                     AND (CAST($3 AS TEXT) IS NULL OR call = $3) \
                     AND (CAST($4 AS TEXT) IS NULL OR tenant = $4) \
                     AND started_ms >= $5 AND started_ms < $6 \
                     ORDER BY started_ms DESC, id DESC LIMIT $7",
                )
                .bind(before.0)
                .bind(before.1)
                .bind(filter.call.map(|call| call.to_string()))
                .bind(filter.tenant.as_deref())
                .bind(filter.since.map_or(i64::MIN, Timestamp::millis))
                .bind(filter.until.map_or(i64::MAX, Timestamp::millis))
                .bind(i64::from(limit) + 1)
                .fetch_all(pool)
                .await?)
            })
        })
        .await?;
        let more = rows.len() > limit as usize;
        let items = rows.into_iter().take(limit as usize);
        let items: Vec<Recording> = items.map(Recording::try_from).collect::<Result<_, _>>()?;
        let next = items.last().filter(|_| more).map(|last| Cursor {
            time: last.started,
            id: last.id,
        });
        Ok(Page { items, next })
    }

    /// Has a recording go. Tells whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn condemn_recording(&self, id: Uuid) -> Result<bool, StoreError> {
        let condemn = "UPDATE recordings SET condemned = 1 WHERE condemned = 0 AND id = $1";
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(condemn).bind(id.to_string()).execute(pool).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Has recordings go that begin before a time. Tells how many.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn condemn_recordings_before(&self, time: Timestamp) -> Result<u64, StoreError> {
        let condemn = "UPDATE recordings SET condemned = 1 WHERE condemned = 0 AND started_ms < $1";
        let forget = "DELETE FROM voice_recordings WHERE created_ms < $1";
        within(async {
            on_engine!(self.writer(), pool => {
                let done = sqlx::query(condemn).bind(time.millis()).execute(pool).await?;
                sqlx::query(forget).bind(time.millis()).execute(pool).await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }

    /// The recordings of a node that end first, the first one first, so many at most.
    ///
    /// # Errors
    /// If the database fails, or a row in it is damaged.
    pub async fn oldest_recordings(
        &self,
        node: &str,
        limit: u32,
    ) -> Result<Vec<Recording>, StoreError> {
        let rows: Vec<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as(
                    "SELECT * FROM recordings WHERE condemned = 0 AND node = $1 \
                     ORDER BY ended_ms, id LIMIT $2",
                )
                .bind(node)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?)
            })
        })
        .await?;
        rows.into_iter().map(Recording::try_from).collect()
    }

    /// Has these recordings go, with what the REST API as Twilio has it says of them. Tells how many there were.
    ///
    /// # Errors
    /// If the database fails; none of them goes then.
    pub async fn evict_recordings(&self, ids: &[Uuid]) -> Result<u64, StoreError> {
        let condemn = "UPDATE recordings SET condemned = 1 WHERE condemned = 0 AND id = $1";
        let forget = "DELETE FROM voice_recordings WHERE sid = $1";
        within(async {
            on_engine!(self.writer(), pool => {
                let mut count = 0;
                let mut transaction = pool.begin().await?;
                for id in ids {
                    let done = sqlx::query(condemn)
                        .bind(id.to_string())
                        .execute(&mut *transaction)
                        .await?;
                    count += done.rows_affected();
                    sqlx::query(forget)
                        .bind(format!("RE{}", id.simple()))
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(count)
            })
        })
        .await
    }

    /// Whether a file of a node is one of a recording, even of one that is to go.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn is_recording_listed(&self, node: &str, file: &str) -> Result<bool, StoreError> {
        let found: Option<Row> = within(async {
            on_engine!(self.reader(), pool => {
                Ok(sqlx::query_as("SELECT * FROM recordings WHERE node = $1 AND file = $2 LIMIT 1")
                    .bind(node)
                    .bind(file)
                    .fetch_optional(pool)
                    .await?)
            })
        })
        .await?;
        Ok(found.is_some())
    }

    /// Removes the files of a node's recordings that are to go, and then the recordings. A file that is not in the
    /// folder is gone, where this is the folder that mediad writes to and no empty place for it; one that cannot be
    /// removed is logged, and tried again the next time.
    ///
    /// # Errors
    /// If the database fails; some may be gone then.
    pub async fn sweep_recordings(&self, node: &str, folder: &Path) -> Result<Swept, StoreError> {
        let (mut swept, mut after) = (Swept::default(), String::new());
        loop {
            let rows: Vec<Row> = within(async {
                on_engine!(self.reader(), pool => {
                    Ok(sqlx::query_as(
                        "SELECT * FROM recordings WHERE condemned = 1 AND node = $1 AND id > $2 \
                         ORDER BY id LIMIT $3",
                    )
                    .bind(node)
                    .bind(after.as_str())
                    .bind(PAGE)
                    .fetch_all(pool)
                    .await?)
                })
            })
            .await?;
            let Some(last) = rows.last() else {
                return Ok(swept);
            };
            after.clone_from(&last.id);
            for row in rows {
                let recording = match Recording::try_from(row) {
                    Ok(recording) => recording,
                    Err(error) => {
                        tracing::warn!(%error, "a recording that is to go stays");
                        swept.left += 1;
                        continue;
                    }
                };
                let removed = match recording.path(folder) {
                    Some(path) => remove(path).await,
                    None => Err(io::Error::other("its name leads elsewhere")),
                };
                if let Err(error) = removed {
                    let (id, file) = (recording.id, &recording.file);
                    tracing::warn!(%id, file, %error, "the file of a recording cannot be removed");
                    swept.left += 1;
                    continue;
                }
                within(async {
                    on_engine!(self.writer(), pool => {
                        sqlx::query("DELETE FROM recordings WHERE id = $1")
                            .bind(recording.id.to_string())
                            .execute(pool)
                            .await?;
                        Ok(())
                    })
                })
                .await?;
                swept.removed += 1;
            }
        }
    }
}

/// What mediad leaves in the folder of recordings when it starts: where it is missing, the folder is not there at
/// present (a volume that is not mounted), and nothing in it is gone.
const MARK: &str = ".recordings";

async fn remove(path: PathBuf) -> io::Result<()> {
    let removed = spawn_blocking(move || match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Whether anything is there.
            fs::metadata(path.with_file_name(MARK)).map(drop)
        }
        done => done,
    });
    removed.await.map_err(io::Error::other).flatten()
}

#[derive(FromRow)]
struct Row {
    id: String,
    call: String,
    tenant: Option<String>,
    started_ms: i64,
    ended_ms: i64,
    channels: i32,
    bytes: i64,
    node: String,
    file: String,
}

impl TryFrom<Row> for Recording {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: keyed::id("recordings.id", &row.id)?,
            call: keyed::id("recordings.call", &row.call)?,
            tenant: row.tenant,
            started: Timestamp::from_millis(row.started_ms),
            ended: Timestamp::from_millis(row.ended_ms),
            channels: u8::try_from(row.channels).unwrap_or_default(),
            bytes: row.bytes.unsigned_abs(),
            node: row.node,
            file: row.file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let named = |file: &str| Recording {
            id: Uuid::now_v7(),
            call: Uuid::now_v7(),
            tenant: None,
            started: Timestamp::from_millis(0),
            ended: Timestamp::from_millis(1),
            channels: 2,
            bytes: 44,
            node: "one".to_owned(),
            file: file.to_owned(),
        };
        let folder = Path::new("/var/lib/tandem/recordings");
        let path = named("a-1.wav").path(folder);
        assert_eq!(path, Some(folder.join("a-1.wav")));
        for file in [
            "",
            ".",
            "..",
            "../a",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "a\0",
            ".a",
        ] {
            assert_eq!(named(file).path(folder), None, "{file}");
        }
    }
}
