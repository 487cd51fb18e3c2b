//! What a node makes at its first start and keeps in its data directory.

use std::{
    fs::{DirBuilder, OpenOptions, hard_link, read, remove_file},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use store::Uuid;
use tracing::warn;

/// By what a node knows again what it wrote to a database that others write to as well, whatever they are called.
pub(crate) fn node_id(data_dir: &Path) -> Uuid {
    let new = Uuid::now_v7();
    let path = data_dir.join("node.id");
    let id = kept(&path, format!("{new}\n").as_bytes()).and_then(|kept| {
        let text = str::from_utf8(&kept).map_err(io::Error::other)?;
        Uuid::try_parse(text.trim()).map_err(io::Error::other)
    });
    id.unwrap_or_else(|error| {
        let path = path.display();
        warn!(
            %error,
            "the id of this node cannot be kept in {path}: if it is killed, its programmable calls are ended a day \
             later; make the data directory writable, and remove the file if it is damaged"
        );
        new
    })
}

/// What a file holds, or `first` where there was none: it is made so, for nobody else to read.
///
/// # Errors
/// If it cannot be read or made.
pub(crate) fn kept(path: &Path, first: &[u8]) -> io::Result<Vec<u8>> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        known => return known,
    }
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    // Under another name first: a file that is there is whole.
    let unfinished = path.with_extension(format!("{:08x}", rand::random::<u32>()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(first)?;
    file.sync_all()?;
    // Where another process was quicker, what it made counts.
    let linked = hard_link(&unfinished, path);
    remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_an_id_of_its_own_that_lasts() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = node_id(one.path());
        assert_eq!(node_id(one.path()), id);
        assert_ne!(node_id(two.path()), id);
        // It starts without one too.
        std::fs::write(one.path().join("node.id"), "damaged").unwrap();
        assert_ne!(node_id(one.path()), id);
    }
}
