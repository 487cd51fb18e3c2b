//! What a daemon may do once it has started: the capabilities that its work needs, and no others.
//!
//! [`Privileges::shed`] is to be called before the process has a second thread, its log's included: capabilities
//! belong to threads, and a thread that is made has those of its maker. What is gone then does not come back: it is
//! out of the bounding set, and no program that the process runs gains anything (`no_new_privs`).

use std::{
    ffi::CString,
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt as _, chown},
    path::{Path, PathBuf},
};

use nix::unistd::{self, Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use crate::config::{Config, DatapathMode};

/// Ports below this are for who has CAP_NET_BIND_SERVICE, unless sysctl net.ipv4.ip_unprivileged_port_start says
/// otherwise.
const LOW_PORTS: u16 = 1024;

/// What XDP needs: to load the program and write its maps, to attach it and to look for neighbours, and to get it past
/// the verifier as it is built (subtracting pointers to a packet) and without barriers against speculation.
const XDP: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "cap_bpf"),
    (CapabilitySet::NET_ADMIN, "cap_net_admin"),
    (CapabilitySet::PERFMON, "cap_perfmon"),
];
const BIND: (CapabilitySet, &str) = (CapabilitySet::NET_BIND_SERVICE, "cap_net_bind_service");

/// Why privileges cannot be dropped; the process must not go on then.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Nobody has that name.
    #[error("[node] user = \"{0}\": there is no such user; 'useradd --system {0}' makes one")]
    NoUser(String),
    /// Only root becomes another user.
    #[error(
        "[node] user = \"{wanted}\": only root becomes another user: start it as root or as {wanted}, or leave the key out"
    )]
    NotRoot {
        /// As configured.
        wanted: String,
    },
    /// The data directory cannot be made for the user.
    #[error("cannot make [node] data_dir {} for user {user}: {error}", .folder.display())]
    DataDir {
        /// Which.
        folder: PathBuf,
        /// For whom.
        user: String,
        /// Why not.
        error: io::Error,
    },
    /// The kernel refuses a step.
    #[error("privileges cannot be dropped ({step}): {error}")]
    Refused {
        /// Which.
        step: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// Who a process is to be, and what it keeps.
#[derive(Debug)]
pub struct Privileges {
    keep: Vec<(CapabilitySet, &'static str)>,
    user: Option<Account>,
}

/// A user that the process becomes.
#[derive(Debug)]
struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// What became of it, for the log.
#[derive(Debug)]
pub struct Shed {
    /// The user whose process it is now, where it became another's.
    pub user: Option<String>,
    /// The capabilities that it has, as setcap(8) writes them.
    pub kept: Vec<&'static str>,
}

impl Privileges {
    /// Those of mediad.
    ///
    /// # Errors
    /// As [`Privileges::node`].
    pub fn mediad(config: &Config) -> Result<Self, PrivilegeError> {
        Self::new(config, wants_xdp(config), media_ports(config))
    }

    /// Those of signaling, which binds the addresses of `[sip] listen` before.
    ///
    /// # Errors
    /// As [`Privileges::node`].
    pub fn signaling(config: &Config) -> Result<Self, PrivilegeError> {
        Self::new(config, false, [])
    }

    /// Those of the API.
    ///
    /// # Errors
    /// As [`Privileges::node`].
    pub fn api(config: &Config) -> Result<Self, PrivilegeError> {
        Self::new(config, false, [config.api.listen.port()])
    }

    /// Those of a node in one process, which binds the addresses of `[sip] listen` before.
    ///
    /// # Errors
    /// [`PrivilegeError::NoUser`] and [`PrivilegeError::NotRoot`].
    pub fn node(config: &Config) -> Result<Self, PrivilegeError> {
        let ports = media_ports(config)
            .into_iter()
            .chain([config.api.listen.port()]);
        Self::new(config, wants_xdp(config), ports)
    }

    fn new(
        config: &Config,
        xdp: bool,
        ports: impl IntoIterator<Item = u16>,
    ) -> Result<Self, PrivilegeError> {
        let mut keep = if xdp { XDP.to_vec() } else { Vec::new() };
        // Port 0 is a free one, and those are high.
        if ports.into_iter().any(|port| (1..LOW_PORTS).contains(&port)) {
            keep.push(BIND);
        }
        let user = config.node.user.as_deref().map(Account::find).transpose()?;
        Ok(Self {
            keep,
            user: user.flatten(),
        })
    }

    /// The user and group that the process's files are to be of, where it is root now.
    pub fn owner(&self) -> Option<(u32, u32)> {
        let is_root = unistd::geteuid().is_root();
        let user = self.user.as_ref();
        is_root.then(|| user.map_or((0, 0), |user| (user.uid.as_raw(), user.gid.as_raw())))
    }

    /// Drops everything else, in this thread and those that it makes. The data directory is made first where it is
    /// missing and another user is to have it.
    ///
    /// # Errors
    /// [`PrivilegeError`]; the process must end then.
    pub fn shed(self, config: &Config) -> Result<Shed, PrivilegeError> {
        if let Some(user) = &self.user {
            user.make(&config.node.data_dir)?;
        }
        let has = capabilities(None).map_err(refused("capget"))?.permitted;
        let kept = self.keep.into_iter().filter(|(one, _)| has.contains(*one));
        let kept: Vec<_> = kept.collect();
        let keep: CapabilitySet = kept.iter().map(|(one, _)| *one).collect();
        // Only who has CAP_SETPCAP may change the bounding set; for others `no_new_privs` has the same effect.
        if has.contains(CapabilitySet::SETPCAP) {
            for one in CapabilitySet::all()
                .iter()
                .filter(|one| !keep.contains(*one))
            {
                match remove_capability_from_bounding_set(one) {
                    // This kernel does not know it.
                    Err(rustix::io::Errno::INVAL) => {}
                    result => result.map_err(refused("bounding set"))?,
                }
            }
        }
        if let Some(user) = &self.user {
            set_keep_capabilities(true).map_err(refused("keeping capabilities"))?;
            user.become_it()?;
        }
        clear_ambient_capability_set().map_err(refused("ambient set"))?;
        let sets = CapabilitySets {
            effective: keep,
            permitted: keep,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).map_err(refused("capset"))?;
        set_no_new_privs(true).map_err(refused("no_new_privs"))?;
        Ok(Shed {
            user: self.user.map(|user| user.name),
            kept: kept.into_iter().map(|(_, name)| name).collect(),
        })
    }
}

impl Shed {
    /// Tells the log.
    pub fn tell(&self) {
        tracing::info!("{self}");
    }
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("privileges were dropped")?;
        if let Some(user) = &self.user {
            write!(f, "; this is user {user}'s process now")?;
        }
        match self.kept.is_empty() {
            true => f.write_str("; no capability is left"),
            false => write!(f, "; kept {}", self.kept.join(",")),
        }
    }
}

/// What XDP needs and this process does not have, as setcap(8) writes it.
pub fn missing_for_xdp() -> Vec<&'static str> {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    // Before there was CAP_BPF all of it was in CAP_SYS_ADMIN, and still is.
    let stands_in = |one| one != CapabilitySet::NET_ADMIN && has.contains(CapabilitySet::SYS_ADMIN);
    let missing = XDP
        .iter()
        .filter(|(one, _)| !has.contains(*one) && !stands_in(*one));
    missing.map(|(_, name)| *name).collect()
}

/// Whether mediad tries XDP by this configuration.
pub fn wants_xdp(config: &Config) -> bool {
    match config.media.datapath {
        DatapathMode::Xdp | DatapathMode::XdpGeneric => true,
        DatapathMode::Auto => !config.media.devices().is_empty(),
        DatapathMode::IoUring | DatapathMode::Sockets => false,
    }
}

fn media_ports(config: &Config) -> Vec<u16> {
    let media = &config.media;
    let ng = media.ng.iter().map(|ng| ng.address.port());
    let metrics = media.metrics.iter().map(std::net::SocketAddr::port);
    ng.chain(metrics)
        .chain([*media.ports.ports().start()])
        .collect()
}

impl Account {
    /// `None` where the process is that user's already.
    fn find(name: &str) -> Result<Option<Self>, PrivilegeError> {
        let found = unistd::User::from_name(name).map_err(|error| PrivilegeError::Refused {
            step: "looking for [node] user",
            error: error.into(),
        })?;
        let user = found.ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))?;
        let now = unistd::geteuid();
        if now == user.uid {
            return Ok(None);
        }
        if !now.is_root() {
            let wanted = name.to_owned();
            return Err(PrivilegeError::NotRoot { wanted });
        }
        Ok(Some(Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
        }))
    }

    /// Makes a folder that is not there, for this user alone.
    fn make(&self, folder: &Path) -> Result<(), PrivilegeError> {
        let failed = |error| PrivilegeError::DataDir {
            folder: folder.to_owned(),
            user: self.name.clone(),
            error,
        };
        if folder.exists() {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let made = fs::DirBuilder::new().mode(0o700).create(folder);
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        made.and_then(|()| chown(folder, Some(uid), Some(gid)))
            .map_err(failed)
    }

    /// Makes the process this user's, with the user's groups.
    fn become_it(&self) -> Result<(), PrivilegeError> {
        let failed = |step| {
            move |error: nix::Error| PrivilegeError::Refused {
                step,
                error: error.into(),
            }
        };
        let no_user = || PrivilegeError::NoUser(self.name.clone());
        let name = CString::new(self.name.as_str()).map_err(|_| no_user())?;
        unistd::initgroups(&name, self.gid).map_err(failed("groups"))?;
        unistd::setresgid(self.gid, self.gid, self.gid).map_err(failed("group"))?;
        unistd::setresuid(self.uid, self.uid, self.uid).map_err(failed("user"))
    }
}

fn refused(step: &'static str) -> impl Fn(rustix::io::Errno) -> PrivilegeError {
    move |error| PrivilegeError::Refused {
        step,
        error: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, []).unwrap().config
    }

    fn keeps(privileges: Result<Privileges, PrivilegeError>) -> Vec<&'static str> {
        let keep = privileges.unwrap().keep;
        keep.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn only_what_the_configuration_needs_is_kept() {
        let plain = config("");
        assert_eq!(keeps(Privileges::mediad(&plain)), [""; 0]);
        assert_eq!(keeps(Privileges::node(&plain)), [""; 0]);
        let xdp = config(
            "[sip]\nlisten = [\"udp:127.0.0.1:506\"]\n\
             [media]\ninterface = \"eth0\"\n[api]\nlisten = \"127.0.0.1:80\"",
        );
        let all = ["cap_bpf", "cap_net_admin", "cap_perfmon"];
        assert_eq!(keeps(Privileges::mediad(&xdp)), all);
        // Its sockets are there already.
        assert_eq!(keeps(Privileges::signaling(&xdp)), [""; 0]);
        assert_eq!(keeps(Privileges::api(&xdp)), ["cap_net_bind_service"]);
        let node = [&all[..], &["cap_net_bind_service"]].concat();
        assert_eq!(keeps(Privileges::node(&xdp)), node);
        let forbidden = config("[media]\ninterface = \"eth0\"\ndatapath = \"io-uring\"");
        assert_eq!(keeps(Privileges::mediad(&forbidden)), [""; 0]);
    }

    #[test]
    fn a_user_that_is_not_there_is_told() {
        let config = config("[node]\nuser = \"nobody-has-this-name\"");
        let error = Privileges::api(&config).unwrap_err().to_string();
        assert!(error.contains("useradd --system"), "{error}");
    }

    #[test]
    fn what_xdp_would_need_is_told() {
        let config = config("");
        let missing = std::thread::spawn(move || {
            Privileges::node(&config).unwrap().shed(&config).unwrap();
            missing_for_xdp()
        });
        let all = ["cap_bpf", "cap_net_admin", "cap_perfmon"];
        assert_eq!(missing.join().unwrap(), all);
    }

    #[test]
    fn nothing_is_left_that_was_not_asked_for_and_threads_made_later_have_no_more() {
        let config = config("[media]\ninterface = \"eth0\"");
        // This thread and its child alone.
        let sets = std::thread::spawn(move || {
            let before = capabilities(None).unwrap().permitted;
            let shed = Privileges::mediad(&config).unwrap().shed(&config).unwrap();
            let child = std::thread::spawn(|| capabilities(None).unwrap());
            (
                before,
                shed,
                capabilities(None).unwrap(),
                child.join().unwrap(),
            )
        });
        let (before, shed, own, child) = sets.join().unwrap();
        let xdp: CapabilitySet = XDP.iter().map(|(one, _)| *one).collect();
        assert_eq!(own, child);
        assert_eq!(own.permitted, before & xdp);
        assert_eq!(own.effective, own.permitted);
        assert_eq!(own.inheritable, CapabilitySet::empty());
        if before.contains(xdp) {
            assert!(
                shed.to_string()
                    .ends_with("kept cap_bpf,cap_net_admin,cap_perfmon")
            );
        }
    }
}
