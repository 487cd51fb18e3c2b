//! The table of calls.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use control::media::SessionId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::call::Call;

type Shared = Arc<AsyncMutex<Call>>;

/// Calls by Call-ID. One request at a time works on a call; different calls do not wait for each other.
#[derive(Debug)]
pub(super) struct Calls {
    table: Mutex<Table>,
    /// How many there may be.
    most: usize,
}

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<Vec<u8>, Shared>,
    /// Whose each session is.
    sessions: HashMap<SessionId, Vec<u8>>,
    /// When the next deletion of each is due that was put off.
    due: HashMap<Vec<u8>, Instant>,
}

impl Calls {
    pub(super) fn new(most: usize) -> Self {
        Self {
            table: Mutex::default(),
            most,
        }
    }

    /// The call of this id; none where there is none, or it is just ending.
    pub(super) async fn get(&self, id: &[u8]) -> Option<OwnedMutexGuard<Call>> {
        let call = self.table().calls.get(id).cloned()?;
        let call = call.lock_owned().await;
        (!call.ended).then_some(call)
    }

    /// The call of this id, or a new one of `tag`; none where there are too many.
    pub(super) async fn get_or_begin(
        &self,
        id: &[u8],
        tag: &[u8],
    ) -> Option<OwnedMutexGuard<Call>> {
        loop {
            let call = {
                let mut table = self.table();
                let is_full = table.calls.len() >= self.most;
                if is_full && !table.calls.contains_key(id) {
                    return None;
                }
                let begin = || Arc::new(AsyncMutex::new(Call::new(tag)));
                table.calls.entry(id.to_vec()).or_insert_with(begin).clone()
            };
            let call = call.lock_owned().await;
            if !call.ended {
                return Some(call);
            }
        }
    }

    /// Takes a call out of the table.
    pub(super) fn end(&self, id: &[u8], call: &mut Call) {
        call.ended = true;
        let mut table = self.table();
        table.calls.remove(id);
        table.due.remove(id);
    }

    /// Notes when the next deletion of a call is due.
    pub(super) fn put_off(&self, id: &[u8], until: Option<Instant>) {
        let mut table = self.table();
        match until {
            Some(until) => table.due.insert(id.to_vec(), until),
            None => table.due.remove(id),
        };
    }

    /// The calls of which a deletion is due.
    pub(super) fn due(&self, now: Instant) -> Vec<Vec<u8>> {
        let table = self.table();
        let due = table.due.iter().filter(|(_, at)| **at <= now);
        due.map(|(id, _)| id.clone()).collect()
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
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn there_are_so_many_calls_and_no_more() {
        let calls = Calls::new(2);
        let begun = async |id: &[u8]| calls.get_or_begin(id, b"a").await;
        let mut first = begun(b"1").await.unwrap();
        drop(begun(b"2").await.unwrap());
        assert!(begun(b"3").await.is_none());
        // One that is there goes on, and one that ends makes room, whatever was put off.
        assert!(begun(b"2").await.is_some());
        let now = Instant::now();
        calls.put_off(b"1", Some(now));
        assert!(calls.due(now - Duration::from_millis(1)).is_empty());
        assert_eq!(calls.due(now), [b"1"]);
        calls.end(b"1", &mut first);
        assert!(calls.due(now).is_empty());
        assert!(begun(b"3").await.is_some());
    }
}
