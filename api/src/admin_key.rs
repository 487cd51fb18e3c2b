//! The key that opens `/v1`.

use std::{
    fmt,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rand::RngExt;
use subtle::ConstantTimeEq;

/// The fewest characters of a key.
const SHORTEST: usize = 8;

/// What a client shows in `Authorization: Bearer`. Shown by no `Debug`, compared in constant time.
#[derive(Clone)]
pub struct AdminKey(String);

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminKeyError {
    /// Too short, or with characters that a header field cannot carry.
    #[error(
        "[api] admin_key: write at least {SHORTEST} visible ASCII characters without spaces, \
         or leave it out and a random one is made"
    )]
    Weak,
    /// The file in the data directory cannot be read or written.
    #[error("cannot keep the admin key in {path}: {source}; set [api] admin_key")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl AdminKey {
    /// A key that an operator chose.
    ///
    /// # Errors
    /// [`AdminKeyError::Weak`].
    pub fn new(key: &str) -> Result<Self, AdminKeyError> {
        let good = key.len() >= SHORTEST && key.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Self(key.to_owned()))
            .ok_or(AdminKeyError::Weak)
    }

    /// 192 random bits.
    pub fn random() -> Self {
        let bytes: [u8; 24] = rand::rng().random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The key in `data_dir/admin_key`; a random one is put there, for the owner's eyes only, where
    /// there is none. Tells whether it is new.
    ///
    /// # Errors
    /// If the file cannot be read or written, or holds no key.
    pub fn load_or_create(data_dir: &Path) -> Result<(Self, bool), AdminKeyError> {
        let path = data_dir.join("admin_key");
        Self::load(&path)
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Self::create(&path),
                _ => Err(error),
            })
            .map_err(|source| AdminKeyError::File { path, source })
            .and_then(|(key, new)| Ok((Self::new(&key)?, new)))
    }

    /// The key itself, to be shown to the operator.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is this key. Takes the same time wherever the two differ.
    pub(crate) fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    fn load(path: &Path) -> io::Result<(String, bool)> {
        Ok((fs::read_to_string(path)?.trim_end().to_owned(), false))
    }

    fn create(path: &Path) -> io::Result<(String, bool)> {
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        let key = Self::random().0;
        // Written aside and linked into place: of two processes that start together one makes the
        // key, and none reads half of it.
        let draft = path.with_extension(std::process::id().to_string());
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(file, "{key}")?;
        file.sync_all()?;
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        match linked {
            Ok(()) => Ok((key, true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let (first, new) = AdminKey::load_or_create(&data).unwrap();
        assert!(new);
        assert_eq!(first.reveal().len(), 48);
        let (second, new) = AdminKey::load_or_create(&data).unwrap();
        assert!(!new && second.is(first.reveal()));
        let mode = fs::metadata(data.join("admin_key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft is left");
        assert_ne!(AdminKey::random().0, AdminKey::random().0);
    }

    #[test]
    fn a_weak_key_is_refused() {
        for key in ["", "short", "has a space", "caf\u{e9}caf\u{e9}"] {
            assert!(AdminKey::new(key).is_err(), "{key}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("admin_key"), "\n").unwrap();
        assert!(AdminKey::load_or_create(dir.path()).is_err());
    }

    #[test]
    fn only_the_whole_key_matches() {
        let key = AdminKey::new("correct-horse").unwrap();
        assert!(key.is("correct-horse"));
        for shown in ["", "correct-hors", "correct-horse!", "Correct-horse"] {
            assert!(!key.is(shown), "{shown}");
        }
        assert!(!format!("{key:?}").contains("horse"));
    }
}
