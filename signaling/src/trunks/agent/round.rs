//! One round of a job: host after host, address after address, until somebody answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use control::config::{Host, Transport};
use sip::{message::Message, transaction::ClientId};
use tracing::debug;

use super::{Agent, AskToken, JobId, Output, Task};
use crate::{
    call::{Authority, Hop},
    metrics::Direction,
    net::Flow,
};

/// How long an address may be silent while there is another to ask, and always for a probe.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where a job stands that is under way.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Hosts and addresses that are still to be asked.
    hosts: VecDeque<Host>,
    ways: VecDeque<Flow>,
    /// What is being asked now: the resolver, or an address.
    asking: Option<AskToken>,
    /// The name of the host that is being asked.
    name: String,
    pub(super) way: Option<Flow>,
    pub(super) client: Option<ClientId>,
    pub(super) sent: Option<Message>,
    pub(super) deadline: Option<Instant>,
}

impl Agent {
    /// Starts a job's round.
    pub(super) fn begin(&mut self, now: Instant, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let hosts = match &job.task {
            Task::Probe(probe) => vec![probe.host().clone()],
            Task::Once(once) => vec![once.probe.host().clone()],
            Task::Register(registration) => registration.hosts(now, &job.trunk),
        };
        job.due = match &job.task {
            Task::Once(once) => Some(once.until()),
            Task::Probe(_) | Task::Register(_) => None,
        };
        job.round = Some(Round {
            hosts: hosts.into(),
            ..Round::default()
        });
        self.go_on(
            now,
            id,
            "it has no address that this node can send to".to_owned(),
        );
    }

    /// Asks the next address, or the next host, or nobody. `error` is what was wrong with the last.
    pub(super) fn go_on(&mut self, now: Instant, id: JobId, error: String) {
        let Some(round) = self.jobs.get_mut(&id).and_then(|job| job.round.as_mut()) else {
            return;
        };
        if let Some(client) = round.client.take() {
            self.let_go(client);
        }
        let Some(round) = self.jobs.get_mut(&id).and_then(|job| job.round.as_mut()) else {
            return;
        };
        round.deadline = None;
        if let Some(way) = round.ways.pop_front() {
            round.way = Some(way);
            return self.send(now, id);
        }
        let Some(host) = round.hosts.pop_front() else {
            return self.on_exhausted(now, id, error);
        };
        self.next += 1;
        let token = AskToken(self.next);
        round.asking = Some(token);
        round.name.clone_from(&host.name);
        self.resolving.insert(token, id);
        let authority = Authority::of(&host);
        self.outputs.push_back(Output::Resolve { token, authority });
    }

    pub(super) fn on_resolved(&mut self, now: Instant, id: JobId, token: AskToken, hops: &[Hop]) {
        let Some(round) = self.jobs.get_mut(&id).and_then(|job| job.round.as_mut()) else {
            return;
        };
        if round.asking != Some(token) {
            return;
        }
        round.asking = None;
        let policy = &self.policy;
        let ways = hops.iter().filter_map(|hop| policy.way(*hop, None));
        round.ways = ways
            .map(|way| Flow {
                // What its certificate has to say.
                name: (way.transport == Transport::Tls)
                    .then(|| policy.names.id(&round.name))
                    .flatten(),
                ..way
            })
            .collect();
        self.go_on(
            now,
            id,
            "it has no address that this node can send to".to_owned(),
        );
    }

    /// Sends the job's request by the round's present way.
    pub(super) fn send(&mut self, now: Instant, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some((round, way)) = job.round.as_mut().and_then(|round| {
            let way = round.way?;
            Some((round, way))
        }) else {
            return;
        };
        let Some(local) = self.policy.local(&way) else {
            return self.go_on(now, id, "this node has no address to send from".to_owned());
        };
        let request = match &mut job.task {
            Task::Probe(probe) => probe.request(local, &self.mark, &mut self.tokens),
            Task::Once(once) => once.probe.request(local, &self.mark, &mut self.tokens),
            Task::Register(registration) => registration.request(local, &mut self.tokens),
        };
        let sent = request
            .map_err(|error| error.to_string())
            .and_then(|request| {
                let client = self.layer.send_request(now, way, request.clone());
                Ok((client.map_err(|error| error.to_string())?, request))
            });
        let (client, request) = match sent {
            Ok(sent) => sent,
            Err(error) => return self.go_on(now, id, error),
        };
        if let Some(method) = request.method() {
            self.metrics.request(method, Direction::Out);
        }
        let others = round.ways.len() + round.hosts.len();
        let patience = match &job.task {
            Task::Once(once) => Some(once.patience(now, others)),
            Task::Probe(_) => Some(PATIENCE),
            Task::Register(_) => (others > 0).then_some(PATIENCE),
        };
        round.client = Some(client);
        round.sent = Some(request);
        round.deadline = patience.map(|patience| now + patience);
        self.clients.insert(client, id);
    }

    pub(super) fn on_response(&mut self, now: Instant, client: ClientId, response: &Message) {
        if response.status().is_none_or(|status| status < 200) {
            return;
        }
        if let Some(id) = self.clients.remove(&client) {
            if let Some(round) = self.jobs.get_mut(&id).and_then(|job| job.round.as_mut()) {
                round.client = None;
                round.deadline = None;
            }
            self.on_answer(now, id, response);
        }
    }

    /// A request got no answer.
    pub(super) fn on_lost(&mut self, now: Instant, client: ClientId, error: &str) {
        if let Some(id) = self.clients.remove(&client) {
            debug!(error, "a request of our own was not answered");
            self.go_on(now, id, error.to_owned());
        }
    }

    /// A job is due, or what it asks is silent for too long.
    pub(super) fn on_late(&mut self, now: Instant, id: JobId) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let silence = || "no answer in time".to_owned();
        match (&job.task, &job.round) {
            (Task::Once(once), _) if once.is_late(now) => {
                self.end_once(now, id, None, Err(silence()));
            }
            (_, None) => self.begin(now, id),
            (_, Some(_)) => self.go_on(now, id, silence()),
        }
    }
}
