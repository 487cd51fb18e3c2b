//! Where packets were lost between a generator and itself: what each stage on their way counts as dropped.
//!
//! The kernel counts per namespace, queue and core, and mediad by what became of a packet. Each lost packet is in the sum
//! once: what a veth's queues could not send or an XDP program found no room for is in the link's own count of drops, and
//! so is what a core's backlog had no room for.

use std::{collections::BTreeMap, fs};

use loadtest::{
    bed::{Bed, Namespace},
    metrics::Page,
    process,
};
use serde_json::{Value, json};

use super::Running;
use crate::error::BenchError;

/// What a stage's counters stood at, by its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    stages: BTreeMap<String, u64>,
    /// What the cores' backlogs had no room for, of packets that a stage has counted.
    backlogs: u64,
}

impl Places {
    /// As they are now.
    pub(crate) fn now(bed: &Bed, relay: &Running) -> Result<Self, BenchError> {
        let mut places = Self::default();
        let party = [bed.party_interface()];
        let node = bed.node_interfaces();
        let spaces: [(&str, &Namespace, &[&str]); 3] = [
            ("caller", bed.caller(), &party),
            ("node", bed.node(), &node),
            ("callee", bed.callee(), &party),
        ];
        for (name, space, links) in spaces {
            let [snmp, devices, cores] = space.enter(|| {
                ["snmp", "dev", "softnet_stat"].map(|file| {
                    fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default()
                })
            })?;
            places.add(protocols(&snmp), |stage| format!("{name}: {stage}"));
            if name == "node" {
                // The backlogs are of cores, whichever namespace their packets are in.
                places.backlogs = backlogs(&cores);
            }
            for link in links {
                let full = full(&devices, link);
                places.add([("no room on the wire", full)], |stage| {
                    format!("{name}: {link}: {stage}")
                });
                let queues = process::run(space.command("ethtool").args(["-S", link]));
                let queues = queues.map_err(|error| BenchError::Run(error.to_string()))?;
                for (counter, count) in queue_drops(&queues) {
                    places.note(format!("{name}: {link}: {counter}"), count);
                }
            }
        }
        if let Some(page) = relay.page(bed)? {
            places.of_mediad(&page);
        }
        Ok(places)
    }

    /// What has been lost since `before`, stage by stage.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (stage, count) in &mut self.stages {
            *count = count.saturating_sub(before.stages.get(stage).copied().unwrap_or(0));
        }
        self.stages.retain(|_, count| *count > 0);
        self.backlogs = self.backlogs.saturating_sub(before.backlogs);
        self
    }

    /// All stages together.
    pub(crate) fn sum(&self) -> u64 {
        self.stages.values().sum()
    }

    /// How many of them were lost in the cores' backlogs, whichever link's or protocol's they were.
    pub(crate) const fn in_backlogs(&self) -> u64 {
        self.backlogs
    }

    /// Each stage that lost any, in words.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (&str, u64)> {
        let stages = self.stages.iter();
        stages.map(|(stage, count)| (stage.as_str(), *count))
    }

    /// For scripts.
    pub(crate) fn json(&self) -> Value {
        json!(self.stages)
    }

    fn note(&mut self, stage: String, count: u64) {
        if count > 0 {
            *self.stages.entry(stage).or_default() += count;
        }
    }

    fn add<'a>(
        &mut self,
        stages: impl IntoIterator<Item = (&'a str, u64)>,
        name: impl Fn(&str) -> String,
    ) {
        for (stage, count) in stages {
            self.note(name(stage), count);
        }
    }

    /// What mediad did not forward, by path and reason, and what its sockets met.
    fn of_mediad(&mut self, page: &Page) {
        let packets = "tandem_media_packets_total";
        for path in page.labels(packets, "path") {
            for result in page.labels(packets, "result") {
                if result != "forwarded" {
                    let labels = [("path", path.as_str()), ("result", result.as_str())];
                    let count = whole(page.sum(packets, &labels));
                    self.note(format!("mediad: {path}: {result}"), count);
                }
            }
        }
        for event in LOST_BY_IO {
            let count = whole(page.sum("tandem_media_io_total", &[("event", event)]));
            self.note(format!("mediad: sockets: {event}"), count);
        }
    }
}

/// Events of mediad's packet I/O that cost a packet each.
const LOST_BY_IO: [&str; 3] = ["send_failed", "oversized", "left_over"];

/// Counters of a namespace's protocols that cost a packet each, and what they are called here.
const PROTOCOLS: [(&str, &str, &str); 7] = [
    ("Udp:", "RcvbufErrors", "full sockets"),
    ("Udp:", "MemErrors", "memory for sockets"),
    ("Udp:", "InCsumErrors", "wrong checksums"),
    ("Udp:", "NoPorts", "ports that nobody has"),
    ("Ip:", "InDiscards", "received and discarded"),
    ("Ip:", "OutNoRoutes", "no route"),
    ("Ip:", "InAddrErrors", "addresses of nobody"),
];

/// Finds them in pairs of lines: names and numbers.
fn protocols(snmp: &str) -> Vec<(&'static str, u64)> {
    let lines: Vec<Vec<&str>> = snmp
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let find = |protocol: &str, counter: &str| {
        let pair = lines
            .windows(2)
            .find(|pair| pair.iter().all(|line| line.first() == Some(&protocol)))?;
        let at = pair[0].iter().position(|name| *name == counter)?;
        pair[1].get(at)?.parse().ok()
    };
    PROTOCOLS
        .into_iter()
        .map(|(protocol, counter, stage)| (stage, find(protocol, counter).unwrap_or(0)))
        .collect()
}

/// What a link could not send, such as into the full ring of a veth: the 12th number of its line.
fn full(devices: &str, link: &str) -> u64 {
    let mut lines = devices.lines().filter_map(|line| line.split_once(':'));
    let line = lines.find(|(name, _)| name.trim() == link);
    let dropped = line.and_then(|(_, numbers)| numbers.split_whitespace().nth(11));
    dropped
        .and_then(|dropped| dropped.parse().ok())
        .unwrap_or(0)
}

/// What the cores' queues had no room for: the second number of each line, in hexadecimal.
fn backlogs(cores: &str) -> u64 {
    let dropped = |line: &str| {
        let number = line.split_whitespace().nth(1)?;
        u64::from_str_radix(number, 16).ok()
    };
    cores.lines().filter_map(dropped).sum()
}

/// The drops of a link's queues that its own count of what it could not send does not have: no `_xdp_tx_errors` and
/// `_xdp_xmit_errors`, which veth adds to it, and no `_xdp_drops`, since what a program has decided to drop is mediad's to
/// tell.
fn queue_drops(statistics: &str) -> impl Iterator<Item = (&str, u64)> {
    let counters = statistics.lines().filter_map(|line| {
        let (name, number) = line.trim().split_once(": ")?;
        Some((name, number.trim().parse().ok()?))
    });
    counters.filter(|(name, _)| name.ends_with("_drops") && !name.ends_with("_xdp_drops"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole numbers from 0 on"
)]
const fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let snmp = "Ip: Forwarding InDiscards\nIp: 1 3\nUdp: InDatagrams NoPorts InErrors RcvbufErrors\n\
                    Udp: 100 2 9 7\nUdpLite: NoPorts\nUdpLite: 55\n";
        let found: BTreeMap<_, _> = protocols(snmp).into_iter().collect();
        assert_eq!(found["full sockets"], 7);
        assert_eq!(found["ports that nobody has"], 2);
        assert_eq!(found["received and discarded"], 3);
        assert_eq!(found["no route"], 0);
    }

    #[test]
    fn a_wire_without_room_is_told_by_who_sends() {
        let devices = "Inter-| Receive | Transmit\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 8 0 0 0 0\n  \
                       eth0: 1 1 0 4 0 0 0 0 1 1 0 5 0 0 0 0\n";
        assert_eq!(full(devices, "eth0"), 5);
        assert_eq!(full(devices, "eth1"), 0);
    }

    #[test]
    fn cores_and_queues_tell_their_drops() {
        assert_eq!(backlogs("00ff 0000000a 0\n0001 00000001 0\n"), 11);
        let statistics = "NIC statistics:\n     peer_ifindex: 5\n     rx_queue_0_drops: 6\n     rx_queue_0_xdp_drops: 8\n     \
                          rx_queue_0_xdp_tx_errors: 3\n     tx_queue_0_xdp_xmit: 9\n     \
                          tx_queue_0_xdp_xmit_errors: 2\n";
        let found: Vec<_> = queue_drops(statistics).collect();
        // What could not be sent is the link's.
        assert_eq!(found, [("rx_queue_0_drops", 6)]);
    }

    #[test]
    fn only_what_came_since_is_told() {
        let places = |stages: &[(&str, u64)], backlogs| {
            let mut places = Places {
                backlogs,
                ..Places::default()
            };
            places.add(stages.iter().copied(), str::to_owned);
            places
        };
        let before = places(&[("a", 3), ("b", 4)], 7);
        let after = places(&[("a", 5), ("b", 4), ("c", 1)], 9);
        let since = after.since(&before);
        assert_eq!(since.stages().collect::<Vec<_>>(), [("a", 2), ("c", 1)]);
        assert_eq!((since.sum(), since.in_backlogs()), (3, 2));
    }
}
