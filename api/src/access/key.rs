//! API keys: `tk_ID_SECRET`, ID being the key's UUID without hyphens and SECRET 192 random bits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use store::{Store, StoreError, Timestamp, Uuid};
use subtle::ConstantTimeEq as _;

use super::Caller;
use crate::hex::hex;

const MARK: &str = "tk_";
/// How long a key that another process has removed may go on opening things here. A look into the database
/// for each request would cost as much as most requests.
const KEPT: Duration = Duration::from_secs(5);
/// Keys that are kept in mind at most.
const MOST: usize = 10_000;

/// A secret, and what the store keeps of it.
pub(crate) struct NewSecret {
    /// What the client shows.
    pub(crate) key: String,
    /// In hex digits.
    pub(crate) hash: String,
}

impl NewSecret {
    /// For the key of this id.
    pub(crate) fn random(id: Uuid) -> Self {
        let bytes: [u8; 24] = rand::rng().random();
        let secret = hex(&bytes);
        Self {
            hash: hex(&Sha256::digest(&secret)),
            key: format!("{MARK}{}_{secret}", id.simple()),
        }
    }
}

/// The keys of the store, as far as they are asked for.
#[derive(Debug)]
pub(crate) struct Keys {
    store: Store,
    seen: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    keys: HashMap<Uuid, Seen>,
    /// Counts what was forgotten: what was read before and comes after is not kept.
    forgotten: u64,
}

/// What the store said, and when.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    key: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    caller: Arc<Caller>,
    hash: String,
    expires: Option<Timestamp>,
}

impl Keys {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            seen: Mutex::default(),
        }
    }

    /// Who shows this key; `None` where it is none, or none any more.
    pub(crate) async fn caller(&self, shown: &str) -> Result<Option<Arc<Caller>>, StoreError> {
        let Some((id, secret)) = parse(shown) else {
            return Ok(None);
        };
        let Some(known) = self.known(id).await? else {
            return Ok(None);
        };
        let hash = hex(&Sha256::digest(secret));
        let is_right: bool = hash.as_bytes().ct_eq(known.hash.as_bytes()).into();
        let is_over = known.expires.is_some_and(|end| end <= Timestamp::now());
        Ok((is_right && !is_over).then_some(known.caller))
    }

    /// Whether who was let in may go on: the key is there, and what was shown is not over. Where the database
    /// does not tell, nothing is known against it.
    pub(crate) async fn are_good_for(&self, caller: &Caller) -> bool {
        let now = Timestamp::now();
        let is_on = |end: Option<Timestamp>| end.is_none_or(|end| end > now);
        let Some(id) = caller.key else {
            return is_on(caller.ends);
        };
        match self.known(id).await {
            Ok(known) => known.is_some_and(|known| is_on(known.expires)),
            Err(_) => true,
        }
    }

    /// A key was removed: it opens nothing from now on.
    pub(crate) fn forget(&self, id: Uuid) {
        let mut seen = self.seen();
        seen.forgotten += 1;
        seen.keys.remove(&id);
    }

    /// Keys that operators signed in for were removed, whichever they are.
    pub(crate) fn forget_all(&self) {
        let mut seen = self.seen();
        seen.forgotten += 1;
        seen.keys.clear();
    }

    async fn known(&self, id: Uuid) -> Result<Option<Known>, StoreError> {
        let fresh = |seen: &&Seen| seen.at.elapsed() < KEPT;
        let forgotten = {
            let seen = self.seen();
            if let Some(seen) = seen.keys.get(&id).filter(fresh) {
                return Ok(seen.key.clone());
            }
            seen.forgotten
        };
        let key = self.store.key(id).await?.map(|(key, hash)| Known {
            caller: Arc::new(Caller::of_key(&key)),
            hash,
            expires: key.expires,
        });
        self.keep(id, key.clone(), forgotten);
        Ok(key)
    }

    /// Keeps what was read when so many were forgotten.
    fn keep(&self, id: Uuid, key: Option<Known>, forgotten: u64) {
        let mut all = self.seen();
        if all.forgotten != forgotten {
            return;
        }
        if all.keys.len() >= MOST {
            all.keys.clear();
        }
        let at = Instant::now();
        all.keys.insert(id, Seen { at, key });
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, All> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(key: &str) -> Option<(Uuid, &str)> {
    let (id, secret) = key.strip_prefix(MARK)?.split_once('_')?;
    let is_simple = id.len() == 32;
    Some((Uuid::try_parse(id).ok().filter(|_| is_simple)?, secret))
}

#[cfg(test)]
mod tests {
    use store::{ApiKey, Role};

    use super::*;

    async fn keys() -> (Keys, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
        (Keys::new(store), folder)
    }

    async fn make(keys: &Keys, expires: Option<Timestamp>) -> (Uuid, String) {
        let id = Uuid::now_v7();
        let secret = NewSecret::random(id);
        let key = ApiKey {
            id,
            tenant: Some("default".into()),
            name: "of a test".into(),
            role: Role::Developer,
            created: Timestamp::now(),
            expires,
            operator: None,
        };
        keys.store.create_key(&key, &secret.hash).await.unwrap();
        (id, secret.key)
    }

    #[tokio::test]
    async fn a_key_is_its_callers_until_it_is_removed_or_over() {
        let (keys, _folder) = keys().await;
        let (id, shown) = make(&keys, None).await;
        let caller = keys.caller(&shown).await.unwrap().unwrap();
        assert_eq!(caller.actor, format!("key:{id}"));
        assert_eq!(caller.role, Role::Developer);
        assert_eq!(caller.tenant.as_deref(), Some("default"));
        let (_, over) = make(&keys, Some(Timestamp::from_millis(1))).await;
        assert_eq!(keys.caller(&over).await.unwrap(), None);

        assert!(keys.are_good_for(&caller).await);
        let admin = Caller::admin("admin-key".into());
        assert!(keys.are_good_for(&admin).await);
        for (ends, is_good) in [(1, false), (i64::MAX, true)] {
            let token = Caller {
                ends: Some(Timestamp::from_millis(ends)),
                ..admin.clone()
            };
            assert_eq!(keys.are_good_for(&token).await, is_good);
        }

        assert!(keys.store.remove_key(id).await.unwrap());
        keys.forget(id);
        assert_eq!(keys.caller(&shown).await.unwrap(), None);
        assert!(!keys.are_good_for(&caller).await);
    }

    #[tokio::test]
    async fn what_was_read_before_a_key_was_removed_is_not_kept_after() {
        let (keys, _folder) = keys().await;
        let (id, shown) = make(&keys, None).await;
        let read = keys.known(id).await.unwrap();
        let forgotten = keys.seen().forgotten;
        assert!(keys.store.remove_key(id).await.unwrap());
        keys.forget_all();
        keys.keep(id, read, forgotten);
        assert_eq!(keys.caller(&shown).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_only_looks_like_a_key_is_nobodys() {
        let (keys, _folder) = keys().await;
        let (id, shown) = make(&keys, None).await;
        let other = NewSecret::random(id).key;
        let unknown = NewSecret::random(Uuid::now_v7()).key;
        let cut = &shown[..shown.len() - 1];
        let hyphens = shown.replacen(&id.simple().to_string(), &id.to_string(), 1);
        for wrong in [
            "",
            "tk_",
            "tk__",
            &other,
            &unknown,
            cut,
            &hyphens,
            &shown[1..],
        ] {
            assert_eq!(keys.caller(wrong).await.unwrap(), None, "{wrong}");
        }
    }
}
