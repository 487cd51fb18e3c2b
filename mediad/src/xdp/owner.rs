//! The folder of a node's pins, given to the user that its mediad is about to become.
//!
//! What is in that folder is that user's work, or was made by whoever has broken into an earlier process of it. So root
//! follows no link there: folders are opened as what they are, and all that is in them is reached by the open folder.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown, lchown},
    },
    path::{Path, PathBuf},
};

use super::pins::{BPFFS, entries, file_name, is_bpffs, is_version, mount_bpffs};

/// While the process is still root: mounts bpffs where nobody has, makes the folder of `node` under `root`, and gives
/// it with all that is in it to the user and group of `owner`, who is to find the way there too. The folder of all
/// nodes stays root's.
///
/// # Errors
/// When something there is not what mediad has made, as a link in the place of a folder; and when the kernel refuses.
pub(super) fn give(root: &Path, node: &str, owner: (u32, u32)) -> io::Result<()> {
    let system = Path::new(BPFFS);
    let is_system = root.starts_with(system);
    if is_system && !is_bpffs(root) && !is_bpffs(system) {
        mount_bpffs()?;
    }
    let node = root.join(file_name(node));
    fs::create_dir_all(&node)?;
    let (user, group) = owner;
    let node = Folder::open(&node)?;
    fchown(&node.0, Some(user), Some(group))?;
    let versions = node.entries().into_iter();
    for version in versions.filter(|path| is_version(path)) {
        let version = Folder::open(&version)?;
        fchown(&version.0, Some(user), Some(group))?;
        for pin in version.entries() {
            lchown(pin, Some(user), Some(group))?;
        }
    }
    if user != 0 && is_system {
        // systemd mounts it for root alone. Who may pass still reads nothing there.
        let mode = fs::metadata(system)?.permissions().mode();
        if mode & 0o001 == 0 {
            fs::set_permissions(system, fs::Permissions::from_mode(mode & 0o7777 | 0o001))?;
        }
    }
    Ok(())
}

/// An open folder: it stays the same one, whatever is put in the place where it was found.
struct Folder(File);

impl Folder {
    /// Opens it, and no link to it.
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path);
        // The path that is asked for may be one of /proc, which tells an operator nothing.
        let named = |error: io::Error| {
            let name = path.file_name().unwrap_or_default().display();
            io::Error::new(
                error.kind(),
                format!("{name}: {error} (a link there is not followed)"),
            )
        };
        file.map(Self).map_err(named)
    }

    /// What is in it, by paths that lead by the open folder.
    fn entries(&self) -> Vec<PathBuf> {
        entries(Path::new(&format!("/proc/self/fd/{}", self.0.as_raw_fd())))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    const OWNER: (u32, u32) = (12_345, 12_346);

    #[test]
    fn root_follows_no_link_in_the_folder_that_it_gives_away() {
        let root = tempfile::tempdir().unwrap();
        let of = |path: &str| fs::symlink_metadata(root.path().join(path)).unwrap();
        if of("").uid() != 0 {
            return;
        }
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("elsewhere/folder")).unwrap();
        fs::write(at("elsewhere/file"), "").unwrap();
        fs::write(at("elsewhere/folder/file"), "").unwrap();
        fs::create_dir_all(at("n1/v7")).unwrap();
        fs::write(at("n1/v7/SLOTS"), "").unwrap();
        symlink(at("elsewhere/file"), at("n1/v7/FLOWS")).unwrap();
        symlink(at("elsewhere/folder"), at("n1/v7/link-1-xdp")).unwrap();
        give(root.path(), "n1", OWNER).unwrap();
        for given in ["n1", "n1/v7", "n1/v7/SLOTS", "n1/v7/FLOWS"] {
            assert_eq!((of(given).uid(), of(given).gid()), OWNER, "{given}");
        }
        // A link in the place of a folder, of a version's or of the node's.
        symlink(at("elsewhere/folder"), at("n1/v8")).unwrap();
        assert!(give(root.path(), "n1", OWNER).is_err());
        symlink(at("elsewhere"), at("n2")).unwrap();
        assert!(give(root.path(), "n2", OWNER).is_err());
        for kept in [
            "",
            "elsewhere",
            "elsewhere/file",
            "elsewhere/folder",
            "elsewhere/folder/file",
        ] {
            assert_eq!(of(kept).uid(), 0, "{kept}");
        }
    }
}
