//! The last events, with numbers, and who waits for the next.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::{
    Client,
    channel::Notice,
    signal::{Event as Told, Signal},
};
use store::{DEFAULT_TENANT, Store, Timestamp};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::event::{Event, Wanted, What};

/// Events that are kept for who comes back.
const KEPT: usize = 4096;
/// Of how calls sound, which comes all the time, is of up to 1,024 calls at once, and is of interest to few: half a minute.
const MEASURED_KEPT: usize = 64;
/// After so long without anybody who listens, signaling is asked for events no more: each costs it something.
const LINGER: Duration = Duration::from_secs(60);
/// How long it is believed whose a domain is, and how long the store may take to tell: events wait for it.
const BELIEVED: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);
/// Domains that are kept in mind at most.
const DOMAINS: usize = 10_000;

/// All who listen share it.
#[derive(Debug)]
pub(crate) struct Hub {
    signal: Client<Signal>,
    store: Store,
    kept: Mutex<Kept>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    /// Of this start.
    epoch: String,
    /// What happened, and how calls sounded; by the numbers they are in one order.
    rings: [Ring; 2],
    next: u64,
    /// Signaling is being listened to.
    running: bool,
    /// There will be no events any more.
    closed: bool,
}

/// The last events of a sort, with their numbers.
#[derive(Debug)]
struct Ring {
    most: usize,
    events: VecDeque<(u64, Arc<Event>)>,
    /// How many are gone, and the number of the last of them.
    gone: u64,
    gone_until: u64,
}

/// One who listens.
#[derive(Debug)]
pub(crate) struct Listener {
    hub: Arc<Hub>,
    wanted: Wanted,
    /// How many of each ring's events are behind it.
    places: [u64; 2],
    newest: watch::Receiver<u64>,
    /// Something between what it saw last and what is kept is gone.
    missed: bool,
}

impl Hub {
    pub(crate) fn new(signal: Client<Signal>, store: Store) -> Self {
        let id = Uuid::now_v7().simple().to_string();
        let kept = Kept {
            epoch: id[..12].to_owned(),
            rings: [KEPT, MEASURED_KEPT].map(Ring::new),
            next: 1,
            running: false,
            closed: false,
        };
        Self {
            signal,
            store,
            kept: Mutex::new(kept),
            newest: watch::Sender::new(0),
        }
    }

    /// Listens from now on, or to what follows the event of this id.
    pub(crate) fn listen(self: &Arc<Self>, wanted: Wanted, after: Option<&str>) -> Listener {
        let newest = self.newest.subscribe();
        let mut kept = self.kept();
        let (places, missed) = kept.places(after, &wanted);
        if !kept.running {
            kept.running = true;
            let notices = self.signal.notices();
            tokio::spawn(run(self.clone(), notices));
        }
        drop(kept);
        Listener {
            hub: self.clone(),
            wanted,
            places,
            newest,
            missed,
        }
    }

    /// Ends all that listen, once they have what happened until now.
    pub(crate) fn close(&self) {
        self.kept().closed = true;
        self.newest.send_modify(|_| {});
    }

    /// Whether there will be no events any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.kept().closed
    }

    fn push(&self, what: What, tenant: Option<String>) {
        let mut kept = self.kept();
        let number = kept.next;
        kept.next += 1;
        let event = Event {
            id: kept.id(number),
            time: Timestamp::now(),
            tenant,
            what,
        };
        let [happened, measured] = &mut kept.rings;
        let ring = match event.what {
            What::QualityMeasured { .. } => measured,
            _ => happened,
        };
        ring.push(number, event);
        drop(kept);
        self.newest.send_replace(number);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch)
    }

    /// Where somebody goes on in each ring who has seen the event of this id, or begins now, and whether something that
    /// it wants is gone since.
    fn places(&self, after: Option<&str>, wanted: &Wanted) -> ([u64; 2], bool) {
        let now = self.next - 1;
        let Some(id) = after else {
            return (self.rings.each_ref().map(|ring| ring.after(now)), false);
        };
        let number = id
            .strip_prefix(&self.epoch)
            .and_then(|rest| rest.strip_prefix('-')?.parse::<u64>().ok())
            .filter(|number| *number <= now);
        let after = number.unwrap_or(now);
        let is_gone = |ring: &&Ring| after < ring.gone_until;
        let missed = number.is_none() || self.wanted(wanted).any(|(_, ring)| is_gone(&ring));
        (self.rings.each_ref().map(|ring| ring.after(after)), missed)
    }

    /// The rings that have what is wanted.
    fn wanted(&self, wanted: &Wanted) -> impl Iterator<Item = (usize, &Ring)> {
        let rings = if wanted.names_measured() { 2 } else { 1 };
        self.rings.iter().enumerate().take(rings)
    }

    /// Nothing that happened is known any more, nor what will happen.
    fn forget(&mut self) {
        let number = self.next;
        self.next += 1;
        self.rings.iter_mut().for_each(|ring| ring.clear(number));
    }
}

impl Ring {
    const fn new(most: usize) -> Self {
        Self {
            most,
            events: VecDeque::new(),
            gone: 0,
            gone_until: 0,
        }
    }

    fn push(&mut self, number: u64, event: Event) {
        if self.events.len() >= self.most
            && let Some((gone_until, _)) = self.events.pop_front()
        {
            self.gone += 1;
            self.gone_until = gone_until;
        }
        self.events.push_back((number, Arc::new(event)));
    }

    fn clear(&mut self, number: u64) {
        self.gone += self.events.len() as u64;
        self.gone_until = number;
        self.events.clear();
    }

    /// How many events have this number, or one before it.
    fn after(&self, number: u64) -> u64 {
        self.gone + self.events.partition_point(|(other, _)| *other <= number) as u64
    }

    /// The one that comes after so many.
    fn get(&self, place: u64) -> Option<&(u64, Arc<Event>)> {
        let place = usize::try_from(place.checked_sub(self.gone)?).ok()?;
        self.events.get(place)
    }
}

impl Listener {
    /// The next event that is wanted; waits for it. `None` when there will be none any more.
    pub(crate) async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            while let Some(event) = self.take() {
                if let Some(event) = self.wanted.pick(&event) {
                    return Some(event);
                }
            }
            if self.hub.is_closed() {
                return None;
            }
            self.newest.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Option<Arc<Event>> {
        self.newest.mark_unchanged();
        let kept = self.hub.kept();
        // Who is slower than what comes loses the oldest, and hears so.
        let mut lost = 0;
        for (at, ring) in kept.wanted(&self.wanted) {
            let place = &mut self.places[at];
            lost += ring.gone.saturating_sub(*place);
            *place = ring.gone.max(*place);
        }
        let next = kept
            .wanted(&self.wanted)
            .filter_map(|(at, ring)| ring.get(self.places[at]).map(|event| (at, event)))
            .min_by_key(|(_, (number, _))| *number);
        if std::mem::take(&mut self.missed) || lost > 0 {
            let next = next.map_or(kept.next, |(_, (number, _))| *number);
            return Some(Arc::new(Event {
                id: kept.id(next - 1),
                time: Timestamp::now(),
                tenant: None,
                what: What::Missed {
                    count: (lost != 0).then_some(lost),
                },
            }));
        }
        let (at, (_, event)) = next?;
        self.places[at] += 1;
        Some(event.clone())
    }
}

/// Hears signaling for as long as anybody listens, and a while longer.
async fn run(hub: Arc<Hub>, mut notices: broadcast::Receiver<Notice<Told>>) {
    let (mut is_lost, mut idle_since) = (false, None);
    let mut owners = Owners::default();
    loop {
        match timeout(LINGER / 4, notices.recv()).await {
            Ok(Ok(Notice::Event(told))) => {
                let tenant = owners.of(&hub.store, &told).await;
                hub.push(told.into(), tenant);
            }
            Ok(Ok(Notice::Disconnected)) => is_lost = true,
            // It may have come up only after somebody listened: then nothing was lost.
            Ok(Ok(Notice::Connected { .. })) => {
                if std::mem::take(&mut is_lost) {
                    hub.push(What::Missed { count: None }, None);
                }
            }
            Ok(Err(RecvError::Lagged(count))) => {
                hub.push(What::Missed { count: Some(count) }, None);
            }
            Ok(Err(RecvError::Closed)) => break,
            Err(_) => {}
        }
        let mut kept = hub.kept();
        if hub.newest.receiver_count() > 0 {
            idle_since = None;
        } else if idle_since.get_or_insert_with(Instant::now).elapsed() >= LINGER {
            // What happens from now on is not seen: who comes back later has missed something.
            kept.forget();
            kept.running = false;
            return;
        }
    }
    hub.kept().running = false;
}

/// Whose domains are, as the store said not long ago: it is not asked for each event.
#[derive(Debug, Default)]
struct Owners(HashMap<String, (Instant, Option<String>)>);

impl Owners {
    /// Whose an event is; the node's where the store does not tell.
    async fn of(&mut self, store: &Store, told: &Told) -> Option<String> {
        let binding = match told {
            Told::Call(call) => return call.tenant.clone(),
            Told::Ended { tenant, .. } | Told::Heard { tenant, .. } => return tenant.clone(),
            Told::Registered(binding) | Told::Unregistered { binding, .. } => binding,
            // Each of the calls says whose it is.
            Told::Quality(_) | Told::Trunk(_) | Told::Banned(_) | Told::Lifted { .. } => {
                return None;
            }
        };
        let (_, domain) = binding.user.rsplit_once('@')?;
        if let Some((_, tenant)) = self.0.get(domain).filter(|(at, _)| at.elapsed() < BELIEVED) {
            return tenant.clone();
        }
        let found = timeout(PATIENCE, store.domain(domain)).await;
        let tenant = match found {
            Ok(Ok(given)) => {
                Some(given.map_or_else(|| DEFAULT_TENANT.to_owned(), |given| given.tenant))
            }
            Ok(Err(_)) | Err(_) => None,
        };
        if self.0.len() >= DOMAINS {
            self.0.clear();
        }
        let said = (Instant::now(), tenant.clone());
        self.0.insert(domain.to_owned(), said);
        tenant
    }
}

#[cfg(test)]
mod tests {
    use control::Endpoint;

    use super::*;

    async fn hub() -> Arc<Hub> {
        let (_, endpoint) = Endpoint::memory();
        let store = Store::open("sqlite::memory:", std::path::Path::new("/")).await;
        Arc::new(Hub::new(Client::connect(endpoint), store.unwrap()))
    }

    fn ended(hub: &Hub, number: usize) {
        let ended = What::CallEnded {
            call_id: number.to_string(),
            status: 200,
            reason: String::new(),
        };
        hub.push(ended, None);
    }

    fn seen(event: &Event) -> &str {
        match &event.what {
            What::CallEnded { call_id, .. } => call_id,
            _ => "missed",
        }
    }

    #[tokio::test]
    async fn who_comes_back_goes_on_where_it_was() {
        let hub = hub().await;
        let mut first = hub.listen(Wanted::all(), None);
        for number in 0..3 {
            ended(&hub, number);
        }
        let event = first.next().await.unwrap();
        assert_eq!(seen(&event), "0");
        let id = event.id.clone();
        drop(first);
        ended(&hub, 3);
        let mut again = hub.listen(Wanted::all(), Some(&id));
        for number in ["1", "2", "3"] {
            assert_eq!(seen(&again.next().await.unwrap()), number);
        }
        assert!(again.take().is_none());
        assert!(hub.listen(Wanted::all(), None).take().is_none());
    }

    #[tokio::test]
    async fn what_is_missed_is_told() {
        let hub = hub().await;
        let mut slow = hub.listen(Wanted::all(), None);
        for number in 0..KEPT + 2 {
            ended(&hub, number);
        }
        let missed = slow.next().await.unwrap();
        assert!(
            matches!(missed.what, What::Missed { count: Some(2) }),
            "{missed:?}"
        );
        assert_eq!(seen(&slow.next().await.unwrap()), "2");
        // Of another start, of the future, or no id at all.
        let future = hub.kept().id(99_999);
        for id in ["0123456789ab-1", &future, "", "x"] {
            let mut other = hub.listen(Wanted::all(), Some(id));
            assert_eq!(seen(&other.take().unwrap()), "missed", "{id}");
            assert!(other.take().is_none());
        }
    }

    #[tokio::test]
    async fn how_calls_sound_takes_nothing_from_what_happened() {
        let hub = hub().await;
        let wanted = |name: &str| Wanted::new([name.to_owned()], None).unwrap();
        let mut slow = hub.listen(wanted("call"), None);
        let mut measures = hub.listen(wanted("quality"), None);
        ended(&hub, 0);
        let first = hub.kept().id(1);
        ended(&hub, 1);
        for _ in 0..KEPT {
            hub.push(What::QualityMeasured { calls: Vec::new() }, None);
        }
        ended(&hub, 2);
        for number in ["0", "1", "2"] {
            assert_eq!(seen(&slow.next().await.unwrap()), number);
        }
        assert!(slow.take().is_none());
        // Who comes back does not miss what it does not want.
        let mut again = hub.listen(wanted("call"), Some(&first));
        assert_eq!(seen(&again.next().await.unwrap()), "1");
        let lost = (KEPT - MEASURED_KEPT) as u64;
        let missed = measures.next().await.unwrap();
        assert!(
            matches!(missed.what, What::Missed { count: Some(count) } if count == lost),
            "{missed:?}"
        );
        for _ in 0..MEASURED_KEPT {
            let event = measures.next().await.unwrap();
            assert!(
                matches!(event.what, What::QualityMeasured { .. }),
                "{event:?}"
            );
        }
        // In order with the rest, and those only.
        hub.push(What::QualityMeasured { calls: Vec::new() }, None);
        assert_eq!(measures.next().await.unwrap().id, hub.kept().id(4_100));
    }

    #[tokio::test]
    async fn who_listens_hears_what_is_wanted_until_the_end() {
        let hub = hub().await;
        let bans = Wanted::new(["ban".to_owned()], None).unwrap();
        let mut listener = hub.listen(bans, None);
        ended(&hub, 0);
        let lifted = What::BanLifted {
            source: "192.0.2.1".to_owned(),
        };
        hub.push(lifted, None);
        hub.close();
        let event = listener.next().await.unwrap();
        assert!(matches!(event.what, What::BanLifted { .. }), "{event:?}");
        assert!(listener.next().await.is_none());
    }
}
