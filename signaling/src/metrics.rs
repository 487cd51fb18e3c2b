//! signaling's own metrics page, in Prometheus text.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use sip::message::Method;
use store::{Disk, VoiceMessageDirection, VoiceMessageStatus};

use crate::call::Proof;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To this node.
    In,
    /// From this node.
    Out,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Why something that came was not worked on, or something that should go did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It is no SIP message, or one that must not be answered.
    Malformed,
    /// The worker's queue was full.
    Overload,
    /// It was sent again while it waited to be worked on.
    Repeated,
    /// A response that belongs to no transaction.
    Stray,
    /// A response whose Via names another than this node.
    NotOurs,
    /// An ACK that belongs to nothing that this node knows.
    StrayAck,
    /// A message of a call that came from elsewhere than its party, or a response from elsewhere than its
    /// request was sent to.
    Foreign,
    /// The socket's or the connection's send queue was full.
    SendQueue,
    /// Too many connections, of one source or at all.
    ConnectionLimit,
    /// Its source is banned.
    Banned,
    /// A scanner's, by its User-Agent.
    Scanner,
    /// Its source, or its network, asks more than a stranger may.
    RateLimit,
    /// All strangers together ask more than they may.
    Strangers,
    /// An ICMP error beyond those of a second that are looked at.
    Icmp,
}

impl Dropped {
    const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Overload => "overload",
            Self::Repeated => "repeated",
            Self::Stray => "stray-response",
            Self::NotOurs => "not-ours",
            Self::StrayAck => "stray-ack",
            Self::Foreign => "foreign",
            Self::SendQueue => "send-queue",
            Self::ConnectionLimit => "connection-limit",
            Self::Banned => "banned",
            Self::Scanner => "scanner",
            Self::RateLimit => "rate-limit",
            Self::Strangers => "strangers",
            Self::Icmp => "icmp",
        }
    }
}

/// How a call ended, as `tandem_calls_total` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallResult {
    /// It was answered.
    Answered,
    /// The caller gave up.
    Cancelled,
    /// The callee's side said no, or did not pick up.
    Failed,
    /// This node refused it.
    Refused,
}

impl CallResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// How a search for a host's addresses ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// With addresses.
    Found,
    /// There are none.
    Nothing,
    /// Nobody could tell in time.
    Trouble,
    /// It was not begun: too many were under way.
    Refused,
}

impl Search {
    const fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Nothing => "nothing",
            Self::Trouble => "trouble",
            Self::Refused => "refused",
        }
    }
}

/// Every metric of one signaling instance, in a registry of its own.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    messages: IntCounterVec,
    responses: IntCounterVec,
    /// What `responses` is filled from when the page is written: a message costs one addition.
    codes: Codes,
    drops: IntCounterVec,
    calls: IntCounterVec,
    texts: IntCounterVec,
    /// Calls of the REST API that wait for the rate of their account.
    pub(crate) voice_queued: IntGauge,
    /// How long those that began had waited, in seconds.
    pub(crate) voice_queue: Histogram,
    forgotten: IntCounterVec,
    evicted: IntCounterVec,
    recordings_bytes: IntGauge,
    recordings_free: IntGauge,
    searches: IntCounterVec,
    bans: IntCounterVec,
    /// Bans in force.
    pub(crate) bans_active: IntGauge,
    /// Requests that were refused because there was too much to do.
    pub(crate) shed: IntCounter,
    trunk_calls: IntCounterVec,
    trunk_up: IntGaugeVec,
    trunk_registered: IntGaugeVec,
    limit_calls: IntGaugeVec,
    limit_calls_most: IntGaugeVec,
    /// Calls that are up, those being set up or taken down included.
    pub(crate) calls_active: IntGauge,
    /// INVITE to 200, in seconds.
    pub(crate) call_setup: Histogram,
    /// Mean opinion score of each direction of each relayed call.
    pub(crate) media_mos: Histogram,
    /// Transactions of all workers.
    pub(crate) transactions: IntGauge,
    /// Messages that could not be parsed.
    pub(crate) parse_errors: IntCounter,
    /// Messages that this node sent again because no answer came.
    pub(crate) retransmissions: IntCounter,
    connections: IntGaugeVec,
    connections_closed: IntCounterVec,
    connections_refused: IntCounterVec,
    /// TLS and WebSocket handshakes of clients that are under way.
    pub(crate) handshakes: IntGauge,
    /// TLS handshakes that failed, on either side.
    pub(crate) tls_failures: IntCounter,
    certificates: IntGaugeVec,
    disk_size: IntGauge,
    disk_available: IntGauge,
    /// Datagrams that the kernel dropped because a socket's buffer was full.
    kernel_drops: IntGaugeVec,
    /// Keepalives that were sent to registered clients.
    pub(crate) keepalives: IntCounter,
    /// Bindings that were dropped because OPTIONS were not answered.
    pub(crate) keepalives_unanswered: IntCounter,
    /// STUN binding requests that were answered.
    pub(crate) stun: IntCounter,
    /// Contacts that are registered.
    pub(crate) bindings: IntGauge,
    proofs: IntCounterVec,
    /// Whether mediad can be reached.
    pub(crate) media_up: IntGauge,
    /// Media sessions that calls hold.
    pub(crate) media_sessions: IntGauge,
    /// Requests to mediad that failed.
    pub(crate) media_errors: IntCounter,
}

/// From a call that is answered by a machine to one that rings for minutes.
const SETUP_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];
/// From none to the longest queue of an account that begins three calls a second.
const QUEUE_BUCKETS: [f64; 9] = [0.0, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 600.0, 3600.0];
/// G.107's bands of user satisfaction lie at 2.6, 3.1, 3.6, 4.0 and 4.3.
const MOS_BUCKETS: [f64; 9] = [1.0, 2.0, 2.6, 3.1, 3.6, 4.0, 4.2, 4.3, 4.5];

impl Metrics {
    /// All of them at zero.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("tandem".to_owned()), None)?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let metric = Histogram::with_opts(options)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        Ok(Self {
            messages: counters(
                "sip_messages_total",
                "SIP requests by method; a method that is not well known counts as other.",
                &["method", "direction"],
            )?,
            responses: counters(
                "sip_responses_total",
                "SIP responses by status code.",
                &["code", "direction"],
            )?,
            codes: Codes::default(),
            drops: counters(
                "sip_drops_total",
                "SIP messages and connections that were dropped, by reason.",
                &["reason"],
            )?,
            calls: counters(
                "calls_total",
                "Calls that are over, by result.",
                &["result"],
            )?,
            trunk_calls: counters(
                "trunk_calls_total",
                "Calls that are over, by the trunk that carried them or was tried last, and the last status.",
                &["trunk", "code"],
            )?,
            trunk_up: gauges(
                "trunk_up",
                "1 while a trunk's host is thought to be up.",
                &["trunk", "host"],
            )?,
            trunk_registered: gauges(
                "trunk_registered",
                "1 while this node is registered with a trunk that wants it.",
                &["trunk"],
            )?,
            limit_calls: gauges(
                "limit_calls",
                "Calls that hold a place within a limit on one number, user, trunk or prefix.",
                &["limit"],
            )?,
            limit_calls_most: gauges(
                "limit_calls_most",
                "Calls that such a limit lets be at once.",
                &["limit"],
            )?,
            texts: counters(
                "messages_total",
                "Messages of applications that came in (received) or that were sent, by what became of them: one that is \
                 delivered was sent before.",
                &["direction", "status"],
            )?,
            voice_queued: gauge(
                "voice_calls_queued",
                "Calls of the REST API that wait for their account's calls a second.",
            )?,
            voice_queue: histogram(
                "voice_queue_seconds",
                "How long calls of the REST API waited for their account's calls a second.",
                &QUEUE_BUCKETS,
            )?,
            forgotten: counters(
                "store_forgotten_total",
                "Records that were forgotten because of their age, by what they were.",
                &["what"],
            )?,
            evicted: counters(
                "recordings_evicted_total",
                "Recordings that were deleted to make room, by the limit of [store] that was passed.",
                &["limit"],
            )?,
            recordings_bytes: gauge(
                "recordings_bytes",
                "Octets of the files in the folder of recordings, where [store] limits them.",
            )?,
            recordings_free: gauge(
                "recordings_free_bytes",
                "Octets that the file system of that folder has left.",
            )?,
            searches: counters(
                "dns_searches_total",
                "Searches for the addresses of SIP hosts, by result.",
                &["result"],
            )?,
            bans: counters("bans_total", "Bans, by what led to them.", &["reason"])?,
            bans_active: gauge("bans_active", "Sources and blocks that are banned.")?,
            shed: counter(
                "sip_shed_total",
                "Requests refused with 503 because they had waited too long, or too many waited.",
            )?,
            calls_active: gauge("calls_active", "Calls that are up.")?,
            call_setup: histogram("call_setup_seconds", "From INVITE to 200.", &SETUP_BUCKETS)?,
            media_mos: histogram(
                "media_mos",
                "Estimated mean opinion score (G.107) of each direction of a relayed call.",
                &MOS_BUCKETS,
            )?,
            transactions: gauge("sip_transactions", "SIP transactions that are under way.")?,
            parse_errors: counter(
                "sip_parse_errors_total",
                "Messages that could not be parsed.",
            )?,
            retransmissions: counter(
                "sip_retransmissions_total",
                "Messages that this node sent again because no answer came.",
            )?,
            connections: gauges(
                "sip_connections",
                "Connections that are open.",
                &["transport"],
            )?,
            connections_closed: counters(
                "sip_connections_closed_total",
                "Connections that were closed, by reason.",
                &["reason"],
            )?,
            connections_refused: counters(
                "sip_connections_refused_total",
                "Connections that were not taken, by the limit that they met.",
                &["limit"],
            )?,
            handshakes: gauge(
                "sip_handshakes",
                "TLS and WebSocket handshakes of clients that are under way.",
            )?,
            tls_failures: counter(
                "tls_handshake_failures_total",
                "TLS handshakes that failed, on either side.",
            )?,
            certificates: gauges(
                "tls_certificate_expires_seconds",
                "Seconds until a certificate of this node ends.",
                &["name"],
            )?,
            disk_size: gauge(
                "data_disk_size_bytes",
                "How large the file system of the data directory is.",
            )?,
            disk_available: gauge(
                "data_disk_available_bytes",
                "What is left of the file system of the data directory.",
            )?,
            kernel_drops: gauges(
                "sip_kernel_drops",
                "Datagrams that the kernel dropped because a SIP socket's buffer was full.",
                &["local", "socket"],
            )?,
            keepalives: counter(
                "sip_keepalives_total",
                "Keepalives that were sent to registered clients.",
            )?,
            keepalives_unanswered: counter(
                "sip_keepalives_unanswered_total",
                "Bindings that were dropped because their OPTIONS were not answered.",
            )?,
            stun: counter(
                "sip_stun_requests_total",
                "STUN binding requests that came to a SIP port and were answered.",
            )?,
            bindings: gauge(
                "registered_contacts",
                "Contacts that users have registered.",
            )?,
            proofs: counters(
                "sip_auth_total",
                "Requests of users by what they showed about who sent them.",
                &["result"],
            )?,
            media_up: gauge("media_up", "1 while mediad can be reached.")?,
            media_sessions: gauge("media_sessions_held", "Media sessions that calls hold.")?,
            media_errors: counter("media_errors_total", "Requests to mediad that failed.")?,
            registry,
        })
    }

    /// Counts a request.
    pub(crate) fn request(&self, method: &Method, direction: Direction) {
        let method = match method {
            Method::Other(_) => "other",
            known => known.as_str(),
        };
        self.messages
            .with_label_values(&[method, direction.name()])
            .inc();
    }

    /// Counts a response.
    pub(crate) fn response(&self, status: u16, direction: Direction) {
        self.codes.count(status, direction);
    }

    /// Counts what was dropped.
    pub(crate) fn dropped(&self, reason: Dropped) {
        self.drops.with_label_values(&[reason.name()]).inc();
    }

    /// The open connections of a transport.
    pub(crate) fn connections(&self, transport: &str) -> IntGauge {
        self.connections.with_label_values(&[transport])
    }

    /// Shows how many datagrams the kernel has dropped on a socket.
    pub(crate) fn kernel_drops(&self, local: &str, socket: usize, count: u64) {
        self.kernel_drops
            .with_label_values(&[local, &socket.to_string()])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was closed.
    pub(crate) fn connection_closed(&self, reason: &str) {
        self.connections_closed.with_label_values(&[reason]).inc();
    }

    /// Counts a connection that was not taken.
    pub(crate) fn connection_refused(&self, limit: &str) {
        self.connections_refused.with_label_values(&[limit]).inc();
    }

    /// Shows how long this node's certificates are good for.
    pub(crate) fn certificates(&self, left: &[(String, i64)]) {
        self.certificates.reset();
        for (name, seconds) in left {
            self.certificates.with_label_values(&[name]).set(*seconds);
        }
    }

    /// Shows the file system of the data directory; nothing of one that is gone.
    pub(crate) fn disk(&self, disk: Option<Disk>) {
        let shown = |bytes: Option<u64>| bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let size = shown(disk.map(|disk| disk.size));
        let available = shown(disk.map(|disk| disk.available));
        self.disk_size.set(size.unwrap_or(0));
        self.disk_available.set(available.unwrap_or(0));
    }

    /// Counts a ban.
    pub(crate) fn banned(&self, reason: &'static str) {
        self.bans.with_label_values(&[reason]).inc();
    }

    /// Counts a call that is over by the trunk that it went to. `status` is what the caller was told
    /// last: 200 where it was answered.
    pub(crate) fn trunk_call(&self, trunk: &str, status: u16) {
        self.trunk_calls
            .with_label_values(&[trunk, &status.to_string()])
            .inc();
    }

    /// Counts what a request showed about who sent it.
    pub(crate) fn proof(&self, proof: Proof) {
        self.proofs.with_label_values(&[proof.name()]).inc();
    }

    /// Counts what became of a message of an application.
    pub(crate) fn message(&self, direction: VoiceMessageDirection, status: VoiceMessageStatus) {
        self.texts
            .with_label_values(&[direction.name(), status.name()])
            .inc();
    }

    /// Records were older than they are kept.
    pub(crate) fn forgot(&self, what: &str, count: u64) {
        self.forgotten.with_label_values(&[what]).inc_by(count);
    }

    /// Recordings were deleted to make room, by this limit.
    pub(crate) fn evicted(&self, limit: &str, count: u64) {
        self.evicted.with_label_values(&[limit]).inc_by(count);
    }

    /// How much recordings take, and what is left on their disk, in octets.
    pub(crate) fn recordings_room(&self, used: u64, free: u64) {
        let gauge = |octets| i64::try_from(octets).unwrap_or(i64::MAX);
        self.recordings_bytes.set(gauge(used));
        self.recordings_free.set(gauge(free));
    }

    /// Counts a call that is over.
    pub(crate) fn call(&self, result: CallResult) {
        self.calls.with_label_values(&[result.name()]).inc();
    }

    /// Shows which hosts are up and where we are registered: all that are not named are forgotten.
    pub(crate) fn trunks<'a>(
        &self,
        hosts: impl Iterator<Item = (&'a str, String, bool)>,
        registered: impl Iterator<Item = (&'a str, bool)>,
    ) {
        self.trunk_up.reset();
        for (trunk, host, up) in hosts {
            let gauge = self.trunk_up.with_label_values(&[trunk, host.as_str()]);
            gauge.set(up.into());
        }
        self.trunk_registered.reset();
        for (trunk, is_registered) in registered {
            let gauge = self.trunk_registered.with_label_values(&[trunk]);
            gauge.set(is_registered.into());
        }
    }

    /// Shows how far limits are used: all that are not named are forgotten.
    pub(crate) fn limits<'a>(&self, limits: impl Iterator<Item = (&'a str, u32, u32)>) {
        self.limit_calls.reset();
        self.limit_calls_most.reset();
        for (limit, calls, most) in limits {
            self.limit_calls
                .with_label_values(&[limit])
                .set(calls.into());
            self.limit_calls_most
                .with_label_values(&[limit])
                .set(most.into());
        }
    }

    /// Counts a search for a host's addresses.
    pub(crate) fn dns(&self, result: Search) {
        self.searches.with_label_values(&[result.name()]).inc();
    }

    /// The page.
    pub(crate) fn text(&self) -> String {
        self.codes.write(&self.responses);
        let mut page = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut page) {
            tracing::error!(%error, "cannot write the metrics page");
        }
        String::from_utf8_lossy(&page).into_owned() + &control::logging::metrics()
    }
}

/// Responses by status code and direction.
#[derive(Debug)]
struct Codes {
    counts: Box<[[AtomicU64; 2]]>,
    /// What was written before.
    written: Mutex<Box<[[u64; 2]]>>,
}

/// The lowest status code, and one more than the highest.
const CODES: std::ops::Range<u16> = 100..700;

impl Default for Codes {
    fn default() -> Self {
        Self {
            counts: CODES.map(|_| Default::default()).collect(),
            written: Mutex::new(CODES.map(|_| [0; 2]).collect()),
        }
    }
}

impl Codes {
    /// Counts a response; what is no status code counts nowhere.
    fn count(&self, status: u16, direction: Direction) {
        let index = usize::from(status.wrapping_sub(CODES.start));
        if let Some(counts) = self.counts.get(index) {
            counts[direction as usize].fetch_add(1, Relaxed);
        }
    }

    /// Adds to `metric` what was counted since the last time.
    fn write(&self, metric: &IntCounterVec) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (code, (counts, written)) in CODES.zip(self.counts.iter().zip(written.iter_mut())) {
            for direction in [Direction::In, Direction::Out] {
                let now = counts[direction as usize].load(Relaxed);
                let before = std::mem::replace(&mut written[direction as usize], now);
                if now > before {
                    metric
                        .with_label_values(&[&code.to_string(), direction.name()])
                        .inc_by(now - before);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_promised_names_and_bounded_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.request(&Method::Invite, Direction::In);
        metrics.request(&Method::Other("X-1".into()), Direction::In);
        metrics.request(&Method::Other("X-2".into()), Direction::In);
        metrics.response(486, Direction::Out);
        metrics.text();
        metrics.response(486, Direction::Out);
        metrics.response(99, Direction::Out);
        metrics.dropped(Dropped::Malformed);
        metrics.call(CallResult::Answered);
        metrics.trunk_call("carrier", 486);
        metrics.message(VoiceMessageDirection::Inbound, VoiceMessageStatus::Received);
        metrics.voice_queue.observe(0.0);
        metrics.call_setup.observe(0.02);
        metrics.media_mos.observe(4.4);
        let page = metrics.text();
        for line in [
            "tandem_sip_messages_total{direction=\"in\",method=\"INVITE\"} 1",
            "tandem_sip_messages_total{direction=\"in\",method=\"other\"} 2",
            "tandem_sip_responses_total{code=\"486\",direction=\"out\"} 2",
            "tandem_sip_drops_total{reason=\"malformed\"} 1",
            "tandem_calls_active 0",
            "tandem_trunk_calls_total{code=\"486\",trunk=\"carrier\"} 1",
            "tandem_calls_total{result=\"answered\"} 1",
            "tandem_call_setup_seconds_count 1",
            "tandem_media_mos_count 1",
            "tandem_messages_total{direction=\"inbound\",status=\"received\"} 1",
            "tandem_voice_calls_queued 0",
            "tandem_voice_queue_seconds_bucket{le=\"0\"} 1",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
