//! What can go wrong with the database, and who should do something about it.

use std::path::PathBuf;

use sqlx::error::ErrorKind;

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configured URL names no engine that the store knows, or cannot be read.
    #[error("[store] url: {0}; write sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE")]
    Url(String),
    /// The SQLite file, or the folder that it should be in, cannot be made.
    #[error(
        "cannot create the database {path}: {source}; check that data_dir exists and is writable"
    )]
    File {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database did not let us in.
    #[error("cannot open the database {database}: {source}")]
    Open {
        /// Which one, without its password.
        database: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error(
        "cannot migrate the database {database}: {source}; \
         a database that a newer version migrated needs that version"
    )]
    Migrate {
        /// Which one, without its password.
        database: String,
        /// What the driver said.
        source: sqlx::migrate::MigrateError,
    },
    /// The database answered too late, or not at all; the same statement may succeed later.
    #[error("the database did not answer within {0} s")]
    Timeout(u64),
    /// Another process has been writing to the SQLite file for longer than a statement waits.
    #[error(
        "the database file is locked: another process has been writing to it for longer than 5 s; \
         'fuser -v FILE' shows which (a backup, or an open transaction of the sqlite3 shell): end it, \
         and try again"
    )]
    Locked,
    /// The SQLite file is not where it was opened any more, and what is written goes where it is.
    #[error(
        "the database file {path} was moved, removed or replaced while it is in use: \
         put it back, or restart the node to use what is there"
    )]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// The database refuses this very data, now and later.
    #[error("the database refuses the record: {0}")]
    Rejected(sqlx::Error),
    /// A stored value makes no sense to this version.
    #[error("the database holds {column} = '{value}', which this version does not understand")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// Anything else that the driver reports: the database may be away, full or busy.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
}

impl StoreError {
    /// Nothing but another record will help: repeating the statement is useless.
    pub const fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if refuses_data(&error) {
            Self::Rejected(error)
        } else if is_locked(&error) {
            Self::Locked
        } else {
            Self::Database(error)
        }
    }
}

/// Whether SQLite gave up waiting for who writes: SQLITE_BUSY, whose low byte is 5 in all its kinds.
fn is_locked(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    let sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>();
    let code =
        sqlite.and_then(|error| sqlx::error::DatabaseError::code(error)?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

/// Whether `error` blames the data, not the state of the database.
fn refuses_data(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // SQLSTATE classes of PostgreSQL: 22 is a bad value, 23 a constraint, 54 a limit such as that of an
            // index. SQLite's primary codes: 18 is TOOBIG, 20 is MISMATCH.
            let is_of_data = ["22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class));
            (code.len() == 5 && is_of_data)
                || matches!(&*code, "18" | "20")
                || !matches!(error.kind(), ErrorKind::Other)
        }
        _ => false,
    }
}
