//! Bans told to mediad, whose XDP program drops what banned sources send before the kernel makes a
//! packet of it.

use std::time::{Duration, Instant};

use control::{
    Client,
    config::Cidr,
    media::{BanOf, Bans, Block, Guarded, Media, Request, Response},
};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::{Change, Defence};

/// Bans in one request.
const CHUNK: usize = 1_024;
/// How long mediad may take to answer one.
const PATIENCE: Duration = Duration::from_secs(5);

/// mediad's side of the bans.
#[derive(Debug)]
pub(super) struct Kernel {
    client: Client<Media>,
    /// Where this node receives SIP.
    ports: Vec<u16>,
    /// Whether mediad knows all that came before.
    in_step: bool,
    told: bool,
}

impl Kernel {
    pub(super) const fn new(client: Client<Media>, ports: Vec<u16>) -> Self {
        Self {
            client,
            ports,
            in_step: false,
            told: false,
        }
    }

    /// mediad may be another one now.
    pub(super) const fn lose(&mut self) {
        self.in_step = false;
    }

    /// Tells mediad all that there is, where it does not know it.
    pub(super) async fn catch_up(&mut self, now: Instant, defence: &Defence) {
        if self.in_step {
            return;
        }
        let bans = defence.list(now);
        let mut bans = bans
            .iter()
            .map(|(block, ban)| ban_of(now, *block, ban.until, ban.trickle));
        let first = Bans {
            anew: Some(Guarded {
                ports: self.ports.clone(),
                allow: defence.allowed().into_iter().map(block_of).collect(),
            }),
            lift: Vec::new(),
            ban: bans.by_ref().take(CHUNK).collect(),
        };
        self.in_step = self.tell(first).await;
        while self.in_step {
            let ban: Vec<_> = bans.by_ref().take(CHUNK).collect();
            if ban.is_empty() {
                return;
            }
            self.in_step = self
                .tell(Bans {
                    ban,
                    ..Bans::default()
                })
                .await;
        }
    }

    /// Tells mediad what has changed.
    pub(super) async fn follow(&mut self, now: Instant, changes: &[Change]) {
        for chunk in changes.chunks(CHUNK) {
            if !self.in_step {
                return;
            }
            let mut bans = Bans::default();
            // Of several changes of one block the last is what counts.
            for change in chunk {
                let (Change::Banned(block, _) | Change::Moved(block, _) | Change::Lifted(block)) =
                    change;
                let block = block_of(*block);
                bans.ban.retain(|ban| ban.block != block);
                bans.lift.retain(|lift| *lift != block);
                match change {
                    Change::Banned(block, ban) => {
                        bans.ban.push(ban_of(now, *block, ban.until, ban.trickle));
                    }
                    // Only bans that let nothing through move.
                    Change::Moved(block, until) => {
                        bans.ban.push(ban_of(now, *block, *until, Duration::ZERO));
                    }
                    Change::Lifted(_) => bans.lift.push(block),
                }
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
