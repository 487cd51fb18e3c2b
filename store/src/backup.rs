//! A copy of a SQLite database, made while it is in use, and put back where nothing uses it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use crate::{
    Store,
    engine::{MIGRATOR, Parsed, Pool},
};

/// Why there is no copy, or why it was not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// PostgreSQL has its own tools, which see all of its server.
    #[error("the store is PostgreSQL's: use pg_dump, and pg_restore or psql to put it back")]
    Postgres,
    /// The URL of the store cannot be read.
    #[error(transparent)]
    Url(#[from] crate::StoreError),
    /// There is something where the copy should be.
    #[error("{0} is there already: name another file, or remove it")]
    Exists(PathBuf),
    /// A file cannot be read, written or made.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no database of Tandem's, or no whole one.
    #[error("{path} cannot be put back: {reason}; nothing was changed")]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A process has the store open.
    #[error(
        "the database {0} is in use: stop the node, and all that has it open; nothing was changed"
    )]
    InUse(PathBuf),
    /// What is there would be lost.
    #[error(
        "the database {0} is not empty: --force puts the backup in its place; nothing was changed"
    )]
    NotEmpty(PathBuf),
    /// SQLite did not do it.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl Store {
    /// Writes a copy to a file that is not there yet, for its owner only, as the database is at one moment. What
    /// goes on in it meanwhile goes on.
    ///
    /// # Errors
    /// [`BackupError::Postgres`], or why the file could not be written; it is not there then.
    pub async fn back_up(&self, file: &Path) -> Result<(), BackupError> {
        let Pool::Sqlite(pool) = self.writer() else {
            return Err(BackupError::Postgres);
        };
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(file);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(file.to_owned()));
            }
            made => made.map_err(|error| of_file(file, error))?,
        };
        // SQLite writes into a file that is empty.
        let copied = sqlx::query("VACUUM INTO $1")
            .bind(file.display().to_string())
            .execute(pool)
            .await;
        let kept = match copied {
            Ok(_) => sync(file),
            Err(error) => Err(error.into()),
        };
        if kept.is_err() {
            // What is told is why it is no copy.
            let _ = fs::remove_file(file);
        }
        kept
    }
}

/// Puts a copy in the place of the database at `url`, as [`Store::open`] has it. `force` even where that is not
/// empty. Gives the path of the database.
///
/// # Errors
/// Where the copy is none, or of a newer release, or where the database is in use or not empty; nothing was changed
/// then.
pub async fn restore(
    url: &str,
    data_dir: &Path,
    file: &Path,
    force: bool,
) -> Result<PathBuf, BackupError> {
    let Parsed::Sqlite { options, .. } = Parsed::of(url)? else {
        return Err(BackupError::Postgres);
    };
    let target = data_dir.join(options.get_filename());
    check(file).await?;
    if target.exists() && !is_empty(&target).await? && !force {
        return Err(BackupError::NotEmpty(target));
    }
    // Beside it first: it is whole, or not there.
    let beside = target.with_extension("restoring");
    let copied = copy(file, &beside).and_then(|()| {
        fs::rename(&beside, &target).map_err(|error| of_file(&target, error))?;
        sync(target.parent().unwrap_or(data_dir))
    });
    if copied.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&beside);
    }
    copied.map(|()| target)
}

/// Whether a file is a whole database of a schema that this release knows.
async fn check(file: &Path) -> Result<(), BackupError> {
    let unfit = |reason: String| BackupError::Unfit {
        path: file.to_owned(),
        reason,
    };
    // It tells more than SQLite does of a file that is not there.
    File::open(file).map_err(|error| of_file(file, error))?;
    let options = SqliteConnectOptions::new().filename(file).immutable(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let whole = sqlx::query_scalar::<_, String>("PRAGMA integrity_check(1)");
    match whole.fetch_one(&mut connection).await {
        Ok(said) if said == "ok" => {}
        Ok(said) => return Err(unfit(format!("it is damaged: {said}"))),
        Err(error) => {
            return Err(unfit(format!(
                "it is damaged, or no SQLite database: {error}"
            )));
        }
    }
    let steps = sqlx::query("SELECT version, checksum FROM _sqlx_migrations ORDER BY version");
    let steps = steps.fetch_all(&mut connection).await;
    let steps = steps.map_err(|_| unfit("it is no database of Tandem's".to_owned()))?;
    for step in steps {
        let (version, checksum): (i64, Vec<u8>) = (step.get(0), step.get(1));
        let mut known = MIGRATOR.iter();
        if !known.any(|one| one.version == version && *one.checksum == *checksum) {
            return Err(unfit(format!(
                "its schema {version:04} is not this release's: use the release that wrote it"
            )));
        }
    }
    connection.close().await?;
    Ok(())
}

/// Whether nothing is in a database that nobody else has open. Its log is in it afterwards.
async fn is_empty(target: &Path) -> Result<bool, BackupError> {
    // SQLite leaves its log only where this is the only connection.
    let options = SqliteConnectOptions::new()
        .filename(target)
        .busy_timeout(Duration::ZERO)
        .journal_mode(SqliteJournalMode::Delete);
    let in_use = |_| BackupError::InUse(target.to_owned());
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .map_err(in_use)?;
    let lock = sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut connection)
        .await;
    lock.map_err(in_use)?;
    let used = "SELECT EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM routing) \
                OR EXISTS (SELECT 1 FROM cdrs) OR EXISTS (SELECT 1 FROM api_keys) \
                OR EXISTS (SELECT 1 FROM tenants WHERE id <> 'default')";
    // Where there are no such tables, it is somebody else's.
    let is_used = sqlx::query_scalar(used).fetch_one(&mut connection).await;
    let is_used: bool = is_used.unwrap_or(true);
    connection.close().await?;
    Ok(!is_used)
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut target = options.open(to).map_err(|error| of_file(to, error))?;
    let mut source = File::open(from).map_err(|error| of_file(from, error))?;
    let copied = io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
    copied.map_err(|error| of_file(to, error))
}

fn sync(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| of_file(path, error))
}

fn of_file(path: &Path, source: io::Error) -> BackupError {
    let path = path.to_owned();
    BackupError::File { path, source }
}
