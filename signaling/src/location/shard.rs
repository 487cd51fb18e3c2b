//! A part of the table.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use store::Bound;

use super::binding::Binding;
use crate::directory::Aor;

/// Users without a binding that wait to be written as such, in one shard. Where the store is away for
/// long, what is beyond them comes back at the next start for as long as it would have lived.
const GONE: usize = 1_024;

/// Users, their bindings, and when the next of them ends.
#[derive(Debug, Default)]
pub(super) struct Shard {
    slots: HashMap<Aor, u32>,
    users: Vec<Option<User>>,
    free: Vec<u32>,
    /// When to look at which slot. One entry for a user, but for those whose time became shorter.
    due: BinaryHeap<Reverse<(u32, u32)>>,
    /// Slots that have changed since they were written.
    changed: VecDeque<u32>,
    /// Those of them without a binding.
    gone: usize,
}

#[derive(Debug)]
struct User {
    aor: Aor,
    bindings: Vec<Binding>,
    /// The time of its entry in `due`.
    due: u32,
    changed: bool,
}

impl Shard {
    /// A user's bindings, those included that are over and were not taken out yet.
    pub(super) fn bindings(&self, aor: &Aor) -> &[Binding] {
        self.user(aor).map_or(&[], |user| &user.bindings)
    }

    /// Every user who has a binding.
    pub(super) fn names(&self) -> impl Iterator<Item = &Aor> {
        let users = self.users.iter().flatten();
        let users = users.filter(|user| !user.bindings.is_empty());
        users.map(|user| &user.aor)
    }

    /// Changes a user's bindings. Who has none afterwards, and nothing to be written, is forgotten.
    pub(super) fn change(&mut self, aor: &Aor, change: impl FnOnce(&mut Vec<Binding>)) {
        let slot = match self.slots.get(aor) {
            Some(slot) => *slot,
            None => self.enter(aor),
        };
        let Some(Some(user)) = self.users.get_mut(slot as usize) else {
            return;
        };
        let was_gone = user.changed && user.bindings.is_empty();
        change(&mut user.bindings);
        let is_gone = user.changed && user.bindings.is_empty();
        match user.bindings.iter().map(Binding::expires).min() {
            Some(due) if due < user.due => {
                user.due = due;
                self.due.push(Reverse((due, slot)));
            }
            Some(_) => {}
            None if !user.changed => self.forget(slot),
            None => {}
        }
        self.gone = self.gone + usize::from(is_gone) - usize::from(was_gone);
    }

    /// A user is to be written to the store.
    pub(super) fn touch(&mut self, aor: &Aor) {
        let slot = match self.slots.get(aor) {
            Some(slot) => *slot,
            // All is gone, and the store has to know.
            None if self.gone < GONE => self.enter(aor),
            None => return,
        };
        let Some(Some(user)) = self.users.get_mut(slot as usize) else {
            return;
        };
        if !std::mem::replace(&mut user.changed, true) {
            self.gone += usize::from(user.bindings.is_empty());
            self.changed.push_back(slot);
        }
    }

    /// A user of whom a binding ended.
    pub(super) fn take_due(&mut self, now: u32) -> Option<Aor> {
        while let Some(Reverse((due, slot))) = self.due.peek().copied() {
            if due > now {
                return None;
            }
            self.due.pop();
            let Some(Some(user)) = self.users.get_mut(slot as usize) else {
                continue;
            };
            // Else this entry was replaced, or is of another user who had the slot.
            if user.due != due {
                continue;
            }
            user.due = u32::MAX;
            let next = user.bindings.iter().map(Binding::expires).min();
            if next.is_some_and(|next| next <= now) {
                return Some(user.aor.clone());
            }
            // Refreshed meanwhile.
            if let Some(next) = next {
                user.due = next;
                self.due.push(Reverse((next, slot)));
            }
        }
        None
    }

    /// The next user to write, as it is now.
    pub(super) fn take_changed(&mut self) -> Option<Bound> {
        loop {
            let slot = self.changed.pop_front()?;
            let Some(Some(user)) = self.users.get_mut(slot as usize) else {
                continue;
            };
            user.changed = false;
            let bound = Bound {
                domain: user.aor.domain().to_owned(),
                name: user.aor.user().to_owned(),
                bindings: user.bindings.iter_mut().map(Binding::write).collect(),
            };
            if user.bindings.is_empty() {
                self.gone -= 1;
                self.forget(slot);
            }
            return Some(bound);
        }
    }

    fn user(&self, aor: &Aor) -> Option<&User> {
        let slot = self.slots.get(aor)?;
        self.users.get(*slot as usize)?.as_ref()
    }

    fn enter(&mut self, aor: &Aor) -> u32 {
        let user = User {
            aor: aor.clone(),
            bindings: Vec::new(),
            due: u32::MAX,
            changed: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.users[slot as usize] = Some(user);
                slot
            }
            None => {
                self.users.push(Some(user));
                // As many as the table may have bindings, which is below 2^32.
                u32::try_from(self.users.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.slots.insert(aor.clone(), slot);
        slot
    }

    /// Only a user who is not `changed`, and so not in that queue either.
    fn forget(&mut self, slot: u32) {
        if let Some(user) = self.users.get_mut(slot as usize).and_then(Option::take) {
            self.slots.remove(&user.aor);
            self.free.push(slot);
        }
    }
}
