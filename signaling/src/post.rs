//! Messages for users who are away, as the store keeps them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use store::{Message, Store, Timestamp, Uuid};
use tracing::warn;

use crate::{call::Kept, directory::Aor};

/// Messages that are kept for one user.
const MOST: u32 = 100;
/// For how long.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often those that are too old are forgotten.
const SWEEP: Duration = Duration::from_secs(3600);
/// Users that are read at once at the start.
const PAGE: u32 = 1000;

/// Where messages are kept. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    store: Store,
    /// The users for whom anything is kept, so that a phone that registers costs no query.
    waiting: Arc<Mutex<HashSet<String>>>,
    /// Messages that are being delivered, or were and are still to be forgotten: a user whose phones
    /// register at once, at several workers, gets none twice.
    out: Arc<Mutex<HashSet<Uuid>>>,
}

impl Post {
    /// Nothing is known to wait until [`Post::run`] has read it.
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            waiting: Arc::default(),
            out: Arc::default(),
        }
    }

    /// Reads for whom something is kept, and forgets what is too old, for as long as the node runs.
    pub(crate) async fn run(self) {
        loop {
            self.sweep().await;
            tokio::time::sleep(SWEEP).await;
        }
    }

    /// Keeps a message.
    pub(crate) async fn keep(&self, message: &Message) -> Kept {
        match self.store.keep_message(message, MOST).await {
            Ok(true) => {
                self.users().insert(message.recipient.clone());
                Kept::Yes
            }
            Ok(false) => Kept::Full,
            Err(error) => {
                warn!(user = message.recipient, %error, "cannot keep a message");
                Kept::Failed
            }
        }
    }

    /// Whether anything may be kept for a user.
    pub(crate) fn has(&self, aor: &Aor) -> bool {
        self.users().contains(aor.as_str())
    }

    /// What is kept for a user, the oldest first, but for what is being delivered. Each is the caller's
    /// to [forget](Self::forget) or to [release](Self::release). Empty where the store cannot tell.
    pub(crate) async fn collect(&self, aor: &Aor) -> Vec<Message> {
        match self.store.messages(aor.as_str(), MOST).await {
            Ok(mut messages) => {
                if messages.is_empty() {
                    self.users().remove(aor.as_str());
                }
                let mut out = self.out();
                messages.retain(|message| out.insert(message.id));
                messages
            }
            Err(error) => {
                warn!(user = %aor, %error, "cannot read what is kept for a user");
                Vec::new()
            }
        }
    }

    /// A message was delivered.
    pub(crate) async fn forget(&self, id: Uuid) {
        if let Err(error) = self.store.forget_message(id).await {
            warn!(%error, "a message that was delivered is still kept, and will be sent again");
        }
        self.out().remove(&id);
    }

    /// Messages were not delivered.
    pub(crate) fn release(&self, ids: &[Uuid]) {
        let mut out = self.out();
        for id in ids {
            out.remove(id);
        }
    }

    async fn sweep(&self) {
        let age = i64::try_from(AGE.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(Timestamp::now().millis().saturating_sub(age));
        if let Err(error) = self.store.forget_messages_before(before).await {
            return warn!(%error, "cannot forget messages that are too old");
        }
        let mut after = String::new();
        loop {
            match self.store.recipients(&after, PAGE).await {
                Ok(users) => {
                    let Some(last) = users.last() else { return };
                    after.clone_from(last);
                    self.users().extend(users);
                }
                Err(error) => return warn!(%error, "cannot read for whom messages are kept"),
            }
        }
    }

    fn out(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        // Nothing panics while it holds the lock.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn users(&self) -> MutexGuard<'_, HashSet<String>> {
        // Nothing panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
