//! What stays in the kernel between two processes of a node: a folder on bpffs.
#![expect(unsafe_code, reason = "statfs and mount have no safe face in std")]

use std::{
    ffi::CString,
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
};

use aya::programs::links::{FdLink, PinnedLink};
use ebpf_abi::ABI_VERSION;
use tracing::{debug, info, warn};

use super::{Interface, Mode, XdpError};

/// Where bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// The type of a bpffs in statfs(2).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The folder of one node and one ABI version.
#[derive(Debug)]
pub(super) struct Pins {
    node: PathBuf,
    folder: PathBuf,
}

/// A pinned attachment.
#[derive(Debug, PartialEq, Eq)]
struct LinkPin {
    path: PathBuf,
    ifindex: u32,
    mode: String,
}

/// While the process is still root: mounts bpffs where nobody has, and gives the folder of `node` under `root` with
/// all that is in it to the user and group of `owner`, who is to find the way there too.
pub(super) fn give(root: &Path, node: &str, (user, group): (u32, u32)) -> io::Result<()> {
    let system = Path::new(BPFFS);
    if root.starts_with(system) && !is_bpffs(root) && !is_bpffs(system) {
        mount_bpffs()?;
    }
    let node = root.join(file_name(node));
    fs::create_dir_all(&node)?;
    let versions = entries(&node);
    let pins = versions.iter().flat_map(|folder| entries(folder));
    for path in [root.to_owned(), node]
        .into_iter()
        .chain(pins)
        .chain(versions.clone())
    {
        chown(&path, Some(user), Some(group))?;
    }
    // systemd mounts it for root alone. Who may pass still reads nothing there.
    let mode = fs::metadata(system)?.permissions().mode();
    if user != 0 && root.starts_with(system) && mode & 0o001 == 0 {
        fs::set_permissions(system, fs::Permissions::from_mode(mode & 0o7777 | 0o001))?;
    }
    Ok(())
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
        Ok(Some(Self { node, folder }))
    }

    /// What `node` has left under `root`, if anything.
    pub(super) fn existing(root: &Path, node: &str) -> Option<Self> {
        let node = root.join(file_name(node));
        let folder = node.join(format!("v{ABI_VERSION}"));
        node.exists().then_some(Self { node, folder })
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
    pub(super) fn remove(&self) -> Result<(), XdpError> {
        self.versions()
            .iter()
            .for_each(|folder| remove_folder(folder));
        match fs::remove_dir(&self.node) {
            // The folder above is another user's, or somebody else has something in this one: it stays.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
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

    /// The folders of all ABI versions. What else is in the node's folder is not ours, or not understood: it stays.
    fn versions(&self) -> Vec<PathBuf> {
        let mut folders = entries(&self.node);
        folders.retain(|folder| is_version(folder));
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
fn is_version(folder: &Path) -> bool {
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

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
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
fn file_name(node: &str) -> String {
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

fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: all zeros is a valid `statfs`.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a struct to write to, both alive during the call.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut stat) };
    result == 0 && stat.f_type == BPF_FS_MAGIC
}

fn mount_bpffs() -> io::Result<()> {
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
}
