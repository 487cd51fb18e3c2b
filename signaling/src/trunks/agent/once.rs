//! An operator's probe: every host of a trunk is asked once, now, whether the trunk is to be probed or not.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use control::signal::ProbeInfo;
use sip::message::Message;

use super::{Agent, Job, JobId, Output, Task, probe::Probe, tell_change};
use crate::directory::Trunk;

/// How long all of it may take: who asks does not wait much longer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Names an operator's order to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OrderId(u64);

/// A host that is asked once.
#[derive(Debug)]
pub(super) struct Once {
    pub(super) probe: Probe,
    order: OrderId,
    /// Its place among the trunk's hosts.
    place: usize,
    began: Instant,
    until: Instant,
}

/// What is known of an order so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    left: usize,
    hosts: Vec<(usize, ProbeInfo)>,
}

/// What is under way.
pub(super) type Orders = HashMap<OrderId, Found>;

impl Once {
    /// How long one of several addresses may be silent.
    pub(super) fn patience(&self, now: Instant, others: usize) -> Duration {
        let left = self.until.saturating_duration_since(now);
        let shares = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        left / shares
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// When it ends, whatever it found.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }
}

impl Agent {
    /// Asks every host of a trunk; [`Output::Probed`] tells what came of it.
    pub(super) fn probe_once(&mut self, now: Instant, trunk: &Arc<Trunk>) -> OrderId {
        self.next += 1;
        let order = OrderId(self.next);
        let probes = Probe::once_of(trunk);
        let found = Found {
            left: probes.len(),
            hosts: Vec::new(),
        };
        self.orders.insert(order, found);
        for (place, probe) in probes.into_iter().enumerate() {
            self.next += 1;
            let id = JobId(self.next);
            let once = Once {
                probe,
                order,
                place,
                began: now,
                until: now + PATIENCE,
            };
            let job = Job {
                trunk: trunk.clone(),
                task: Task::Once(Box::new(once)),
                due: None,
                round: None,
            };
            self.jobs.insert(id, job);
            self.begin(now, id);
        }
        self.end_order(order);
        self.drain(now);
        order
    }

    /// What a host answered.
    pub(super) fn on_probed(&mut self, now: Instant, id: JobId, response: &Message) {
        let status = response.status();
        let judged = match self.jobs.get(&id).map(|job| &job.task) {
            Some(Task::Once(once)) => once.probe.judge(response),
            _ => return,
        };
        self.end_once(now, id, status, judged);
    }

    /// A host's probe is over: it leaves, and what it found is told with the others of its order.
    pub(super) fn end_once(
        &mut self,
        now: Instant,
        id: JobId,
        status: Option<u16>,
        judged: Result<(), String>,
    ) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        let Task::Once(once) = job.task else {
            return;
        };
        if let Some(client) = job.round.and_then(|round| round.client) {
            self.let_go(client);
        }
        if judged.is_ok() {
            tell_change(&job.trunk, &once.probe, once.probe.on_presence());
        }
        let took = now.saturating_duration_since(once.began);
        let info = ProbeInfo {
            host: once.probe.host().to_string(),
            status,
            error: judged.err(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(found) = self.orders.get_mut(&once.order) {
            found.left = found.left.saturating_sub(1);
            found.hosts.push((once.place, info));
        }
        self.end_order(once.order);
    }

    /// Tells of an order of which nothing is left to find out.
    fn end_order(&mut self, order: OrderId) {
        if self.orders.get(&order).is_none_or(|found| found.left > 0) {
            return;
        }
        let Some(mut found) = self.orders.remove(&order) else {
            return;
        };
        found.hosts.sort_by_key(|(place, _)| *place);
        let hosts = found.hosts.into_iter().map(|(_, info)| info).collect();
        self.outputs.push_back(Output::Probed { order, hosts });
    }
}
