//! `Idempotency-Key`: a POST that is sent again, because nobody knows what became of it, is done once.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{Attempt, StoreError};

use crate::{Front, MOST_BODY, State, access::Caller, hex::hex, problem::Problem};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Octets of an answer that is kept; longer ones are not, and a client that asks again is told so.
const MOST_ANSWER: usize = 1 << 20;

/// What is kept of an answer.
#[derive(Serialize, Deserialize)]
struct Kept {
    kind: Option<String>,
    location: Option<String>,
    etag: Option<String>,
    body: String,
}

/// Does a POST with an `Idempotency-Key` once. Behind the gate: the key is its caller's own.
pub(crate) async fn once(front: Arc<Front>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    match run_once(&front.state, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn run_once(state: &State, request: Request, next: Next) -> Result<Response, Problem> {
    let owner = request.extensions().get::<Arc<Caller>>();
    let owner = owner.map(|caller| {
        format!(
            "{}@{}",
            caller.actor,
            caller.tenant.as_deref().unwrap_or("*")
        )
    });
    let owner = owner.ok_or_else(|| Problem::internal("idempotency stands outside the gate"))?;
    let name = name(request.headers())?;
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MOST_BODY).await;
    let body = body.map_err(|_| Problem::too_large())?;
    // A body may have a password in it. Of a hash alone it could be guessed; the client's key, of which only a
    // hash is kept, is what makes it another one each time.
    let mut hash = Sha256::new();
    let uri = parts.uri.to_string();
    for part in [name.as_bytes(), b"\0", uri.as_bytes(), b"\0", &body] {
        hash.update(part);
    }
    let hash = hex(&hash.finalize());
    let name = hex(&Sha256::digest(&name));
    match state.store.attempt(&owner, &name, &hash).await? {
        Attempt::First => {}
        Attempt::UnderWay => {
            return Err(Problem::conflict(
                "the first request of this Idempotency-Key is being answered: try again in a moment",
            ));
        }
        Attempt::Other => {
            return Err(Problem::conflict(
                "this Idempotency-Key was another request's: take a new one for each request",
            ));
        }
        Attempt::Answered { status, answer } => return replay(status, answer.as_deref()),
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    keep(state, &owner, &name, response).await
}

/// The answer of before.
fn replay(status: u16, answer: Option<&str>) -> Result<Response, Problem> {
    let Some(kept) = answer.and_then(|answer| serde_json::from_str::<Kept>(answer).ok()) else {
        return Err(Problem::conflict(
            "it was done; its answer is not kept, for it held a secret, or was too long",
        ));
    };
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kept.kind),
        (header::LOCATION, kept.location),
        (header::ETAG, kept.etag),
        (REPLAYED, Some("true".to_owned())),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

/// Keeps an answer, unless it says that it could not be done: that may be tried again.
async fn keep(
    state: &State,
    owner: &str,
    name: &str,
    response: Response,
) -> Result<Response, Problem> {
    let noted = |result: Result<(), StoreError>| {
        if let Err(error) = result {
            tracing::warn!(%error, "an answer is not kept for its Idempotency-Key");
        }
    };
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        noted(state.store.came_to_nothing(owner, name).await);
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await;
    let body = body.map_err(|_| Problem::internal("an answer broke off"))?;
    let text = |name: HeaderName| {
        let value = parts.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let is_secret = text(header::CACHE_CONTROL).as_deref() == Some("no-store");
    let kept = (!is_secret && body.len() <= MOST_ANSWER).then(|| Kept {
        kind: text(header::CONTENT_TYPE),
        location: text(header::LOCATION),
        etag: text(header::ETAG),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let kept = kept.and_then(|kept| serde_json::to_string(&kept).ok());
    let status = status.as_u16();
    noted(
        state
            .store
            .answered(owner, name, status, kept.as_deref())
            .await,
    );
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn name(headers: &HeaderMap) -> Result<String, Problem> {
    let mut fields = headers.get_all(KEY).iter();
    let name = fields.next().and_then(|value| value.to_str().ok());
    let is_good =
        |name: &&str| (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    let name = name.filter(is_good).filter(|_| fields.next().is_none());
    name.map(str::to_owned).ok_or_else(|| {
        Problem::bad_header("Idempotency-Key: one field of 1 to 255 visible ASCII characters")
    })
}
