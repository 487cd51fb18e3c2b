//! A carrier or a switch.

use std::{sync::Arc, time::Instant};

use control::config::{self, Host};

use crate::{
    trunks::{Change, Standing},
    weighted::{self, Weighted},
};

/// Where calls go to and come from.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) name: String,
    pub(crate) hosts: Vec<Host>,
    /// Everything else that is said of it.
    pub(crate) config: config::Trunk,
    /// Final responses after which the next carrier is tried.
    pub(super) failover: Arc<[u16]>,
    /// What is learned of it while the node runs.
    pub(crate) standing: Standing,
}

/// One host of a trunk.
#[derive(Clone, Debug)]
pub(crate) struct HostRef {
    pub(crate) trunk: Arc<Trunk>,
    index: usize,
}

impl Trunk {
    /// Of a trunk that was checked; `before` is the one of that name in the directory before.
    pub(crate) fn new(trunk: &config::Trunk, before: Option<&Self>) -> Self {
        let hosts = trunk.hosts.iter().map(|host| &host.host);
        Self {
            name: trunk.name.clone(),
            standing: Standing::new(trunk, before.map(|before| &before.standing)),
            hosts: hosts.cloned().collect(),
            failover: trunk.failover.iter().collect(),
            config: trunk.clone(),
        }
    }

    /// Whether a peer is the trunk whose certificate was verified and has these names.
    pub(crate) fn is_shown_by(&self, names: &[String]) -> bool {
        let is_shown = |own: &String| names.iter().any(|name| name.eq_ignore_ascii_case(own));
        self.config.certificates.iter().any(is_shown)
    }

    /// All hosts in the order in which a call tries them: by priority, and within it by weight.
    pub(crate) fn drawn_hosts(self: &Arc<Self>) -> Vec<HostRef> {
        let entry = |(host, item): (&config::TrunkHost, HostRef)| Weighted {
            priority: host.priority,
            // None has a weight, or all have: without, they are tried as they are written.
            weight: host.weight.unwrap_or(0),
            item,
        };
        let entries = self.config.hosts.iter().zip(self.host_refs());
        weighted::draw(entries.map(entry).collect(), |most| match most {
            0 => 0,
            most => self.standing.draw(most),
        })
    }

    /// All hosts, as they are written.
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

    /// Whether it is to be tried last.
    pub(crate) fn is_down(&self, now: Instant) -> bool {
        let health = self.trunk.standing.health(self.index);
        health.is_some_and(|health| health.is_down(now))
    }

    /// What went wrong with it last.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.trunk.standing.health(self.index)?.last_error()
    }

    /// It gave a call no sign of life.
    pub(crate) fn on_silence(&self, now: Instant) -> Option<Change> {
        let health = self.trunk.standing.health(self.index)?;
        health.on_silence(now, self.trunk.standing.is_probed())
    }

    /// It answered a call.
    pub(crate) fn on_answer(&self) -> Option<Change> {
        self.trunk.standing.health(self.index)?.on_answer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(hosts: &str) -> Arc<Trunk> {
        let text = format!("[[trunks]]\nname = \"a\"\nhosts = [{hosts}]\n");
        let config = config::Config::parse(&text, Vec::new()).unwrap().config;
        Arc::new(Trunk::new(&config.trunks[0], None))
    }

    fn order(trunk: &Arc<Trunk>) -> Vec<String> {
        let hosts = trunk.drawn_hosts();
        hosts
            .iter()
            .map(|place| place.host().unwrap().name.clone())
            .collect()
    }

    #[test]
    fn hosts_are_tried_as_written_where_nothing_else_is_said() {
        let trunk = trunk("\"b.test\", \"a.test\", \"c.test\"");
        for _ in 0..10 {
            assert_eq!(order(&trunk), ["b.test", "a.test", "c.test"]);
        }
    }

    #[test]
    fn priorities_and_weights_rule() {
        let trunk = trunk(
            "{ host = \"last.test\", priority = 2 }, { host = \"a.test\", weight = 70 }, \
             { host = \"b.test\", weight = 30 }",
        );
        let mut first = 0;
        for _ in 0..1_000 {
            let order = order(&trunk);
            assert_eq!(order[2], "last.test");
            first += u32::from(order[0] == "a.test");
        }
        assert!((680..=720).contains(&first), "{first} of 1000 went to 70 %");
    }
}
