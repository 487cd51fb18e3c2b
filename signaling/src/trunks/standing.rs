//! A trunk as it stands.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use control::config::Host;

use super::Health;

/// What is known of a trunk, beside what is configured.
#[derive(Debug)]
pub(crate) struct Standing {
    hosts: Vec<(Host, Arc<Health>)>,
    shared: Arc<Shared>,
}

/// What does not depend on the hosts that the trunk has.
#[derive(Debug, Default)]
struct Shared {
    /// INVITEs of new calls that it was sent, and those that it answered with 2xx.
    offered: AtomicU64,
    answered: AtomicU64,
}

impl Standing {
    /// Of a trunk with these hosts. What `before`, the standing of the same trunk in the directory
    /// before, knows of them goes on.
    pub(crate) fn new<'a>(
        hosts: impl IntoIterator<Item = &'a Host>,
        before: Option<&Self>,
    ) -> Self {
        let known = |host: &Host| {
            let hosts = before
                .map(|before| before.hosts.as_slice())
                .unwrap_or_default();
            hosts
                .iter()
                .find(|(known, _)| known == host)
                .map(|(_, health)| health.clone())
                .unwrap_or_default()
        };
        Self {
            hosts: hosts
                .into_iter()
                .map(|host| (host.clone(), known(host)))
                .collect(),
            shared: before
                .map(|before| before.shared.clone())
                .unwrap_or_default(),
        }
    }

    /// The health of a host, by its place in the configuration.
    pub(crate) fn health(&self, host: usize) -> Option<&Arc<Health>> {
        self.hosts.get(host).map(|(_, health)| health)
    }

    /// It was sent the INVITE of a new call.
    pub(crate) fn count_offered(&self) {
        self.shared.offered.fetch_add(1, Relaxed);
    }

    /// It answered one with 2xx.
    pub(crate) fn count_answered(&self) {
        self.shared.answered.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_known_of_a_host_outlives_a_directory() {
        let host = |text: &str| text.parse::<Host>().unwrap();
        let (a, b, c) = (host("192.0.2.1"), host("192.0.2.2"), host("192.0.2.3"));
        let now = Instant::now();
        let first = Standing::new([&a, &b], None);
        first.health(1).unwrap().on_silence(now);
        first.count_offered();
        let next = Standing::new([&c, &b, &a], Some(&first));
        let down: Vec<_> = (0..3)
            .map(|i| next.health(i).unwrap().is_down(now))
            .collect();
        assert_eq!(down, [false, true, false]);
        assert!(next.health(3).is_none());
        next.count_answered();
        assert_eq!(first.shared.answered.load(Relaxed), 1);
        assert_eq!(next.shared.offered.load(Relaxed), 1);
    }
}
