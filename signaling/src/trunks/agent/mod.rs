//! The node's own small user agent: it asks the hosts of trunks whether they are there (OPTIONS), and
//! keeps this node registered where trunks want that.
//!
//! It is a task of its own with transactions of its own, so that neither waits behind calls; responses
//! find it by a mark in their Call-ID. [`Agent`] is pure: fed with `handle_*`, drained by
//! [`Agent::poll_output`], woken at [`Agent::poll_timeout`].
//!
//! A [`Job`] is one host to probe or one registration to keep. It rests until it is due, then goes on a
//! round: over the hosts that it may ask, and over the addresses of each, until one answers.

mod once;
mod probe;
mod register;
mod round;
mod task;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control::{config::Transport, signal::ProbeInfo};
use sip::{
    message::Message,
    token::TokenGenerator,
    transaction::{ClientId, Event, Layer, TransactionId},
};
use tracing::info;

use self::{
    once::{Once, OrderId, Orders},
    probe::Probe,
    register::{Registration, Step},
    round::Round,
};
use super::Change;
use crate::{
    call::{Authority, Hop, Policy},
    directory::Trunk,
    metrics::{Direction, Dropped, Metrics},
    net::Flow,
};

pub(crate) use task::Parts;
pub(super) use task::{Command, run};

/// Within this time the first probes and registrations after a start are spread.
const SPREAD: Duration = Duration::from_secs(2);

/// Names a question to the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AskToken(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct JobId(u64);

/// One thing to do.
#[derive(Debug)]
enum Output {
    /// Send these bytes.
    Transmit {
        flow: Flow,
        payload: Bytes,
        transaction: Option<TransactionId>,
    },
    /// Find a host's addresses, and tell [`Agent::handle_resolved`].
    Resolve {
        token: AskToken,
        authority: Authority,
    },
    /// What came of [`Agent::probe_once`], by the order of the trunk's hosts.
    Probed {
        order: OrderId,
        hosts: Vec<ProbeInfo>,
    },
}

/// All probes and registrations of the node.
#[derive(Debug)]
struct Agent {
    policy: Arc<Policy>,
    metrics: Arc<Metrics>,
    /// What our Call-IDs begin with.
    mark: Arc<str>,
    layer: Layer<Flow>,
    tokens: TokenGenerator,
    jobs: BTreeMap<JobId, Job>,
    clients: HashMap<ClientId, JobId>,
    resolving: HashMap<AskToken, JobId>,
    orders: Orders,
    outputs: VecDeque<Output>,
    next: u64,
}

#[derive(Debug)]
struct Job {
    trunk: Arc<Trunk>,
    task: Task,
    /// When the next round begins.
    due: Option<Instant>,
    /// The one that is under way.
    round: Option<Round>,
}

#[derive(Debug)]
enum Task {
    Probe(Probe),
    Register(Box<Registration>),
    Once(Box<Once>),
}

impl Agent {
    fn new(policy: Arc<Policy>, metrics: Arc<Metrics>, mark: Arc<str>, seed: u128) -> Self {
        let mut tokens = TokenGenerator::new(seed);
        let layer_seed = tokens.number();
        Self {
            layer: Layer::new(policy.timers, layer_seed),
            policy,
            metrics,
            mark,
            tokens,
            jobs: BTreeMap::new(),
            clients: HashMap::new(),
            resolving: HashMap::new(),
            orders: Orders::new(),
            outputs: VecDeque::new(),
            next: 0,
        }
    }

    /// The trunks that there are from now on.
    fn set_trunks(&mut self, now: Instant, trunks: &[Arc<Trunk>]) {
        // What an operator asks of the trunks that were there goes on to its end.
        let (once, mut old): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|(_, job)| matches!(job.task, Task::Once(_)));
        self.jobs = once;
        let mut keep = |fits: &dyn Fn(&Job) -> bool| {
            let found = old.iter().find(|(_, job)| fits(job)).map(|(id, _)| *id);
            found.and_then(|id| old.remove_entry(&id))
        };
        let mut wanted = Vec::new();
        for trunk in trunks {
            for probe in Probe::all_of(trunk) {
                let same = |job: &Job| matches!(&job.task, Task::Probe(old) if old.is_same(&probe));
                let known = keep(&|job| job.trunk.name == trunk.name && same(job));
                wanted.push((trunk, Task::Probe(probe), known));
            }
            if let Some(new) = Registration::of(trunk, &self.mark, &mut self.tokens) {
                let same =
                    |job: &Job| matches!(&job.task, Task::Register(old) if old.is_same(&new));
                let known = keep(&|job| job.trunk.name == trunk.name && same(job));
                wanted.push((trunk, Task::Register(Box::new(new)), known));
            }
        }
        for (trunk, task, known) in wanted {
            let (id, mut job) = known.unwrap_or_else(|| {
                self.next += 1;
                let due = now + spread(&mut self.tokens, SPREAD);
                let job = Job {
                    trunk: trunk.clone(),
                    task,
                    due: Some(due),
                    round: None,
                };
                (JobId(self.next), job)
            });
            job.trunk = trunk.clone();
            self.jobs.insert(id, job);
        }
        for (id, job) in old {
            self.leave(now, id, job);
        }
        for trunk in trunks {
            forget_what_is_not_probed(trunk);
        }
        self.drain(now);
    }

    /// Takes every registration back and probes no more.
    fn stop(&mut self, now: Instant) {
        for (id, job) in std::mem::take(&mut self.jobs) {
            self.leave(now, id, job);
        }
        self.drain(now);
    }

    /// Whether nothing is left to do after [`Agent::stop`].
    fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        let own = |message: &Message| {
            let via = message.via();
            via.is_ok_and(|via| self.policy.identity.is_own_via(&via))
        };
        let Some(status) = message.status() else {
            return self.metrics.dropped(Dropped::Malformed);
        };
        self.metrics.response(status, Direction::In);
        if message.validate().is_err() {
            self.metrics.dropped(Dropped::Malformed);
        } else if !own(&message) {
            self.metrics.dropped(Dropped::NotOurs);
        } else if self.layer.handle_message(now, flow, message).is_err() {
            self.metrics.dropped(Dropped::Malformed);
        }
        self.drain(now);
    }

    /// A message of ours could not be delivered.
    fn handle_failed(&mut self, now: Instant, transaction: TransactionId) {
        self.layer.handle_transport_error(transaction);
        self.drain(now);
    }

    /// ICMP says that nobody receives at `remote`.
    fn handle_unreachable(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) {
        let gone = |way: &Flow| {
            way.transport == Transport::Udp && way.local == local && way.reply_to == remote
        };
        let rounds = self.jobs.values().filter_map(|job| job.round.as_ref());
        let affected = rounds.filter(|round| round.way.as_ref().is_some_and(gone));
        for client in affected
            .filter_map(|round| round.client)
            .collect::<Vec<_>>()
        {
            self.layer
                .handle_transport_error(TransactionId::Client(client));
        }
        self.drain(now);
    }

    /// A host's addresses came.
    fn handle_resolved(&mut self, now: Instant, token: AskToken, hops: &[Hop]) {
        if let Some(id) = self.resolving.remove(&token) {
            self.on_resolved(now, id, token, hops);
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.drain(now);
        let late = |job: &&Job| {
            let at = [job.due, job.round.as_ref().and_then(|round| round.deadline)];
            at.into_iter().flatten().any(|at| at <= now)
        };
        let late = self
            .jobs
            .iter()
            .filter(|(_, job)| late(job))
            .map(|(id, _)| *id);
        for id in late.collect::<Vec<_>>() {
            self.on_late(now, id);
        }
        self.drain(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let jobs = self.jobs.values().flat_map(|job| {
            let deadline = job.round.as_ref().and_then(|round| round.deadline);
            [job.due, deadline].into_iter().flatten()
        });
        jobs.chain(self.layer.poll_timeout()).min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Works on what the transaction layer has to say until it is dry.
    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.layer.poll_event() {
            match event {
                Event::Response { id, response, .. } => self.on_response(now, id, &response),
                Event::StrayResponse { .. } => self.metrics.dropped(Dropped::Stray),
                Event::ClientTimeout { id } => self.on_lost(now, id, "no answer in time"),
                Event::ClientTransportError { id } => self.on_lost(now, id, "it cannot be reached"),
                // A round that is over has let go of its transaction before.
                _ => {}
            }
        }
        while let Some(transmit) = self.layer.poll_transmit() {
            self.outputs.push_back(Output::Transmit {
                flow: transmit.flow,
                payload: transmit.payload,
                transaction: transmit.transaction,
            });
        }
    }

    /// A job is not wanted any more: a registration is taken back first.
    fn leave(&mut self, now: Instant, id: JobId, mut job: Job) {
        if let Some(client) = job.round.take().and_then(|round| round.client) {
            self.let_go(client);
        }
        match &mut job.task {
            Task::Probe(_) => {}
            Task::Once(_) => {
                self.jobs.insert(id, job);
                self.end_once(now, id, None, Err("the node is being stopped".to_owned()));
            }
            Task::Register(registration) => {
                job.trunk.standing.set_registration(None);
                if registration.leave() {
                    self.jobs.insert(id, job);
                    self.begin(now, id);
                }
            }
        }
    }

    /// What is still heard of a request is too late, and it is not sent again.
    fn let_go(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.layer
            .handle_transport_error(TransactionId::Client(client));
    }

    /// A round has ended with a final response.
    fn on_answer(&mut self, now: Instant, id: JobId, response: &Message) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let step = match &mut job.task {
            Task::Probe(probe) => {
                let change = probe.on_response(response);
                let outcome = Step::Rest(probe.pause(&mut self.tokens));
                tell_change(&job.trunk, probe, change);
                outcome
            }
            Task::Register(registration) => {
                let sent = job.round.as_ref().and_then(|round| round.sent.as_ref());
                let Some(sent) = sent else {
                    return;
                };
                registration.on_response(now, &job.trunk, sent, response, &mut self.tokens)
            }
            Task::Once(_) => return self.on_probed(now, id, response),
        };
        self.follow(now, id, step);
    }

    /// Nobody answered a round.
    fn on_exhausted(&mut self, now: Instant, id: JobId, error: String) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let step = match &mut job.task {
            Task::Probe(probe) => {
                let change = probe.on_silence(error);
                let outcome = Step::Rest(probe.pause(&mut self.tokens));
                tell_change(&job.trunk, probe, change);
                outcome
            }
            Task::Register(registration) => {
                registration.on_exhausted(now, &job.trunk, error, &mut self.tokens)
            }
            Task::Once(_) => return self.end_once(now, id, None, Err(error)),
        };
        self.follow(now, id, step);
    }

    fn follow(&mut self, now: Instant, id: JobId, step: Step) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        match step {
            Step::Again => self.send(now, id),
            Step::Elsewhere(error) => self.go_on(now, id, error),
            Step::Rest(pause) => {
                job.round = None;
                job.due = Some(now + pause);
            }
            Step::Over => drop(self.jobs.remove(&id)),
        }
    }
}

/// A host's going down or coming back is told once.
fn tell_change(trunk: &Trunk, probe: &Probe, change: Option<Change>) {
    let (trunk, host) = (&trunk.name, probe.host());
    match change {
        Some(Change::Up) => info!(trunk, %host, "a host answers its probes again"),
        Some(Change::Down) => {
            info!(trunk, %host, "a host does not answer its probes; others are tried first");
        }
        None => {}
    }
}

/// Where no probe will tell any more, what probes told is void.
fn forget_what_is_not_probed(trunk: &Trunk) {
    if !trunk.standing.is_probed() {
        let hosts = (0..).map_while(|host| trunk.standing.health(host));
        hosts.for_each(|health| health.forget_probes());
    }
}

/// A random part of a duration.
fn spread(tokens: &mut TokenGenerator, over: Duration) -> Duration {
    let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(tokens.bits() % millis.max(1))
}

#[cfg(test)]
mod tests;
