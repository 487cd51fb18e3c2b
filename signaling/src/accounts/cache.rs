//! What is remembered of users: bounded, those that are there and those that are not apart.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Account, Answer};
use crate::directory::Aor;

/// Parts, each behind a lock of its own.
const SHARDS: usize = 16;
/// How long what the store said is believed without asking again: how long a change takes to be noticed
/// that another node made, or somebody in the database.
const FRESH: Duration = Duration::from_secs(30);
/// The same of users that there are not: how long a new one may have to wait.
const FRESH_ABSENT: Duration = Duration::from_secs(5);
/// Users that are remembered at most. Somewhat more than 400 bytes each.
const USERS: usize = 1_000_000;
/// Names that are remembered to be nobody's.
const ABSENT: usize = 65_536;

/// The memory. What was not asked for the longest is forgotten first, roughly.
#[derive(Debug)]
pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

/// What is remembered of a user.
#[derive(Clone, Debug)]
pub(crate) enum Cached {
    /// What the store said not long ago.
    Fresh(Answer),
    /// What it said once, or nothing: it has to be asked.
    Ask,
}

#[derive(Debug)]
struct Shard {
    known: Generations<Arc<Account>>,
    absent: Generations<()>,
    /// What the store said before is not believed any more.
    since: Option<Instant>,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(USERS, ABSENT)
    }
}

impl Cache {
    /// For so many users, and so many names that are nobody's.
    pub(crate) fn new(users: usize, absent: usize) -> Self {
        let shard = || Shard {
            known: Generations::new(users / SHARDS),
            absent: Generations::new(absent / SHARDS),
            since: None,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
        }
    }

    /// What is remembered of a user.
    pub(crate) fn find(&self, now: Instant, aor: &Aor) -> Cached {
        let mut shard = self.shard(aor);
        let since = shard.since;
        let fresh = |at: Instant, fresh| {
            now.saturating_duration_since(at) < fresh && since.is_none_or(|since| since <= at)
        };
        if let Some((account, at)) = shard.known.find(aor)
            && fresh(at, FRESH)
        {
            return Cached::Fresh(Answer::Known(account));
        }
        match shard.absent.find(aor) {
            Some(((), at)) if fresh(at, FRESH_ABSENT) => Cached::Fresh(Answer::Unknown),
            _ => Cached::Ask,
        }
    }

    /// What is remembered, however old.
    pub(crate) fn recall(&self, aor: &Aor) -> Answer {
        let mut shard = self.shard(aor);
        match shard.known.find(aor) {
            Some((account, _)) => Answer::Known(account),
            // A user may have been created since: who is unknown for long is not known to be.
            None => Answer::Unavailable,
        }
    }

    /// The store, when it was asked at `asked`, said that there is this user. Gives what counts: who was
    /// changed or removed since is not brought back by an answer that was late.
    pub(crate) fn learn(&self, asked: Instant, account: Account) -> Answer {
        let account = Arc::new(account);
        let mut shard = self.shard(&account.aor);
        if let Some((newer, at)) = shard.known.find(&account.aor)
            && at > asked
        {
            return Answer::Known(newer);
        }
        if shard
            .absent
            .find(&account.aor)
            .is_some_and(|((), at)| at > asked)
        {
            return Answer::Unknown;
        }
        shard.absent.remove(&account.aor);
        shard
            .known
            .insert(account.aor.clone(), account.clone(), asked);
        Answer::Known(account)
    }

    /// The store, when it was asked at `asked`, said that there is no such user. Gives what counts.
    pub(crate) fn learn_absent(&self, asked: Instant, aor: &Aor) -> Answer {
        let mut shard = self.shard(aor);
        if let Some((newer, at)) = shard.known.find(aor)
            && at > asked
        {
            return Answer::Known(newer);
        }
        shard.known.remove(aor);
        shard.absent.insert(aor.clone(), (), asked);
        Answer::Unknown
    }

    /// Everybody has to be asked for anew; who is remembered still is where the store is away.
    pub(crate) fn distrust(&self, now: Instant) {
        for shard in &self.shards {
            lock(shard).since = Some(now);
        }
    }

    fn shard(&self, aor: &Aor) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(aor);
        lock(&self.shards[usize::try_from(hash >> 32).unwrap_or(0) % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Nothing panics while it holds a lock; if something did, the table is still whole.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two generations: when the younger one is full, the older one is forgotten but for what was asked
/// for since it was the younger.
#[derive(Debug)]
struct Generations<V> {
    half: usize,
    recent: HashMap<Aor, (V, Instant)>,
    older: HashMap<Aor, (V, Instant)>,
}

impl<V: Clone> Generations<V> {
    fn new(most: usize) -> Self {
        Self {
            half: (most / 2).max(1),
            recent: HashMap::new(),
            older: HashMap::new(),
        }
    }

    fn find(&mut self, aor: &Aor) -> Option<(V, Instant)> {
        if let Some(found) = self.recent.get(aor) {
            return Some(found.clone());
        }
        let (value, at) = self.older.remove(aor)?;
        self.insert(aor.clone(), value.clone(), at);
        Some((value, at))
    }

    fn insert(&mut self, aor: Aor, value: V, at: Instant) {
        self.older.remove(&aor);
        if self.recent.len() >= self.half && !self.recent.contains_key(&aor) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(aor, (value, at));
    }

    fn remove(&mut self, aor: &Aor) {
        self.recent.remove(aor);
        self.older.remove(aor);
    }
}
