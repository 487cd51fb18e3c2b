//! From sockets to workers.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use sip::{
    message::{Message, ParseError},
    transaction::TransactionId,
};
use tokio::sync::mpsc;

use super::{Flow, Sender, call_id};
use crate::metrics::{Dropped, Metrics};

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

/// Hands what arrives to its worker. Clones share the workers.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    workers: Arc<[mpsc::Sender<Arrival>]>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

impl Dispatcher {
    /// Between sockets and `workers`, of which there is one at least.
    pub(crate) fn new(workers: Vec<mpsc::Sender<Arrival>>, metrics: Arc<Metrics>) -> Self {
        Self {
            workers: workers.into(),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Hands a datagram to the worker of its Call-ID; drops it where that one's queue is full.
    pub(crate) fn datagram(&self, flow: Flow, bytes: Bytes) {
        let index = self.index(&bytes);
        self.push(index, Arrival::Datagram { flow, bytes });
    }

    /// The same with what a connection gave.
    pub(crate) fn framed(&self, flow: Flow, message: Result<Message, ParseError>) {
        let framed = match &message {
            Ok(message) => Some(message.as_bytes()),
            Err(error) => error.partial.as_ref().map(|partial| partial.as_bytes()),
        };
        let index = framed.map_or(0, |bytes| self.index(bytes));
        self.push(index, Arrival::Framed { flow, message });
    }

    /// Tells a message's sender that it could not be delivered.
    pub(crate) fn failed(&self, sender: Sender) {
        if let Some(transaction) = sender.transaction {
            self.push(sender.worker, Arrival::Failed { transaction });
        }
    }

    /// Tells every worker: an ICMP error does not say whose datagram it was about.
    pub(crate) fn unreachable(&self, local: SocketAddr, remote: SocketAddr) {
        for index in 0..self.workers.len() {
            self.push(index, Arrival::Unreachable { local, remote });
        }
    }

    /// Tells every worker that a connection is closed: any may wait for an answer on it.
    pub(crate) fn closed(&self, flow: &Flow) {
        for index in 0..self.workers.len() {
            self.push(index, Arrival::Closed { flow: *flow });
        }
    }

    fn index(&self, message: &[u8]) -> usize {
        let Some(call_id) = call_id::find(message) else {
            return 0;
        };
        let workers = self.workers.len() as u64;
        usize::try_from(self.hasher.hash_one(call_id) % workers.max(1)).unwrap_or(0)
    }

    fn push(&self, index: usize, arrival: Arrival) {
        if let Some(worker) = self.workers.get(index)
            && let Err(mpsc::error::TrySendError::Full(_)) = worker.try_send(arrival)
        {
            self.metrics.dropped(Dropped::Overload);
        }
    }
}
