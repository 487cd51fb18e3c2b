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
    timeouts: IntCounter,
    offloaded: IntGauge,
    copies: IntCounterVec,
    mos: Histogram,
    jitter: Histogram,
    loss: Histogram,
    longest_gap: Histogram,
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
            let loss = flow.lost as f64 / (flow.lost + flow.packets).max(1) as f64;
            self.loss.observe(loss);
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
        let sum = |read: &dyn Fn(&ShardGauges) -> u64| shards.iter().map(|shard| read(shard)).sum();
        let io = datapath.io.path().name();
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
        self.refresh_xdp(datapath);
        self.sessions.set(signed(status.sessions));
        self.adopted.set(signed(status.adopted));
        self.draining.set(status.draining.into());
        self.ports.set(status.ports.into());
        self.ports_used.set(status.ports_used.into());
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

    fn refresh_xdp(&self, datapath: &Datapath) {
        let Some(counters) = datapath.counters() else {
            return;
        };
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
        let path = datapath.path.name();
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
