//! From sockets to workers.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use sip::{
    message::{Message, ParseError, ParseErrorKind},
    transaction::TransactionId,
};

use super::{Flow, Lanes, Sender, lanes::Urgency};
use crate::{
    defence::{Defence, Evidence, Kind, Peek, Verdict},
    metrics::{Dropped, Metrics},
};

/// What a worker hears from the network.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A datagram, not parsed.
    Datagram {
        /// Where it came from.
        flow: Flow,
        /// All of it.
        bytes: Bytes,
    },
    /// What a connection's framing gave.
    Framed {
        /// The connection.
        flow: Flow,
        /// A message, or why it is none.
        message: Result<Message, ParseError>,
    },
    /// A message of this worker could not be delivered.
    Failed {
        /// The transaction that sent it.
        transaction: TransactionId,
    },
    /// The network says that nobody receives at `remote`: an ICMP error came.
    Unreachable {
        /// The UDP socket of ours.
        local: SocketAddr,
        /// Where datagrams were sent to.
        remote: SocketAddr,
    },
    /// A connection is closed that messages had come by.
    Closed {
        /// As it was.
        flow: Flow,
    },
}

/// Hands what arrives to its worker, unless its source is held off. Clones share the workers.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    workers: Arc<[Lanes]>,
    /// What the Call-IDs of the node's own user agent begin with, which is the last of the workers.
    agent_mark: Option<Arc<str>>,
    hasher: RandomState,
    defence: Arc<Defence>,
    metrics: Arc<Metrics>,
}

impl Dispatcher {
    /// Between sockets and `workers`, of which there is one at least.
    pub(crate) fn new(workers: Vec<Lanes>, defence: Arc<Defence>, metrics: Arc<Metrics>) -> Self {
        Self {
            workers: workers.into(),
            agent_mark: None,
            hasher: RandomState::new(),
            defence,
            metrics,
        }
    }

    /// Hands responses whose Call-ID begins with `mark` to `agent`, which counts as one more worker.
    pub(crate) fn with_agent(self, agent: Lanes, mark: Arc<str>) -> Self {
        let workers = self.workers.iter().cloned().chain([agent]);
        Self {
            workers: workers.collect(),
            agent_mark: Some(mark),
            ..self
        }
    }

    /// Hands a datagram to the worker of its Call-ID; drops it where that one's queue is full.
    pub(crate) fn datagram(&self, flow: Flow, bytes: Bytes) {
        let now = now();
        if !self.admits(now, &flow) {
            return;
        }
        let peek = Peek::at(&bytes);
        if let Some((index, urgency)) = self.place(now, &flow, &peek) {
            self.push(index, now, urgency, Arrival::Datagram { flow, bytes });
        }
    }

    /// The same with what a connection gave.
    pub(crate) fn framed(&self, flow: Flow, message: Result<Message, ParseError>) {
        let now = now();
        if !self.admits(now, &flow) {
            return;
        }
        let framed = match &message {
            Ok(message) => message.as_bytes(),
            Err(error) => error
                .partial
                .as_ref()
                .map_or(&[][..], |partial| partial.as_bytes()),
        };
        if let Err(error) = &message
            && error.kind == ParseErrorKind::NotSip
        {
            self.defence.report(now, &flow, Evidence::NotSip);
        }
        if let Some((index, urgency)) = self.place(now, &flow, &Peek::at(framed)) {
            self.push(index, now, urgency, Arrival::Framed { flow, message });
        }
    }

    /// Whether a source may connect. One that is banned is refused before anything is kept of it.
    pub(crate) fn admits_connection(&self, remote: SocketAddr) -> bool {
        let is_banned = self.defence.is_banned(now(), remote.ip());
        if is_banned {
            self.metrics.dropped(Dropped::Banned);
        }
        !is_banned
    }

    /// Reports what a source did on its way to a message: before there is one.
    pub(crate) fn report(&self, flow: &Flow, evidence: Evidence) {
        self.defence.report(now(), flow, evidence);
    }

    /// Tells a message's sender that it could not be delivered.
    pub(crate) fn failed(&self, sender: Sender) {
        if let Some(transaction) = sender.transaction {
            let arrival = Arrival::Failed { transaction };
            self.push(sender.worker, now(), Urgency::Urgent, arrival);
        }
    }

    /// Tells every worker: an ICMP error does not say whose datagram it was about.
    pub(crate) fn unreachable(&self, local: SocketAddr, remote: SocketAddr) {
        for index in 0..self.workers.len() {
            let arrival = Arrival::Unreachable { local, remote };
            self.push(index, now(), Urgency::Urgent, arrival);
        }
    }

    /// Tells every worker that a connection is closed: any may wait for an answer on it.
    pub(crate) fn closed(&self, flow: &Flow) {
        for index in 0..self.workers.len() {
            let arrival = Arrival::Closed { flow: *flow };
            self.push(index, now(), Urgency::Ordinary, arrival);
        }
    }

    fn admits(&self, now: Instant, flow: &Flow) -> bool {
        let is_banned = self.defence.is_banned(now, flow.remote.ip());
        if is_banned {
            self.metrics.dropped(Dropped::Banned);
        }
        !is_banned
    }

    /// Which worker a message goes to, and how urgently; `None` where it is refused.
    fn place(&self, now: Instant, flow: &Flow, peek: &Peek<'_>) -> Option<(usize, Urgency)> {
        match self.defence.judge(now, flow, peek) {
            Verdict::Pass => {}
            Verdict::Scanner => {
                self.metrics.dropped(Dropped::Scanner);
                return None;
            }
            Verdict::Limited => {
                self.metrics.dropped(Dropped::RateLimit);
                return None;
            }
        }
        // A request that a stranger marks so is a worker's, as any other.
        if peek.kind == Kind::Response
            && let Some(mark) = &self.agent_mark
            && peek
                .call_id
                .is_some_and(|id| id.starts_with(mark.as_bytes()))
        {
            return Some((self.workers.len() - 1, Urgency::Urgent));
        }
        // A stranger's probes wait like all he sends.
        let may_overtake =
            peek.may_overtake() && (!peek.is_probe || self.defence.is_allowed(flow.remote.ip()));
        let urgency = if may_overtake {
            Urgency::Urgent
        } else if peek.is_sheddable() && !self.defence.is_emergency(peek.uri) {
            Urgency::Sheddable
        } else {
            Urgency::Ordinary
        };
        Some((self.index(peek.call_id), urgency))
    }

    fn index(&self, call_id: Option<&[u8]>) -> usize {
        let Some(call_id) = call_id else {
            return 0;
        };
        let workers = self.workers.len() - usize::from(self.agent_mark.is_some());
        let workers = workers as u64;
        usize::try_from(self.hasher.hash_one(call_id) % workers.max(1)).unwrap_or(0)
    }

    fn push(&self, index: usize, at: Instant, urgency: Urgency, arrival: Arrival) {
        if let Some(worker) = self.workers.get(index)
            && !worker.push(at, urgency, arrival)
        {
            self.metrics.dropped(Dropped::Overload);
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
