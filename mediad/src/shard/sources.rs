//! Which sources the parties have sent from, as far as they have changed.

use std::sync::atomic::Ordering;

use super::{Offload, Shard};
use crate::io::PacketIo;
use crate::session::{Ended, Leg};

impl<I: PacketIo> Shard<I> {
    /// Takes note of sources that have ended in this turn.
    pub(super) fn take_ended(&mut self) {
        if self.relay.ended.is_empty() {
            return;
        }
        let mut ended = std::mem::take(&mut self.relay.ended);
        self.end_sources(&ended);
        ended.clear();
        self.relay.ended = ended;
    }

    /// Takes note of sources that have ended.
    pub(super) fn end_sources(&mut self, all: &[Ended]) {
        for Ended { port, flow } in all {
            let index = self.index_of(*port);
            let Some(leg) = self.relay.leg_mut(index) else {
                continue;
            };
            if let Some(offload) = self.offload.as_ref()
                && leg.received.xdp_since.is_some()
            {
                leg.received.rtp = offload.flows.read(*port);
            }
            leg.received.end_source(flow);
            keep(self.offload.as_ref(), leg);
            self.gauges.sources_ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Looks for sources that have ended without a word.
    pub(super) fn look_after_sources(&mut self) {
        for (_, session) in self.relay.sessions_mut() {
            for leg in &mut session.legs {
                let missed = leg.received.catch_up();
                if missed != 0 {
                    keep(self.offload.as_ref(), leg);
                    let missed = u64::from(missed);
                    self.gauges
                        .sources_untold
                        .fetch_add(missed, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Lets what is known of a leg's sources outlive this process, as what it has received does.
fn keep(offload: Option<&Offload>, leg: &Leg) {
    if let Some((offload, sources)) = offload.zip(leg.received.sources.as_deref()) {
        offload.sources.write(leg.local.port(), sources);
    }
}
