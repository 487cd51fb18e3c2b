//! Messages for users who are away, as the store keeps them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use store::{Message, Store, Uuid};
use tracing::warn;

use crate::{call::Kept, directory::Aor};

/// Messages that are kept for one user.
const MOST: u32 = 100;
/// How often it is read for whom something is kept: another node of the store may have kept it.
const SWEEP: Duration = Duration::from_secs(3600);
/// Users that are read at once at the start.
const PAGE: u32 = 1000;

/// Where messages are kept. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    store: Store,
    users: Arc<Mutex<Users>>,
}

#[derive(Debug, Default)]
struct Users {
    /// For whom anything is kept, so that a phone that registers costs no query, and how often something
    /// was: what comes while the store is read is not to be taken for read.
    waiting: HashMap<String, u64>,
    /// To whom it is being delivered: one whose phones register at once, at several workers, gets
    /// nothing twice.
    busy: HashMap<String, Busy>,
}

/// A user to whom something is being delivered.
#[derive(Debug)]
struct Busy {
    /// The delivery, and what was delivered and is yet to be forgotten.
    tasks: usize,
    /// A phone has registered meanwhile.
    again: bool,
}

impl Post {
    /// Nothing is known to wait until [`Post::run`] has read it.
    pub(crate) fn new(store: Store) -> Self {
        let users = Arc::default();
        Self { store, users }
    }

    /// Reads for whom something is kept, for as long as the node runs.
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
                let mut users = self.users();
                let times = users.waiting.entry(message.recipient.clone());
                *times.or_default() += 1;
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
        self.users().waiting.contains_key(aor.as_str())
    }

    /// What is kept for a user, the oldest first; the caller [settles](Self::settle) it. Empty, with
    /// nothing to settle, where there is nothing, the store cannot tell, or it is being delivered already:
    /// then who does so is told to collect again.
    pub(crate) async fn collect(&self, aor: &Aor) -> Vec<Message> {
        while let Some(known) = self.claim(aor) {
            let messages = self.read(aor, known).await;
            if !messages.is_empty() || !self.settle(aor) {
                return messages;
            }
        }
        Vec::new()
    }

    /// A delivery is over. Whether to collect again, for a phone has registered since it began.
    #[must_use]
    pub(crate) fn settle(&self, aor: &Aor) -> bool {
        let mut users = self.users();
        let Some(busy) = users.busy.get_mut(aor.as_str()) else {
            return false;
        };
        busy.tasks -= 1;
        let (is_over, again) = (busy.tasks == 0, busy.again);
        if is_over {
            users.busy.remove(aor.as_str());
        }
        is_over && again
    }

    /// Forgets a message that was collected. The user's delivery is not over before that is done: what
    /// it gives is what [`settle`](Self::settle) gives.
    pub(crate) fn forget(self, aor: Aor, id: Uuid) -> impl Future<Output = bool> + Send {
        if let Some(busy) = self.users().busy.get_mut(aor.as_str()) {
            busy.tasks += 1;
        }
        async move {
            if let Err(error) = self.store.forget_message(id).await {
                warn!(user = %aor, %error, "a message is done with and still kept: it will be sent again");
            }
            self.settle(&aor)
        }
    }

    /// Makes a user one to whom is being delivered, and tells how often something was kept. `None` for
    /// one who is already.
    fn claim(&self, aor: &Aor) -> Option<Option<u64>> {
        let mut users = self.users();
        if let Some(busy) = users.busy.get_mut(aor.as_str()) {
            busy.again = true;
            return None;
        }
        let busy = Busy {
            tasks: 1,
            again: false,
        };
        users.busy.insert(aor.to_string(), busy);
        Some(users.waiting.get(aor.as_str()).copied())
    }

    async fn read(&self, aor: &Aor, known: Option<u64>) -> Vec<Message> {
        match self.store.messages(aor.as_str(), MOST).await {
            Ok(messages) => {
                let mut users = self.users();
                if messages.is_empty() && users.waiting.get(aor.as_str()).copied() == known {
                    users.waiting.remove(aor.as_str());
                }
                messages
            }
            Err(error) => {
                warn!(user = %aor, %error, "cannot read what is kept for a user");
                Vec::new()
            }
        }
    }

    async fn sweep(&self) {
        let mut after = String::new();
        loop {
            match self.store.recipients(&after, PAGE).await {
                Ok(users) => {
                    let Some(last) = users.last() else { return };
                    after.clone_from(last);
                    let mut known = self.users();
                    for user in users {
                        known.waiting.entry(user).or_default();
                    }
                }
                Err(error) => return warn!(%error, "cannot read for whom messages are kept"),
            }
        }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // Nothing panics while it holds the lock.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use store::Timestamp;

    use super::*;

    fn bob() -> Aor {
        Aor::new("bob", "node.test")
    }

    fn message() -> Message {
        Message {
            id: Uuid::now_v7(),
            recipient: bob().to_string(),
            from: "<sip:alice@node.test>".to_owned(),
            to: "<sip:bob@node.test>".to_owned(),
            content_type: "text/plain".to_owned(),
            body: b"hello".to_vec(),
            received: Timestamp::now(),
        }
    }

    async fn post() -> (Post, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:test.db", folder.path()).await.unwrap();
        (Post::new(store), folder)
    }

    #[tokio::test]
    async fn nothing_is_collected_again_before_it_is_forgotten() {
        let (post, _folder) = post().await;
        let (one, two) = (message(), message());
        assert_eq!(post.keep(&one).await, Kept::Yes);
        assert_eq!(post.collect(&bob()).await, std::slice::from_ref(&one));
        // Another phone registers at another worker, and something more has come.
        assert_eq!(post.keep(&two).await, Kept::Yes);
        assert!(post.collect(&bob()).await.is_empty());
        // The first is delivered, but the store has not heard of it.
        let forgetting = post.clone().forget(bob(), one.id);
        assert!(!post.settle(&bob()), "it is not over");
        assert!(post.collect(&bob()).await.is_empty());
        assert!(forgetting.await, "now it is, and a phone has registered");
        assert_eq!(post.collect(&bob()).await, std::slice::from_ref(&two));
        assert!(!post.settle(&bob()), "nobody has registered since");
        assert_eq!(post.collect(&bob()).await, [two]);
    }

    #[tokio::test]
    async fn what_comes_while_nothing_is_read_is_not_overlooked() {
        let (post, _folder) = post().await;
        let one = message();
        assert_eq!(post.keep(&one).await, Kept::Yes);
        assert_eq!(post.collect(&bob()).await.len(), 1);
        assert!(!post.clone().forget(bob(), one.id).await);
        assert!(!post.settle(&bob()));
        assert!(post.has(&bob()), "until it is read that there is nothing");

        let bob = bob();
        let known = post.claim(&bob).unwrap();
        let mut reading = Box::pin(post.read(&bob, known));
        // What it reads may be from before this comes, where the database takes its time.
        let read = poll!(&mut reading);
        assert_eq!(post.keep(&message()).await, Kept::Yes);
        if read.is_pending() {
            reading.await;
        }
        assert!(post.has(&bob));
        assert!(!post.settle(&bob));
        assert_eq!(post.collect(&bob).await.len(), 1);
    }

    #[tokio::test]
    async fn a_user_for_whom_nothing_is_kept_costs_one_query() {
        let (post, _folder) = post().await;
        post.users().waiting.insert(bob().to_string(), 0);
        assert!(post.collect(&bob()).await.is_empty());
        assert!(!post.has(&bob()));
        assert!(post.users().busy.is_empty());
    }
}
