//! Asks the store about users: many in one query, each once at a time, and never for long.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use store::{Store, StoreError};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{Account, Answer, Cache};
use crate::directory::Aor;

/// Users in one query at most.
const BATCH: usize = 500;
/// Queries at once.
const QUERIES: usize = 4;
/// Questions that may wait; one more is answered at once, with what is remembered.
const QUEUE: usize = 65_536;
/// How long an answer may take: a phone sends again after half a second, and a caller waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after a failure nobody is made to wait for the next one.
const REST: Duration = Duration::from_secs(1);

/// Who is told what the store said.
pub(crate) type Tell = Arc<dyn Fn(usize, Aor, Answer) + Send + Sync>;

/// Takes questions. Clones feed the same queue.
#[derive(Clone)]
pub(crate) struct Asker {
    queue: mpsc::Sender<(Aor, usize)>,
    cache: Arc<Cache>,
    tell: Tell,
}

/// An asker, and the task that has to be run for it. `tell` is given the number of who asked, whom
/// about, and the answer; it must not block.
pub(crate) fn ask(
    store: Store,
    cache: Arc<Cache>,
    tell: Tell,
) -> (Asker, impl Future<Output = ()> + Send) {
    let (queue, questions) = mpsc::channel(QUEUE);
    let asker = Asker {
        queue,
        cache: cache.clone(),
        tell: tell.clone(),
    };
    let task = Task {
        store,
        cache,
        tell,
        asked: HashMap::new(),
        rest: None,
        away: false,
    };
    (asker, task.run(questions))
}

impl Asker {
    /// Asks about a user; the answer goes to `who`, always, and soon.
    pub(crate) fn ask(&self, aor: Aor, who: usize) {
        if let Err(refused) = self.queue.try_send((aor, who)) {
            let (aor, who) = refused.into_inner();
            let answer = self.cache.recall(&aor);
            (self.tell)(who, aor, answer);
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

struct Task {
    store: Store,
    cache: Arc<Cache>,
    tell: Tell,
    /// Who waits for an answer about whom.
    asked: HashMap<Aor, HashSet<usize>>,
    /// Until when the store is not asked.
    rest: Option<Instant>,
    away: bool,
}

impl Task {
    async fn run(mut self, mut questions: mpsc::Receiver<(Aor, usize)>) {
        let mut queries = FuturesUnordered::new();
        let mut taken = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                Some(answered) = queries.next(), if !queries.is_empty() => self.answer(answered),
                count = questions.recv_many(&mut taken, BATCH), if queries.len() < QUERIES => {
                    if count == 0 {
                        return;
                    }
                    let mut aors = Vec::with_capacity(count);
                    for (aor, who) in taken.drain(..) {
                        let waiting = self.asked.entry(aor.clone()).or_default();
                        if waiting.is_empty() {
                            aors.push(aor);
                        }
                        waiting.insert(who);
                    }
                    if self.rest.is_some_and(|until| until > Instant::now()) {
                        self.recall(aors);
                    } else if !aors.is_empty() {
                        queries.push(query(self.store.clone(), aors));
                    }
                }
            }
        }
    }

    fn answer(&mut self, Answered { asked, aors, found }: Answered) {
        let users = match found {
            Ok(users) => users,
            Err(error) => {
                if !std::mem::replace(&mut self.away, true) {
                    warn!(%error, "cannot look users up; those who are remembered go on");
                }
                self.rest = Some(Instant::now() + REST);
                return self.recall(aors);
            }
        };
        self.rest = None;
        if std::mem::take(&mut self.away) {
            info!("users can be looked up again");
        }
        let mut known: HashMap<Aor, Answer> = users
            .into_iter()
            .map(|user| {
                let account = Account::from(user);
                (account.aor.clone(), self.cache.learn(asked, account))
            })
            .collect();
        for aor in aors {
            let answer = known.remove(&aor);
            let answer = answer.unwrap_or_else(|| self.cache.learn_absent(asked, &aor));
            self.tell(&aor, &answer);
        }
    }

    /// Answers from memory.
    fn recall(&mut self, aors: Vec<Aor>) {
        for aor in aors {
            let answer = self.cache.recall(&aor);
            self.tell(&aor, &answer);
        }
    }

    fn tell(&mut self, aor: &Aor, answer: &Answer) {
        for who in self.asked.remove(aor).unwrap_or_default() {
            (self.tell)(who, aor.clone(), answer.clone());
        }
    }
}

/// What the store said, and when it was asked.
struct Answered {
    asked: std::time::Instant,
    aors: Vec<Aor>,
    found: Result<Vec<store::User>, StoreError>,
}

async fn query(store: Store, aors: Vec<Aor>) -> Answered {
    let asked = Instant::now().into_std();
    let named: Vec<_> = aors.iter().map(|aor| (aor.domain(), aor.user())).collect();
    let found = timeout(PATIENCE, store.users(&named)).await;
    let found = found.unwrap_or(Err(StoreError::Timeout(PATIENCE.as_secs())));
    Answered { asked, aors, found }
}
