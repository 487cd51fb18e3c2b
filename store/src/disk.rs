//! File systems: of the data directory, where records are kept or spill to, and of the folder of recordings.

use std::{io, path::Path};

use crate::Store;

/// How large a file system is, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// In bytes.
    pub size: u64,
    /// Bytes that this process may still write.
    pub available: u64,
}

impl Disk {
    /// How the file system that has this path is now. Waits for it.
    ///
    /// # Errors
    /// If there is no such path.
    pub fn of(path: &Path) -> io::Result<Self> {
        let told = rustix::fs::statvfs(path)?;
        Ok(Self {
            size: told.f_blocks.saturating_mul(told.f_frsize),
            available: told.f_bavail.saturating_mul(told.f_frsize),
        })
    }
}

impl Store {
    /// How the file system of the data directory is now.
    ///
    /// # Errors
    /// If the directory is gone.
    pub fn disk(&self) -> io::Result<Disk> {
        Disk::of(&self.data_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_has_no_more_left_than_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite::memory:", folder.path()).await.unwrap();
        let disk = store.disk().unwrap();
        assert!(0 < disk.size && disk.available <= disk.size, "{disk:?}");
        drop(folder);
        assert!(store.disk().is_err());
    }
}
