//! What the tables leave for the layer's user to drain, and the queue of their timers.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::event::{Event, TransactionId, Transmit};

#[derive(Debug)]
pub(super) struct Output<F> {
    pub(super) transmits: VecDeque<Transmit<F>>,
    pub(super) events: VecDeque<Event<F>>,
    /// The next timer of every transaction that has one. Exact: an entry is moved when its timer
    /// is, so that nobody is woken for nothing and nothing outlives its transaction.
    queue: BTreeSet<(Instant, TransactionId)>,
}

impl<F> Output<F> {
    pub(super) fn new() -> Self {
        Self {
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            queue: BTreeSet::new(),
        }
    }

    pub(super) fn transmit(&mut self, flow: F, payload: Bytes, id: Option<TransactionId>) {
        self.transmits.push_back(Transmit {
            flow,
            payload,
            transaction: id,
        });
    }

    pub(super) fn tell(&mut self, event: Event<F>) {
        self.events.push_back(event);
    }

    /// Moves a transaction's entry from where it was to its next timer.
    pub(super) fn reschedule(
        &mut self,
        id: TransactionId,
        scheduled: &mut Option<Instant>,
        next: Option<Instant>,
    ) {
        if *scheduled == next {
            return;
        }
        if let Some(at) = std::mem::replace(scheduled, next) {
            self.queue.remove(&(at, id));
        }
        if let Some(at) = next {
            self.queue.insert((at, id));
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The transaction whose timer is due first, if one is. Its entry stays until rescheduled.
    pub(super) fn due(&self, now: Instant) -> Option<TransactionId> {
        self.queue
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, id)| *id)
    }

    /// How many transactions have a timer running.
    pub(super) fn scheduled(&self) -> usize {
        self.queue.len()
    }
}
