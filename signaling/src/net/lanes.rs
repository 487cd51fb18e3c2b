//! The queues of what has arrived: each thread that reads UDP has its own, and each worker has those of
//! what comes by connections.
//!
//! All are bounded, and each has its share of every turn: none can starve another, and what waits in
//! one takes no time from those before it.
//!
//! 1. What may go before all that waits: probes of the allow set, responses, and what is within a
//!    dialog, of those who are known. So a node under load is still seen to be alive and ends calls as
//!    fast as it is asked to.
//! 2. What else trunks and known users want, their calls above all. A CANCEL waits here behind its
//!    INVITE.
//! 3. Registrations that answer a challenge: who began gets to an end, before he gives up and begins anew.
//! 4. Other registrations: those of a town whose power is back delay no call.
//! 5. Whatever strangers send, which is most of what a flood brings.
//!
//! What can be tried again later never takes the last places of a queue; nor is it worked on as often as its
//! sender has sent it again while it waited.

use std::{
    collections::{HashSet, VecDeque},
    future::poll_fn,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    task::Poll,
    time::Instant,
};

use tokio::sync::mpsc;

use super::Arrival;
use crate::worker::PER_READER;

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Before what waits.
    Urgent,
    /// Calls, and all else of those who are known.
    Ordinary,
    /// REGISTER with credentials, of those who are known.
    Answers,
    /// REGISTER of those who are known.
    Registrations,
    /// Everything of those who are not.
    Strangers,
}

/// What may become of an arrival before it is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is worked on, however long it waits.
    Kept,
    /// It is refused where there is too much to do: its sender can try again.
    Sheddable,
    /// It is refused.
    Refused,
}

const LANES: usize = 5;

/// Arrivals that may wait in each queue of a thread: a second of the heaviest load, and as much as a burst
/// after a pause of the process brings. A worker's have its part of that.
const ROOM: [usize; LANES] = [16_384, 16_384, 32_768, 32_768, 8_192];
/// Arrivals before it with which a datagram waits long enough, perhaps, to be sent again.
pub(super) const BEHIND: usize = 1_024;
/// Arrivals that are taken from each queue in one turn, before sockets have theirs.
const TURN: [usize; LANES] = [64, 32, 8, 8, 8];

/// An arrival that waited.
#[derive(Debug)]
pub(crate) struct Queued<T = Arrival> {
    /// When it was received.
    pub(crate) at: Instant,
    /// It can be tried again later.
    pub(crate) is_sheddable: bool,
    /// It found too many before it.
    pub(crate) is_crowded: bool,
    pub(crate) arrival: T,
}

impl<T> Queued<T> {
    /// As it enters a queue that has `room` of `all` places left; `None` where they are not for it.
    fn new(at: Instant, fate: Fate, room: usize, all: usize, arrival: T) -> Option<Self> {
        let is_sheddable = fate != Fate::Kept;
        if room == 0 || is_sheddable && room <= all / 8 {
            return None;
        }
        Some(Self {
            at,
            is_sheddable,
            // To refuse takes less time than to do it.
            is_crowded: is_sheddable && (room < all / 2 || fate == Fate::Refused),
            arrival,
        })
    }
}

/// The queues of one thread, which fills and empties them itself.
#[derive(Debug)]
pub(super) struct Queues<T> {
    lanes: [VecDeque<(Option<Mark>, Queued<T>)>; LANES],
    /// Of those that wait and have one.
    marks: HashSet<Mark>,
    hasher: RandomState,
}

/// Tells a datagram that waits from all others: a hash of all of it and of its source, which nobody outside
/// can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark(u64);

impl<T> Queues<T> {
    pub(super) fn new() -> Self {
        Self {
            lanes: [(); LANES].map(|()| VecDeque::new()),
            marks: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// What to know a datagram by when it is sent again, where it may be before it is worked on.
    pub(super) fn mark(
        &self,
        lane: Lane,
        fate: Fate,
        remote: SocketAddr,
        bytes: &[u8],
    ) -> Option<Mark> {
        let may_come_again = fate == Fate::Sheddable && self.lanes[lane as usize].len() >= BEHIND;
        may_come_again.then(|| Mark(self.hasher.hash_one((remote, bytes))))
    }

    /// Whether the same waits already: what it will be told answers both.
    pub(super) fn has(&self, mark: Option<Mark>) -> bool {
        mark.is_some_and(|mark| self.marks.contains(&mark))
    }

    /// Queues an arrival; `false` where there is no room for it.
    pub(super) fn push(
        &mut self,
        at: Instant,
        lane: Lane,
        fate: Fate,
        mark: Option<Mark>,
        arrival: T,
    ) -> bool {
        let (queue, all) = (&mut self.lanes[lane as usize], ROOM[lane as usize]);
        let room = all.saturating_sub(queue.len());
        let Some(queued) = Queued::new(at, fate, room, all, arrival) else {
            return false;
        };
        queue.push_back((mark, queued));
        self.marks.extend(mark);
        true
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    /// Gives a turn's worth of arrivals, in the order of the queues.
    pub(super) fn turn(&mut self, mut work: impl FnMut(Queued<T>)) {
        for (queue, most) in self.lanes.iter_mut().zip(TURN) {
            let most = most.min(queue.len());
            for (mark, queued) in queue.drain(..most) {
                if let Some(mark) = mark {
                    self.marks.remove(&mark);
                }
                work(queued);
            }
        }
    }
}

/// The connections' end of a worker's queues.
#[derive(Clone, Debug)]
pub(crate) struct Lanes([mpsc::Sender<Queued>; LANES]);

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Inbox([mpsc::Receiver<Queued>; LANES]);

/// The queues of a worker.
pub(crate) fn lanes() -> (Lanes, Inbox) {
    let [a, b, c, d, e] = ROOM.map(|room| mpsc::channel(room / PER_READER));
    (
        Lanes([a.0, b.0, c.0, d.0, e.0]),
        Inbox([a.1, b.1, c.1, d.1, e.1]),
    )
}

impl Lanes {
    /// Queues an arrival; `false` where there is no room for it.
    pub(super) fn push(&self, at: Instant, lane: Lane, fate: Fate, arrival: Arrival) -> bool {
        let (queue, all) = (&self.0[lane as usize], ROOM[lane as usize] / PER_READER);
        let Some(queued) = Queued::new(at, fate, queue.capacity(), all, arrival) else {
            return false;
        };
        // A worker that is gone misses nothing.
        !matches!(
            queue.try_send(queued),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }
}

impl Inbox {
    /// Waits for arrivals and puts a turn's worth of them into `batch`, in the order of the queues.
    /// `false` when no more can come. Nothing is lost where this is not waited for to its end.
    ///
    /// Where some are left from the last turn, the connections have theirs first: what they hold may go
    /// before what waits here.
    pub(crate) async fn recv(&mut self, batch: &mut Vec<Queued>) -> bool {
        if self.0.iter().any(|queue| !queue.is_empty()) {
            tokio::task::yield_now().await;
        }
        if self.take(batch) {
            return true;
        }
        let Some(first) = self.first().await else {
            return false;
        };
        batch.push(first);
        self.take(batch);
        true
    }

    /// Waits for one arrival.
    #[cfg(test)]
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        self.first().await.map(|queued| queued.arrival)
    }

    async fn first(&mut self) -> Option<Queued> {
        poll_fn(|context| {
            let mut is_over = true;
            for queue in &mut self.0 {
                match queue.poll_recv(context) {
                    Poll::Ready(Some(queued)) => return Poll::Ready(Some(queued)),
                    Poll::Ready(None) => {}
                    Poll::Pending => is_over = false,
                }
            }
            match is_over {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await
    }

    fn take(&mut self, batch: &mut Vec<Queued>) -> bool {
        for (queue, most) in self.0.iter_mut().zip(TURN) {
            batch.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(most));
        }
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
    async fn each_queue_has_its_share_of_a_turn_in_their_order() {
        let (lanes, mut inbox) = lanes();
        let now = Instant::now();
        let all = [
            Lane::Strangers,
            Lane::Registrations,
            Lane::Answers,
            Lane::Ordinary,
            Lane::Urgent,
        ];
        let mut queues = Queues::new();
        for (lane, start) in all.into_iter().zip([4_000, 3_000, 2_000, 1_000, 0]) {
            for port in start..start + 500 {
                assert!(lanes.push(now, lane, Fate::Sheddable, arrival(port)));
                assert!(queues.push(now, lane, Fate::Sheddable, None, arrival(port)));
            }
        }
        let mut batch = Vec::new();
        for turn in 0..3 {
            let starts = [0, 1_000, 2_000, 3_000, 4_000];
            let starts = starts.into_iter().zip([64, 32, 8, 8, 8]);
            let expected = starts.flat_map(|(start, share)| {
                let first = start + turn * share;
                first..first + share
            });
            let expected: Vec<_> = expected.collect();
            assert!(inbox.recv(&mut batch).await);
            assert_eq!(ports(&mut batch), expected);
            queues.turn(|queued| batch.push(queued));
            assert_eq!(ports(&mut batch), expected);
        }
        while !queues.is_empty() {
            queues.turn(|queued| batch.push(queued));
        }
        assert_eq!(ports(&mut batch).len(), 2_500 - 3 * (64 + 32 + 8 + 8 + 8));
        drop(lanes);
        while inbox.recv(&mut batch).await {
            batch.clear();
        }
    }

    #[tokio::test]
    async fn what_can_be_tried_again_is_refused_first_and_never_takes_the_last_places() {
        for lane in [
            Lane::Ordinary,
            Lane::Answers,
            Lane::Registrations,
            Lane::Strangers,
        ] {
            let (lanes, mut inbox) = lanes();
            let (now, room) = (Instant::now(), ROOM[lane as usize] / PER_READER);
            let pushed = |fate| {
                let push = |_: &usize| lanes.push(now, lane, fate, arrival(1));
                (0..room).filter(push).count()
            };
            let sheddable = pushed(Fate::Sheddable);
            assert_eq!(sheddable, room - room / 8);
            assert_eq!(pushed(Fate::Refused), 0);
            assert_eq!(pushed(Fate::Kept), room / 8);
            for other in [Lane::Urgent, Lane::Ordinary] {
                assert!(other == lane || lanes.push(now, other, Fate::Kept, arrival(3)));
            }
            let (mut crowded, mut batch) = (0, Vec::new());
            drop(lanes);
            while inbox.recv(&mut batch).await {
                crowded += batch.drain(..).filter(|queued| queued.is_crowded).count();
            }
            assert_eq!(crowded, sheddable - room / 2 - 1);
        }
    }

    #[test]
    fn a_threads_queues_keep_their_last_places_too() {
        let (now, lane) = (Instant::now(), Lane::Strangers);
        let room = ROOM[lane as usize];
        let mut queues = Queues::new();
        let mut pushed = |fate| {
            let push = |_: &usize| queues.push(now, lane, fate, None, arrival(1));
            (0..room).filter(push).count()
        };
        assert_eq!(pushed(Fate::Sheddable), room - room / 8);
        assert_eq!(pushed(Fate::Kept), room / 8);
    }

    #[test]
    fn what_waits_is_known_again_until_its_turn() {
        let (now, lane, fate) = (Instant::now(), Lane::Registrations, Fate::Sheddable);
        let remote = SocketAddr::from(([192, 0, 2, 1], 5_060));
        let mut queues = Queues::new();
        while queues.mark(lane, fate, remote, b"REGISTER 1").is_none() {
            assert!(queues.push(now, lane, fate, None, arrival(1)));
        }
        // Nobody has to wait before it.
        assert_eq!(queues.lanes[lane as usize].len(), BEHIND);
        assert_eq!(queues.mark(lane, Fate::Kept, remote, b"ACK"), None);
        assert_eq!(queues.mark(Lane::Strangers, fate, remote, b""), None);

        let mark = queues.mark(lane, fate, remote, b"REGISTER 1");
        assert!(!queues.has(None) && !queues.has(mark));
        assert!(queues.push(now, lane, fate, mark, arrival(2)));
        let again = queues.mark(lane, fate, remote, b"REGISTER 1");
        assert!(queues.has(again));
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 5_061));
        assert!(!queues.has(queues.mark(lane, fate, elsewhere, b"REGISTER 1")));
        assert!(!queues.has(queues.mark(lane, fate, remote, b"REGISTER 2")));

        for _ in 0..BEHIND / TURN[lane as usize] {
            assert!(queues.has(mark));
            queues.turn(|_| ());
        }
        queues.turn(|_| ());
        assert!(queues.is_empty() && !queues.has(mark) && queues.marks.is_empty());
    }

    /// Or what is urgent would wait until a worker has gone through all of its queues.
    #[tokio::test]
    async fn connections_have_their_turn_between_two_of_the_worker() {
        let (lanes, mut inbox) = lanes();
        let now = Instant::now();
        for port in 0..800 {
            assert!(lanes.push(now, Lane::Strangers, Fate::Sheddable, arrival(port)));
        }
        let connection = tokio::spawn(async move {
            tokio::task::yield_now().await;
            lanes.push(now, Lane::Ordinary, Fate::Sheddable, arrival(5_060))
        });
        let mut batch = Vec::new();
        for _ in 0..3 {
            inbox.recv(&mut batch).await;
        }
        assert!(ports(&mut batch).contains(&5_060));
        assert!(connection.await.unwrap());
    }
}
