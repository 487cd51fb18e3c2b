//! What follows from a ban outside of the defence: the log, the metrics, connections that are open.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{Change, Defence};
use crate::{metrics::Metrics, net::Network};

/// How often bans that are over are taken out.
const TICK: Duration = Duration::from_secs(1);
/// Bans that are logged in a second, one line each; of the others only the number is.
const LINES: usize = 10;

/// What the task works with.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) defence: Arc<Defence>,
    pub(crate) network: Network,
    pub(crate) metrics: Arc<Metrics>,
}

impl Guard {
    /// Runs for ever.
    pub(crate) async fn run(self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lines = 0;
        loop {
            tokio::select! {
                () = self.defence.changed() => self.follow(&mut lines),
                _ = tick.tick() => {
                    self.defence.expire(now());
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

    fn follow(&self, lines: &mut usize) {
        let Some(changes) = self.defence.take_changes() else {
            warn!("bans changed faster than they can be followed: looking at all of them");
            self.network
                .close(|address| self.defence.is_banned(now(), address));
            return;
        };
        for change in changes {
            let Change::Banned(block, ban) = change else {
                continue;
            };
            self.metrics.banned(ban.reason.name());
            *lines += 1;
            if *lines <= LINES {
                let seconds = ban.until.saturating_duration_since(ban.since).as_secs();
                info!(source = %block, reason = %ban.reason, seconds, "banned");
            }
            self.network.close(|address| block.contains(address));
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
