//! A trunk as it stands.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use control::config::{self, Host};

use super::{Credentials, Health};

/// What is known of a trunk, beside what is configured.
#[derive(Debug)]
pub(crate) struct Standing {
    hosts: Vec<(Host, Arc<Health>)>,
    credentials: Option<Arc<Credentials>>,
    /// OPTIONS are sent to its hosts.
    probed: bool,
    shared: Arc<Shared>,
}

/// What does not depend on how the trunk is configured.
#[derive(Debug, Default)]
struct Shared {
    offered: AtomicU64,
    answered: AtomicU64,
    /// How many draws were made among its hosts.
    draws: AtomicU64,
    /// It gets no new calls.
    drained: AtomicBool,
    registration: Mutex<Option<Registered>>,
}

/// How the registration with a trunk stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Until when we are registered; `None` where we are not.
    pub(crate) until: Option<Instant>,
    /// Why the last attempt failed; `None` where it did not.
    pub(crate) error: Option<String>,
}

impl Standing {
    /// Of a configured trunk. What `before`, the standing of the trunk of this name in the directory
    /// before, knows goes on.
    pub(crate) fn new(trunk: &config::Trunk, before: Option<&Self>) -> Self {
        let health = |host: &Host| {
            let hosts = before
                .map(|before| before.hosts.as_slice())
                .unwrap_or_default();
            let known = hosts.iter().find(|(known, _)| known == host);
            known.map(|(_, health)| health.clone()).unwrap_or_default()
        };
        let hosts = trunk.hosts.iter().map(|host| &host.host);
        let credentials = Credentials::of(trunk).map(|new| {
            let known = before.and_then(|before| before.credentials.clone());
            // The realm that it has pinned is for these alone.
            known
                .filter(|known| known.is_same(&new))
                .unwrap_or_else(|| Arc::new(new))
        });
        Self {
            hosts: hosts.map(|host| (host.clone(), health(host))).collect(),
            credentials,
            probed: trunk.probe.is_some(),
            shared: before
                .map(|before| before.shared.clone())
                .unwrap_or_default(),
        }
    }

    /// The health of a host, by its place in the configuration.
    pub(crate) fn health(&self, host: usize) -> Option<&Arc<Health>> {
        self.hosts.get(host).map(|(_, health)| health)
    }

    /// Whether it gets no new calls: an operator's order, until the next one or the node's next start.
    pub(crate) fn is_drained(&self) -> bool {
        self.shared.drained.load(Relaxed)
    }

    /// Gives it no new calls from now on, or gives it calls again. Tells whether that is a change.
    pub(crate) fn set_drained(&self, on: bool) -> bool {
        self.shared.drained.swap(on, Relaxed) != on
    }

    /// Whether probes tell when a host is up.
    pub(crate) const fn is_probed(&self) -> bool {
        self.probed
    }

    /// Who we are to it; `None` where it is not to challenge us.
    pub(crate) const fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }

    /// It was sent the INVITE of a new call.
    pub(crate) fn count_offered(&self) {
        self.shared.offered.fetch_add(1, Relaxed);
    }

    /// It answered one with 2xx.
    pub(crate) fn count_answered(&self) {
        self.shared.answered.fetch_add(1, Relaxed);
    }

    /// A number from `0..=most` to choose a host by. The numbers of all workers together are spread
    /// evenly (multiples of the golden ratio), so that shares come true in few calls.
    pub(crate) fn draw(&self, most: u32) -> u32 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let drawn = self.shared.draws.fetch_add(1, Relaxed).wrapping_mul(GOLDEN) >> 32;
        u32::try_from((drawn * (u64::from(most) + 1)) >> 32).unwrap_or(0)
    }

    /// How many calls it was sent, and how many of them it answered.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let answered = self.shared.answered.load(Relaxed);
        (self.shared.offered.load(Relaxed), answered)
    }

    /// How our registration with it stands; `None` where there is none to be.
    pub(crate) fn registration(&self) -> Option<Registered> {
        self.registered().clone()
    }

    /// The registration has changed.
    pub(super) fn set_registration(&self, registered: Option<Registered>) {
        *self.registered() = registered;
    }

    fn registered(&self) -> std::sync::MutexGuard<'_, Option<Registered>> {
        // Nothing panics while it holds the lock.
        let registration = self.shared.registration.lock();
        registration.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(text: &str) -> config::Trunk {
        let text = format!("[[trunks]]\nname = \"a\"\n{text}\n");
        let loaded = config::Config::parse(&text, Vec::new()).unwrap();
        loaded.config.trunks.into_iter().next().unwrap()
    }

    #[test]
    fn what_is_known_of_a_host_outlives_a_directory() {
        let now = Instant::now();
        let first = Standing::new(&trunk("hosts = [\"192.0.2.1\", \"192.0.2.2\"]"), None);
        first.health(1).unwrap().on_silence(now, false);
        first.count_offered();
        let next = trunk("hosts = [\"192.0.2.3\", \"192.0.2.2\", \"192.0.2.1\"]");
        let next = Standing::new(&next, Some(&first));
        let down: Vec<_> = (0..3)
            .map(|i| next.health(i).unwrap().is_down(now))
            .collect();
        assert_eq!(down, [false, true, false]);
        assert!(next.health(3).is_none());
        next.count_answered();
        assert_eq!(first.counts(), (1, 1));
        assert!(first.set_drained(true) && !first.set_drained(true));
        assert!(next.is_drained());
    }

    #[test]
    fn a_pinned_realm_is_kept_for_the_same_credentials_alone() {
        let with = |password: &str| {
            let auth = format!("auth = {{ user = \"u\", password = \"{password}\" }}");
            trunk(&format!("hosts = [\"gw.test\"]\n{auth}"))
        };
        let first = Standing::new(&with("p"), None);
        let same = Standing::new(&with("p"), Some(&first));
        let other = Standing::new(&with("q"), Some(&first));
        let of = |standing: &Standing| standing.credentials().unwrap().clone();
        assert!(Arc::ptr_eq(&of(&first), &of(&same)));
        assert!(!Arc::ptr_eq(&of(&first), &of(&other)));
    }
}
