//! Names and addresses to ways: where requests for a URI's host go (RFC 3263), and from which of our
//! addresses each place is reached.
//!
//! `select` holds the rules, `search` follows them through questions, `dns` asks; here is the memory of
//! what was found. A name is searched for once at a time, however many wait for it; what was found
//! holds as long as its shortest record, within bounds; and where nobody can tell any more, what was
//! known is used for a while (RFC 8767).

mod dns;
mod hosts;
mod search;
mod select;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch, time::timeout};
use tracing::{info, warn};

use self::{
    dns::Dns,
    search::{Found, Missing, search},
};
use crate::{
    call::{Authority, Hop},
    metrics::{Metrics, Search},
    weighted::{self, Weighted},
};

pub(crate) use hosts::Hosts;
pub(crate) use select::Served;

/// How long a search may take: below the patience with a silent host.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long what was found holds, whatever its records say.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// The same for there being nothing.
const LONGEST_NOTHING: Duration = Duration::from_secs(60);
/// How long nobody being able to tell is believed.
const TROUBLED: Duration = Duration::from_secs(5);
/// How long what once was found is used while nobody can tell.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Names that are remembered at most, and searches that run at once.
const NAMES: usize = 10_000;
const SEARCHES: usize = 256;

/// Searches, and remembers. Clones share the memory.
#[derive(Clone, Debug)]
pub(crate) struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Dns,
    served: Served,
    metrics: Arc<Metrics>,
    /// Where searches run: not where who waits does.
    runtime: Handle,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    names: HashMap<Authority, Entry>,
    searches: HashMap<Authority, watch::Receiver<Option<Places>>>,
}

#[derive(Debug)]
struct Entry {
    places: Places,
    /// Until when it holds.
    fresh: Instant,
    /// When it was found.
    found: Instant,
}

/// The hosts of an authority, each with its addresses.
type Places = Arc<Vec<Weighted<Vec<Hop>>>>;

enum Look {
    Known(Places),
    Wait(watch::Receiver<Option<Places>>),
}

impl Resolver {
    /// Asks `servers`, or those of the system where there are none, for what can be reached by
    /// `served`. Must be called inside the tokio runtime that searches are to run in.
    pub(crate) fn new(servers: &[SocketAddr], served: Served, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            source: Dns::new(servers),
            served,
            metrics,
            runtime: Handle::current(),
            memory: Mutex::default(),
        }))
    }

    /// What [`Resolver::resolve`] would say, where that is known without a search.
    pub(crate) fn known(&self, authority: &Authority) -> Option<Vec<Hop>> {
        let memory = self.0.memory();
        let entry = memory.names.get(authority)?;
        (entry.fresh > Instant::now()).then(|| drawn(&entry.places))
    }

    /// The addresses in the order in which they should be tried; none where there are none, or nobody
    /// could tell in time.
    pub(crate) async fn resolve(&self, authority: Authority) -> Vec<Hop> {
        match self.look(authority) {
            Look::Known(places) => drawn(&places),
            Look::Wait(mut found) => {
                // A search ends by itself; this is for the case that its task was taken down.
                let places = found.wait_for(Option::is_some).await;
                let places = places.ok().and_then(|places| places.clone());
                places.map_or(Vec::new(), |places| drawn(&places))
            }
        }
    }

    fn look(&self, authority: Authority) -> Look {
        let now = Instant::now();
        let mut memory = self.0.memory();
        if let Some(entry) = memory.names.get(&authority)
            && entry.fresh > now
        {
            return Look::Known(entry.places.clone());
        }
        if let Some(found) = memory.searches.get(&authority) {
            return Look::Wait(found.clone());
        }
        if memory.searches.len() >= SEARCHES {
            self.0.metrics.dns(Search::Refused);
            let stale = memory
                .names
                .get(&authority)
                .map(|entry| entry.places.clone());
            return Look::Known(stale.unwrap_or_default());
        }
        let (tell, found) = watch::channel(None);
        memory.searches.insert(authority.clone(), found.clone());
        drop(memory);
        let inner = self.0.clone();
        self.0.runtime.spawn(async move {
            let search = search(&inner.source, &inner.served, &authority);
            let outcome = timeout(PATIENCE, search).await;
            let outcome = outcome.unwrap_or(Err(Missing::Trouble));
            let places = inner.learn(authority, outcome);
            // Nobody may be waiting any more.
            let _ = tell.send(Some(places));
        });
        Look::Wait(found)
    }
}

impl Inner {
    /// A search is over.
    fn learn(&self, authority: Authority, outcome: Result<Found, Missing>) -> Places {
        let now = Instant::now();
        let mut memory = self.memory();
        memory.searches.remove(&authority);
        let before = memory.names.get(&authority);
        let stale = before.filter(|entry| {
            !entry.places.is_empty() && now.saturating_duration_since(entry.found) < STALE
        });
        let host = &authority.host;
        let entry = match outcome {
            Ok(Found { hosts, lasts }) => {
                self.metrics.dns(Search::Found);
                Entry {
                    places: Arc::new(hosts.into_iter().map(with_sources).collect()),
                    fresh: now + lasts.clamp(SHORTEST, LONGEST),
                    found: now,
                }
            }
            Err(Missing::None(lasts)) => {
                self.metrics.dns(Search::Nothing);
                info!(host, "a host has no address that this node can send to");
                Entry {
                    places: Places::default(),
                    fresh: now + lasts.clamp(SHORTEST, LONGEST_NOTHING),
                    found: now,
                }
            }
            Err(Missing::Trouble) => {
                self.metrics.dns(Search::Trouble);
                let using_stale = stale.is_some();
                warn!(
                    host,
                    using_stale, "cannot resolve a host: no name server answers in time"
                );
                let (places, found) = match stale {
                    Some(entry) => (entry.places.clone(), entry.found),
                    None => (Places::default(), now),
                };
                Entry {
                    places,
                    fresh: now + TROUBLED,
                    found,
                }
            }
        };
        let places = entry.places.clone();
        memory.remember(authority, entry);
        places
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing panics while it holds the lock.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(&mut self, authority: Authority, entry: Entry) {
        if self.names.len() >= NAMES && !self.names.contains_key(&authority) {
            let oldest = self.names.iter().min_by_key(|(_, entry)| entry.fresh);
            let oldest = oldest.map(|(authority, _)| authority.clone());
            if let Some(oldest) = oldest {
                self.names.remove(&oldest);
            }
        }
        self.names.insert(authority, entry);
    }
}

/// The order for one request.
fn drawn(places: &Places) -> Vec<Hop> {
    let places = weighted::draw(places.to_vec(), weighted::random);
    places.into_iter().flatten().collect()
}

fn with_sources(
    host: Weighted<Vec<(control::config::Transport, SocketAddr)>>,
) -> Weighted<Vec<Hop>> {
    let hop = |(transport, remote)| Hop {
        transport,
        remote,
        source: source_for(remote).ok(),
    };
    Weighted {
        priority: host.priority,
        weight: host.weight,
        item: host.item.into_iter().map(hop).collect(),
    }
}

/// The address that the kernel would send from. Nothing is sent.
fn source_for(remote: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests;
