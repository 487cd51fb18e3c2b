//! From sockets to workers.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

use bytes::Bytes;
use control::config::Transport;
use sip::{
    message::{Message, ParseError, ParseErrorKind},
    transaction::TransactionId,
};

use super::{
    Flow, Lanes, Sender,
    lanes::{Fate, Lane, Queues},
};
use crate::{
    accounts::Doorman,
    defence::{Cap, Defence, Evidence, Kind, Peek, Standing, Verdict},
    metrics::{Dropped, Metrics},
};

/// ICMP errors that workers are told of in a second. Each looks through all that it waits for, and whoever
/// can write to this node can send any number. Where one is passed over, the datagram's next try hears of
/// it again.
const ICMP_RATE: u32 = 100;

/// A datagram, not parsed.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Whose it is.
    pub(crate) worker: usize,
    /// Where it came from.
    pub(crate) flow: Flow,
    /// All of it.
    pub(crate) bytes: Bytes,
}

/// What a worker hears from the network by its queues.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each message of a stream"
)]
pub(crate) enum Arrival {
    /// What a connection's framing gave, or what a datagram for the node's own user agent is.
    Framed {
        /// Where it came from.
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
    /// Who tells of strangers' credentials.
    doorman: Option<Doorman>,
    placement: Placement,
    defence: Arc<Defence>,
    metrics: Arc<Metrics>,
    /// How many ICMP errors are looked at, from this instant on.
    icmp: Arc<(Instant, Cap)>,
}

/// Which worker has which Call-ID.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    hasher: RandomState,
    workers: u64,
}

impl Placement {
    /// Among so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            workers: (workers as u64).max(1),
        }
    }

    /// The worker of a Call-ID.
    pub(crate) fn of(&self, call_id: &[u8]) -> usize {
        usize::try_from(self.hasher.hash_one(call_id) % self.workers).unwrap_or(0)
    }
}

/// The workers that have to do with a connection: that had a message by it, or wrote to it. Clones share
/// them.
#[derive(Clone, Debug)]
pub(super) struct Concerned(Arc<[AtomicU64]>);

impl Concerned {
    fn new(workers: usize) -> Self {
        let bits = u64::BITS as usize;
        Self(
            (0..workers.div_ceil(bits))
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    /// A worker has to do with it from now on.
    pub(super) fn add(&self, worker: usize) {
        let bits = u64::BITS as usize;
        let (word, bit) = (self.0.get(worker / bits), 1 << (worker % bits));
        // It has as a rule.
        if let Some(word) = word.filter(|word| word.load(SeqCst) & bit == 0) {
            word.fetch_or(bit, SeqCst);
        }
    }

    pub(super) fn has(&self, worker: usize) -> bool {
        let bits = u64::BITS as usize;
        let word = self.0.get(worker / bits);
        word.is_some_and(|word| word.load(SeqCst) & (1 << (worker % bits)) != 0)
    }
}

/// Where a message is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    worker: usize,
    lane: Lane,
    fate: Fate,
}

impl Dispatcher {
    /// Between sockets and `workers`, of which there is one at least.
    pub(crate) fn new(workers: Vec<Lanes>, defence: Arc<Defence>, metrics: Arc<Metrics>) -> Self {
        Self {
            placement: Placement::new(workers.len()),
            workers: workers.into(),
            agent_mark: None,
            doorman: None,
            defence,
            metrics,
            icmp: Arc::new((now(), Cap::new(ICMP_RATE))),
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

    /// Which worker has which Call-ID.
    pub(crate) fn placement(&self) -> Placement {
        self.placement.clone()
    }

    /// Lets those go before strangers who answer a challenge, as `doorman` tells.
    pub(crate) fn with_doorman(self, doorman: Doorman) -> Self {
        Self {
            doorman: Some(doorman),
            ..self
        }
    }

    /// Whether anything that a datagram's source sends is looked at. To be asked before all else.
    pub(crate) fn admits(&self, flow: &Flow) -> bool {
        let is_banned = self
            .defence
            .is_banned(now(), flow.remote.ip(), flow.transport);
        if is_banned {
            self.metrics.dropped(Dropped::Banned);
        }
        !is_banned
    }

    /// Whether the source of `flow` may have an answer to what is no SIP message.
    pub(crate) fn admits_other(&self, flow: &Flow) -> bool {
        let admits = self.defence.admits_other(now(), flow);
        if !admits {
            self.metrics.dropped(Dropped::RateLimit);
        }
        admits
    }

    /// Queues a datagram for the worker of its Call-ID; drops it where there is no room, or where it waits
    /// already. Nothing is copied of one that is refused.
    pub(super) fn datagram(&self, flow: Flow, bytes: &[u8], queues: &mut Queues<Datagram>) {
        let now = now();
        let Ok(place) = self.place(now, &flow, &Peek::at(bytes)) else {
            return;
        };
        if self.agent_mark.is_some() && place.worker + 1 == self.workers.len() {
            let message = Message::parse(Bytes::copy_from_slice(bytes));
            return self.push(place, now, Arrival::Framed { flow, message });
        }
        let Place { worker, lane, fate } = place;
        let mark = queues.mark(lane, fate, flow.remote, bytes);
        if queues.has(mark) {
            return self.metrics.dropped(Dropped::Repeated);
        }
        let datagram = Datagram {
            worker,
            flow,
            bytes: Bytes::copy_from_slice(bytes),
        };
        if !queues.push(now, lane, fate, mark, datagram) {
            self.metrics.dropped(Dropped::Overload);
        }
    }

    /// No worker yet.
    pub(super) fn concerned(&self) -> Concerned {
        Concerned::new(self.workers.len())
    }

    /// The same with what a connection gave. `false` where its source asks too much.
    pub(super) fn framed(
        &self,
        flow: Flow,
        message: Result<Message, ParseError>,
        concerned: &Concerned,
    ) -> bool {
        let now = now();
        if !self.admits(&flow) {
            return true;
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
        let peek = Peek::at(framed);
        match self.place(now, &flow, &peek) {
            Ok(place) => {
                concerned.add(place.worker);
                self.push(place, now, Arrival::Framed { flow, message });
            }
            Err(Dropped::Scanner) => {}
            Err(_) => {
                // Over a stream nothing is sent again: its sender has to hear when to come back.
                if peek.is_sheddable(self.standing(flow.remote)) {
                    let place = Place {
                        worker: self.index(peek.call_id),
                        lane: Lane::Strangers,
                        fate: Fate::Refused,
                    };
                    self.push(place, now, Arrival::Framed { flow, message });
                }
                return false;
            }
        }
        true
    }

    /// Whether a source may connect. One that is banned is refused before anything is kept of it.
    pub(crate) fn admits_connection(&self, remote: SocketAddr) -> bool {
        let is_banned = self.defence.is_banned(now(), remote.ip(), Transport::Tcp);
        if is_banned {
            self.metrics.dropped(Dropped::Banned);
        }
        !is_banned
    }

    /// Who a source is.
    pub(crate) fn standing(&self, remote: SocketAddr) -> Standing {
        self.defence.standing(now(), remote.ip())
    }

    /// Reports what a source did on its way to a message: before there is one.
    pub(crate) fn report(&self, flow: &Flow, evidence: Evidence) {
        self.defence.report(now(), flow, evidence);
    }

    /// Tells a message's sender that it could not be delivered.
    pub(crate) fn failed(&self, sender: Sender) {
        if let Some(transaction) = sender.transaction {
            let arrival = Arrival::Failed { transaction };
            self.tell(sender.worker, Lane::Urgent, arrival);
        }
    }

    /// Tells every worker: an ICMP error does not say whose datagram it was about.
    pub(crate) fn unreachable(&self, local: SocketAddr, remote: SocketAddr) {
        let (began, cap) = &*self.icmp;
        let since = now().saturating_duration_since(*began).as_nanos();
        if !cap.take(u64::try_from(since).unwrap_or(u64::MAX)) {
            return self.metrics.dropped(Dropped::Icmp);
        }
        for index in 0..self.workers.len() {
            let arrival = Arrival::Unreachable { local, remote };
            self.tell(index, Lane::Urgent, arrival);
        }
    }

    /// Tells those whom it concerns that a connection is closed: no other can wait for an answer on it.
    pub(super) fn closed(&self, flow: &Flow, concerned: &Concerned) {
        for index in (0..self.workers.len()).filter(|index| concerned.has(*index)) {
            let arrival = Arrival::Closed { flow: *flow };
            self.tell(index, Lane::Ordinary, arrival);
        }
    }

    /// Where a message goes, or why it is refused.
    fn place(&self, now: Instant, flow: &Flow, peek: &Peek<'_>) -> Result<Place, Dropped> {
        let proves = |credentials: &[u8]| {
            let doorman = self.doorman.as_ref();
            doorman.is_some_and(|doorman| doorman.admits(flow.remote.ip(), peek, credentials))
        };
        let standing = match self.defence.judge(now, flow, peek, proves) {
            Verdict::Pass(standing) => Ok(standing),
            Verdict::Scanner => Err(Dropped::Scanner),
            Verdict::Limited => Err(Dropped::RateLimit),
            Verdict::Crowd => Err(Dropped::Strangers),
        };
        let standing = standing.inspect_err(|reason| self.metrics.dropped(*reason))?;
        // A request that a stranger marks so is a worker's, as any other.
        if peek.kind == Kind::Response
            && let Some(mark) = &self.agent_mark
            && peek
                .call_id
                .is_some_and(|id| id.starts_with(mark.as_bytes()))
        {
            return Ok(Place {
                worker: self.workers.len() - 1,
                lane: match standing {
                    Standing::Stranger => Lane::Strangers,
                    Standing::Trusted | Standing::Known => Lane::Urgent,
                },
                fate: Fate::Kept,
            });
        }
        let lane = match standing {
            Standing::Stranger => Lane::Strangers,
            _ if peek.may_overtake(standing) => Lane::Urgent,
            Standing::Known if peek.kind == Kind::Register => match peek.credentials {
                Some(_) => Lane::Answers,
                None => Lane::Registrations,
            },
            _ => Lane::Ordinary,
        };
        let is_kept = !peek.is_sheddable(standing)
            || lane == Lane::Urgent
            || self.defence.is_emergency(peek.uri);
        Ok(Place {
            worker: self.index(peek.call_id),
            lane,
            fate: if is_kept { Fate::Kept } else { Fate::Sheddable },
        })
    }

    fn index(&self, call_id: Option<&[u8]>) -> usize {
        call_id.map_or(0, |id| self.placement.of(id))
    }

    fn push(&self, place: Place, at: Instant, arrival: Arrival) {
        if let Some(worker) = self.workers.get(place.worker)
            && !worker.push(at, place.lane, place.fate, arrival)
        {
            self.metrics.dropped(Dropped::Overload);
        }
    }

    fn tell(&self, worker: usize, lane: Lane, arrival: Arrival) {
        let place = Place {
            worker,
            lane,
            fate: Fate::Kept,
        };
        self.push(place, now(), arrival);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use control::config;

    use super::*;
    use crate::net::lanes::{BEHIND, lanes};

    /// A trunk's address, a phone's, and a stranger's.
    const SOURCES: [&str; 3] = ["192.0.2.1:5060", "198.51.100.2:5060", "203.0.113.3:5060"];

    fn dispatcher() -> Dispatcher {
        let (worker, _inbox) = lanes();
        dispatcher_to(worker)
    }

    fn dispatcher_to(worker: Lanes) -> Dispatcher {
        dispatcher_among(vec![worker])
    }

    fn dispatcher_among(workers: Vec<Lanes>) -> Dispatcher {
        let config = config::Defence {
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            ..config::Defence::default()
        };
        let now = Instant::now();
        let defence = Arc::new(Defence::new(&config, Duration::from_millis(500), now));
        let phone: SocketAddr = SOURCES[1].parse().unwrap();
        defence.remember(now, phone.ip());
        let metrics = Arc::new(Metrics::new().unwrap());
        Dispatcher::new(workers, defence, metrics)
    }

    #[tokio::test]
    async fn a_flood_of_icmp_errors_is_passed_over() {
        let (worker, mut inbox) = lanes();
        let dispatcher = dispatcher_to(worker);
        let [local, remote] = ["192.0.2.9:5060", "203.0.113.3:5060"].map(|at| at.parse().unwrap());
        for _ in 0..10_000 {
            dispatcher.unreachable(local, remote);
        }
        let mut told = Vec::new();
        inbox.recv(&mut told).await;
        // Two seconds' worth at once.
        assert!((1..=250).contains(&told.len()), "{}", told.len());
        let page = dispatcher.metrics.text();
        assert!(page.contains("reason=\"icmp\""), "{page}");
    }

    #[tokio::test]
    async fn who_had_to_do_with_a_connection_is_told_that_it_is_closed_and_nobody_else() {
        let (workers, inboxes): (Vec<_>, Vec<_>) = (0..100).map(|_| lanes()).unzip();
        let dispatcher = dispatcher_among(workers);
        let concerned = dispatcher.concerned();
        let [local, remote] = ["192.0.2.9:5060", SOURCES[0]].map(|at| at.parse().unwrap());
        let flow = Flow::to(Transport::Tcp, local, remote);
        let message = Message::parse(crate::net::bed::OPTIONS.into()).unwrap();
        let reads = dispatcher.placement().of(b"c1");
        for _ in 0..2 {
            assert!(dispatcher.framed(flow, Ok(message.clone()), &concerned));
        }
        let writes = [3, 63, 64, 99];
        for worker in writes {
            concerned.add(worker);
        }
        dispatcher.closed(&flow, &concerned);
        drop(dispatcher);
        for (worker, mut inbox) in inboxes.into_iter().enumerate() {
            let (mut messages, mut closed) = (0, 0);
            while let Some(arrival) = inbox.next().await {
                match arrival {
                    Arrival::Framed { .. } => messages += 1,
                    Arrival::Closed { .. } => closed += 1,
                    other => panic!("{other:?}"),
                }
            }
            let is_concerned = worker == reads || writes.contains(&worker);
            assert_eq!(closed, usize::from(is_concerned), "{worker}");
            assert_eq!(messages, if worker == reads { 2 } else { 0 }, "{worker}");
        }
    }

    #[test]
    fn what_is_sent_again_while_it_waits_is_not_worked_on_again() {
        let dispatcher = dispatcher();
        let [local, phone] = ["192.0.2.9:5060", SOURCES[1]].map(|at| at.parse().unwrap());
        let flow = Flow::to(Transport::Udp, local, phone);
        let (mut queues, late) = (Queues::new(), 10);
        for _ in 0..3 {
            for number in 0..BEHIND + late {
                let text = format!("REGISTER sip:h SIP/2.0\r\nCall-ID: {number}\r\n\r\n");
                dispatcher.datagram(flow, text.as_bytes(), &mut queues);
            }
        }
        // Those that came first did not wait long enough to be known the first time.
        let mut waited = 0;
        while !queues.is_empty() {
            queues.turn(|_| waited += 1);
        }
        assert_eq!(waited, 2 * BEHIND + late);
        let page = dispatcher.metrics.text();
        let repeated = format!("reason=\"repeated\"}} {}", BEHIND + 2 * late);
        assert!(page.contains(&repeated), "{page}");
    }

    #[test]
    fn probes_calls_registrations_and_strangers_wait_apart() {
        use Fate::{Kept, Sheddable};
        use Lane::{Answers, Ordinary, Registrations, Strangers, Urgent};
        let dispatcher = dispatcher();
        let out = "<sip:1@h>";
        let within = "<sip:1@h>;tag=1";
        for (start, to, lanes, fate) in [
            ("OPTIONS sip:h SIP/2.0", out, [Urgent, Ordinary], Sheddable),
            (
                "INVITE sip:1@h SIP/2.0",
                out,
                [Ordinary, Ordinary],
                Sheddable,
            ),
            (
                "REGISTER sip:h SIP/2.0",
                out,
                [Ordinary, Registrations],
                Sheddable,
            ),
            (
                "INVITE urn:service:sos SIP/2.0",
                out,
                [Ordinary, Ordinary],
                Kept,
            ),
            ("CANCEL sip:1@h SIP/2.0", out, [Ordinary, Ordinary], Kept),
            ("ACK sip:1@h SIP/2.0", within, [Urgent, Urgent], Kept),
            ("BYE sip:1@h SIP/2.0", within, [Urgent, Urgent], Kept),
            // Of a stranger a tag says nothing: it is shed as what begins a call.
            (
                "INVITE sip:1@h SIP/2.0",
                within,
                [Urgent, Urgent],
                Sheddable,
            ),
            (
                "OPTIONS sip:1@h SIP/2.0",
                within,
                [Urgent, Urgent],
                Sheddable,
            ),
            (
                "REGISTER sip:h SIP/2.0",
                within,
                [Ordinary, Registrations],
                Sheddable,
            ),
            (
                "REGISTER sip:h SIP/2.0\r\nAuthorization: Digest username=a",
                out,
                [Ordinary, Answers],
                Sheddable,
            ),
            ("SIP/2.0 200 OK", within, [Urgent, Urgent], Kept),
        ] {
            let text = format!("{start}\r\nTo: {to}\r\nCall-ID: 1\r\n\r\n");
            let [trunk, phone] = lanes;
            for (source, lane) in SOURCES.into_iter().zip([trunk, phone, Strangers]) {
                let local = "192.0.2.9:5060".parse().unwrap();
                let flow = Flow::to(Transport::Udp, local, source.parse().unwrap());
                let placed = dispatcher.place(Instant::now(), &flow, &Peek::at(text.as_bytes()));
                let place = placed.unwrap();
                assert_eq!(place.lane, lane, "{start} from {source}");
                let is_kept = fate == Kept || lane == Urgent;
                assert_eq!(place.fate == Kept, is_kept, "{start} from {source}");
            }
        }
    }
}
