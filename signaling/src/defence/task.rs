//! What follows from a ban outside of the defence: the log, the metrics, connections that are open,
//! and the XDP program.

use std::{sync::Arc, time::Duration};

use control::{
    Client, Notice,
    config::Transport,
    media::{self, Media},
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{Change, Defence, kernel::Kernel};
use crate::{metrics::Metrics, net::Network};

/// How often bans that are over are taken out, and mediad is told what it missed.
const TICK: Duration = Duration::from_secs(1);
/// Bans that are logged in a second, one line each; of the others only the number is.
const LINES: usize = 10;

/// What the task works with.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) defence: Arc<Defence>,
    pub(crate) network: Network,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) media: Client<Media>,
    /// Where this node receives SIP.
    pub(crate) ports: Vec<u16>,
}

impl Guard {
    /// Runs for ever.
    pub(crate) async fn run(self) {
        let mut notices = self.media.notices();
        let mut kernel = Kernel::new(self.media.clone(), self.ports.clone());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lines = 0;
        loop {
            tokio::select! {
                () = self.defence.changed() => match self.defence.take_changes() {
                    Some(changes) => {
                        self.follow(&changes, &mut lines);
                        kernel.follow(now(), &changes).await;
                    }
                    None => {
                        let is_banned =
                            |address| self.defence.is_banned(now(), address, Transport::Tcp);
                        self.network.close(is_banned);
                        kernel.lose();
                        kernel.catch_up(now(), &self.defence).await;
                    }
                },
                notice = notices.recv() => match notice {
                    Ok(Notice::Event(media::Event::Learned { .. } | media::Event::Timeout { .. })) => {}
                    Err(RecvError::Closed) => return,
                    Ok(Notice::Disconnected) => kernel.lose(),
                    // A notice that was missed may have been that of another mediad.
                    Ok(Notice::Connected { .. }) | Err(RecvError::Lagged(_)) => {
                        kernel.lose();
                        kernel.catch_up(now(), &self.defence).await;
                    }
                },
                _ = tick.tick() => {
                    self.defence.expire(now());
                    kernel.catch_up(now(), &self.defence).await;
                    if lines > LINES {
                        warn!(bans = lines - LINES, "more sources were banned in the same second");
                    }
                    lines = 0;
                }
            }
            let active = i64::try_from(self.defence.active()).unwrap_or(i64::MAX);
            self.metrics.bans_active.set(active);
        }
    }

    fn follow(&self, changes: &[Change], lines: &mut usize) {
        for change in changes {
            let Change::Banned(block, ban) = change else {
                continue;
            };
            self.metrics.banned(ban.reason.name());
            *lines += 1;
            if *lines <= LINES {
                let seconds = ban.until.saturating_duration_since(ban.since).as_secs();
                match ban.trickle.is_zero() {
                    true => info!(source = %block, reason = %ban.reason, seconds, "banned"),
                    false => info!(source = %block, seconds, "a flood: held to a trickle"),
                }
            }
            if ban.trickle.is_zero() {
                self.network.close(|address| block.contains(address));
            }
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
