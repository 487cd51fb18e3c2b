//! What stays in the kernel between two processes of a node: a folder on bpffs.
#![expect(unsafe_code, reason = "statfs and mount have no safe face in std")]

use std::{
    ffi::CString,
    fs::{self, File, TryLockError},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use aya::programs::links::{FdLink, PinnedLink};
use ebpf_abi::ABI_VERSION;
use tracing::{debug, info, warn};

use super::{Interface, Mode, XdpError};

/// Where bpffs belongs.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// The type of a bpffs in statfs(2).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The folder of one node and one ABI version.
#[derive(Debug)]
pub(super) struct Pins {
    node: PathBuf,
    folder: PathBuf,
    /// The node's folder, locked while its process lives. `None` where another one has it.
    turn: Option<File>,
}

/// A pinned attachment.
#[derive(Debug, PartialEq, Eq)]
struct LinkPin {
    path: PathBuf,
    ifindex: u32,
    mode: String,
}

impl Pins {
    /// Makes the folder of `node` under `root`, and mounts bpffs first where nobody has. `None`,
    /// with a warning, where this process may not: then nothing can outlive it.
    pub(super) fn open(root: &Path, node: &str) -> Result<Option<Self>, XdpError> {
        let fail = |path: &Path, error| XdpError::Pin {
            path: path.to_owned(),
            error,
        };
        // A container may have only the folder of the host's bpffs that is meant for it.
        let mounted = is_bpffs(root) || is_bpffs(Path::new(BPFFS));
        if root.starts_with(BPFFS) && !mounted {
            if let Err(error) = mount_bpffs() {
                warn!(%error, "{BPFFS} is not mounted and cannot be mounted: calls will not keep \
                    flowing while mediad restarts; `mount -t bpf bpf {BPFFS}` as root helps");
                return Ok(None);
            }
            info!("bpffs mounted at {BPFFS}");
        }
        let node = root.join(file_name(node));
        let folder = node.join(format!("v{ABI_VERSION}"));
        match fs::create_dir_all(&folder) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                warn!(%error, "this user may not make {}: calls will not keep flowing while mediad restarts; as \
                    root: `install -d -o USER {}` and `chmod o+x {BPFFS}`", folder.display(), root.display());
                return Ok(None);
            }
            made => made.map_err(|error| fail(&folder, error))?,
        }
        if !is_bpffs(&folder) {
            // Leave no folders behind where they can be of no use. What is not empty stays.
            [&folder, &node]
                .iter()
                .for_each(|folder| drop(fs::remove_dir(folder)));
            return Err(fail(&folder, io::ErrorKind::Unsupported.into()));
        }
        // A process that is ending may have it for a moment more; what it has pinned is taken over all the same.
        let turn = lock(&node).map_err(|error| fail(&node, error))?;
        Ok(Some(Self { node, folder, turn }))
    }

    /// What `node` has left under `root`, if anything.
    ///
    /// # Errors
    /// [`XdpError::Look`] where this user may not look.
    pub(super) fn existing(root: &Path, node: &str) -> Result<Option<Self>, XdpError> {
        let node = root.join(file_name(node));
        let fail = |error| XdpError::Look {
            path: node.clone(),
            error,
        };
        let is_folder = match fs::symlink_metadata(&node) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(fail)?.is_dir(),
        };
        if !is_folder {
            return Err(fail(io::ErrorKind::NotADirectory.into()));
        }
        let turn = lock(&node).map_err(fail)?;
        let folder = node.join(format!("v{ABI_VERSION}"));
        Ok(Some(Self { node, folder, turn }))
    }

    /// Whether another process lives that has pinned here.
    pub(super) const fn is_in_use(&self) -> bool {
        self.turn.is_none()
    }

    /// Whether another version of Tandem has left attachments.
    pub(super) fn has_others(&self) -> bool {
        let links = self.links();
        links.iter().any(|pin| !pin.path.starts_with(&self.folder))
    }

    /// How many attachments are pinned.
    pub(super) fn attachments(&self) -> usize {
        self.links().len()
    }

    /// The pin of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The pin of an attachment.
    pub(super) fn link(&self, interface: &Interface, mode: Mode) -> PathBuf {
        self.folder.join(format!("link-{}-{mode}", interface.index))
    }

    /// The attachment that an earlier process left on `interface`, of this or another ABI version.
    /// Its pin is then where [`link`](Self::link) says.
    ///
    /// Attachments in another mode are taken off: the kernel allows one mode at a time.
    pub(super) fn adopt(&self, interface: &Interface, mode: Mode) -> Option<PinnedLink> {
        let mut adopted = None;
        for pin in self
            .links()
            .into_iter()
            .filter(|pin| pin.ifindex == interface.index)
        {
            if pin.mode != mode.name() {
                info!(interface = %interface.name, was = %pin.mode, now = %mode,
                    "XDP mode changes: packets go to userspace for a moment");
                remove(&pin.path);
                continue;
            }
            let path = self.link(interface, mode);
            let moved = pin.path == path || fs::rename(&pin.path, &path).is_ok();
            match PinnedLink::from_pin(&path) {
                Ok(link) if moved => adopted = Some(link),
                _ => remove(&pin.path),
            }
        }
        adopted
    }

    /// Pins a new attachment.
    pub(super) fn pin_link(
        &self,
        link: FdLink,
        interface: &Interface,
        mode: Mode,
    ) -> Result<FdLink, XdpError> {
        let path = self.link(interface, mode);
        if path.exists() {
            remove(&path);
        }
        let pinned = link.pin(&path).map_err(|error| XdpError::Pin {
            path,
            error: io::Error::other(error),
        })?;
        Ok(pinned.into())
    }

    /// Removes what this node had pinned and does not use any more: attachments to interfaces that
    /// it has left, and everything of another ABI version.
    pub(super) fn remove_stale(&self, interfaces: &[Interface], mode: Mode) {
        let current: Vec<PathBuf> = interfaces.iter().map(|it| self.link(it, mode)).collect();
        for pin in self
            .links()
            .iter()
            .filter(|pin| !current.contains(&pin.path))
        {
            info!(pin = %pin.path.display(), "old XDP attachment removed");
            remove(&pin.path);
        }
        for folder in self
            .versions()
            .iter()
            .filter(|folder| **folder != self.folder)
        {
            warn!(folder = %folder.display(), "maps of another version of Tandem removed: calls \
                that it forwarded by XDP are not known to this one");
            remove_folder(folder);
        }
    }

    /// Removes everything of this node.
    ///
    /// # Errors
    /// When a pin stays.
    pub(super) fn remove(&self) -> Result<(), XdpError> {
        let versions = self.versions();
        versions.iter().for_each(|folder| remove_folder(folder));
        // A folder that cannot be read has nothing in it, as far as can be seen.
        if let Some(folder) = versions.iter().find(|folder| folder.exists()) {
            return Err(XdpError::Stays {
                path: folder.clone(),
            });
        }
        match fs::remove_dir(&self.node) {
            // The folder above is root's and this process is not: an empty folder is left.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                debug!(folder = %self.node.display(), %error, "the folder of the node's pins stays");
            }
            // Somebody else has something in it.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                warn!(folder = %self.node.display(), %error, "the folder of the node's pins stays");
            }
            removed => removed.map_err(|error| XdpError::Pin {
                path: self.node.clone(),
                error,
            })?,
        }
        // The root too, if this was the last node.
        if let Some(Err(error)) = self.node.parent().map(fs::remove_dir) {
            debug!(%error, "the folder of all nodes stays");
        }
        Ok(())
    }

    /// The folders of all ABI versions. What else is in the node's folder is not ours, or not understood: it stays. So
    /// does a link, which may lead anywhere.
    fn versions(&self) -> Vec<PathBuf> {
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|is| is.is_dir());
        let mut folders = entries(&self.node);
        folders.retain(|folder| is_version(folder) && is_folder(folder));
        folders
    }

    /// All pinned attachments of this node, of every ABI version.
    fn links(&self) -> Vec<LinkPin> {
        self.versions()
            .iter()
            .flat_map(|folder| entries(folder))
            .filter_map(parse_link)
            .collect()
    }
}

/// `v` and a number.
pub(super) fn is_version(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix('v'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn parse_link(path: PathBuf) -> Option<LinkPin> {
    let name = path.file_name()?.to_str()?;
    let (ifindex, mode) = name.strip_prefix("link-")?.split_once('-')?;
    let (ifindex, mode) = (ifindex.parse().ok()?, mode.to_owned());
    Some(LinkPin {
        path,
        ifindex,
        mode,
    })
}

pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Takes the lock on a folder; `None` where somebody has it.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_folder(folder: &Path) {
    entries(folder).iter().for_each(|path| remove(path));
    if let Err(error) = fs::remove_dir(folder) {
        warn!(folder = %folder.display(), %error, "a folder of pins cannot be removed");
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!(pin = %path.display(), %error, "a pin cannot be removed");
    }
}

/// A node's name as a file name: bpffs refuses dots, and a slash would be a folder.
pub(super) fn file_name(node: &str) -> String {
    let mut name = String::with_capacity(node.len());
    for byte in node.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

pub(super) fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: all zeros is a valid `statfs`.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a struct to write to, both alive during the call.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut stat) };
    result == 0 && stat.f_type == BPF_FS_MAGIC
}

pub(super) fn mount_bpffs() -> io::Result<()> {
    // SAFETY: C strings with static lifetime; a bpffs takes no data.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            c"/sys/fs/bpf".as_ptr(),
            c"bpf".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            std::ptr::null(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_become_distinct_file_names() {
        assert_eq!(file_name("n1"), "n1");
        assert_eq!(file_name("edge.a/b"), "edge%2ea%2fb");
        assert_ne!(file_name("a.b"), file_name("a%2eb"));
    }

    #[test]
    fn pins_of_links_are_recognised() {
        let pin = parse_link(PathBuf::from("/x/v1/link-12-xdp-generic")).unwrap();
        assert_eq!((pin.ifindex, pin.mode.as_str()), (12, "xdp-generic"));
        for other in ["SLOTS", "link-xdp", "link-x-xdp"] {
            assert_eq!(
                parse_link(PathBuf::from("/x/v1").join(other)),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn what_cannot_be_removed_is_told_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let take_down = |force| super::super::take_down(root.path(), "n1", force);
        assert!(matches!(take_down(false), Ok(None)));
        fs::create_dir_all(at("n1/v0")).unwrap();
        fs::create_dir_all(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/file"), "").unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("n1/v1")).unwrap();
        // Of another version, of whose calls nothing is known.
        fs::write(at("n1/v0/link-1-xdp"), "").unwrap();
        assert!(matches!(take_down(false), Err(XdpError::OtherVersion)));
        // Somebody has the folder.
        let held = lock(&at("n1")).unwrap();
        assert!(matches!(take_down(true), Err(XdpError::Runs)));
        drop(held);
        // What no pin is, and is not removed like one.
        fs::create_dir_all(at("n1/v0/folder")).unwrap();
        assert!(matches!(take_down(true), Err(XdpError::Stays { .. })));
        fs::remove_dir(at("n1/v0/folder")).unwrap();
        fs::write(at("n1/v0/link-1-xdp"), "").unwrap();
        assert_eq!(take_down(true).unwrap().unwrap().interfaces, 1);
        assert!(!at("n1/v0").exists() && at("elsewhere/file").exists());
    }
}
