//! What happens around every request: its id, its log line, and its metrics; and that it is done to its end.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State as Shared},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tracing::Instrument;

use crate::{Front, changes::RequestId, problem::Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id, logs it and counts it.
pub(crate) async fn observe(
    Shared(front): Shared<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    // Not the path: anyone can invent paths, and each would be a new time series.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_owned();

    let text = id.to_str().unwrap_or_default().to_owned();
    request.extensions_mut().insert(RequestId(text));
    let span = tracing::info_span!("http", request_id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id);

    let (status, took) = (response.status(), began.elapsed());
    front.metrics.count(&method, &route, status, took);
    // The query is left out: it holds phone numbers. Probes, scrapes, and pages that look again and again come
    // too often for `info`.
    let ms = took.as_secs_f64() * 1e3;
    span.in_scope(|| {
        let is_change = route.starts_with("/v1") && !matches!(method, Method::GET | Method::HEAD);
        if is_change || status.is_client_error() || status.is_server_error() {
            tracing::info!(%peer, %method, path, status = status.as_u16(), ms, "request");
        } else {
            tracing::debug!(%peer, %method, path, status = status.as_u16(), ms, "request");
        }
    });
    response
}

/// Does what changes something to its end, whether or not the client is still there: where it hangs up, a
/// change would be made without a record of it, or by half.
pub(crate) async fn to_the_end(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let doing = tokio::spawn(next.run(request).in_current_span());
    let done = doing.await;
    done.unwrap_or_else(|error| {
        Problem::internal(&format!("a handler broke off: {error}")).into_response()
    })
}

/// The client's id where it is short and harmless in a log, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let good = |value: &&HeaderValue| {
        let harmless = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        (1..=128).contains(&value.len()) && value.as_bytes().iter().all(|&b| harmless(b))
    };
    headers
        .get(REQUEST_ID)
        .filter(good)
        .cloned()
        .unwrap_or_else(|| {
            let id = uuid::Uuid::now_v7().to_string();
            HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"))
        })
}
