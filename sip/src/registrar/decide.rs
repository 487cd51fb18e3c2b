//! What a REGISTER does to the bindings that are there.

use std::cmp::Ordering;

use super::{Contact, FlowId, Refusal, Register, Wish};
use crate::uri::Uri;

/// A binding, as its keeper has it.
pub trait Known {
    /// The Contact's URI.
    fn uri(&self) -> &str;
    /// Its flow, where it is one of outbound: instance and reg-id.
    fn flow(&self) -> Option<(&str, u32)>;
    /// The Call-ID and the CSeq number of the REGISTER that made or refreshed it last.
    fn order(&self) -> (&str, u32);
    /// When it was made or refreshed last, in any unit: the least one is the oldest.
    fn renewed(&self) -> u64;
}

/// How many bindings an address of record may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// The most.
    pub most: usize,
    /// What becomes of one more.
    pub when_full: WhenFull,
}

/// What becomes of a new contact where there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    Refuse,
    /// It takes the place of the one that was refreshed longest ago.
    ReplaceOldest,
}

/// One thing to do. Indices are those of the bindings as they were given, and of the contacts in the
/// request; no binding is named twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The binding ends.
    Remove(usize),
    /// The binding becomes what the contact says.
    Renew {
        /// The binding.
        binding: usize,
        /// The contact.
        contact: usize,
    },
    /// The contact is bound.
    Add {
        /// The contact.
        contact: usize,
    },
}

impl Register {
    /// What is to be done to `known`, the bindings that its address of record has. A request that took
    /// effect already, which a client sent again, changes nothing.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`] and [`Refusal::Full`]; nothing is to be done then.
    pub fn decide<K: Known>(
        &self,
        known: &[K],
        capacity: Capacity,
    ) -> Result<Vec<Change>, Refusal> {
        let contacts = match &self.wish {
            Wish::Query => return Ok(Vec::new()),
            Wish::RemoveAll => {
                for binding in known {
                    self.is_repeated(binding)?;
                }
                return Ok((0..known.len()).map(Change::Remove).collect());
            }
            Wish::Update(contacts) => contacts,
        };
        // What becomes of each binding; `None` is left alone.
        let mut fates: Vec<Option<Change>> = vec![None; known.len()];
        let mut added: Vec<usize> = Vec::new();
        for (index, contact) in contacts.iter().enumerate() {
            // Of two contacts that are the same the later one counts.
            let own = contact.flow.as_ref().map(FlowId::parts);
            let mut later = contacts.iter().skip(index + 1);
            if later.any(|later| is_same(contact.uri(), own, later)) {
                continue;
            }
            let is_hit = |at: &usize| {
                let is_taken = matches!(fates[*at], Some(Change::Renew { .. }));
                let binding = &known[*at];
                !is_taken && is_same(binding.uri(), binding.flow(), contact)
            };
            let hits: Vec<_> = (0..known.len()).filter(is_hit).collect();
            let mut is_repeated = false;
            for at in &hits {
                is_repeated |= self.is_repeated(&known[*at])?;
            }
            if is_repeated {
                continue;
            }
            // URIs compare as the same in more than one way: the first is renewed, others go.
            for (nth, at) in hits.iter().copied().enumerate() {
                fates[at] = Some(match (contact.expires, nth) {
                    (1.., 0) => Change::Renew {
                        binding: at,
                        contact: index,
                    },
                    _ => Change::Remove(at),
                });
            }
            if hits.is_empty() && contact.expires > 0 {
                added.push(index);
            }
        }
        make_room(known, capacity, &mut fates, added.len())?;
        let mut changes: Vec<_> = fates.into_iter().flatten().collect();
        changes.extend(added.into_iter().map(|contact| Change::Add { contact }));
        Ok(changes)
    }

    /// Whether the binding is the work of this very request. `Err` where it is that of a later one.
    fn is_repeated(&self, binding: &impl Known) -> Result<bool, Refusal> {
        let (call_id, cseq) = binding.order();
        if call_id != self.call_id {
            return Ok(false);
        }
        match cseq.cmp(&self.cseq) {
            Ordering::Less => Ok(false),
            Ordering::Equal => Ok(true),
            Ordering::Greater => Err(Refusal::OutOfOrder),
        }
    }
}

/// Checks that `added` more find room beside what stays, and takes out the oldest where that is the
/// policy.
fn make_room<K: Known>(
    known: &[K],
    capacity: Capacity,
    fates: &mut [Option<Change>],
    added: usize,
) -> Result<(), Refusal> {
    let stays = |fate: &Option<Change>| !matches!(fate, Some(Change::Remove(_)));
    let staying = fates.iter().filter(|fate| stays(fate)).count();
    let excess = (staying + added).saturating_sub(capacity.most);
    // Fewer may be allowed than there were once: that refuses no refresh.
    if excess == 0 || added == 0 {
        return Ok(());
    }
    let mut free: Vec<_> = (0..known.len()).filter(|at| fates[*at].is_none()).collect();
    if capacity.when_full == WhenFull::Refuse || free.len() < excess {
        return Err(Refusal::Full(capacity.most));
    }
    free.sort_by_key(|at| known[*at].renewed());
    for at in free.into_iter().take(excess) {
        fates[at] = Some(Change::Remove(at));
    }
    Ok(())
}

/// Whether a contact names a binding: by instance and reg-id where both have them, else by the rules
/// for comparing URIs (RFC 3261 section 19.1.4).
fn is_same(uri: &str, flow: Option<(&str, u32)>, contact: &Contact) -> bool {
    if let (Some((instance, reg_id)), Some(own)) = (flow, &contact.flow) {
        // URNs of UUIDs compare without regard to case (RFC 4122 section 3).
        return reg_id == own.reg_id && instance.eq_ignore_ascii_case(&own.instance);
    }
    if uri == contact.uri() {
        return true;
    }
    match (Uri::parse(uri), Uri::parse(contact.uri())) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

impl FlowId {
    fn parts(&self) -> (&str, u32) {
        (&self.instance, self.reg_id)
    }
}
