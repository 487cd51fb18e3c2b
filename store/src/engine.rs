//! The database behind the store, whichever engine it is.

use std::{
    fmt,
    fs::{DirBuilder, OpenOptions},
    io,
    num::NonZeroU16,
    os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    Connection as _, PgConnection, PgPool, SqliteConnection, SqlitePool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{StoreError, steps::Pace};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// How long a statement of SQLite waits for another process's write to end.
const BUSY: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a caller waits for an answer before it takes the database for dead.
const ANSWER: Duration = Duration::from_secs(10);
/// Connections to SQLite that read, beside the one that writes.
const SQLITE_READERS: u32 = 3;
/// What the connection that writes keeps of the file, in MiB: an index in the order of its keys takes
/// each new row on another page, and a page that is not kept is read again for it.
const WRITER_CACHE: NonZeroU16 = NonZeroU16::new(32).unwrap();
/// Pages in SQLite's log before they are moved to where they belong, about 32 MB. Until then a page that
/// is written again and again, as the last one of an index by time is, need not be moved each time.
const LOG_PAGES: u32 = 8_000;
/// Connections to PostgreSQL of one process.
const POSTGRES_CONNECTIONS: u32 = 8;

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    pub(crate) data_dir: PathBuf,
    database: String,
    /// What SQLite has open.
    file: Option<File>,
}

#[derive(Clone)]
struct File {
    path: PathBuf,
    identity: Identity,
}

/// Tells a file from another one of the same name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

#[derive(Clone)]
enum Engine {
    /// One of its connections can write at a time, and what another one has written is no use to what
    /// it keeps of the file: so it is always the same one that writes.
    Sqlite {
        readers: SqlitePool,
        writer: SqlitePool,
    },
    Postgres(PgPool),
}

/// The connections for one purpose.
pub(crate) enum Pool<'a> {
    Sqlite(&'a SqlitePool),
    Postgres(&'a PgPool),
}

/// Evaluates an expression once for each engine, with `$pool` being that engine's of [`Store::reader`]
/// or [`Store::writer`]. The types in it differ, its text does not.
macro_rules! on_engine {
    ($which:expr, $pool:ident => $body:expr) => {
        match $which {
            $crate::engine::Pool::Sqlite($pool) => $body,
            $crate::engine::Pool::Postgres($pool) => $body,
        }
    };
}
pub(crate) use on_engine;

impl Store {
    /// Opens the database at `url` and brings its schema up to date: `sqlite:FILE`, where a relative
    /// file is in `data_dir`, or `postgres://…`. A missing SQLite file is made, for its owner only.
    /// Several processes may open the same database at once.
    ///
    /// # Errors
    /// Says what of the URL, the file, the server or the schema is wrong.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(url, data_dir, None).await
    }

    /// The same, where what writes to SQLite keeps up to `cache` MiB of the database in memory, 32 where
    /// that is `None`. PostgreSQL keeps its own.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(
        url: &str,
        data_dir: &Path,
        cache: Option<NonZeroU16>,
    ) -> Result<Self, StoreError> {
        let store = match Parsed::of(url)? {
            Parsed::Sqlite { options, memory } => {
                let cache = cache.unwrap_or(WRITER_CACHE);
                Self::open_sqlite(options, memory, cache, data_dir).await?
            }
            Parsed::Postgres(options) => Self::open_postgres(options, data_dir).await?,
        };
        store.note_owners().await?;
        tracing::info!(database = %store.database, "store open");
        Ok(store)
    }

    /// Says what is wrong with a URL, as far as that shows without opening what it names.
    ///
    /// # Errors
    /// As [`Store::open`] has them: [`StoreError::Url`].
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        Parsed::of(url).map(drop)
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// Tells why there was none. A SQLite file that was moved or removed is [`StoreError::Moved`]:
    /// SQLite goes on with the file that it has open, and nobody would find what it writes.
    pub async fn ping(&self) -> Result<(), StoreError> {
        if let Some(file) = &self.file
            && Identity::of(&file.path).ok() != Some(file.identity)
        {
            let path = file.path.clone();
            return Err(StoreError::Moved { path });
        }
        within(async {
            on_engine!(self.reader(), pool => sqlx::query("SELECT 1").execute(pool).await.map(drop)?);
            Ok(())
        })
        .await
    }

    /// Closes every connection; what is under way ends first.
    pub async fn close(&self) {
        on_engine!(self.reader(), pool => pool.close().await);
        // The last to go moves SQLite's log to the file, which those that read may not.
        on_engine!(self.writer(), pool => pool.close().await);
    }

    /// What only reads.
    pub(crate) const fn reader(&self) -> Pool<'_> {
        match &self.engine {
            Engine::Sqlite { readers, .. } => Pool::Sqlite(readers),
            Engine::Postgres(pool) => Pool::Postgres(pool),
        }
    }

    /// What writes.
    pub(crate) const fn writer(&self) -> Pool<'_> {
        match &self.engine {
            Engine::Sqlite { writer, .. } => Pool::Sqlite(writer),
            Engine::Postgres(pool) => Pool::Postgres(pool),
        }
    }

    /// How much of its time may go into what nobody waits for.
    pub(crate) const fn pace(&self) -> Pace {
        match &self.engine {
            Engine::Sqlite { .. } => Pace::SQLITE,
            Engine::Postgres(_) => Pace::POSTGRES,
        }
    }

    /// Which database this is, without a password.
    pub fn database(&self) -> &str {
        &self.database
    }

    async fn open_sqlite(
        options: SqliteConnectOptions,
        memory: bool,
        cache: NonZeroU16,
        data_dir: &Path,
    ) -> Result<Self, StoreError> {
        let path = data_dir.join(options.get_filename());
        let options = if memory {
            options
        } else {
            create_private(&path).map_err(|source| StoreError::File {
                path: path.clone(),
                source,
            })?;
            options.filename(&path)
        };
        let database = format!(
            "sqlite:{}",
            if memory {
                ":memory:".into()
            } else {
                path.display().to_string()
            }
        );

        // FULL: a CDR that was reported as written survives a power failure.
        let options = options
            .busy_timeout(BUSY)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Where an INSERT of many rows may have to be undone, what it changes is noted: in memory, for a
            // file of its own for each was a quarter of what it cost.
            .pragma("temp_store", "memory")
            .foreign_keys(true);
        let open = |source| StoreError::Open {
            database: database.clone(),
            source,
        };
        // What it keeps is not thrown away for the sake of a new connection. A database in memory even
        // lives and dies with it.
        let one = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_release(|connection, _| Box::pin(has_ended(connection)));
        let writing = options
            .clone()
            .pragma("cache_size", format!("-{}", u32::from(cache.get()) * 1024))
            .pragma("wal_autocheckpoint", LOG_PAGES.to_string());
        let writer = connect_sqlite(one, writing).await.map_err(open)?;

        // SQLite has no lock that outlives a transaction, so that processes which start together
        // migrate in turns only if all of it is one transaction.
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(open)?;
        // `run` does the same, but its future is not `Send`.
        let result = MIGRATOR.run_direct(None, &mut *transaction, false).await;
        migrated(result, &database)?;
        transaction.commit().await.map_err(open)?;
        // Not before: what a connection knows of the columns is of when it was opened, and sqlx does not see
        // that SQLite looks again.
        let readers = if memory {
            writer.clone()
        } else {
            let some = SqlitePoolOptions::new()
                .max_connections(SQLITE_READERS)
                .acquire_timeout(ACQUIRE);
            let reading = options.pragma("query_only", "true");
            connect_sqlite(some, reading).await.map_err(open)?
        };
        let file = match memory {
            true => None,
            false => {
                let identity = Identity::of(&path);
                let identity = identity.map_err(|_| StoreError::Moved { path: path.clone() })?;
                Some(File { path, identity })
            }
        };
        Ok(Self {
            engine: Engine::Sqlite { readers, writer },
            data_dir: data_dir.to_owned(),
            database,
            file,
        })
    }

    async fn open_postgres(options: PgConnectOptions, data_dir: &Path) -> Result<Self, StoreError> {
        let options = options.application_name("tandem");
        let host = match options.get_socket() {
            Some(path) => path.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let name = options
            .get_database()
            .unwrap_or_else(|| options.get_username());
        let database = format!("postgres:{host}/{name}");
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.clone())
            .await;
        let pool = match pool {
            Ok(pool) => pool,
            Err(error) => {
                // The pool waits for a server that is starting, and only tells that it waited.
                let once = timeout(ACQUIRE, PgConnection::connect_with(&options)).await;
                let source = match once {
                    Ok(Err(reason)) if matches!(error, sqlx::Error::PoolTimedOut) => reason,
                    _ => error,
                };
                return Err(StoreError::Open { database, source });
            }
        };
        migrated(MIGRATOR.run(&pool).await, &database)?;
        Ok(Self {
            engine: Engine::Postgres(pool),
            data_dir: data_dir.to_owned(),
            database,
            file: None,
        })
    }
}

/// A URL that was read.
pub(crate) enum Parsed {
    Sqlite {
        options: SqliteConnectOptions,
        memory: bool,
    },
    Postgres(PgConnectOptions),
}

impl Parsed {
    pub(crate) fn of(url: &str) -> Result<Self, StoreError> {
        let wrong = |error: sqlx::Error| StoreError::Url(error.to_string());
        match url.split_once(':') {
            // They would turn off what this module promises, such as that data reaches the disk.
            Some(("sqlite", rest)) if rest.contains('?') => {
                Err(StoreError::Url("SQLite takes no parameters here".into()))
            }
            Some(("sqlite", "" | "//")) => Err(StoreError::Url("no file is named".into())),
            Some(("sqlite", _)) => Ok(Self::Sqlite {
                options: SqliteConnectOptions::from_str(url).map_err(wrong)?,
                memory: matches!(url, "sqlite::memory:" | "sqlite://:memory:"),
            }),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                PgConnectOptions::from_str(url)
                    .map(Self::Postgres)
                    .map_err(wrong)
            }
            Some(("postgres" | "postgresql", _)) => {
                Err(StoreError::Url("// and a host are missing".into()))
            }
            // The URL may hold a password: its beginning is enough to see what is wrong.
            Some((scheme, _)) => Err(StoreError::Url(format!("unknown engine '{scheme}'"))),
            None => Err(StoreError::Url("no engine is named".into())),
        }
    }
}

/// Connects. Who first turns a new database to WAL locks out all others, and SQLite does not let them
/// wait for it as it does for a write.
async fn connect_sqlite(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
) -> Result<SqlitePool, sqlx::Error> {
    const LOCKED: &str = "5"; // SQLITE_BUSY
    let end = Instant::now() + BUSY;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(LOCKED) && Instant::now() < end =>
            {
                sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

/// Whether nothing is left of a connection's transaction. SQLite ends some by itself where the disk is
/// full, and sqlx, which does not know, then begins the next ones within one that nobody commits: what
/// they write would never be in the database. Such a connection has to be closed.
async fn has_ended(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A transaction that was given up is undone before this is answered.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.database).finish()
    }
}

/// Gives up on an answer after [`ANSWER`]: a connection whose far end vanished tells nothing.
pub(crate) async fn within<T>(
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(ANSWER, answer)
        .await
        .unwrap_or(Err(StoreError::Timeout(ANSWER.as_secs())))
}

fn migrated(
    result: Result<(), sqlx::migrate::MigrateError>,
    database: &str,
) -> Result<(), StoreError> {
    result.map_err(|source| StoreError::Migrate {
        database: database.to_owned(),
        source,
    })
}

/// Makes the file, and its folder, readable to the owner only; leaves one that exists as it is.
/// SQLite gives its journal files the permissions of the database.
fn create_private(path: &PathBuf) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match file {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RoutingDocument, RoutingKind};

    #[tokio::test]
    async fn what_writes_to_sqlite_keeps_as_much_as_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for (cache, kib) in [(None, -32_768), (NonZeroU16::new(3), -3_072)] {
            let store = Store::open_with("sqlite:test.db", folder.path(), cache);
            let Engine::Sqlite { writer, .. } = store.await.unwrap().engine else {
                panic!("it is SQLite");
            };
            let size: i64 = sqlx::query_scalar("PRAGMA cache_size")
                .fetch_one(&writer)
                .await
                .unwrap();
            assert_eq!(size, kib);
        }
    }
    #[tokio::test]
    async fn what_is_written_after_a_full_disk_is_in_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
        let put = async |ids: &[&str], length| {
            let document = |id: &&str| RoutingDocument::new(*id, "x".repeat(length));
            let documents: Vec<_> = ids.iter().map(document).collect();
            store.put_routing(RoutingKind::Route, &documents).await
        };
        let room = async |pages: u32| {
            let Engine::Sqlite { writer, .. } = &store.engine else {
                panic!("it is SQLite");
            };
            let limit = format!("PRAGMA max_page_count = {pages}");
            sqlx::query(sqlx::AssertSqlSafe(limit))
                .execute(writer)
                .await
                .unwrap();
        };
        // SQLite undoes a statement of one row with all of its transaction, one of several rows alone.
        for ids in [&["one"][..], &["one", "two"]] {
            room(1).await;
            put(ids, 1_000_000).await.unwrap_err();
        }
        room(1_000_000).await;
        put(&["three"], 1).await.unwrap();
        let kept = store.routing_document(RoutingKind::Route, "three").await;
        assert!(kept.unwrap().is_some());
    }
}
