//! `/metrics`: one page of all daemons' Prometheus text.

mod merge;

use std::{sync::Arc, time::Duration};

use axum::{
    extract,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use control::{media, signal};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::{
    Front,
    health::{self, ask},
};

/// What the API measures of itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    up: IntGaugeVec,
    webhooks: IntCounterVec,
    jwks: IntCounterVec,
    handshakes: IntCounter,
    certificates: IntGaugeVec,
}

impl Metrics {
    #[expect(
        clippy::expect_used,
        reason = "the names are constants of this function: any test that runs it would show a wrong one"
    )]
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let requests = Opts::new(
            "tandem_api_requests_total",
            "HTTP requests, by method, route and status.",
        );
        let requests = IntCounterVec::new(requests, &["method", "route", "status"]);
        let requests = requests.expect("a valid name");
        let seconds = HistogramOpts::new(
            "tandem_api_request_seconds",
            "Time from an HTTP request to its answer, by route.",
        );
        let seconds = HistogramVec::new(seconds, &["route"]).expect("a valid name");
        let up = Opts::new(
            "tandem_up",
            "1 where the daemon answered while this page was made, 0 where it did not; for the store, 1 where \
             it takes writes too.",
        );
        let up = IntGaugeVec::new(up, &["daemon"]).expect("a valid name");
        let webhooks = Opts::new(
            "tandem_webhook_events_total",
            "Events for webhooks: delivered, failed (an attempt that is repeated), dead (given up) or dropped.",
        );
        let webhooks = IntCounterVec::new(webhooks, &["outcome"]).expect("a valid name");
        let jwks = Opts::new(
            "tandem_api_jwks_reads_total",
            "Times that the public keys for tokens were read: done, or failed (the last good ones go on being used).",
        );
        let jwks = IntCounterVec::new(jwks, &["outcome"]).expect("a valid name");
        let handshakes = IntCounter::new(
            "tandem_api_tls_handshake_failures_total",
            "TLS handshakes with the API that failed, took too long, or were too many of one address.",
        );
        let handshakes = handshakes.expect("a valid name");
        let certificates = Opts::new(
            "tandem_tls_certificate_expires_seconds",
            "Seconds until a certificate of this node ends.",
        );
        let certificates = IntGaugeVec::new(certificates, &["name", "listener"]);
        let certificates = certificates.expect("a valid name");
        for collector in [
            Box::new(requests.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(seconds.clone()),
            Box::new(up.clone()),
            Box::new(webhooks.clone()),
            Box::new(jwks.clone()),
            Box::new(handshakes.clone()),
            Box::new(certificates.clone()),
        ] {
            registry
                .register(collector)
                .expect("each name is there once");
        }
        Self {
            registry,
            requests,
            seconds,
            up,
            webhooks,
            jwks,
            handshakes,
            certificates,
        }
    }

    pub(crate) fn count(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        // A client may invent methods, and each would be a new time series.
        let method = match *method {
            Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE => {
                method.as_str()
            }
            _ => "other",
        };
        self.requests
            .with_label_values(&[method, route, status.as_str()])
            .inc();
        self.seconds
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
    }

    /// So many events for webhooks came out so.
    pub(crate) fn told(&self, outcome: &'static str, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.webhooks.with_label_values(&[outcome]).inc_by(events);
    }

    /// The public keys for tokens were read, or not.
    pub(crate) fn jwks_read(&self, is_good: bool) {
        let outcome = if is_good { "done" } else { "failed" };
        self.jwks.with_label_values(&[outcome]).inc();
    }

    /// A TLS handshake failed.
    pub(crate) fn handshake_failed(&self) {
        self.handshakes.inc();
    }

    /// How long the API's certificate is good for.
    fn certificates(&self, left: &[(String, i64)]) {
        self.certificates.reset();
        for (name, seconds) in left {
            self.certificates
                .with_label_values(&[name.as_str(), "api"])
                .set(*seconds);
        }
    }

    fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "cannot encode the API's metrics");
        }
        String::from_utf8(text).unwrap_or_default() + &control::logging::metrics()
    }
}

/// `GET /metrics`. A daemon that does not answer is missing from the page, and `tandem_up` says so.
pub(crate) async fn page(extract::State(front): extract::State<Arc<Front>>) -> Response {
    let (signaling, mediad, status, answers) = tokio::join!(
        ask(&front.state.signal, signal::Request::Metrics),
        ask(&front.state.media, media::Request::Metrics),
        health::status(&front),
        health::ping(&front),
    );
    let store = health::store(&front, status.as_ref().ok(), answers);
    let signaling = match signaling {
        Ok(signal::Response::Metrics(text)) => Some(text),
        _ => None,
    };
    let mediad = match mediad {
        Ok(media::Response::Metrics(text)) => Some(text),
        _ => None,
    };
    for (daemon, up) in [
        ("signaling", signaling.is_some()),
        ("mediad", mediad.is_some()),
        ("store", store.is_ok()),
    ] {
        front.metrics.up.with_label_values(&[daemon]).set(up.into());
    }
    if let Some(tls) = &front.tls {
        front.metrics.certificates(&tls.expiries());
    }
    let own = front.metrics.text();
    let pages = [Some(own), signaling, mediad];
    let text = merge::merge(pages.iter().flatten().map(String::as_str));
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
