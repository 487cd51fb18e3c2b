//! What happens around every request: its id, its log line, and its metrics; and that it is done to its end.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State as Shared},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tracing::Instrument;

use crate::{
    Front, access, body, changes::RequestId, cors, idempotency, problem::Problem, query, rate,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Around everything: finds out where the request comes from, gives it an id, logs it and counts it, and tells browsers
/// which pages may make it.
///
/// What is done around a request is done by few functions that call others, not by a layer each: a layer clones all
/// that is inside of it for each request, and moves its future to the heap.
pub(crate) async fn observe(
    Shared(front): Shared<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let peer = front.proxies.believe(peer, &mut request);
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    // Not the path: anyone can invent paths, and each would be a new time series.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_owned();

    let text = id.to_str().unwrap_or_default().to_owned();
    request.extensions_mut().insert(RequestId(text));
    let span = tracing::info_span!("http", request_id = id.to_str().unwrap_or_default());
    let answer = cors::cors(&front.origins, request, next);
    let mut response = answer.instrument(span.clone()).await;
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

/// Around all of `/v1` that needs a key: who asks, whether that is allowed, and how often.
pub(crate) async fn v1(
    Shared(front): Shared<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let source = rate::source(peer.ip());
    if let Err(problem) = front.rates.hear(source) {
        return problem.into_response();
    }
    let shows_a_key = request.headers().contains_key(header::AUTHORIZATION);
    let answer = known(&front, request, next).await;
    let response = answer.unwrap_or_else(Problem::into_response);
    if shows_a_key {
        front.rates.count_guess(source, &response);
    }
    response
}

async fn known(front: &Arc<Front>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let caller = access::gate(front, &mut request).await?;
    let (left, answer) = match front.rates.limit(&caller.actor) {
        Ok(left) => (left, within_limits(front, request, next).await),
        Err(left) => (left, Err(rate::over_the_limit(left))),
    };
    let mut response = answer.unwrap_or_else(Problem::into_response);
    front.rates.tell(&mut response, left);
    Ok(response)
}

async fn within_limits(
    front: &Arc<Front>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    query::no_nul(request.uri())?;
    let request = body::in_time(request).await?;
    if is_read(request.method()) {
        return Ok(next.run(request).await);
    }
    Ok(to_the_end(idempotency::once(front.clone(), request, next)).await)
}

/// Around what needs no key.
pub(crate) async fn open(request: Request, next: Next) -> Response {
    match body::in_time(request).await {
        Ok(request) if is_read(request.method()) => next.run(request).await,
        Ok(request) => to_the_end(next.run(request)).await,
        Err(problem) => problem.into_response(),
    }
}

const fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Does what changes something to its end, whether or not the client is still there: where it hangs up, a
/// change would be made without a record of it, or by half.
async fn to_the_end(doing: impl Future<Output = Response> + Send + 'static) -> Response {
    let done = tokio::spawn(doing.in_current_span()).await;
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
