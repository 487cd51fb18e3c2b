//! What is kept of audio, up to a size; what was not used for longest makes room.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{Clip, Key};

/// What an entry takes besides its samples, in octets.
const OVERHEAD: usize = 512;

/// How long a clip may be used, and how its source is asked whether it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub until: Until,
    /// Of HTTP.
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// Of a file: when it was written, and its size.
    pub stamp: Option<(SystemTime, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Until {
    /// Not to be kept at all.
    Never,
    /// The source is asked each time.
    #[default]
    Asked,
    At(Instant),
    Always,
}

impl Origin {
    pub(super) fn lasting() -> Self {
        Self {
            until: Until::Always,
            ..Self::default()
        }
    }

    /// What it takes besides an entry's overhead, in octets.
    fn size(&self) -> usize {
        let texts = self.etag.iter().chain(&self.last_modified);
        texts.map(String::len).sum()
    }

    fn can_be_asked(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some() || self.stamp.is_some()
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    most: usize,
    size: usize,
    turn: u64,
    entries: HashMap<Key, Entry>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    clip: Arc<Clip>,
    /// What it takes, in octets.
    size: usize,
    used: u64,
}

impl Cache {
    /// Holds so many octets.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            size: 0,
            turn: 0,
            entries: HashMap::new(),
        }
    }

    /// What may be used without asking.
    pub(super) fn fresh(&mut self, key: &Key, now: Instant) -> Option<Arc<Clip>> {
        let entry = self.entries.get_mut(key)?;
        match entry.origin.until {
            Until::Always => {}
            Until::At(until) if now < until => {}
            _ => return None,
        }
        self.turn += 1;
        entry.used = self.turn;
        Some(Arc::clone(&entry.clip))
    }

    /// What may be used where its source says so.
    pub(super) fn known(&self, key: &Key) -> Option<(Origin, Arc<Clip>)> {
        let entry = self.entries.get(key)?;
        let asked = entry.origin.can_be_asked();
        asked.then(|| (entry.origin.clone(), Arc::clone(&entry.clip)))
    }

    pub(super) fn put(&mut self, key: Key, origin: Origin, clip: Arc<Clip>) {
        if let Some(old) = self.entries.remove(&key) {
            self.size -= old.size;
        }
        let useless = origin.until == Until::Asked && !origin.can_be_asked();
        let size = OVERHEAD + key.size() + origin.size() + 2 * clip.samples.len();
        if origin.until == Until::Never || useless || size > self.most {
            return;
        }
        self.size += size;
        self.turn += 1;
        let entry = Entry {
            origin,
            clip,
            size,
            used: self.turn,
        };
        self.entries.insert(key, entry);
        while self.size > self.most {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            if let Some(old) = self.entries.remove(&key) {
                self.size -= old.size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &str) -> Key {
        Key::File(name.to_owned())
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let clip = Clip::made(vec![0; 744]);
        let mut cache = Cache::new(4002);
        let now = Instant::now();
        cache.put(key("a"), Origin::lasting(), Arc::clone(&clip));
        cache.put(key("b"), Origin::lasting(), Arc::clone(&clip));
        assert!(cache.fresh(&key("a"), now).is_some());
        cache.put(key("c"), Origin::lasting(), Arc::clone(&clip));
        assert!(cache.fresh(&key("b"), now).is_none());
        assert!(cache.fresh(&key("a"), now).is_some() && cache.fresh(&key("c"), now).is_some());
        // The same again takes no more room.
        cache.put(key("c"), Origin::lasting(), Arc::clone(&clip));
        assert!(cache.fresh(&key("a"), now).is_some());
        cache.put(key("d"), Origin::lasting(), Clip::made(vec![0; 4000]));
        assert!(cache.fresh(&key("d"), now).is_none() && cache.fresh(&key("a"), now).is_some());
        // A long name makes room as audio does.
        let long = Key::File("x".repeat(1000));
        cache.put(long.clone(), Origin::lasting(), clip);
        assert!(cache.fresh(&long, now).is_some() && cache.fresh(&key("c"), now).is_none());
    }

    #[test]
    fn what_is_no_longer_fresh_is_asked_for() {
        let clip = Clip::made(vec![0; 8]);
        let mut cache = Cache::new(4000);
        let now = Instant::now();
        let origin = Origin {
            until: Until::At(now + Duration::from_secs(5)),
            etag: Some("\"1\"".to_owned()),
            ..Origin::default()
        };
        cache.put(key("a"), origin, clip);
        assert!(cache.fresh(&key("a"), now).is_some());
        let later = now + Duration::from_secs(5);
        assert!(cache.fresh(&key("a"), later).is_none() && cache.known(&key("a")).is_some());
    }
}
