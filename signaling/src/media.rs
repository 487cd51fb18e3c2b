//! News of mediad for the workers, and the sessions that a former process of this node left there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use control::{
    Client, Notice,
    channel::RequestError,
    media::{self, Media, SessionId},
};
use tokio::{
    sync::{broadcast, mpsc},
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use crate::{
    call::{MediaNews, OWNER, Policy},
    metrics::Metrics,
    worker::Command,
};

/// How often it is asked which sessions there are, and those that were left are looked at.
const SWEEP: Duration = Duration::from_secs(30);
/// The shortest silence after which a left session is closed.
const LEFT: Duration = Duration::from_secs(60);

/// What the task needs.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) client: Client<Media>,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) metrics: Arc<Metrics>,
    /// What the names of this process's sessions begin with.
    pub(crate) mark: [u8; 6],
    pub(crate) policy: Arc<Policy>,
}

impl Hub {
    /// Runs for ever.
    pub(crate) async fn run(self, mut notices: broadcast::Receiver<Notice<media::Event>>) {
        let mut instance = None;
        let mut left = HashMap::new();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The channel may have come up before anybody listened.
        self.reconcile(&mut left).await;
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    Ok(Notice::Connected { instance: now }) => {
                        // The channel may have been up before anybody listened: an unknown process
                        // counts as another one, and to be told twice does no harm.
                        let restarted = instance.replace(now) != Some(now);
                        self.metrics.media_up.set(1);
                        self.tell_all(&MediaNews::Up { restarted });
                        self.reconcile(&mut left).await;
                    }
                    Ok(Notice::Disconnected) => {
                        warn!("mediad cannot be reached: relayed calls are refused until it can");
                        self.metrics.media_up.set(0);
                        self.tell_all(&MediaNews::Down);
                    }
                    Ok(Notice::Event(media::Event::Timeout { id, .. })) => {
                        if let Some(worker) = self.worker(id) {
                            drop(worker.send(Command::News(MediaNews::Silent(id))));
                        }
                    }
                    Ok(Notice::Event(media::Event::RecordingFailed { id, reason })) => {
                        if let Some(worker) = self.worker(id) {
                            let news = MediaNews::RecordingFailed(id, reason);
                            drop(worker.send(Command::News(news)));
                        }
                    }
                    Ok(Notice::Event(media::Event::RecordingTurned { id, file })) => {
                        if let Some(worker) = self.worker(id) {
                            let news = MediaNews::RecordingTurned(id, file);
                            drop(worker.send(Command::News(news)));
                        }
                    }
                    Ok(Notice::Event(media::Event::Voice { id, event })) => {
                        if let Some(worker) = self.worker(id) {
                            drop(worker.send(Command::News(MediaNews::Voice(id, event))));
                        }
                    }
                    Ok(Notice::Event(media::Event::Learned { .. } | media::Event::Ending { .. })) => {}
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        warn!(missed, "mediad's events came too fast and some are lost");
                        // Workers ask for what they can.
                        self.tell_all(&MediaNews::Up { restarted: false });
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = sweep.tick() => {
                    self.check().await;
                    self.sweep(&mut left).await;
                }
            }
        }
    }

    /// Asks which sessions mediad has in our name: each worker compares its own; others are left of a
    /// process before this one, whose calls may still be talking.
    async fn reconcile(&self, left: &mut HashMap<SessionId, ()>) {
        let others = match self.audit().await {
            Ok(others) => others,
            Err(error) => {
                warn!(%error, "mediad does not answer: relayed calls are refused until it does");
                self.metrics.media_up.set(0);
                return self.tell_all(&MediaNews::Down);
            }
        };
        self.metrics.media_up.set(1);
        self.tell_all(&MediaNews::Up { restarted: false });
        left.clear();
        left.extend(others.into_iter().map(|id| (id, ())));
        if !left.is_empty() {
            info!(
                sessions = left.len(),
                "mediad has sessions of a former start; they go when silent"
            );
        }
    }

    /// Looks after a mediad that was too slow to be waited for, though its connection has held: nobody
    /// knows what it has closed, and what it has opened after all.
    async fn check(&self) {
        match self.audit().await {
            Ok(_) if self.metrics.media_up.get() == 0 => {
                info!("mediad answers again");
                self.metrics.media_up.set(1);
                self.tell_all(&MediaNews::Up { restarted: false });
            }
            Ok(_) => {}
            Err(error) => debug!(%error, "mediad does not tell its sessions"),
        }
    }

    /// Has each worker compare which of its sessions mediad has. Tells those that are of no worker.
    async fn audit(&self) -> Result<Vec<SessionId>, RequestError> {
        let request = media::Request::List {
            owner: OWNER.to_owned(),
        };
        let ids = match self.client.request(request).await? {
            media::Response::Sessions(ids) => ids,
            _ => Vec::new(),
        };
        let mut own = vec![Vec::new(); self.workers.len()];
        let mut others = Vec::new();
        for id in ids {
            match self.index(id).and_then(|index| own.get_mut(index)) {
                Some(own) => own.push(id),
                None => others.push(id),
            }
        }
        for (worker, ids) in self.workers.iter().zip(own) {
            drop(worker.send(Command::News(MediaNews::Listed(ids))));
        }
        Ok(others)
    }

    async fn sweep(&self, left: &mut HashMap<SessionId, ()>) {
        let limit = self
            .policy
            .media_timeout()
            .unwrap_or_default()
            .max(LEFT)
            .as_millis();
        for id in left.keys().copied().collect::<Vec<_>>() {
            let silent = match self.client.request(media::Request::Query(id)).await {
                Ok(media::Response::Stats(stats)) => u128::from(stats.silent_ms) >= limit,
                Ok(_) => true,
                Err(RequestError::Fault(_)) => true,
                // It is away; there is time.
                Err(_) => return,
            };
            if silent {
                left.remove(&id);
                info!(session = %id, "closing a silent session of a former start");
                if let Err(error) = self.client.request(media::Request::Delete(id)).await {
                    warn!(session = %id, %error, "cannot close a session");
                }
            }
        }
    }

    fn tell_all(&self, news: &MediaNews) {
        for worker in &self.workers {
            drop(worker.send(Command::News(news.clone())));
        }
    }

    fn worker(&self, id: SessionId) -> Option<&mpsc::UnboundedSender<Command>> {
        self.workers.get(self.index(id)?)
    }

    fn index(&self, id: SessionId) -> Option<usize> {
        let SessionId(bytes) = id;
        let rest = bytes.strip_prefix(&self.mark)?;
        Some(usize::from(u16::from_be_bytes([
            *rest.first()?,
            *rest.get(1)?,
        ])))
    }
}

#[cfg(test)]
mod tests {
    use control::{
        Endpoint, Fault,
        channel::{Events, Handler, serve},
    };

    use parking_lot::Mutex;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Tells its sessions, and is too slow at first.
    struct Mediad {
        sessions: Vec<SessionId>,
        slow: Mutex<u32>,
    }

    impl Handler<Media> for Mediad {
        fn handle(
            &self,
            request: media::Request,
        ) -> impl Future<Output = Result<media::Response, Fault>> + Send + 'static {
            assert!(matches!(request, media::Request::List { .. }));
            let mut slow = self.slow.lock();
            let wait = if *slow > 0 { SWEEP } else { Duration::ZERO };
            *slow = slow.saturating_sub(1);
            let sessions = media::Response::Sessions(self.sessions.clone());
            async move {
                sleep(wait).await;
                Ok(sessions)
            }
        }
    }

    /// Hears what the only worker is told, until `heard` has what it waits for.
    async fn hear(slow: u32, mut heard: impl FnMut(MediaNews) -> bool) {
        let mark = [7; 6];
        let (listener, endpoint) = Endpoint::memory();
        let mediad = Arc::new(Mediad {
            sessions: vec![of_the_worker(mark)],
            slow: Mutex::new(slow),
        });
        tokio::spawn(serve(listener, mediad, Events::new()));
        let (worker, mut told) = mpsc::unbounded_channel();
        let client = Client::connect(endpoint);
        let notices = client.notices();
        let config = control::Config::parse("", []).unwrap().config;
        let hub = Hub {
            client,
            workers: vec![worker],
            metrics: Arc::new(Metrics::new().unwrap()),
            mark,
            policy: Arc::new(Policy::new(&config, Vec::new(), 1)),
        };
        tokio::spawn(hub.run(notices));
        let hearing = async {
            while let Some(Command::News(news)) = told.recv().await {
                if heard(news) {
                    return;
                }
            }
        };
        timeout(10 * SWEEP, hearing).await.unwrap();
    }

    fn of_the_worker(mark: [u8; 6]) -> SessionId {
        let mut id = [0; 16];
        id[..mark.len()].copy_from_slice(&mark);
        SessionId(id)
    }

    #[tokio::test(start_paused = true)]
    async fn workers_hear_again_and_again_which_sessions_there_are() {
        // At the start they may be told up to three times.
        let mut lists = 0;
        hear(0, |news| {
            if let MediaNews::Listed(ids) = news {
                assert_eq!(ids, [of_the_worker([7; 6])]);
                lists += 1;
            }
            lists == 6
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_mediad_that_was_too_slow_at_first_is_up_when_it_answers() {
        // Asked at the start, when the channel is up, and at the first look.
        let mut was_down = false;
        hear(3, |news| {
            was_down |= news == MediaNews::Down;
            was_down && news == MediaNews::Up { restarted: false }
        })
        .await;
    }
}
