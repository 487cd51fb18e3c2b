//! Which calls a message may be of.

use std::{
    collections::hash_map::{Entry, RandomState},
    hash::BuildHasher as _,
};

use super::state::CallKey;
use crate::ids::IdMap;

/// Calls by Call-ID and caller's tag. Of the two only a hash is kept, so who is found still has to be
/// asked whether a message is its own.
#[derive(Debug, Default)]
pub(super) struct Dialogs {
    /// With a secret of its own: no peer can choose what falls together.
    hasher: RandomState,
    /// A call that passes twice is two.
    calls: IdMap<u64, Vec<CallKey>>,
}

impl Dialogs {
    pub(super) fn add(&mut self, call_id: &str, tag: &str, key: CallKey) {
        match self.calls.entry(self.hasher.hash_one((call_id, tag))) {
            Entry::Occupied(mut known) => known.get_mut().push(key),
            Entry::Vacant(new) => drop(new.insert(vec![key])),
        }
    }

    pub(super) fn remove(&mut self, call_id: &str, tag: &str, key: CallKey) {
        if let Entry::Occupied(mut known) = self.calls.entry(self.hasher.hash_one((call_id, tag))) {
            known.get_mut().retain(|known| *known != key);
            if known.get().is_empty() {
                known.remove();
            }
        }
    }

    /// The calls that may be meant, the oldest first.
    pub(super) fn get(&self, call_id: &str, tag: &str) -> &[CallKey] {
        let found = self.calls.get(&self.hasher.hash_one((call_id, tag)));
        found.map_or(&[], Vec::as_slice)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_passes_twice_is_found_twice_and_forgotten_once() {
        let mut dialogs = Dialogs::default();
        dialogs.add("id", "tag", CallKey(1));
        dialogs.add("id", "tag", CallKey(2));
        assert_eq!(dialogs.get("id", "tag"), [CallKey(1), CallKey(2)]);
        assert!(dialogs.get("id", "other").is_empty() && dialogs.get("idtag", "").is_empty());
        dialogs.remove("id", "tag", CallKey(1));
        assert_eq!(dialogs.get("id", "tag"), [CallKey(2)]);
        dialogs.remove("id", "tag", CallKey(2));
        assert!(dialogs.is_empty());
    }
}
