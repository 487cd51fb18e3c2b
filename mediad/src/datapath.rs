//! The ladder: which path packets take, chosen once at start.
//!
//! | `datapath` | XDP | the shards' own packets |
//! |---|---|---|
//! | `auto` | native, where an interface is named and the driver has it | io_uring, else sockets |
//! | `xdp`, `xdp-generic` | that mode, or no start | io_uring, else sockets |
//! | `io-uring` | none | io_uring, or no start |
//! | `sockets` | none | sockets |
//!
//! `auto` does not step down to generic XDP: it makes the kernel copy or linearise other packets of
//! the interface as well, which is not for this program to decide unasked.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::config::{DatapathMode, Media};
use control::media::{Bans, Path};
use thiserror::Error;
use tokio::sync::Notify;
use tracing::{debug, error, warn};

use crate::hops;
use crate::io::uring::{Uring, UringError};
use crate::shard::{IoMode, Offload};
use crate::tap::{self, Unread};
use crate::xdp::{Counters, Mode, Options, PIN_ROOT, Slot, Xdp, XdpError, take_down, veth_warning};

/// Why the datapath that was asked for is not to be had.
#[derive(Debug, Error)]
pub enum DatapathError {
    /// XDP was asked for by name.
    #[error("datapath = \"{mode}\": {source}")]
    Xdp {
        /// As configured.
        mode: &'static str,
        /// Why not.
        source: XdpError,
    },
    /// XDP was asked for, but not where.
    #[error("datapath = \"{mode}\" needs [media] interface (--interface) to say which device")]
    NoInterface {
        /// As configured.
        mode: &'static str,
    },
    /// io_uring was asked for by name.
    #[error("datapath = \"io-uring\": {0}")]
    Uring(#[from] UringError),
    /// Next hops for XDP cannot be asked for, or there are no more file descriptors.
    #[error("XDP needs netlink, which cannot be used: {0}")]
    Netlink(#[from] io::Error),
}

/// The path that was chosen.
#[derive(Debug)]
pub(crate) struct Datapath {
    /// The best path.
    pub(crate) path: Path,
    /// What the shards use.
    pub(crate) io: IoMode,
    /// Why it is not a better one; empty for the best, and for the one asked for.
    pub(crate) stepped_down: String,
    xdp: Mutex<Option<Xdp>>,
    /// What XDP copies, until somebody reads it.
    unread: Mutex<Option<Unread>>,
    hops_changed: Arc<Notify>,
    /// The engine has started, and says what becomes of the program at its end.
    is_started: AtomicBool,
}

impl IoMode {
    pub(crate) const fn path(self) -> Path {
        match self {
            Self::Uring => Path::IoUring,
            Self::Sockets => Path::Sockets,
        }
    }
}

/// Walks the ladder. What comes with XDP is for the shards. Must be called inside a tokio runtime.
///
/// # Errors
/// When the configuration names a path that this machine does not have.
pub(crate) fn choose(
    media: &Media,
    node: &str,
) -> Result<(Datapath, Option<Offload>), DatapathError> {
    let mut reasons = Vec::new();
    let interfaces = media.devices();
    let mode = media.datapath;
    let wanted = match mode {
        DatapathMode::Auto if interfaces.is_empty() => {
            reasons.push("XDP: no [media] interface is configured".to_owned());
            None
        }
        DatapathMode::Xdp | DatapathMode::XdpGeneric if interfaces.is_empty() => {
            return Err(DatapathError::NoInterface { mode: mode.name() });
        }
        DatapathMode::Auto | DatapathMode::Xdp => Some(Mode::Native),
        DatapathMode::XdpGeneric => Some(Mode::Generic),
        DatapathMode::IoUring | DatapathMode::Sockets => None,
    };
    let xdp = match wanted.map(|mode| attach(interfaces, mode, node)) {
        None => None,
        Some(Ok(xdp)) => {
            warn_of_veth(&xdp);
            Some(xdp)
        }
        Some(Err(error)) if mode == DatapathMode::Auto => {
            reasons.push(format!("XDP: {}", with_causes(&error)));
            None
        }
        Some(Err(source)) => {
            return Err(DatapathError::Xdp {
                mode: mode.name(),
                source,
            });
        }
    };
    if xdp.is_none() {
        clean_up(node);
    }
    let io = choose_io(mode, &mut reasons)?;
    let path = match xdp.as_ref().map(Xdp::mode) {
        Some(Mode::Native) => Path::Xdp,
        Some(Mode::Generic) => Path::XdpGeneric,
        None => io.path(),
    };
    let datapath = Datapath {
        path,
        io,
        stepped_down: reasons.join("; "),
        xdp: Mutex::new(xdp),
        unread: Mutex::default(),
        hops_changed: Arc::default(),
        is_started: AtomicBool::new(false),
    };
    let offload = datapath.offload()?;
    Ok((datapath, offload))
}

fn choose_io(mode: DatapathMode, reasons: &mut Vec<String>) -> Result<IoMode, UringError> {
    if mode == DatapathMode::Sockets {
        return Ok(IoMode::Sockets);
    }
    match Uring::probe() {
        Ok(()) => Ok(IoMode::Uring),
        Err(error) if mode == DatapathMode::IoUring => Err(error),
        Err(error) => {
            reasons.push(format!("io_uring: {error}"));
            Ok(IoMode::Sockets)
        }
    }
}

/// Nothing else tells of packets that a veth does not take from the program.
fn warn_of_veth(xdp: &Xdp) {
    if xdp.mode() == Mode::Native {
        let names = xdp.interfaces().iter().map(|one| &one.name);
        for warning in names.filter_map(|name| veth_warning(name)) {
            warn!("{warning}");
        }
    }
}

/// Takes down what a process before this one has left, when this one has no XDP: its program would go on forwarding the
/// calls of then, on ports that others have now.
fn clean_up(node: &str) {
    match take_down(PIN_ROOT.as_ref(), node, true) {
        Ok(None) => {}
        Ok(Some(done)) => warn!(
            interfaces = done.interfaces,
            "the XDP program that an earlier mediad of this node has left is taken off, and calls that it forwarded are \
             cut off: this one does not use XDP"
        ),
        // Where only root may look, this process has never pinned anything.
        Err(XdpError::Look { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            debug!(%error, "cannot look for an earlier mediad's XDP program");
        }
        Err(error) => warn!(
            error = with_causes(&error),
            "an XDP program that an earlier mediad of this node has left may go on forwarding its calls; \
             'mediad --detach' takes it off"
        ),
    }
}

fn attach(interfaces: Vec<String>, mode: Mode, node: &str) -> Result<Xdp, XdpError> {
    Xdp::attach(&Options {
        interfaces,
        mode,
        node: node.to_owned(),
        pin_root: Some(PathBuf::from(PIN_ROOT)),
    })
}

impl Datapath {
    /// What the shards have of XDP.
    fn offload(&self) -> Result<Option<Offload>, DatapathError> {
        let mut xdp = self.xdp.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(xdp) = xdp.as_mut() else {
            return Ok(None);
        };
        let ring = xdp.take_tap();
        let (tapper, unread) = ring.map(tap::prepare).transpose()?.unzip();
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = unread;
        Ok(Some(Offload {
            slots: xdp.slots(),
            flows: xdp.flows(),
            numbers: xdp.numbers(),
            sources: xdp.sources(),
            mode: xdp.mode(),
            hops: hops::start(xdp.interfaces(), self.hops_changed.clone())?,
            tapper,
        }))
    }

    /// The engine has started: from now on the program stays where nobody takes it down.
    pub(crate) fn started(&self) {
        self.is_started.store(true, Ordering::Relaxed);
    }

    /// The interfaces with the program on them.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let xdp = self.xdp.lock().unwrap_or_else(PoisonError::into_inner);
        let interfaces = xdp.as_ref().map_or(&[][..], Xdp::interfaces);
        interfaces
            .iter()
            .map(|interface| interface.name.clone())
            .collect()
    }

    /// What the program has counted.
    pub(crate) fn counters(&self) -> Option<Counters> {
        let xdp = self.xdp.lock().unwrap_or_else(PoisonError::into_inner);
        match xdp.as_ref()?.counters() {
            Ok(counters) => Some(counters),
            Err(error) => {
                warn!(%error, "cannot read the XDP counters");
                None
            }
        }
    }

    /// What XDP copies, for the one who reads it.
    pub(crate) fn take_unread(&self) -> Option<Unread> {
        self.unread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Bans sources from the SIP ports; `None` without XDP.
    pub(crate) fn ban(&self, bans: &Bans) -> Option<Result<u32, XdpError>> {
        let mut xdp = self.xdp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Duration::from_nanos(crate::io::monotonic_ns());
        let xdp = xdp.as_mut()?;
        Some(xdp.sweep_bans(now).and_then(|_| xdp.ban(now, bans)))
    }

    /// Slots that were in force when this process came.
    pub(crate) fn adoptable(&self) -> Vec<(u16, Slot)> {
        let xdp = self.xdp.lock().unwrap_or_else(PoisonError::into_inner);
        xdp.as_ref().map(Xdp::adopted).unwrap_or_default()
    }

    /// Sessions that XDP forwards, and goes on to when this process is gone.
    pub(crate) fn outlived_by(&self) -> usize {
        let xdp = self.xdp.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(xdp) = xdp.as_ref().filter(|xdp| xdp.is_pinned()) else {
            return 0;
        };
        let slots = xdp.adopted();
        let sessions = slots.iter().map(|(_, slot)| slot.identity().session);
        sessions.collect::<HashSet<_>>().len()
    }

    /// Completes when next hops may have changed.
    pub(crate) async fn hops_changed(&self) {
        self.hops_changed.notified().await;
    }

    /// Takes the program off and leaves nothing pinned.
    pub(crate) fn detach(&self) {
        let xdp = self
            .xdp
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = xdp.map(Xdp::detach) {
            error!(%error, "the XDP program could not be taken down cleanly");
        }
    }
}

impl Drop for Datapath {
    /// The program must not outlive an engine that never ran, unless it forwards calls of the process before.
    fn drop(&mut self) {
        if !self.is_started.load(Ordering::Relaxed) && self.outlived_by() == 0 {
            self.detach();
        }
    }
}

/// An error with what caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat their cause in their own words.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
