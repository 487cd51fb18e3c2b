//! Bans told to mediad, whose XDP program drops what banned sources send before the kernel makes a
//! packet of it.
//!
//! mediad may be away, or take its time. So it has a task of its own here, and what it was not told yet waits
//! for it in a table of bounded size: nothing else that follows from a ban waits for mediad.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use control::{
    Client, Notice,
    config::Cidr,
    media::{BanOf, Bans, Block, Guarded, Media, Request, Response},
};
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{debug, info, warn};

use super::{Change, Defence, task::now};

/// Bans in one request.
const CHUNK: usize = 1_024;
/// Blocks of which something may wait to be told; beyond that, mediad is told all anew.
const UNTOLD: usize = 16_384;
/// How long mediad may take to answer one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a mediad that does not know all is told it.
const TICK: Duration = Duration::from_secs(1);

/// What mediad was not told yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    pending: Mutex<Pending>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// The latest of each block.
    blocks: HashMap<Cidr, Latest>,
    /// There was more than there is room for.
    overrun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Latest {
    /// Banned until then, but for one datagram in so long; zero for none.
    Banned(Instant, Duration),
    Lifted,
}

impl Untold {
    /// To be told as soon as mediad listens.
    pub(super) fn add(&self, changes: &[Change]) {
        let mut pending = self.pending();
        for change in changes {
            let (block, latest) = match change {
                Change::Banned(block, ban) => (block, Latest::Banned(ban.until, ban.trickle)),
                // Only bans that let nothing through move.
                Change::Moved(block, until) => (block, Latest::Banned(*until, Duration::ZERO)),
                Change::Lifted(block) => (block, Latest::Lifted),
            };
            pending.blocks.insert(*block, latest);
        }
        if pending.blocks.len() > UNTOLD {
            pending.blocks = HashMap::new();
            pending.overrun = true;
        }
        drop(pending);
        self.added.notify_one();
    }

    /// Nobody knows what has changed: mediad is to be told all.
    pub(super) fn lose(&self) {
        self.pending().overrun = true;
        self.added.notify_one();
    }

    /// All of it; `None` where there was too much.
    fn take(&self) -> Option<HashMap<Cidr, Latest>> {
        let pending = std::mem::take(&mut *self.pending());
        (!pending.overrun).then_some(pending.blocks)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Nothing panics while it holds the lock.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// mediad's side of the bans.
#[derive(Debug)]
pub(super) struct Kernel {
    client: Client<Media>,
    /// Where this node receives SIP.
    ports: Vec<u16>,
    defence: Arc<Defence>,
    untold: Arc<Untold>,
    /// Whether mediad knows all that came before.
    in_step: bool,
    told: bool,
}

impl Kernel {
    pub(super) const fn new(
        client: Client<Media>,
        ports: Vec<u16>,
        defence: Arc<Defence>,
        untold: Arc<Untold>,
    ) -> Self {
        Self {
            client,
            ports,
            defence,
            untold,
            in_step: false,
            told: false,
        }
    }

    /// Runs until the control channel is closed.
    pub(super) async fn run(mut self) {
        let mut notices = self.client.notices();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.untold.added.notified() => match self.untold.take() {
                    Some(changes) => self.follow(&changes).await,
                    None => {
                        self.in_step = false;
                        self.catch_up().await;
                    }
                },
                notice = notices.recv() => match notice {
                    // They are of sessions, and an end is followed by the loss of the channel.
                    Ok(Notice::Event(_)) => {}
                    Err(RecvError::Closed) => return,
                    Ok(Notice::Disconnected) => self.in_step = false,
                    // mediad may be another one now; and a notice that was missed may have been of that.
                    Ok(Notice::Connected { .. }) | Err(RecvError::Lagged(_)) => {
                        self.in_step = false;
                        self.catch_up().await;
                    }
                },
                _ = tick.tick() => self.catch_up().await,
            }
        }
    }

    /// Tells mediad all that there is, where it does not know it.
    async fn catch_up(&mut self) {
        if self.in_step {
            return;
        }
        // All that waits is in the list; what comes while that is told is told after it.
        self.untold.take();
        let now = now();
        let bans = self.defence.list(now);
        let mut bans = bans
            .iter()
            .map(|(block, ban)| ban_of(now, *block, ban.until, ban.trickle));
        let allow = self.defence.allowed();
        let mut next = Bans {
            anew: Some(Guarded {
                ports: self.ports.clone(),
                allow: allow.into_iter().map(block_of).collect(),
            }),
            lift: Vec::new(),
            ban: bans.by_ref().take(CHUNK).collect(),
        };
        loop {
            self.in_step = self.tell(next).await;
            let ban: Vec<_> = bans.by_ref().take(CHUNK).collect();
            if ban.is_empty() || !self.in_step {
                return;
            }
            next = Bans {
                ban,
                ..Bans::default()
            };
        }
    }

    /// Tells mediad what has changed; one that does not know what came before is told all later.
    async fn follow(&mut self, changes: &HashMap<Cidr, Latest>) {
        let now = now();
        let mut changes = changes.iter();
        while self.in_step {
            let mut bans = Bans::default();
            for (block, latest) in changes.by_ref().take(CHUNK) {
                match latest {
                    Latest::Banned(until, trickle) => {
                        bans.ban.push(ban_of(now, *block, *until, *trickle));
                    }
                    Latest::Lifted => bans.lift.push(block_of(*block)),
                }
            }
            if bans == Bans::default() {
                return;
            }
            self.in_step = self.tell(bans).await;
        }
    }

    async fn tell(&mut self, bans: Bans) -> bool {
        let asked = self.client.request(Request::Bans(bans));
        match timeout(PATIENCE, asked).await {
            Ok(Ok(Response::Banned { in_force, missed })) => {
                if missed > 0 {
                    warn!(
                        missed,
                        "the XDP program has no room for more bans: signaling refuses them"
                    );
                }
                if !std::mem::replace(&mut self.told, true) {
                    info!(in_kernel = in_force, "bans are told to mediad");
                }
                true
            }
            Ok(Ok(other)) => {
                debug!(?other, "mediad gave an answer that does not fit");
                false
            }
            // It is told all again when it is back.
            Ok(Err(error)) => {
                debug!(%error, "cannot tell mediad who is banned");
                false
            }
            Err(_) => {
                debug!("mediad does not say whether it knows who is banned");
                false
            }
        }
    }
}

fn ban_of(now: Instant, block: Cidr, until: Instant, trickle: Duration) -> BanOf {
    let left = until.saturating_duration_since(now).as_millis();
    BanOf {
        block: block_of(block),
        for_ms: u64::try_from(left).unwrap_or(u64::MAX),
        trickle_us: u32::try_from(trickle.as_micros()).unwrap_or(u32::MAX),
    }
}

fn block_of(block: Cidr) -> Block {
    Block {
        address: block.address(),
        prefix: block.prefix(),
    }
}

#[cfg(test)]
pub(super) mod tests;
