//! Where messages are taken, whichever way they come.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ng::{Cookies, Seen, frame::FrameError};
use tokio::sync::Semaphore;

use super::front::Front;

/// How often it is looked whether the first copy of a request has its answer, and for how long.
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(6);
/// Requests of all connections that are worked on at once; further ones wait.
const ROOM: usize = 4096;

/// Takes messages and gives answers.
#[derive(Debug)]
pub(super) struct Desk {
    front: Arc<Front>,
    cookies: Mutex<Cookies>,
    room: Arc<Semaphore>,
}

/// A message that was looked at.
pub(super) enum Ticket {
    /// It is to be worked on.
    New(Vec<u8>),
    /// It was sent before, and this is its answer.
    Answered(Vec<u8>),
    /// It was sent before, and is being worked on.
    Working(Vec<u8>),
}

impl Desk {
    pub(super) fn new(front: Front) -> Self {
        Self {
            front: Arc::new(front),
            cookies: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }

    pub(super) const fn front(&self) -> &Arc<Front> {
        &self.front
    }

    /// Whether requests of `client` are answered.
    pub(super) fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let allowed = client.is_loopback() || self.front.allows(client);
        if !allowed {
            self.front.count("none", "stranger");
        }
        allowed
    }

    /// Notes that bytes came which are no message.
    pub(super) fn malformed(&self) {
        self.front.count("none", "malformed");
    }

    /// The same of a connection, where its client is told: the answer, with the `cookie` where there is one. `body` is
    /// what stands in the place of the dictionary.
    pub(super) fn unread(&self, cookie: &[u8], body: &[u8], error: FrameError) -> Vec<u8> {
        self.malformed();
        let mut answer = cookie.to_vec();
        if !answer.is_empty() {
            answer.push(b' ');
        }
        answer.extend(self.front.unread(body, error));
        answer
    }

    /// Looks a cookie up, and notes it where it is new. Each client machine has its own.
    pub(super) fn look(&self, client: IpAddr, cookie: &[u8]) -> Ticket {
        let mut key = client.to_canonical().to_string().into_bytes();
        key.push(b' ');
        key.extend_from_slice(cookie);
        match self.cookies().see(Instant::now(), &key) {
            Seen::Answered(answer) => return Ticket::Answered(answer.to_vec()),
            Seen::Working => {}
            Seen::New => return Ticket::New(key),
        }
        Ticket::Working(key)
    }

    /// Works on a message that is new; its answer, which is kept. `key` is of its ticket.
    pub(super) async fn work(&self, key: &[u8], cookie: &[u8], body: &[u8]) -> Vec<u8> {
        let mut answer = cookie.to_vec();
        answer.push(b' ');
        answer.extend(self.front.answer(body).await);
        self.cookies().answer(key, answer.clone());
        answer
    }

    /// The answer to a message over a connection: a copy waits for the first one's.
    ///
    /// The work has a task of its own. Who hangs up, or does not read, would otherwise stop it half-way: sessions would
    /// be made that nobody knows of, and the call be locked for as long as the client likes.
    pub(super) async fn answer(
        self: &Arc<Self>,
        client: IpAddr,
        cookie: Vec<u8>,
        body: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let key = match self.look(client, &cookie) {
            Ticket::New(key) => {
                let desk = Arc::clone(self);
                let work = tokio::spawn(async move {
                    let answer = desk.work(&key, &cookie, &body).await;
                    drop(room);
                    answer
                });
                return work.await.ok();
            }
            Ticket::Answered(answer) => return Some(answer),
            Ticket::Working(key) => key,
        };
        drop(room);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
            match self.cookies().find(&key) {
                Some(Seen::Answered(answer)) => return Some(answer.to_vec()),
                Some(_) => {}
                // There were too many others since.
                None => return None,
            }
        }
        None
    }

    /// The answer to a message without a cookie.
    pub(super) async fn plain(&self, body: Vec<u8>) -> Option<Vec<u8>> {
        let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let front = Arc::clone(&self.front);
        let work = tokio::spawn(async move {
            let answer = front.answer(&body).await;
            drop(room);
            answer
        });
        work.await.ok()
    }

    fn cookies(&self) -> MutexGuard<'_, Cookies> {
        // The cookies are a cache and stay usable after a panic elsewhere.
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
