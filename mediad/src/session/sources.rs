//! What each synchronisation source of a party has sent.

use control::media::{FlowStats, OtherSources, SourceStats};
use ebpf_abi::{Flow, Rtp, Source, Sources};

use super::{Leg, Losses, Reception};

/// How a source of RTP has ended: what its leg had received until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// The local port.
    pub(crate) port: u16,
    pub(crate) flow: Flow,
}

impl Leg {
    /// As [`stats`](Self::stats), with the sources.
    pub(crate) fn full_stats(&self, other: &Self, now: u64) -> FlowStats {
        let mut stats = self.stats(other, now);
        if stats.ssrc.is_none() {
            return stats;
        }
        let none = Sources::default();
        let sources = self.received.sources.as_deref().unwrap_or(&none);
        let told = sources.of(&self.received.rtp);
        stats.sources = told
            .map(|source| self.source(other, &source, now))
            .collect();
        if let Some((others, count)) = sources.others() {
            stats.other_sources = OtherSources {
                count,
                packets: others.packets,
                bytes: others.octets,
                lost: others.lost(),
            };
        }
        stats
    }

    fn source(&self, other: &Self, source: &Source, now: u64) -> SourceStats {
        let losses = Losses {
            expected: source.expected,
            lost: source.lost(),
            gaps: source.gaps.into(),
            late: source.late.into(),
        };
        let since = |then: u64| now.saturating_sub(then) / 1_000_000;
        #[expect(clippy::cast_possible_truncation, reason = "a ratio of small counters")]
        let burst_ratio = source.burst_ratio() as f32;
        SourceStats {
            ssrc: source.ssrc,
            packets: source.packets,
            bytes: source.octets,
            lost: losses.lost,
            duplicates: source.duplicates.into(),
            reordered: source.reordered.into(),
            late: losses.late,
            burst_ratio,
            longest_gap_ms: source.longest_gap_ms(),
            jitter_us: source.jitter / 1000,
            highest_sequence: source.highest,
            first_seen_ms: since(source.began),
            last_seen_ms: since(source.last),
            mos: self.mos_with(other, losses, source.jitter),
        }
    }
}

impl Reception {
    /// Counts RTP of `octets` that came at `now`. What was counted before, where it ends a source and may be told.
    pub(crate) fn record(&mut self, rtp: Rtp, octets: u32, now: u64) -> Option<Flow> {
        let flow = &mut self.rtp;
        let ends = flow.is_ended_by(rtp.ssrc) && flow.admits_telling(now);
        let before = ends.then_some(*flow);
        flow.record_rtp(rtp, octets, now, self.tick);
        before
    }

    /// A source has ended, when the leg had received `flow`. What was another session's on the same port is ahead of
    /// what this one has received.
    pub(crate) fn end_source(&mut self, flow: &Flow) {
        let is_its_own = flow.packets <= self.rtp.packets && flow.changes < self.rtp.changes;
        if is_its_own {
            self.sources.get_or_insert_default().end(flow);
        }
    }

    /// Counts what was not told of, where nothing can be told any more.
    pub(crate) fn sum_up(&mut self) {
        if self.rtp.changes != 0 {
            self.sources.get_or_insert_default().catch_up(&self.rtp);
        }
    }

    /// Looks for sources that have ended without a word, as where the ring was full or there is none; how many. What was not
    /// told a look later will not be.
    pub(crate) fn catch_up(&mut self) -> u32 {
        let flow = &self.rtp;
        let is_behind = match &self.sources {
            Some(sources) => sources.is_behind(flow),
            None => flow.changes != 0,
        };
        let is_due = std::mem::replace(&mut self.is_behind, is_behind) && is_behind;
        if !is_due {
            return 0;
        }
        self.is_behind = false;
        self.sources.get_or_insert_default().catch_up(flow)
    }
}
