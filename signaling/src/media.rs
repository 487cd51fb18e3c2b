//! News of mediad for the workers, and the sessions that a former process of this node left there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use control::{
    Client, Notice,
    media::{self, Media, SessionId},
};
use tokio::{
    sync::{broadcast, mpsc},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{
    call::{MediaNews, OWNER},
    metrics::Metrics,
    worker::Command,
};

/// How often left sessions are looked at.
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
    pub(crate) timeout: Duration,
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
                    Ok(Notice::Event(media::Event::Learned { .. })) => {}
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        warn!(missed, "mediad's events came too fast and some are lost");
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = sweep.tick() => self.sweep(&mut left).await,
            }
        }
    }

    /// Asks which sessions mediad has in our name: each worker compares its own; others are left of a
    /// process before this one, whose calls may still be talking.
    async fn reconcile(&self, left: &mut HashMap<SessionId, ()>) {
        let request = media::Request::List {
            owner: OWNER.to_owned(),
        };
        let ids = match self.client.request(request).await {
            Ok(media::Response::Sessions(ids)) => ids,
            Ok(_) => Vec::new(),
            Err(error) => {
                warn!(%error, "mediad does not answer: relayed calls are refused until it does");
                self.metrics.media_up.set(0);
                return self.tell_all(&MediaNews::Down);
            }
        };
        self.metrics.media_up.set(1);
        self.tell_all(&MediaNews::Up { restarted: false });
        let mut own = vec![Vec::new(); self.workers.len()];
        left.clear();
        for id in ids {
            match self.index(id).and_then(|index| own.get_mut(index)) {
                Some(own) => own.push(id),
                None => drop(left.insert(id, ())),
            }
        }
        if !left.is_empty() {
            info!(
                sessions = left.len(),
                "mediad has sessions of a former start; they go when silent"
            );
        }
        for (worker, ids) in self.workers.iter().zip(own) {
            drop(worker.send(Command::News(MediaNews::Listed(ids))));
        }
    }

    async fn sweep(&self, left: &mut HashMap<SessionId, ()>) {
        let limit = self.timeout.max(LEFT).as_millis();
        for id in left.keys().copied().collect::<Vec<_>>() {
            let silent = match self.client.request(media::Request::Query(id)).await {
                Ok(media::Response::Stats(stats)) => u128::from(stats.silent_ms) >= limit,
                Ok(_) => true,
                Err(control::channel::RequestError::Fault(_)) => true,
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
