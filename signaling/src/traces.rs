//! Each call as an OpenTelemetry trace, sent when it is over.
//!
//! A trace's id is the call's: whoever has one finds the other. The call is the trace's root, with what its
//! record has as attributes and its SIP messages as events; what it waited for (to be answered, to be picked up)
//! and the talk are spans below. The collector is named by OpenTelemetry's own variables in the environment;
//! where none is named, nothing is made. What the collector does not take in time is lost, and no call waits
//! for it.

use std::{
    env,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use control::signal::TracedMessage;
use opentelemetry::{
    InstrumentationScope, KeyValue, StringValue, Value,
    trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{
    ExporterBuildError, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanProcessor as _},
};
use store::{Cause, Cdr, MediaFlow, Timestamp, Uuid};
use tracing::{info, warn};

use crate::call::TracedCall;

/// How long the last spans may take when the node stops.
const GRACE: Duration = Duration::from_secs(3);

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's address or another of OpenTelemetry's variables is wrong.
    #[error("{0}; see OTEL_EXPORTER_OTLP_ENDPOINT and the variables beside it")]
    Exporter(#[from] ExporterBuildError),
    /// `OTEL_TRACES_SAMPLER` names one that there is not.
    #[error(
        "OTEL_TRACES_SAMPLER: '{0}' is not known here; say always_on, always_off or traceidratio"
    )]
    Sampler(String),
    /// `OTEL_TRACES_SAMPLER_ARG` is no share.
    #[error("OTEL_TRACES_SAMPLER_ARG: '{0}' is no number from 0 to 1")]
    Share(String),
}

/// Sends the traces of calls.
#[derive(Debug)]
pub(crate) struct Traces {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    sample: Sample,
}

/// Which calls are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Of 2^32 calls.
    below: u64,
}

impl Sample {
    pub(crate) const ALL: Self = Self { below: 1 << 32 };

    /// As OpenTelemetry's variables have it: all, unless they say otherwise.
    fn parse(sampler: Option<&str>, argument: Option<&str>) -> Result<Self, TracesError> {
        let sampler = sampler.unwrap_or("always_on");
        // No span of a call has a parent elsewhere.
        match sampler.strip_prefix("parentbased_").unwrap_or(sampler) {
            "always_on" => Ok(Self::ALL),
            "always_off" => Ok(Self { below: 0 }),
            "traceidratio" => {
                let text = argument.unwrap_or("1");
                let share = text.parse::<f64>().ok();
                let share = share.filter(|share| (0.0..=1.0).contains(share));
                let share = share.ok_or_else(|| TracesError::Share(text.to_owned()))?;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "it is from 0 to 2^32, and need not be exact"
                )]
                let below = (share * Self::ALL.below as f64) as u64;
                Ok(Self { below })
            }
            _ => Err(TracesError::Sampler(sampler.to_owned())),
        }
    }

    /// Whether a call is traced: by the last 32 bits of its id, which alone are random for each of the ids of
    /// one millisecond.
    pub(crate) fn has(self, call: Uuid) -> bool {
        let (_, random) = call.as_u64_pair();
        random & (Self::ALL.below - 1) < self.below
    }
}

impl Traces {
    /// As the environment has it; `None` where it names no collector. `node` tells this one from others.
    ///
    /// # Errors
    /// A variable of OpenTelemetry's cannot be used.
    pub(crate) fn from_env(node: &str) -> Result<Option<Self>, TracesError> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let places = [
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
            OTEL_EXPORTER_OTLP_ENDPOINT,
        ];
        let Some(place) = places.into_iter().find_map(set) else {
            return Ok(None);
        };
        if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let sampler = set("OTEL_TRACES_SAMPLER");
        let argument = set("OTEL_TRACES_SAMPLER_ARG");
        let sample = Sample::parse(sampler.as_deref(), argument.as_deref())?;
        let name = set("OTEL_SERVICE_NAME").unwrap_or_else(|| "tandem".to_owned());
        info!(collector = %without_userinfo(&place), service = name, "calls are traced");
        Self::new(None, name, node, sample).map(Some)
    }

    /// To a collector at `place`, or where the environment says.
    fn new(
        place: Option<&str>,
        name: String,
        node: &str,
        sample: Sample,
    ) -> Result<Self, TracesError> {
        let mut exporter = SpanExporter::builder().with_http();
        if let Some(place) = place {
            exporter = exporter.with_endpoint(place);
        }
        let resource = Resource::builder()
            .with_service_name(name)
            .with_attribute(KeyValue::new("service.instance.id", node.to_owned()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter.build()?).build();
        processor.set_resource(&resource);
        Ok(Self {
            processor,
            scope: InstrumentationScope::builder("tandem.signaling")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            sample,
        })
    }

    /// Which calls are wanted.
    pub(crate) fn sample(&self) -> Sample {
        self.sample
    }

    /// Hands over a call; never waits.
    pub(crate) fn submit(&self, call: &TracedCall) {
        for span in self.spans(call) {
            self.processor.on_end(span);
        }
    }

    /// Sends what waits.
    pub(crate) async fn stop(self: Arc<Self>) {
        let ending =
            tokio::task::spawn_blocking(move || self.processor.shutdown_with_timeout(GRACE));
        match ending.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the last traces did not reach the collector"),
            Err(error) => warn!(%error, "the sender of traces failed"),
        }
    }

    /// The root first.
    fn spans(&self, TracedCall { cdr, messages }: &TracedCall) -> Vec<SpanData> {
        let root = self.root(cdr, messages);
        // Picked up, or not: somebody rang until then.
        let rung = cdr.answered.unwrap_or(cdr.ended);
        let setup = Some((cdr.started, cdr.ringing.unwrap_or(rung)));
        let ringing = cdr.ringing.map(|from| (from, rung));
        let talk = cdr.answered.map(|from| (from, cdr.ended));
        let parts = [("setup", setup), ("ringing", ringing), ("talk", talk)];
        let parts = parts
            .into_iter()
            .zip(2..)
            .filter_map(|((name, time), number)| {
                let (from, to) = time?;
                Some(SpanData {
                    span_context: context(cdr.id, number),
                    parent_span_id: root.span_context.span_id(),
                    span_kind: SpanKind::Internal,
                    name: name.into(),
                    start_time: at(from),
                    end_time: at(to.max(from)),
                    attributes: Vec::new(),
                    events: SpanEvents::default(),
                    status: Status::Unset,
                    ..root.clone()
                })
            });
        let parts: Vec<_> = parts.collect();
        [root].into_iter().chain(parts).collect()
    }

    fn root(&self, cdr: &Cdr, messages: &[TracedMessage]) -> SpanData {
        let mut events = SpanEvents::default();
        events.events.extend(messages.iter().map(event));
        // Who calls a number that is busy, or changes his mind, has seen no error.
        let status = match cdr.cause {
            _ if cdr.answered.is_some() || cdr.status < 500 => Status::Unset,
            Cause::Cancel | Cause::Rejected => Status::Unset,
            _ => Status::error(format!("{} {}", cdr.status, cdr.reason)),
        };
        SpanData {
            span_context: context(cdr.id, 1),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Server,
            name: "call".into(),
            start_time: at(cdr.started),
            end_time: at(cdr.ended.max(cdr.started)),
            attributes: attributes(cdr),
            dropped_attributes_count: 0,
            events,
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// A call's trace, and the span of this number in it.
fn context(call: Uuid, number: u64) -> SpanContext {
    let (_, random) = call.as_u64_pair();
    let span = SpanId::from(random.wrapping_add(number));
    let trace = TraceId::from(call.as_u128());
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

fn at(time: Timestamp) -> SystemTime {
    let millis = u64::try_from(time.millis()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// What a record has, under OpenTelemetry's names where it has one for it.
fn attributes(cdr: &Cdr) -> Vec<KeyValue> {
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut all = vec![
        KeyValue::new("sip.call_id", cdr.call_id.clone()),
        KeyValue::new("sip.from", cdr.from_uri.clone()),
        KeyValue::new("sip.to", cdr.to_uri.clone()),
        KeyValue::new("sip.request_uri", cdr.request_uri.clone()),
        KeyValue::new("sip.status_code", i64::from(cdr.status)),
        KeyValue::new("sip.reason", cdr.reason.clone()),
        KeyValue::new("network.transport", cdr.transport.clone()),
        KeyValue::new("client.address", cdr.source.ip().to_string()),
        KeyValue::new("client.port", i64::from(cdr.source.port())),
        KeyValue::new("tandem.ended_by", cdr.ended_by.name()),
        KeyValue::new("tandem.cause", cdr.cause.name()),
    ];
    let texts = [
        ("tandem.origin", &cdr.origin),
        ("tandem.callee_user", &cdr.callee_user),
        ("tandem.tenant", &cdr.tenant),
        ("tandem.trunk", &cdr.trunk),
        ("tandem.route", &cdr.route),
        ("tandem.datapath", &cdr.datapath),
    ];
    let texts = texts.into_iter().filter_map(|(name, value)| {
        let value = value.clone()?;
        Some(KeyValue::new(name, Value::String(StringValue::from(value))))
    });
    all.extend(texts);
    let mut flow = |names: [&'static str; 4], flow: Option<MediaFlow>| {
        let Some(flow) = flow else { return };
        let [packets, lost, jitter, mos] = names;
        all.push(KeyValue::new(packets, count(flow.packets)));
        all.push(KeyValue::new(lost, count(flow.lost)));
        all.push(KeyValue::new(jitter, flow.jitter_ms));
        all.extend(flow.mos.map(|value| KeyValue::new(mos, value)));
    };
    flow(
        [
            "tandem.from_caller.packets",
            "tandem.from_caller.lost",
            "tandem.from_caller.jitter_ms",
            "tandem.from_caller.mos",
        ],
        cdr.from_caller,
    );
    flow(
        [
            "tandem.from_callee.packets",
            "tandem.from_callee.lost",
            "tandem.from_callee.jitter_ms",
            "tandem.from_callee.mos",
        ],
        cdr.from_callee,
    );
    all
}

/// A SIP message: its first line, and whose it is.
fn event(message: &TracedMessage) -> Event {
    let micros = u64::try_from(message.at_us).unwrap_or_default();
    let direction = if message.received { "received" } else { "sent" };
    let mut attributes = vec![
        KeyValue::new("sip.direction", direction),
        KeyValue::new("network.transport", message.transport.clone()),
        KeyValue::new("network.local.address", message.local.to_string()),
        KeyValue::new("network.peer.address", message.peer.to_string()),
    ];
    let cseq = message.cseq.clone();
    attributes.extend(cseq.map(|cseq| KeyValue::new("sip.cseq", cseq)));
    let time = UNIX_EPOCH + Duration::from_micros(micros);
    Event::new(message.line.clone(), time, attributes, 0)
}

/// Credentials in a URL are no one's to read in a log.
fn without_userinfo(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests;
