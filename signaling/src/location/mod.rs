//! What is registered: the bindings of every user, shared by all workers.
//!
//! Memory is the truth. What changes is written behind it to the store ([`writer`]), where the next
//! start finds it; a store that is away delays that and nothing else. The table is cut into shards, so
//! that workers seldom meet, and each shard knows which of its users' bindings ends next.

mod binding;
mod shard;
pub(crate) mod writer;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use control::{
    channel::Events,
    signal::{BindingInfo, Event, Signal, Unbound},
};
use sip::{
    registrar::{Capacity, Change, Refusal, Register},
    uri::Uri,
};
use store::{Bound, Outage, Timestamp};
use tokio::sync::Notify;

use self::{binding::Binding, shard::Shard};
use crate::{
    directory::Aor,
    net::{ConnectionId, Flow, Local},
};

/// Parts of the table, each behind a lock of its own.
pub(crate) const SHARDS: usize = 64;

/// The table.
#[derive(Debug)]
pub(crate) struct Location {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Whose bindings a connection carries.
    connections: Mutex<HashMap<ConnectionId, HashSet<Aor>>>,
    most: AtomicUsize,
    count: AtomicUsize,
    /// The shard that the next batch for the store begins with.
    turn: AtomicUsize,
    changed: Notify,
    /// Of what changes on its way to the store.
    pub(crate) outage: Outage,
    events: Events<Signal>,
}

/// Where a phone is.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    /// Its Contact: the Request-URI.
    pub(crate) uri: String,
    /// The URIs of what it registered through, to be followed on the way to it (RFC 3327).
    pub(crate) path: Vec<String>,
    /// The way that its REGISTER came: the only one back through its NAT, or over its connection.
    /// `None` where that connection is known to be gone.
    pub(crate) flow: Option<Flow>,
    /// The address that it came from.
    pub(crate) source: IpAddr,
    /// Its preference, 0 to 1000.
    pub(crate) q: u16,
    /// Which phone it is.
    pub(crate) phone: Phone,
}

impl Contact {
    /// Whether it is reached over TLS. A phone that registered so is, whether its Contact says `sips:` or,
    /// as most do, `sip:` with `transport=tls`: RFC 5630 section 5.3 would have the former alone.
    pub(crate) fn is_secure(&self) -> bool {
        match (self.path.first(), &self.flow) {
            (Some(first), _) => is_secure_uri(first),
            (None, Some(flow)) => flow.transport.is_secure(),
            (None, None) => is_secure_uri(&self.uri),
        }
    }

    /// The Request-URI of what goes there: of a request to a `sip:` URI it is one too, though the phone said
    /// `sips:` (RFC 5630 section 5.3); it is sent over TLS all the same.
    pub(crate) fn request_uri(&self, secure: bool) -> Cow<'_, str> {
        match self.uri.split_once(':') {
            Some((_, place)) if !secure && is_sips(&self.uri) => format!("sip:{place}").into(),
            _ => self.uri.as_str().into(),
        }
    }
}

/// Whether a URI leads over TLS.
pub(crate) fn is_secure_uri(uri: &str) -> bool {
    let over_tls = |uri: Uri<'_>| {
        let transport = uri.transport();
        transport.is_some_and(|transport| transport.eq_ignore_ascii_case("tls"))
    };
    is_sips(uri) || Uri::parse(uri).is_ok_and(over_tls)
}

/// Whether a URI is a `sips:` one.
pub(crate) fn is_sips(uri: &str) -> bool {
    let scheme = uri.get(..5);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

/// Tells one phone of a user from the others, wherever it registers from: by its instance (RFC 5626), or by
/// the Call-ID of its REGISTERs, which stays the same (RFC 3261 section 10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phone(u64);

/// Why a REGISTER did not take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// By the registrar's rules.
    #[error(transparent)]
    Rules(#[from] Refusal),
    /// The table is full. Owed 503.
    #[error("[sip.registrar] max_bindings is reached")]
    Full,
}

/// What a REGISTER came with, beside what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came<'a> {
    pub(crate) flow: Flow,
    pub(crate) user_agent: &'a str,
}

impl Location {
    /// An empty table for `most` bindings, which tells of what comes and goes.
    pub(crate) fn new(most: usize, events: Events<Signal>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            connections: Mutex::default(),
            most: AtomicUsize::new(most),
            count: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            changed: Notify::new(),
            outage: Outage::default(),
            events,
        }
    }

    /// Makes the table one for `most` bindings; what is in it stays.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// How many contacts a user has registered, and not given up.
    pub(crate) fn count_of(&self, now: Timestamp, aor: &Aor) -> usize {
        let now = seconds(now);
        let shard = self.shard(aor);
        let live = shard.bindings(aor).iter().filter(|b| !b.is_over(now));
        live.count()
    }

    /// Does what a REGISTER of `aor` asks. Gives the Contact values of what is bound then, each with
    /// the seconds that it has left.
    pub(crate) fn register(
        &self,
        now: Timestamp,
        aor: &Aor,
        request: &Register,
        came: &Came<'_>,
        capacity: Capacity,
    ) -> Result<Vec<String>, Denied> {
        let now = seconds(now);
        let mut shard = self.shard(aor);
        if shard
            .bindings(aor)
            .iter()
            .any(|binding| binding.is_over(now))
        {
            self.change(&mut shard, aor, Unbound::Expired, |bindings| {
                bindings.retain(|binding| !binding.is_over(now));
            });
        }
        let changes = request.decide(shard.bindings(aor), capacity)?;
        if !changes.is_empty() {
            let is_new = |change: &&Change| matches!(change, Change::Add { .. });
            let added = changes.iter().filter(is_new).count();
            // As a bound it need not be exact: workers may overshoot by one request each.
            if added > 0 && self.len() + added > self.most.load(Relaxed) {
                return Err(Denied::Full);
            }
            let mut is_news = false;
            self.change(&mut shard, aor, Unbound::Phone, |bindings| {
                is_news = binding::apply(bindings, &changes, request, came, now);
            });
            if is_news {
                shard.touch(aor);
                self.changed.notify_one();
            }
        }
        let bound = shard.bindings(aor).iter();
        Ok(bound.map(|binding| binding.granted(now)).collect())
    }

    /// Where a user's phones are, in the order in which they were registered.
    pub(crate) fn contacts(&self, now: Timestamp, aor: &Aor) -> Vec<Contact> {
        let now = seconds(now);
        let shard = self.shard(aor);
        let live = shard.bindings(aor).iter().filter(|b| !b.is_over(now));
        live.map(Binding::contact).collect()
    }

    /// Whom a call to a user rings: as [`contacts`](Self::contacts), but each phone once. RFC 5626
    /// section 7 forbids to call two flows of one instance at a time, and what a phone has registered
    /// several times over by one flow would ring as often.
    pub(crate) fn phones(&self, now: Timestamp, aor: &Aor) -> Vec<Contact> {
        let now = seconds(now);
        let shard = self.shard(aor);
        let live: Vec<_> = shard
            .bindings(aor)
            .iter()
            .filter(|b| !b.is_over(now))
            .collect();
        let is_left = |at: &usize| {
            let mut others = live.iter().enumerate();
            !others.any(|(other, binding)| {
                binding.is_phone_of(live[*at]) && (binding.rank(), other) > (live[*at].rank(), *at)
            })
        };
        let left = (0..live.len()).filter(is_left);
        left.map(|at| live[at].contact()).collect()
    }

    /// The phone that a user has behind a flow.
    pub(crate) fn phone_at(&self, now: Timestamp, aor: &Aor, flow: &Flow) -> Option<Phone> {
        let now = seconds(now);
        let shard = self.shard(aor);
        let mut live = shard.bindings(aor).iter().filter(|b| !b.is_over(now));
        let binding = live.find(|binding| binding.is_behind(flow))?;
        Some(binding.phone())
    }

    /// The way to a phone that has registered from elsewhere since it was heard at `known`, which was at
    /// `heard`: its connection is another one, or its NAT gave it another port.
    pub(crate) fn moved(
        &self,
        now: Timestamp,
        aor: &Aor,
        phone: Phone,
        known: &Flow,
        heard: Timestamp,
    ) -> Option<Flow> {
        let (now, heard) = (seconds(now), seconds(heard));
        let shard = self.shard(aor);
        let bindings = shard.bindings(aor).iter();
        let live = bindings.filter(|b| !b.is_over(now) && b.phone() == phone);
        let latest = live.max_by_key(|binding| binding.rank())?;
        let (has_flow, renewed) = latest.rank();
        let is_news = has_flow && renewed > heard && !latest.is_behind(known);
        is_news.then(|| *latest.flow())
    }

    /// Whether a user has a phone at an address.
    pub(crate) fn is_at(&self, now: Timestamp, aor: &Aor, address: IpAddr) -> bool {
        let now = seconds(now);
        let shard = self.shard(aor);
        let mut live = shard.bindings(aor).iter().filter(|b| !b.is_over(now));
        live.any(|binding| binding.source() == address)
    }

    /// Where the users of one of the [`SHARDS`] are.
    pub(crate) fn reachable(&self, now: Timestamp, shard: usize) -> Vec<(Aor, Contact)> {
        let now = seconds(now);
        let Some(shard) = self.shards.get(shard).map(lock) else {
            return Vec::new();
        };
        let of = |aor: &Aor| {
            let live = shard.bindings(aor).iter().filter(|b| !b.is_over(now));
            live.map(|binding| (aor.clone(), binding.contact()))
                .collect::<Vec<_>>()
        };
        shard.names().flat_map(of).collect()
    }

    /// The addresses that phones have registered from, each as often as it has phones.
    pub(crate) fn sources(&self) -> Vec<IpAddr> {
        let mut sources = Vec::with_capacity(self.len());
        for shard in &self.shards {
            let shard = lock(shard);
            let bindings = shard.names().flat_map(|aor| shard.bindings(aor));
            sources.extend(bindings.map(|binding| binding.flow().remote.ip()));
        }
        sources
    }

    /// Takes out what a user has registered from an address: nobody answers there.
    pub(crate) fn drop_remote(&self, aor: &Aor, remote: SocketAddr) {
        let mut shard = self.shard(aor);
        self.change(&mut shard, aor, Unbound::Unreachable, |bindings| {
            bindings.retain(|binding| binding.flow().remote != remote);
        });
        shard.touch(aor);
        self.changed.notify_one();
    }

    /// Whether a user has registered.
    pub(crate) fn has(&self, aor: &Aor) -> bool {
        !self.shard(aor).bindings(aor).is_empty()
    }

    /// A connection is closed: what was registered over it cannot be reached any more.
    pub(crate) fn lose(&self, connection: ConnectionId) {
        let lost = lock(&self.connections).remove(&connection);
        for aor in lost.into_iter().flatten() {
            let mut shard = self.shard(&aor);
            self.change(&mut shard, &aor, Unbound::Closed, |bindings| {
                bindings.retain(|binding| binding.flow().connection != Some(connection));
            });
            shard.touch(&aor);
        }
        self.changed.notify_one();
    }

    /// Takes a user's Contact out, or all of them; tells how many.
    pub(crate) fn remove(&self, aor: &Aor, contact: Option<&str>) -> usize {
        let mut shard = self.shard(aor);
        let before = shard.bindings(aor).len();
        self.change(&mut shard, aor, Unbound::Operator, |bindings| {
            bindings.retain(|binding| contact.is_some_and(|uri| binding.contact().uri != uri));
        });
        let removed = before - shard.bindings(aor).len();
        if removed > 0 {
            shard.touch(aor);
            self.changed.notify_one();
        }
        removed
    }

    /// Takes out what is over. To be called once a second or so.
    pub(crate) fn expire(&self, now: Timestamp) {
        let now = seconds(now);
        for shard in &self.shards {
            let mut shard = lock(shard);
            while let Some(aor) = shard.take_due(now) {
                self.change(&mut shard, &aor, Unbound::Expired, |bindings| {
                    bindings.retain(|binding| !binding.is_over(now));
                });
            }
        }
    }

    /// How many bindings there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Bindings of users behind `after` in the order of their names, `limit` users at most.
    pub(crate) fn list(&self, now: Timestamp, after: &str, limit: usize) -> Vec<BindingInfo> {
        let mut names: Vec<Aor> = Vec::new();
        for shard in &self.shards {
            names.extend(
                lock(shard)
                    .names()
                    .filter(|aor| aor.as_str() > after)
                    .cloned(),
            );
            // So that no more than twice as many are held as are wanted, and a shard's.
            if names.len() > limit * 2 {
                names.sort_unstable();
                names.truncate(limit);
            }
        }
        names.sort_unstable();
        names.truncate(limit);
        names.iter().flat_map(|aor| self.of(now, aor)).collect()
    }

    /// What one user has registered.
    pub(crate) fn of(&self, now: Timestamp, aor: &Aor) -> Vec<BindingInfo> {
        let now = seconds(now);
        let shard = self.shard(aor);
        let live = shard.bindings(aor).iter().filter(|b| !b.is_over(now));
        live.map(|binding| binding.shown(aor, now)).collect()
    }

    /// Puts in what an earlier run had written. Bindings of WebSockets are left out, whose phones
    /// nobody else than themselves can connect, and those for which this node has no socket.
    pub(crate) fn restore(&self, now: Timestamp, bound: &[Bound], locals: &[Local]) {
        let now = seconds(now);
        for bound in bound {
            let aor = Aor::new(&bound.name, &bound.domain);
            let bindings = bound.bindings.iter();
            let bindings = bindings.filter_map(|row| Binding::restore(row, locals));
            let bindings: Vec<_> = bindings.filter(|binding| !binding.is_over(now)).collect();
            if bindings.is_empty() || self.len() + bindings.len() > self.most.load(Relaxed) {
                continue;
            }
            let mut shard = self.shard(&aor);
            self.change(&mut shard, &aor, Unbound::Phone, |own| {
                binding::extend(own, bindings);
            });
        }
    }

    /// Users whose bindings have changed since they were written, `most` of them, and their bindings.
    pub(super) fn take_changed(&self, most: usize) -> Vec<Bound> {
        let mut changed = Vec::new();
        let first = self.turn.fetch_add(1, Relaxed);
        for at in 0..SHARDS {
            let mut shard = lock(&self.shards[(first + at) % SHARDS]);
            while changed.len() < most {
                let Some(bound) = shard.take_changed() else {
                    break;
                };
                changed.push(bound);
            }
        }
        changed
    }

    /// These could not be written: they count as changed again.
    pub(super) fn put_back(&self, bound: &[Bound]) {
        for bound in bound {
            let aor = Aor::new(&bound.name, &bound.domain);
            self.shard(&aor).touch(&aor);
        }
    }

    /// Changes a user's bindings, and what is known of all of them. Those that it takes out are gone for the
    /// reason given.
    fn change(
        &self,
        shard: &mut Shard,
        aor: &Aor,
        why: Unbound,
        change: impl FnOnce(&mut Vec<Binding>),
    ) {
        let state = |shard: &Shard| {
            let bindings = shard.bindings(aor);
            let ids = bindings.iter().filter_map(|b| b.flow().connection);
            (bindings.len(), ids.collect::<Vec<_>>())
        };
        let shown = |shard: &Shard| match self.events.has_listeners() {
            true => shard
                .bindings(aor)
                .iter()
                .map(|b| b.shown(aor, b.rank().1))
                .collect(),
            false => Vec::new(),
        };
        let (before, connections) = state(shard);
        let shown_before = shown(shard);
        shard.change(aor, change);
        let (after, later) = state(shard);
        self.reindex(aor, &connections, &later);
        if after >= before {
            self.count.fetch_add(after - before, Relaxed);
        } else {
            self.count.fetch_sub(before - after, Relaxed);
        }
        self.tell(shown_before, &shown(shard), why);
    }

    fn tell(&self, before: Vec<BindingInfo>, after: &[BindingInfo], why: Unbound) {
        let is_in = |all: &[BindingInfo], one: &BindingInfo| {
            all.iter().any(|other| other.contact == one.contact)
        };
        for binding in after.iter().filter(|binding| !is_in(&before, binding)) {
            self.events.push(Event::Registered(binding.clone()));
        }
        for binding in before.into_iter().filter(|binding| !is_in(after, binding)) {
            self.events.push(Event::Unregistered { binding, why });
        }
    }

    fn reindex(&self, aor: &Aor, before: &[ConnectionId], after: &[ConnectionId]) {
        if before.is_empty() && after.is_empty() {
            return;
        }
        let mut connections = lock(&self.connections);
        for gone in before.iter().filter(|id| !after.contains(id)) {
            if let Some(users) = connections.get_mut(gone) {
                users.remove(aor);
                if users.is_empty() {
                    connections.remove(gone);
                }
            }
        }
        for new in after.iter().filter(|id| !before.contains(id)) {
            connections.entry(*new).or_default().insert(aor.clone());
        }
    }

    fn shard(&self, aor: &Aor) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(aor);
        let index = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        lock(&self.shards[index])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock; if something did, the table is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole seconds since 1970: lifetimes are of seconds, and half a binding's size is saved.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.millis().max(0) / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
