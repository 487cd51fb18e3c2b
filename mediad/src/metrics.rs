//! What mediad tells Prometheus. The shards publish plain numbers; they are put into the registry
//! when somebody asks.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use control::media::{MediaStatus, Path, SessionStats};
use ebpf_abi::{Counter, CounterKind};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use tracing::warn;

use crate::counters::{Outcome, ShardGauges};
use crate::datapath::Datapath;
use crate::xdp::Counters;

/// The metrics of an engine.
pub(crate) struct Metrics {
    registry: Registry,
    mode: IntGaugeVec,
    packets: IntCounterVec,
    xdp: IntCounterVec,
    io: IntCounterVec,
    sessions: IntGauge,
    sessions_total: IntCounterVec,
    adopted: IntGauge,
    draining: IntGauge,
    ports: IntGauge,
    ports_used: IntGauge,
    ports_kept: IntGauge,
    ports_busy: IntCounter,
    learned: IntCounter,
    sources_ended: IntCounterVec,
    timeouts: IntCounter,
    offloaded: IntGauge,
    copies: IntCounterVec,
    mos: Histogram,
    jitter: Histogram,
    loss: Histogram,
    longest_gap: Histogram,
    rtt: Histogram,
    late: Histogram,
    burst_ratio: Histogram,
    /// Counters are brought up by the difference, by one caller at a time.
    refreshing: Mutex<()>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help, labels: &[&str]| {
            let vector = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vector.clone())).map(|()| vector)
        };
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry
                .register(Box::new(counter.clone()))
                .map(|()| counter)
        };
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let mode = IntGaugeVec::new(
            Opts::new(
                "tandem_datapath_mode",
                "1 for the path that media packets take at best",
            ),
            &["mode"],
        )?;
        registry.register(Box::new(mode.clone()))?;
        let histogram = |name, help, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = Histogram::with_opts(options)?;
            registry
                .register(Box::new(histogram.clone()))
                .map(|()| histogram)
        };
        Ok(Self {
            mode,
            mos: histogram(
                "tandem_media_mos",
                "Estimated mean opinion score (G.107) of each direction, when its session ends",
                &[1.5, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.2, 4.3, 4.4],
            )?,
            jitter: histogram(
                "tandem_media_jitter_seconds",
                "Interarrival jitter (RFC 3550) of each direction, when its session ends",
                &[
                    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2,
                ],
            )?,
            loss: histogram(
                "tandem_media_loss_ratio",
                "Part of the RTP packets of each direction that were lost before this node, when its session ends",
                &[0.0, 0.000_1, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
            )?,
            longest_gap: histogram(
                "tandem_media_longest_gap_seconds",
                "The longest time between two RTP packets of each direction, when its session ends",
                &[0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0],
            )?,
            rtt: histogram(
                "tandem_media_rtt_seconds",
                "Time to each party and back, where RTCP told of it, when its session ends",
                &[
                    0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0,
                ],
            )?,
            late: histogram(
                "tandem_media_late_ratio",
                "Part of the RTP packets of each direction that came too late for a jitter buffer of 60 ms, when its session ends",
                &[0.0, 0.000_1, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
            )?,
            burst_ratio: histogram(
                "tandem_media_burst_ratio",
                "How much longer the runs of lost packets of each direction were than by chance (G.107), when its session ends",
                &[1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0],
            )?,
            packets: counters(
                "tandem_media_packets_total",
                "Packets on media ports, by the path they took and what became of them",
                &["path", "result"],
            )?,
            xdp: counters(
                "tandem_xdp_packets_total",
                "Packets that the XDP program saw, by what it did and why",
                &["action", "reason"],
            )?,
            io: counters(
                "tandem_media_io_total",
                "What the shards' packet I/O met",
                &["event"],
            )?,
            sessions: gauge("tandem_media_sessions", "Media sessions now")?,
            sessions_total: counters(
                "tandem_media_sessions_total",
                "Requests for a media session, by result",
                &["result"],
            )?,
            adopted: gauge(
                "tandem_media_sessions_adopted",
                "Sessions taken over from the process before this one",
            )?,
            draining: gauge("tandem_media_draining", "1 while no new sessions are taken")?,
            ports: gauge("tandem_media_ports", "UDP ports configured for media")?,
            ports_used: gauge("tandem_media_ports_used", "UDP ports in use for media")?,
            ports_kept: gauge(
                "tandem_media_ports_kept",
                "Free UDP ports whose sockets are kept for the next sessions",
            )?,
            ports_busy: counter(
                "tandem_media_ports_busy_total",
                "Times that another process had a media port",
            )?,
            learned: counter(
                "tandem_media_sources_learned_total",
                "Sources of media learned",
            )?,
            sources_ended: counters(
                "tandem_media_sources_ended_total",
                "Synchronisation sources of which another one took the place: told apart, or only in a sum with others",
                &["told"],
            )?,
            timeouts: counter(
                "tandem_media_timeouts_total",
                "Sessions reported for silence of both parties",
            )?,
            offloaded: gauge(
                "tandem_media_legs_offloaded",
                "Legs whose packets the XDP program forwards now",
            )?,
            copies: counters(
                "tandem_media_copies_total",
                "Copies of packets for those who hear a party beside the other one, by result",
                &["result"],
            )?,
            registry: registry.clone(),
            refreshing: Mutex::new(()),
        })
    }

    /// Counts a request for a session.
    pub(crate) fn created(&self, done: bool) {
        self.sessions_total
            .with_label_values(&[if done { "ok" } else { "refused" }])
            .inc();
    }

    /// Notes the quality of a session that has ended.
    pub(crate) fn ended(&self, stats: &SessionStats) {
        for flow in [&stats.from_a, &stats.from_b] {
            // Too little of it says nothing.
            let Some(mos) = flow.mos else {
                continue;
            };
            self.mos.observe(mos.into());
            self.jitter.observe(f64::from(flow.jitter_us) / 1e6);
            #[expect(clippy::cast_precision_loss, reason = "a ratio of counters")]
            let part = |of: u64, all: u64| of as f64 / all.max(1) as f64;
            self.loss.observe(part(flow.lost, flow.lost + flow.packets));
            self.late.observe(part(flow.late, flow.packets));
            self.burst_ratio.observe(flow.burst_ratio.into());
            if let Some(us) = flow.rtt_us {
                self.rtt.observe(f64::from(us) / 1e6);
            }
            self.longest_gap
                .observe(f64::from(flow.longest_gap_ms) / 1e3);
        }
    }

    /// Takes the shards' and the program's numbers in.
    pub(crate) fn refresh(
        &self,
        status: &MediaStatus,
        datapath: &Datapath,
        shards: &[&ShardGauges],
    ) {
        let _one_at_a_time = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for path in [Path::Xdp, Path::XdpGeneric, Path::IoUring, Path::Sockets] {
            self.mode
                .with_label_values(&[path.name()])
                .set((path == status.path).into());
        }
        self.refresh_shards(datapath.io.path().name(), shards);
        if let Some(counters) = datapath.counters() {
            self.refresh_xdp(datapath.path.name(), &counters);
        }
        self.sessions.set(signed(status.sessions));
        self.adopted.set(signed(status.adopted));
        self.ports.set(status.ports.into());
        self.ports_used.set(status.ports_used.into());
        self.draining.set(status.draining.into());
    }

    /// `io` is the path of what comes to them.
    fn refresh_shards(&self, io: &str, shards: &[&ShardGauges]) {
        let sum = |read: &dyn Fn(&ShardGauges) -> u64| shards.iter().map(|shard| read(shard)).sum();
        for outcome in Outcome::ALL {
            let value = sum(&|shard| shard.outcome(outcome));
            raise(
                &self.packets.with_label_values(&[io, outcome.name()]),
                value,
            );
        }
        let names = shards.first().map(|shard| shard.io().map(|(name, _)| name));
        for name in names.into_iter().flatten() {
            let value = sum(&|shard| shard.io().find(|(n, _)| *n == name).map_or(0, |(_, v)| v));
            raise(&self.io.with_label_values(&[name]), value);
        }
        self.ports_kept.set(signed(sum(&|shard| {
            shard.ports_kept.load(Ordering::Relaxed).into()
        })));
        raise(
            &self.ports_busy,
            sum(&|shard| shard.ports_busy.load(Ordering::Relaxed)),
        );
        raise(
            &self.learned,
            sum(&|shard| shard.learned.load(Ordering::Relaxed)),
        );
        raise(
            &self.sources_ended.with_label_values(&["apart"]),
            sum(&|shard| shard.sources_ended.load(Ordering::Relaxed)),
        );
        raise(
            &self.sources_ended.with_label_values(&["sum"]),
            sum(&|shard| shard.sources_untold.load(Ordering::Relaxed)),
        );
        raise(
            &self.timeouts,
            sum(&|shard| shard.timeouts.load(Ordering::Relaxed)),
        );
        self.offloaded.set(signed(sum(&|shard| {
            shard.offloaded.load(Ordering::Relaxed)
        })));
        raise(
            &self.copies.with_label_values(&["sent"]),
            sum(&|shard| shard.copied.load(Ordering::Relaxed)),
        );
        raise(
            &self.copies.with_label_values(&["lost"]),
            sum(&|shard| shard.copies_lost.load(Ordering::Relaxed)),
        );
    }

    fn refresh_xdp(&self, path: &str, counters: &Counters) {
        for (counter, value) in counters.iter() {
            let action = match counter.kind() {
                CounterKind::Forwarded => "forwarded",
                CounterKind::Passed => "passed",
                CounterKind::Dropped => "dropped",
                CounterKind::Copied => "copied",
            };
            raise(
                &self.xdp.with_label_values(&[action, counter.name()]),
                value,
            );
        }
        let forwarded = counters.total(CounterKind::Forwarded);
        raise(
            &self
                .packets
                .with_label_values(&[path, Outcome::Forwarded.name()]),
            forwarded,
        );
        for (outcome, counter) in [
            (Outcome::Stranger, Counter::DropSource),
            (Outcome::Limited, Counter::DropRate),
            (Outcome::Stale, Counter::DropStale),
        ] {
            raise(
                &self.packets.with_label_values(&[path, outcome.name()]),
                counters.of(counter),
            );
        }
    }

    /// The page in Prometheus' text format.
    pub(crate) fn page(&self) -> String {
        let mut page = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut page) {
            warn!(%error, "cannot write the metrics page");
        }
        String::from_utf8(page).unwrap_or_default() + &control::logging::metrics()
    }
}

/// Brings a counter up to `value`.
fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::IoCounters;

    #[test]
    fn each_counter_has_a_metric() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let shard = ShardGauges::default();
        metrics.refresh_shards("io-uring", &[&shard]);
        metrics.refresh_xdp("xdp", &Counters::default());
        let page = metrics.page();
        let has = |metric: &str, labels: &str| {
            let line = format!("{metric}{{{labels}}} 0\n");
            assert!(page.contains(&line), "{line}{page}");
        };
        for counter in Counter::ALL {
            let action = match counter.kind() {
                CounterKind::Forwarded => "forwarded",
                CounterKind::Passed => "passed",
                CounterKind::Dropped => "dropped",
                CounterKind::Copied => "copied",
            };
            let labels = format!("action=\"{action}\",reason=\"{}\"", counter.name());
            has("tandem_xdp_packets_total", &labels);
        }
        for outcome in Outcome::ALL {
            let labels = format!("path=\"io-uring\",result=\"{}\"", outcome.name());
            has("tandem_media_packets_total", &labels);
        }
        // One that is added does not compile here until it has a name, too.
        let IoCounters {
            received: _,
            sent: _,
            send_failed: _,
            peer_unreachable: _,
            oversized: _,
            out_of_buffers: _,
            left_over: _,
        } = IoCounters::default();
        assert_eq!(shard.io().count(), 7);
        for (name, _) in shard.io() {
            has("tandem_media_io_total", &format!("event=\"{name}\""));
        }
        for told in ["apart", "sum"] {
            let labels = format!("told=\"{told}\"");
            has("tandem_media_sources_ended_total", &labels);
        }
        for name in [
            "tandem_media_sources_learned_total",
            "tandem_media_timeouts_total",
            "tandem_media_ports_busy_total",
            "tandem_media_ports_kept",
            "tandem_media_legs_offloaded",
        ] {
            assert!(page.contains(&format!("{name} 0\n")), "{name}");
        }
    }
}
