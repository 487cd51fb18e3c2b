//! Which connections are open.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use super::{ConnectionId, Flow};

/// The connections that are open, for who is about to rely on one: a worker may have for it what came by
/// a connection that has been closed meanwhile, and has had the news of that before it. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open(Arc<RwLock<HashSet<ConnectionId>>>);

impl Open {
    /// Whether a flow is not one of a connection that is closed. Where it is not, and is told to be later
    /// on, that news is still to come.
    pub(crate) fn has(&self, flow: &Flow) -> bool {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        flow.connection.is_none_or(|id| open.contains(&id))
    }

    /// A connection is opened.
    pub(crate) fn add(&self, id: ConnectionId) {
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(id);
    }

    /// A connection is closed. To be called before anybody is told of it.
    pub(crate) fn remove(&self, id: ConnectionId) {
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id);
    }
}
