//! Which pages of other hosts may use the API from a browser (the Fetch standard's CORS protocol).
//!
//! A page sends its key or token itself, as a header field: a browser adds nothing that would open the API, so
//! no answer allows credentials. For the same reason a page of a stranger cannot use the WebSocket of
//! `/v1/events`, to which CORS does not apply: it cannot send `Authorization` with one.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::problem::Problem;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What a page may send.
const SENT: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id",
);
/// What it may read of an answer.
const READ: HeaderValue = HeaderValue::from_static(
    "ETag, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, WWW-Authenticate, \
     X-Request-Id",
);
/// Seconds that a browser may remember it: as many as the most patient one does.
const KEPT: HeaderValue = HeaderValue::from_static("7200");

/// Tells browsers what pages of the listed origins may do. What asks only whether it may is answered here,
/// before the gate: it shows no key.
pub(crate) async fn cors(origins: &[String], request: Request, next: Next) -> Response {
    if origins.is_empty() {
        return next.run(request).await;
    }
    let allowed = allowed(origins, request.headers());
    let is_preflight = is_preflight(&request);
    let mut response = match (is_preflight, &allowed) {
        (true, Some(_)) => StatusCode::NO_CONTENT.into_response(),
        (true, None) => Problem::forbidden("[api] cors does not list this origin").into_response(),
        (false, _) => next.run(request).await,
    };
    let headers = response.headers_mut();
    // A cache must not give one origin what another one got.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let told: &[(HeaderName, HeaderValue)] = match is_preflight {
            true => &[
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, SENT),
                (header::ACCESS_CONTROL_MAX_AGE, KEPT),
            ],
            false => &[(header::ACCESS_CONTROL_EXPOSE_HEADERS, READ)],
        };
        headers.extend(told.iter().cloned());
    }
    response
}

/// The origin of the page that asks, where it is listed.
fn allowed(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let is_it = |listed: &String| listed.as_bytes() == origin.as_bytes();
    origins.iter().any(is_it).then(|| origin.clone())
}

fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
