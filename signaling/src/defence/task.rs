//! What follows from a ban outside of the defence: the log, the metrics, connections that are open,
//! and the XDP program.

use std::{sync::Arc, time::Duration};

use control::{
    Client,
    channel::Events,
    config::Transport,
    media::Media,
    signal::{Event, Signal},
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{
    Change, Defence, command,
    kernel::{Kernel, Untold},
};
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
    pub(crate) media: Client<Media>,
    /// Where this node receives SIP.
    pub(crate) ports: Vec<u16>,
    pub(crate) events: Events<Signal>,
}

impl Guard {
    /// Runs for ever.
    pub(crate) async fn run(self) {
        let untold = Arc::new(Untold::default());
        let kernel = Kernel::new(
            self.media.clone(),
            self.ports.clone(),
            self.defence.clone(),
            untold.clone(),
        );
        tokio::join!(self.act(&untold), kernel.run());
    }

    /// What follows in this process, which waits for nobody.
    async fn act(&self, untold: &Untold) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lines = 0;
        loop {
            tokio::select! {
                () = self.defence.changed() => match self.defence.take_changes() {
                    Some(changes) => {
                        self.follow(&changes, &mut lines);
                        untold.add(&changes);
                    }
                    None => {
                        let is_banned =
                            |address| self.defence.is_banned(now(), address, Transport::Tcp);
                        self.network.close(is_banned);
                        untold.lose();
                    }
                },
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

    fn follow(&self, changes: &[Change], lines: &mut usize) {
        for change in changes {
            self.tell(change);
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

    fn tell(&self, change: &Change) {
        if !self.events.has_listeners() {
            return;
        }
        match change {
            Change::Banned(block, ban) => {
                let ban = command::info(now(), *block, ban);
                self.events.push(Event::Banned(ban));
            }
            Change::Lifted(block) => {
                let source = command::shown(*block);
                self.events.push(Event::Lifted { source });
            }
            Change::Moved(..) => {}
        }
    }
}

pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests;
