//! The table of calls.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use control::media::SessionId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::call::Call;

type Shared = Arc<AsyncMutex<Call>>;

/// Calls by Call-ID. One request at a time works on a call; different calls do not wait for each other.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<Vec<u8>, Shared>,
    /// Whose each session is.
    sessions: HashMap<SessionId, Vec<u8>>,
}

impl Calls {
    /// The call of this id; none where there is none, or it is just ending.
    pub(super) async fn get(&self, id: &[u8]) -> Option<OwnedMutexGuard<Call>> {
        let call = self.table().calls.get(id).cloned()?;
        let call = call.lock_owned().await;
        (!call.ended).then_some(call)
    }

    /// The call of this id, or a new one of `tag`.
    pub(super) async fn get_or_begin(&self, id: &[u8], tag: &[u8]) -> OwnedMutexGuard<Call> {
        loop {
            let call = {
                let mut table = self.table();
                let begin = || Arc::new(AsyncMutex::new(Call::new(tag)));
                table.calls.entry(id.to_vec()).or_insert_with(begin).clone()
            };
            let call = call.lock_owned().await;
            if !call.ended {
                return call;
            }
        }
    }

    /// Takes a call out of the table.
    pub(super) fn end(&self, id: &[u8], call: &mut Call) {
        call.ended = true;
        self.table().calls.remove(id);
    }

    /// Notes whose a session is.
    pub(super) fn enter(&self, session: SessionId, id: &[u8]) {
        self.table().sessions.insert(session, id.to_vec());
    }

    /// Forgets whose a session was.
    pub(super) fn leave(&self, session: SessionId) {
        self.table().sessions.remove(&session);
    }

    /// Whose a session is.
    pub(super) fn of_session(&self, session: SessionId) -> Option<Vec<u8>> {
        self.table().sessions.get(&session).cloned()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table().calls.len()
    }

    /// The first `most` ids, in no order.
    pub(super) fn ids(&self, most: usize) -> Vec<Vec<u8>> {
        self.table().calls.keys().take(most).cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each change is one statement: the table is whole also after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
