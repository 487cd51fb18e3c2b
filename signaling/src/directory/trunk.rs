//! A carrier or a switch.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use control::config::{self, Cidr, Host};

/// Where calls go to and come from.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) name: String,
    pub(crate) hosts: Vec<Host>,
    allow: Vec<Cidr>,
    /// Until when each host is tried last, since it gave no sign of life.
    penalties: Mutex<Vec<Option<Instant>>>,
}

/// One host of a trunk.
#[derive(Clone, Debug)]
pub(crate) struct HostRef {
    pub(crate) trunk: Arc<Trunk>,
    index: usize,
}

impl Trunk {
    pub(super) fn new(trunk: &config::Trunk) -> Self {
        Self {
            name: trunk.name.clone(),
            penalties: Mutex::new(vec![None; trunk.hosts.len()]),
            hosts: trunk.hosts.clone(),
            allow: trunk.allow.clone(),
        }
    }

    /// Whether calls from this address are the trunk's.
    pub(crate) fn allows(&self, source: IpAddr) -> bool {
        self.allow.iter().any(|block| block.contains(source))
    }

    /// All hosts, in order.
    pub(crate) fn host_refs(self: &Arc<Self>) -> impl Iterator<Item = HostRef> {
        (0..self.hosts.len()).map(|index| HostRef {
            trunk: self.clone(),
            index,
        })
    }
}

impl HostRef {
    /// The host itself.
    pub(crate) fn host(&self) -> Option<&Host> {
        self.trunk.hosts.get(self.index)
    }

    /// Whether it gave no sign of life lately.
    pub(crate) fn is_punished(&self, now: Instant) -> bool {
        self.with(|until| until.is_some_and(|until| until > now))
    }

    /// It gave no sign of life: it is tried last until then. Tells whether that is news.
    pub(crate) fn punish(&self, until: Instant) -> bool {
        self.with(|known| known.replace(until).is_none())
    }

    /// It answered.
    pub(crate) fn absolve(&self) {
        self.with(|until| *until = None);
    }

    fn with<T: Default>(&self, act: impl FnOnce(&mut Option<Instant>) -> T) -> T {
        // Nothing panics while it holds the lock.
        let penalties = self.trunk.penalties.lock();
        let mut penalties = penalties.unwrap_or_else(PoisonError::into_inner);
        penalties.get_mut(self.index).map(act).unwrap_or_default()
    }
}
