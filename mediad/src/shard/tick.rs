//! What a shard looks after four times a second.

use std::sync::atomic::Ordering;

use control::media::Event;
use tracing::info;

use super::Shard;
use crate::io::{PacketIo, is_local};

const SECOND: u64 = 1_000_000_000;

/// Pairs whose sockets are closed on a tick at most, when nobody has needed them for long: less than a millisecond.
const CLOSED: usize = 16;

impl<I: PacketIo> Shard<I> {
    pub(super) fn tick(&mut self, now: u64) {
        self.look_after_slots(now);
        self.look_after_sources();
        self.report_silence(now);
        self.close_idle(now);
        self.report_to_parties(now);
        self.pierce();
        let copies = &self.relay.copies;
        self.gauges.copied.store(copies.sent, Ordering::Relaxed);
        self.gauges
            .copies_lost
            .store(copies.lost, Ordering::Relaxed);
        self.gauges
            .publish(&self.relay.outcomes, &self.io.counters());
    }

    /// Opens the way back for parties that have sent nothing yet.
    fn pierce(&mut self) {
        for (_, session) in self.relay.sessions_mut() {
            for leg in &session.legs {
                let is_wanted = leg.handling.pierces && leg.learner.source().is_none();
                if let Some(to) = leg.learner.destination().filter(|_| is_wanted) {
                    self.io.send(leg.port, to, &[]);
                }
            }
        }
    }

    /// Closes sockets that were kept for nobody.
    fn close_idle(&mut self, now: u64) {
        self.pool.look_for(is_local);
        self.pool.allow_more();
        for _ in 0..CLOSED {
            let Some(port) = self.pool.forget_idle(now) else {
                break;
            };
            self.close_pair(port);
            self.publish_load();
        }
    }

    /// Tells of sessions in which neither party has sent although one should.
    fn report_silence(&mut self, now: u64) {
        let limit = u64::try_from(self.config.set.timeout.as_nanos()).unwrap_or(u64::MAX);
        if limit == 0 {
            return;
        }
        for (_, session) in self.relay.sessions_mut() {
            let Some(silence) = session.silence(now) else {
                continue;
            };
            if session.timed_out || silence < limit {
                continue;
            }
            session.timed_out = true;
            let silent = u32::try_from(silence / SECOND).unwrap_or(u32::MAX);
            info!(session = %session.id, silent, "no media from either party");
            self.gauges.timeouts.fetch_add(1, Ordering::Relaxed);
            self.events.push(Event::Timeout {
                id: session.id,
                silent,
            });
        }
    }
}
