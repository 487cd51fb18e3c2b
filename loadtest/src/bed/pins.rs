//! What a node that was killed leaves in bpffs: its XDP programs and maps, pinned under its name.
//!
//! A node that stops removes them itself. One that a test killed would have adopted them at its next
//! start, which never comes.

use std::{fs, io, path::PathBuf};

/// Where nodes pin, each in a folder with its name.
const FOLDER: &str = "/sys/fs/bpf/tandem";
/// What the names of nodes on beds begin with; the maker's process id follows.
const PREFIX: &str = "bed-";

/// The name of the node on bed `number` of process `pid`.
pub(super) fn node_name(pid: u32, number: u32) -> String {
    format!("{PREFIX}{pid}-{number}")
}

/// Removes what the node `name` has pinned, if anything.
pub(super) fn remove(name: &str) {
    if let Err(error) = fs::remove_dir_all(PathBuf::from(FOLDER).join(name))
        && error.kind() != io::ErrorKind::NotFound
    {
        eprintln!("{FOLDER}/{name}: could not be removed: {error}");
    }
}

/// Removes what nodes on the beds of dead processes have pinned.
pub(super) fn remove_stale() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if maker(&name).is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

/// The process id in a node's name, where it was on a bed.
fn maker(name: &str) -> Option<u32> {
    let (pid, _number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_on_beds_have_a_maker() {
        assert_eq!(maker(&node_name(4711, 2)), Some(4711));
        assert_eq!(maker("tandem"), None);
        assert_eq!(maker("bed-room"), None);
    }
}
