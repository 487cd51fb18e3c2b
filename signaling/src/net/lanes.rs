//! The two queues before each worker.
//!
//! Both are bounded. What may go before all that waits (probes of the allow set, responses, what is
//! within a dialog) has a queue of its own, so that a node under load is still seen to be alive and
//! ends calls as fast as it is asked to. It cannot starve the other: both have their share of each
//! turn. A CANCEL waits behind its INVITE, in room that is kept for it.

use std::time::Instant;

use tokio::sync::mpsc;

use super::Arrival;

/// Arrivals that may wait in each queue: a second of the heaviest load, and as much as a burst after a
/// pause of the process brings.
const QUEUE: usize = 16_384;
/// From here on, what can be tried again later is refused, which takes less time than to do it.
const CROWDED: usize = QUEUE / 2;
/// The last places, which are kept for what cannot be tried again.
const RESERVED: usize = QUEUE / 8;
/// Arrivals that are taken from each queue in one turn, before the outputs of all of them go out.
const URGENT_TURN: usize = 64;
const ORDINARY_TURN: usize = 32;

/// How an arrival is to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Before what waits.
    Urgent,
    /// In turn.
    Ordinary,
    /// In turn, and to be refused where there is too much to do.
    Sheddable,
}

/// An arrival that waited.
#[derive(Debug)]
pub(crate) struct Queued {
    /// When it was received.
    pub(crate) at: Instant,
    /// It can be tried again later.
    pub(crate) is_sheddable: bool,
    /// It found too many before it.
    pub(crate) is_crowded: bool,
    pub(crate) arrival: Arrival,
}

/// The sockets' end of a worker's queues.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    urgent: mpsc::Sender<Queued>,
    ordinary: mpsc::Sender<Queued>,
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    urgent: mpsc::Receiver<Queued>,
    ordinary: mpsc::Receiver<Queued>,
}

/// The queues of a worker.
pub(crate) fn lanes() -> (Lanes, Inbox) {
    let (urgent, urgents) = mpsc::channel(QUEUE);
    let (ordinary, ordinaries) = mpsc::channel(QUEUE);
    let inbox = Inbox {
        urgent: urgents,
        ordinary: ordinaries,
    };
    (Lanes { urgent, ordinary }, inbox)
}

impl Lanes {
    /// Queues an arrival; `false` where there is no room for it.
    pub(super) fn push(&self, at: Instant, urgency: Urgency, arrival: Arrival) -> bool {
        let is_sheddable = urgency == Urgency::Sheddable;
        let room = self.ordinary.capacity();
        let queued = Queued {
            at,
            is_sheddable,
            is_crowded: is_sheddable && room < CROWDED,
            arrival,
        };
        let sent = match urgency {
            Urgency::Urgent => self.urgent.try_send(queued),
            Urgency::Sheddable if room <= RESERVED => return false,
            Urgency::Ordinary | Urgency::Sheddable => self.ordinary.try_send(queued),
        };
        // A worker that is gone misses nothing.
        !matches!(sent, Err(mpsc::error::TrySendError::Full(_)))
    }
}

impl Inbox {
    /// Waits for arrivals and puts a turn's worth of them into `batch`, urgent ones first. `false` when
    /// no more can come. Nothing is lost where this is not waited for to its end.
    pub(crate) async fn recv(&mut self, batch: &mut Vec<Queued>) -> bool {
        if !self.take(batch) {
            let first = tokio::select! {
                biased;
                first = self.urgent.recv() => first,
                first = self.ordinary.recv() => first,
            };
            let Some(first) = first else { return false };
            batch.push(first);
            self.take(batch);
        }
        true
    }

    /// Waits for one arrival.
    #[cfg(test)]
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        let queued = tokio::select! {
            biased;
            queued = self.urgent.recv() => queued,
            queued = self.ordinary.recv() => queued,
        };
        queued.map(|queued| queued.arrival)
    }

    fn take(&mut self, batch: &mut Vec<Queued>) -> bool {
        let urgents = std::iter::from_fn(|| self.urgent.try_recv().ok());
        batch.extend(urgents.take(URGENT_TURN));
        let ordinaries = std::iter::from_fn(|| self.ordinary.try_recv().ok());
        batch.extend(ordinaries.take(ORDINARY_TURN));
        !batch.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn arrival(port: u16) -> Arrival {
        let remote = SocketAddr::from(([192, 0, 2, 1], port));
        Arrival::Unreachable {
            local: remote,
            remote,
        }
    }

    fn ports(batch: &mut Vec<Queued>) -> Vec<u16> {
        batch
            .drain(..)
            .map(|queued| match queued.arrival {
                Arrival::Unreachable { remote, .. } => remote.port(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn the_urgent_go_first_and_the_others_have_their_share() {
        let (lanes, mut inbox) = lanes();
        let now = Instant::now();
        for port in 0..100 {
            assert!(lanes.push(now, Urgency::Sheddable, arrival(port)));
        }
        for port in 1_000..1_200 {
            assert!(lanes.push(now, Urgency::Urgent, arrival(port)));
        }
        let mut batch = Vec::new();
        assert!(inbox.recv(&mut batch).await);
        let first = ports(&mut batch);
        assert_eq!(first[..64], (1_000..1_064).collect::<Vec<_>>());
        assert_eq!(first[64..], (0..32).collect::<Vec<_>>());
        assert!(inbox.recv(&mut batch).await);
        assert_eq!(ports(&mut batch)[64..], (32..64).collect::<Vec<_>>());
        drop(lanes);
        while inbox.recv(&mut batch).await {
            batch.clear();
        }
    }

    #[tokio::test]
    async fn what_can_be_tried_again_is_refused_first_and_never_takes_the_last_places() {
        let (lanes, mut inbox) = lanes();
        let now = Instant::now();
        let sheddable = (0..QUEUE)
            .filter(|_| lanes.push(now, Urgency::Sheddable, arrival(1)))
            .count();
        assert_eq!(sheddable, QUEUE - RESERVED);
        let cancels = (0..QUEUE)
            .filter(|_| lanes.push(now, Urgency::Ordinary, arrival(2)))
            .count();
        assert_eq!(cancels, RESERVED);
        assert!(lanes.push(now, Urgency::Urgent, arrival(3)));

        let (mut crowded, mut batch) = (0, Vec::new());
        for _ in 0..QUEUE / ORDINARY_TURN {
            inbox.recv(&mut batch).await;
            crowded += batch.drain(..).filter(|queued| queued.is_crowded).count();
        }
        assert_eq!(crowded, sheddable - CROWDED - 1);
    }
}
